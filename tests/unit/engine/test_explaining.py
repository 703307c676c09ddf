"""What an owner says holds a task back: one state of the engine for each cause that it can tell."""

from __future__ import annotations

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, START_MS, Node, World
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import (
    Explained,
    ExplainTask,
    RejectionReason,
    RescheduleTask,
)
from timeball_server.core.engine import events as ev
from timeball_server.core.engine import obstacles
from timeball_server.core.engine.choice import SPILL_UP_MS
from timeball_server.core.engine.state import Loading
from timeball_server.core.explanation import (
    BlockingCause,
    Explanation,
    Reason,
    ended,
    with_store_stuck,
)
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import EventKind
from timeball_server.core.messages import RefusalReason, RevokeAnswer
from timeball_server.core.model import RetryPolicy, Timeouts
from timeball_server.core.priority import NINE_ONE_IN, RAISED_ONE_IN

SECOND = 1_000
HOUR = 3_600 * SECOND
PATIENT = RetryPolicy(initial_delay_ms=HOUR, max_delay_ms=HOUR, jitter=0.0)
AT_ONCE = RetryPolicy(initial_delay_ms=1, max_delay_ms=1, jitter=0.0)
HERE = (("zone", "eu"),)


def explanation(node: Node, task_id: TaskId) -> Explanation:
    """What the node says, at once."""
    outcome = node.ask(ExplainTask(task_id=task_id, namespace="shop"), task_id).outcome
    assert isinstance(outcome, Explained), outcome
    assert outcome.explanation.task_id == task_id
    assert outcome.explanation.at_ms == node.world.wall_ms
    return outcome.explanation


def causes(node: Node, task_id: TaskId) -> list[BlockingCause]:
    """The causes, the blocking one first."""
    return [reason.cause for reason in explanation(node, task_id).reasons]


def blocking(node: Node, task_id: TaskId, cause: BlockingCause) -> Reason:
    """The first reason, which must have this cause."""
    reason = explanation(node, task_id).blocking
    assert reason.cause is cause, reason
    return reason


def fact(reason: Reason, key: str) -> str | None:
    """One of the details."""
    return dict(reason.details).get(key)


# Time ---------------------------------------------------------------------------------------------


def test_a_task_for_later_is_not_due_and_lacks_nothing_else() -> None:
    world = World()
    ScriptedExecutor(world)
    node = world.owner()
    task = node.create(in_ms=HOUR).task_id
    world.run(5 * SECOND)
    reason = blocking(node, task, BlockingCause.NOT_DUE)
    assert (reason.since_ms, reason.next_check_ms) == (START_MS, START_MS + HOUR)
    assert causes(node, task) == [BlockingCause.NOT_DUE]


def test_a_task_of_a_schedule_names_it() -> None:
    world = World()
    node = world.owner()
    task = node.create(in_ms=HOUR, schedule_id=TaskId("nightly")).task_id
    reason = blocking(node, task, BlockingCause.NOT_DUE)
    assert "schedule nightly" in reason.sentence
    assert fact(reason, "schedule") == "nightly"


def test_what_is_claimed_ahead_of_its_instant_is_not_due_and_says_for_whom() -> None:
    world = World()
    ScriptedExecutor(world, "x1")
    node = world.owner()
    task = node.create(in_ms=5 * SECOND).task_id
    world.run(4_500)
    assert world.disk.kinds(task)[-1] is EventKind.CLAIMED
    reason = blocking(node, task, BlockingCause.NOT_DUE)
    assert (fact(reason, "attempt"), fact(reason, "executor")) == ("1", "x1")


def test_a_missing_executor_is_told_before_it_is_missed() -> None:
    world = World()
    node = world.owner()
    task = node.create(in_ms=HOUR).task_id
    first, second = explanation(node, task).reasons
    assert (first.cause, second.cause) == (BlockingCause.NOT_DUE, BlockingCause.NO_HANDLER)
    assert second.since_ms is None


def test_after_a_failure_it_waits_for_its_backoff() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    task = node.create(retry=PATIENT).task_id
    world.run(SECOND)
    executor.fails(executor.last)
    failed_ms = world.wall_ms
    reason = blocking(node, task, BlockingCause.BACKOFF)
    assert (reason.since_ms, reason.next_check_ms) == (failed_ms, failed_ms + HOUR)
    assert "ConnectionError: no" in reason.sentence
    assert (fact(reason, "attempt"), fact(reason, "error")) == ("1", "ConnectionError")


