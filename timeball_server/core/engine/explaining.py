"""What holds a task back, as its owner's memory has it: attempt, time, writes, executors.

Never waits for what holds the task: that is what is asked about. Says what memory says, so only an
end, which is a promise, is confirmed first (rule R17). Must never change a task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from timeball_server.core.commands import Explained, ExplainTask
from timeball_server.core.engine import beating, commands
from timeball_server.core.engine.obstacles import executor_reasons
from timeball_server.core.engine.pinning import pinned
from timeball_server.core.engine.state import Engine, Loading, Phase, ShardState, TaskState
from timeball_server.core.engine.writing import reply
from timeball_server.core.explanation import BlockingCause, Explanation, Reason, ended
from timeball_server.core.journal import (
    CLOSED,
    TERMINAL,
    EventKind,
    EventRow,
    History,
    OutcomeDetail,
    State,
)
from timeball_server.core.view import task_view

_CLAIMS: Final = frozenset({EventKind.CLAIMED, EventKind.BORN_CLAIMED})
_WRITING: Final[Mapping[EventKind, str]] = MappingProxyType(
    {
        EventKind.UPDATED: "change",
        EventKind.RESCHEDULED: "change",
        EventKind.CANCELLED: "cancel",
        EventKind.TERMINATED: "cancel",
        EventKind.SUCCEEDED: "outcome",
        EventKind.RETRY: "outcome",
        EventKind.DEAD: "outcome",
        EventKind.LOST: "outcome",
        EventKind.RELEASED: "release",
        EventKind.ADOPTED: "confirmation",
        EventKind.RENEWED: "renewal",
    }
)
"""What is being written, in a word that gives away nothing that is not durable yet."""
_SENTENCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "change": "a change of the task is being written",
        "cancel": "a cancel of the task is being written",
        "outcome": "the outcome of its attempt is being written",
        "release": "a claim that came to nothing is being given back",
    }
)


def can_tell(task: TaskState) -> bool:
    """Whether memory has something to say; if not, the task is being read or created."""
    return bool(task.chain) and task.loading is not Loading.READING


def _take_waiting(task: TaskState) -> list[tuple[int, ExplainTask]]:
    """Take those out of the line who only want to know why the line does not move."""
    asked = [
        (token, command) for token, command in task.waiting if isinstance(command, ExplainTask)
    ]
    if asked:
        task.waiting = [each for each in task.waiting if not isinstance(each[1], ExplainTask)]
    return asked


def answer_waiting(engine: Engine, shard: ShardState, task: TaskState) -> None:
    """A task has been read: tell those who asked, whatever holds it now."""
    for token, command in _take_waiting(task):
        commands.decide(engine, shard, task, token, command)


def answer(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: ExplainTask
) -> None:
    """Tell what holds the task back. That it has ended is told only of our own epoch's head."""
    if task.state is State.ABSENT:
        reply(engine, token, commands.not_found())
    elif task.state not in CLOSED:
        reply(engine, token, Explained(explain(engine, shard, task)))
    elif task.pending is not None:
        task.waiting.append((token, command))
    elif pinned(engine, shard, task, token, command):
        known = task.state in TERMINAL
        told = Explained(explain(engine, shard, task)) if known else commands.not_found()
        reply(engine, token, told)


def explain(engine: Engine, shard: ShardState, task: TaskState) -> Explanation:
    """What holds a task back now, and what else would."""
    reasons = tuple(_reasons(engine, shard, task))
    return Explanation(task_id=task.task_id, at_ms=engine.now_ms, reasons=reasons)


def _reasons(engine: Engine, shard: ShardState, task: TaskState) -> Iterator[Reason]:
    if task.state in TERMINAL:
        yield ended(task_view(History(tuple(task.chain), ()), with_journal=False))
    elif task.loading is Loading.UNRESOLVED:
        yield _unresolved(task, shard.acquired_ms, "and this owner's predecessor made the claim")
    elif task.sent:
        yield from _attempt(engine, task)
    elif task.due_ms > engine.now_ms:
        yield from _ahead_of_time(engine, task)
    else:
        yield from _due(engine, shard, task)


