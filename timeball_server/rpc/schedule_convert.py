"""Schedules between a coordinator and an owner, to and from internal messages; exact both ways."""

from __future__ import annotations

from timeball_server.core.commands import CreateSchedule, EndSchedule, ReadSchedule
from timeball_server.core.ids import Minute, ShardId, TaskId
from timeball_server.core.model import ScheduleSpec, ScheduleView
from timeball_server.internal.v1 import shard_service_pb2 as pb
from timeball_server.rpc.spec_convert import read_spec, write_spec

ScheduleCommand = CreateSchedule | ReadSchedule | EndSchedule


def write_schedule_command(target: pb.Command, command: ScheduleCommand) -> None:
    """Fill a message with a command on a schedule."""
    if isinstance(command, CreateSchedule):
        create = target.create_schedule
        create.minute = command.minute
        create.shard = command.shard
        create.unique = command.unique
        _write_spec(create.spec, command.spec)
        create.request_id = command.request_id
        create.actor = command.actor
        create.resend = command.resend
    elif isinstance(command, ReadSchedule):
        target.read_schedule.schedule_id = command.task_id
        target.read_schedule.namespace = command.namespace
    else:
        end = target.end_schedule
        end.schedule_id = command.task_id
        end.namespace = command.namespace
        end.request_id = command.request_id
        end.actor = command.actor


def read_schedule_command(message: pb.Command) -> ScheduleCommand | None:
    """The command on a schedule in a message, None if it is about something else."""
    kind = message.WhichOneof("kind")
    if kind == "create_schedule":
        return _read_create(message.create_schedule)
    if kind == "read_schedule":
        read = message.read_schedule
        return ReadSchedule(task_id=TaskId(read.schedule_id), namespace=read.namespace)
    if kind == "end_schedule":
        end = message.end_schedule
        return EndSchedule(
            task_id=TaskId(end.schedule_id),
            namespace=end.namespace,
            request_id=end.request_id,
            actor=end.actor,
        )
    return None


def _read_create(message: pb.CreateSchedule) -> CreateSchedule:
    return CreateSchedule(
        minute=Minute(message.minute),
        shard=ShardId(message.shard),
        unique=message.unique,
        spec=_read_spec(message.spec),
        request_id=message.request_id,
        actor=message.actor,
        resend=message.resend,
    )


def _write_spec(target: pb.ScheduleSpec, spec: ScheduleSpec) -> None:
    write_spec(target.task, spec.task)
    target.every_ms = spec.every_ms
    target.phase_ms = spec.phase_ms
    if spec.start_ms is not None:
        target.start_ms = spec.start_ms
    if spec.end_ms is not None:
        target.end_ms = spec.end_ms
    target.max_runs = spec.max_runs


def _read_spec(message: pb.ScheduleSpec) -> ScheduleSpec:
    return ScheduleSpec(
        task=read_spec(message.task),
        every_ms=message.every_ms,
        phase_ms=message.phase_ms,
        start_ms=message.start_ms if message.HasField("start_ms") else None,
        end_ms=message.end_ms if message.HasField("end_ms") else None,
        max_runs=message.max_runs,
    )


def write_schedule_view(target: pb.ScheduleView, view: ScheduleView) -> None:
    """Fill a message with a schedule as its owner knows it."""
    target.schedule_id = view.schedule_id
    _write_spec(target.spec, view.spec)
    if view.next_ms is not None:
        target.next_ms = view.next_ms
    target.runs = view.runs
    target.created_ms = view.created_ms
    target.revision = view.revision
    target.ended = view.ended
    target.recent.extend(view.recent)


def read_schedule_view(message: pb.ScheduleView) -> ScheduleView:
    """The schedule in a message."""
    return ScheduleView(
        schedule_id=TaskId(message.schedule_id),
        spec=_read_spec(message.spec),
        next_ms=message.next_ms if message.HasField("next_ms") else None,
        runs=message.runs,
        created_ms=message.created_ms,
        revision=message.revision,
        ended=message.ended,
        recent=tuple(TaskId(task_id) for task_id in message.recent),
    )
