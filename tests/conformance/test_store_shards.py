"""The contract of ports/store.py over every adapter: fenced rows, owners, layout and names."""

from __future__ import annotations

import asyncio
from itertools import permutations

import pytest
from timeball.errors import Internal

from tests.support.store_worlds import SHARD, World, connected, owner, task
from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.ids import Epoch, Minute, NodeId, ShardId
from timeball_server.ports.store import Applied, NotApplied, ShardRow, Store

pytestmark = pytest.mark.asyncio


def fenced(epoch: int, scan_from: int, deleted_below: int = 0, shard: int = SHARD) -> ShardRow:
    return ShardRow(
        shard=ShardId(shard),
        epoch=Epoch(epoch),
        scan_from=Minute(scan_from),
        deleted_below=Minute(deleted_below),
    )


async def owned(store: Store, epoch: int = 5, scan_from: int = 100) -> None:
    assert await store.raise_epoch(SHARD, Epoch(epoch), Minute(scan_from)) == Applied()


# -- epochs


async def test_a_shard_that_nobody_owned_has_no_row(store_client: Store) -> None:
    assert await store_client.read_shard(SHARD) is None
    assert await store_client.highest_epoch() == 0


async def test_the_first_epoch_makes_the_row(store_client: Store) -> None:
    await owned(store_client)
    assert await store_client.read_shard(SHARD) == fenced(5, 100)
    assert await store_client.read_shard(ShardId(SHARD + 1)) is None


async def test_a_higher_epoch_is_set_and_keeps_the_watermarks(store_client: Store) -> None:
    await owned(store_client)
    assert await store_client.move_deleted_below(SHARD, Epoch(5), Minute(0), Minute(9)) == Applied()
    big = 2**62
    assert await store_client.raise_epoch(SHARD, Epoch(big), Minute(777)) == Applied()
    assert await store_client.read_shard(SHARD) == fenced(big, 100, 9)


@pytest.mark.parametrize("epoch", [1, 4, 5])
async def test_an_equal_or_lower_epoch_is_told_the_row(store_client: Store, epoch: int) -> None:
    await owned(store_client)
    answer = await store_client.raise_epoch(SHARD, Epoch(epoch), Minute(777))
    assert answer == NotApplied(fenced(5, 100))
    assert await store_client.read_shard(SHARD) == fenced(5, 100)


async def test_of_concurrent_epochs_the_highest_stands(store_client: Store) -> None:
    epochs = [Epoch(number) for number in (3, 9, 1, 7, 9, 2, 8)]
    answers = await asyncio.gather(
        *(store_client.raise_epoch(SHARD, epoch, Minute(100)) for epoch in epochs)
    )
    assert answers.count(Applied()) >= 1
    nines = [answer for epoch, answer in zip(epochs, answers, strict=True) if epoch == 9]
    assert nines.count(Applied()) == 1
    assert await store_client.read_shard(SHARD) == fenced(9, 100)


async def test_the_highest_epoch_is_that_of_all_shards(store_client: Store) -> None:
    for shard, epoch in [(1, 4), (2, 2**40), (3, 6)]:
        await store_client.raise_epoch(ShardId(shard), Epoch(epoch), Minute(0))
    assert await store_client.highest_epoch() == 2**40


async def test_fenced_rows_outlive_the_client(store_world: World) -> None:
    async with connected(store_world) as store:
        await owned(store)
    async with connected(store_world) as store:
        assert await store.read_shard(SHARD) == fenced(5, 100)
        assert await store.highest_epoch() == 5


# -- watermarks


async def test_a_watermark_moves_from_its_old_value(store_client: Store) -> None:
    await owned(store_client)
    assert await store_client.move_scan_from(SHARD, Epoch(5), Minute(100), Minute(105)) == Applied()
    assert await store_client.move_deleted_below(SHARD, Epoch(5), Minute(0), Minute(3)) == Applied()
    assert await store_client.read_shard(SHARD) == fenced(5, 105, 3)


