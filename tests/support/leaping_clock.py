"""A clock for tests over real sockets: it runs as the system's does and can be set.

Only the wall clock leaps, as when somebody sets it: leases and sessions go by the monotonic one.
"""

from __future__ import annotations

import asyncio

from timeball_server.ports.clock import Now
from timeball_server.runtime.clock import SystemClock


class LeapingClock:
    """Implements `Clock`."""

    def __init__(self) -> None:
        self._system = SystemClock()
        self._leapt_ms = 0
        self._sleepers: set[asyncio.Future[None]] = set()

    def now(self) -> Now:
        """Both times at once."""
        system = self._system.now()
        return Now(system.wall_ms + self._leapt_ms, system.mono_ms)

    async def sleep_ms(self, duration_ms: float) -> None:
        """Wait, but not beyond the next leap."""
        loop = asyncio.get_running_loop()
        wake: asyncio.Future[None] = loop.create_future()
        self._sleepers.add(wake)
        try:
            await asyncio.wait((wake,), timeout=max(0.0, duration_ms) / 1_000)
        finally:
            self._sleepers.discard(wake)

    def leap(self, duration_ms: int) -> None:
        """Set it forward, or back by a negative duration; who waits looks at it again."""
        self._leapt_ms += duration_ms
        for wake in self._sleepers:
            if not wake.done():
                wake.set_result(None)
