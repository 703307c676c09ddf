"""Requests to change a task, to what TaskApi takes.

Owns what an update mask may name and what an etag is. Which change holds, the task's owner decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from timeball.errors import refused
from timeball.v1 import task_pb2
from timeball.v1 import task_service_pb2 as pb

from coordinator.requests import Caller, DeleteRequest, RescheduleRequest, UpdateRequest
from coordinator.task_messages import request_id_of
from timeball_server.core.commands import UPDATABLE_FIELDS
from timeball_server.rpc.convert import (
    ms_from_duration,
    ms_from_timestamp,
    parse_task_name,
    spec_from_task,
)

_OTHERWISE: Final = "is moved by RescheduleTask, not by an update"
_NEVER: Final = "cannot be changed; cancel the task and create another one"
FIXED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "run_time": _OTHERWISE,
        "delay": _OTHERWISE,
        "handler": _NEVER,
        "owner": _NEVER,
        "delivery_mode": _NEVER,
    }
)
"""What callers write and an update does not change, and what to do instead."""
_ALL: Final = ["*"]
_ETAG: Final = re.compile(r"r(0|[1-9][0-9]{0,17})", re.ASCII)


def update_request(message: pb.UpdateTaskRequest, caller: Caller) -> UpdateRequest:
    """An update.

    Raises:
        InvalidRequest: it names no task, or something that an update does not change.
    """
    task = message.task
    return UpdateRequest(
        task_id=parse_task_name(task.name, "task.name").task_id,
        spec=spec_from_task(task, namespace=caller.namespace, subject=caller.subject),
        fields=changed_fields(task, message.update_mask.paths),
        revision=revision_of(task.etag, "task.etag"),
        request_id=request_id_of(message.request_id),
        resend=message.resend,
    )


def reschedule_request(message: pb.RescheduleTaskRequest) -> RescheduleRequest:
    """Another time.

    Raises:
        InvalidRequest: what it names is no task, or its etag is none.
    """
    at, later = message.HasField("run_time"), message.HasField("delay")
    return RescheduleRequest(
        task_id=parse_task_name(message.name).task_id,
        due_ms=ms_from_timestamp(message.run_time) if at else None,
        delay_ms=ms_from_duration(message.delay) if later else 0,
        revision=revision_of(message.etag, "etag"),
        request_id=request_id_of(message.request_id),
        resend=message.resend,
    )


def delete_request(message: pb.DeleteTaskRequest) -> DeleteRequest:
    """A removal.

    Raises:
        InvalidRequest: what it names is no task, or its etag is none.
    """
    return DeleteRequest(
        task_id=parse_task_name(message.name).task_id,
        revision=revision_of(message.etag, "etag"),
        request_id=request_id_of(message.request_id),
        resend=message.resend,
    )


def retry_request(message: pb.RetryTaskRequest) -> RescheduleRequest:
    """A retry: to now.

    Raises:
        InvalidRequest: what it names is no task.
    """
    return RescheduleRequest(
        task_id=parse_task_name(message.name).task_id,
        request_id=request_id_of(message.request_id),
        resend=message.resend,
    )


def changed_fields(task: task_pb2.Task, paths: Sequence[str]) -> tuple[str, ...]:
    """The fields of a specification that an update changes.

    Raises:
        InvalidRequest: the mask names something else; or it names nothing by itself, and the task
            sets what cannot be changed, or nothing that can.
    """
    if paths and list(paths) != _ALL:
        for path in paths:
            if path not in UPDATABLE_FIELDS:
                raise refused("update_mask", f"{path} {_why_not(path)}")
        return tuple(name for name in UPDATABLE_FIELDS if name in paths)
    given = {field.name for field, _ in task.ListFields()}
    for name, sentence in FIXED.items():
        if name in given:
            hint = "leave it out, or name in update_mask what is to change"
            raise refused(f"task.{name}", f"{sentence}; {hint}")
    found = tuple(name for name in UPDATABLE_FIELDS if paths or name in given)
    if not found:
        names = ", ".join(UPDATABLE_FIELDS)
        raise refused("update_mask", f"names nothing, and the task sets none of {names}")
    return found


def revision_of(etag: str, field: str) -> int | None:
    """The revision that an etag stands for; None = whatever there is.

    Raises:
        InvalidRequest: no task ever had it.
    """
    if not etag:
        return None
    found = _ETAG.fullmatch(etag)
    if found is None:
        raise refused(field, "must be the etag of the task as it was read, or empty")
    return int(found[1])


def _why_not(path: str) -> str:
    """Why this path cannot be changed."""
    if path in FIXED:
        return FIXED[path]
    whole, dot, _ = path.partition(".")
    if dot and whole in UPDATABLE_FIELDS:
        return f"cannot be changed by itself; name {whole}, which is changed as a whole"
    return f"cannot be changed; name some of {', '.join(UPDATABLE_FIELDS)}"
