"""A clock that stands still until the test moves it, for code that also needs real sockets."""

import asyncio

from timeball_server.ports.clock import Now

START_WALL_MS = 1_750_000_020_000
TURNS = 25
"""Rounds of the event loop after a move: enough for every chain of awaits that needs no socket."""


class ManualClock:
    """Implements `Clock`; time passes in `advance` and `pass_by` only."""

    def __init__(self) -> None:
        self._passed_ms = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> Now:
        passed_ms = int(self._passed_ms)
        return Now(START_WALL_MS + passed_ms, passed_ms)

    async def sleep_ms(self, duration_ms: float) -> None:
        wake = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._passed_ms + duration_ms, wake))
        await wake

    def advance(self, duration_ms: float) -> None:
        """Move on and wake whoever is due."""
        self._passed_ms += duration_ms
        due = [each for each in self._sleepers if each[0] <= self._passed_ms]
        self._sleepers = [each for each in self._sleepers if each[0] > self._passed_ms]
        for _, wake in sorted(due, key=lambda each: each[0]):
            if not wake.done():
                wake.set_result(None)

    async def pass_by(self, duration_ms: float, steps: int = 1) -> None:
        """Move on in steps, letting everyone run before the first and after each."""
        await _settle()
        for _ in range(steps):
            self.advance(duration_ms / steps)
            await _settle()


async def _settle() -> None:
    """Let everyone run until only sockets and the clock can go on."""
    for _ in range(TURNS):
        await turn()


async def turn() -> None:
    """One round of the event loop."""
    next_round = asyncio.Event()
    asyncio.get_running_loop().call_soon(next_round.set)
    await next_round.wait()
