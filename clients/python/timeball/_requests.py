"""Builds every request of the public API, for both clients.

Pure: no channel, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.message import Message

from timeball.durations import DurationLike, parse_duration, require_zone
from timeball.errors import refused
from timeball.options import RetryPolicy, Submission, SubmitOptions, UpdateOptions
from timeball.payload import CONTENT_TYPE
from timeball.settings import Settings
from timeball.states import TaskState
from timeball.v1 import admin_service_pb2, task_pb2, task_service_pb2

M = TypeVar("M", bound=Message)

_TIMEOUTS = {
    "timeout": "start_to_close",
    "start_within": "schedule_to_start",
    "finish_within": "schedule_to_close",
    "heartbeat_within": "heartbeat",
}


def duration(value: DurationLike, field: str) -> duration_pb2.Duration:
    """A protobuf duration, or InvalidRequest."""
    message = duration_pb2.Duration()
    length = parse_duration(value, field=field)
    try:
        message.FromTimedelta(length)
    except ValueError:
        raise refused(field, f"{length} is longer than 10,000 years") from None
    return message


def timestamp(value: datetime, field: str) -> timestamp_pb2.Timestamp:
    """A protobuf timestamp, or InvalidRequest when the datetime is naive."""
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(require_zone(value, field=field))
    return message


def task_of(submission: Submission[Any]) -> task_pb2.Task:
    """The API's task for a submission.

    Raises:
        InvalidRequest: a duration or an instant cannot be read, or an option has a wrong type.
    """
    options = submission.options
    try:
        task = task_pb2.Task(
            handler=submission.handler,
            payload=task_pb2.Payload(content_type=CONTENT_TYPE, data=submission.data),
            labels=options.get("labels"),
            selector=options.get("selector"),
            priority=options.get("priority"),
            owner=options.get("owner", ""),
            concurrency_key=options.get("concurrency_key", ""),
        )
    except (TypeError, ValueError) as error:
        raise refused("task", str(error)) from error
    if options.get("at_most_once"):
        task.delivery_mode = task_pb2.DELIVERY_MODE_AT_MOST_ONCE
    _set_times(task, options)
    return task


def _set_times(task: task_pb2.Task, options: SubmitOptions) -> None:
    if "run_at" in options:
        task.run_time.CopyFrom(timestamp(options["run_at"], "run_at"))
    if "delay" in options:
        task.delay.CopyFrom(duration(options["delay"], "delay"))
    if "retry" in options:
        task.retry.CopyFrom(retry_policy(options["retry"]))
    _set_timeouts(task, options)


def _set_timeouts(task: task_pb2.Task, options: SubmitOptions | UpdateOptions) -> None:
    for option, field in _TIMEOUTS.items():
        value: Any = options.get(option)
        if value is not None:
            getattr(task.timeouts, field).CopyFrom(duration(value, option))


def write_changes(task: task_pb2.Task, options: UpdateOptions) -> list[str]:
    """Writes what is to change into a task; answers its fields, as update masks name them.

    Raises:
        InvalidRequest: a duration cannot be read, or an option has a wrong type.
    """
    fields: list[str] = [name for name in ("priority", "labels", "selector") if name in options]
    try:
        plain = task_pb2.Task(
            priority=options.get("priority"),
            labels=options.get("labels"),
            selector=options.get("selector"),
        )
    except (TypeError, ValueError) as error:
        raise refused("task", str(error)) from error
    task.MergeFrom(plain)
    if "retry" in options:
        task.retry.CopyFrom(retry_policy(options["retry"]))
        fields.append("retry")
    if any(option in options for option in _TIMEOUTS):
        _set_timeouts(task, options)
        fields.append("timeouts")
    return fields


def retry_policy(policy: RetryPolicy) -> task_pb2.RetryPolicy:
    """The API's retry policy."""
    message = task_pb2.RetryPolicy(
        max_attempts=policy.max_attempts, coefficient=policy.coefficient, jitter=policy.jitter
    )
    for name in ("initial_delay", "max_delay", "max_age"):
        value = getattr(policy, name)
        if value is not None:
            getattr(message, name).CopyFrom(duration(value, f"retry.{name}"))
    return message


