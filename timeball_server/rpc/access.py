"""What each public method needs, and what a principal may put into a request.

One row per method; a method without a row is refused, and fails a test. Namespaces come from
the credential alone: a name in another one is not found, a parent in another one is denied.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, Final

from google.protobuf.field_mask_pb2 import FieldMask
from timeball.errors import PermissionDenied, TaskNotFound, TimeballError, Violation
from timeball.v1 import schedule_service_pb2, task_pb2, task_service_pb2

from timeball_server.core.limits import MAX_PRIORITY
from timeball_server.rpc.auth import Principal, Role

OWN_NAMESPACE: Final = "-"
MAX_PRIORITY_OF_ALL: Final = MAX_PRIORITY - 1
"""What needs no role: the highest one is the operators'."""
"""Stands for the credential's namespace in names and parents."""

ACCESS: Final[Mapping[str, Role]] = {
    "/timeball.v1.TaskService/CreateTask": Role.SUBMITTER,
    "/timeball.v1.TaskService/BatchCreateTasks": Role.SUBMITTER,
    "/timeball.v1.TaskService/CreateTasks": Role.SUBMITTER,
    "/timeball.v1.TaskService/GetTask": Role.VIEWER,
    "/timeball.v1.TaskService/BatchGetTasks": Role.VIEWER,
    "/timeball.v1.TaskService/ListTasks": Role.VIEWER,
    "/timeball.v1.TaskService/CancelTask": Role.SUBMITTER,
    "/timeball.v1.TaskService/UpdateTask": Role.SUBMITTER,
    "/timeball.v1.TaskService/RescheduleTask": Role.SUBMITTER,
    "/timeball.v1.TaskService/DeleteTask": Role.SUBMITTER,
    "/timeball.v1.TaskService/RetryTask": Role.SUBMITTER,
    "/timeball.v1.TaskService/WaitTask": Role.VIEWER,
    "/timeball.v1.TaskService/ExplainTask": Role.VIEWER,
    "/timeball.v1.TaskService/WatchTasks": Role.VIEWER,
    "/timeball.v1.ScheduleService/CreateSchedule": Role.SUBMITTER,
    "/timeball.v1.ScheduleService/GetSchedule": Role.VIEWER,
    "/timeball.v1.ScheduleService/ListSchedules": Role.VIEWER,
    "/timeball.v1.ScheduleService/UpdateSchedule": Role.SUBMITTER,
    "/timeball.v1.ScheduleService/DeleteSchedule": Role.SUBMITTER,
    "/timeball.v1.ScheduleService/PauseSchedule": Role.SUBMITTER,
    "/timeball.v1.ScheduleService/ResumeSchedule": Role.SUBMITTER,
    "/timeball.v1.ScheduleService/TriggerSchedule": Role.SUBMITTER,
    "/timeball.v1.ScheduleService/CreateBackfill": Role.SUBMITTER,
    "/timeball.v1.ScheduleService/GetBackfill": Role.VIEWER,
    "/timeball.v1.ScheduleService/StopBackfill": Role.SUBMITTER,
    "/timeball.v1.ScheduleService/PreviewSchedule": Role.VIEWER,
    "/timeball.v1.ScheduleService/ListOccurrences": Role.VIEWER,
    "/timeball.v1.ScheduleService/ListScheduleVersions": Role.VIEWER,
    "/timeball.v1.AdminService/GetCluster": Role.OPERATOR,
    "/timeball.v1.AdminService/DrainNode": Role.OPERATOR,
    "/timeball.v1.AdminService/ListDeadLetters": Role.OPERATOR,
    "/timeball.v1.AdminService/ListNodes": Role.OPERATOR,
    "/timeball.v1.AdminService/ListShards": Role.OPERATOR,
    "/timeball.v1.AdminService/MoveShard": Role.OPERATOR,
    "/timeball.v1.AdminService/UnpinShard": Role.OPERATOR,
    "/timeball.v1.AdminService/RedriveDeadLetters": Role.OPERATOR,
    "/timeball.v1.AdminService/ListAudit": Role.OPERATOR,
    "/timeball.v1.AdminService/SetLimit": Role.ADMIN,
    "/timeball.v1.AdminService/ListLimits": Role.ADMIN,
    "/timeball.v1.AdminService/DeleteLimit": Role.ADMIN,
    "/timeball.v1.AdminService/CreateNamespace": Role.ADMIN,
    "/timeball.v1.AdminService/GetNamespace": Role.ADMIN,
    "/timeball.v1.AdminService/ListNamespaces": Role.ADMIN,
    "/timeball.v1.AdminService/DisableNamespace": Role.ADMIN,
    "/timeball.v1.AdminService/EnableNamespace": Role.ADMIN,
    "/timeball.v1.AdminService/CreateUser": Role.ADMIN,
    "/timeball.v1.AdminService/GetUser": Role.ADMIN,
    "/timeball.v1.AdminService/ListUsers": Role.ADMIN,
    "/timeball.v1.AdminService/DisableUser": Role.ADMIN,
    "/timeball.v1.AdminService/EnableUser": Role.ADMIN,
    "/timeball.v1.AdminService/CreateKey": Role.ADMIN,
    "/timeball.v1.AdminService/ListKeys": Role.ADMIN,
    "/timeball.v1.AdminService/RevokeKey": Role.ADMIN,
}
"""The role that each public method needs."""
NODES: Final[Mapping[str, Role]] = {
    "/timeball.internal.v1.MembershipService/Join": Role.OPERATOR,
}
"""Streams of our own processes that are served next to the public methods: the credential and its
role are checked, their messages have no public rules."""
ADMINISTERED: Final = frozenset(
    f"timeball.v1.{name}Request"
    for name in (
        *("GetNamespace", "DisableNamespace", "EnableNamespace"),
        *("CreateUser", "GetUser", "ListUsers", "DisableUser", "EnableUser"),
        *("CreateKey", "ListKeys", "RevokeKey", "ListAudit"),
        *("SetLimit", "ListLimits", "DeleteLimit"),
    )
)
"""Requests in which an administrator may name any namespace."""
_CREATIONS: Final = (task_service_pb2.CreateTaskRequest, task_service_pb2.BatchCreateTasksRequest)
OWN_PARENTS: Final = frozenset({"", f"namespaces/{OWN_NAMESPACE}"})
"""What a request may say that means the caller's own namespace, whoever the caller is."""
OPEN: Final = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})
"""Methods that need no credential: load balancers have none, and learn nothing but yes or no."""


