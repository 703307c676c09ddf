"""Rules R13-R15: fences, claims of earlier owners, attempts that may still start."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, Node, World
from timeball_server.core.engine.executors import unresolved_count
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.ids import ShardId, TaskId
from timeball_server.core.journal import DeadLetterRow, EventKind
from timeball_server.core.messages import RefusalReason, RevokeAnswer, RunOrder
from timeball_server.core.model import (
    DeliveryMode,
    FailureCause,
    PublicState,
    RetryPolicy,
    Timeouts,
)

K = EventKind
ONCE, MOST_ONCE = DeliveryMode.AT_LEAST_ONCE, DeliveryMode.AT_MOST_ONCE


def kinds(world: World, task_id: TaskId) -> list[EventKind]:
    return world.disk.kinds(task_id)


def handed_over(world: World, first: Node) -> Node:
    """The first owner freezes; a second one takes the shard."""
    first.frozen = True
    return world.owner()


# Fences ------------------------------------------------------------------------------------------


def test_r13_one_fence_per_executor_for_all_shards_taken() -> None:
    world = World()
    executors = [ScriptedExecutor(world, name) for name in ("x1", "x2")]
    node = world.node()
    for executor in executors:
        executor.heard.clear()
    shards = [ShardId(number) for number in (3, 4, 5)]
    taken = [world.acquired(shard, world.next_epoch(shard)) for shard in shards]
    node.feed(*taken)
    for executor in executors:
        fences = [message for message in executor.heard if hasattr(message, "epochs")]
        assert [[shard for shard, _ in fence.epochs] for fence in fences] == [shards]


def test_r13_a_new_stream_fences_every_shard_before_it_gets_work() -> None:
    world = World()
    node = world.owner()
    waiting = node.create()
    executor = ScriptedExecutor(world, answers_fences=False)
    assert [shard for shard, _ in executor.fences[-1][1].epochs] == [SHARD]
    world.run(1_000)
    assert executor.orders == []
    executor.answer_fences()
    assert executor.last.run.task_id == waiting.task_id


# Claims found at a take-over ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", [ONCE, MOST_ONCE])
def test_r14_a_claim_in_the_inventory_is_adopted(mode: DeliveryMode) -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(mode=mode)
    second = handed_over(world, first)
    world.run(60_000)
    assert len(executor.orders) == 1
    executor.succeeds(executor.last)
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED, K.SUCCEEDED]
    assert executor.acknowledged == [call.task_id]
    assert second.read(call.task_id).view.state is PublicState.SUCCEEDED


@pytest.mark.parametrize("mode", [ONCE, MOST_ONCE])
def test_r14_a_claim_that_its_executor_never_saw_is_released_and_made_again(
    mode: DeliveryMode,
) -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(mode=mode)
    lost = executor.last
    executor.forget(lost)
    handed_over(world, first)
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED, K.RELEASED, K.CLAIMED]
    assert executor.last.run != lost.run
    assert executor.last.attempt == 1


def taken_before_it_is_read(world: World, **spec: Any) -> tuple[ScriptedExecutor, Node, RunOrder]:
    """A run that waits at its executor; its new owner has the inventory, and not the task yet."""
    executor = ScriptedExecutor(world)
    first = world.owner()
    first.create(**spec)
    first.frozen = True
    second = world.node("s2")
    second.hold_reads = True
    second.acquire()
    return executor, second, executor.last


def test_r14_a_run_that_began_before_its_task_was_read_has_begun() -> None:
    world = World()
    beating = Timeouts(heartbeat_ms=10_000)
    executor, second, order = taken_before_it_is_read(world, timeouts=beating)
    executor.starts(order)
    second.deliver_reads()
    assert second.read(order.run.task_id).view.state is PublicState.RUNNING
    world.run(11_000)
    assert [cancel.if_silent for cancel in executor.cancels] == [True]


@pytest.mark.parametrize("mode", [ONCE, MOST_ONCE])
def test_r14_a_run_that_was_handed_back_before_its_task_was_read_never_began(
    mode: DeliveryMode,
) -> None:
    world = World()
    executor, second, order = taken_before_it_is_read(world, mode=mode)
    executor.refuses(order, RefusalReason.DRAINING)
    other = ScriptedExecutor(world, "x2")
    second.deliver_reads()
    world.run(100)
    assert K.RELEASED in kinds(world, order.run.task_id)
    assert [each.run.task_id for each in other.orders] == [order.run.task_id]


@pytest.mark.parametrize("mode", [ONCE, MOST_ONCE])
def test_r14_a_silent_member_is_waited_for(mode: DeliveryMode) -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(mode=mode)
    executor.answers_fences = False
    second = handed_over(world, first)
    other = ScriptedExecutor(world, "x2")
    world.run(60_000)
    assert other.orders == []
    assert unresolved_count(second.engine) == 1
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED]
    executor.answer_fences()
    assert unresolved_count(second.engine) == 0
    executor.succeeds(executor.last)
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED, K.SUCCEEDED]


@pytest.mark.parametrize(
    ("mode", "kind"), [(ONCE, K.RETRY), (MOST_ONCE, K.LOST)], ids=["at-least", "at-most"]
)
def test_r14_an_executor_that_is_gone_decides_by_mode(mode: DeliveryMode, kind: EventKind) -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(mode=mode)
    first.frozen = True
    executor.vanishes()
    second = world.owner()
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED, kind]
    view = second.read(call.task_id).view
    assert view.unaccounted == (("attempt 1 on x1",) if mode is ONCE else ())


def test_r14_a_silent_member_that_vanishes_decides_by_mode() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(mode=MOST_ONCE)
    executor.answers_fences = False
    second = handed_over(world, first)
    read = second.read(call.task_id)
    executor.vanishes()
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED, K.LOST]
    assert read.view.cause is FailureCause.LOST


def test_r14_no_claim_is_judged_before_the_members_are_known() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(mode=MOST_ONCE)
    first.frozen = True
    second = Node(world, "s2", EngineConfig(), seed=7)
    second.acquire()
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED]
    world.nodes.append(second)
    second.connect(executor)
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED]
    executor.succeeds(executor.last)
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED, K.SUCCEEDED]


def test_r14_members_that_lack_a_claims_executor_decide_at_last() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(mode=MOST_ONCE)
    first.frozen = True
    second = Node(world, "s2", EngineConfig(), seed=7)
    second.acquire()
    del world.executors[executor.facts.incarnation]
    second.see_executors()
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED, K.LOST]


def test_r14_a_result_that_was_told_counts_even_if_its_executor_is_gone() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(mode=MOST_ONCE)
    executor.answers_fences = False
    handed_over(world, first)
    executor.succeeds(executor.last)
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED]
    executor.vanishes()
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED, K.SUCCEEDED]


def test_r14_a_run_that_a_broken_stream_lost_is_released() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create(mode=MOST_ONCE)
    node.disconnect(executor)
    executor.forget(executor.last)
    node.connect(executor)
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED, K.RELEASED, K.CLAIMED]


def test_r14_an_executor_that_vanishes_under_an_owner_decides_by_mode() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    again, once = node.create(), node.create(mode=MOST_ONCE)
    executor.vanishes()
    assert kinds(world, again.task_id) == [K.BORN_CLAIMED, K.RETRY]
    assert kinds(world, once.task_id) == [K.BORN_CLAIMED, K.LOST]
    letters = [row for row in world.disk.listed if isinstance(row, DeadLetterRow)]
    assert [(letter.task_id, letter.cause) for letter in letters] == [(once.task_id, "LOST")]
    other = ScriptedExecutor(world, "x2")
    world.run(2_000)
    assert [(order.run.task_id, order.attempt) for order in other.orders] == [(again.task_id, 2)]


def test_a_task_that_kills_its_executors_is_exhausted() -> None:
    world = World()
    node = world.owner()
    call = node.create(retry=RetryPolicy(max_attempts=2))
    for name in ("x1", "x2"):
        executor = ScriptedExecutor(world, name)
        world.run(2_000)
        assert executor.last.run.task_id == call.task_id
        executor.vanishes()
    assert node.read(call.task_id).view.cause is FailureCause.EXHAUSTED


# Unaccounted attempts ----------------------------------------------------------------------------


def test_r15_an_ack_says_which_attempts_may_still_start() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    executor.vanishes()
    cancel = node.cancel(call.task_id)
    assert cancel.view.state is PublicState.CANCELLED
    assert cancel.view.unaccounted == ("attempt 1 on x1",)
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED, K.RETRY, K.CANCELLED]


def test_r14_cancelling_an_adopted_run_asks_its_executor() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create()
    second = handed_over(world, first)
    cancel = second.cancel(call.task_id)
    executor.answers_revoke(RevokeAnswer.REVOKED)
    assert cancel.view.state is PublicState.CANCELLED
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED, K.ADOPTED, K.CANCELLED]


def test_a_claim_made_ahead_and_released_at_take_over_is_still_not_early() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(in_ms=1_500)
    world.run(900)
    assert world.disk.kinds(call.task_id)[-1] is EventKind.CLAIMED
    first.frozen = True
    second = world.owner()
    executor.answer_fences()
    world.run(100)
    assert executor.orders == []
    due_ms = world.disk.history(call.task_id).chain[0].alarm
    assert due_ms is not None
    while not executor.orders:
        world.run(10)
    assert second.engine.now_ms >= due_ms.due_ms