def create_task(
    settings: Settings,
    task: task_pb2.Task,
    request_id: str,
    options: SubmitOptions | None = None,
) -> task_service_pb2.CreateTaskRequest:
    """Asks to create a task, perhaps under a chosen name.

    Raises:
        InvalidRequest: what to do about the name is not one of the words for it.
    """
    request = task_service_pb2.CreateTaskRequest(
        parent=settings.parent, task=task, request_id=request_id
    )
    said = options or {}
    if "chosen_name" in said:
        request.chosen_name = said["chosen_name"]
    if "while_open" in said:
        request.while_open = _word(task_service_pb2.WhileOpen, "while_open", said["while_open"])
    if "after_end" in said:
        request.after_end = _word(task_service_pb2.AfterEnd, "after_end", said["after_end"])
    return request


def _word(enum: Any, field: str, word: str) -> Any:
    """The API's number for one of our words."""
    known = {name.removeprefix(f"{field.upper()}_").lower(): n for name, n in enum.items() if n}
    if word not in known:
        raise refused(field, f"one of {', '.join(known)}, got {word!r}")
    return known[word]


def task_name(settings: Settings, task: str) -> str:
    """Resource name of a task given by id or by resource name."""
    return task if "/" in task else f"{settings.parent}/tasks/{task}"


def schedule_name(settings: Settings, schedule: str) -> str:
    """Resource name of a schedule given by id or by resource name."""
    return schedule if "/" in schedule else f"{settings.parent}/schedules/{schedule}"


def list_tasks(
    settings: Settings,
    *,
    owner: str,
    handler: str,
    states: Iterable[TaskState | str],
    label: str,
    created: tuple[datetime | None, datetime | None],
    due: tuple[datetime | None, datetime | None],
    page_size: int,
) -> task_service_pb2.ListTasksRequest:
    """Asks for the first page; `created` and `due` are ranges, from inclusive and to exclusive."""
    request = task_service_pb2.ListTasksRequest(
        parent=settings.parent, owner=owner, handler=handler, label=label, page_size=page_size
    )
    for state in states:
        request.states.append(_state_number(state))
    for name, bounds in (("created", created), ("due", due)):
        for end, bound in zip(("from", "to"), bounds, strict=True):
            if bound is not None:
                field = f"{name}_{end}"
                getattr(request, field).CopyFrom(timestamp(bound, field))
    return request


def batch_get_tasks(
    settings: Settings, names: Iterable[str], *, full: bool, allow_stale: bool
) -> task_service_pb2.BatchGetTasksRequest:
    """Asks for many tasks."""
    view = task_service_pb2.TASK_VIEW_FULL if full else task_service_pb2.TASK_VIEW_BASIC
    return task_service_pb2.BatchGetTasksRequest(
        parent=settings.parent, names=names, view=view, allow_stale=allow_stale
    )


def list_dead_letters(
    settings: Settings, failed: tuple[datetime | None, datetime | None], page_size: int
) -> admin_service_pb2.ListDeadLettersRequest:
    """Asks for the first page; `failed` bounds the failure, from inclusive and to exclusive."""
    request = admin_service_pb2.ListDeadLettersRequest(parent=settings.parent, page_size=page_size)
    failed_from, failed_to = failed
    if failed_from is not None:
        request.failed_from.CopyFrom(timestamp(failed_from, "failed_from"))
    if failed_to is not None:
        request.failed_to.CopyFrom(timestamp(failed_to, "failed_to"))
    return request


def _state_number(state: TaskState | str) -> task_pb2.TaskState.ValueType:
    try:
        return task_pb2.TaskState.Value(f"TASK_STATE_{state.upper()}")
    except ValueError:
        known = ", ".join(each for each in TaskState if each is not TaskState.UNKNOWN)
        raise refused("states", f"there is no state {state!r}; there are {known}") from None


def resent(request: M) -> M:
    """A copy that says it is a repetition, where the request can say so."""
    copy = type(request)()
    copy.CopyFrom(request)
    parts: Iterable[Any] = copy.requests if hasattr(copy, "requests") else (copy,)
    for part in parts:
        if "resend" in part.DESCRIPTOR.fields_by_name:
            part.resend = True
    return copy
