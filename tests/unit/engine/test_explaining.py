"""What an owner says holds a task back: one state of the engine for each cause that it can tell."""

from __future__ import annotations

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, START_MS, World
from tests.support.explanations import blocking, causes, explanation, fact
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import (
    Explained,
    ExplainTask,
    RejectionReason,
    RescheduleTask,
)
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.state import Loading
from timeball_server.core.explanation import (
    BlockingCause,
    ended,
    with_store_stuck,
)
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import EventKind
from timeball_server.core.messages import RevokeAnswer
from timeball_server.core.model import RetryPolicy

SECOND = 1_000
HOUR = 3_600 * SECOND
PATIENT = RetryPolicy(initial_delay_ms=HOUR, max_delay_ms=HOUR, jitter=0.0)
AT_ONCE = RetryPolicy(initial_delay_ms=1, max_delay_ms=1, jitter=0.0)
HERE = (("zone", "eu"),)


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


def test_who_asks_for_a_task_to_be_read_does_not_wait_until_it_is_resolved() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    first = world.owner()
    task = first.create().task_id
    first.frozen = True
    executor.answers_fences = False
    second = world.node("s2")
    second.hold_reads = True
    second.acquire()
    call = second.ask(ExplainTask(task_id=task, namespace="shop"), task)
    second.feed(*[read for read in second.reads if isinstance(read, ev.TasksRead)])
    assert isinstance(call.outcome, Explained)
    assert call.outcome.explanation.blocking.cause is BlockingCause.ATTEMPT_UNRESOLVED


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
    assert call.token not in second.answers
    only = [read for read in second.reads if isinstance(read, ev.TasksRead)]
    second.feed(*only)
    assert isinstance(call.outcome, Explained)
    first = call.outcome.explanation.blocking
    assert (first.cause, first.since_ms) == (BlockingCause.SHARD_LOADING, acquired_ms)
    assert fact(first, "shard") == str(SHARD)
    assert causes(second, task) == [BlockingCause.DISPATCHED], "asking has brought it in"


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
    assert not second.answers.keys() & {call.token, again.token}
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
