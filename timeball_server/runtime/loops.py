"""Which event loop a process runs on: the faster one where it is installed."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from enum import StrEnum

from timeball.errors import FailedPrecondition

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class LoopChoice(StrEnum):
    """What may be asked for. AUTO = uvloop where it is installed."""

    AUTO = "auto"
    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"


def loop_factory(choice: LoopChoice = LoopChoice.AUTO) -> LoopFactory | None:
    """What makes the loop, for asyncio.Runner; None = the standard library's own.

    Raises:
        FailedPrecondition: UVLOOP was asked for and is not installed.
    """
    is_there = importlib.util.find_spec("uvloop") is not None
    if choice is LoopChoice.UVLOOP and not is_there:
        raise FailedPrecondition(
            "uvloop is not installed; install timeball-server[cluster] or choose --loop asyncio"
        )
    if choice is LoopChoice.ASYNCIO or not is_there:
        return None
    import uvloop

    return uvloop.new_event_loop
