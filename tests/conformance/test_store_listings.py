"""The contract of ports/store.py over every adapter: listings, and random histories."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timeball.errors import InvalidRequest

from tests.support.store_worlds import (
    DAY,
    MINUTE,
    SHARD,
    START_MS,
    MakeWorld,
    by_owner,
    by_state,
    connected,
    dead_letter,
    due,
    event,
    task,
)
from timeball_server.core.journal import (
    DeadLetterRow,
    DueRow,
    EventRow,
    OwnerListRow,
    Row,
    StateListRow,
    head_of,
)
from timeball_server.ports.store import ListPage, Store

Listed = OwnerListRow | StateListRow | DeadLetterRow
ReadPage = Callable[[Store, int, str | None, int], Awaitable[ListPage[Listed]]]


async def page_by_owner(
    store: Store, day: int, cursor: str | None, limit: int
) -> ListPage[OwnerListRow]:
    return await store.list_by_owner("bank", "teller", day, cursor, limit)


async def page_by_state(
    store: Store, day: int, cursor: str | None, limit: int
) -> ListPage[StateListRow]:
    return await store.list_by_state("bank", "SUCCEEDED", day, cursor, limit)


async def page_dead_letters(
    store: Store, day: int, cursor: str | None, limit: int
) -> ListPage[DeadLetterRow]:
    return await store.list_dead_letters("bank", day, cursor, limit)


LISTINGS = pytest.mark.parametrize(
    ("make", "read"),
    [(by_owner, page_by_owner), (by_state, page_by_state), (dead_letter, page_dead_letters)],
    ids=["by_owner", "by_state", "dead_letters"],
)
Make = Callable[[int, int, int], Listed]


async def read_all(store: Store, read: ReadPage, limit: int, day: int = DAY) -> list[Listed]:
    found: list[Listed] = []
    cursor: str | None = None
    while True:
        page = await read(store, day, cursor, limit)
        found.extend(page.rows)
        cursor = page.cursor
        if cursor is None:
            return found
        assert len(page.rows) == limit


@LISTINGS
@pytest.mark.asyncio
@pytest.mark.parametrize("limit", [1, 4, 5, 29, 30, 31])
async def test_a_listing_is_paged_newest_first(
    store_client: Store, make: Make, read: ReadPage, limit: int
) -> None:
    # Three tasks share each instant: order within it is by task id.
    rows = [make(number, START_MS + number // 3, 1) for number in range(30)]
    await asyncio.gather(*(store_client.append([row]) for row in rows))
    wanted = [rows[3 * group + n] for group in range(9, -1, -1) for n in range(3)]
    assert await read_all(store_client, read, limit) == wanted


@LISTINGS
@pytest.mark.asyncio
@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_of_one_place_the_highest_epoch_is_shown(
    store_client: Store, make: Make, read: ReadPage, limit: int
) -> None:
    rows = [make(number, START_MS, epoch) for number in (1, 2) for epoch in (2, 7, 3)]
    await store_client.append(rows)
    assert await read_all(store_client, read, limit) == [rows[1], rows[4]]


@LISTINGS
@pytest.mark.asyncio
async def test_a_day_is_half_open(store_client: Store, make: Make, read: ReadPage) -> None:
    start_ms, end_ms = DAY * 86_400_000, (DAY + 1) * 86_400_000
    inside = [make(2, end_ms - 1, 1), make(1, start_ms, 1)]
    await store_client.append([*inside, make(3, start_ms - 1, 1), make(4, end_ms, 1)])
    assert await read_all(store_client, read, 10) == inside
    assert len(await read_all(store_client, read, 10, DAY - 1)) == 1
    assert await read_all(store_client, read, 10, DAY + 2) == []


@LISTINGS
@pytest.mark.asyncio
async def test_a_foreign_cursor_is_refused(store_client: Store, make: Make, read: ReadPage) -> None:
    await store_client.append([make(1, START_MS, 1)])
    for cursor in ("", "x", "12", "-.x", "--5.x", "1²3.x", "5.", "5.x y", f"{10**17}.x"):
        with pytest.raises(InvalidRequest) as caught:
            await read(store_client, DAY, cursor, 10)
        assert caught.value.violations[0].field == "page_token"


@pytest.mark.asyncio
async def test_listings_of_others_are_not_shown(store_client: Store) -> None:
    await store_client.append([by_owner(1), by_state(1), dead_letter(1)])
    empty: ListPage[Row] = ListPage((), None)
    assert await store_client.list_by_owner("shop", "teller", DAY, None, 9) == empty
    assert await store_client.list_by_owner("bank", "other", DAY, None, 9) == empty
    assert await store_client.list_by_state("bank", "DEAD", DAY, None, 9) == empty
    assert await store_client.list_by_state("shop", "SUCCEEDED", DAY, None, 9) == empty
    assert await store_client.list_dead_letters("shop", DAY, None, 9) == empty


# -- random histories against a plain model

TASKS = [task(number, part) for number in range(3) for part in range(2)]
HINTS = st.builds(
    due,
    task_id=st.sampled_from(TASKS),
    due_ms=st.integers(START_MS, START_MS + 6),
    seq=st.integers(1, 3),
    epoch=st.integers(1, 3),
    part=st.integers(0, 2),
)
EVENTS = st.builds(
    event, task_id=st.sampled_from(TASKS), seq=st.integers(1, 4), epoch=st.integers(1, 4)
)


def run_on(make_world: MakeWorld, scenario: Callable[[Store], Awaitable[None]]) -> None:
    async def main(folder: str) -> None:
        async with connected(make_world(Path(folder))) as store:
            await scenario(store)

    with TemporaryDirectory() as folder:
        asyncio.run(main(folder))


@settings(max_examples=40)
@given(
    calls=st.lists(st.lists(HINTS, max_size=8), max_size=8),
    bounds=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    limit=st.integers(1, 9),
)
def test_hints_are_read_as_the_model_says(
    make_world: MakeWorld, calls: list[list[DueRow]], bounds: tuple[int, int], limit: int
) -> None:
    from_ms, to_ms = (START_MS + bound for bound in bounds)
    rows = {row for call in calls for row in call if from_ms <= row.due_ms < to_ms}
    wanted = sorted(rows, key=lambda row: (row.due_ms, row.task_id, row.seq, row.epoch, row.part))

    async def scenario(store: Store) -> None:
        await asyncio.gather(*(store.append(call) for call in calls))
        found: list[DueRow] = []
        more = True
        while more:
            after = found[-1] if found else None
            page = await store.read_due(MINUTE, SHARD, from_ms, to_ms, limit, after)
            found.extend(page.rows)
            more = page.more
        assert found == wanted

    run_on(make_world, scenario)


@settings(max_examples=40)
@given(calls=st.lists(st.lists(EVENTS, max_size=8), max_size=8), limit=st.integers(1, 7))
def test_heads_are_as_the_fold_says(
    make_world: MakeWorld, calls: Sequence[Sequence[EventRow]], limit: int
) -> None:
    rows = {row for call in calls for row in call}
    touched = sorted({row.task_id for row in rows})
    wanted = [head_of(row for row in rows if row.task_id == task_id) for task_id in touched]

    async def scenario(store: Store) -> None:
        await asyncio.gather(*(store.append(call) for call in calls))
        found: list[EventRow] = []
        while page := await store.read_bucket_journals(
            MINUTE, SHARD, found[-1].task_id if found else None, limit
        ):
            found.extend(page)
        assert found == wanted
        journals = await store.read_journals(touched)
        assert {row for events in journals.values() for row in events} == rows

    run_on(make_world, scenario)