def test_a_backoff_that_a_caller_moved_is_a_due_time() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    task = node.create(retry=PATIENT).task_id
    executor.fails(executor.last)
    moved = RescheduleTask(
        task_id=task,
        namespace="shop",
        due_ms=world.wall_ms + 2 * HOUR,
        revision=None,
        request_id="move",
        actor="clerk",
    )
    node.ask(moved, task)
    assert blocking(node, task, BlockingCause.NOT_DUE).next_check_ms == world.wall_ms + 2 * HOUR


# An attempt in hand -------------------------------------------------------------------------------


def test_what_runs_is_held_back_by_nothing_and_says_so() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    node = world.owner()
    task = node.create().task_id
    world.run(SECOND)
    executor.starts(executor.last)
    started_ms = world.wall_ms
    world.run(SECOND)
    reason = blocking(node, task, BlockingCause.RUNNING)
    assert reason.since_ms == started_ms
    assert (fact(reason, "attempt"), fact(reason, "executor")) == ("1", "x1")


def test_what_was_sent_waits_for_its_executor_to_say_that_it_started() -> None:
    world = World()
    ScriptedExecutor(world, "x1")
    node = world.owner()
    task = node.create(in_ms=5 * SECOND).task_id
    world.run(6 * SECOND)
    reason = blocking(node, task, BlockingCause.DISPATCHED)
    assert reason.since_ms == START_MS + 5 * SECOND
    assert fact(reason, "executor") == "x1"


def test_a_run_whose_stream_is_gone_is_unresolved() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    node = world.owner()
    task = node.create().task_id
    executor.starts(executor.last)
    node.disconnect(executor)
    reason = blocking(node, task, BlockingCause.ATTEMPT_UNRESOLVED)
    assert "x1 does not say what became of attempt 1" in reason.sentence
    node.connect(executor)
    assert causes(node, task) == [BlockingCause.RUNNING]


def test_a_predecessor_s_claim_is_unresolved_until_its_executor_answers() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    first = world.owner()
    task = first.create().task_id
    first.frozen = True
    executor.answers_fences = False
    world.run(SECOND)
    second = world.owner()
    memory = second.task(task)
    assert memory is not None
    assert memory.loading is Loading.UNRESOLVED
    acquired_ms = world.wall_ms
    world.run(SECOND)
    assert blocking(second, task, BlockingCause.ATTEMPT_UNRESOLVED).since_ms == acquired_ms
    executor.answers_fences = True
    executor.answer_fences()
    assert causes(second, task) == [BlockingCause.DISPATCHED]


def test_a_cancel_that_waits_for_the_executor_s_word_comes_first() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    node = world.owner()
    task = node.create().task_id
    world.run(SECOND)
    cancel = node.cancel(task)
    asked_ms = world.wall_ms
    world.run(SECOND)
    assert cancel.outcome is None
    reason = blocking(node, task, BlockingCause.REVOKE_ASKED)
    assert reason.since_ms == asked_ms
    assert causes(node, task) == [BlockingCause.REVOKE_ASKED, BlockingCause.DISPATCHED]
    executor.answers_revoke(RevokeAnswer.REVOKED)
    assert fact(blocking(node, task, BlockingCause.ENDED), "state") == "CANCELLED"


# Writes -------------------------------------------------------------------------------------------


def test_an_outcome_that_is_being_written_is_not_given_away() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    task = node.create().task_id
    node.hold_writes = True
    world.run(SECOND)
    executor.succeeds(executor.last)
    written_ms = world.wall_ms
    world.run(SECOND)
    reason = blocking(node, task, BlockingCause.MUTATION_IN_FLIGHT)
    assert (reason.since_ms, fact(reason, "writing")) == (written_ms, "outcome")
    assert "SUCCEEDED" not in f"{reason}"
    node.release_writes()
    assert fact(blocking(node, task, BlockingCause.ENDED), "state") == "SUCCEEDED"


def test_a_cancel_that_is_being_written_comes_after_the_due_time() -> None:
    world = World()
    node = world.owner()
    task = node.create(in_ms=HOUR).task_id
    node.hold_writes = True
    node.cancel(task)
    assert causes(node, task) == [BlockingCause.NOT_DUE, BlockingCause.MUTATION_IN_FLIGHT]
    second = explanation(node, task).reasons[1]
    assert fact(second, "writing") == "cancel"


