"""Other revisions of a task that has not begun: what it does, and when; and hiding what has ended.

Rules R8 (a repetition is recognised before the revision is looked at), R9 (a new alarm's hint goes
first), R10 (a claim that was not sent is superseded), R14 (what was sent is asked for first), R17
(every answer from an event of our own epoch), R24 (the owner's now).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from timeball_server.core.commands import (
    UPDATABLE_FIELDS,
    DeleteTask,
    Done,
    Outcome,
    Rejected,
    RejectionReason,
    RescheduleTask,
    ReviseTask,
    UpdateTask,
)
from timeball_server.core.engine import commands, revoking
from timeball_server.core.engine.pinning import pinned
from timeball_server.core.engine.state import Engine, Mutation, ShardState, TaskState
from timeball_server.core.engine.writing import begin, following_event, moved_hint, reply
from timeball_server.core.journal import (
    TERMINAL,
    EventKind,
    EventRow,
    History,
    SpecDetail,
    State,
)
from timeball_server.core.limits import MAX_JOURNAL_EVENTS
from timeball_server.core.model import TaskSpec, TaskView
from timeball_server.core.priority import effective_priority
from timeball_server.core.view import task_view

KEPT_EVENTS: Final = 100
"""The last events of a journal are kept for attempts and the end: nobody revises the task then."""
_KINDS: Final = {
    UpdateTask: EventKind.UPDATED,
    RescheduleTask: EventKind.RESCHEDULED,
    DeleteTask: EventKind.DELETED,
}


def revise(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: ReviseTask
) -> None:
    """Update or reschedule a task that nothing holds."""
    if task.state is State.ABSENT:
        reply(engine, token, commands.not_found())
    elif pinned(engine, shard, task, token, command):
        outcome = _answer_at_once(engine, task, command)
        if outcome is not None:
            reply(engine, token, outcome)
        elif task.sent:
            revoking.ask(engine, shard, task, token, command)
        else:
            _append(engine, shard, task, token, command)


def _answer_at_once(engine: Engine, task: TaskState, command: ReviseTask) -> Outcome | None:
    """What is said without an event: it was done before, or can not be done; None = do it."""
    if task.state in commands.HIDDEN:
        return commands.not_found()
    return (
        _repeated(task, command)
        or _too_late(task)
        or _stale(task, command)
        or _refused(engine, task, command)
        or _unchanged(task, command)
    )


def _repeated(task: TaskState, command: ReviseTask) -> Outcome | None:
    """The answer to a request that was carried out before, whatever has happened since (R8)."""
    for row in _events_of(task, command):
        if not _says(row, command):
            message = "this request_id was used before for a different change of this task"
            return Rejected(RejectionReason.REQUEST_ID_REUSED, message)
        return Done(commands.view_of(task), fresh=False)
    return None


def _events_of(task: TaskState, command: ReviseTask | DeleteTask) -> Iterator[EventRow]:
    """What this very request has appended: at most one event."""
    kind = _KINDS[type(command)]
    request_id = command.request_id
    return (row for row in task.chain if row.kind is kind and row.request_id == request_id != "")


def _says(row: EventRow, command: ReviseTask) -> bool:
    if isinstance(command, UpdateTask):
        spec = row.detail.spec if isinstance(row.detail, SpecDetail) else None
        return spec is not None and updated(spec, command) == spec
    return command.due_ms is None or row.alarm is None or row.alarm.due_ms == command.due_ms


def _too_late(task: TaskState) -> Outcome | None:
    if task.state in TERMINAL:
        return commands.has_ended(task)
    return revoking.too_late(task) if task.sent and task.started_ms is not None else None


def _stale(task: TaskState, command: ReviseTask | DeleteTask) -> Outcome | None:
    if command.revision is None or command.revision == task.head.revision:
        return None
    message = f"the task has revision {task.head.revision}, the caller knows {command.revision}"
    return Rejected(RejectionReason.STALE_ETAG, message, commands.view_of(task))


def _refused(engine: Engine, task: TaskState, command: ReviseTask) -> Outcome | None:
    """Limits: the horizon, the journal's length, and what an update may name at all."""
    if task.head.seq >= MAX_JOURNAL_EVENTS - KEPT_EVENTS:
        message = (
            f"the journal has {task.head.seq} events; the last {KEPT_EVENTS} of "
            f"{MAX_JOURNAL_EVENTS} are kept for attempts, so create another task instead"
        )
        return Rejected(RejectionReason.PRECONDITION, message, commands.view_of(task))
    if isinstance(command, UpdateTask):
        for name in command.fields:
            if name not in UPDATABLE_FIELDS:
                message = f"{name} can not be updated; create another task instead"
                return Rejected(RejectionReason.PRECONDITION, message, commands.view_of(task))
    elif _due_ms(engine, command) > engine.now_ms + engine.config.horizon_ms:
        message = "the due time lies too far ahead; the horizon is five years"
        return Rejected(RejectionReason.HORIZON, message)
    return None


