"""The one table between errors and gRPC statuses, in both directions.

An error travels as its status code, its sentence, and a google.rpc.Status in the trailing
metadata: ErrorInfo (reason, domain, metadata), BadRequest (fields) and RetryInfo. Never lets
the text of an unexpected exception out: it may hold other people's data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from timeball import errors

DOMAIN: Final = "timeball.dev"
DETAILS_KEY: Final = "grpc-status-details-bin"
MAX_MESSAGE_CHARACTERS: Final = 500
"""Sentences travel in headers; clients take 8 KiB of them without asking."""
MAX_VIOLATIONS: Final = 10
"""Field violations of one answer, for the same reason."""
MAX_FIELD_CHARACTERS: Final = 200
"""One field path or one description, for the same reason."""


@dataclass(frozen=True, slots=True)
class StatusRow:
    """How one error travels: its status, and how long to wait before the next try, if it helps."""

    status: grpc.StatusCode
    retry_after_s: float | None = None


STATUS_TABLE: Final[Mapping[type[errors.TimeballError], StatusRow]] = {
    errors.TimeballError: StatusRow(grpc.StatusCode.UNKNOWN),
    errors.InvalidRequest: StatusRow(grpc.StatusCode.INVALID_ARGUMENT),
    errors.PayloadTooLarge: StatusRow(grpc.StatusCode.INVALID_ARGUMENT),
    errors.TaskNotFound: StatusRow(grpc.StatusCode.NOT_FOUND),
    errors.TaskExpired: StatusRow(grpc.StatusCode.NOT_FOUND),
    errors.NodeNotFound: StatusRow(grpc.StatusCode.NOT_FOUND),
    errors.ResourceNotFound: StatusRow(grpc.StatusCode.NOT_FOUND),
    errors.AlreadyExists: StatusRow(grpc.StatusCode.ALREADY_EXISTS),
    errors.Unauthenticated: StatusRow(grpc.StatusCode.UNAUTHENTICATED),
    errors.PermissionDenied: StatusRow(grpc.StatusCode.PERMISSION_DENIED),
    errors.FailedPrecondition: StatusRow(grpc.StatusCode.FAILED_PRECONDITION),
    errors.TooLate: StatusRow(grpc.StatusCode.FAILED_PRECONDITION),
    errors.RequestIdReused: StatusRow(grpc.StatusCode.FAILED_PRECONDITION),
    errors.TaskFailed: StatusRow(grpc.StatusCode.FAILED_PRECONDITION),
    errors.Aborted: StatusRow(grpc.StatusCode.ABORTED, 0.05),
    errors.StaleEtag: StatusRow(grpc.StatusCode.ABORTED),
    errors.StaleEpoch: StatusRow(grpc.StatusCode.ABORTED, 0.05),
    errors.ShardNotOwned: StatusRow(grpc.StatusCode.ABORTED, 0.05),
    errors.Unavailable: StatusRow(grpc.StatusCode.UNAVAILABLE, 0.2),
    errors.NotLeader: StatusRow(grpc.StatusCode.UNAVAILABLE, 0.2),
    errors.Draining: StatusRow(grpc.StatusCode.UNAVAILABLE, 0.05),
    errors.StoreUnavailable: StatusRow(grpc.StatusCode.UNAVAILABLE, 1.0),
    errors.CoordinationUnavailable: StatusRow(grpc.StatusCode.UNAVAILABLE, 1.0),
    errors.NewerVersionNeeded: StatusRow(grpc.StatusCode.UNAVAILABLE, 5.0),
    errors.ResourceExhausted: StatusRow(grpc.StatusCode.RESOURCE_EXHAUSTED, 1.0),
    errors.WatcherTooSlow: StatusRow(grpc.StatusCode.RESOURCE_EXHAUSTED, 0.05),
    errors.OutcomeUnknown: StatusRow(grpc.StatusCode.DEADLINE_EXCEEDED),
    errors.WaitTimeout: StatusRow(grpc.StatusCode.DEADLINE_EXCEEDED),
    errors.Internal: StatusRow(grpc.StatusCode.INTERNAL),
}
"""Every class of the family. A class without a row fails a test."""


@dataclass(frozen=True, slots=True)
class WireStatus:
    """An error as gRPC carries it; `details` is a serialised google.rpc.Status."""

    code: grpc.StatusCode
    message: str
    details: bytes

    @property
    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """What goes into the call's trailing metadata."""
        return ((DETAILS_KEY, self.details),)


