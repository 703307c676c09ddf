"""Answers of the HTTP door: resources and errors as status, headers and JSON.

The one table between gRPC statuses and HTTP's. Errors carry the same reason, sentence, fields and
waiting time as over gRPC, in either of two shapes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc import status_pb2
from timeball.errors import TimeballError

from timeball_server.rest.preconditions import etag_header
from timeball_server.rest.problems import MethodNotAllowed
from timeball_server.rest.routes import Route
from timeball_server.rpc.status import row_of, wire_status

JSON_TYPE: Final = "application/json"
PROBLEM_TYPE: Final = "application/problem+json"
STATUS_OF_CODE: Final[Mapping[grpc.StatusCode, int]] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
STATUS_OF_REASON: Final[Mapping[str, int]] = {
    "METHOD_NOT_ALLOWED": 405,
    "STALE_ETAG": 412,
    "BODY_TOO_LARGE": 413,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
}
"""Where HTTP has a better word than the status's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def http_status(error: TimeballError) -> int:
    """The HTTP status of an error."""
    by_code = STATUS_OF_CODE[row_of(type(error)).status]
    return STATUS_OF_REASON.get(error.reason, by_code)


def success(route: Route, response: Message) -> Answer:
    """A response as the route's protos want it shown; 201 with Location if something was made."""
    shown: Any = getattr(response, route.response_body) if route.response_body else response
    headers = {"content-type": JSON_TYPE, **etag_header(shown)}
    status = HTTPStatus.OK
    if route.creates and shown.name:  # a check only makes nothing, so it has no name
        status = HTTPStatus.CREATED
        headers["location"] = f"/v1/{quote(shown.name)}"
    return Answer(status=int(status), body=_encoded(MessageToDict(shown)), headers=headers)


def failure(error: TimeballError, accept: str) -> Answer:
    """An error, as a problem document if the caller accepts one.

    Args:
        accept: value of the header.
    """
    status = http_status(error)
    headers = _headers_of(error, status)
    if PROBLEM_TYPE in accept.lower():
        headers["content-type"] = PROBLEM_TYPE
        return Answer(status=status, body=_encoded(_problem(error, status)), headers=headers)
    headers["content-type"] = JSON_TYPE
    return Answer(status=status, body=_encoded(_error(error, status)), headers=headers)


def _headers_of(error: TimeballError, status: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    wait_s = _wait_s(error)
    if wait_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(wait_s)))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    return headers


def _wait_s(error: TimeballError) -> float | None:
    return row_of(type(error)).retry_after_s if error.retry_after_s is None else error.retry_after_s


def _error(error: TimeballError, status: int) -> dict[str, Any]:
    wire = wire_status(error)
    details = MessageToDict(status_pb2.Status.FromString(wire.details)).get("details", [])
    named = {"code": status, "status": wire.code.name, "message": wire.message}
    return {"error": {**named, "details": details}}


def _problem(error: TimeballError, status: int) -> dict[str, Any]:
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": _phrase(status),
        "status": status,
        "detail": wire_status(error).message,
        "reason": error.reason,
    }
    if error.metadata:
        problem["metadata"] = dict(error.metadata)
    if error.violations:
        problem["errors"] = [
            {"field": each.field, "description": each.description} for each in error.violations
        ]
    return problem


def _phrase(status: int) -> str:
    known = {each.value for each in HTTPStatus}
    return HTTPStatus(status).phrase if status in known else "Client Closed Request"


def _encoded(document: Any) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()
