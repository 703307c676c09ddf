"""The schedule service's messages, to and from what ScheduleApi takes and gives."""

from __future__ import annotations

from timeball.errors import InvalidRequest, Violation
from timeball.v1 import schedule_service_pb2 as pb

from coordinator.requests import Caller
from coordinator.schedules import CreateScheduleRequest
from coordinator.task_messages import request_id_of
from timeball_server.core.ids import TaskId
from timeball_server.core.model import ScheduleSpec, ScheduleView
from timeball_server.rpc.convert import (
    ms_from_duration,
    ms_from_timestamp,
    schedule_name,
    set_duration,
    set_timestamp,
    spec_from_task,
    task_from_spec,
    task_name,
)


def schedule_id_of(name: str) -> TaskId:
    """The id in a schedule's name.

    Raises:
        InvalidRequest: it is not the name of a schedule.
    """
    match name.split("/"):
        case ["namespaces", _, "schedules", schedule_id]:
            return TaskId(schedule_id)
        case _:
            sentence = "must be the name of a schedule: namespaces/{namespace}/schedules/{id}"
            raise InvalidRequest(f"name: {sentence}", violations=[Violation("name", sentence)])


def create_schedule_request(
    message: pb.CreateScheduleRequest, caller: Caller
) -> CreateScheduleRequest:
    """One schedule to create."""
    wished = message.schedule
    has = wished.HasField
    spec = ScheduleSpec(
        task=spec_from_task(wished.task, namespace=caller.namespace, subject=caller.subject),
        every_ms=ms_from_duration(wished.interval.every),
        phase_ms=ms_from_duration(wished.interval.phase),
        start_ms=ms_from_timestamp(wished.start_time) if has("start_time") else None,
        end_ms=ms_from_timestamp(wished.end_time) if has("end_time") else None,
        max_runs=wished.max_runs,
    )
    request_id = request_id_of(message.request_id)
    return CreateScheduleRequest(spec=spec, request_id=request_id, resend=message.resend)


def schedule_message(view: ScheduleView) -> pb.Schedule:
    """A schedule as callers see it."""
    spec, namespace = view.spec, view.spec.task.namespace
    message = pb.Schedule(
        name=schedule_name(namespace, view.schedule_id),
        task=task_from_spec(spec.task, full=True),
        max_runs=spec.max_runs,
        runs=view.runs,
        ended=view.ended,
        recent_tasks=[task_name(namespace, task_id) for task_id in view.recent],
    )
    set_duration(message.interval.every, spec.every_ms)
    set_duration(message.interval.phase, spec.phase_ms)
    set_timestamp(message.create_time, view.created_ms)
    if spec.start_ms is not None:
        set_timestamp(message.start_time, spec.start_ms)
    if spec.end_ms is not None:
        set_timestamp(message.end_time, spec.end_ms)
    if view.next_ms is not None:
        set_timestamp(message.next_time, view.next_ms)
    return message
