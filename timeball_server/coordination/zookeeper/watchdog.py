"""Closes a session whose event loop stands still: the client's thread would keep it alive.

Counts its own looks instead of comparing clocks, so a process that was stopped as a whole and goes
on gets its chance to beat.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final

LOOKS_PER_LIMIT: Final = 4
"""So many looks without a beat between them are a stall."""
BEATS_PER_LOOK: Final = 2


class Watchdog:
    """A thread that looks whether the loop it was started on still runs.

    Args:
        limit_ms: how long the loop may stand still.
        on_stall: called once, on the watchdog's thread; may wait.
    """

    def __init__(self, limit_ms: float, on_stall: Callable[[], None]) -> None:
        self._look_s = limit_ms / LOOKS_PER_LIMIT / 1_000
        self._on_stall = on_stall
        self._beats = 0
        self._stopped = threading.Event()
        self._beat_timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(
            target=self._watch, name="zookeeper session: watchdog", daemon=True
        )

    def start(self) -> None:
        """Begin; on the loop."""
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """End; on the loop. Does not wait. Safe to repeat."""
        self._stopped.set()
        if self._beat_timer is not None:
            self._beat_timer.cancel()

    def _beat(self) -> None:
        """The loop runs."""
        self._beats += 1
        wait_s = self._look_s / BEATS_PER_LOOK
        self._beat_timer = asyncio.get_running_loop().call_later(wait_s, self._beat)

    def _watch(self) -> None:
        """Look until stopped or stalled."""
        seen, looks = self._beats, 0
        while looks < LOOKS_PER_LIMIT:
            if self._stopped.wait(self._look_s):
                return
            looks = looks + 1 if self._beats == seen else 0
            seen = self._beats
        self._on_stall()
