"""What a store cannot answer at once is asked for in smaller pieces, until it can."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from timeball.errors import StoreUnavailable

from scheduler_node.readers import Readers
from tests.support.store_worlds import event, task
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.core.engine import events
from timeball_server.core.ids import Epoch, ShardId, TaskId
from timeball_server.core.journal import EventRow
from timeball_server.ports.store import OwnerRow, ShardRow
from timeball_server.store.memory import MemoryStore

SHARD, EPOCH = ShardId(0), Epoch(1)
TASKS = [task(number) for number in range(100)]


class SlowStore(MemoryStore):
    """Needs longer than anybody waits for the journals of more tasks than so many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.asked: list[int] = []

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        self.asked.append(len(task_ids))
        if len(task_ids) > self.most:
            raise StoreUnavailable("no answer in time")
        return await super().read_journals(task_ids)


class World:
    """The reading half of a shell."""

    def __init__(self, loop: VirtualLoop, store: SlowStore) -> None:
        self.clock = VirtualClock(loop)
        self.is_ours = True
        self.posted: list[events.Event] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.readers = Readers(
            store,
            self.clock,
            post=self.posted.append,
            owns=lambda shard, epoch: self.is_ours,
            publish=_nothing,
            spawn=self._spawn,
        )

    async def read(self) -> dict[TaskId, Sequence[EventRow]]:
        self.readers.want(SHARD, EPOCH, tuple(TASKS))
        self.readers.flush()
        await self.clock.sleep_ms(10_000)
        return {
            task_id: rows
            for each in self.posted
            if isinstance(each, events.TasksRead)
            for task_id, rows in each.journals.items()
        }

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(job)
        job.add_done_callback(self._tasks.discard)


def _nothing(row: ShardRow) -> OwnerRow:
    raise AssertionError("nothing is published here")


def test_tasks_that_are_too_large_together_are_read_all_the_same() -> None:
    async def story(loop: VirtualLoop) -> None:
        for most in (1, 7, 30, 1_000):
            store = SlowStore(most)
            await store.append([event(each) for each in TASKS])
            found = await World(loop, store).read()
            assert found == {each: [event(each)] for each in TASKS}
            assert len(store.asked) <= 10 + len(TASKS) // most * 2

    run_virtual(story)


def test_what_is_not_ours_any_more_is_asked_for_no_longer() -> None:
    async def story(loop: VirtualLoop) -> None:
        store = SlowStore(0)
        world = World(loop, store)
        reading = asyncio.ensure_future(world.read())
        await world.clock.sleep_ms(1_000)
        assert min(store.asked) == 1
        world.is_ours = False
        await world.clock.sleep_ms(1_000)
        asked = len(store.asked)
        await reading
        assert len(store.asked) == asked
        assert world.posted == []

    run_virtual(story)