def test_a_claim_that_is_being_written_is_a_start_in_the_making() -> None:
    world = World()
    node = world.owner()
    task = node.create().task_id
    node.hold_writes = True
    ScriptedExecutor(world)
    due_ms = world.wall_ms
    world.run(SECOND)
    assert blocking(node, task, BlockingCause.STARTING).since_ms == due_ms
    node.release_writes()
    assert causes(node, task) == [BlockingCause.DISPATCHED]


def test_an_instant_that_came_a_moment_ago_is_a_start_in_the_making() -> None:
    world = World()
    node = world.owner()
    task = node.create(in_ms=5 * SECOND).task_id
    executor = ScriptedExecutor(world)
    world.run(4_990)
    executor.vanishes()
    ScriptedExecutor(world)
    world.wall_ms += 10  # and no step in between
    assert causes(node, task) == [BlockingCause.STARTING]
    assert causes(node, task) == [BlockingCause.DISPATCHED]


def test_who_knows_that_nothing_can_be_written_says_that_first() -> None:
    world = World()
    node = world.owner()
    task = node.create().task_id
    node.hold_writes = True
    ScriptedExecutor(world)
    told = with_store_stuck(explanation(node, task))
    assert [each.cause for each in told.reasons] == [
        BlockingCause.STORE_UNAVAILABLE,
        BlockingCause.STARTING,
    ]
    assert told.blocking.since_ms == START_MS


def test_a_stuck_store_is_no_reason_for_what_is_not_due() -> None:
    world = World()
    node = world.owner()
    told = explanation(node, node.create(in_ms=HOUR).task_id)
    assert with_store_stuck(told) == told


# The owner ----------------------------------------------------------------------------------------


def test_an_owner_out_of_sight_of_the_coordination_service_starts_nothing() -> None:
    world = World()
    ScriptedExecutor(world, "x1")
    node = world.owner()
    task = node.create(in_ms=5 * SECOND).task_id
    world.run(4_500)
    node.feed(ev.Suspended(True))
    suspended_ms = world.wall_ms
    world.run(SECOND)
    node.feed(ev.Suspended(True))
    reason = blocking(node, task, BlockingCause.OWNER_SUSPENDED)
    assert reason.since_ms == suspended_ms
    node.feed(ev.Suspended(False))
    assert causes(node, task) == [BlockingCause.DISPATCHED]


def test_a_new_owner_that_has_not_read_the_past_says_so() -> None:
    world = World()
    node = world.owner()
    task = node.create(minute=minute_of(START_MS)).task_id
    node.frozen = True
    world.run(3 * 60 * SECOND)
    ScriptedExecutor(world)
    second = world.node("s2")
    second.hold_reads = True
    second.acquire()
    acquired_ms = world.wall_ms
    call = second.ask(ExplainTask(task_id=task, namespace="shop"), task)
    assert call.outcome is None
    only = [read for read in second.reads if isinstance(read, ev.TasksRead)]
    second.feed(*only)
    assert isinstance(call.outcome, Explained)
    first = call.outcome.explanation.blocking
    assert (first.cause, first.since_ms) == (BlockingCause.SHARD_LOADING, acquired_ms)
    assert fact(first, "shard") == str(SHARD)
    assert causes(second, task) == [BlockingCause.DISPATCHED], "asking has brought it in"


# Executors ----------------------------------------------------------------------------------------


def test_nobody_serves_its_handler() -> None:
    world = World()
    ScriptedExecutor(world, handlers=("refund",))
    node = world.owner()
    task = node.create().task_id
    world.run(SECOND)
    reason = blocking(node, task, BlockingCause.NO_HANDLER)
    assert (reason.since_ms, fact(reason, "handler")) == (START_MS, "charge")
    ScriptedExecutor(world)
    assert causes(node, task) == [BlockingCause.DISPATCHED]


def test_who_refuses_a_handler_does_not_serve_it() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    task = node.create().task_id
    executor.refuses(executor.last, RefusalReason.UNKNOWN_HANDLER)
    blocking(node, task, BlockingCause.NO_HANDLER)


