"""Removals are carried out in their order and to their end, whatever the store says on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from timeball.errors import OutcomeUnknown, StoreUnavailable

from scheduler_node.removing import Remover
from scheduler_node.watermarks import Watermarks
from tests.support.manual_clock import ManualClock
from tests.support.store_worlds import MINUTE, SHARD, due, event, task
from timeball_server.core.engine import events
from timeball_server.core.engine.effects import MoveDeletedBelow, ReadForRemoval, RemoveBuckets
from timeball_server.core.ids import Epoch, Minute, NodeId, ShardId, TaskId, home_of
from timeball_server.core.journal import EventRow, State
from timeball_server.core.retention import BucketContents, may_go
from timeball_server.ports.store import Applied, NotApplied, OwnerRow, ShardRow
from timeball_server.store.memory import MemoryDatabase, MemoryStore

pytestmark = pytest.mark.asyncio
T = TypeVar("T")
EPOCH = Epoch(7)
HEADS = 600
"""More than two pages."""


class Troubled(MemoryStore):
    """Notes what it is asked; the first conditional write and the first deletes are in doubt."""

    def __init__(self, database: MemoryDatabase, doubts: int = 2) -> None:
        super().__init__(database)
        self.asked: list[str] = []
        self.doubts = doubts

    async def move_deleted_below(
        self, shard: ShardId, epoch: Epoch, old: Minute, new: Minute
    ) -> Applied | NotApplied:
        self.asked.append("move")
        answer = await super().move_deleted_below(shard, epoch, old, new)
        if self.asked.count("move") < self.doubts:
            raise OutcomeUnknown("it was applied, and nobody says so")
        return answer

    async def write_owner(self, row: OwnerRow) -> None:
        self.asked.append("publish")
        await super().write_owner(row)

    async def delete_bucket(self, minute: Minute, shard: ShardId) -> None:
        self.asked.append("delete")
        if self.asked.count("delete") < self.doubts:
            raise StoreUnavailable("away")
        await super().delete_bucket(minute, shard)


class Rig:
    """A remover on a store that holds one full bucket."""

    def __init__(self, store: Callable[[MemoryDatabase], Troubled] = Troubled) -> None:
        database = MemoryDatabase()
        database.shards[SHARD] = ShardRow(
            shard=SHARD, epoch=EPOCH, scan_from=Minute(MINUTE + 9), deleted_below=MINUTE
        )
        self.store = store(database)
        self.clock = ManualClock()
        self.posted: list[events.Event] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.remover = Remover(
            self.store,
            self.clock,
            post=self.posted.append,
            insist=self._insist,
            watermarks=Watermarks(self.store, insist=self._insist, publish=_owner_row),
            start=self._start,
        )

    async def _insist(self, shard: ShardId, epoch: Epoch, ask: Callable[[], Awaitable[T]]) -> T:
        assert (shard, epoch) == (SHARD, EPOCH)
        while True:
            try:
                return await ask()
            except (OutcomeUnknown, StoreUnavailable):
                await self.clock.sleep_ms(50)

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    async def answer(self) -> events.Event:
        """What comes of the work in hand."""
        await self.clock.pass_by(2_000, steps=20)
        return self.posted.pop()


def _owner_row(row: ShardRow) -> OwnerRow:
    return OwnerRow(
        shard=row.shard,
        epoch=row.epoch,
        owner=NodeId("west"),
        address="west:1",
        scan_from=row.scan_from,
        deleted_below=row.deleted_below,
        at_ms=1,
    )


async def test_r20_the_watermark_is_published_when_it_stands_however_often_it_is_asked() -> None:
    rig = Rig()
    new = Minute(MINUTE + 2)
    rig.remover.move(MoveDeletedBelow(SHARD, EPOCH, MINUTE, new))
    assert await rig.answer() == events.DeletedBelowMoved(SHARD, EPOCH, new)
    assert rig.store.asked == ["move", "move", "publish"]
    owners = await rig.store.read_owners([SHARD])
    assert owners[SHARD].deleted_below == new


async def test_r20_a_watermark_of_another_epoch_is_not_published() -> None:
    rig = Rig()
    await rig.store.raise_epoch(SHARD, Epoch(8), MINUTE)
    rig.remover.move(MoveDeletedBelow(SHARD, EPOCH, MINUTE, Minute(MINUTE + 2)))
    assert await rig.answer() == events.DeletedBelowMoved(SHARD, EPOCH, None)
    assert "publish" not in rig.store.asked


async def test_r20_a_delete_is_sent_until_it_is_acknowledged() -> None:
    rig = Rig()
    await rig.store.append([event(task(1)), due(task(1))])
    rig.remover.remove(RemoveBuckets(SHARD, EPOCH, MINUTE, Minute(MINUTE + 2)))
    assert await rig.answer() == events.BucketsRemoved(SHARD, EPOCH, MINUTE, Minute(MINUTE + 2))
    assert rig.store.asked == ["delete"] * 3
    assert await rig.store.read_journals([task(1)]) == {}


async def test_r19_a_bucket_is_read_to_its_end_however_many_pages_it_has() -> None:
    rig = Rig()
    ended = [replace(event(task(n), seq=2), state=State.SUCCEEDED) for n in range(HEADS)]
    await rig.store.append(ended)
    rig.remover.read(ReadForRemoval(SHARD, EPOCH, MINUTE))
    found = await rig.answer()
    assert isinstance(found, events.BucketRead)
    assert found.contents == BucketContents(tasks=HEADS, last_ms=ended[0].at_ms)
    await rig.store.append([event(task(HEADS))])
    rig.remover.read(ReadForRemoval(SHARD, EPOCH, MINUTE))
    found = await rig.answer()
    assert isinstance(found, events.BucketRead)
    assert found.contents.open_task == task(HEADS)


async def test_r19_a_bucket_with_an_id_of_an_unknown_kind_is_read_and_stays() -> None:
    """A newer version minted it: nobody pages behind it, and nobody removes what it names."""
    ended = [replace(event(task(n), seq=2), state=State.SUCCEEDED) for n in range(HEADS)]
    newer = replace(ended[0], task_id=TaskId("0z" + task(HEADS)[2:]))

    class Newer(Troubled):
        async def read_bucket_journals(
            self, minute: Minute, shard: ShardId, after: TaskId | None, limit: int
        ) -> Sequence[EventRow]:
            if after is not None:
                home_of(after)  # as adapters that keep parts apart do
            heads = await super().read_bucket_journals(minute, shard, after, limit - 1)
            return [*heads, newer]

    rig = Rig(Newer)
    await rig.store.append(ended)
    rig.remover.read(ReadForRemoval(SHARD, EPOCH, MINUTE))
    found = await rig.answer()
    assert isinstance(found, events.BucketRead)
    assert found.contents.open_task == newer.task_id
    assert not may_go(found.contents, now_ms=2**62, retention_ms=10)


async def test_r19_an_empty_bucket_has_nothing_to_wait_for() -> None:
    rig = Rig()
    rig.remover.read(ReadForRemoval(SHARD, EPOCH, MINUTE))
    found = await rig.answer()
    assert isinstance(found, events.BucketRead)
    assert may_go(found.contents, now_ms=10, retention_ms=10)
