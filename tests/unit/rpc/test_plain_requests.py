"""What counts as plain passes the rules too, and what callers usually send is plain."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import event, given
from hypothesis import strategies as st
from timeball.errors import InvalidRequest
from timeball.v1 import task_pb2
from timeball.v1 import task_service_pb2 as pb

from tests.support.bad_requests import HORIZON_S, NOW_MS, REFUSED, Create
from tests.support.rpc_records import EMPTY_ID
from timeball_server.core.limits import MAX_PAYLOAD_BYTES
from timeball_server.ports.clock import Clock, Now
from timeball_server.rpc.plain_requests import MAX_SOUND_PARTS, PlainRequests
from timeball_server.rpc.validation import RequestValidator, shipped_rules


class FixedClock(Clock):
    def now(self) -> Now:
        return Now(NOW_MS, 0)

    async def sleep_ms(self, duration_ms: float) -> None:
        raise AssertionError("validation never waits")


VALIDATOR = RequestValidator(FixedClock(), shipped_rules())
NAME = f"namespaces/default/tasks/{EMPTY_ID}"
UUID = "018f2f5e-7a3b-7c21-9d4e-5f6071829304"


def is_right(message: Message) -> bool:
    """What the rules say, with no way around them."""
    try:
        return not VALIDATOR.closely(message.SerializeToString(), type(message)).item_errors
    except InvalidRequest:
        return False


def among(*usual: Any, odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what is usual, so that whole requests are often right."""
    return st.one_of(*[st.sampled_from(usual)] * 5, odd)


ODD_TEXT = st.one_of(
    st.text("aZ09._-/ :=+;\n\x00\x7f\u200bé-", max_size=5),
    st.sampled_from(["-", " ", "a" * 63, "a" * 64, "a" * 200, "a" * 201, "a.b\n", UUID + "\n"]),
)
SECONDS = st.sampled_from([0, 1, -1, HORIZON_S - 1, HORIZON_S, HORIZON_S + 1, 2**62])
NANOS = st.sampled_from([0, 1, -1, 999_999_999, 1_000_000_000, 2**31 - 1])
STAMPS = st.builds(Timestamp, seconds=SECONDS, nanos=among(0, odd=NANOS))
DELAY_S = st.sampled_from([0, 1, -1, 157_679_999, 157_680_000, 157_680_001])
DURATIONS = st.builds(Duration, seconds=DELAY_S, nanos=among(0, odd=NANOS))
PAYLOADS = st.builds(
    task_pb2.Payload,
    content_type=among("", "application/json", odd=ODD_TEXT),
    data=among(b"", b"{}", odd=st.just(bytes(MAX_PAYLOAD_BYTES + 1))),
)
LABELS = st.one_of(
    *[st.dictionaries(among("team", "a/b.c", odd=ODD_TEXT), among("", "billing", odd=ODD_TEXT))]
    * 5,
    st.just({f"key{number}": "" for number in range(33)}),
)
PRIORITIES = among(0, 9, odd=st.sampled_from([-1, 10]))
MODES: st.SearchStrategy[Any] = among(0, 1, 2, odd=st.sampled_from([3, -1]))
RETRIES = st.builds(task_pb2.RetryPolicy, max_attempts=among(1, 100, odd=st.just(0)))
TIMEOUTS = st.builds(task_pb2.Timeouts, start_to_close=DURATIONS)


@st.composite
def requests(draw: st.DrawFn) -> Create:
    """A creation with a few of its fields, most of them right."""
    task: dict[str, Any] = {"handler": draw(among("bench.work", odd=ODD_TEXT))}
    chosen: dict[str, st.SearchStrategy[Any]] = {
        "payload": PAYLOADS, "run_time": STAMPS, "delay": DURATIONS, "priority": PRIORITIES,
        "labels": LABELS, "selector": LABELS, "delivery_mode": MODES, "retry": RETRIES,
        "timeouts": TIMEOUTS, "owner": among("", "alice@example.org", odd=ODD_TEXT),
        "name": ODD_TEXT, "etag": ODD_TEXT, "result": PAYLOADS, "state": st.just(99),
    }  # fmt: skip
    for field in draw(st.lists(st.sampled_from(sorted(chosen)), max_size=3, unique=True)):
        task[field] = draw(chosen[field])
    return Create(
        parent=draw(among("", "namespaces/-", odd=ODD_TEXT)),
        request_id=draw(among("", UUID, UUID.upper(), odd=ODD_TEXT)),
        task=draw(among(task_pb2.Task(**task), odd=st.none())),
        resend=draw(st.booleans()),
    )