# An attempt in hand -----------------------------------------------------------------------------


def _attempt(engine: Engine, task: TaskState) -> Iterator[Reason]:
    if task.revokes:
        yield _revoke_asked(task)
    if engine.reached(task) is None:
        yield _unresolved(task, None, "and its stream is gone")
    elif task.started_ms is not None:
        yield _running(engine, task, task.started_ms)
    else:
        yield _dispatched(task)


def _running(engine: Engine, task: TaskState, started_ms: int) -> Reason:
    head = task.head
    return Reason(
        cause=BlockingCause.RUNNING,
        sentence=f"attempt {head.attempt} is running on {head.executor}{_how_far(task)}",
        since_ms=started_ms,
        next_check_ms=beating.silent_ms(engine, task),
        next_check="its executor reports the outcome",
        details=(*_of_attempt(task), *_progress(task)),
    )


def _how_far(task: TaskState) -> str:
    progress = None if task.pulse is None else task.pulse.progress
    if progress is None:
        return ""
    done = "" if progress.fraction is None else f", {100 * progress.fraction:.0f} % done"
    return f"{done}: {progress.note}" if progress.note else done


def _progress(task: TaskState) -> tuple[tuple[str, str], ...]:
    progress = None if task.pulse is None else task.pulse.progress
    if progress is None:
        return ()
    said = () if progress.fraction is None else (("progress", f"{progress.fraction:g}"),)
    return (*said, ("heard_ms", str(progress.heard_ms)))


def _dispatched(task: TaskState) -> Reason:
    head = task.head
    return Reason(
        cause=BlockingCause.DISPATCHED,
        sentence=f"attempt {head.attempt} was sent to {head.executor}, which has not started it",
        since_ms=_sent_ms(task),
        next_check="its executor reports the start",
        details=_of_attempt(task),
    )


def _revoke_asked(task: TaskState) -> Reason:
    head = task.head
    return Reason(
        cause=BlockingCause.REVOKE_ASKED,
        sentence=(
            f"a cancel waits for {head.executor} to say whether attempt {head.attempt} has begun"
        ),
        since_ms=task.revoke_asked_ms,
        next_check="the executor answers, or its stream breaks",
        details=_of_attempt(task),
    )


def _unresolved(task: TaskState, since_ms: int | None, why: str) -> Reason:
    head = task.head
    return Reason(
        cause=BlockingCause.ATTEMPT_UNRESOLVED,
        sentence=f"{head.executor} does not say what became of attempt {head.attempt}, {why}",
        since_ms=since_ms,
        next_check="the executor is heard of again, or its session ends",
        details=_of_attempt(task),
    )


def _of_attempt(task: TaskState) -> tuple[tuple[str, str], ...]:
    head = task.head
    return (
        ("attempt", str(head.attempt)),
        ("executor", str(head.executor)),
        ("handler", task.spec.handler),
    )


def _sent_ms(task: TaskState) -> int:
    """When the run in hand was sent; if that was another owner, when it might have been."""
    if task.sent_ms:
        return task.sent_ms
    run = task.head.run
    claims = (row.at_ms for row in task.chain if (row.seq, row.epoch) == run)
    return max(next(claims, 0), 0 if task.renewed else task.due_ms)


# Nothing in hand --------------------------------------------------------------------------------


def _ahead_of_time(engine: Engine, task: TaskState) -> Iterator[Reason]:
    """It is not due; an executor that is missing by now is told as well."""
    yield _not_due(task)
    if task.pending is not None and task.pending.kind not in _CLAIMS:
        yield _writing(task.pending, task)
    else:
        yield from executor_reasons(engine, task)


