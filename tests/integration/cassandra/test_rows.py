"""Removals against late rows, pages longer than one answer, buckets of many parts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from timeball.errors import Internal

from tests.support.store_worlds import SHARD, START_MS, due, event, owner, rich_events, task
from timeball_server.core.ids import Bucket, Minute, ShardId, TaskId, decode_id
from timeball_server.core.journal import DueRow, Row
from timeball_server.ports.clock import Now
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.cassandra.config import CassandraConfig
from timeball_server.store.cassandra.session import PAGE_ROWS
from timeball_server.store.cassandra.store import CassandraStore

pytestmark = pytest.mark.asyncio
# Minutes that no other test of this keyspace uses.
REMOVED, MANY, PARTS, LARGE, MIXED, SPREAD = (
    Minute(28_000_000 + 10 * number) for number in range(6)
)


class BrokenClock(SystemClock):
    """A node that believes it is 1970."""

    def now(self) -> Now:
        return Now(0, super().now().mono_ms)


async def hints(store: CassandraStore, minute: Minute) -> list[DueRow]:
    found: list[DueRow] = []
    more = True
    while more:
        after = found[-1] if found else None
        page = await store.read_due(minute, SHARD, 0, 2**62, 700, after)
        found += page.rows
        more = page.more
    return found


async def test_a_removal_beats_rows_that_land_after_it_whatever_the_clocks_say(
    durable: CassandraConfig,
) -> None:
    store = await CassandraStore.open(durable, BrokenClock(), print)
    try:
        gone = [task(number, minute=REMOVED) for number in range(20)]
        next_minute = Minute(REMOVED + 1)
        start_ms = REMOVED * 60_000
        late: list[Row] = [
            *(replace(event(each), at_ms=2**50) for each in gone),
            *(due(each, start_ms + 59_999, minute=REMOVED) for each in gone),
        ]
        moved = due(gone[0], start_ms + 60_000, minute=next_minute)
        kept = task(1, minute=next_minute)
        await store.append([*late, moved, event(kept)])
        await store.delete_bucket(REMOVED, SHARD)
        for _ in range(2):
            assert await hints(store, REMOVED) == []
            assert await store.read_journals([*gone, kept]) == {kept: [event(kept)]}
            assert await hints(store, next_minute) == [moved]
            # A resend that arrives late, of the same rows and of others of the bucket.
            await store.append([*late, event(task(99, minute=REMOVED))])
    finally:
        await store.close()


async def test_pages_longer_than_one_answer_are_whole_and_in_order(store: CassandraStore) -> None:
    start_ms = MANY * 60_000
    ids = [task(number, minute=MANY) for number in range(PAGE_ROWS + 300)]
    rows = [due(each, start_ms + n // 3, minute=MANY) for n, each in enumerate(ids)]
    await store.append([*rows, *(event(each, seq) for each in ids for seq in (1, 2))])
    page = await store.read_due(MANY, SHARD, start_ms, start_ms + 60_000, 5_000)
    assert (list(page.rows), page.more) == (rows, False)
    assert await hints(store, MANY) == rows
    heads = await store.read_bucket_journals(MANY, SHARD, None, 5_000)
    assert [(head.task_id, head.seq) for head in heads] == [(each, 2) for each in ids]
    journals = await store.read_journals(ids)
    assert journals == {each: [event(each, 1), event(each, 2)] for each in ids}
    found = await store.read_heads(ids[:200])
    assert {head.seq for head in found.values()} == {2}
    assert len(found) == 200


async def test_a_bucket_of_many_parts_is_read_and_removed_whole(store: CassandraStore) -> None:
    ids = [task(1, part, PARTS) for part in range(20)]
    rows = [due(each, PARTS * 60_000, part=n, minute=PARTS) for n, each in enumerate(ids)]
    await store.append([*rows, *map(event, ids)])
    assert await hints(store, PARTS) == rows
    heads = await store.read_bucket_journals(PARTS, SHARD, ids[3], 10)
    assert [head.task_id for head in heads] == ids[4:14]
    unique = decode_id(task(2)).unique
    await store.append([event(task(2, 19, PARTS))])
    found = await store.find_journal(Bucket(PARTS, SHARD), unique)
    assert found == [event(task(2, 19, PARTS))]
    await store.delete_bucket(PARTS, SHARD)
    assert await hints(store, PARTS) == []
    assert await store.read_bucket_journals(PARTS, SHARD, None, 100) == []


async def test_a_task_larger_than_a_batch_is_written_in_one_piece(store: CassandraStore) -> None:
    task_id = task(1, minute=LARGE)
    events = [replace(each, request_id="r" * 30_000) for each in rich_events(task_id)]
    await store.append([*events, due(task_id, minute=LARGE)])
    assert await store.read_journals([task_id]) == {task_id: events}


async def test_a_value_that_cannot_be_stored_writes_nothing(store: CassandraStore) -> None:
    good = task(1, minute=MIXED)
    with pytest.raises(Internal, match="cannot be stored"):
        await store.append([event(good), replace(event(task(2, minute=MIXED)), priority=2**40)])
    assert await store.read_journals([good]) == {}


async def test_tasks_of_many_buckets_are_read_with_few_requests(store: CassandraStore) -> None:
    """What a page of a list costs: a hundred tasks of one minute, of two, of all minutes."""
    shards = 16
    of_minute = [task(number, 0, SPREAD, number % shards) for number in range(100)]
    of_two = [
        task(200 + number, 0, SPREAD + number % 2, number // 2 % shards) for number in range(100)
    ]
    of_all = [task(400 + number, 0, SPREAD + number, number % shards) for number in range(100)]
    for wanted, requests in ((of_minute, 4), (of_two, 6), (of_all, shards)):
        await store.append([event(each, seq) for each in wanted for seq in (1, 2)])
        for name, read in (("journals", store.read_journals), ("heads_of", store.read_heads)):
            store.session.requests.clear()
            found = await read(wanted)
            assert len(found) == 100
            assert store.session.requests == {f"{name}_across": requests}
    store.session.requests.clear()
    await store.read_owners([ShardId(number) for number in range(shards)])
    assert store.session.requests == {"read_owners": 1}


async def test_many_shards_are_taken_over_at_once(store: CassandraStore) -> None:
    shards = [ShardId(number) for number in range(600, 664)]
    answers = await asyncio.gather(
        *(store.raise_epoch(shard, owner(3).epoch, Minute(5)) for shard in shards)
    )
    assert {type(answer).__name__ for answer in answers} == {"Applied"}
    sent = store.session.requests
    assert (sent["raise_epoch"], sent["add_shard"]) == (64, 64)


async def test_tasks_cost_no_conditional_write(store: CassandraStore) -> None:
    ids: list[TaskId] = [task(number, minute=MIXED) for number in range(50, 60)]
    await store.append([row for each in ids for row in (event(each), due(each, START_MS))])
    assert {"add_event", "add_due"} == set(store.session.requests)
