"""Has tasks done again, or at once.

A dead letter is redriven: a new task with the old one's specification, which names it. The old
task stays what it is. A dead letter is redriven once, whoever asks and however often: the new
task's id follows from the old one's, so a repetition finds it. When the new task fails for good it
is a dead letter of its own, and may be redriven in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from timeball.errors import FailedPrecondition, PermissionDenied, TimeballError, TooLate

from coordinator.api import TaskApi
from coordinator.hints import found_in
from coordinator.outcomes import not_found
from coordinator.reader import shown
from coordinator.requests import Caller, CreateRequest, RescheduleRequest
from coordinator.unread import refusal, unread
from timeball_server.core.ids import TaskId
from timeball_server.core.limits import MAX_PRIORITY
from timeball_server.core.minting import CreateTime, redrive_request_id
from timeball_server.core.model import PublicState, TaskView
from timeball_server.ports.store import Store

_ENDED: Final = frozenset({PublicState.SUCCEEDED, PublicState.CANCELLED, PublicState.TERMINATED})
"""Ends after which nothing is to be retried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """What became of one dead letter: the new task, or why there is none."""

    old: TaskId
    result: TaskView | TimeballError


class Redriver:
    """Redrives."""

    def __init__(self, store: Store, tasks: TaskApi) -> None:
        self._store = store
        self._tasks = tasks

    async def redrive(
        self,
        caller: Caller,
        task_ids: Sequence[TaskId],
        patience_ms: int | None = None,
        *,
        highest_priority: int = MAX_PRIORITY,
    ) -> list[Redriven]:
        """Redrive dead letters, in the order of the ids, each by itself.

        Args:
            highest_priority: what the caller's roles allow; more urgent ones are refused.
        """
        journals = await self._store.read_journals(list(dict.fromkeys(task_ids)))
        results: dict[TaskId, TaskView | TimeballError] = {}
        wishes: dict[TaskId, CreateRequest] = {}
        for task_id in task_ids:
            rows = journals.get(task_id, ())
            found = found_in(rows, caller.namespace, partial(shown, with_journal=False))
            hidden = unread(rows)
            if hidden is not None:
                results[task_id] = refusal(hidden, caller.namespace)
            elif found is None:
                results[task_id] = not_found(task_id)
            elif found.view.state is not PublicState.FAILED:
                results[task_id] = _not_failed(found.view)
            elif found.view.spec.priority > highest_priority:
                results[task_id] = _too_urgent(found.view)
            else:
                wishes[task_id] = _wish(found.view)
        made = await self._tasks.create(caller, list(wishes.values()), patience_ms)
        results.update(zip(wishes, made, strict=True))
        return [Redriven(old=task_id, result=results[task_id]) for task_id in task_ids]

    async def retry(
        self,
        caller: Caller,
        request: RescheduleRequest,
        patience_ms: int | None = None,
        *,
        highest_priority: int = MAX_PRIORITY,
    ) -> TaskView:
        """Have a task done now: one that waits runs, one that FAILED is redriven.

        The owner's answer decides which, nothing that was read before it.

        Args:
            request: to now.
            highest_priority: what the caller's roles allow for a new task.

        Raises:
            TooLate: an attempt runs.
            PermissionDenied: it FAILED, and is more urgent than that.
            FailedPrecondition: it has ended, and did not fail.
            TaskNotFound, TaskExpired, Unavailable, OutcomeUnknown: as `TaskApi.reschedule`.
        """
        try:
            return await self._tasks.reschedule(caller, request, patience_ms)
        except TooLate as refused:
            state = refused.metadata.get("state", "")
            if state in _ENDED:
                raise _not_to_retry(request.task_id, state) from None
            if state != PublicState.FAILED:
                raise
        (redriven,) = await self.redrive(
            caller, [request.task_id], patience_ms, highest_priority=highest_priority
        )
        if isinstance(redriven.result, TimeballError):
            raise redriven.result
        return redriven.result


def _wish(old: TaskView) -> CreateRequest:
    """The new task: at once, like the old one, marked as a repetition because it may be one."""
    spec = replace(old.spec, redrive_of=old.task_id, schedule_id=None)
    return CreateRequest(
        spec=spec, time=CreateTime(), request_id=redrive_request_id(old.task_id), resend=True
    )


def _too_urgent(view: TaskView) -> PermissionDenied:
    return PermissionDenied(
        f"task {view.task_id} has priority {view.spec.priority}; doing it again needs the role "
        "operator, as creating it does"
    )


def _not_to_retry(task_id: TaskId, state: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"task {task_id} is {state}; retry takes tasks that wait or that FAILED. "
        "Create a new task to have it done once more.",
        metadata={"state": state},
    )


def _not_failed(view: TaskView) -> FailedPrecondition:
    return FailedPrecondition(
        f"task {view.task_id} is {view.state}; only tasks that failed for good are redriven",
        metadata={"state": view.state.value},
    )
