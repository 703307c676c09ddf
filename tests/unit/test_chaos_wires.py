"""Wires read what the product says: in any pieces, and as its own code writes it."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from struct import pack
from typing import Any

import pytest
from cassandra import ConsistencyLevel
from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import BatchType
from cassandra.segment import SegmentCodec
from hypothesis import given
from hypothesis import strategies as st
from kazoo.protocol.serialization import int_struct

from tests.support.chaos import frames
from tests.support.chaos.points import POINTS, TURNS, plan
from tests.support.chaos.taps import TAPS, Aim, Gun
from timeball_server.coordination.zookeeper import requests
from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    Incarnation,
    Minute,
    NodeId,
    ShardId,
    encode_id,
)
from timeball_server.core.journal import Alarm, EventKind, EventRef, EventRow, State
from timeball_server.core.messages import (
    AckResults,
    Dispatch,
    Finished,
    RunId,
    RunOrder,
    RunResult,
    Started,
    StreamHello,
)
from timeball_server.core.model import Payload
from timeball_server.internal.v1 import executor_service_pb2 as pb
from timeball_server.rpc.executor_convert import (
    executor_messages,
    hello_to_proto,
    owner_messages,
)
from timeball_server.store.cassandra.encoding import encode
from timeball_server.store.cassandra.rows import event_values

TASKS = [
    encode_id(IdParts(Bucket(Minute(29_000_000), ShardId(3)), bytes([n] * 16))) for n in b"abc"
]
EPOCH = Epoch(4_321)
PAYLOAD = Payload(content_type="application/json", data=b'{"number":7}')


def row(task: int, kind: EventKind, state: State) -> EventRow:
    return EventRow(
        task_id=TASKS[task],
        epoch=EPOCH,
        seq=2,
        kind=kind,
        state=state,
        alarm=Alarm(1_740_000_000_000, 1, EPOCH),
        attempt=1,
        run=EventRef(2, EPOCH),
        executor=NodeId("executor-1"),
        incarnation=Incarnation(40),
        prev_epoch=EPOCH,
        spec_at=EventRef(1, EPOCH),
        revision=1,
        priority=4,
        unaccounted=(),
        request_id="",
        at_ms=1_740_000_000_000,
        created_ms=1_740_000_000_000,
        actor="scheduler-1",
    )


ROWS = [
    row(0, EventKind.CREATED, State.PENDING),
    row(1, EventKind.CLAIMED, State.CLAIMED),
    row(2, EventKind.BORN_CLAIMED, State.CLAIMED),
    row(0, EventKind.SUCCEEDED, State.SUCCEEDED),
]
INT, BIG = (lambda value: pack(">i", value)), (lambda value: pack(">q", value))


def encoder(value: object, place: int) -> Callable[[Any], bytes]:
    """As the statement's marks have it: minute, epoch and instants are bigint."""
    if isinstance(value, str):
        return str.encode
    return BIG if place in (0, 4, 8, 10, 13, 15, 16, 18, 23, 24) else INT


def batch(rows: Sequence[EventRow], stream: int) -> bytes:
    """A request as the driver writes it."""
    queries = []
    for each in rows:
        values = event_values(each)
        encoders = [encoder(value, place) for place, value in enumerate(values)]
        queries.append((True, b"prepared-id-----", encode(encoders, values)))
    message = BatchMessage(BatchType.UNLOGGED, queries, ConsistencyLevel.LOCAL_QUORUM)
    return bytes(ProtocolHandler.encode_message(message, stream, 5, None, False))


def envelope(stream: int, opcode: int, *, body: bytes = b"", answer: bool = False) -> bytes:
    return pack(">BBhBI", 0x85 if answer else 0x05, 0, stream, opcode, len(body)) + body


def segments(*messages: bytes) -> bytes:
    buffer = io.BytesIO()
    SegmentCodec().encode(buffer, b"".join(messages))
    return buffer.getvalue()


REQUESTS = envelope(0, frames.STARTUP) + segments(batch(ROWS, 7), batch(ROWS[3:], 8))
ANSWERS = envelope(0, 0x02, answer=True) + segments(
    envelope(8, frames.RESULT, body=b"\0\0\0\1", answer=True),
    envelope(7, frames.RESULT, body=b"\0\0\0\1", answer=True),
)


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    return [data[one:other] for one, other in pairwise(places)]


CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(CUTS)
def test_requests_and_answers_are_read_in_any_pieces(cuts: list[int]) -> None:
    client, server = frames.CqlReader(is_client=True), frames.CqlReader(is_client=False)
    asked = [each for piece in pieces(REQUESTS, cuts) for each in client.feed(piece)]
    said = [each for piece in pieces(ANSWERS, cuts) for each in server.feed(piece)]
    assert [each.stream for each in asked] == [0, 7, 8]
    assert [(each.stream, each.opcode) for each in said] == [(0, 2), (8, 8), (7, 8)]
    events = frames.events_in(asked[1].body)
    assert [(x.task_id, x.epoch, x.kind) for x in events] == [
        (TASKS[0], EPOCH, "CREATED"),
        (TASKS[1], EPOCH, "CLAIMED"),
        (TASKS[2], EPOCH, "BORN_CLAIMED"),
    ]
    assert frames.events_in(asked[2].body) == []


def test_a_message_longer_than_a_segment_is_one_message() -> None:
    reader = frames.CqlReader(is_client=False)
    reader.feed(envelope(0, 0x02, answer=True))
    long = segments(envelope(3, frames.RESULT, body=bytes(300_000), answer=True))
    assert [each.stream for each in reader.feed(long)] == [3]


def orders(*tasks: int) -> bytes:
    named = [
        RunOrder(
            run=RunId(TASKS[task], EventRef(2, EPOCH)),
            shard=ShardId(3),
            epoch=EPOCH,
            attempt=1,
            handler="chaos.work",
            payload=PAYLOAD,
            priority=4,
            due_ms=1_740_000_000_000,
            start_to_close_ms=None,
            namespace="default",
            owner="",
            nominal_ms=None,
        )
        for task in tasks
    ]
    acks = AckResults(((RunId(TASKS[2], EventRef(2, EPOCH)), ShardId(3), EPOCH),))
    parts = [*owner_messages(acks), *owner_messages(Dispatch(Incarnation(40), tuple(named)))]
    return pb.DispatchRequest(messages=parts).SerializeToString()


def results(*tasks: int) -> bytes:
    ended = [
        RunResult(
            run=RunId(TASKS[task], EventRef(2, EPOCH)),
            shard=ShardId(3),
            started_ms=1_740_000_000_000,
            ended_ms=1_740_000_000_030,
            result=PAYLOAD,
            failure=None,
            cancelled=False,
            interrupted=False,
            uncounted=False,
        )
        for task in tasks
    ]
    began = Started(((RunId(TASKS[2], EventRef(2, EPOCH)), 1_740_000_000_000),))
    parts = [*executor_messages(began), *executor_messages(Finished(tuple(ended)))]
    return pb.DispatchResponse(messages=parts).SerializeToString()


def test_orders_and_results_are_told_from_everything_else_on_their_stream() -> None:
    assert frames.orders_in(orders(0, 1)) == TASKS[:2]
    assert frames.results_in(results(0, 1)) == TASKS[:2]
    assert frames.results_in(results()) == []
    hello = StreamHello(
        owner=NodeId("scheduler-2"),
        owner_incarnation=Incarnation(41),
        number=1,
        executor_incarnation=Incarnation(40),
    )
    said = pb.DispatchRequest(hello=hello_to_proto(hello)).SerializeToString()
    assert frames.owner_in(said) == "scheduler-2"


def multi(path: str, xid: int) -> bytes:
    request = requests.together(
        requests.check("/timeball/election/x", 0), requests.replace(path, b"{}", 3)
    )
    body = int_struct.pack(xid) + int_struct.pack(request.type) + request.serialize()
    return bytes(int_struct.pack(len(body)) + body)


def zookeeper_answer(xid: int, error: int) -> bytes:
    return pack(">iiqi", 16, xid, 99, error)


@given(CUTS)
def test_an_assignment_is_found_among_other_requests(cuts: list[int]) -> None:
    reader = frames.ZooKeeperReader()
    said = multi("/timeball/wishes", 4) + multi("/timeball/assignment", 5)
    packets = [each for piece in pieces(said, cuts) for each in reader.feed(piece)]
    assert [frames.assignment_xid(each) for each in packets] == [None, 5]


class Range:
    """A gun pointed at a process of the test's own."""

    def __init__(self, victim: subprocess.Popen[bytes]) -> None:
        self.told: list[dict[str, Any]] = []
        self.gun = Gun(self.told.append)
        self.victim = victim

    def aim(self, point: str, wire: str, **more: Any) -> None:
        aim = Aim(number=1, point=point, pid=self.victim.pid, wires=(wire,))
        self.gun.arm(replace(aim, **more))


