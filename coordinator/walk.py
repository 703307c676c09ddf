"""A walk over a list of hints, newest first, day by day, with bounded work.

Owns where a page ends and where the next one begins. Each hint is looked at once over all
pages; hints that are written meanwhile do not move the pages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from heapq import merge
from itertools import takewhile
from typing import Final, Generic, NamedTuple, TypeVar

from coordinator.deadline import Deadline
from coordinator.hints import Hint, Source
from coordinator.paging import Place
from timeball_server.core.limits import MAX_PAGE_ITEMS

DAY_MS: Final = 86_400_000
DEFAULT_PAGE_ITEMS: Final = 100
DEFAULT_RANGE_MS: Final = 7 * DAY_MS
FEWEST_ROWS: Final = 20
ROWS_PER_READ: Final = 200
"""One read takes as many rows as the page has room for, within these bounds."""
MAX_ROWS: Final = 5_000
"""Rows that one call looks at."""
MAX_DAYS: Final = 40
"""Days that one call looks at."""
BUDGET_MS: Final = 2_000
"""A call that has taken this long ends its page, however short it is."""
_BEGIN: Final = ""
_END: Final = "."

ItemT = TypeVar("ItemT")


class Item(NamedTuple, Generic[ItemT]):
    """What a hint led to."""

    hint: Hint
    value: ItemT


Accept = Callable[[Sequence[Hint]], Awaitable[list[Item[ItemT]]]]
"""Looks behind hints: those that count, in the same order."""


def page_items(wished: int) -> int:
    """How many items a page has: as wished, within bounds; 0 = no wish."""
    return min(wished or DEFAULT_PAGE_ITEMS, MAX_PAGE_ITEMS)


def start(source: Source, *, from_ms: int, to_ms: int) -> Place:
    """Where the first page begins; the range is pinned for all that follow."""
    cursors = (_BEGIN,) * source.streams
    return Place(from_ms=from_ms, to_ms=to_ms, day=(to_ms - 1) // DAY_MS, cursors=cursors)


@dataclass(slots=True)
class _Stream:
    """One stream of a day. `rows` are read and not yet looked at; they began at `cursor`."""

    number: int
    cursor: str
    rows: list[Hint] = field(default_factory=list)
    following: str | None = None
    is_loaded: bool = False

    @property
    def needs_rows(self) -> bool:
        """Whether it may have more hints than those in hand."""
        return self.cursor != _END and not self.rows

    @property
    def last_order(self) -> tuple[int, str] | None:
        """Up to where its hints are known; None = to the end of the day."""
        if self.cursor == _END or self.following is None:
            return None
        return self.rows[-1].order

    def step_on(self) -> None:
        """Leave a batch that was looked at."""
        if self.is_loaded and not self.rows:
            self.cursor = _END if self.following is None else self.following
            self.is_loaded = False


class Walk(Generic[ItemT]):
    """One call's way through a list.

    Args:
        source: the list.
        place: where to begin.
        wanted: items that the page takes.
        accept: looks behind hints.
        deadline: when the call's work must end.
    """

    def __init__(
        self,
        source: Source,
        place: Place,
        wanted: int,
        accept: Accept[ItemT],
        deadline: Deadline,
    ) -> None:
        self.items: list[ItemT] = []
        self.place: Place | None = place
        self._source = source
        self._wanted = wanted
        self._accept = accept
        self._deadline = deadline
        self._rows_left = MAX_ROWS
        self._days_left = MAX_DAYS
        self._streams = _streams_of(place)

    async def run(self) -> None:
        """Fill the page, or stop where the work for one call is spent."""
        await self._step()
        while self._goes_on():
            await self._step()

    def _goes_on(self) -> bool:
        work_left = self._rows_left > 0 and self._days_left > 0 and not self._deadline.passed()
        return self.place is not None and len(self.items) < self._wanted and work_left

    async def _step(self) -> None:
        """Look at the next hints of the day, or go to the day before."""
        place = self.place
        if place is None or place.day < place.from_ms // DAY_MS:
            self.place = None
            return
        for stream in self._streams:
            await self._fill(stream, place)
        if all(stream.cursor == _END for stream in self._streams):
            self._next_day(place)
        elif not any(stream.needs_rows for stream in self._streams):
            await self._look(place)
        else:
            self._note(place)

    async def _fill(self, stream: _Stream, place: Place) -> None:
        """Read on until there is a hint that nobody has looked at, or work is spent."""
        while stream.needs_rows and self._rows_left > 0:
            limit = min(ROWS_PER_READ, max(self._wanted - len(self.items), FEWEST_ROWS))
            cursor = stream.cursor or None
            page = await self._source.read(stream.number, place.day, cursor, limit)
            self._rows_left -= max(1, len(page.hints))
            stream.rows = [hint for hint in page.hints if _is_fresh(hint, place)]
            stream.following, stream.is_loaded = page.cursor, True
            stream.step_on()

    async def _look(self, place: Place) -> None:
        """Look behind those hints before which no unread one can lie."""
        known = [order for each in self._streams if (order := each.last_order) is not None]
        rows = merge(*(each.rows for each in self._streams), key=lambda hint: hint.order)
        until = min(known, default=None)
        hints = list(takewhile(lambda hint: until is None or hint.order <= until, rows))
        hints = hints[:ROWS_PER_READ]
        items = await self._accept(hints)
        room = self._wanted - len(self.items)
        last = items[room - 1].hint if len(items) > room else hints[-1]
        self.items += [item.value for item in items[:room]]
        for stream in self._streams:
            stream.rows = [hint for hint in stream.rows if hint.order > last.order]
            stream.step_on()
        self._note(replace(place, after_ms=last.at_ms, after_id=last.task_id))

    def _note(self, place: Place) -> None:
        self.place = replace(place, cursors=tuple(stream.cursor for stream in self._streams))

    def _next_day(self, place: Place) -> None:
        self._days_left -= 1
        cursors = (_BEGIN,) * len(self._streams)
        self.place = Place(
            from_ms=place.from_ms, to_ms=place.to_ms, day=place.day - 1, cursors=cursors
        )
        self._streams = _streams_of(self.place)


def _streams_of(place: Place) -> list[_Stream]:
    return [_Stream(number, cursor) for number, cursor in enumerate(place.cursors)]


def _is_fresh(hint: Hint, place: Place) -> bool:
    """Whether it lies in the range and after what was given out."""
    if not place.from_ms <= hint.at_ms < place.to_ms:
        return False
    if place.after_ms is None or place.after_id is None:
        return True
    return hint.order > (-place.after_ms, place.after_id)
