"""One call: its bytes, metadata and deadline, and what repeating it keeps."""

from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc
import pytest
import timeball
from google.protobuf import duration_pb2
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2
from timeball import errors
from timeball._flow import ATTEMPT_MAX_S, BACKOFF_MAX_S
from timeball.options import RetryPolicy
from timeball.v1 import task_service_pb2

if TYPE_CHECKING:
    from tests.unit.sdk.conftest import Door

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def retry_info(seconds: int) -> error_details_pb2.RetryInfo:
    return error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds))


def test_the_bytes_of_a_request_are_what_was_said(door: Door) -> None:
    making = door.start(
        door.client.submit,
        "billing.charge",
        {"user": "u1", "amount": 5},
        run_at=datetime(2030, 1, 1, tzinfo=UTC),
        priority=0,
        labels={"team": "billing"},
        selector={"gpu": "yes"},
        retry=RetryPolicy(max_attempts=8, initial_delay="2s"),
        timeout="30s",
        start_within="1m",
        finish_within="1h",
        at_most_once=True,
        owner="accounts",
    )
    sent = door.take()
    sent.answer(door.created())
    door.finish(making)
    assert sent.method == "CreateTask"
    request = task_service_pb2.CreateTaskRequest.FromString(sent.data)
    expected = {
        "handler": "billing.charge",
        "payload": {
            "contentType": "application/json",
            "data": base64.b64encode(b'{"user":"u1","amount":5}').decode(),
        },
        "runTime": "2030-01-01T00:00:00Z",
        "priority": 0,
        "labels": {"team": "billing"},
        "selector": {"gpu": "yes"},
        "retry": {"maxAttempts": 8, "initialDelay": "2s"},
        "timeouts": {
            "startToClose": "30s",
            "scheduleToStart": "60s",
            "scheduleToClose": "3600s",
        },
        "deliveryMode": "DELIVERY_MODE_AT_MOST_ONCE",
        "owner": "accounts",
    }
    assert MessageToDict(request.task) == expected
    assert request.task.HasField("priority")
    assert request.parent == "namespaces/n"
    assert not request.resend
    assert uuid.UUID(request.request_id).version == 7


def test_what_was_not_said_is_not_sent(door: Door) -> None:
    making = door.start(door.client.submit, "billing.charge", delay="90s")
    sent = door.take()
    sent.answer(door.created())
    door.finish(making)
    said = {field.name for field, _ in sent.request.task.ListFields()}
    assert said == {"handler", "payload", "delay"}
    assert sent.request.task.payload.data == b"{}"
    assert sent.request.task.delay.seconds == 90


def test_the_api_key_travels_as_a_bearer_and_only_when_there_is_one(door: Door) -> None:
    for client, expected in (
        (door.client, {"authorization": "Bearer key-1"}),
        (door.connect(namespace="n"), {}),
    ):
        making = door.start(client.get, door.task_id)
        sent = door.take()
        sent.answer(task_service_pb2.GetTaskResponse(task=door.task()))
        door.finish(making)
        assert sent.metadata == expected
        assert sent.request.name == door.task_name


def test_every_call_has_a_deadline_and_an_attempt_only_a_part_of_it(door: Door) -> None:
    for deadline, expected in (("2s", 2.0), ("60s", ATTEMPT_MAX_S)):
        making = door.start(door.connect(deadline=deadline).get, door.task_id)
        sent = door.take()
        sent.answer(task_service_pb2.GetTaskResponse(task=door.task()))
        door.finish(making)
        assert sent.timeout_s == expected


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (UNAVAILABLE, ""),
        (UNAVAILABLE, "STORE_UNAVAILABLE"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, ""),
        (grpc.StatusCode.ABORTED, "SHARD_NOT_OWNED"),
        (grpc.StatusCode.CANCELLED, ""),
    ],
)
def test_a_repetition_keeps_the_request_id_and_says_that_it_is_one(
    door: Door, code: grpc.StatusCode, reason: str
) -> None:
    making = door.start(door.client.submit, "billing.charge", {"amount": 5})
    first = door.take()
    first.fail(code, reason)
    second = door.take()
    second.fail(code, reason)
    third = door.take()
    third.answer(door.created())
    assert door.finish(making).id == door.task_id
    requests = [
        task_service_pb2.CreateTaskRequest.FromString(each.data) for each in (first, second, third)
    ]
    assert [each.resend for each in requests] == [False, True, True]
    assert len({each.request_id for each in requests}) == 1
    assert requests[0].task == requests[2].task


def test_a_request_id_of_the_callers_own_is_kept(door: Door) -> None:
    mine = "0189d5f1-0000-7000-8000-000000000001"
    making = door.start(door.client.submit, "billing.charge", request_id=mine)
    sent = door.take()
    sent.answer(door.created())
    door.finish(making)
    assert sent.request.request_id == mine


def test_a_closed_client_says_that_it_is_closed() -> None:
    client = timeball.Client("127.0.0.1:1")
    client.close()
    with pytest.raises(errors.FailedPrecondition, match="closed"):
        client.get("1")


