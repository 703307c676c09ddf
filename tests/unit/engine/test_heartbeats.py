"""Heartbeats: silence is judged and asked about, progress is shown, checkpoints are handed on."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import Node, World
from timeball_server.core.commands import Explained, ExplainTask, WatchTask
from timeball_server.core.engine.pulse import LEAST_SAVE_MS
from timeball_server.core.journal import EventKind, ProgressDetail
from timeball_server.core.messages import Beat, Beats, RunOrder
from timeball_server.core.model import (
    DeliveryMode,
    Failure,
    FailureCause,
    Payload,
    PublicState,
    RetryPolicy,
    Timeouts,
)

BEAT_MS = 10_000
FIVE, SIX = Payload(data=b"5"), Payload(data=b"6")
SOON = RetryPolicy(max_attempts=3, initial_delay_ms=1, max_delay_ms=1)
BEATING: dict[str, Any] = {"timeouts": Timeouts(heartbeat_ms=BEAT_MS), "retry": SOON}
SILENT = Failure(kind="HEARTBEAT_TIMEOUT", message="silent")


def begun(world: World, **spec: Any) -> tuple[ScriptedExecutor, Node, RunOrder]:
    """A running attempt whose handler must not be silent."""
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.create(**{**BEATING, **spec})
    executor.starts(executor.last)
    return executor, node, executor.last


def says(
    executor: ScriptedExecutor, order: RunOrder, checkpoint: Payload | None = None, **words: object
) -> None:
    executor.tell(Beats((Beat(run=order.run, checkpoint=checkpoint, **words),)))  # type: ignore[arg-type]


def next_order(world: World, executor: ScriptedExecutor, after: RunOrder | None = None) -> RunOrder:
    """The order after this one, or the first."""
    while not executor.orders or executor.last is after:
        world.run(50)
    return executor.last


def test_a_clock_that_is_put_back_hides_no_silence() -> None:
    world = World()
    executor, node, _ = begun(world)
    world.run(1_000)
    world.wall_ms -= 3_600_000
    world.run(BEAT_MS - 1_001)
    assert executor.cancels == []
    world.run(1)
    assert len(executor.cancels) == 1
    world.run(node.engine.config.renew_after_ms)
    assert EventKind.RENEWED in world.disk.kinds(executor.last.run.task_id), "R18: its alarm too"


def test_a_silent_run_is_asked_about_after_its_timeout_and_again_after_another() -> None:
    world = World()
    executor, _, order = begun(world)
    world.run(BEAT_MS - 1)
    assert executor.cancels == []
    world.run(1)
    (asked,) = executor.cancels
    assert (asked.run, asked.if_silent, asked.terminate) == (order.run, True, False)
    world.run(BEAT_MS)
    assert len(executor.cancels) == 2


def test_who_is_heard_in_time_is_not_asked() -> None:
    world = World()
    executor, _, order = begun(world)
    for _ in range(40):
        world.run(BEAT_MS - 1)
        says(executor, order)
    assert executor.cancels == []


def test_a_run_without_the_timeout_may_be_silent_for_ever() -> None:
    world = World()
    executor, _, _ = begun(world, timeouts=Timeouts())
    world.run(20 * BEAT_MS)
    assert executor.cancels == []


def test_a_run_that_has_not_begun_is_not_judged() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    world.owner().create(**BEATING)
    world.run(3 * BEAT_MS)
    executor.starts(executor.last)
    world.run(BEAT_MS - 1)
    assert executor.cancels == []
    world.run(BEAT_MS)
    assert len(executor.cancels) == 1


def test_a_clock_that_steps_makes_nobody_silent() -> None:
    world = World()
    executor, _, _ = begun(world)
    world.wall_ms += 10 * BEAT_MS
    world.run(BEAT_MS - 1)
    assert executor.cancels == []


def test_who_cannot_be_heard_is_given_a_full_period_once_he_can() -> None:
    world = World()
    executor, node, _ = begun(world)
    world.run(BEAT_MS // 2)
    node.disconnect(executor)
    world.run(5 * BEAT_MS)
    node.connect(executor)
    world.run(BEAT_MS // 2)
    assert executor.cancels == []
    world.run(BEAT_MS)
    assert len(executor.cancels) == 1


def test_r14_a_new_owner_gives_a_full_period_before_it_asks() -> None:
    world = World()
    executor, first, order = begun(world)
    world.run(BEAT_MS - 1)
    first.frozen = True
    world.owner()
    world.run(BEAT_MS - 1)
    assert executor.cancels == []
    world.run(1)
    assert [asked.run for asked in executor.cancels] == [order.run]


@pytest.mark.parametrize(
    ("mode", "state"),
    [
        (DeliveryMode.AT_LEAST_ONCE, PublicState.RETRYING),
        (DeliveryMode.AT_MOST_ONCE, PublicState.FAILED),
    ],
)
def test_a_run_that_was_given_up_is_retried_by_policy(
    mode: DeliveryMode, state: PublicState
) -> None:
    world = World()
    later = RetryPolicy(initial_delay_ms=60_000, jitter=0)
    executor, node, order = begun(world, mode=mode, retry=later)
    executor.ends(order, failure=SILENT)
    view = node.read(order.run.task_id).view
    assert (view.state, view.failure) == (state, SILENT)
    assert view.cause is (None if state is PublicState.RETRYING else FailureCause.EXHAUSTED)


def test_progress_is_shown_while_the_attempt_runs_and_after_it_failed() -> None:
    world = World()
    executor, node, order = begun(world)
    says(executor, order, FIVE, fraction=0.25, note="5 of 20")
    heard_ms = world.wall_ms
    world.run(100)
    for _ in range(2):
        progress = node.read(order.run.task_id).view.progress
        assert progress is not None
        assert (progress.fraction, progress.note) == (0.25, "5 of 20")
        assert (progress.heard_ms, progress.checkpoint) == (heard_ms, FIVE)
        executor.fails(order, delay_ms=60_000)
    assert node.read(order.run.task_id).view.state is PublicState.RETRYING


def test_a_watcher_hears_of_progress() -> None:
    world = World()
    executor, node, order = begun(world)
    task_id = order.run.task_id
    watch = node.ask(WatchTask(task_id=task_id, namespace="shop", every=True), task_id)
    says(executor, order, fraction=0.5)
    progress = watch.view.progress
    assert progress is not None
    assert progress.fraction == 0.5


def test_an_explanation_says_how_far_a_run_is_and_by_when_it_must_speak() -> None:
    world = World()
    executor, node, order = begun(world)
    says(executor, order, fraction=0.5, note="half")
    command = ExplainTask(task_id=order.run.task_id, namespace="shop")
    told = node.ask(command, order.run.task_id).outcome
    assert isinstance(told, Explained)
    reason = told.explanation.reasons[0]
    assert reason.sentence == "attempt 1 is running on x1, 50 % done: half"
    assert reason.next_check_ms == world.wall_ms + BEAT_MS
    assert dict(reason.details)["progress"] == "0.5"


def test_the_next_attempt_gets_the_last_checkpoint_of_those_before() -> None:
    world = World()
    executor, _, order = begun(world)
    assert order.checkpoint is None
    says(executor, order, FIVE)
    says(executor, order)
    executor.fails(order)
    second = next_order(world, executor, order)
    assert second.checkpoint == FIVE
    executor.ends(second, failure=SILENT, checkpoint=SIX)
    third = next_order(world, executor, second)
    assert (third.attempt, third.checkpoint) == (3, SIX)


def test_an_attempt_that_left_nothing_hands_on_what_it_was_given() -> None:
    world = World()
    executor, _, order = begun(world)
    says(executor, order, FIVE)
    executor.fails(order)
    second = next_order(world, executor, order)
    executor.fails(second)
    assert next_order(world, executor, second).checkpoint == FIVE


def test_the_checkpoint_survives_the_executor() -> None:
    world = World()
    executor, _, order = begun(world)
    says(executor, order, FIVE)
    other = ScriptedExecutor(world, "x2")
    executor.vanishes()
    assert next_order(world, other).checkpoint == FIVE


def test_the_checkpoint_survives_a_shutdown() -> None:
    world = World()
    executor, _, order = begun(world)
    says(executor, order, FIVE)
    executor.interrupts(order)
    again = next_order(world, executor, order)
    assert (again.attempt, again.checkpoint) == (1, FIVE)


def test_the_checkpoint_survives_the_owner_by_its_executor() -> None:
    world = World()
    executor, first, order = begun(world)
    says(executor, order, FIVE)
    first.frozen = True
    second = world.owner()
    says(executor, order, FIVE, note="again")
    other = ScriptedExecutor(world, "x2")
    executor.vanishes()
    assert next_order(world, other).checkpoint == FIVE
    assert second.task(order.run.task_id) is not None


def test_what_is_heard_before_the_task_is_read_is_not_lost() -> None:
    world = World()
    executor, first, order = begun(world)
    world.run(3 * BEAT_MS)
    first.frozen = True
    second = world.node("s2")
    second.hold_reads = True
    second.acquire()
    says(executor, order, FIVE)
    says(executor, order, note="on")
    assert second.task(order.run.task_id) is None
    second.deliver_reads()
    progress = second.read(order.run.task_id).view.progress
    assert progress is not None
    assert (progress.checkpoint, progress.note) == (FIVE, "on")


@pytest.mark.parametrize("dies", [False, True], ids=["it ends", "its executor dies"])
def test_what_is_heard_of_a_run_that_is_never_adopted_is_forgotten(dies: bool) -> None:
    """A sign of life may carry a checkpoint: an owner must not keep one for ever."""
    world = World()
    executor, first, order = begun(world)
    world.run(3 * BEAT_MS)
    first.frozen = True
    second = world.node("s2")
    second.hold_reads = True
    second.acquire()
    says(executor, order, FIVE)
    beats = second.engine.shards[order.shard].beats
    assert list(beats) == [order.run]
    if dies:
        executor.vanishes()
    else:
        executor.succeeds(order)
    assert beats == {}


def test_the_checkpoint_survives_owner_and_executor_at_once_by_a_rare_event() -> None:
    world = World()
    executor, first, order = begun(world)
    world.run(LEAST_SAVE_MS)
    says(executor, order, FIVE)
    row = world.disk.history(order.run.task_id).head
    assert isinstance(row.detail, ProgressDetail)
    assert row.kind is EventKind.RENEWED
    says(executor, order, SIX)
    first.frozen = True
    other = ScriptedExecutor(world, "x2")
    executor.vanishes()
    world.owner()
    assert next_order(world, other).checkpoint == FIVE


def test_a_checkpoint_that_is_kept_puts_no_rescue_off() -> None:
    """The alarm moves when the run is long, and not because something was written down."""
    world = World()
    executor, first, order = begun(world)
    world.run(LEAST_SAVE_MS)
    says(executor, order, FIVE)
    assert isinstance(world.disk.history(order.run.task_id).head.detail, ProgressDetail)
    first.frozen = True
    other, lost_ms = ScriptedExecutor(world, "x2"), world.wall_ms
    executor.vanishes()
    world.owner()
    assert next_order(world, other).checkpoint == FIVE
    assert world.wall_ms - lost_ms < 10_000


def test_checkpoints_of_a_long_run_move_its_alarm() -> None:
    world = World()
    executor, node, order = begun(world)
    config = node.engine.config
    for number in range(12):
        world.run(LEAST_SAVE_MS)
        says(executor, order, Payload(data=str(number).encode()))
    alarm = world.disk.history(order.run.task_id).head.alarm
    assert alarm is not None
    moved_ms = alarm.due_ms - config.renew_ahead_ms
    assert 0 <= world.wall_ms - moved_ms < config.renew_after_ms + LEAST_SAVE_MS


def test_hours_of_checkpoints_leave_few_events() -> None:
    world = World()
    executor, _, order = begun(world, timeouts=Timeouts())
    for number in range(180):
        says(executor, order, Payload(data=str(number).encode()))
        for _ in range(20):
            world.jump(3_000)
    rows = world.disk.history(order.run.task_id).chain
    saved = [row.at_ms for row in rows if isinstance(row.detail, ProgressDetail)]
    assert 8 <= len(saved) <= 20
    apart = [later - earlier for earlier, later in pairwise(saved)]
    ages = [later - rows[0].at_ms for later in saved[1:]]
    assert all(
        LEAST_SAVE_MS <= gap <= max(LEAST_SAVE_MS, age // 4) + LEAST_SAVE_MS
        for gap, age in zip(apart, ages, strict=True)
    )


def test_a_checkpoint_lies_in_one_event_only() -> None:
    world = World()
    executor, _, order = begun(world)
    world.run(LEAST_SAVE_MS)
    says(executor, order, FIVE)
    executor.ends(order, failure=SILENT, checkpoint=FIVE)
    rows = world.disk.history(order.run.task_id).chain
    kept = [
        row.kind for row in rows if b"5" in str(row.detail).encode() and "data=b'5'" in str(row)
    ]
    assert kept == [EventKind.RENEWED]
    assert next_order(world, executor, order).checkpoint == FIVE


def test_what_a_run_of_another_claim_says_means_nothing() -> None:
    world = World()
    executor, node, order = begun(world)
    executor.fails(order)
    next_order(world, executor, order)
    says(executor, order, FIVE)
    assert node.read(order.run.task_id).view.progress is None
