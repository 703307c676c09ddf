"""The SDK's own clock: the only file of the SDK that asks what time it is or sleeps."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the clients need it; tests pass one of their own."""

    def wall_ms(self) -> int:
        """Milliseconds since the epoch, for ids."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never step back, for deadlines."""
        ...

    def sleep(self, seconds: float) -> None:
        """Blocks the thread."""
        ...

    async def sleep_async(self, seconds: float) -> None:
        """Lets other coroutines run."""
        ...


class SystemClock:
    """The machine's clock."""

    def wall_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never step back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Blocks the thread."""
        time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Lets other coroutines run."""
        await asyncio.sleep(seconds)
