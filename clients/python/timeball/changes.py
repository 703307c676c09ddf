"""What a watch tells: how a task stands now, or why there is nothing to watch."""

from __future__ import annotations

from dataclasses import dataclass

from timeball.errors import TimeballError
from timeball.states import TaskState, state_of
from timeball.v1 import task_pb2


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One change of one task.

    Attributes:
        name: resource name, as it was asked for.
        task: the task as it stands; None with an error.
        error: why there is nothing to watch, for example TaskNotFound.
        done: nothing more comes about this task.
    """

    name: str
    task: task_pb2.Task | None = None
    error: TimeballError | None = None
    done: bool = False

    @property
    def id(self) -> str:
        """The task's id."""
        return self.name.rpartition("/")[2]

    @property
    def state(self) -> TaskState | None:
        """Where the task stands; None with an error."""
        return None if self.task is None else state_of(self.task.state)
