"""What owners answer, as the errors and views that callers get."""

from __future__ import annotations

from typing import Final

from timeball.errors import (
    Internal,
    InvalidRequest,
    OutcomeUnknown,
    TaskNotFound,
    TimeballError,
    Unavailable,
    Violation,
    leaves,
)

from timeball_server.core.commands import Done, Outcome, Rejected, RejectionReason, ScheduleDone
from timeball_server.core.ids import TaskId
from timeball_server.core.model import ScheduleView, TaskView
from timeball_server.rpc.convert import etag_of

RETRY_AFTER_S: Final = 1.0
"""What callers are told to wait while a shard has no owner."""
_ERRORS: Final = {reason: leaves()[reason.value] for reason in RejectionReason}
_WITH_PAUSE: Final = frozenset({RejectionReason.OVERLOADED, RejectionReason.NOT_READY})


def error_of(rejected: Rejected, field: str = "task.run_time") -> TimeballError:
    """The error of a rejection. Its metadata names the state that decided, if one did.

    Args:
        field: what is to blame for a time that is not taken.
    """
    if rejected.reason is RejectionReason.HORIZON:
        violation = Violation(field, rejected.message)
        return InvalidRequest(rejected.message, violations=[violation])
    metadata = {} if rejected.task is None else {"state": rejected.task.state.value}
    if rejected.task is not None and rejected.reason is RejectionReason.STALE_ETAG:
        metadata["etag"] = etag_of(rejected.task.revision)
    pause = RETRY_AFTER_S if rejected.reason in _WITH_PAUSE else None
    return _ERRORS[rejected.reason](rejected.message, metadata=metadata, retry_after_s=pause)


def view_or_error(answer: Outcome | TimeballError) -> TaskView | TimeballError:
    """One item of many: each succeeds or fails by itself."""
    if isinstance(answer, Done):
        return answer.task
    return _error(answer)


def view_of(answer: Outcome | TimeballError, field: str = "task.run_time") -> TaskView:
    """The task in an answer.

    Args:
        field: what is to blame for a time that is not taken.

    Raises:
        TimeballError: what the answer is instead.
    """
    if isinstance(answer, Done):
        return answer.task
    raise _error(answer, field)


def schedule_of(answer: Outcome | TimeballError) -> ScheduleView:
    """The schedule in an answer.

    Raises:
        TimeballError: what the answer is instead.
    """
    if isinstance(answer, ScheduleDone):
        return answer.schedule
    if isinstance(answer, Rejected) and answer.reason is RejectionReason.NOT_FOUND:
        raise TaskNotFound("There is no such schedule in your namespace; check its name.")
    if isinstance(answer, Rejected):
        raise error_of(answer, "schedule")
    raise _error(answer)


def _error(answer: Outcome | TimeballError, field: str = "task.run_time") -> TimeballError:
    """What went wrong; an answer about another kind of thing is a bug of the owner."""
    if isinstance(answer, TimeballError):
        return answer
    if isinstance(answer, Rejected):
        return error_of(answer, field)
    return Internal("The shard's owner answered about another kind of thing; report this.")


def no_owner() -> Unavailable:
    """The shard had no owner for as long as the caller waited."""
    return Unavailable(
        "No scheduler node owns the task's shard right now and nothing was changed; "
        "repeat the call in a moment.",
        retry_after_s=RETRY_AFTER_S,
    )


def in_doubt() -> OutcomeUnknown:
    """The request was sent, and its answer never came."""
    return OutcomeUnknown(
        "The owner of the task's shard did not answer in time, so the request may or may not "
        "hold; read the task, or repeat the call with the same request_id."
    )


def not_found(task_id: TaskId) -> TaskNotFound:
    """Same words for a task that never was, was deleted, or belongs to another namespace."""
    return TaskNotFound(f"There is no task {task_id} in your namespace; check the id.")
