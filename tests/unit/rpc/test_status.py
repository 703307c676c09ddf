from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest
from google.rpc import code_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from timeball import errors

from timeball_server.ports.coordination import SessionLost
from timeball_server.rpc.status import (
    MAX_FIELD_CHARACTERS,
    MAX_MESSAGE_CHARACTERS,
    MAX_VIOLATIONS,
    STATUS_TABLE,
    abort_with,
    error_from_wire,
    wire_status,
)

FAMILY = sorted(errors.leaves().values(), key=lambda each: each.__name__)


def test_every_error_class_has_a_row_and_the_status_it_names() -> None:
    assert set(STATUS_TABLE) == set(FAMILY)
    for error, row in STATUS_TABLE.items():
        assert row.status.name == error.code
        assert row.status.value[0] == code_pb2.Code.Value(error.code)


class Gone:
    """A call whose caller has left: gRPC cannot send anything more."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()
    ) -> NoReturn:
        raise grpc.aio.InternalError('Failed "execute_batch"')


def test_an_error_that_meets_a_caller_who_has_just_gone_ends_the_call_quietly() -> None:
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(abort_with(Gone(), errors.OutcomeUnknown("no answer in time")))


def test_only_what_may_succeed_later_says_when_to_try_again() -> None:
    for error, row in STATUS_TABLE.items():
        assert row.retry_after_s is None or error.retryable


@pytest.mark.parametrize("error_class", FAMILY)
def test_an_error_arrives_as_the_class_that_was_raised(
    error_class: type[errors.TimeballError],
) -> None:
    sent = error_class(
        "what to do",
        violations=[errors.Violation("task.handler", "must be set")],
        metadata={"owner": "node-1"},
        retry_after_s=1.5,
    )
    wire = wire_status(sent)
    got = error_from_wire(wire.code, wire.message, wire.trailing_metadata)
    assert type(got) is error_class
    assert (got.message, got.violations) == (sent.message, sent.violations)
    assert (got.metadata, got.retry_after_s) == (sent.metadata, 1.5)


words = st.text(st.characters(codec="utf-8"), max_size=300)


@given(words, st.lists(st.builds(errors.Violation, words, words), max_size=20))
def test_what_travels_is_bounded(message: str, violations: list[errors.Violation]) -> None:
    wire = wire_status(errors.InvalidRequest(message * 3, violations=violations))
    got = error_from_wire(wire.code, wire.message, wire.trailing_metadata)
    assert len(wire.message) <= MAX_MESSAGE_CHARACTERS
    assert len(got.violations) == min(len(violations), MAX_VIOLATIONS)
    assert all(len(each.description) <= MAX_FIELD_CHARACTERS for each in got.violations)
    assert status_pb2.Status.FromString(wire.details).message == wire.message


def test_the_tables_own_pause_is_sent_unless_the_error_names_one() -> None:
    wire = wire_status(errors.StoreUnavailable("x"))
    assert error_from_wire(wire.code, "", wire.trailing_metadata).retry_after_s == 1.0
    wire = wire_status(errors.InvalidRequest("x"))
    assert error_from_wire(wire.code, "", wire.trailing_metadata).retry_after_s is None


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.OutcomeUnknown),
        (grpc.StatusCode.CANCELLED, errors.OutcomeUnknown),
        (grpc.StatusCode.NOT_FOUND, errors.TaskNotFound),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.ResourceExhausted),
        (grpc.StatusCode.INTERNAL, errors.Internal),
        (grpc.StatusCode.DATA_LOSS, errors.TimeballError),
    ],
)
def test_a_status_without_details_becomes_the_most_general_class(
    code: grpc.StatusCode, expected: type[errors.TimeballError]
) -> None:
    assert type(error_from_wire(code, "m", ())) is expected


def test_a_reason_of_a_newer_version_falls_back_to_the_status() -> None:
    sent = wire_status(errors.Unavailable("m"))
    altered = sent.details.replace(b"UNAVAILABLE", b"UNAVAILABLY")
    got = error_from_wire(sent.code, "m", [("grpc-status-details-bin", altered)])
    assert type(got) is errors.Unavailable


def test_the_page_on_errors_has_a_row_for_every_reason() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "api" / "errors.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    said = {reason.strip(" `"): status.strip(" `") for reason, status in rows}
    assert said == {each.reason: each.code for each in FAMILY}


def test_an_error_without_a_row_travels_as_its_parent() -> None:
    status = wire_status(SessionLost("the session is over"))
    assert status.code is grpc.StatusCode.UNAVAILABLE
