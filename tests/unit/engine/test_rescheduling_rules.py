"""Rescheduling: across minutes and owners, ahead of what was loaded and behind it."""

from __future__ import annotations

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_revisions import ran, reschedule, update
from tests.support.engine_world import START_MS, Node, World
from tests.support.schedule_world import with_rule, words
from timeball_server.core.commands import RejectionReason
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import DueRow
from timeball_server.core.journal import EventKind as K
from timeball_server.core.messages import RevokeAnswer
from timeball_server.core.model import OverlapPolicy, PublicState, RetryPolicy, Timeouts

HOUR_MS = 3_600_000


def alarm_hints(world: World, task_id: TaskId) -> list[DueRow]:
    """The rows of the due index that the head's alarm names."""
    alarm = world.disk.history(task_id).head.alarm
    assert alarm is not None
    rows = [row for rows in world.disk.due.values() for row in rows if row.task_id == task_id]
    return [row for row in rows if (row.due_ms, row.seq, row.epoch) == alarm]


def begun(world: World) -> tuple[ScriptedExecutor, Node]:
    """An executor and an owner."""
    return ScriptedExecutor(world), world.owner()


@pytest.mark.parametrize("in_ms", [100, 1_500, 15_000, 45_000, 65_000, 3 * HOUR_MS])
@pytest.mark.parametrize("to_ms", [0, 100, 1_500, 15_000, 45_000, 70_000, HOUR_MS])
def test_a_task_moves_from_any_minute_to_any_other_and_keeps_its_id(in_ms: int, to_ms: int) -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=in_ms)
    world.run(10)
    answer = reschedule(node, call.task_id, to_ms)
    assert answer.view.task_id == call.task_id
    due_ms = START_MS + 10 + to_ms
    assert answer.view.due_ms == due_ms
    assert len(alarm_hints(world, call.task_id)) == 1
    if to_ms:
        world.run(to_ms - 1)
        assert executor.orders == []
        world.run(1)
    assert [order.run.task_id for order in executor.orders] == [call.task_id]
    assert executor.last.due_ms == due_ms
    executor.succeeds(executor.last)
    world.run(in_ms + 100_000)
    assert len(executor.orders) == 1


def test_r24_now_is_the_owner_s_now_plus_the_delay() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    world.run(500)
    assert reschedule(node, call.task_id, delay_ms=40).view.due_ms == START_MS + 540
    world.run(40)
    assert len(executor.orders) == 1


def test_r09_the_hint_of_a_new_due_time_is_durable_before_the_event() -> None:
    world = World()
    _, node = begun(world)
    call = node.create(in_ms=2_000)
    node.hold_writes = True
    answer = reschedule(node, call.task_id, 2 * HOUR_MS)
    hint = node.writes[0].rows
    assert [type(row) for row in hint] == [DueRow]
    node.settle_one()
    assert answer.outcome is None
    assert world.disk.kinds(call.task_id) == [K.CREATED]
    node.release_writes()
    assert answer.view.due_ms == START_MS + 2 * HOUR_MS


def test_r06_the_hint_of_the_old_due_time_is_dead_also_for_the_next_owner() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=30_000)
    reschedule(node, call.task_id, HOUR_MS)
    node.frozen = True
    second = world.owner()
    world.run(HOUR_MS - 1)
    assert executor.orders == []
    assert second.task(call.task_id) is not None
    world.run(1)
    assert len(executor.orders) == 1


def test_r06_a_new_owner_starts_what_was_moved_closer() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=3 * HOUR_MS)
    reschedule(node, call.task_id, 90_000)
    node.frozen = True
    world.owner()
    world.run(89_999)
    assert executor.orders == []
    world.run(1)
    assert executor.last.run.task_id == call.task_id