def check_role(principal: Principal, method: str) -> None:
    """Refuse a method that the principal's roles do not allow.

    Raises:
        PermissionDenied: the role is missing, or the method has no row.
    """
    name = method.rpartition("/")[2]
    needed = ACCESS.get(method) or NODES.get(method)
    if needed is None:
        raise PermissionDenied(f"{name} is not offered to anybody: it has no access rule")
    if needed not in principal.roles:
        raise PermissionDenied(
            f"{name} needs the role {needed}, which your credential does not have",
            metadata={"role": needed},
        )


def check_namespace(principal: Principal, request: Any) -> None:
    """Refuse what lies in another namespace than the credential's, but for administrators' work.

    Raises:
        TaskNotFound: a name in another namespace; the same answer as for nothing at all.
        PermissionDenied: a parent in another namespace, whether it exists or not.
    """
    if isinstance(request, _CREATIONS) and request.parent in OWN_PARENTS:
        return  # by far the most, and without a name
    fields = request.DESCRIPTOR.fields_by_name
    if Role.ADMIN in principal.roles and request.DESCRIPTOR.full_name in ADMINISTERED:
        return
    name = _name_in(request, fields)
    if _foreign(principal, name):
        raise TaskNotFound(f"there is no {name} in your namespace")
    if "parent" in fields and _foreign(principal, request.parent):
        raise PermissionDenied(
            f"your credential belongs to namespace {principal.namespace}: write "
            "namespaces/- for your own",
            violations=[Violation("parent", "must be your credential's own namespace")],
        )


def check_content(
    principal: Principal, request: Any, item_errors: Mapping[int, TimeballError]
) -> Mapping[int, TimeballError]:
    """Refuse content that needs a role; for requests of many, item by item.

    Returns:
        The item errors, these included.

    Raises:
        PermissionDenied: the request as a whole is refused.
    """
    if Role.OPERATOR in principal.roles:
        return item_errors
    match request:
        case task_service_pb2.CreateTaskRequest():
            _check_priority(request.task, "task")
        case task_service_pb2.UpdateTaskRequest() if _names(request.update_mask, "priority"):
            _check_priority(request.task, "task")
        case (
            schedule_service_pb2.CreateScheduleRequest()
            | schedule_service_pb2.UpdateScheduleRequest()
        ):
            _check_priority(request.schedule.task, "schedule.task")
        case task_service_pb2.BatchCreateTasksRequest() | task_service_pb2.CreateTasksRequest():
            return {**_items_denied(request.requests), **item_errors}
        case _:
            pass  # other requests hold nothing that needs a role of its own
    return item_errors


def highest_priority(principal: Principal) -> int:
    """The highest priority that a caller may give to a task."""
    return MAX_PRIORITY if Role.OPERATOR in principal.roles else MAX_PRIORITY_OF_ALL


def _items_denied(
    requests: Iterable[task_service_pb2.CreateTaskRequest],
) -> dict[int, TimeballError]:
    denied: dict[int, TimeballError] = {}
    for position, item in enumerate(requests):
        try:
            _check_priority(item.task, "task")
        except PermissionDenied as error:
            denied[position] = error
    return denied


def _check_priority(task: task_pb2.Task, path: str) -> None:
    if task.priority == MAX_PRIORITY:
        field = f"{path}.priority"
        sentence = f"must be at most {MAX_PRIORITY_OF_ALL} without the role operator"
        raise PermissionDenied(f"{field}: {sentence}", violations=[Violation(field, sentence)])


def _names(mask: FieldMask, path: str) -> bool:
    """Whether an update with this mask may change the field."""
    return not mask.paths or path in mask.paths or "*" in mask.paths


def _name_in(request: Any, fields: Container[str]) -> str:
    """The name of what a request is about; an update has it in the task that it sends."""
    if isinstance(request, task_service_pb2.UpdateTaskRequest):
        return request.task.name
    return str(request.name) if "name" in fields else ""


def _foreign(principal: Principal, name: str) -> bool:
    """Whether namespaces/{namespace}... names another namespace; an empty name does not."""
    namespace = name.split("/")[1] if name.count("/") else ""
    return namespace not in ("", OWN_NAMESPACE, principal.namespace)