def test_nobody_carries_its_label() -> None:
    world = World()
    ScriptedExecutor(world, labels=(("zone", "us"), ("gpu", "yes")))
    node = world.owner()
    task = node.create(selector=(*HERE, ("gpu", "yes"))).task_id
    world.run(SECOND)
    reason = blocking(node, task, BlockingCause.NO_LABEL)
    assert fact(reason, "label") == "zone=eu"
    assert reason.sentence == "no executor with label zone=eu serves charge"
    ScriptedExecutor(world, "x2", labels=(*HERE, ("gpu", "yes")))
    assert causes(node, task) == [BlockingCause.DISPATCHED]


def test_each_label_is_carried_but_by_nobody_together() -> None:
    world = World()
    ScriptedExecutor(world, "x1", labels=HERE)
    ScriptedExecutor(world, "x2", labels=(("gpu", "yes"),))
    node = world.owner()
    task = node.create(selector=(("gpu", "yes"), *HERE)).task_id
    assert fact(blocking(node, task, BlockingCause.NO_LABEL), "label") == "gpu=yes, zone=eu"


@pytest.mark.parametrize(
    ("ailment", "words"),
    [("stream", "no open stream"), ("drain", "x1 is draining"), ("fence", "has not answered")],
)
def test_who_serves_it_cannot_be_given_it(ailment: str, words: str) -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1", answers_fences=ailment != "fence")
    node = world.owner()
    if ailment == "stream":
        node.disconnect(executor)
    elif ailment == "drain":
        executor.says_capacity(10, draining=True)
    task = node.create().task_id
    reason = blocking(node, task, BlockingCause.EXECUTORS_UNREACHABLE)
    assert words in reason.sentence
    assert fact(reason, "executors") == "x1"


def test_everybody_is_busy_and_it_is_told_how_many_go_before_it() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1", slots=1)
    other = ScriptedExecutor(world, "x2", handlers=("refund",), slots=1)
    node = world.owner()
    running, _ = node.create(), node.create(handler="refund")
    node.create(priority=7)
    node.create(handler="refund", priority=8)
    world.run(SECOND)
    task = node.create(priority=5, timeouts=Timeouts(schedule_to_start_ms=10 * SECOND)).task_id
    node.create(priority=4)
    since_ms = world.wall_ms
    world.run(SECOND)
    reason = blocking(node, task, BlockingCause.EXECUTORS_FULL)
    assert (reason.since_ms, reason.next_check_ms) == (since_ms, None)
    assert (fact(reason, "ahead"), fact(reason, "slots")) == ("1", "1")
    assert fact(reason, "executors") == "x1"
    assert fact(reason, "start_by") is not None
    assert len(other.orders) == 1
    executor.succeeds(executor.last)
    assert causes(node, running.task_id) == [BlockingCause.ENDED]
    assert fact(blocking(node, task, BlockingCause.EXECUTORS_FULL), "ahead") == "0"


def test_slots_are_free_but_the_handler_s_cap_is_reached() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1", slots=10, caps=(("charge", 2),))
    node = world.owner()
    running = [node.create() for _ in range(2)]
    assert len(executor.orders) == len(running)
    task = node.create().task_id
    reason = blocking(node, task, BlockingCause.HANDLER_CAP)
    assert (fact(reason, "cap"), fact(reason, "executors")) == ("2", "x1")
    executor.succeeds(executor.orders[0])
    assert causes(node, task) == [BlockingCause.DISPATCHED]


def test_who_has_room_is_left_out_and_who_is_well_is_busy() -> None:
    world = World()
    sick = ScriptedExecutor(world, "sick", slots=1)
    well = ScriptedExecutor(world, "well", slots=1)
    node = world.owner()
    memory = node.engine.executors[sick.facts.incarnation]
    memory.health.leave_out(world.wall_ms, "all of its attempts failed")
    memory.left_out = True
    node.create()
    assert len(well.orders) == 1
    task = node.create().task_id
    reason = blocking(node, task, BlockingCause.EXECUTORS_LEFT_OUT)
    assert "sick has room and is left out for now: all of its attempts failed" in reason.sentence
    assert reason.next_check_ms == memory.health.left_out_until_ms
    assert causes(node, task)[1:] == [BlockingCause.EXECUTORS_FULL]
    assert fact(explanation(node, task).reasons[1], "executors") == "well"