def test_a_reschedule_moves_the_next_attempt_and_keeps_the_count() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(retry=RetryPolicy(max_attempts=3))
    executor.fails(executor.last, delay_ms=HOUR_MS)
    assert node.read(call.task_id).view.state is PublicState.RETRYING
    moved = reschedule(node, call.task_id, 1_000).view
    assert (moved.state, moved.attempt) == (PublicState.RETRYING, 1)
    world.run(1_000)
    assert executor.last.attempt == 2
    assert executor.last.priority == 5
    executor.fails(executor.last, delay_ms=10)
    world.run(10)
    assert executor.last.attempt == 3
    executor.fails(executor.last)
    assert node.read(call.task_id).view.state is PublicState.FAILED


def test_schedule_to_close_counts_from_the_due_time_that_was_asked_for_last() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=1_000, timeouts=Timeouts(schedule_to_close_ms=5_000))
    reschedule(node, call.task_id, 60_000)
    world.run(60_000)
    assert executor.last.start_to_close_ms == 5_000
    executor.fails(executor.last, delay_ms=4_000)
    assert node.read(call.task_id).view.state is PublicState.RETRYING


def test_r24_the_horizon_holds_for_moves_too() -> None:
    world = World()
    _, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    beyond_ms = node.engine.config.horizon_ms + 1
    assert reschedule(node, call.task_id, beyond_ms).refusal is RejectionReason.HORIZON
    assert world.disk.kinds(call.task_id) == [K.CREATED]


def test_r18_no_sweep_passes_the_bucket_that_a_task_is_being_moved_to() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    node.hold_writes = True
    reschedule(node, call.task_id, 1_000)
    first = node.engine.shards[next(iter(node.engine.shards))].scan_from
    world.run(4 * 60_000)
    assert world.disk.scan_from == {next(iter(node.engine.shards)): first}
    node.release_writes()
    world.run(4 * 60_000)
    assert len(executor.orders) == 1


@pytest.mark.parametrize(("lands_ms", "starts_ms"), [(66_000, 90_000), (120_000, HOUR_MS)])
def test_r18_a_task_whose_move_lands_late_is_not_voided_by_the_sweep_that_finds_it(
    lands_ms: int, starts_ms: int
) -> None:
    """Nobody acknowledged the move, but the creation was acknowledged (ADR 14).

    What lands behind the sweep is found by the hint of the time before (rule R6).
    """
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    node.hold_writes = True
    reschedule(node, call.task_id, 5_000)
    node.settle_one()
    node.frozen = True
    world.owner()
    world.run(lands_ms)
    node.land_unheard()
    world.run(starts_ms - lands_ms)
    assert K.VOID not in world.disk.kinds(call.task_id)
    assert executor.last.run.task_id == call.task_id


def test_r18_a_run_that_is_given_back_after_its_alarm_was_renewed_is_due_now() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner(EngineConfig(renew_after_ms=10_000, renew_ahead_ms=600_000))
    call = node.create()
    world.run(10_000)
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.RENEWED]
    answer = update(node, call.task_id, b"new")
    executor.answers_revoke(RevokeAnswer.REVOKED)
    assert answer.view.due_ms == START_MS
    world.run(10)
    assert ran(executor.orders) == [b"", b"new"]
    assert len(alarm_hints(world, call.task_id)) == 1


def test_a_run_of_a_schedule_is_moved_and_updated_like_any_task_and_is_in_hand_meanwhile() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node, schedule_id = with_rule(world, OverlapPolicy.SKIP)
    world.run(11_000)
    run = executor.last.run.task_id
    executor.fails(executor.last, delay_ms=HOUR_MS)
    assert update(node, run, b"new").view.spec.schedule_id == schedule_id
    assert reschedule(node, run, 2 * HOUR_MS).view.state is PublicState.RETRYING
    world.run(20_000)
    moved = reschedule(node, run, 5_000, request_id="closer")
    world.run(5_000)
    assert moved.view.due_ms == executor.last.due_ms
    assert ran(executor.orders[-1:]) == [b"new"]
    executor.succeeds(executor.last)
    world.run(5_000)
    assert [word for _, word in words(world, schedule_id)] == [
        "LAUNCHED",
        "SKIPPED_OVERLAP",
        "SKIPPED_OVERLAP",
        "LAUNCHED",
    ]
