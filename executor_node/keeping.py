"""Orders that came ahead of their instant, and the one timer that waits for the next of them."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Sequence

from timeball_server.core.messages import RunId
from timeball_server.ports.clock import Clock


class Keeper:
    """Says of runs when their time has come, all of one millisecond together. Never too soon.

    Args:
        loop: whose timers it uses.
        clock: the machine's. A reading is cut to whole milliseconds, so up to one has passed
            already when it is taken: each run waits one longer.
        ripe: told of runs whose time has come.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        ripe: Callable[[Sequence[RunId]], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._ripe = ripe
        self._kept: list[tuple[int, RunId]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0

    def keep(self, runs: Iterable[tuple[RunId, int]]) -> None:
        """Take runs in, each with the milliseconds that it has to wait from now."""
        now_ms = self._clock.now().mono_ms
        for run, keep_ms in runs:
            heapq.heappush(self._kept, (now_ms + keep_ms + 1, run))
        self._arm(now_ms)

    def forget(self) -> None:
        """Let all of them go."""
        self._kept.clear()
        self._disarm()

    def _arm(self, now_ms: int) -> None:
        """Wait for the first one, if nobody does."""
        if not self._kept:
            return
        first_ms = self._kept[0][0]
        if self._timer is not None and self._timer_ms <= first_ms:
            return
        self._disarm()
        self._timer_ms = first_ms
        # A timer may come a moment before its time; one of no time at all would not be a timer.
        left_ms = max(1, first_ms - now_ms)
        self._timer = self._loop.call_later(left_ms / 1_000, self._look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now_ms = self._clock.now().mono_ms
        runs: list[RunId] = []
        while self._kept and self._kept[0][0] <= now_ms:
            runs.append(heapq.heappop(self._kept)[1])
        self._arm(now_ms)
        if runs:
            self._ripe(runs)
