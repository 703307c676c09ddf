"""While the store takes no writes none are begun, and callers hear when to try again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from timeball.errors import StoreUnavailable, Unavailable

from coordinator.outcomes import RETRY_AFTER_S
from coordinator.requests import Caller, CreateRequest
from scheduler_node.calls import Calls
from scheduler_node.committer import CommitLimits, Committer
from tests.support.fake_owners import Fault, Rig, on_rig
from tests.support.store_worlds import event, task
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.core.commands import (
    CancelTask,
    Explained,
    ExplainTask,
    ReadTask,
    Rejected,
    RejectionReason,
)
from timeball_server.core.engine import events
from timeball_server.core.engine.effects import Write
from timeball_server.core.explanation import BlockingCause, Explanation, Reason
from timeball_server.core.ids import Epoch, ShardId
from timeball_server.core.journal import Row
from timeball_server.core.minting import CreateTime, fresh_request_id
from timeball_server.core.model import TaskSpec
from timeball_server.store.memory import MemoryStore

SHARD, EPOCH = ShardId(0), Epoch(1)
PATIENCE_MS = 2_000


class AbsentStore(MemoryStore):
    """Refuses to write until it is back."""

    def __init__(self) -> None:
        super().__init__()
        self.is_back = False

    async def append(self, rows: Sequence[Row]) -> None:
        if not self.is_back:
            raise StoreUnavailable("away")
        await super().append(rows)


class World:
    """A committer with room for two batches."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.clock = VirtualClock(loop)
        self.store = AbsentStore()
        self.durable: list[int] = []
        self.is_ours = True
        self._tasks: set[asyncio.Task[None]] = set()
        self.committer = Committer(
            self.store,
            self.clock,
            may_write=lambda _: self.is_ours,
            on_durable=lambda numbers, _: self.durable.extend(numbers),
            spawn=self._spawn,
            limits=CommitLimits(batches_in_flight=2),
        )

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(job)
        job.add_done_callback(self._tasks.discard)

    async def write(self, number: int) -> bool:
        """Whether it is stuck after this write was tried."""
        self.committer.add(Write(number, SHARD, EPOCH, (event(task(number)),), 0))
        self.committer.flush()
        await self.clock.sleep_ms(1)
        return self.committer.is_stuck


def test_it_is_stuck_when_no_batch_gets_through_and_moves_again_by_itself() -> None:
    async def story(loop: VirtualLoop) -> None:
        world = World(loop)
        assert [await world.write(number) for number in range(3)] == [False, True, True]
        world.store.is_back = True
        await world.clock.sleep_ms(2_000)
        assert not world.committer.is_stuck
        assert sorted(world.durable) == [0, 1, 2]

    run_virtual(story)


def test_a_shard_that_was_lost_is_nobodys_obstacle() -> None:
    async def story(loop: VirtualLoop) -> None:
        world = World(loop)
        assert [await world.write(number) for number in range(2)] == [False, True]
        world.is_ours = False
        await world.clock.sleep_ms(2_000)
        assert not world.committer.is_stuck
        assert world.durable == []

    run_virtual(story)


@pytest.mark.asyncio
async def test_writing_commands_are_refused_and_reading_ones_are_not() -> None:
    posted: list[events.Event] = []
    calls = Calls(posted.append, lambda: True)
    cancel = CancelTask(namespace="bank", actor="user:teller", task_id=task(1), request_id="r")
    (outcome,) = await calls.execute([cancel])
    assert isinstance(outcome, Rejected)
    assert outcome.reason is RejectionReason.NOT_READY
    assert posted == []
    reading = asyncio.create_task(calls.execute([ReadTask(namespace="bank", task_id=task(1))]))
    await asyncio.wait((reading,), timeout=0)
    assert len(posted) == 1
    assert not reading.done()
    calls.close()
    await reading


@pytest.mark.asyncio
@pytest.mark.parametrize("is_stuck", [True, False])
async def test_who_asks_why_a_task_waits_hears_of_the_store(is_stuck: bool) -> None:
    posted: list[events.Event] = []
    calls = Calls(posted.append, lambda: is_stuck)
    asking = asyncio.create_task(calls.execute([ExplainTask(namespace="bank", task_id=task(1))]))
    await asyncio.wait((asking,), timeout=0)
    (arrived,) = posted
    assert isinstance(arrived, events.CommandArrived)
    waits = Reason(cause=BlockingCause.STARTING, sentence="it is due", since_ms=7)
    calls.answer(arrived.token, Explained(Explanation(task_id=task(1), at_ms=9, reasons=(waits,))))
    calls.flush()
    (outcome,) = await asking
    assert isinstance(outcome, Explained)
    told = [(each.cause, each.since_ms) for each in outcome.explanation.reasons]
    store_away = [(BlockingCause.STORE_UNAVAILABLE, 7)] if is_stuck else []
    assert told == [*store_away, (BlockingCause.STARTING, 7)]


@on_rig
async def test_a_caller_whose_patience_ends_hears_why_and_when_to_try_again(rig: Rig) -> None:
    owner = await rig.node("west", 0, 1, 2, 3)
    owner.faults.extend([Fault.NOT_READY] * 1_000)
    request = CreateRequest(
        spec=TaskSpec(namespace="shop", owner="clerk", handler="billing.charge"),
        time=CreateTime(delay_ms=60_000),
        request_id=fresh_request_id(rig.clock.now().wall_ms, bytes(10)),
        resend=False,
    )
    (answer,) = await rig.api.create(Caller("shop", "clerk"), [request], PATIENCE_MS)
    assert isinstance(answer, Unavailable)
    assert answer.retry_after_s == RETRY_AFTER_S
    assert "No scheduler node owns" not in answer.message
