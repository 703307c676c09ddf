"""Turning what executors report into events: success, retry with raised priority, the end.

Rule R12: a result is acknowledged only when its event is durable, or when the journal already
says something newer about the run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from timeball_server.core.engine import beating, commands, doubts, placing, revoking
from timeball_server.core.engine.pinning import adopt
from timeball_server.core.engine.state import (
    Engine,
    Fate,
    Mutation,
    Phase,
    Reported,
    ShardState,
    TaskState,
)
from timeball_server.core.engine.writing import begin, following_event, moved_hint
from timeball_server.core.ids import Incarnation
from timeball_server.core.journal import EventKind, EventRow, OutcomeDetail, State
from timeball_server.core.messages import RunId, RunResult
from timeball_server.core.model import DeliveryMode, Failure, FailureCause
from timeball_server.core.priority import effective_priority
from timeball_server.core.retry import GiveUpTask, decide_retry

_EXECUTOR_LOST: Final = "EXECUTOR_LOST"
_COUNTERS = {
    EventKind.SUCCEEDED: "succeeded",
    EventKind.RETRY: "retried",
    EventKind.DEAD: "dead",
    EventKind.CANCELLED: "cancelled",
    EventKind.LOST: "lost",
    EventKind.RELEASED: "released",
}


def arrived(engine: Engine, incarnation: Incarnation, result: RunResult) -> None:
    """A result came in; find its task, in memory or in the store."""
    executor = engine.executors.get(incarnation)
    if executor is not None:
        executor.runs.pop(result.run, None)
    engine.gates.over(result.run)
    shard = engine.shards.get(result.shard)
    if shard is None or shard.phase is Phase.RELEASING:
        return
    shard.beats.pop(result.run, None)  # nobody adopts a run that has ended
    task = shard.tasks.get(result.run.task_id)
    if task is None:
        task = commands.read_into_memory(engine, shard, result.run.task_id)
    task.results.append((incarnation, result))
    task.waits = False
    doubts.ended(shard, task, result.run)
    placing.free(engine, shard, task)


def take(engine: Engine, shard: ShardState, task: TaskState, reported: Reported) -> None:
    """Decide what a result means; for a run that is not the one in hand it means nothing."""
    incarnation, said = reported
    if isinstance(said, tuple):
        _take_fate(engine, shard, task, *said)
    elif task.state is State.CLAIMED and task.run_id == said.run:
        _take_result(engine, shard, task, incarnation, said)
    elif task.chain and task.head.epoch != shard.epoch:
        task.results.insert(0, reported)
        adopt(engine, shard, task)
    else:
        _acknowledge(engine, shard, incarnation, said)


def _take_fate(engine: Engine, shard: ShardState, task: TaskState, run: RunId, fate: Fate) -> None:
    if task.state is not State.CLAIMED or task.run_id != run:
        return
    revoking.unanswered(engine, task)
    event = released_event if fate is Fate.UNSEEN else vanished_event
    append_outcome(engine, shard, task, event(engine, shard, task))


def _take_result(
    engine: Engine,
    shard: ShardState,
    task: TaskState,
    incarnation: Incarnation,
    result: RunResult,
) -> None:
    revoking.come_too_late(engine, task, result.started_ms)
    row = outcome_event(engine, shard, task, result)
    hint = moved_hint(engine, shard, task, row)
    placing.unsend(engine, task)

    def then(engine: Engine, mutation: Mutation) -> None:
        _count(engine, row)
        _acknowledge(engine, shard, incarnation, result)

    begin(engine, shard, task, row, hint=hint, then=then)


def _acknowledge(
    engine: Engine, shard: ShardState, incarnation: Incarnation, result: RunResult
) -> None:
    if incarnation in engine.executors:
        acks = engine.acks.setdefault(incarnation, [])
        acks.append((result.run, shard.shard, shard.epoch))


def outcome_event(
    engine: Engine, shard: ShardState, task: TaskState, result: RunResult
) -> EventRow:
    """The event that follows from a result of the run in hand."""
    detail = OutcomeDetail(
        started_ms=result.started_ms or None,
        ended_ms=result.ended_ms or None,
        result=result.result,
        failure=result.failure,
        progress=None if result.result else beating.left_behind(task, result.checkpoint),
    )
    if result.interrupted:
        return _interrupted(engine, shard, task, result, detail)
    if result.cancelled:
        return _event(engine, shard, task, EventKind.CANCELLED, detail)
    if result.failure is None:
        return _event(engine, shard, task, EventKind.SUCCEEDED, detail)
    return failed_event(engine, shard, task, result.failure, detail, counted=not result.uncounted)


def failed_event(
    engine: Engine,
    shard: ShardState,
    task: TaskState,
    failure: Failure,
    detail: OutcomeDetail,
    *,
    counted: bool = True,
) -> EventRow:
    """RETRY at a later instant with its raised priority, or DEAD with its cause.

    An attempt that is not counted neither uses attempts up nor raises the priority.
    """
    head = task.head
    failed = head.attempt if counted else head.attempt - 1
    decision = decide_retry(
        task.spec.retry,
        failure,
        attempt=failed,
        created_ms=head.created_ms,
        now_ms=engine.now_ms,
        rng=engine.rng,
        once=task.spec.mode is DeliveryMode.AT_MOST_ONCE,
        close_by_ms=task.close_by_ms,
    )
    if isinstance(decision, GiveUpTask):
        detail = replace(detail, failure=failure, cause=decision.cause)
        return _event(engine, shard, task, EventKind.DEAD, detail)
    detail = replace(detail, failure=failure)
    row = _event(engine, shard, task, EventKind.RETRY, detail, decision.due_ms)
    raised = effective_priority(task.spec.priority, failed, 0)
    return replace(row, attempt=failed, priority=raised)


def _interrupted(
    engine: Engine, shard: ShardState, task: TaskState, result: RunResult, detail: OutcomeDetail
) -> EventRow:
    """The executor gave the run back: it does not count, unless at most once and begun."""
    if result.started_ms and task.spec.mode is DeliveryMode.AT_MOST_ONCE:
        return _event(engine, shard, task, EventKind.LOST, replace(detail, cause=FailureCause.LOST))
    return released_event(engine, shard, task, detail)


def released_event(
    engine: Engine, shard: ShardState, task: TaskState, detail: OutcomeDetail | None = None
) -> EventRow:
    """The claim is undone; a renewed alarm comes back to now, a due time stays what it is."""
    due_ms = engine.now_ms if task.renewed and task.due_ms > engine.now_ms else None
    return _event(engine, shard, task, EventKind.RELEASED, detail, due_ms)


def vanished_event(engine: Engine, shard: ShardState, task: TaskState) -> EventRow:
    """The executor is gone and the run's fate with it: by mode RETRY or LOST (rules R14, R15).

    A task that takes one executor after another with it is quarantined: the others need them.
    """
    head = task.head
    failure = Failure(
        kind=_EXECUTOR_LOST,
        message=f"executor {head.executor} vanished during attempt {head.attempt}",
    )
    detail = OutcomeDetail(
        started_ms=task.started_ms, failure=failure, progress=beating.left_behind(task)
    )
    if task.spec.mode is DeliveryMode.AT_MOST_ONCE:
        detail = replace(detail, cause=FailureCause.LOST)
        return _event(engine, shard, task, EventKind.LOST, detail)
    if 0 < engine.config.executor_deaths <= _executor_deaths(engine, task):
        detail = replace(detail, cause=FailureCause.QUARANTINED)
        row = _event(engine, shard, task, EventKind.DEAD, detail)
    else:
        row = failed_event(engine, shard, task, failure, detail)
    if row.alarm is not None and row.alarm.due_ms < task.due_ms and not task.renewed:
        # Claimed ahead of its instant: the next attempt is not before that instant either.
        row = replace(row, alarm=row.alarm._replace(due_ms=task.due_ms))
    doubt = f"attempt {head.attempt} on {head.executor}"
    return replace(row, unaccounted=(*head.unaccounted, doubt))


def _executor_deaths(engine: Engine, task: TaskState) -> int:
    """Attempts that may have begun and whose executor died, the one in hand included."""
    began = _may_have_begun(task.head, task.started_ms, engine.now_ms)
    return began + sum(map(_took_its_executor, task.chain, task.chain[1:]))


def _took_its_executor(claim: EventRow, row: EventRow) -> bool:
    """Whether an attempt that may have begun ended with its executor."""
    detail = row.detail
    if row.kind is not EventKind.RETRY or not isinstance(detail, OutcomeDetail):
        return False
    if detail.failure is None or detail.failure.kind != _EXECUTOR_LOST:
        return False
    return _may_have_begun(claim, detail.started_ms, row.at_ms)


def _may_have_begun(claim: EventRow, started_ms: int | None, until_ms: int) -> bool:
    """Whether an attempt is known to have begun, or was due before it ended.

    A long one has moved its alarm ahead since: the alarm is younger than the claim (rule R18).
    """
    if started_ms is not None:
        return True
    alarm, run = claim.alarm, claim.run
    if alarm is None or run is None:
        return False
    return alarm.due_ms <= until_ms or alarm.seq > run.seq


def _event(
    engine: Engine,
    shard: ShardState,
    task: TaskState,
    kind: EventKind,
    detail: OutcomeDetail | None,
    due_ms: int | None = None,
) -> EventRow:
    return following_event(
        engine,
        shard,
        task,
        kind,
        actor=task.head.executor or engine.node,
        due_ms=due_ms,
        detail=detail,
    )


def append_outcome(engine: Engine, shard: ShardState, task: TaskState, row: EventRow) -> None:
    """Write an outcome that no executor reported, with its hint if it names a new alarm."""
    hint = moved_hint(engine, shard, task, row)
    placing.unsend(engine, task)
    _count(engine, row)
    begin(engine, shard, task, row, hint=hint)


def _count(engine: Engine, row: EventRow) -> None:
    name = _COUNTERS[row.kind]
    setattr(engine.counters, name, getattr(engine.counters, name) + 1)