PLAIN = PlainRequests(FixedClock())


@given(requests())
def test_what_is_plain_is_right(request_: Create) -> None:
    right = is_right(request_)
    if right:
        PLAIN.learn(request_)
    is_plain = PLAIN.knows(request_)
    event(f"plain {is_plain}, right {right}")
    assert right or not is_plain


PARENTS = among("", "namespaces/-", odd=st.sampled_from(["namespaces/x", "-"]))


@given(st.lists(requests(), max_size=3), PARENTS)
def test_many_are_plain_only_when_all_are_right(items: list[Create], parent: str) -> None:
    batch = pb.BatchCreateTasksRequest(parent=parent, requests=items)
    assert is_right(batch) or not PLAIN.knows(batch)
    chunk = pb.CreateTasksRequest(number=1, requests=items)
    assert is_right(chunk) or not PLAIN.knows(chunk)


NAMES = among(NAME, NAME.replace("default", "-"), odd=st.one_of(ODD_TEXT, st.just(NAME + "a")))
VIEWS: st.SearchStrategy[Any] = st.sampled_from([0, 1, 2, 3, -1])
READS: st.SearchStrategy[Message] = st.one_of(
    st.builds(pb.GetTaskRequest, name=NAMES, view=VIEWS, allow_stale=st.booleans()),
    st.builds(pb.WaitTaskRequest, name=NAMES, timeout=st.none() | DURATIONS),
    st.builds(
        pb.BatchGetTasksRequest, parent=PARENTS, names=st.lists(NAMES, max_size=3), view=VIEWS
    ),
)


@given(READS)
def test_reads_that_are_plain_are_right(request_: Message) -> None:
    is_plain = PLAIN.knows(request_)
    event(f"plain {is_plain}")
    assert not is_plain or is_right(request_)


@pytest.mark.parametrize("request_", [request_ for _, request_, _ in REFUSED])
def test_nothing_that_is_refused_is_plain(request_: Create) -> None:
    assert not PLAIN.knows(request_)


WORK = task_pb2.Task(
    handler="bench.work",
    payload=task_pb2.Payload(content_type="application/json", data=b'{"number":1}'),
    run_time=Timestamp(seconds=NOW_MS // 1_000 + 60),
    owner="alice@example.org",
    labels={"team": "billing"},
    priority=4,
)
USUAL = [
    Create(parent="namespaces/-", request_id=UUID, task=WORK),
    pb.BatchCreateTasksRequest(requests=[Create(task=WORK)] * 1_000),
    pb.CreateTasksRequest(number=7, requests=[Create(task=WORK, resend=True)]),
    pb.GetTaskRequest(name=NAME),
    pb.BatchGetTasksRequest(names=[NAME] * 1_000),
    pb.WaitTaskRequest(name=NAME, timeout=Duration(seconds=30)),
]
TOO_MANY = [
    pb.BatchCreateTasksRequest(requests=[Create(task=WORK)] * 1_001),
    pb.CreateTasksRequest(),
    pb.BatchGetTasksRequest(names=[NAME] * 1_001),
]


@pytest.mark.parametrize("request_", USUAL)
def test_what_callers_usually_send_is_plain(request_: Message) -> None:
    assert PLAIN.knows(request_)


@pytest.mark.parametrize("request_", TOO_MANY)
def test_too_many_and_none_are_not(request_: Message) -> None:
    assert not PLAIN.knows(request_)


def retried(attempts: int, delay_ms: int = 0) -> Create:
    retry = task_pb2.RetryPolicy(max_attempts=attempts)
    retry.initial_delay.FromMilliseconds(delay_ms)
    return Create(task=task_pb2.Task(handler="bench.work", retry=retry))


def test_a_retry_policy_is_plain_once_it_was_found_right() -> None:
    plain = PlainRequests(FixedClock())
    assert not plain.knows(retried(3))
    plain.learn(retried(3))
    assert plain.knows(retried(3))
    assert not plain.knows(retried(4))
    for number in range(1, MAX_SOUND_PARTS + 1):
        plain.learn(retried(5, number))
    assert not plain.knows(retried(3))  # bounded: forgotten, and looked at closely again
