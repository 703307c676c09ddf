"""Changes of one task between a coordinator and an owner: update, reschedule, delete.

Exact in both directions; a command of another kind is somebody else's.
"""

from __future__ import annotations

from timeball_server.core.commands import DeleteTask, RescheduleTask, ReviseTask, UpdateTask
from timeball_server.core.ids import TaskId
from timeball_server.internal.v1 import shard_service_pb2 as pb
from timeball_server.rpc.spec_convert import read_spec, write_spec

_Message = pb.UpdateTask | pb.RescheduleTask | pb.DeleteTask


def write_revise_command(target: pb.Command, command: ReviseTask | DeleteTask) -> None:
    """Fill a message with a change of one task."""
    match command:
        case UpdateTask():
            _write_common(target.update, command)
            write_spec(target.update.spec, command.spec)
            target.update.fields.extend(command.fields)
        case RescheduleTask():
            _write_common(target.reschedule, command)
            if command.due_ms is not None:
                target.reschedule.due_ms = command.due_ms
            target.reschedule.delay_ms = command.delay_ms
        case DeleteTask():
            _write_common(target.delete, command)


def read_revise_command(message: pb.Command) -> ReviseTask | DeleteTask | None:
    """The change of one task in a message, None if it is about something else."""
    match message.WhichOneof("kind"):
        case "update":
            return _read_update(message.update)
        case "reschedule":
            return _read_reschedule(message.reschedule)
        case "delete":
            return _read_delete(message.delete)
        case _:
            return None


def _write_common(target: _Message, command: ReviseTask | DeleteTask) -> None:
    target.task_id = command.task_id
    target.namespace = command.namespace
    if command.revision is not None:
        target.revision = command.revision
    target.request_id = command.request_id
    target.actor = command.actor
    target.resend = command.resend


def _revision(message: _Message) -> int | None:
    return message.revision if message.HasField("revision") else None


def _read_update(message: pb.UpdateTask) -> UpdateTask:
    return UpdateTask(
        task_id=TaskId(message.task_id),
        namespace=message.namespace,
        spec=read_spec(message.spec),
        fields=tuple(message.fields),
        revision=_revision(message),
        request_id=message.request_id,
        actor=message.actor,
        resend=message.resend,
    )


def _read_reschedule(message: pb.RescheduleTask) -> RescheduleTask:
    return RescheduleTask(
        task_id=TaskId(message.task_id),
        namespace=message.namespace,
        due_ms=message.due_ms if message.HasField("due_ms") else None,
        delay_ms=message.delay_ms,
        revision=_revision(message),
        request_id=message.request_id,
        actor=message.actor,
        resend=message.resend,
    )


def _read_delete(message: pb.DeleteTask) -> DeleteTask:
    return DeleteTask(
        task_id=TaskId(message.task_id),
        namespace=message.namespace,
        revision=_revision(message),
        request_id=message.request_id,
        actor=message.actor,
        resend=message.resend,
    )