def test_its_own_tier_is_busy_until_it_may_use_a_stronger_one() -> None:
    world = World()
    weak = ScriptedExecutor(world, "weak", strength=1, slots=1)
    strong = ScriptedExecutor(world, "strong", strength=90, slots=1)
    node = world.owner()
    node.create(priority=0)
    assert len(weak.orders) == 1
    task = node.create(priority=0).task_id
    reason = blocking(node, task, BlockingCause.EXECUTORS_FULL)
    assert reason.next_check_ms == START_MS + SPILL_UP_MS
    assert fact(reason, "strength") == "1"
    world.run(SPILL_UP_MS)
    assert len(strong.orders) == 1
    assert causes(node, task) == [BlockingCause.DISPATCHED]


def test_raised_retries_beyond_their_share_let_others_go() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1)
    node = world.owner()
    first = node.create(retry=AT_ONCE, priority=4)
    node.create(retry=AT_ONCE, priority=4)
    others = [node.create(priority=4) for _ in range(3)]
    executor.fails(executor.last)
    world.run(10)
    executor.fails(executor.last)
    world.run(10)
    spent = RAISED_ONE_IN
    reason = blocking(node, first.task_id, BlockingCause.LANE_BUDGET)
    assert (fact(reason, "lane"), fact(reason, "one_in")) == ("RAISED", str(spent))
    assert int(fact(reason, "ahead") or "0") >= len(others) - 1
    assert causes(node, first.task_id)[1] is BlockingCause.EXECUTORS_FULL


def test_priority_nine_beyond_its_half_lets_others_go() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1)
    node = world.owner()
    node.create()
    nines = [node.create(priority=9) for _ in range(3)]
    node.create(priority=4)
    node.create(priority=4)
    for _ in range(2 * NINE_ONE_IN):
        told = [causes(node, nine.task_id)[0] for nine in nines]
        if BlockingCause.LANE_BUDGET in told:
            break
        executor.succeeds(executor.last)
    nine = nines[told.index(BlockingCause.LANE_BUDGET)]
    reason = blocking(node, nine.task_id, BlockingCause.LANE_BUDGET)
    assert (fact(reason, "lane"), fact(reason, "one_in")) == ("NINE", str(NINE_ONE_IN))


def test_a_backlog_does_not_make_asking_dear() -> None:
    world = World()
    ScriptedExecutor(world, slots=1)
    node = world.owner()
    for _ in range(obstacles.LOOKED_AT_MAX + 2):
        node.create(priority=5)
    task = node.create(priority=4).task_id
    ahead = fact(blocking(node, task, BlockingCause.EXECUTORS_FULL), "ahead")
    assert ahead == f"at least {obstacles.LOOKED_AT_MAX}"


# Ends ---------------------------------------------------------------------------------------------


def test_what_has_ended_says_how() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    world.run(SECOND)
    executor.fails(executor.last, retriable=False)
    reason = blocking(node, call.task_id, BlockingCause.ENDED)
    assert fact(reason, "state") == "FAILED"
    assert fact(reason, "cause") == "NON_RETRIABLE"
    assert reason == ended(node.read(call.task_id).view)


def test_an_end_of_an_earlier_epoch_is_confirmed_before_it_is_told() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    task = first.create().task_id
    executor.succeeds(executor.last)
    first.frozen = True
    second = world.owner()
    second.hold_writes = True
    call = second.ask(ExplainTask(task_id=task, namespace="shop"), task)
    again = second.ask(ExplainTask(task_id=task, namespace="shop"), task)
    assert call.outcome is None
    assert again.outcome is None
    second.release_writes()
    assert isinstance(call.outcome, Explained)
    assert isinstance(again.outcome, Explained)
    assert call.outcome.explanation.blocking.cause is BlockingCause.ENDED
    assert world.disk.kinds(task)[-1] is EventKind.ADOPTED


def test_nobody_hears_of_what_is_not_there_or_not_his() -> None:
    world = World()
    node = world.owner()
    task = node.create(in_ms=HOUR).task_id
    foreign = node.ask(ExplainTask(task_id=task, namespace="bank"), task)
    assert foreign.refusal is RejectionReason.NOT_FOUND
    unknown = TaskId(task[:-8] + "0" * 8)
    nothing = node.ask(ExplainTask(task_id=unknown, namespace="shop"), unknown)
    assert nothing.refusal is RejectionReason.NOT_FOUND


def test_asking_leaves_no_trace() -> None:
    world = World()
    node = world.owner()
    task = node.create(in_ms=HOUR).task_id
    before = world.disk.kinds(task)
    assert node.task(task) is None
    explanation(node, task)
    assert node.task(task) is None
    assert world.disk.kinds(task) == before
