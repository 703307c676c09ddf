"""Rules R10-R12: one event at a time, only the named executor, orders in their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, World
from timeball_server.core.commands import RejectionReason
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.node import next_wake_ms
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.journal import DeadLetterRow, EventKind, OutcomeDetail
from timeball_server.core.messages import (
    CancelRun,
    Dispatch,
    Fence,
    Inventory,
    RefusalReason,
    Revoke,
    RevokeAnswer,
)
from timeball_server.core.model import FailureCause, PublicState, Timeouts

K = EventKind


def test_r10_a_task_with_a_mutation_in_flight_is_not_dispatched() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create(in_ms=2_000)
    world.run(1_500)
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.CLAIMED]
    node.hold_writes = True
    cancel = node.cancel(call.task_id)
    world.run(3_000)
    assert executor.orders == []
    node.settle()
    world.run(3_000)
    assert cancel.view.state is PublicState.CANCELLED
    assert executor.orders == []


def test_r10_the_task_is_handed_over_directly_to_the_next_in_line() -> None:
    world = World()
    ScriptedExecutor(world)
    node = world.owner()
    node.hold_writes = True
    create = node.create(in_ms=3_000)
    waiting = [node.cancel(create.task_id) for _ in range(3)]
    node.settle_one()
    assert [write.rows[0].kind for write in node.writes] == [K.CANCELLED]  # type: ignore[union-attr]
    third_party = node.cancel(create.task_id)
    assert len(node.writes) == 1
    node.release_writes()
    assert [call.view.terminal for call in (*waiting, third_party)] == [True] * 4
    assert world.disk.kinds(create.task_id) == [K.CREATED, K.CANCELLED]


def test_r10_a_mutation_of_a_claimed_unsent_task_supersedes_the_claim() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create(in_ms=2_000)
    world.run(1_500)
    assert node.cancel(call.task_id).view.state is PublicState.CANCELLED
    assert executor.revokes == []
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.CLAIMED, K.CANCELLED]


def test_r11_another_executor_needs_another_claim() -> None:
    world = World()
    first = ScriptedExecutor(world, "x1")
    node = world.owner()
    call = node.create(in_ms=2_000)
    world.run(1_500)
    second = ScriptedExecutor(world, "x2")
    node.disconnect(first)
    world.run(500)
    assert first.orders == []
    assert second.last.run.task_id == call.task_id
    chain = world.disk.history(call.task_id).chain
    assert [(row.kind, row.executor, row.attempt) for row in chain[1:]] == [
        (K.CLAIMED, "x1", 1),
        (K.CLAIMED, "x2", 1),
    ]
    assert second.last.run.run == chain[-1].run


def test_r11_a_restarted_executor_is_another_executor() -> None:
    world = World()
    first = ScriptedExecutor(world)
    node = world.owner()
    call = node.create(in_ms=2_000)
    world.run(1_500)
    first.vanishes()
    second = ScriptedExecutor(world)
    world.run(500)
    assert first.orders == []
    assert second.last.run.task_id == call.task_id
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.CLAIMED, K.CLAIMED]


def test_a_claim_that_is_durable_after_its_executor_vanished_goes_to_another() -> None:
    world = World()
    first = ScriptedExecutor(world, "x1")
    node = world.owner()
    node.hold_writes = True
    call = node.create()
    first.vanishes()
    second = ScriptedExecutor(world, "x2")
    node.release_writes()
    world.run(1_000)
    assert first.orders == []
    assert second.last.run.task_id == call.task_id
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.CLAIMED]


def test_r12_an_order_precedes_the_fence_of_a_stream_that_opens_in_its_step() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.hold_writes = True
    node.create()
    write = node.land_unheard()
    node.hold_writes = False
    incarnation = executor.facts.incarnation
    executor.heard.clear()
    node.feed(ev.Written((write.token,)), ev.StreamDown(incarnation), ev.StreamUp(incarnation))
    assert [type(message) for message in executor.heard] == [Dispatch, Fence]
    assert len(executor.orders) == 1
    world.run(1_000)
    assert len(executor.orders) == 1


def test_r12_an_order_precedes_its_own_revocation() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.hold_writes = True
    call = node.create()
    write = node.land_unheard()
    executor.heard.clear()
    node.cancel(call.task_id)
    node.feed(ev.Written((write.token,)))
    assert [type(message) for message in executor.heard] == [Dispatch, Revoke]


def test_r12_runs_sent_after_a_fence_are_not_judged_by_it() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    executor.answers_fences = False
    other = type(SHARD)(4)
    node.acquire(other)
    call = node.create()
    sent = executor.last
    known, executor.known = executor.known, {}
    executor.answer_fences()
    executor.known = known
    world.run(1_000)
    assert executor.orders == [sent]
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED]


def test_r12_an_inventory_of_a_broken_stream_judges_nothing() -> None:
    world = World()
    executor = ScriptedExecutor(world, answers_fences=False)
    node = world.owner()
    late = list(executor.fences)
    node.disconnect(executor)
    incarnation = executor.facts.incarnation
    stale = [ev.ExecutorSaid(incarnation, Inventory(fence.number, ())) for _, fence in late]
    node.feed(*stale)
    assert not node.engine.executors[incarnation].ready
    node.create()
    world.run(1_000)
    assert executor.orders == []


def test_r12_a_result_is_acknowledged_when_its_event_is_durable() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    node.hold_writes = True
    executor.succeeds(executor.last)
    assert executor.acknowledged == []
    executor.succeeds(executor.last)
    assert len(node.writes) == 1
    node.release_writes()
    assert executor.acknowledged == [call.task_id] * 2
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.SUCCEEDED]


def test_r12_a_result_that_means_nothing_any_more_is_acknowledged_too() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    order = executor.last
    executor.fails(order, delay_ms=5_000)
    executor.succeeds(order)
    assert executor.acknowledged == [call.task_id] * 2
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.RETRY]


def test_nothing_waits_for_an_executor_that_refuses() -> None:
    world = World()
    full = ScriptedExecutor(world, "x1")
    node = world.owner()
    node.create()
    order = full.last
    free = ScriptedExecutor(world, "x2")
    full.refuses(order, RefusalReason.NO_FREE_SLOT)
    assert free.last.run.task_id == order.run.task_id
    assert node.engine.executors[full.facts.incarnation].free == 0
    full.says_capacity(3)
    assert node.engine.executors[full.facts.incarnation].free == full.facts.slots


@pytest.mark.parametrize(
    "reason",
    [
        RefusalReason.DRAINING,
        RefusalReason.UNKNOWN_HANDLER,
        RefusalReason.OTHER_INCARNATION,
        RefusalReason.NO_FREE_SLOT,
    ],
)
def test_a_refused_run_waits_without_spinning_when_nobody_else_can(reason: RefusalReason) -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.create()
    executor.refuses(executor.last, reason)
    world.run(3_000)
    assert len(executor.orders) == 1


@given(
    st.lists(st.integers(-2_000, 40_000), min_size=1, max_size=6),
    st.lists(st.integers(-300, 6_000), min_size=1, max_size=20),
)
def test_no_task_is_ever_early(dues: list[int], jumps: list[int]) -> None:
    """Whatever the ticks, and even if the wall clock steps back."""
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    latest_ms = world.wall_ms
    for in_ms in dues:
        node.create(in_ms=in_ms)
    for ms in jumps:
        world.jump(ms)
        latest_ms = max(latest_ms, world.wall_ms)
        assert all(order.due_ms <= latest_ms for order in executor.orders)
    world.run(40_000 + 300 * len(jumps))
    assert len(executor.orders) == len(dues)


def test_a_task_that_nobody_could_start_in_time_expires() -> None:
    world = World()
    node = world.owner()
    limited = node.create(timeouts=Timeouts(schedule_to_start_ms=5_000))
    patient = node.create()
    watcher = node.wait(limited.task_id)
    world.run(5_000)
    assert watcher.outcome is None
    world.run(2_000)
    assert watcher.view.cause is FailureCause.EXPIRED
    assert world.disk.kinds(limited.task_id) == [K.CREATED, K.DEAD]
    executor = ScriptedExecutor(world)
    world.run(1_000)
    assert [order.run.task_id for order in executor.orders] == [patient.task_id]


@pytest.mark.parametrize(
    ("timeouts", "over_ms"),
    [
        (Timeouts(schedule_to_start_ms=437), 438),
        (Timeouts(schedule_to_close_ms=437), 437),
    ],
)
@pytest.mark.parametrize("key", ["", "till-7"])
def test_an_owner_with_nothing_else_to_do_wakes_for_the_end_of_a_limit(
    timeouts: Timeouts, over_ms: int, key: str
) -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1)
    node = world.owner()
    node.create(concurrency_key=key)
    begin_ms = world.wall_ms
    limited = node.create(timeouts=timeouts, concurrency_key=key)
    world.run(2_000)
    head = world.disk.history(limited.task_id).head
    assert (head.kind, head.at_ms - begin_ms) == (K.DEAD, over_ms)
    assert len(executor.orders) == 1


def test_a_limit_of_a_task_that_has_left_wakes_nobody() -> None:
    world = World()
    ScriptedExecutor(world, slots=1)
    node = world.owner()
    node.create()
    limited = node.create(timeouts=Timeouts(schedule_to_start_ms=437))
    world.run(20)
    assert next_wake_ms(node.engine) <= world.wall_ms + 437
    node.cancel(limited.task_id)
    assert next_wake_ms(node.engine) > world.wall_ms + 437


def test_an_expired_task_is_not_started_when_somebody_becomes_free_late() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1)
    node = world.owner()
    node.create()
    limited = node.create(timeouts=Timeouts(schedule_to_start_ms=500))
    world.run(501)
    executor.succeeds(executor.last)
    assert len(executor.orders) == 1
    head = world.disk.history(limited.task_id).head
    assert isinstance(head.detail, OutcomeDetail)
    assert head.detail.cause is FailureCause.EXPIRED
    letters = [row for row in world.disk.listed if isinstance(row, DeadLetterRow)]
    assert [letter.cause for letter in letters] == ["EXPIRED"]


def test_r14_cancelling_a_sent_run_asks_first_and_cancels_what_has_not_begun() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    first, second = node.cancel(call.task_id), node.cancel(call.task_id)
    assert len(executor.revokes) == 1
    assert first.outcome is second.outcome is None
    executor.answers_revoke(RevokeAnswer.REVOKED)
    assert first.view.state is second.view.state is PublicState.CANCELLED
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.CANCELLED]
    assert node.engine.executors[executor.facts.incarnation].runs == {}


def test_r14_what_the_executor_never_saw_is_cancelled() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    cancel = node.cancel(call.task_id)
    executor.answers_revoke(RevokeAnswer.NOT_SEEN)
    assert cancel.view.state is PublicState.CANCELLED


def test_r14_a_running_attempt_is_too_late_and_its_handler_is_told() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    cancel = node.cancel(call.task_id)
    executor.answers_revoke(RevokeAnswer.RUNNING)
    assert cancel.refusal is RejectionReason.TOO_LATE
    assert executor.cancels == [CancelRun(executor.last.run, SHARD, executor.last.epoch)]
    assert node.read(call.task_id).view.state is PublicState.RUNNING
    assert node.cancel(call.task_id).refusal is RejectionReason.TOO_LATE
    executor.stops(executor.last)
    assert node.read(call.task_id).view.state is PublicState.CANCELLED


def test_r14_an_attempt_that_is_known_to_run_is_not_asked_about() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    executor.starts(executor.last)
    assert node.cancel(call.task_id).refusal is RejectionReason.TOO_LATE
    assert executor.revokes == []


def test_r14_a_finished_attempt_is_too_late() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    cancel = node.cancel(call.task_id)
    executor.answers_revoke(RevokeAnswer.FINISHED)
    assert cancel.refusal is RejectionReason.TOO_LATE
    executor.succeeds(executor.last)
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.SUCCEEDED]


def test_r14_a_result_that_overtakes_the_answer_is_too_late() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    cancel = node.cancel(call.task_id)
    executor.succeeds(executor.last)
    assert cancel.refusal is RejectionReason.TOO_LATE
    executor.answers_revoke(RevokeAnswer.FINISHED)
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.SUCCEEDED]


def test_r14_without_an_answer_the_cancellation_is_unknown_and_not_written() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    asked = node.cancel(call.task_id)
    node.disconnect(executor)
    assert asked.refusal is RejectionReason.UNKNOWN
    assert node.cancel(call.task_id).refusal is RejectionReason.UNKNOWN
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED]


def test_r14_a_run_that_is_given_back_without_being_asked_gets_a_new_claim() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    first = executor.last
    executor.revokes.append((node, Revoke(first.run, SHARD, first.epoch)))
    executor.answers_revoke(RevokeAnswer.REVOKED)
    world.run(10)
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.RELEASED, K.CLAIMED]
    assert executor.last.run != first.run
    assert executor.last.attempt == 1


def test_r18_a_long_run_renews_its_alarm() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner(EngineConfig(renew_after_ms=10_000, renew_ahead_ms=30_000))
    call = node.create()
    executor.starts(executor.last)
    world.run(10_000)
    chain = world.disk.history(call.task_id).chain
    assert [row.kind for row in chain] == [K.BORN_CLAIMED, K.RENEWED]
    assert chain[-1].alarm is not None
    assert chain[-1].alarm.due_ms == world.wall_ms + 30_000
    executor.succeeds(executor.last)
    assert world.disk.kinds(call.task_id)[-1] is K.SUCCEEDED


def test_r03_a_claim_that_is_durable_while_the_service_is_out_of_sight_is_not_sent() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.hold_writes = True
    call = node.create()
    node.feed(ev.Suspended(True))
    node.release_writes()
    assert call.view.state is PublicState.SCHEDULED
    assert executor.orders == []
    node.feed(ev.Suspended(False))
    assert executor.last.run.task_id == call.task_id


def test_r24_a_claim_is_not_sent_if_the_clock_stepped_back_before_it_was_durable() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.hold_writes = True
    node.create()
    world.jump(-500)
    node.release_writes()
    assert executor.orders == []
    world.run(499)
    assert executor.orders == []
    world.run(1)
    assert len(executor.orders) == 1
