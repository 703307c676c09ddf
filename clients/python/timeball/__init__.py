"""Timeball: tasks that run at their instant. The Python SDK.

Declare a task with `@timeball.task("name")`, then `await it.submit(...)`; or talk to the service
with `timeball.AsyncClient` and `timeball.Client`. Names load when first used, so that importing the
package costs next to nothing; it never connects by itself.
"""

from __future__ import annotations

import importlib

from timeball._version import __version__

# Type checkers take it for true; importing it from typing would double the time of this module.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from timeball.async_client import AsyncClient
    from timeball.changes import Change
    from timeball.client import Client
    from timeball.context import Context, current
    from timeball.defaults import connect, connect_sync, use
    from timeball.errors import TaskFailed, TimeballError, TooLate, WaitTimeout
    from timeball.handle import Handle, ScheduleHandle, SyncHandle, SyncScheduleHandle
    from timeball.options import Interval, RetryPolicy, Submission, every, submission
    from timeball.outcomes import Cancelled, Fail, Retry, Snooze
    from timeball.states import TaskState
    from timeball.tasks import Task, task

__all__ = [
    "AsyncClient",
    "Cancelled",
    "Change",
    "Client",
    "Context",
    "Fail",
    "Handle",
    "Interval",
    "Retry",
    "RetryPolicy",
    "ScheduleHandle",
    "Snooze",
    "Submission",
    "SyncHandle",
    "SyncScheduleHandle",
    "Task",
    "TaskFailed",
    "TaskState",
    "TimeballError",
    "TooLate",
    "WaitTimeout",
    "__version__",
    "connect",
    "connect_sync",
    "current",
    "every",
    "submission",
    "task",
    "use",
]

# The name of each module that is not its names' own, by the public name.
_HOMES = {
    "AsyncClient": "async_client",
    "Cancelled": "outcomes",
    "Change": "changes",
    "Client": "client",
    "Context": "context",
    "Fail": "outcomes",
    "Handle": "handle",
    "Interval": "options",
    "Retry": "outcomes",
    "RetryPolicy": "options",
    "ScheduleHandle": "handle",
    "Snooze": "outcomes",
    "Submission": "options",
    "SyncHandle": "handle",
    "SyncScheduleHandle": "handle",
    "Task": "tasks",
    "TaskFailed": "errors",
    "TaskState": "states",
    "TimeballError": "errors",
    "TooLate": "errors",
    "WaitTimeout": "errors",
    "connect": "defaults",
    "connect_sync": "defaults",
    "current": "context",
    "every": "options",
    "submission": "options",
    "task": "tasks",
    "use": "defaults",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
