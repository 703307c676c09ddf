"""What follows from results: success, retry with raised priority, ends, snoozes, waiters."""

from __future__ import annotations

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import World
from timeball_server.core.engine import events as ev
from timeball_server.core.journal import DeadLetterRow, EventKind, StateListRow
from timeball_server.core.messages import RunOrder
from timeball_server.core.model import (
    DeliveryMode,
    FailureCause,
    Payload,
    PublicState,
    RetryPolicy,
    Timeouts,
)

K = EventKind
AT_ONCE = RetryPolicy(max_attempts=10, initial_delay_ms=1)


def run_until_order(world: World, executor: ScriptedExecutor, count: int) -> RunOrder:
    while len(executor.orders) < count:
        world.run(100)
    return executor.orders[count - 1]


def test_a_result_is_what_the_caller_reads() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    world.run(40)
    executor.succeeds(executor.last, b"42")
    view = node.read(call.task_id).view
    assert (view.state, view.result) == (PublicState.SUCCEEDED, Payload(data=b"42"))
    listed = [row.state for row in world.disk.listed if isinstance(row, StateListRow)]
    assert listed == ["SUCCEEDED"]


def test_a_failed_attempt_is_retried_with_its_priority_raised_within_bounds() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.create(retry=AT_ONCE, priority=4)
    node.create(retry=AT_ONCE, priority=9)
    for count in range(1, 13):
        order = run_until_order(world, executor, count)
        executor.fails(order, delay_ms=1)
    low = [order.priority for order in executor.orders if order.priority != 9]
    assert low == [4, 5, 6, 7, 7, 7]
    assert [order.priority for order in executor.orders if order.priority == 9] == [9] * 6


def test_a_retry_says_when_and_with_which_priority_it_comes() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    executor.fails(executor.last, delay_ms=5_000)
    view = node.read(call.task_id).view
    assert view.state is PublicState.RETRYING
    assert view.due_ms == world.wall_ms + 5_000
    assert view.effective_priority == 5
    world.run(4_999)
    assert len(executor.orders) == 1
    world.run(1)
    assert executor.last.attempt == 2


def test_r09_the_hint_of_a_retry_is_durable_before_the_retry() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    node.hold_writes = True
    executor.fails(executor.last, delay_ms=90_000)
    hints = len(next(iter(world.disk.due.values())))
    node.settle_one()
    assert sum(len(rows) for rows in world.disk.due.values()) == hints + 1
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED]
    node.settle_one()
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.RETRY]
    assert node.task(call.task_id) is None
    node.release_writes()
    world.run(90_000)
    assert executor.last.attempt == 2


@pytest.mark.parametrize(
    ("retriable", "attempts", "cause"),
    [(True, 2, FailureCause.EXHAUSTED), (False, 1, FailureCause.NON_RETRIABLE)],
)
def test_what_fails_for_good_becomes_a_dead_letter(
    retriable: bool, attempts: int, cause: FailureCause
) -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create(retry=RetryPolicy(max_attempts=2))
    for count in range(1, attempts + 1):
        order = run_until_order(world, executor, count)
        executor.fails(order, retriable=retriable)
    view = node.read(call.task_id).view
    assert (view.state, view.cause) == (PublicState.FAILED, cause)
    (letter,) = [row for row in world.disk.listed if isinstance(row, DeadLetterRow)]
    assert (letter.task_id, letter.cause, letter.message) == (call.task_id, cause, "no")
    assert node.task(call.task_id) is None


def test_a_snooze_counts_neither_as_attempt_nor_as_failure() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create(retry=RetryPolicy(max_attempts=1))
    for count in range(1, 4):
        order = run_until_order(world, executor, count)
        assert (order.attempt, order.priority) == (1, 4)
        executor.snoozes(order, 1_000)
    order = run_until_order(world, executor, 4)
    executor.succeeds(order)
    assert node.read(call.task_id).view.state is PublicState.SUCCEEDED


def test_an_interrupted_attempt_is_given_back_and_does_not_count() -> None:
    world = World()
    first = ScriptedExecutor(world, "x1")
    node = world.owner()
    call = node.create(retry=RetryPolicy(max_attempts=1))
    second = ScriptedExecutor(world, "x2")
    first.says_capacity(0, draining=True)
    first.interrupts(first.last)
    assert second.last.run.task_id == call.task_id
    assert second.last.attempt == 1
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.RELEASED, K.CLAIMED]


