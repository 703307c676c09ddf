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
    from timeball.explanation import BlockingCause, Explanation
    from timeball.handle import Handle, SyncHandle
    from timeball.options import RetryPolicy, Submission, submission
    from timeball.outcomes import Cancelled, Fail, Retry, Snooze
    from timeball.schedule_handle import ScheduleHandle, SyncScheduleHandle
    from timeball.states import TaskState
    from timeball.tasks import Task, task
    from timeball.timings import (
        Cron,
        Interval,
        Timing,
        after_completion,
        cron,
        dates,
        every,
        span,
        union,
    )

__all__ = [
    "AsyncClient",
    "BlockingCause",
    "Cancelled",
    "Change",
    "Client",
    "Context",
    "Cron",
    "Explanation",
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
    "Timing",
    "TooLate",
    "WaitTimeout",
    "__version__",
    "after_completion",
    "connect",
    "connect_sync",
    "cron",
    "current",
    "dates",
    "every",
    "span",
    "submission",
    "task",
    "union",
    "use",
]

# The name of each module that is not its names' own, by the public name.
_HOMES = {
    "AsyncClient": "async_client",
    "BlockingCause": "explanation",
    "Cancelled": "outcomes",
    "Change": "changes",
    "Client": "client",
    "Context": "context",
    "Cron": "timings",
    "Explanation": "explanation",
    "Fail": "outcomes",
    "Handle": "handle",
    "Interval": "timings",
    "Retry": "outcomes",
    "RetryPolicy": "options",
    "ScheduleHandle": "schedule_handle",
    "Snooze": "outcomes",
    "Submission": "options",
    "SyncHandle": "handle",
    "SyncScheduleHandle": "schedule_handle",
    "Task": "tasks",
    "TaskFailed": "errors",
    "TaskState": "states",
    "TimeballError": "errors",
    "Timing": "timings",
    "TooLate": "errors",
    "WaitTimeout": "errors",
    "after_completion": "timings",
    "connect": "defaults",
    "connect_sync": "defaults",
    "cron": "timings",
    "current": "context",
    "dates": "timings",
    "every": "timings",
    "span": "timings",
    "submission": "options",
    "task": "tasks",
    "union": "timings",
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
