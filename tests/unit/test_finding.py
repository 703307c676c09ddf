"""Creations that may have been carried out before are looked for many at a time, and found."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import pytest

from scheduler_node.finding import MOST_AT_ONCE
from scheduler_node.readers import Readers
from tests.support.manual_clock import ManualClock
from timeball_server.core.engine import events
from timeball_server.core.engine.effects import FindTask, LoadSlice
from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    Incarnation,
    Minute,
    ShardId,
    TaskId,
    encode_id,
)
from timeball_server.core.journal import EventKind, EventRef, EventRow, State
from timeball_server.store.memory import MemoryDatabase, MemoryStore

SHARD, MINUTE, EPOCH = ShardId(3), Minute(29_000_000), Epoch(7)
HOME = Bucket(MINUTE, SHARD)


def unique(number: int) -> bytes:
    return number.to_bytes(16, "big")


def created(number: int, part: int = 0) -> EventRow:
    return EventRow(
        task_id=encode_id(IdParts(Bucket(MINUTE, SHARD, part), unique(number))),
        epoch=EPOCH,
        seq=1,
        kind=EventKind.CREATED,
        state=State.PENDING,
        alarm=None,
        attempt=0,
        run=None,
        executor=None,
        incarnation=Incarnation(0),
        prev_epoch=Epoch(0),
        spec_at=EventRef(1, EPOCH),
        revision=1,
        priority=4,
        unaccounted=(),
        request_id="",
        at_ms=1,
        created_ms=1,
        actor="",
    )


class SlowStore(MemoryStore):
    """Counts its reads; those of journals wait until they are let go."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.reads: Counter[str] = Counter()
        self.open = asyncio.Event()
        self.open.set()

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        self.reads["journals"] += 1
        await self.open.wait()
        return await super().read_journals(task_ids)

    async def find_journal(self, home: Bucket, unique: bytes) -> list[EventRow]:
        self.reads["find"] += 1
        return await super().find_journal(home, unique)


class Desk:
    """Readers on a store, and what they say."""

    def __init__(self) -> None:
        self.store = SlowStore(MemoryDatabase())
        self.said: list[events.Event] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.owned = True
        self.readers = Readers(
            self.store,
            ManualClock(),
            post=self.said.append,
            owns=lambda shard, epoch: self.owned,
            publish=_nothing,
            spawn=self._spawn,
        )

    def find(self, *numbers: int, home: Bucket = HOME) -> None:
        for number in numbers:
            self.readers.find(FindTask(SHARD, EPOCH, home, unique(number)))
        self.readers.flush()

    async def ended(self) -> None:
        while self.tasks:
            await asyncio.wait(self.tasks)

    def found(self) -> dict[bytes, Sequence[EventRow]]:
        return {each.unique: each.rows for each in self.said if isinstance(each, events.TaskFound)}

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _nothing(row: object) -> Any:
    raise AssertionError("no watermark is moved here")


@pytest.mark.asyncio
async def test_many_searches_of_a_bucket_are_one_read_and_each_has_its_answer() -> None:
    desk = Desk()
    await desk.store.append([created(1), created(3)])
    desk.find(*range(100))
    await desk.ended()
    found = desk.found()
    assert len(found) == 100
    assert {number for number in range(100) if found[unique(number)]} == {1, 3}
    assert found[unique(3)] == [created(3)]
    assert desk.store.reads == {"journals": 1}


@pytest.mark.asyncio
async def test_a_task_in_a_further_part_is_found() -> None:
    desk = Desk()
    await desk.store.append([created(1), created(2, part=1)])
    desk.find(1, 2, 3, home=Bucket(MINUTE, SHARD, 5))
    await desk.ended()
    found = desk.found()
    assert found[unique(1)] == [created(1)]
    assert found[unique(2)] == [created(2, part=1)]
    assert list(found[unique(3)]) == []


@pytest.mark.asyncio
async def test_what_is_asked_during_a_search_is_searched_after_it() -> None:
    desk = Desk()
    desk.store.open.clear()
    desk.find(1)
    await asyncio.wait(desk.tasks, timeout=0)
    desk.find(2)
    desk.find(3)
    await desk.store.append([created(2)])
    assert desk.store.reads["journals"] <= 1
    desk.store.open.set()
    await desk.ended()
    assert set(desk.found()) == {unique(1), unique(2), unique(3)}
    assert desk.found()[unique(2)] == [created(2)]
    assert desk.store.reads["journals"] == 2


@pytest.mark.asyncio
async def test_a_read_is_never_larger_than_it_may_be() -> None:
    desk = Desk()
    desk.find(*range(MOST_AT_ONCE + 1))
    await desk.ended()
    assert len(desk.found()) == MOST_AT_ONCE + 1
    assert desk.store.reads["journals"] == 2


@pytest.mark.asyncio
async def test_searches_do_not_hold_up_what_is_due() -> None:
    desk = Desk()
    desk.store.open.clear()
    for minute in range(50):
        desk.find(1, home=Bucket(Minute(MINUTE + minute), SHARD))
    desk.readers.load(
        LoadSlice(shard=SHARD, epoch=EPOCH, number=1, minute=MINUTE, from_ms=0, to_ms=2**62)
    )
    while not desk.said:
        await asyncio.wait(desk.tasks, timeout=0.01)
    assert isinstance(desk.said[0], events.SliceLoaded)
    desk.store.open.set()
    await desk.ended()


@pytest.mark.asyncio
async def test_a_search_of_a_shard_that_was_lost_ends_without_a_word() -> None:
    desk = Desk()
    desk.owned = False
    desk.find(1)
    await desk.ended()
    assert desk.found() == {}
    desk.owned = True
    desk.find(1)
    await desk.ended()
    assert set(desk.found()) == {unique(1)}
