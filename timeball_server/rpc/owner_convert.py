"""Commands and outcomes between a coordinator and an owner, to and from the internal messages.

Exact in both directions: what goes in comes out. The only economy is that a created task's
spec, which the asker has in hand, is not sent back.
"""

from __future__ import annotations

from typing import Final, assert_never

from timeball_server.core.commands import (
    CancelScope,
    CancelTask,
    Command,
    CreateTask,
    DeleteTask,
    Done,
    Explained,
    ExplainTask,
    Outcome,
    OwnerHint,
    ReadTask,
    Rejected,
    RejectionReason,
    RescheduleTask,
    ScheduleDone,
    UpdateTask,
)
from timeball_server.core.ids import Epoch, Incarnation, Minute, NodeId, ShardId, TaskId
from timeball_server.core.model import (
    AttemptView,
    EventView,
    Failure,
    FailureCause,
    Progress,
    PublicState,
    TaskSpec,
    TaskView,
)
from timeball_server.internal.v1 import shard_service_pb2 as pb
from timeball_server.rpc.explain_convert import read_explanation, write_explanation
from timeball_server.rpc.revise_convert import read_revise_command, write_revise_command
from timeball_server.rpc.schedule_convert import (
    read_schedule_command,
    read_schedule_view,
    write_schedule_command,
    write_schedule_view,
)
from timeball_server.rpc.spec_convert import read_payload, read_spec, write_payload, write_spec

_REASONS: Final = {reason: pb.RejectionReason.Value(f"REJECTION_REASON_{reason.name}")
                   for reason in RejectionReason}  # fmt: skip
_STATES: Final = {state: pb.PublicState.Value(f"PUBLIC_STATE_{state}") for state in PublicState}
_CAUSES: Final = {cause: pb.FailureCause.Value(f"FAILURE_CAUSE_{cause}") for cause in FailureCause}
_REASONS_BACK: Final = {number: reason for reason, number in _REASONS.items()}
_STATES_BACK: Final = {number: state for state, number in _STATES.items()}
_CAUSES_BACK: Final = {number: cause for cause, number in _CAUSES.items()}


def write_command(target: pb.Command, command: Command) -> None:
    """Fill a message with a command."""
    match command:
        case CreateTask():
            _write_create(target.create, command)
        case CancelTask():
            cancel = target.cancel
            cancel.task_id = command.task_id
            cancel.namespace = command.namespace
            cancel.request_id = command.request_id
            cancel.actor = command.actor
            cancel.reason = command.reason
            cancel.terminate = command.terminate
            cancel.resend = command.resend
            cancel.scope = command.scope.value
        case ReadTask():
            target.read.task_id = command.task_id
            target.read.namespace = command.namespace
        case ExplainTask():
            target.explain.task_id = command.task_id
            target.explain.namespace = command.namespace
        case UpdateTask() | RescheduleTask() | DeleteTask():
            write_revise_command(target, command)
        case _:
            write_schedule_command(target, command)


def read_command(message: pb.Command) -> Command:
    """The command in a message.

    Raises:
        ValueError: the message holds none that this version knows.
    """
    kind = message.WhichOneof("kind")
    if kind == "create":
        return _read_create(message.create)
    if kind == "cancel":
        cancel = message.cancel
        return CancelTask(
            task_id=TaskId(cancel.task_id),
            namespace=cancel.namespace,
            request_id=cancel.request_id,
            actor=cancel.actor,
            reason=cancel.reason,
            terminate=cancel.terminate,
            resend=cancel.resend,
            scope=CancelScope(cancel.scope or CancelScope.ANY),
        )
    if kind == "read":
        return ReadTask(task_id=TaskId(message.read.task_id), namespace=message.read.namespace)
    if kind == "explain":
        asked = message.explain
        return ExplainTask(task_id=TaskId(asked.task_id), namespace=asked.namespace)
    other_command = read_revise_command(message) or read_schedule_command(message)
    if other_command is not None:
        return other_command
    raise ValueError("the message holds no command that this version knows")


