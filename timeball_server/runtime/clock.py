"""The system's clocks. The only place that reads them.

The monotonic reading goes on while the machine is suspended where the system has such a clock
(Linux: CLOCK_BOOTTIME), so that a lease ends during a suspend as it does for everyone else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from timeball_server.ports.clock import Now

NANOSECONDS_PER_MS = 1_000_000
_MONOTONIC = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
_monotonic_ns: Final[Callable[[], int]] = (
    time.monotonic_ns if _MONOTONIC is None else partial(time.clock_gettime_ns, _MONOTONIC)
)
"""Nanoseconds that never step. Asked several times for every call that comes in."""


class SystemClock:
    """The clock of this machine; implements `Clock`."""

    def now(self) -> Now:
        """Both times at once, in whole milliseconds."""
        return Now(time.time_ns() // NANOSECONDS_PER_MS, _monotonic_ns() // NANOSECONDS_PER_MS)

    async def sleep_ms(self, duration_ms: float) -> None:
        """Let other tasks run for about this long; the time of a suspend may not count."""
        await asyncio.sleep(max(0.0, duration_ms) / 1_000)
