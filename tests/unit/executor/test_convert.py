"""The executor stream's protos say exactly what the core said."""

from __future__ import annotations

from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.executor_words import order, result
from timeball_server.core import messages
from timeball_server.core.ids import Incarnation
from timeball_server.core.journal import EventRef
from timeball_server.core.messages import Dispatch, Finished, FromExecutor, ToExecutor
from timeball_server.core.model import Failure, Payload
from timeball_server.internal.v1 import executor_service_pb2 as pb
from timeball_server.rpc.executor_convert import (
    CHUNK_BYTES,
    executor_messages,
    hello_from_proto,
    hello_to_proto,
    owner_messages,
    read_executor_message,
    read_owner_message,
)
from timeball_server.rpc.message_stream import Unreadable

T = TypeVar("T")
NUMBERS = st.integers(0, 2**63 - 1)
SMALL = st.integers(0, 2**31 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def of(kind: type[T], /, **fields: st.SearchStrategy[object]) -> st.SearchStrategy[T]:
    return st.builds(kind, **fields)


RUNS = of(messages.RunId, task_id=TEXT, run=st.builds(EventRef, NUMBERS, NUMBERS))
PAYLOADS = of(Payload, content_type=TEXT, data=st.binary())
MAYBE_MS = st.none() | NUMBERS
EPOCHS = st.lists(st.tuples(SMALL, NUMBERS)).map(tuple)
OWNED = {"run": RUNS, "shard": SMALL, "epoch": NUMBERS}
ORDERS = of(
    messages.RunOrder,
    **OWNED,
    attempt=SMALL,
    handler=TEXT,
    payload=PAYLOADS,
    priority=SMALL,
    due_ms=NUMBERS,
    start_to_close_ms=MAYBE_MS,
    namespace=TEXT,
    owner=TEXT,
    nominal_ms=MAYBE_MS,
    heartbeat_ms=MAYBE_MS,
    checkpoint=st.none() | PAYLOADS,
)
BEATS = of(
    messages.Beat,
    run=RUNS,
    fraction=st.none() | st.floats(0, 1),
    note=TEXT,
    checkpoint=st.none() | PAYLOADS,
)
FAILURES = of(
    Failure,
    kind=TEXT,
    message=TEXT,
    stack=TEXT,
    retriable=st.booleans(),
    delay_ms=MAYBE_MS,
)
RESULTS = of(
    messages.RunResult,
    run=RUNS,
    shard=SMALL,
    started_ms=NUMBERS,
    ended_ms=NUMBERS,
    result=st.none() | PAYLOADS,
    failure=st.none() | FAILURES,
    cancelled=st.booleans(),
    interrupted=st.booleans(),
    uncounted=st.booleans(),
    checkpoint=st.none() | PAYLOADS,
)
ENTRIES = of(
    messages.InventoryEntry,
    run=RUNS,
    shard=SMALL,
    phase=st.sampled_from(messages.RunPhase),
    started_ms=MAYBE_MS,
)
TO_EXECUTOR: st.SearchStrategy[ToExecutor] = st.one_of(
    st.builds(Dispatch, NUMBERS, st.lists(ORDERS, max_size=3).map(tuple)),
    st.builds(messages.Fence, NUMBERS, EPOCHS),
    of(messages.Revoke, **OWNED),
    of(messages.CancelRun, **OWNED, terminate=st.booleans(), if_silent=st.booleans()),
    st.builds(messages.AckResults, st.lists(st.tuples(RUNS, SMALL, NUMBERS)).map(tuple)),
)
FROM_EXECUTOR: st.SearchStrategy[FromExecutor] = st.one_of(
    of(messages.Capacity, slots=SMALL, free=SMALL, draining=st.booleans()),
    st.builds(messages.Started, st.lists(st.tuples(RUNS, NUMBERS)).map(tuple)),
    st.builds(messages.Beats, st.lists(BEATS, max_size=3).map(tuple)),
    st.builds(Finished, st.lists(RESULTS, max_size=3).map(tuple)),
    st.builds(
        messages.Refused,
        st.lists(st.tuples(RUNS, SMALL)).map(tuple),
        st.sampled_from(messages.RefusalReason),
        NUMBERS,
    ),
    of(
        messages.RevokeReply,
        run=RUNS,
        answer=st.sampled_from(messages.RevokeAnswer),
        started_ms=MAYBE_MS,
    ),
    st.builds(messages.Inventory, NUMBERS, st.lists(ENTRIES).map(tuple), EPOCHS),
)


@given(TO_EXECUTOR)
def test_what_owners_say_comes_back_exactly(message: ToExecutor) -> None:
    (part,) = owner_messages(message)
    carried = pb.OwnerMessage.FromString(part.SerializeToString())
    assert read_owner_message(carried) == message


@given(FROM_EXECUTOR)
def test_what_executors_say_comes_back_exactly(message: FromExecutor) -> None:
    (part,) = executor_messages(message)
    carried = pb.ExecutorMessage.FromString(part.SerializeToString())
    assert read_executor_message(carried) == message


@given(of(messages.StreamHello, owner=TEXT, owner_incarnation=NUMBERS, number=NUMBERS,
          executor_incarnation=NUMBERS))  # fmt: skip
def test_the_hello_comes_back_exactly(words: messages.StreamHello) -> None:
    assert hello_from_proto(hello_to_proto(words)) == words


def test_large_payloads_are_cut_into_parts_in_order() -> None:
    sizes = [10, CHUNK_BYTES, CHUNK_BYTES - 1, 1, 1, CHUNK_BYTES + 5]
    orders = tuple(order(n, data=b"x" * size) for n, size in enumerate(sizes))
    parts = list(owner_messages(Dispatch(Incarnation(1), orders)))
    read = [read_owner_message(part) for part in parts]
    assert [len(m.orders) for m in read if isinstance(m, Dispatch)] == [1, 1, 2, 1, 1]
    assert tuple(o for m in read if isinstance(m, Dispatch) for o in m.orders) == orders


@pytest.mark.parametrize(
    "message",
    [
        pb.OwnerMessage(),
        pb.ExecutorMessage(),
        pb.ExecutorMessage(refused=pb.Refused()),
        pb.ExecutorMessage(revoke_reply=pb.RevokeReply()),
    ],
)
def test_words_of_another_version_are_unreadable(
    message: pb.OwnerMessage | pb.ExecutorMessage,
) -> None:
    with pytest.raises(Unreadable):
        _read(message)


def _read(message: pb.OwnerMessage | pb.ExecutorMessage) -> ToExecutor | FromExecutor:
    if isinstance(message, pb.OwnerMessage):
        return read_owner_message(message)
    return read_executor_message(message)


def test_a_result_keeps_its_payload() -> None:
    (part,) = executor_messages(Finished((result(order(1)),)))
    assert part.finished.results[0].result.data == b"null"