def write_outcome(target: pb.Outcome, outcome: Outcome, command: Command | None = None) -> None:
    """Fill a message with an outcome; `command` is what it answers, if the asker has it."""
    match outcome:
        case Done():
            done = target.done
            as_sent = isinstance(command, CreateTask) and command.spec == outcome.task.spec
            _write_view(done.task, outcome.task, with_spec=not as_sent)
            done.fresh = outcome.fresh
            done.spec_as_sent = as_sent
        case ScheduleDone():
            write_schedule_view(target.schedule_done, outcome.schedule)
            target.schedule_done.fresh = outcome.fresh
        case Explained():
            write_explanation(target.explained, outcome.explanation)
        case Rejected():
            target.rejected.reason = _REASONS[outcome.reason]
            target.rejected.message = outcome.message
            if outcome.task is not None:
                _write_view(target.rejected.task, outcome.task, with_spec=True)
            if outcome.owner is not None:
                _write_hint(target.rejected.owner, outcome.owner)
        case _:
            assert_never(outcome)


def read_outcome(message: pb.Outcome, command: Command | None = None) -> Outcome:
    """The outcome in a message; `command` is what it answers.

    Raises:
        ValueError: the message holds none that this version knows.
    """
    kind = message.WhichOneof("kind")
    if kind == "done":
        done = message.done
        spec = command.spec if done.spec_as_sent and isinstance(command, CreateTask) else None
        return Done(_read_view(done.task, spec), done.fresh)
    if kind == "schedule_done":
        done_schedule = message.schedule_done
        return ScheduleDone(read_schedule_view(done_schedule), done_schedule.fresh)
    if kind == "explained":
        return Explained(read_explanation(message.explained))
    if kind == "rejected":
        rejected = message.rejected
        task = _read_view(rejected.task, None) if rejected.HasField("task") else None
        reason = _REASONS_BACK.get(rejected.reason)
        if reason is None:
            raise ValueError(f"rejection {rejected.reason} is not known to this version")
        owner = _read_hint(rejected.owner) if rejected.HasField("owner") else None
        return Rejected(reason, rejected.message, task, owner)
    raise ValueError("the message holds no outcome that this version knows")


def _write_hint(target: pb.OwnerHint, hint: OwnerHint) -> None:
    target.node = hint.node
    target.address = hint.address
    target.epoch = hint.epoch


def _read_hint(message: pb.OwnerHint) -> OwnerHint:
    return OwnerHint(node=NodeId(message.node), address=message.address, epoch=Epoch(message.epoch))


def _write_create(target: pb.CreateTask, command: CreateTask) -> None:
    target.minute = command.minute
    target.shard = command.shard
    target.unique = command.unique
    write_spec(target.spec, command.spec)
    if command.due_ms is not None:
        target.due_ms = command.due_ms
    target.delay_ms = command.delay_ms
    target.request_id = command.request_id
    target.actor = command.actor
    target.resend = command.resend


def _read_create(message: pb.CreateTask) -> CreateTask:
    return CreateTask(
        minute=Minute(message.minute),
        shard=ShardId(message.shard),
        unique=message.unique,
        spec=read_spec(message.spec),
        due_ms=message.due_ms if message.HasField("due_ms") else None,
        delay_ms=message.delay_ms,
        request_id=message.request_id,
        actor=message.actor,
        resend=message.resend,
    )


def _write_failure(target: pb.Failure, failure: Failure) -> None:
    target.kind = failure.kind
    target.message = failure.message
    target.stack = failure.stack
    target.retriable = failure.retriable
    if failure.delay_ms is not None:
        target.delay_ms = failure.delay_ms


def _read_failure(message: pb.Failure) -> Failure:
    return Failure(
        kind=message.kind,
        message=message.message,
        stack=message.stack,
        retriable=message.retriable,
        delay_ms=message.delay_ms if message.HasField("delay_ms") else None,
    )


