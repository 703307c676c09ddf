"""The SDK's clock for tests in which no time passes by itself. Needs nothing but the SDK."""

from __future__ import annotations

import asyncio


class StillClock:
    """Time that a test moves, and that sleeping moves at once."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def wall_ms(self) -> int:
        return round(self.now_s * 1_000)

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.now_s += seconds
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await asyncio.wait((never,), timeout=0)  # others have their turn
