"""What a scheduler node did in each of the last seconds, for those who look only afterwards.

Nobody has to poll a node so that its recent past can be shown: it remembers ten minutes itself.
Turned by the engine's steps, so an idle node works for nothing; decides nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from timeball_server.core.engine.counters import Counters
from timeball_server.ports.owners import LATENESS_BOUNDS_MS, SecondFigures

SECONDS: Final = 600
"""How far it remembers."""
STEP_S: Final = 60
"""A wall clock may step back so far; beyond that the past is forgotten, its times were wrong."""
PLACES: Final = len(LATENESS_BOUNDS_MS) + 1


class LastSeconds:
    """Starts, creations and failures by second. A wall clock that steps back stretches a second."""

    def __init__(self) -> None:
        self._past: deque[SecondFigures] = deque(maxlen=SECONDS)
        self._since: int | None = None
        self._second = 0
        self._created = 0
        self._failed = 0
        self._counts = [0] * PLACES
        self._late_max_ms = 0

    def turn(self, now_ms: int, counters: Counters) -> None:
        """Close the second in hand if it is over; call before what happens now is counted."""
        second = now_ms // 1_000
        if self._second - STEP_S <= second <= self._second:
            return
        if self._since is None or second < self._second:
            self._past.clear()
            self._since = second
        else:
            self._close(counters)
        self._second = second

    def start(self, place: int, late_ms: int) -> None:
        """Count a start in this place of the bounds."""
        self._counts[place] += 1
        self._late_max_ms = max(self._late_max_ms, late_ms)

    @property
    def since_s(self) -> int:
        """The first second that is remembered."""
        return max(self._since or self._second, self._second - SECONDS)

    @property
    def until_s(self) -> int:
        """The second in hand, the first one that is not over."""
        return self._second

    def recall(self, from_s: int) -> tuple[SecondFigures, ...]:
        """Seconds from this one on that are over and were not idle, ascending."""
        return tuple(each for each in self._past if each.second >= max(from_s, self.since_s))

    def _close(self, counters: Counters) -> None:
        failed = counters.dead + counters.lost
        created, newly_failed = counters.created - self._created, failed - self._failed
        if created or newly_failed or any(self._counts):
            self._past.append(
                SecondFigures(
                    second=self._second,
                    created=created,
                    failed=newly_failed,
                    late_counts=tuple(self._counts),
                    late_max_ms=self._late_max_ms,
                )
            )
        self._created, self._failed = counters.created, failed
        self._counts = [0] * PLACES
        self._late_max_ms = 0