def test_at_most_once_is_never_started_twice() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    begun = node.create(mode=DeliveryMode.AT_MOST_ONCE)
    executor.interrupts(executor.last)
    assert node.read(begun.task_id).view.cause is FailureCause.LOST
    unseen = node.create(mode=DeliveryMode.AT_MOST_ONCE)
    executor.interrupts(executor.last, begun=False)
    world.run(10)
    assert [order.run.task_id for order in executor.orders] == [
        begun.task_id,
        unseen.task_id,
        unseen.task_id,
    ]


def test_a_handler_that_obeys_a_cancellation_ends_cancelled() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    executor.stops(executor.last)
    assert node.read(call.task_id).view.state is PublicState.CANCELLED


def test_those_who_wait_hear_of_the_end_and_only_then() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    patient, impatient = node.wait(call.task_id), node.wait(call.task_id)
    node.feed(ev.WatchEnded(impatient.token, call.task_id))
    executor.fails(executor.last, delay_ms=30_000)
    assert patient.outcome is None
    world.run(30_000)
    executor.succeeds(executor.last)
    assert patient.view.state is PublicState.SUCCEEDED
    assert impatient.outcome is None
    assert node.wait(call.task_id).view.state is PublicState.SUCCEEDED
    assert all(shard.watchers == {} for shard in node.engine.shards.values())


def test_other_namespaces_see_nothing() -> None:
    world = World()
    node = world.owner()
    call = node.create(in_ms=5_000)
    assert node.read(call.task_id, "other").refusal.value == "TASK_NOT_FOUND"
    assert node.cancel(call.task_id, "other").refusal.value == "TASK_NOT_FOUND"
    assert node.read(call.task_id).view.state is PublicState.SCHEDULED


def test_while_the_coordination_service_is_out_of_sight_nothing_starts() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.feed(ev.Suspended(True))
    now, soon = node.create(), node.create(in_ms=1_000)
    world.run(3_000)
    assert executor.orders == []
    node.feed(ev.Suspended(False))
    assert {order.run.task_id for order in executor.orders} == {now.task_id, soon.task_id}


def test_an_at_most_once_task_is_never_started_twice_whatever_its_handler_says() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create(mode=DeliveryMode.AT_MOST_ONCE, retry=AT_ONCE)
    world.run(40)
    executor.fails(executor.last, delay_ms=1)
    world.run(5_000)
    view = node.read(call.task_id).view
    assert (view.state, view.cause) == (PublicState.FAILED, FailureCause.EXHAUSTED)
    assert len(executor.orders) == 1


def test_schedule_to_close_bounds_all_attempts_together() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    limits = Timeouts(start_to_close_ms=60_000, schedule_to_close_ms=2_000)
    call = node.create(retry=AT_ONCE, timeouts=limits)
    world.run(40)
    assert executor.last.start_to_close_ms is not None
    assert executor.last.start_to_close_ms <= 2_000
    executor.fails(executor.last, delay_ms=1_000)
    order = run_until_order(world, executor, 2)
    assert order.start_to_close_ms is not None
    assert order.start_to_close_ms < 1_000
    executor.fails(order, delay_ms=1_500)
    view = node.read(call.task_id).view
    assert (view.state, view.cause) == (PublicState.FAILED, FailureCause.EXPIRED)


def test_a_retry_that_found_no_executor_ends_with_schedule_to_close() -> None:
    world = World()
    node = world.owner()
    call = node.create(timeouts=Timeouts(schedule_to_close_ms=3_000))
    world.run(5_000)
    view = node.read(call.task_id).view
    assert (view.state, view.cause) == (PublicState.FAILED, FailureCause.EXPIRED)


def test_terminating_a_running_task_fences_its_attempt_at_once() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    world.run(40)
    order = executor.last
    executor.starts(order)
    ended = node.terminate(call.task_id).view
    assert ended.state is PublicState.TERMINATED
    executor.succeeds(order)
    assert node.read(call.task_id).view.state is PublicState.TERMINATED


def test_reading_a_running_task_again_and_again_piles_nothing_up() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    world.run(40)
    executor.starts(executor.last)
    before = len(node.engine.timeline)
    for _ in range(50):
        node.read(call.task_id)
    assert len(node.engine.timeline) <= before + 1
