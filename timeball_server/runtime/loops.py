"""Which event loop a process runs on: the faster one where it is installed."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from enum import StrEnum

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class LoopChoice(StrEnum):
    """What may be asked for. AUTO = uvloop where it is installed."""

    AUTO = "auto"
    ASYNCIO = "asyncio"


def loop_factory(choice: LoopChoice = LoopChoice.AUTO) -> LoopFactory | None:
    """What makes the loop, for asyncio.Runner; None = the standard library's own."""
    if choice is LoopChoice.ASYNCIO or importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop
