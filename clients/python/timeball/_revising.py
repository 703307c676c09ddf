"""What clients ask to change a task that exists, as flows for both of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from google.protobuf.field_mask_pb2 import FieldMask

from timeball import _requests
from timeball._flow import Flow, Kit, Method, call
from timeball.durations import DurationLike
from timeball.errors import refused
from timeball.options import Submission, UpdateOptions, check_option_names
from timeball.payload import CONTENT_TYPE, encode_arguments
from timeball.v1 import task_pb2
from timeball.v1 import task_service_pb2 as pb

_PATH: Final = "/timeball.v1.TaskService/"
UPDATE_TASK = Method(_PATH + "UpdateTask", pb.UpdateTaskRequest, pb.UpdateTaskResponse)
RESCHEDULE_TASK = Method(
    _PATH + "RescheduleTask", pb.RescheduleTaskRequest, pb.RescheduleTaskResponse
)
DELETE_TASK = Method(_PATH + "DeleteTask", pb.DeleteTaskRequest, pb.DeleteTaskResponse)
RETRY_TASK = Method(_PATH + "RetryTask", pb.RetryTaskRequest, pb.RetryTaskResponse)

Arguments = Submission[Any] | Mapping[str, object] | None
"""What a handler is to be called with: a prepared task, or named arguments; None = as before."""


def update(
    kit: Kit,
    task: str,
    arguments: Arguments,
    options: UpdateOptions,
    etag: str,
    request_id: str | None,
) -> Flow[task_pb2.Task]:
    """Changes what a task that waits will do."""
    check_option_names(options, UpdateOptions.__optional_keys__)
    message = task_pb2.Task(name=_requests.task_name(kit.settings, task), etag=etag)
    fields = _written(message, arguments, options)
    if not fields:
        raise refused("update", "say other arguments, or an option that is to change")
    request = pb.UpdateTaskRequest(
        task=message,
        update_mask=FieldMask(paths=fields),
        request_id=kit.request_id(request_id),
    )
    answer = yield from call(kit, UPDATE_TASK, request)
    return answer.task


def _written(message: task_pb2.Task, arguments: Arguments, options: UpdateOptions) -> list[str]:
    """Writes what is to change into a task, and answers the fields that were written."""
    if arguments is None:
        return _requests.write_changes(message, options)
    data = arguments.data if isinstance(arguments, Submission) else encode_arguments(arguments)
    message.payload.CopyFrom(task_pb2.Payload(content_type=CONTENT_TYPE, data=data))
    return ["payload", *_requests.write_changes(message, options)]


def reschedule(
    kit: Kit,
    task: str,
    at: datetime | None,
    after: DurationLike | None,
    etag: str,
    request_id: str | None,
) -> Flow[task_pb2.Task]:
    """Moves the next attempt of a task that waits; neither instant nor duration = now."""
    if at is not None and after is not None:
        raise refused("after", "say at or after, not both")
    request = pb.RescheduleTaskRequest(
        name=_requests.task_name(kit.settings, task),
        etag=etag,
        request_id=kit.request_id(request_id),
    )
    if at is not None:
        request.run_time.CopyFrom(_requests.timestamp(at, "at"))
    if after is not None:
        request.delay.CopyFrom(_requests.duration(after, "after"))
    answer = yield from call(kit, RESCHEDULE_TASK, request)
    return answer.task


def delete(kit: Kit, task: str, etag: str, request_id: str | None) -> Flow[None]:
    """Removes a task that has ended."""
    request = pb.DeleteTaskRequest(
        name=_requests.task_name(kit.settings, task),
        etag=etag,
        request_id=kit.request_id(request_id),
    )
    yield from call(kit, DELETE_TASK, request)


def retry(kit: Kit, task: str, request_id: str | None) -> Flow[task_pb2.Task]:
    """Has a task done now: the task itself, or the new one that does a failed one again."""
    request = pb.RetryTaskRequest(
        name=_requests.task_name(kit.settings, task), request_id=kit.request_id(request_id)
    )
    answer = yield from call(kit, RETRY_TASK, request)
    return answer.task
