"""Group commit: who is in a hurry goes at once and takes the others along; the rest gathers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from scheduler_node.committer import PATIENT_FROM_MS, CommitLimits, Committer
from tests.support.store_worlds import event, task
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.core.carried import carried_bytes
from timeball_server.core.engine.effects import Write
from timeball_server.core.ids import Epoch, ShardId, TaskId
from timeball_server.core.journal import OutcomeDetail, OwnerListRow, Row
from timeball_server.core.limits import MAX_BATCH_BYTES, MAX_RESULT_BYTES
from timeball_server.core.model import Payload
from timeball_server.store.memory import MemoryStore

SHARD, EPOCH = ShardId(0), Epoch(1)
LINGER_MS = 10


class TimedStore(MemoryStore):
    """Remembers when it was asked to write, and how much."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self.appends: list[tuple[int, int]] = []
        self.notice: Callable[[Sequence[Row]], None] = lambda rows: None

    async def append(self, rows: Sequence[Row]) -> None:
        self.appends.append((self._clock.now().mono_ms, len(rows)))
        self.notice(rows)
        await super().append(rows)


class World:
    """A committer on a virtual clock."""

    def __init__(self, loop: VirtualLoop, limits: CommitLimits | None = None) -> None:
        self.clock = VirtualClock(loop)
        self.store = TimedStore(self.clock)
        self.durable: list[tuple[tuple[int, ...], int]] = []
        self._began_ms = self.clock.now().mono_ms
        self._tasks: set[asyncio.Task[None]] = set()
        self.committer = Committer(
            self.store,
            self.clock,
            may_write=lambda write: True,
            on_durable=lambda numbers, ms: self.durable.append((tuple(numbers), ms)),
            spawn=self._spawn,
            limits=limits,
        )

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def write(self, number: int, linger_ms: int) -> None:
        row = OwnerListRow(
            namespace="bank", owner="teller", created_ms=number, task_id=TaskId(""), handler="work"
        )
        self.committer.add(Write(number, SHARD, EPOCH, (row,), linger_ms))
        self.committer.flush()

    @property
    def appends(self) -> list[tuple[int, int]]:
        """When, counted from the beginning, and how many rows."""
        return [(at_ms - self._began_ms, rows) for at_ms, rows in self.store.appends]


def test_patient_writes_gather_until_the_last_batch_is_old_enough() -> None:
    async def story(loop: VirtualLoop) -> None:
        world = World(loop)
        for number in range(9):
            world.write(number, LINGER_MS)
            await world.clock.sleep_ms(3)
        await world.clock.sleep_ms(LINGER_MS)
        assert world.appends == [(0, 1), (10, 3), (20, 3), (30, 2)]
        assert [each for numbers, _ in world.durable for each in numbers] == [*range(9)]
        assert {patience_ms for _, patience_ms in world.durable} == {LINGER_MS}

    run_virtual(story)


def test_a_hurried_write_goes_at_once_and_takes_the_others_along() -> None:
    async def story(loop: VirtualLoop) -> None:
        world = World(loop)
        world.write(0, LINGER_MS)
        await world.clock.sleep_ms(1)
        world.write(1, LINGER_MS)
        world.write(2, 0)
        await world.clock.sleep_ms(1)
        assert world.appends == [(0, 1), (1, 2)]
        assert world.durable == [((0,), LINGER_MS), ((1, 2), 0)]

    run_virtual(story)


def test_a_full_batch_waits_for_nobody() -> None:
    async def story(loop: VirtualLoop) -> None:
        world = World(loop, CommitLimits(rows=3))
        for number in range(7):
            world.write(number, LINGER_MS)
        await world.clock.sleep_ms(1)
        assert world.appends == [(0, 1), (0, 3), (0, 3)]

    run_virtual(story)


def test_what_nobody_waits_for_gathers_by_itself_and_holds_up_nobody() -> None:
    async def story(loop: VirtualLoop) -> None:
        world = World(loop)
        for number in range(60):
            world.write(number, (0, LINGER_MS, PATIENT_FROM_MS)[number % 3])
            await world.clock.sleep_ms(1)
        await world.clock.sleep_ms(PATIENT_FROM_MS)
        hurried = [(at_ms, count) for at_ms, count in world.appends if count <= 2]
        patient = [(at_ms, count) for at_ms, count in world.appends if count > 2]
        assert [at_ms for at_ms, _ in hurried if at_ms % 3 == 0] == [*range(0, 60, 3)]
        assert patient == [(52, 16), (102, 3)]
        assert sorted(each for numbers, _ in world.durable for each in numbers) == [*range(60)]

    run_virtual(story)


def test_a_batch_is_full_of_bytes_long_before_a_database_refuses_it() -> None:
    """Results of a megabyte each, at once and of one partition: together they are one mutation."""

    async def story(loop: VirtualLoop) -> None:
        world = World(loop)
        sizes: list[int] = []
        world.store.notice = lambda rows: sizes.append(sum(map(carried_bytes, rows)))
        for number in range(40):
            detail = OutcomeDetail(result=Payload(data=bytes(MAX_RESULT_BYTES)))
            row = replace(event(task(number)), detail=detail)
            world.committer.add(Write(number, SHARD, EPOCH, (row,), LINGER_MS))
        world.committer.flush()
        await world.clock.sleep_ms(1_000)
        assert sorted(each for numbers, _ in world.durable for each in numbers) == [*range(40)]
        assert sum(sizes) == 40 * MAX_RESULT_BYTES
        assert max(sizes) <= MAX_BATCH_BYTES
        assert len(sizes) <= 2 * 40 * MAX_RESULT_BYTES // MAX_BATCH_BYTES

    run_virtual(story)


def test_what_is_larger_than_a_batch_goes_by_itself() -> None:
    async def story(loop: VirtualLoop) -> None:
        world = World(loop, CommitLimits(batch_bytes=10))
        world.write(1, LINGER_MS)
        for number in (2, 3):
            detail = OutcomeDetail(result=Payload(data=bytes(11)))
            row = replace(event(task(number)), detail=detail)
            world.committer.add(Write(number, SHARD, EPOCH, (row,), LINGER_MS))
        world.committer.flush()
        await world.clock.sleep_ms(1_000)
        assert [numbers for numbers, _ in world.durable] == [(1,), (2,), (3,)]

    run_virtual(story)


def test_a_hand_over_waits_for_no_company() -> None:
    async def story(loop: VirtualLoop) -> None:
        world = World(loop)
        for number in range(3):
            world.write(number, PATIENT_FROM_MS)
        await world.clock.sleep_ms(1)
        world.committer.hurry()
        world.committer.flush()
        await world.clock.sleep_ms(1)
        assert world.appends == [(0, 1), (1, 2)]

    run_virtual(story)


def test_an_idle_node_writes_at_once() -> None:
    async def story(loop: VirtualLoop) -> None:
        world = World(loop)
        for number in range(3):
            world.write(number, LINGER_MS)
            await world.clock.sleep_ms(2 * LINGER_MS)
        assert world.appends == [(0, 1), (20, 1), (40, 1)]

    run_virtual(story)
