"""The one family of errors, with the status each one travels as.

TimeballError
├── InvalidRequest              INVALID_ARGUMENT
│   └── PayloadTooLarge
├── TaskNotFound                NOT_FOUND
│   └── TaskExpired             the id's bucket was removed after retention
├── NodeNotFound                NOT_FOUND
├── ResourceNotFound            NOT_FOUND: a namespace, user or API key
├── AlreadyExists               ALREADY_EXISTS
├── Unauthenticated             UNAUTHENTICATED
├── PermissionDenied            PERMISSION_DENIED
├── FailedPrecondition          FAILED_PRECONDITION
│   ├── TooLate                 the attempt has started; nothing was changed
│   ├── RequestIdReused         same request_id, other content
│   └── TaskFailed              raised by Handle.result(), never by a server
├── Aborted                     ABORTED
│   ├── StaleEtag
│   ├── StaleEpoch              another owner holds the shard
│   └── ShardNotOwned           ask the owner; metadata may name it
├── Unavailable                 UNAVAILABLE
│   ├── NotLeader, Draining, StoreUnavailable, CoordinationUnavailable
│   └── NewerVersionNeeded      a newer version wrote what the servers of now cannot read
├── ResourceExhausted           RESOURCE_EXHAUSTED
│   └── WatcherTooSlow          watch again with the last resume token
├── OutcomeUnknown              DEADLINE_EXCEEDED: read, or repeat with the same request_id
│   └── WaitTimeout
└── Internal                    INTERNAL

`reason` is stable and meant for programs; the message is for people and may change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a request: where, and what would be accepted."""

    field: str
    description: str


class TimeballError(Exception):
    """Base of the family.

    Attributes:
        reason: stable UPPER_SNAKE word.
        code: name of the gRPC status.
        retryable: whether the same call may succeed later.
        violations: fields that are wrong, if the request was.
        metadata: facts for programs, for example the owner's address.
        retry_after_s: seconds to wait before the next try, if the server said so.
        reached: whether a service answered; False = gRPC found none, or lost it.
    """

    reason: ClassVar[str] = "UNKNOWN"
    code: ClassVar[str] = "UNKNOWN"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        violations: Iterable[Violation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.violations: Sequence[Violation] = tuple(violations)
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.reached = True


class InvalidRequest(TimeballError):
    """The request can never succeed as it is."""

    reason = "INVALID_REQUEST"
    code = "INVALID_ARGUMENT"


def refused(field: str, description: str) -> InvalidRequest:
    """The error for one field that is wrong: where, and what would be accepted."""
    return InvalidRequest(f"{field}: {description}", violations=[Violation(field, description)])


class PayloadTooLarge(InvalidRequest):
    """A payload is over its limit."""

    reason = "PAYLOAD_TOO_LARGE"


class TaskNotFound(TimeballError):
    """There is no such task in the caller's namespace."""

    reason = "TASK_NOT_FOUND"
    code = "NOT_FOUND"


class TaskExpired(TaskNotFound):
    """The task's bucket was removed after its retention."""

    reason = "TASK_EXPIRED"


class NodeNotFound(TimeballError):
    """No living process of the cluster has this name."""

    reason = "NODE_NOT_FOUND"
    code = "NOT_FOUND"


class ResourceNotFound(TimeballError):
    """No namespace, user or API key has this name."""

    reason = "RESOURCE_NOT_FOUND"
    code = "NOT_FOUND"


class AlreadyExists(TimeballError):
    """Something else has this name."""

    reason = "ALREADY_EXISTS"
    code = "ALREADY_EXISTS"


class Unauthenticated(TimeballError):
    """The credential is missing or not known."""

    reason = "UNAUTHENTICATED"
    code = "UNAUTHENTICATED"


class PermissionDenied(TimeballError):
    """The credential does not allow this."""

    reason = "PERMISSION_DENIED"
    code = "PERMISSION_DENIED"


class FailedPrecondition(TimeballError):
    """The thing is not in a state that allows this."""

    reason = "FAILED_PRECONDITION"
    code = "FAILED_PRECONDITION"


class TooLate(FailedPrecondition):
    """The attempt had already started, or the task had ended; nothing was changed."""

    reason = "TOO_LATE"


class RequestIdReused(FailedPrecondition):
    """The request_id was used before for something else."""

    reason = "REQUEST_ID_REUSED"


class TaskFailed(FailedPrecondition):
    """The awaited task ended without a result."""

    reason = "TASK_FAILED"


class Aborted(TimeballError):
    """Something changed underneath; read again and repeat."""

    reason = "ABORTED"
    code = "ABORTED"
    retryable = True


class StaleEtag(Aborted):
    """The etag is not the current one."""

    reason = "STALE_ETAG"
    retryable = False


class StaleEpoch(Aborted):
    """A newer owner holds the shard."""

    reason = "STALE_EPOCH"


class ShardNotOwned(Aborted):
    """This node does not own the shard. metadata["owner"] may name who does."""

    reason = "SHARD_NOT_OWNED"


class Unavailable(TimeballError):
    """Not now; the same call may succeed in a moment."""

    reason = "UNAVAILABLE"
    code = "UNAVAILABLE"
    retryable = True


class NotLeader(Unavailable):
    """Only the leader can do this. metadata["leader"] may name it."""

    reason = "NOT_LEADER"


class Draining(Unavailable):
    """The process is shutting down; another one will answer."""

    reason = "DRAINING"


class StoreUnavailable(Unavailable):
    """The database did not answer; nothing was written by this call."""

    reason = "STORE_UNAVAILABLE"


class CoordinationUnavailable(Unavailable):
    """The coordination service did not answer."""

    reason = "COORDINATION_UNAVAILABLE"


class NewerVersionNeeded(Unavailable):
    """A newer version wrote something of the task that this one cannot read; it is left alone."""

    reason = "NEWER_VERSION_NEEDED"


class ResourceExhausted(TimeballError):
    """A limit was reached; wait as told."""

    reason = "RESOURCE_EXHAUSTED"
    code = "RESOURCE_EXHAUSTED"
    retryable = True


class WatcherTooSlow(ResourceExhausted):
    """More changes wait for a watcher than are kept for it; watch again with the last token."""

    reason = "WATCHER_TOO_SLOW"


class OutcomeUnknown(TimeballError):
    """It may or may not have happened. Repeat with the same request_id, or read."""

    reason = "OUTCOME_UNKNOWN"
    code = "DEADLINE_EXCEEDED"
    retryable = True


class WaitTimeout(OutcomeUnknown):
    """The task had not ended when the caller's patience did."""

    reason = "WAIT_TIMEOUT"


class Internal(TimeballError):
    """A bug or a broken invariant of the server."""

    reason = "INTERNAL"
    code = "INTERNAL"


def leaves() -> dict[str, type[TimeballError]]:
    """Every error class of this module by its reason; the inverse of the status table.

    Classes that other modules derive are their own business and never cross a wire by name.
    """
    found: dict[str, type[TimeballError]] = {}
    pending: list[type[TimeballError]] = [TimeballError]
    while pending:
        cls = pending.pop()
        pending.extend(cls.__subclasses__())
        if cls.__module__ == __name__:
            found[cls.reason] = cls
    return found