def _due(engine: Engine, shard: ShardState, task: TaskState) -> Iterator[Reason]:
    pending = task.pending
    if pending is not None:
        yield _starting(task, pending.at_ms) if pending.kind in _CLAIMS else _writing(pending, task)
        return
    obstacles = [*_of_owner(engine, shard, task), *executor_reasons(engine, task)]
    yield from obstacles or [_starting(task, task.due_ms)]


def _of_owner(engine: Engine, shard: ShardState, task: TaskState) -> Iterator[Reason]:
    """What keeps the owner itself from starting anything, or this."""
    if engine.suspended:
        yield _suspended(engine)
    if shard.phase is Phase.LOADING and not task.waits and task.due_ms < shard.acquired_ms:
        yield _loading(shard)


def _not_due(task: TaskState) -> Reason:
    """Until its due time, or its backoff is over; which event set it tells which."""
    due_ms, alarm, spec = task.due_ms, task.head.alarm, task.spec
    named = (row for row in reversed(task.chain) if alarm and (row.seq, row.epoch) == alarm[1:])
    setter = next(named, task.chain[0])
    if setter.kind is EventKind.RETRY:
        return _backoff(task, setter)
    details = [("handler", spec.handler)]
    sentence = "its due time has not come"
    if spec.schedule_id is not None:
        sentence = f"its due time, which schedule {spec.schedule_id} gave it, has not come"
        details.append(("schedule", spec.schedule_id))
    if task.head.run is not None:
        details += [("attempt", str(task.head.attempt)), ("executor", str(task.head.executor))]
    return Reason(
        cause=BlockingCause.NOT_DUE,
        sentence=sentence,
        since_ms=setter.at_ms,
        next_check_ms=due_ms,
        next_check="it is due",
        details=tuple(details),
    )


def _backoff(task: TaskState, failed: EventRow) -> Reason:
    failure = failed.detail.failure if isinstance(failed.detail, OutcomeDetail) else None
    what = "attempt failed" if failure is None else f"{failure.kind}: {failure.message}"
    details = [("attempt", str(failed.attempt)), ("handler", task.spec.handler)]
    if failure is not None:
        details.append(("error", failure.kind))
    return Reason(
        cause=BlockingCause.BACKOFF,
        sentence=f"the next attempt waits for its backoff; the last one ended with {what}",
        since_ms=failed.at_ms,
        next_check_ms=task.due_ms,
        next_check="the backoff is over",
        details=tuple(details),
    )


def _writing(pending: EventRow, task: TaskState) -> Reason:
    word = _WRITING.get(pending.kind, "event")
    return Reason(
        cause=BlockingCause.MUTATION_IN_FLIGHT,
        sentence=_SENTENCES.get(word, "an event of the task is being written"),
        since_ms=pending.at_ms,
        next_check="the database has it",
        details=(("writing", word), ("attempt", str(task.head.attempt))),
    )


def _starting(task: TaskState, since_ms: int) -> Reason:
    return Reason(
        cause=BlockingCause.STARTING,
        sentence="it is due, and its claim for an executor is being made",
        since_ms=since_ms,
        next_check="the claim is durable",
        details=(("handler", task.spec.handler),),
    )


def _suspended(engine: Engine) -> Reason:
    return Reason(
        cause=BlockingCause.OWNER_SUSPENDED,
        sentence=f"{engine.node} owns the shard and does not reach the coordination service",
        since_ms=engine.suspended_since_ms,
        next_check="it is reached again, or another node has taken the shard",
        details=(("node", engine.node),),
    )


def _loading(shard: ShardState) -> Reason:
    return Reason(
        cause=BlockingCause.SHARD_LOADING,
        sentence=f"the new owner of shard {shard.shard} has not read it yet from what was overdue",
        since_ms=shard.acquired_ms,
        next_check="it has read the past of the shard",
        details=(("shard", str(shard.shard)), ("epoch", str(shard.epoch))),
    )
