"""Words for where a task stands, as the SDK and the command line say them."""

from __future__ import annotations

import enum


class TaskState(enum.StrEnum):
    """Where a task stands. UNKNOWN is a state that this version of the SDK does not know."""

    UNKNOWN = "UNKNOWN"
    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TERMINATED = "TERMINATED"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self in _FINAL


_FINAL = frozenset(
    {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.TERMINATED}
)
_BY_NUMBER = dict(enumerate(TaskState))


def state_of(number: int) -> TaskState:
    """The state that the API's number stands for."""
    return _BY_NUMBER.get(number, TaskState.UNKNOWN)
