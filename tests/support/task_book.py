"""What a caller may expect of tasks: a dictionary of them, for the stateful test.

Knows the promises of the public API and nothing of how they are kept. Times are milliseconds of the
service's own wall clock, which the test sets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from timeball.states import TaskState

RETRY_MS: Final = 50_000
ATTEMPTS: Final = 3
"""What every task of the test is created with."""


class Kind(StrEnum):
    """What a handler does."""

    SUCCEED = "book.succeed"
    FAIL_ONCE = "book.fail-once"
    FAIL = "book.fail"
    REFUSE = "book.refuse"


FAILURES: Final = {Kind.SUCCEED: 0, Kind.FAIL_ONCE: 1, Kind.FAIL: ATTEMPTS, Kind.REFUSE: 0}
"""How many attempts fail so that another one may help."""


@dataclass(frozen=True, slots=True)
class Run:
    """An attempt that began, as the handler itself saw it."""

    task_id: str
    attempt: int
    number: int
    started_ms: int


@dataclass(slots=True, kw_only=True)
class Known:
    """A task that was promised. `asked_due_ms` None = at once; `due_ms` = never before.

    `asked` is the number that it was created with, `number` the one it has now. `request_id` is
    empty for a task that the service made of a failed one, `again` is that one's. `moved_ms` is
    the time of its next attempt if that was changed.
    """

    task_id: str
    number: int
    asked: int
    kind: Kind
    asked_due_ms: int | None
    due_ms: int
    request_id: str
    cancelled: bool = False
    moved_ms: int | None = None
    again: str = ""
    runs: list[Run] = field(default_factory=list)

    @property
    def state(self) -> TaskState:
        """Where it must stand once nothing of it is due."""
        if self.cancelled:
            return TaskState.CANCELLED
        if not self.runs:
            return TaskState.SCHEDULED
        failed = min(len(self.runs), FAILURES[self.kind])
        if self.kind is Kind.REFUSE or failed == ATTEMPTS:
            return TaskState.FAILED
        return TaskState.SUCCEEDED if len(self.runs) > failed else TaskState.RETRYING

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is to come."""
        return self.state not in (TaskState.SCHEDULED, TaskState.RETRYING)

    @property
    def next_due_ms(self) -> int:
        """When its next attempt may begin; only for one that has not ended."""
        if self.moved_ms is not None:
            return self.moved_ms
        return self.runs[-1].started_ms + RETRY_MS if self.runs else self.due_ms


class TaskBook:
    """All tasks by id, newest last; and what was deleted."""

    def __init__(self) -> None:
        self.tasks: dict[str, Known] = {}
        self.deleted: dict[str, Known] = {}

    def add(self, known: Known) -> None:
        """Write down a promise."""
        assert known.task_id not in self.tasks, f"{known.task_id} was promised before"
        self.tasks[known.task_id] = known

    def note(self, run: Run) -> None:
        """An attempt began: is it one that may?"""
        known = self.tasks.get(run.task_id)
        assert known is not None, f"nobody was promised {run}"
        assert not known.cancelled, f"{run} began after its cancel was answered"
        assert not known.has_ended, f"{run} began after the end: {known}"
        assert run.number == known.number, f"{run} has another task's body: {known}"
        assert run.attempt == len(known.runs) + 1, f"{run} is not the next attempt of {known}"
        assert run.started_ms >= known.next_due_ms, f"{run} is early: {known}"
        known.runs.append(run)
        known.moved_ms = None

    def delete(self, known: Known) -> None:
        """It is shown to nobody any more."""
        self.deleted[known.task_id] = self.tasks.pop(known.task_id)

    def asked_for(self) -> list[Known]:
        """Tasks that a caller created."""
        return [each for each in self.tasks.values() if each.request_id]

    def due(self, now_ms: int) -> list[Known]:
        """Tasks whose next attempt may begin."""
        tasks = self.tasks.values()
        return [each for each in tasks if not each.has_ended and each.next_due_ms <= now_ms]

    def waiting(self, now_ms: int, margin_ms: int) -> list[Known]:
        """Tasks whose next attempt will not be due for some time yet."""
        tasks = self.tasks.values()
        return [
            each for each in tasks if not each.has_ended and each.next_due_ms > now_ms + margin_ms
        ]

    def ended(self) -> list[Known]:
        """Tasks of which nothing is to come."""
        return [each for each in self.tasks.values() if each.has_ended]
