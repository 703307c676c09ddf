"""Waiting for what another process does: look, give it a moment, look again, until a deadline."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from timeball_server.runtime.clock import SystemClock

T = TypeVar("T")
DEADLINE_S = 40.0
"""Only ends a test that would hang; no test measures with it."""
MOMENT_S = 0.02


def mono_s() -> float:
    """Seconds of the monotonic clock."""
    return SystemClock().now().mono_ms / 1_000


def wall_ms() -> int:
    """Milliseconds since 1970."""
    return SystemClock().now().wall_ms


def until(look: Callable[[], T | None], what: str, deadline_s: float = DEADLINE_S) -> T:
    """What `look` finds, once it is neither None nor False."""
    end_s, moment = mono_s() + deadline_s, threading.Event()
    while mono_s() < end_s:
        found = look()
        if found is not None and found is not False:
            return found
        moment.wait(MOMENT_S)
    raise AssertionError(f"not within {deadline_s} s: {what}")


async def eventually(
    look: Callable[[], Awaitable[T | None]], what: str, deadline_s: float = DEADLINE_S
) -> T:
    """What `look` finds, once it is neither None nor False; for coroutines."""
    end_s = mono_s() + deadline_s
    while mono_s() < end_s:
        found = await look()
        if found is not None and found is not False:
            return found
        await moment()
    raise AssertionError(f"not within {deadline_s} s: {what}")


async def moment(seconds: float = MOMENT_S) -> None:
    """Let others go on for a moment: the distance of two looks, never a wait for a result."""
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    await asyncio.wait((never,), timeout=seconds)
