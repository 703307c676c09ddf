from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from timeball import errors
from timeball._status import BY_CODE, item_error, to_error
from timeball.v1 import task_service_pb2

Trailers = tuple[tuple[str, str | bytes], ...]
TrailersOf = Callable[..., Trailers]


def test_every_reason_becomes_its_own_class(trailers_of: TrailersOf) -> None:
    for reason, cls in errors.leaves().items():
        error = to_error(cls.code, "why", trailers_of("why", reason), "service:1")
        assert type(error) is cls
        assert error.message == "why"


def test_violations_facts_and_retry_advice_come_along(trailers_of: TrailersOf) -> None:
    wrong = error_details_pb2.BadRequest(
        field_violations=[{"field": "task.handler", "description": "give a name"}]
    )
    advice = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=5**8))
    trailers = trailers_of("m", "SHARD_NOT_OWNED", wrong, advice, owner="node-2")
    error = to_error("ABORTED", "m", trailers, "service:1")
    assert isinstance(error, errors.ShardNotOwned)
    assert [(v.field, v.description) for v in error.violations] == [("task.handler", "give a name")]
    assert error.metadata == {"owner": "node-2"}
    assert error.retry_after_s == pytest.approx(1.000390625)


def test_an_unknown_reason_falls_back_to_the_status(trailers_of: TrailersOf) -> None:
    error = to_error("ABORTED", "m", trailers_of("m", "OF_THE_FUTURE"), "service:1")
    assert type(error) is errors.Aborted
    assert error.metadata["reason"] == "OF_THE_FUTURE"


def test_another_domain_is_not_ours() -> None:
    info = error_details_pb2.ErrorInfo(reason="TOO_LATE", domain="example.com")
    status = status_pb2.Status()
    status.details.add().Pack(info)
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    assert type(to_error("ABORTED", "m", trailers, "service:1")) is errors.Aborted


@pytest.mark.parametrize("code", list(grpc.StatusCode), ids=lambda code: code.name)
def test_every_status_has_an_error_of_the_family(code: grpc.StatusCode) -> None:
    error = to_error(code.name, "", (), "service:1")
    assert type(error) is BY_CODE.get(code.name, errors.Internal)
    assert error.message


def test_nobody_there_is_told_with_the_address() -> None:
    assert "service:1" in to_error("UNAVAILABLE", "refused", (), "service:1").message
    assert "older" in to_error("UNIMPLEMENTED", "", (), "service:1").message


def test_why_nobody_answers_is_told_without_grpc_s_words_about_itself() -> None:
    said = "connections to all backends failing; last error: UNKNOWN: ipv4:127.0.0.1:1: refused"
    told = to_error("UNAVAILABLE", said, (), "127.0.0.1:1").message
    assert told == "cannot reach Timeball at 127.0.0.1:1: ipv4:127.0.0.1:1: refused"
    http = "Failed parsing HTTP/2 (Trying to connect an http1.x server (HTTP status 403))"
    assert "the gRPC port" in to_error("UNAVAILABLE", http, (), "127.0.0.1:7467").message


def test_unreadable_details_leave_the_status() -> None:
    trailers = (("grpc-status-details-bin", b"\xff\xff"),)
    error = to_error("NOT_FOUND", "gone", trailers, "service:1")
    assert type(error) is errors.TaskNotFound


def test_items_of_a_batch() -> None:
    item = task_service_pb2.ItemError(
        code="INVALID_ARGUMENT", reason="PAYLOAD_TOO_LARGE", message="at most 1 MiB", field="task"
    )
    error = item_error(item)
    assert type(error) is errors.PayloadTooLarge
    assert [v.field for v in error.violations] == ["task"]
    bare = item_error(task_service_pb2.ItemError(code="ABORTED"))
    assert type(bare) is errors.Aborted
    assert bare.violations == ()
