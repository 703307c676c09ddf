"""From a gRPC status to one of the family in timeball.errors. Pure: takes code, words, trailers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from timeball import errors
from timeball.errors import TimeballError, Violation
from timeball.v1 import task_service_pb2

DOMAIN = "timeball.dev"
DETAILS_KEY = "grpc-status-details-bin"

# What a status means when it carries no reason of ours: it came from a proxy, from gRPC itself, or
# from a newer server. CANCELLED by the other side is a server that went away.
BY_CODE: dict[str, type[TimeballError]] = {
    "INVALID_ARGUMENT": errors.InvalidRequest,
    "OUT_OF_RANGE": errors.InvalidRequest,
    "NOT_FOUND": errors.TaskNotFound,
    "ALREADY_EXISTS": errors.AlreadyExists,
    "UNAUTHENTICATED": errors.Unauthenticated,
    "PERMISSION_DENIED": errors.PermissionDenied,
    "FAILED_PRECONDITION": errors.FailedPrecondition,
    "ABORTED": errors.Aborted,
    "UNAVAILABLE": errors.Unavailable,
    "CANCELLED": errors.Unavailable,
    "RESOURCE_EXHAUSTED": errors.ResourceExhausted,
    "DEADLINE_EXCEEDED": errors.OutcomeUnknown,
}

_ABOUT_ITSELF = re.compile(r"^connections to all backends failing; last error: (?:[A-Z_]+: )?")

Trailers = Iterable[tuple[str, str | bytes]]
Details = tuple[error_details_pb2.ErrorInfo | None, list[Violation], float | None]


def to_error(code: str, message: str, trailers: Trailers, address: str) -> TimeballError:
    """The error to raise.

    Args:
        code: name of the gRPC status.
        message: its words.
        trailers: trailing metadata, which may hold google.rpc.Status details.
        address: whom we asked, for the sentence when nobody answered.
    """
    info, violations, retry_after_s = _readable_details(trailers)
    metadata = dict(info.metadata) if info else {}
    cls = errors.leaves().get(info.reason) if info else None
    if info and cls is None:
        metadata["reason"] = info.reason
    if cls is None:
        cls = BY_CODE.get(code, errors.Internal)
        message = message if info else _explain(code, message, address)
    error = cls(
        message or code, violations=violations, metadata=metadata, retry_after_s=retry_after_s
    )
    error.reached = info is not None or code != "UNAVAILABLE"
    return error


def _explain(code: str, message: str, address: str) -> str:
    if code == "UNAVAILABLE":
        return f"cannot reach Timeball at {address}: {_cause(message)}"
    if code == "DEADLINE_EXCEEDED":
        return f"no answer from {address} in time; a change may have happened all the same"
    if code == "UNIMPLEMENTED":
        return f"the server at {address} does not know this call; is it an older version?"
    return message


def _cause(message: str) -> str:
    """What kept gRPC from connecting, without its words about itself."""
    if "http1.x server" in message:
        return "it speaks HTTP/1.1; clients need the gRPC port, in dev mode the one below"
    return _ABOUT_ITSELF.sub("", message)


def _readable_details(trailers: Trailers) -> Details:
    """The details; unreadable ones count as absent, the code and the words remain."""
    try:
        return _details(trailers)
    except DecodeError:
        return None, [], None


def _details(trailers: Trailers) -> Details:
    info: error_details_pb2.ErrorInfo | None = None
    violations: list[Violation] = []
    retry_after_s: float | None = None
    for detail in _status(trailers).details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            found = error_details_pb2.ErrorInfo.FromString(detail.value)
            info = found if found.domain == DOMAIN else info
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest.FromString(detail.value)
            violations += [Violation(v.field, v.description) for v in request.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
            retry_after_s = delay.seconds + delay.nanos / 1e9
    return info, violations, retry_after_s


def _status(trailers: Trailers) -> status_pb2.Status:
    for key, value in trailers:
        if key == DETAILS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()


def item_error(item: task_service_pb2.ItemError) -> TimeballError:
    """The error of one item of many."""
    cls = errors.leaves().get(item.reason) or BY_CODE.get(item.code, errors.Internal)
    violations = [Violation(item.field, item.message)] if item.field else []
    return cls(item.message or item.code, violations=violations)