NOW_S = 1_700_000_000


@pytest.mark.parametrize(
    ("version", "age_s", "may_be_repeated"),
    [(7, 30, False), (7, 7_200, True), (7, 80_000, True), (7, 90_000, False), (4, 7_200, False)],
)
def test_a_key_of_some_age_says_that_it_may_be_a_repetition(
    door: Door, version: int, age_s: int, may_be_repeated: bool
) -> None:
    """A process that died cannot say whether its request was made: only the key's age tells."""
    mine = f"{(NOW_S - age_s) * 1_000:012x}"
    key = f"{mine[:8]}-{mine[8:]}-{version}000-8000-000000000001"
    making = door.start(door.client.submit, "billing.charge", request_id=key)
    sent = door.take()
    sent.answer(door.created())
    door.finish(making)
    assert sent.request.resend == may_be_repeated


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (grpc.StatusCode.FAILED_PRECONDITION, "TOO_LATE"),
        (grpc.StatusCode.ABORTED, "STALE_ETAG"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ""),
        (grpc.StatusCode.INTERNAL, ""),
    ],
)
def test_what_cannot_succeed_is_not_repeated(
    door: Door, code: grpc.StatusCode, reason: str
) -> None:
    making = door.start(door.client.cancel, door.task_id)
    door.take().fail(code, reason)
    with pytest.raises(errors.TimeballError):
        door.finish(making)
    assert door.clock.slept == []


def test_the_server_s_advice_is_kept_and_jitter_comes_on_top(door: Door) -> None:
    making = door.start(door.client.cancel, door.task_id, reason="changed my mind")
    door.take().fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", retry_info(3))
    sent = door.take()
    sent.answer(task_service_pb2.CancelTaskResponse(task=door.task("CANCELLED")))
    door.finish(making)
    assert len(door.clock.slept) == 1
    assert 3 <= door.clock.slept[0] <= 3.1
    assert sent.request.reason == "changed my mind"
    assert sent.request.resend


def test_advice_beyond_the_deadline_ends_the_call_at_once(door: Door) -> None:
    making = door.start(door.client.get, door.task_id)
    door.take().fail(UNAVAILABLE, "DRAINING", retry_info(60))
    with pytest.raises(errors.Draining):
        door.finish(making)
    assert door.clock.slept == []


def test_a_refusal_of_the_repetition_does_not_hide_that_the_first_one_may_hold(door: Door) -> None:
    making = door.start(door.client.submit, "billing.charge")
    door.take().fail(grpc.StatusCode.DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN")
    door.take().fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", retry_info(600))
    with pytest.raises(errors.OutcomeUnknown):
        door.finish(making)


def test_what_a_repetition_decides_for_good_is_what_callers_hear(door: Door) -> None:
    making = door.start(door.client.cancel, door.task_id)
    door.take().fail(grpc.StatusCode.DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN")
    door.take().fail(grpc.StatusCode.FAILED_PRECONDITION, "TOO_LATE")
    with pytest.raises(errors.TooLate):
        door.finish(making)


def test_repetitions_never_outlive_the_deadline(door: Door) -> None:
    client = door.connect(deadline="4s")
    making = door.start(client.submit, "billing.charge")
    attempts, timeouts = 0, []
    while not making.done() and attempts < 500:
        try:
            sent = door.take_within(0.05)
        except LookupError:
            continue
        attempts += 1
        assert sent.timeout_s <= 4 - door.clock.monotonic_s() + 1e-9
        timeouts.append(sent.timeout_s)
        sent.fail(UNAVAILABLE)
    with pytest.raises(errors.Unavailable, match="service:1"):
        door.finish(making)
    assert attempts > 3
    assert timeouts == sorted(timeouts, reverse=True)
    assert sum(door.clock.slept) < 4
    assert max(door.clock.slept) <= BACKOFF_MAX_S


def test_a_wrong_field_is_named(door: Door) -> None:
    making = door.start(door.client.submit, "no spaces please")
    wrong = error_details_pb2.BadRequest(
        field_violations=[{"field": "task.handler", "description": "give a dotted name"}]
    )
    door.take().fail(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", wrong)
    with pytest.raises(errors.InvalidRequest) as caught:
        door.finish(making)
    assert caught.value.violations == (errors.Violation("task.handler", "give a dotted name"),)


def test_nothing_is_sent_when_the_request_cannot_be_built(door: Door) -> None:
    naive = datetime(2030, 1, 1)  # noqa: DTZ001 - that is the point
    with pytest.raises(errors.InvalidRequest, match="time zone"):
        door.client.submit("billing.charge", run_at=naive)
    with pytest.raises(errors.InvalidRequest, match=r"\$\.who"):
        door.client.submit("billing.charge", {"who": object()})
    with pytest.raises(TypeError, match="'priority'"):
        door.client.submit("billing.charge", priorty=3)  # type: ignore[call-overload]
    with pytest.raises(errors.InvalidRequest, match="task"):
        door.client.submit("billing.charge", priority="high")  # type: ignore[call-overload]
    assert door.channel.calls.empty()
