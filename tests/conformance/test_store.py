"""The contract of ports/store.py over every adapter: journal and due rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from timeball.errors import Internal, StoreUnavailable

from tests.support.store_worlds import (
    DETECTING,
    MINUTE,
    SHARD,
    START_MS,
    WORLDS,
    World,
    by_owner,
    by_state,
    connected,
    dead_letter,
    due,
    event,
    rich_events,
    task,
    verdict,
)
from timeball_server.core.ids import Bucket, Minute, ShardId, TaskId, decode_id
from timeball_server.core.journal import DueRow, EventKind, Row, head_of
from timeball_server.ports.store import Store

pytestmark = pytest.mark.asyncio
END_MS = START_MS + 60_000
ONE_OF_EACH: list[Row] = [
    event(task(1)),
    due(task(1)),
    by_owner(1),
    by_state(1),
    dead_letter(1),
    verdict(1),
]
OTHER_CONTENT: list[Row] = [
    replace(event(task(1)), actor="user:other"),
    replace(due(task(1)), handler="other"),
    replace(by_owner(1), handler="other"),
    replace(dead_letter(1), cause="LOST"),
    replace(verdict(1), verdict="PAUSED"),
]


async def hints(store: Store, minute: Minute = MINUTE) -> list[DueRow]:
    page = await store.read_due(minute, SHARD, minute * 60_000, (minute + 1) * 60_000, 1000)
    assert not page.more
    return list(page.rows)


async def heads(store: Store) -> list[TaskId]:
    found = await store.read_bucket_journals(MINUTE, SHARD, None, 1000)
    return [head.task_id for head in found]


# -- append


async def test_every_field_of_an_event_comes_back(store_client: Store) -> None:
    events = rich_events(task(1))
    await store_client.append(events)
    assert await store_client.read_journals([task(1)]) == {task(1): events}


async def test_every_field_of_a_hint_comes_back(store_client: Store) -> None:
    hint = due(task(1), START_MS + 59_999, seq=2**31 - 1, epoch=2**62, part=3)
    await store_client.append([hint])
    assert await hints(store_client) == [hint]


@pytest.mark.parametrize("row", ONE_OF_EACH, ids=lambda row: type(row).__name__)
async def test_a_row_may_be_sent_any_number_of_times(store_client: Store, row: Row) -> None:
    await store_client.append([row, row])
    await store_client.append([row])
    await store_client.append([event(task(2)), row])
    assert len(await hints(store_client)) == isinstance(row, DueRow)
    assert task(2) in await heads(store_client)


@pytest.mark.parametrize("row", ONE_OF_EACH, ids=lambda row: type(row).__name__)
async def test_concurrent_resends_are_one_row(store_client: Store, row: Row) -> None:
    await asyncio.gather(*(store_client.append([row]) for _ in range(20)))
    await store_client.append([row])


@pytest.mark.parametrize("name", DETECTING)
@pytest.mark.parametrize("row", OTHER_CONTENT, ids=lambda row: type(row).__name__)
async def test_other_content_for_a_key_is_refused(name: str, row: Row, tmp_path: Path) -> None:
    async with connected(WORLDS[name](tmp_path)) as store:
        await store.append(ONE_OF_EACH)
        with pytest.raises(Internal, match="immutable"):
            await store.append([event(task(2)), row])
        assert await heads(store) == [task(1)]
        await store.append(ONE_OF_EACH)


@pytest.mark.parametrize("name", DETECTING)
async def test_two_contents_for_one_key_in_one_call_are_refused(name: str, tmp_path: Path) -> None:
    async with connected(WORLDS[name](tmp_path)) as store:
        with pytest.raises(Internal, match="immutable"):
            await store.append([event(task(1)), replace(event(task(1)), priority=9)])
        assert await heads(store) == []


@pytest.mark.parametrize("name", DETECTING)
async def test_a_refused_call_does_not_harm_its_neighbours(name: str, tmp_path: Path) -> None:
    async with connected(WORLDS[name](tmp_path)) as store:
        await store.append([event(task(1))])
        other = replace(event(task(1)), actor="user:other")
        calls = [store.append([event(task(number))]) for number in range(2, 20)]
        calls.insert(9, store.append([other, event(task(99))]))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results if result is not None] == [Internal]
        assert await heads(store) == [task(number) for number in range(1, 20)]


async def test_an_empty_append_is_nothing(store_client: Store) -> None:
    await store_client.append([])
    assert await heads(store_client) == []


async def test_concurrent_appends_are_all_seen(store_client: Store) -> None:
    ids = [task(number, part=number % 3) for number in range(200)]

    async def create(task_id: TaskId) -> None:
        await store_client.append([event(task_id), due(task_id)])
        assert await store_client.read_journals([task_id]) == {task_id: [event(task_id)]}

    await asyncio.gather(*map(create, ids))
    assert await heads(store_client) == sorted(ids)
    assert len(await hints(store_client)) == 200


async def test_rows_outlive_the_client(store_world: World) -> None:
    async with connected(store_world) as store:
        await store.append([*rich_events(task(1)), due(task(1))])
    async with connected(store_world) as store:
        assert await store.read_journals([task(1)]) == {task(1): rich_events(task(1))}
        assert await hints(store) == [due(task(1))]


# -- journals


async def test_events_come_oldest_first_whatever_their_order_of_arrival(
    store_client: Store,
) -> None:
    keys = [(2, 3), (1, 1), (3, 3), (2, 2), (1, 2), (3, 4)]
    for epoch, seq in keys:
        await store_client.append([event(task(1), seq, epoch)])
    found = (await store_client.read_journals([task(1)]))[task(1)]
    assert [(row.epoch, row.seq) for row in found] == sorted(keys)


async def test_the_head_is_the_event_with_the_greatest_epoch_and_seq(store_client: Store) -> None:
    for epoch, seq in [(2, 3), (1, 9), (3, 1), (2, 7)]:
        await store_client.append([event(task(1), seq, epoch), event(task(2), seq, 1)])
    heads = await store_client.read_heads([task(1), task(2), task(3)])
    assert {task_id: (row.epoch, row.seq) for task_id, row in heads.items()} == {
        task(1): (3, 1),
        task(2): (1, 9),
    }
    assert await store_client.read_heads([]) == {}


async def test_tasks_without_events_are_left_out(store_client: Store) -> None:
    known = [task(1), task(2, part=4), task(3, minute=5), task(4, shard=0)]
    await store_client.append([event(task_id) for task_id in known])
    asked = [*known, task(9), task(1, part=1), task(1, minute=6)]
    found = await store_client.read_journals(asked)
    assert found == {task_id: [event(task_id)] for task_id in known}
    assert await store_client.read_journals([]) == {}


@pytest.mark.parametrize(
    ("minutes", "shards", "parts"), [(1, 40, 1), (40, 1, 1), (1, 1, 40), (5, 5, 2)]
)
async def test_journals_and_heads_of_many_buckets_are_read_at_once(
    store_client: Store, minutes: int, shards: int, parts: int
) -> None:
    homes = list(product(range(minutes), range(shards), range(parts)))
    known = [
        task(number, part, MINUTE + minute, shard)
        for number, (minute, shard, part) in enumerate(homes)
    ]
    neighbours = [
        task(1_000 + number, part, MINUTE + minute, shard)
        for number, (minute, shard, part) in enumerate(homes)
    ]
    events = {each: [event(each, 1), event(each, 2), event(each, 3, 2)] for each in known}
    await store_client.append([row for rows in events.values() for row in rows])
    await store_client.append([event(each) for each in neighbours])
    # An id that is asked for where another one of the same request lies.
    elsewhere = [
        task(number + 1, home[2], MINUTE + home[0], home[1]) for number, home in enumerate(homes)
    ]
    asked = [*known, *elsewhere]
    assert await store_client.read_journals(asked) == events
    heads = {each: rows[-1] for each, rows in events.items()}
    assert await store_client.read_heads(asked) == heads


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_journal_is_found_in_any_part(store_client: Store, part: int) -> None:
    others = [event(task(100 + number, part=number)) for number in range(3)]
    wanted = [event(task(1, part), seq) for seq in (1, 2)]
    await store_client.append([*others, *wanted])
    unique = decode_id(task(1)).unique
    for asked in (0, 1, 7):
        assert await store_client.find_journal(Bucket(MINUTE, SHARD, asked), unique) == wanted


async def test_a_journal_is_not_found_elsewhere(store_client: Store) -> None:
    await store_client.append([event(task(1, part)) for part in (0, 1)])
    unique, other = decode_id(task(1)).unique, decode_id(task(2)).unique
    assert await store_client.find_journal(Bucket(MINUTE, SHARD), other) == []
    assert await store_client.find_journal(Bucket(Minute(MINUTE + 1), SHARD), unique) == []
    assert await store_client.find_journal(Bucket(MINUTE, ShardId(SHARD + 1)), unique) == []


async def test_a_bucket_shows_the_heads_of_its_tasks(store_client: Store) -> None:
    rows = [
        event(task(number, part), seq, epoch, EventKind.UPDATED)
        for number, part in [(3, 0), (1, 1), (2, 0), (1, 2)]
        for epoch, seq in [(1, 1), (2, 1), (1, 9), (2, 2)]
    ]
    elsewhere = [event(task(5, minute=MINUTE + 1)), event(task(5, shard=SHARD + 1))]
    await store_client.append([*rows, *elsewhere])
    found = await store_client.read_bucket_journals(MINUTE, SHARD, None, 100)
    assert [head.task_id for head in found] == [task(2), task(3), task(1, 1), task(1, 2)]
    for head in found:
        assert head == head_of(row for row in rows if row.task_id == head.task_id)


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_heads_are_paged_by_task(store_client: Store, limit: int) -> None:
    ids = sorted(task(number, part=number % 2) for number in range(7))
    await store_client.append([event(task_id, seq) for task_id in ids for seq in (1, 2, 3)])
    found: list[TaskId] = []
    while page := await store_client.read_bucket_journals(
        MINUTE, SHARD, found[-1] if found else None, limit
    ):
        assert len(page) <= limit
        assert {head.seq for head in page} == {3}
        found.extend(head.task_id for head in page)
    assert found == ids


# -- hints


async def read_pages(store: Store, limit: int) -> list[Sequence[DueRow]]:
    pages: list[Sequence[DueRow]] = []
    after: DueRow | None = None
    more = True
    while more:
        page = await store.read_due(MINUTE, SHARD, START_MS, END_MS, limit, after)
        pages.append(page.rows)
        more, after = page.more, page.rows[-1] if page.rows else after
    return pages


async def test_the_range_is_half_open(store_client: Store) -> None:
    instants = [START_MS + offset for offset in (0, 9_999, 10_000, 19_999, 20_000)]
    await store_client.append([due(task(n), at) for n, at in enumerate(instants)])
    page = await store_client.read_due(MINUTE, SHARD, START_MS + 10_000, START_MS + 20_000, 10)
    assert [row.due_ms - START_MS for row in page.rows] == [10_000, 19_999]
    assert not page.more
    empty = await store_client.read_due(MINUTE, SHARD, START_MS + 1, START_MS + 9_999, 10)
    assert (empty.rows, empty.more) == ((), False)


async def test_hints_come_in_due_order_over_all_parts(store_client: Store) -> None:
    rows = [
        due(task(number), START_MS + at, seq, epoch, part)
        for part in (0, 1, 2)
        for number, at, seq, epoch in [(2, 0, 1, 1), (1, 0, 2, 1), (1, 0, 1, 5), (1, 0, 1, 2)]
    ]
    rows += [due(task(9), START_MS + 7 - part, part=part) for part in (0, 1, 2)]
    await store_client.append(rows)
    found = await hints(store_client)
    assert len(found) == len(rows)
    assert [(row.due_ms, row.task_id, row.seq, row.epoch) for row in found] == sorted(
        (row.due_ms, row.task_id, row.seq, row.epoch) for row in rows
    )


@pytest.mark.parametrize("limit", [1, 2, 3, 11, 12, 13])
async def test_pages_join_without_gap_or_repetition(store_client: Store, limit: int) -> None:
    rows = [
        due(task(number), START_MS + number // 2, seq, part=part)
        for part in (0, 1, 2)
        for number in (1, 2)
        for seq in (1, 2)
    ]
    await store_client.append(rows)
    pages = await read_pages(store_client, limit)
    assert all(len(page) == limit for page in pages[:-1])
    assert 1 <= len(pages[-1]) <= limit
    assert [row for page in pages for row in page] == await hints(store_client)


async def test_a_page_may_go_on_after_a_row_that_is_not_there(store_client: Store) -> None:
    await store_client.append([due(task(n), START_MS + n) for n in (1, 3)])
    page = await store_client.read_due(
        MINUTE, SHARD, START_MS, END_MS, 10, due(task(2), START_MS + 2)
    )
    assert [row.due_ms for row in page.rows] == [START_MS + 3]


async def test_a_hint_lies_in_the_bucket_of_its_alarm_and_the_shard_of_its_task(
    store_client: Store,
) -> None:
    moved = due(task(1), START_MS + 60_000, minute=MINUTE + 1)
    foreign = due(task(1, shard=SHARD + 1), START_MS + 60_000, minute=MINUTE + 1)
    await store_client.append([moved, foreign])
    assert await hints(store_client) == []
    assert await hints(store_client, Minute(MINUTE + 1)) == [moved]


# -- removal


async def test_a_deleted_bucket_is_empty_in_all_parts_and_no_other_is(store_client: Store) -> None:
    gone = [task(number, part=number) for number in range(3)]
    kept = [task(1, minute=MINUTE + 1), task(1, minute=MINUTE - 1), task(1, shard=SHARD + 1)]
    late = due(task(1), START_MS + 60_000, minute=MINUTE + 1)
    await store_client.append([event(task_id) for task_id in (*gone, *kept)])
    await store_client.append([*(due(task_id, part=part) for part, task_id in enumerate(gone))])
    await store_client.append([late])
    for _ in range(2):
        await store_client.delete_bucket(MINUTE, SHARD)
        assert await hints(store_client) == []
        assert await heads(store_client) == []
        assert set(await store_client.read_journals([*gone, *kept])) == set(kept)
        assert await hints(store_client, Minute(MINUTE + 1)) == [late]


# -- life


async def test_close_is_safe_twice_and_ends_all_service(store_world: World) -> None:
    store = await store_world.connect()
    await asyncio.gather(store.close(), store.close())
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.append([event(task(1))])
    with pytest.raises(StoreUnavailable):
        await store.read_journals([task(1)])
    with pytest.raises(StoreUnavailable):
        await store.read_shard(SHARD)


async def test_what_was_sent_before_close_is_written(store_world: World) -> None:
    store = await store_world.connect()
    sent = [asyncio.create_task(store.append([event(task(n))])) for n in range(50)]
    await sent[0]
    await store.close()
    await asyncio.gather(*sent)
    async with connected(store_world) as again:
        assert len(await heads(again)) == 50
