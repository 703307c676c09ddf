"""Details and lists survive the trip to bytes; readers tolerate what other versions write."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timeball.errors import NewerVersionNeeded

from timeball_server.core.ids import TaskId
from timeball_server.core.journal import (
    Detail,
    NoteDetail,
    OutcomeDetail,
    ProgressDetail,
    ScheduleDetail,
    SpecDetail,
)
from timeball_server.core.model import (
    DeliveryMode,
    Failure,
    FailureCause,
    Payload,
    Progress,
    RetryPolicy,
    ScheduleSpec,
    TaskSpec,
    Timeouts,
)
from timeball_server.store.codec import (
    decode_detail,
    decode_texts,
    encode_detail,
    encode_texts,
)

INT = st.integers(-(2**63), 2**63 - 1)
MAYBE_INT = st.none() | INT
PAIRS = st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple)
PAYLOAD = st.builds(Payload, content_type=st.text(), data=st.binary())
FAILURE = st.builds(
    Failure,
    kind=st.text(),
    message=st.text(),
    stack=st.text(),
    retriable=st.booleans(),
    delay_ms=MAYBE_INT,
)
FLOAT = st.floats(allow_nan=False)
RETRY = st.builds(
    RetryPolicy,
    max_attempts=INT,
    initial_delay_ms=INT,
    coefficient=FLOAT,
    max_delay_ms=INT,
    max_age_ms=MAYBE_INT,
    jitter=FLOAT,
)
TIMEOUTS = st.builds(
    Timeouts,
    schedule_to_start_ms=MAYBE_INT,
    start_to_close_ms=MAYBE_INT,
    schedule_to_close_ms=MAYBE_INT,
    heartbeat_ms=MAYBE_INT,
)
SPEC = st.builds(
    TaskSpec,
    namespace=st.text(),
    owner=st.text(),
    handler=st.text(),
    payload=PAYLOAD,
    priority=st.integers(0, 9),
    labels=PAIRS,
    selector=PAIRS,
    retry=RETRY,
    timeouts=TIMEOUTS,
    mode=st.sampled_from(DeliveryMode),
    schedule_id=st.none() | st.text().map(TaskId),
    nominal_ms=MAYBE_INT,
)
PROGRESS = st.builds(
    Progress,
    fraction=st.none() | st.floats(0, 1),
    note=st.text(),
    heard_ms=MAYBE_INT,
    checkpoint=st.none() | PAYLOAD,
)
OUTCOME = st.builds(
    OutcomeDetail,
    started_ms=MAYBE_INT,
    ended_ms=MAYBE_INT,
    result=st.none() | PAYLOAD,
    failure=st.none() | FAILURE,
    cause=st.none() | st.sampled_from(FailureCause),
    progress=st.none() | PROGRESS,
)
SCHEDULE = st.builds(
    ScheduleSpec,
    task=SPEC,
    every_ms=INT,
    phase_ms=INT,
    start_ms=MAYBE_INT,
    end_ms=MAYBE_INT,
    max_runs=INT,
)
DETAILS: dict[type, st.SearchStrategy[Detail]] = {
    SpecDetail: st.builds(SpecDetail, spec=SPEC),
    OutcomeDetail: OUTCOME,
    ProgressDetail: st.builds(ProgressDetail, progress=PROGRESS),
    NoteDetail: st.builds(NoteDetail, text=st.text()),
    ScheduleDetail: st.builds(
        ScheduleDetail,
        spec=SCHEDULE,
        runs=INT,
        nominal_ms=MAYBE_INT,
        launched=st.booleans(),
        recent=st.lists(st.text().map(TaskId), max_size=3).map(tuple),
    ),
}
DETAIL = st.one_of(*DETAILS.values())
PLAIN = TaskSpec(namespace="bank", owner="teller", handler="billing.charge")


def test_every_kind_of_detail_is_tried_here() -> None:
    assert set(DETAILS) == set(get_args(Detail))


@given(detail=st.none() | DETAIL)
def test_a_detail_comes_back(detail: Detail | None) -> None:
    assert decode_detail(encode_detail(detail)) == detail


@given(detail=DETAIL)
def test_equal_details_are_equal_bytes(detail: Detail) -> None:
    assert encode_detail(detail) == encode_detail(replace(detail))


@given(texts=st.lists(st.text()).map(tuple))
def test_texts_come_back(texts: tuple[str, ...]) -> None:
    assert decode_texts(encode_texts(texts)) == texts


def test_no_texts_are_nothing() -> None:
    assert encode_texts(()) is None


def test_a_field_of_a_newer_version_is_skipped() -> None:
    body = msgspec.to_builtins(SpecDetail(spec=PLAIN), builtin_types=(bytes,))
    body["spec"]["colour"] = {"of": ["a", "newer", "version"]}
    body["mood"] = 3
    data = msgspec.msgpack.encode(("spec", body))
    assert decode_detail(data) == SpecDetail(spec=PLAIN)


def test_a_field_that_an_older_version_did_not_write_has_its_default() -> None:
    body = {"spec": {"namespace": "bank", "owner": "teller", "handler": "billing.charge"}}
    assert decode_detail(msgspec.msgpack.encode(("spec", body))) == SpecDetail(spec=PLAIN)
    assert decode_detail(msgspec.msgpack.encode(("outcome", {}))) == OutcomeDetail()


def test_defaults_are_written_because_they_may_change() -> None:
    data = encode_detail(SpecDetail(spec=PLAIN))
    assert data is not None
    _, body = msgspec.msgpack.decode(data, type=tuple[str, dict[str, dict[str, object]]])
    assert set(body["spec"]) == {entry.name for entry in fields(TaskSpec)}


@pytest.mark.parametrize("record", [RetryPolicy, Timeouts, OutcomeDetail, TaskSpec])
def test_what_is_added_to_a_record_has_a_default(record: type) -> None:
    required = {
        entry.name
        for entry in fields(record)
        if entry.default is MISSING and entry.default_factory is MISSING
    }
    assert required <= {"namespace", "owner", "handler"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(("spec", {})),
        msgspec.msgpack.encode(("spec", 7)),
        msgspec.msgpack.encode(("poem", {"text": "unknown kind"})),
        msgspec.msgpack.encode(("outcome", {"cause": "BOREDOM"})),
        msgspec.msgpack.encode(["note"]),
    ],
)
def test_broken_bytes_are_a_sentence(data: bytes) -> None:
    with pytest.raises(NewerVersionNeeded, match="cannot be read"):
        decode_detail(data)
