"""The garbage collector of a long-lived process: what start-up made is never looked at again."""

from __future__ import annotations

import gc
from typing import Final

YOUNG_OBJECTS: Final = 10_000
"""New containers after which the young ones are looked at."""


def settle_collector() -> None:
    """Call once, when a process has started.

    A full collection walks every module, class and message type that was imported: tens of
    milliseconds in which nothing starts at its instant. What lives now lives for ever, garbage
    of start-up included: collecting it would cost just such a pause.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