@pytest.mark.parametrize(("epoch", "old"), [(4, 100), (6, 100), (5, 99), (5, 101), (5, 0)], ids=str)
async def test_scan_from_stays_when_epoch_or_old_value_differ(
    store_client: Store, epoch: int, old: int
) -> None:
    await owned(store_client)
    answer = await store_client.move_scan_from(SHARD, Epoch(epoch), Minute(old), Minute(105))
    assert answer == NotApplied(fenced(5, 100))
    assert await store_client.read_shard(SHARD) == fenced(5, 100)


async def test_a_shard_begins_where_its_first_owner_says(store_client: Store) -> None:
    """A later owner says so too, and changes nothing."""
    first, later = Minute(900), Minute(950)
    assert await store_client.raise_epoch(SHARD, Epoch(5), Minute(1_000), first) == Applied()
    assert await store_client.raise_epoch(SHARD, Epoch(6), Minute(1_100), later) == Applied()
    row = await store_client.read_shard(SHARD)
    assert row == fenced(6, 1_000, deleted_below=900)


@pytest.mark.parametrize(("epoch", "old"), [(4, 0), (6, 0), (5, 1), (5, 100)], ids=str)
async def test_deleted_below_stays_when_epoch_or_old_value_differ(
    store_client: Store, epoch: int, old: int
) -> None:
    await owned(store_client)
    answer = await store_client.move_deleted_below(SHARD, Epoch(epoch), Minute(old), Minute(9))
    assert answer == NotApplied(fenced(5, 100))
    assert await store_client.read_shard(SHARD) == fenced(5, 100)


async def test_a_late_repetition_of_a_move_changes_nothing(store_client: Store) -> None:
    await owned(store_client)
    for old, new in [(100, 101), (101, 102)]:
        await store_client.move_scan_from(SHARD, Epoch(5), Minute(old), Minute(new))
    late = await store_client.move_scan_from(SHARD, Epoch(5), Minute(100), Minute(101))
    assert late == NotApplied(fenced(5, 102))


async def test_moves_of_other_shards_do_not_meet(store_client: Store) -> None:
    await owned(store_client)
    await store_client.raise_epoch(ShardId(8), Epoch(5), Minute(100))
    await store_client.move_scan_from(ShardId(8), Epoch(5), Minute(100), Minute(200))
    assert await store_client.read_shard(SHARD) == fenced(5, 100)
    assert await store_client.read_shard(ShardId(8)) == fenced(5, 200, shard=8)


async def test_a_serial_read_sees_every_write_that_was_sent_before_it(store_client: Store) -> None:
    raised = asyncio.create_task(store_client.raise_epoch(SHARD, Epoch(5), Minute(100)))
    read = asyncio.create_task(store_client.read_shard(SHARD))
    assert await read == fenced(5, 100)
    assert await raised == Applied()


async def test_a_shard_without_a_row_has_no_watermarks_to_move(store_client: Store) -> None:
    with pytest.raises(Internal, match="no fenced row"):
        await store_client.move_scan_from(SHARD, Epoch(5), Minute(0), Minute(1))
    with pytest.raises(Internal, match="no fenced row"):
        await store_client.move_deleted_below(SHARD, Epoch(5), Minute(0), Minute(1))
    assert await store_client.read_shard(SHARD) is None


# -- owners


@pytest.mark.parametrize("order", list(permutations([1, 2, 3])), ids=str)
async def test_the_highest_epoch_owns_whatever_the_order_of_writes(
    store_client: Store, order: tuple[int, ...]
) -> None:
    assert await store_client.read_owners([SHARD]) == {}
    for epoch in order:
        # A late row of a lower epoch may carry a later instant: a clock orders nothing here.
        await store_client.write_owner(owner(epoch, at_ms=1000 - epoch))
    await store_client.write_owner(owner(9, shard=SHARD + 1))
    assert await store_client.read_owners([SHARD]) == {SHARD: owner(3, at_ms=997)}


async def test_owners_of_many_shards_are_read_at_once(store_client: Store) -> None:
    assert await store_client.read_owners([]) == {}
    rows = {ShardId(shard): owner(3 + shard % 2, shard=shard) for shard in range(40)}
    for row in rows.values():
        await store_client.write_owner(owner(1, shard=row.shard))
        await store_client.write_owner(row)
    del rows[ShardId(17)]
    asked = {*rows, ShardId(50), ShardId(51)}
    assert await store_client.read_owners(asked) == rows