def _write_view(target: pb.TaskView, view: TaskView, *, with_spec: bool) -> None:
    target.task_id = view.task_id
    if with_spec:
        write_spec(target.spec, view.spec)
    target.state = _STATES[view.state]
    if view.cause is not None:
        target.cause = _CAUSES[view.cause]
    target.due_ms = view.due_ms
    target.created_ms = view.created_ms
    target.updated_ms = view.updated_ms
    target.revision = view.revision
    target.attempt = view.attempt
    target.effective_priority = view.effective_priority
    if view.result is not None:
        write_payload(target.result, view.result)
    if view.failure is not None:
        _write_failure(target.failure, view.failure)
    for attempt in view.attempts:
        _write_attempt(target.attempts.add(), attempt)
    for event in view.journal:
        _write_event(target.journal.add(), event)
    if view.unaccounted:
        target.unaccounted.extend(view.unaccounted)
    target.terminal = view.terminal
    if view.progress is not None:
        _write_progress(target.progress, view.progress)


def _read_view(message: pb.TaskView, spec: TaskSpec | None) -> TaskView:
    return TaskView(
        task_id=TaskId(message.task_id),
        spec=read_spec(message.spec) if spec is None else spec,
        state=_STATES_BACK[message.state],
        cause=_CAUSES_BACK.get(message.cause),
        due_ms=message.due_ms,
        created_ms=message.created_ms,
        updated_ms=message.updated_ms,
        revision=message.revision,
        attempt=message.attempt,
        effective_priority=message.effective_priority,
        result=read_payload(message.result) if message.HasField("result") else None,
        failure=_read_failure(message.failure) if message.HasField("failure") else None,
        attempts=tuple(map(_read_attempt, message.attempts)) if message.attempts else (),
        journal=tuple(map(_read_event, message.journal)) if message.journal else (),
        unaccounted=tuple(message.unaccounted) if message.unaccounted else (),
        terminal=message.terminal,
        progress=_read_progress(message.progress) if message.HasField("progress") else None,
    )


def _write_progress(target: pb.Progress, progress: Progress) -> None:
    target.note = progress.note
    if progress.fraction is not None:
        target.fraction = progress.fraction
    if progress.heard_ms is not None:
        target.heard_ms = progress.heard_ms
    if progress.checkpoint is not None:
        write_payload(target.checkpoint, progress.checkpoint)


def _read_progress(message: pb.Progress) -> Progress:
    return Progress(
        fraction=message.fraction if message.HasField("fraction") else None,
        note=message.note,
        heard_ms=message.heard_ms if message.HasField("heard_ms") else None,
        checkpoint=read_payload(message.checkpoint) if message.HasField("checkpoint") else None,
    )


def _write_attempt(target: pb.AttemptView, attempt: AttemptView) -> None:
    target.number = attempt.number
    target.executor = attempt.executor
    target.incarnation = attempt.incarnation
    target.priority = attempt.priority
    target.due_ms = attempt.due_ms
    target.claimed_ms = attempt.claimed_ms
    if attempt.started_ms is not None:
        target.started_ms = attempt.started_ms
    if attempt.ended_ms is not None:
        target.ended_ms = attempt.ended_ms
    target.outcome = attempt.outcome
    if attempt.failure is not None:
        _write_failure(target.failure, attempt.failure)


def _read_attempt(message: pb.AttemptView) -> AttemptView:
    return AttemptView(
        number=message.number,
        executor=NodeId(message.executor),
        incarnation=Incarnation(message.incarnation),
        priority=message.priority,
        due_ms=message.due_ms,
        claimed_ms=message.claimed_ms,
        started_ms=message.started_ms if message.HasField("started_ms") else None,
        ended_ms=message.ended_ms if message.HasField("ended_ms") else None,
        outcome=message.outcome,
        failure=_read_failure(message.failure) if message.HasField("failure") else None,
    )


def _write_event(target: pb.EventView, event: EventView) -> None:
    target.seq = event.seq
    target.epoch = event.epoch
    target.kind = event.kind
    target.state = event.state
    target.at_ms = event.at_ms
    target.actor = event.actor
    target.text = event.text


def _read_event(message: pb.EventView) -> EventView:
    return EventView(
        seq=message.seq,
        epoch=message.epoch,
        kind=message.kind,
        state=message.state,
        at_ms=message.at_ms,
        actor=message.actor,
        text=message.text,
    )
