"""A walk over several streams, against a plain sort: every hint once, newest first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.deadline import Deadline
from coordinator.hints import Hint, HintPage, Source
from coordinator.paging import Place
from coordinator.walk import DAY_MS, MAX_DAYS, MAX_ROWS, Item, Walk, start
from tests.support.manual_clock import ManualClock
from timeball_server.core.ids import TaskId

LAST_MS = 5 * DAY_MS


class Lists(Source):
    """Streams of (instant, task) in a list each; pages hold a few rows, whatever was asked."""

    def __init__(self, streams: Sequence[Sequence[tuple[int, str]]], most: int) -> None:
        self._rows = [sorted({(-at, task) for at, task in rows}) for rows in streams]
        self._most = most
        self.rows_read = 0

    @property
    def streams(self) -> int:
        return len(self._rows)

    async def read(self, stream: int, day: int, cursor: str | None, limit: int) -> HintPage:
        of_day = [row for row in self._rows[stream] if -row[0] // DAY_MS == day]
        begin = int(cursor or 0)
        end = begin + min(self._most, limit)
        rows = of_day[begin:end]
        self.rows_read += len(rows)
        hints = [
            Hint(at_ms=-at, task_id=TaskId(task), handler="", is_of=lambda _: True)
            for at, task in rows
        ]
        return HintPage(hints, str(end) if end < len(of_day) else None)


async def every(hints: Sequence[Hint]) -> list[Item[tuple[int, str]]]:
    return [Item(hint, hint.order) for hint in hints]


async def nothing(hints: Sequence[Hint]) -> list[Item[tuple[int, str]]]:
    return []


async def pages(source: Lists, place: Place, wanted: int) -> list[tuple[int, str]]:
    clock = ManualClock()
    found: list[tuple[int, str]] = []
    while True:
        walk = Walk(source, place, wanted, every, Deadline.after(clock, 1_000))
        await walk.run()
        assert len(walk.items) <= wanted
        found += walk.items
        if walk.place is None:
            return found
        assert walk.place != place
        place = walk.place


ROWS = st.lists(
    st.tuples(
        st.integers(0, 6) | st.integers(DAY_MS - 3, DAY_MS + 3) | st.just(4 * DAY_MS),
        st.sampled_from("abcdefgh"),
    ),
    max_size=14,
)


@settings(max_examples=300)
@given(st.lists(ROWS, min_size=1, max_size=4), st.integers(1, 4), st.integers(1, 7))
def test_streams_are_merged_newest_first_over_pages_and_days(
    streams: list[list[tuple[int, str]]], most: int, wanted: int
) -> None:
    # A task is at one instant in one stream only.
    distinct = [[(at, f"{task}{number}") for at, task in s] for number, s in enumerate(streams)]
    source = Lists(distinct, most)
    place = start(source, from_ms=1, to_ms=LAST_MS)
    found = asyncio.run(pages(source, place, wanted))
    expected = sorted({(-at, task) for rows in distinct for at, task in rows if at >= 1})
    assert found == expected


def test_the_work_of_one_call_is_bounded_by_rows_days_and_time() -> None:
    async def main() -> None:
        clock = ManualClock()
        busy = Lists([[(n, "a") for n in range(2 * MAX_ROWS)]], 200)
        walk = Walk(
            busy, start(busy, from_ms=0, to_ms=DAY_MS), 1, nothing, Deadline.after(clock, 1_000)
        )
        await walk.run()
        assert busy.rows_read <= MAX_ROWS + 200
        assert walk.place is not None
        empty = Lists([[]], 1)
        place = start(empty, from_ms=0, to_ms=100 * DAY_MS)
        walk = Walk(empty, place, 1, nothing, Deadline.after(clock, 1_000))
        await walk.run()
        assert walk.place is not None
        assert walk.place.day == 99 - MAX_DAYS
        walk = Walk(empty, place, 1, nothing, Deadline.after(clock, 0))
        await walk.run()
        assert walk.place is not None
        assert walk.place.day == 98

    asyncio.run(main())