@pytest.fixture
def firing() -> Any:
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield Range(sleeper)
    finally:
        sleeper.kill()
        sleeper.wait()
        if sleeper.stdin is not None:
            sleeper.stdin.close()


@pytest.mark.parametrize(
    ("point", "kinds"),
    [
        ("commit-durable", ["CREATED", "BORN_CLAIMED"]),
        ("claim-durable", ["CLAIMED", "BORN_CLAIMED"]),
    ],
)
def test_a_node_dies_when_its_rows_are_durable_and_never_hears_of_it(
    firing: Range, point: str, kinds: list[str]
) -> None:
    tap = TAPS["cassandra"]("store", firing.gun)
    firing.aim(point, "store")
    assert tap.request(REQUESTS)
    assert firing.victim.poll() is None
    assert not tap.answer(ANSWERS)
    assert firing.victim.wait() == -9
    (shot,) = firing.told
    assert [kind for _, _, kind in shot["tasks"]] == kinds
    assert shot["passed"] is False
    assert shot["asked_ms"] <= shot["durable_ms"] <= shot["killed_ms"]


def test_what_was_asked_before_the_aim_or_on_another_wire_or_failed_is_no_target(
    firing: Range,
) -> None:
    tap = TAPS["cassandra"]("store", firing.gun)
    assert tap.request(REQUESTS)
    firing.aim("commit-durable", "store")
    assert tap.answer(ANSWERS)
    other = TAPS["cassandra"]("another store", firing.gun)
    assert other.request(REQUESTS)
    assert other.answer(ANSWERS)
    refusing = TAPS["cassandra"]("store", firing.gun)
    assert refusing.request(REQUESTS)
    assert refusing.answer(ANSWERS.replace(pack(">hB", 7, 8), pack(">hB", 7, 0)))
    assert firing.told == []
    assert firing.victim.poll() is None


def test_chances_are_let_pass_as_often_as_asked(firing: Range) -> None:
    tap = TAPS["executor"]("executor-1", firing.gun)
    firing.aim("order-swallowed", "executor-1", skip=2)
    assert [tap.request(orders(0)) for _ in range(3)] == [True, True, False]
    assert firing.victim.wait() == -9


def test_orders_of_another_node_are_no_target(firing: Range) -> None:
    tap = TAPS["executor"]("executor-1", firing.gun)
    firing.aim("order-swallowed", "executor-1", owner="scheduler-1")
    assert tap.request(orders(0))
    assert firing.told == []


def test_a_result_that_is_swallowed_was_the_last_word(firing: Range) -> None:
    tap = TAPS["executor"]("executor-1", firing.gun)
    firing.aim("result-swallowed", "executor-1")
    assert tap.request(orders(0))
    assert tap.answer(results())
    assert not tap.answer(results(0))
    assert firing.victim.wait() == -9
    assert firing.told[0]["tasks"] == [TASKS[0]]


def test_an_assignment_dies_on_its_way_or_on_the_way_back(firing: Range) -> None:
    tap = TAPS["zookeeper"]("zookeeper", firing.gun)
    firing.aim("assignment-durable", "zookeeper")
    assert tap.request(multi("/timeball/assignment", 5))
    assert tap.answer(zookeeper_answer(4, 0))
    assert not tap.answer(zookeeper_answer(5, 0))
    assert firing.told[0]["zxid"] == 99
    unsent = TAPS["zookeeper"]("zookeeper", firing.gun)
    firing.aim("assignment-unsent", "zookeeper")
    assert unsent.request(multi("/timeball/wishes", 6))
    assert not unsent.request(multi("/timeball/assignment", 7))


def test_an_assignment_that_was_refused_is_no_target(firing: Range) -> None:
    tap = TAPS["zookeeper"]("zookeeper", firing.gun)
    firing.aim("assignment-durable", "zookeeper")
    assert tap.request(multi("/timeball/assignment", 5))
    assert tap.answer(zookeeper_answer(5, -103))
    assert firing.told == []


def test_a_plan_owes_what_has_not_been_hit() -> None:
    whole = plan(20, {})
    assert len(whole) == 20 * len(TURNS)
    assert {point.name for point in whole} == set(POINTS)
    left = plan(20, {"commit-told": 9, "commit-durable": 10, "run-accepted": 12})
    names = [point.name for point in left if point.group == "scheduler commit"]
    assert names == ["commit-told"]
    assert sum(point.name == "run-accepted" for point in left) == 0
