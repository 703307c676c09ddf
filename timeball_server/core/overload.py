"""How much may be under way at a server that says nothing of its load: learned from its answers.

While answers come quickly, more is allowed; when even the quickest answer of a moment was slow,
a line stands at the server, and less is allowed, until the line is gone. What is beyond that is
refused at once: it would only have waited, and made everybody behind it wait.

The measure is that of CoDel (RFC 8289: the minimum over an interval tells a standing line from a
burst), the reaction that of TCP: add while it goes well, multiply by less than one when not.
"""

from __future__ import annotations

from typing import Final

FIRST_LIMIT: Final = 2_000
LEAST_LIMIT: Final = 200
"""Enough to keep a full machine busy: at the worst these wait for about a second."""
MOST_LIMIT: Final = 20_000
INTERVAL_MS: Final = 250
TARGET_MS: Final = 250
"""An answer that took longer has waited in a line."""
ITEM_MS: Final = 1.0
"""What each further item of a request may add to that."""
BULK_SHARE: Final = 0.8
"""Of the limit, for items of which somebody sends many at a time; the rest is for single ones."""
_LEAST_PIECE: Final = 0.25
_GROWTH: Final = 0.1
_SHRINKING: Final = 0.7


class LearnedLimit:
    """The limit for one server. Instants are of any one monotonic clock.

    Attributes:
        limit: items that may be under way.
        under_way: items that are.
    """

    __slots__ = ("_began_ms", "_full", "_least_wait_ms", "limit", "under_way")

    def __init__(self, now_ms: int) -> None:
        self.limit = float(FIRST_LIMIT)
        self.under_way = 0
        self._began_ms = now_ms
        self._least_wait_ms: float | None = None
        self._full = False

    def let_in(self, items: int, *, bulk: bool = False) -> int:
        """How many of so many may be under way from now on; those must be `done` later."""
        limit = self.limit * BULK_SHARE if bulk else self.limit
        count = min(items, max(0, int(limit) - self.under_way))
        if bulk and count < min(items, limit * _LEAST_PIECE):
            count = 0  # many small pieces would cost more than they bring
        self._full = self._full or count < items
        self.under_way += count
        return count

    def done(self, items: int, took_ms: float, now_ms: int) -> None:
        """These are answered, or given up, after so long."""
        self.under_way -= items
        wait_ms = took_ms - items * ITEM_MS
        if self._least_wait_ms is None or wait_ms < self._least_wait_ms:
            self._least_wait_ms = wait_ms
        if now_ms - self._began_ms >= INTERVAL_MS:
            self._learn(now_ms)

    def _learn(self, now_ms: int) -> None:
        """The interval is over: less if nobody was quick, more if there was too little."""
        if self._least_wait_ms is not None and self._least_wait_ms > TARGET_MS:
            self.limit = max(LEAST_LIMIT, self.limit * _SHRINKING)
        elif self._full:
            self.limit = min(MOST_LIMIT, self.limit * (1 + _GROWTH))
        self._began_ms, self._least_wait_ms, self._full = now_ms, None, False