async def test_an_owner_may_publish_again(store_client: Store) -> None:
    first, second = owner(3, at_ms=10, scan_from=1), owner(3, at_ms=20, scan_from=2)
    for row in (first, second, first):  # the last one is a late resend
        await store_client.write_owner(row)
    assert await store_client.read_owners([SHARD]) == {SHARD: second}


# -- layout


async def test_the_layout_is_its_rows_in_order(store_client: Store) -> None:
    assert await store_client.read_layout() is None
    later = LayoutRow(from_minute=Minute(100), shard_count=128)
    first = LayoutRow(from_minute=Minute(0), shard_count=64)
    assert await store_client.add_layout(later) is True
    assert await store_client.add_layout(first) is True
    assert await store_client.read_layout() == Layout((first, later))


async def test_a_layout_row_is_never_replaced(store_client: Store) -> None:
    row = LayoutRow(from_minute=Minute(0), shard_count=64)
    other = LayoutRow(from_minute=Minute(0), shard_count=32)
    answers = await asyncio.gather(*(store_client.add_layout(row) for _ in range(5)))
    assert sorted(answers) == [False, False, False, False, True]
    assert await store_client.add_layout(other) is False
    assert await store_client.read_layout() == Layout((row,))


# -- names


async def test_the_first_task_keeps_the_name(store_client: Store) -> None:
    ids = [task(number) for number in range(50)]
    answers = await asyncio.gather(
        *(store_client.bind_name("bank", "nightly", task_id) for task_id in ids)
    )
    assert len(set(answers)) == 1
    assert answers[0] in ids
    assert await store_client.bind_name("bank", "nightly", task(99)) == answers[0]


async def test_a_name_is_taken_from_the_task_that_has_it_by_one(store_client: Store) -> None:
    await store_client.bind_name("bank", "nightly", task(1))
    ids = [task(number) for number in range(2, 12)]
    answers = await asyncio.gather(
        *(store_client.rebind_name("bank", "nightly", task(1), task_id) for task_id in ids)
    )
    assert len(set(answers)) == 1
    assert answers[0] in ids
    assert await store_client.read_names("bank", ["nightly"]) == {"nightly": answers[0]}
    assert await store_client.rebind_name("bank", "nightly", task(1), task(99)) == answers[0]


async def test_a_name_that_nobody_has_is_taken_from_nobody(store_client: Store) -> None:
    assert await store_client.rebind_name("bank", "nightly", task(1), task(2)) == task(1)
    assert await store_client.read_names("bank", ["nightly"]) == {}


async def test_names_of_namespaces_do_not_meet(store_client: Store) -> None:
    assert await store_client.bind_name("bank", "nightly", task(1)) == task(1)
    assert await store_client.bind_name("shop", "nightly", task(2)) == task(2)
    assert await store_client.bind_name("bank", "Nightly", task(3)) == task(3)


async def test_names_that_were_given_are_read(store_client: Store) -> None:
    await store_client.bind_name("bank", "nightly", task(1))
    await store_client.bind_name("bank", "weekly", task(2))
    await store_client.bind_name("shop", "nightly", task(3))
    wanted = ["weekly", "yearly", "nightly"]
    found = await store_client.read_names("bank", wanted)
    assert found == {"weekly": task(2), "nightly": task(1)}
    assert await store_client.read_names("bank", []) == {}


async def test_facts_outlive_the_client(store_world: World) -> None:
    row = LayoutRow(from_minute=Minute(0), shard_count=64)
    async with connected(store_world) as store:
        await store.add_layout(row)
        await store.bind_name("bank", "nightly", task(1))
        await store.write_owner(owner(3))
    async with connected(store_world) as store:
        assert await store.read_layout() == Layout((row,))
        assert await store.bind_name("bank", "nightly", task(2)) == task(1)
        assert await store.read_owners([SHARD]) == {SHARD: owner(3)}
        assert owner(3).owner == NodeId("scheduler-3")