class Abortable(Protocol):
    """The part of a servicer's context that ends a call."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()
    ) -> NoReturn:
        """End the call with a status."""
        ...


def row_of(kind: type[errors.TimeballError]) -> StatusRow:
    """The row of an error's class, or of the nearest parent that has one.

    Errors that never leave a process (a lost session, wrong settings) have no row of their own.
    """
    return next(STATUS_TABLE[each] for each in kind.__mro__ if each in STATUS_TABLE)


def shortened(text: str, characters: int) -> str:
    """At most so many characters; what is left out leaves three dots."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def wire_status(error: errors.TimeballError) -> WireStatus:
    """An error as status, sentence and details."""
    row = row_of(type(error))
    message = shortened(error.message, MAX_MESSAGE_CHARACTERS)
    number: int = row.status.value[0]
    status = status_pb2.Status(code=number, message=message)
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=DOMAIN, metadata=dict(error.metadata)
    )
    status.details.add().Pack(info)
    if error.violations:
        status.details.add().Pack(_bad_request(error))
    wait_s = row.retry_after_s if error.retry_after_s is None else error.retry_after_s
    if wait_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(wait_s * 1e9))
        status.details.add().Pack(retry)
    return WireStatus(row.status, message, status.SerializeToString())


async def abort_with(context: Abortable, error: errors.TimeballError) -> NoReturn:
    """End a call with an error of the family.

    Raises:
        CancelledError: the caller went at this very moment, its deadline over most often; gRPC
            would tell of an uncaught error.
    """
    wire = wire_status(error)
    try:
        await context.abort(wire.code, wire.message, wire.trailing_metadata)
    except grpc.aio.InternalError as gone:
        raise asyncio.CancelledError("there is nobody to be told") from gone


def error_from_wire(
    code: grpc.StatusCode, message: str, trailing_metadata: Iterable[tuple[str, str | bytes]]
) -> errors.TimeballError:
    """The error that a peer meant: by reason if it said one, else by status.

    Args:
        code: status of the ended call.
        message: its sentence.
        trailing_metadata: of the ended call; may hold the details.
    """
    for key, value in trailing_metadata:
        if key == DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status.FromString(value)
            return _error_from_details(code, status.message or message, status.details)
    return _class_of_status(code)(message)


def error_from_rpc(error: grpc.aio.AioRpcError) -> errors.TimeballError:
    """The error that a failed call of grpc.aio meant."""
    trailing = error.trailing_metadata() or ()
    return error_from_wire(error.code(), error.details() or "", trailing)


def _bad_request(error: errors.TimeballError) -> error_details_pb2.BadRequest:
    bad = error_details_pb2.BadRequest()
    for violation in error.violations[:MAX_VIOLATIONS]:
        bad.field_violations.add(
            field=violation.field[:MAX_FIELD_CHARACTERS],
            description=shortened(violation.description, MAX_FIELD_CHARACTERS),
        )
    return bad


def _error_from_details(
    code: grpc.StatusCode, message: str, details: Iterable[AnyMessage]
) -> errors.TimeballError:
    found = _class_of_status(code)
    metadata: dict[str, str] = {}
    violations: list[errors.Violation] = []
    retry_after_s: float | None = None
    for detail in details:
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            found = errors.leaves().get(info.reason, found)
            metadata = dict(info.metadata)
        elif detail.Unpack(bad):
            violations = [
                errors.Violation(each.field, each.description) for each in bad.field_violations
            ]
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    return found(message, violations=violations, metadata=metadata, retry_after_s=retry_after_s)


def _class_of_status(code: grpc.StatusCode) -> type[errors.TimeballError]:
    """The most general class of a status; CANCELLED and the like are unknown outcomes."""
    for found, row in STATUS_TABLE.items():  # parents stand before their children
        if row.status is code and found is not errors.TimeballError:
            return found
    return errors.OutcomeUnknown if code is grpc.StatusCode.CANCELLED else errors.TimeballError