def _unchanged(task: TaskState, command: ReviseTask) -> Outcome | None:
    """A wish that is fulfilled already leaves no event.

    A repetition does: the first send may still be on its way, and must be recognised after others
    have changed the task.
    """
    if command.resend:
        return None
    if isinstance(command, UpdateTask):
        same = updated(task.spec, command) == task.spec
    else:
        same = command.due_ms == task.due_ms and not task.renewed
    return Done(commands.view_of(task), fresh=False) if same else None


def updated(spec: TaskSpec, command: UpdateTask) -> TaskSpec:
    """The specification with the named fields changed."""
    return replace(spec, **{name: getattr(command.spec, name) for name in command.fields})


def _due_ms(engine: Engine, command: RescheduleTask) -> int:
    return engine.now_ms + command.delay_ms if command.due_ms is None else command.due_ms


def _append(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: ReviseTask
) -> None:
    """Append the event; a claim in hand was not sent, or was given back, and is superseded."""
    if isinstance(command, UpdateTask):
        spec = updated(task.spec, command)
        # A run that was given back after its alarm had been renewed is due now (rule R18).
        due_ms = engine.now_ms if task.renewed and task.due_ms > engine.now_ms else None
    else:
        spec, due_ms = task.spec, _due_ms(engine, command)
    row = following_event(
        engine,
        shard,
        task,
        _KINDS[type(command)],
        actor=command.actor,
        request_id=command.request_id,
        due_ms=due_ms,
        detail=SpecDetail(spec=spec) if isinstance(command, UpdateTask) else None,
    )
    row = replace(row, priority=effective_priority(spec.priority, row.attempt, 0))
    hint = moved_hint(engine, shard, task, row)
    begin(engine, shard, task, row, hint=hint, token=token, then=_revised)


def _revised(engine: Engine, mutation: Mutation) -> None:
    engine.counters.revised += 1
    reply(engine, mutation.token, Done(commands.view_of(mutation.task)))


def delete(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: DeleteTask
) -> None:
    """Hide a task that has ended; its rows go with its bucket."""
    if task.state is State.ABSENT:
        reply(engine, token, commands.not_found())
    elif pinned(engine, shard, task, token, command):
        refusal = _not_deleted(task, command)
        if refusal is not None:
            reply(engine, token, refusal)
        else:
            _append_deleted(engine, shard, task, token, command)


def _not_deleted(task: TaskState, command: DeleteTask) -> Outcome | None:
    if task.state is State.DELETED and any(_events_of(task, command)):
        return Done(_last_shown(task), fresh=False)
    if task.state in commands.HIDDEN:
        return commands.not_found()
    if task.state not in TERMINAL:
        message = "the task has not ended; cancel it first, then delete it"
        return Rejected(RejectionReason.PRECONDITION, message, commands.view_of(task))
    return _stale(task, command)


def _append_deleted(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: DeleteTask
) -> None:
    row = following_event(
        engine,
        shard,
        task,
        EventKind.DELETED,
        actor=command.actor,
        request_id=command.request_id,
    )
    begin(engine, shard, task, row, token=token, then=_deleted)


def _deleted(engine: Engine, mutation: Mutation) -> None:
    engine.counters.deleted += 1
    reply(engine, mutation.token, Done(_last_shown(mutation.task)))


def _last_shown(task: TaskState) -> TaskView:
    """A deleted task as it was before."""
    shown = [row for row in task.chain if row.state is not State.DELETED]
    return task_view(History(tuple(shown), task.not_accepted))
