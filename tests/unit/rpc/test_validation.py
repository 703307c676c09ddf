from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from timeball.errors import InvalidRequest, PayloadTooLarge
from timeball.v1 import schedule_service_pb2, task_pb2, task_service_pb2

from tests.support.bad_requests import (
    ACCEPTED,
    HORIZON_S,
    NOW_MS,
    REFUSED,
    Create,
    create,
    payload,
)
from tests.support.rpc_records import EMPTY_ID, specs
from timeball_server.core import limits
from timeball_server.core.model import TaskSpec
from timeball_server.ports.clock import Clock, Now
from timeball_server.rpc.convert import task_from_spec
from timeball_server.rpc.request_rules import RequestRules
from timeball_server.rpc.sentences import KEY_PATTERNS, PATTERNS
from timeball_server.rpc.validation import RequestValidator, shipped_rules


class FixedClock(Clock):
    def now(self) -> Now:
        return Now(NOW_MS, 0)

    async def sleep_ms(self, duration_ms: float) -> None:
        raise AssertionError("validation never waits")


VALIDATOR = RequestValidator(FixedClock(), shipped_rules())


def complaints(raw: bytes) -> dict[str, str]:
    """What is wrong with the bytes of a creation, by field; the whole if no field is to blame."""
    try:
        VALIDATOR.check(raw, Create)
    except InvalidRequest as error:
        by_field = {each.field: each.description for each in error.violations}
        return by_field or {"": error.message}
    return {}


NAME = f"namespaces/default/tasks/{EMPTY_ID}"


def check(request: Any) -> Any:
    return VALIDATOR.check(request.SerializeToString(), type(request)).message


@pytest.mark.parametrize(("field", "request_", "words"), REFUSED)
def test_a_bad_field_is_named_with_what_would_be_accepted(
    field: str, request_: Create, words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(request_)
    sentences = {each.field: each.description for each in caught.value.violations}
    assert list(sentences) == [field]
    assert words in sentences[field]
    assert "regex" not in sentences[field]
    assert caught.value.message == f"{field}: {sentences[field]}"


@pytest.mark.parametrize("request_", ACCEPTED)
def test_the_accepted_twin_passes_unchanged(request_: Create) -> None:
    assert check(request_) == request_


def fields_of(descriptor: Descriptor, path: str = "") -> Iterator[str]:
    """Paths of everything that a caller can write."""
    for field in descriptor.fields:
        behaviour = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        leaf = field.message_type is None or field.message_type.file.package != "timeball.v1"
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if field_behavior_pb2.OUTPUT_ONLY in behaviour or field.type == field.TYPE_BOOL:
            continue
        if leaf or is_map:
            yield f"{path}{field.name}"
        elif field.message_type is not None:
            yield from fields_of(field.message_type, f"{path}{field.name}.")


def test_the_table_speaks_of_every_field_that_callers_write() -> None:
    descriptor: Any = Create.DESCRIPTOR
    assert set(fields_of(descriptor)) <= {field.partition("[")[0] for field, _, _ in REFUSED}


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(create(handler="", priority=10, retry=task_pb2.RetryPolicy(max_attempts=0)))
    assert {each.field for each in caught.value.violations} == {
        "task.handler",
        "task.priority",
        "task.retry.max_attempts",
    }
    assert caught.value.message.endswith("(and 2 more)")


def test_a_payload_over_its_limit_has_its_own_reason() -> None:
    big = bytes(limits.MAX_PAYLOAD_BYTES + 1)
    with pytest.raises(PayloadTooLarge):
        check(payload(data=big))
    with pytest.raises(InvalidRequest) as caught:
        check(create(handler="", payload=task_pb2.Payload(data=big)))
    assert not isinstance(caught.value, PayloadTooLarge)


@pytest.mark.parametrize(
    "bytes_",
    [b"\xed\xa0\x80", b"\xc0\xaf", b"\xff", b"a\x80"],
    ids=["surrogate", "overlong", "ff", "tail"],
)
@pytest.mark.parametrize("field", ["task.owner", "request_id", "task.labels.value"])
def test_text_that_is_not_utf8_is_named(bytes_: bytes, field: str) -> None:
    marker = "Q" * len(bytes_)
    good = {
        "task.owner": create(owner=marker),
        "request_id": Create(request_id=marker, task=create().task),
        "task.labels.value": create(labels={"a": marker}),
    }[field]
    raw = good.SerializeToString().replace(marker.encode(), bytes_)
    with pytest.raises(InvalidRequest) as caught:
        VALIDATOR.check(raw, Create)
    assert [each.field for each in caught.value.violations] == [field]
    assert "UTF-8" in caught.value.message


@given(st.binary(max_size=60) | st.just(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
def test_bytes_that_are_no_request_are_refused_or_checked(raw: bytes) -> None:
    assert all(complaints(raw).values())


@given(st.binary(max_size=80), st.sampled_from([1, 2, 3, 4, 5, 9, 10]))
def test_hostile_tasks_never_break_the_rules_themselves(raw: bytes, field: int) -> None:
    inner = bytes([field << 3 | 2, len(raw)]) + raw
    task = b"\x12\x01a" + inner
    outer = bytes([2 << 3 | 2, len(task)]) + task
    assert all(complaints(outer).values())


def test_deep_nesting_is_refused() -> None:
    raw = b""
    for _ in range(2_000):
        raw = b"\x1b" + raw + b"\x1c"
    with pytest.raises(InvalidRequest):
        VALIDATOR.check(raw, Create)


@given(specs)
def test_nothing_that_the_core_knows_is_lost_on_the_way(spec: TaskSpec) -> None:
    request = Create(parent="namespaces/default", task=task_from_spec(spec, full=True))
    raw = request.SerializeToString()
    wrong = {field.partition("[")[0] for field in complaints(raw)}
    if not wrong:
        assert check(request) == request
    assert wrong <= {  # what the strategy draws beyond the limits of the API
        "task.owner",
        "task.labels",
        "task.selector",
        "task.retry.initial_delay",
        "task.retry.max_delay",
        "task.timeouts.start_to_close",
        "task.timeouts.heartbeat",
    }


Update = task_service_pb2.UpdateTaskRequest


def update(request: Create) -> Update:
    """The update that says the same of a task as a creation."""
    return Update(task=request.task, request_id=request.request_id)


OF_CREATIONS = ("parent", "chosen_name", "while_open", "after_end")


@pytest.mark.parametrize(
    ("field", "request_", "words"),
    [row for row in REFUSED if row[0] not in OF_CREATIONS and row[1].task.handler],
)
def test_an_update_is_checked_like_a_creation(field: str, request_: Create, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(update(request_))
    sentences = {each.field: each.description for each in caught.value.violations}
    assert list(sentences) == [field]
    assert words in sentences[field]


@pytest.mark.parametrize("request_", ACCEPTED)
def test_what_is_accepted_in_a_creation_is_in_an_update(request_: Create) -> None:
    assert check(update(request_)) == update(request_)


def test_an_update_need_not_say_what_stays_but_must_say_it_right() -> None:
    request = Update(task=task_pb2.Task(name=NAME, priority=3))
    assert check(request) == request
    with pytest.raises(InvalidRequest) as caught:
        check(Update(task=task_pb2.Task(priority=10)))
    assert [each.field for each in caught.value.violations] == ["task.priority"]
    with pytest.raises(InvalidRequest) as caught:
        check(Update(task=task_pb2.Task(handler="1a")))
    assert [each.field for each in caught.value.violations] == ["task.handler"]


Batch = task_service_pb2.BatchCreateTasksRequest


def test_items_of_a_batch_fail_by_themselves_with_paths_of_their_own() -> None:
    big = payload(data=bytes(limits.MAX_PAYLOAD_BYTES + 1))
    batch = Batch(requests=[create(), create(handler=""), big, create(labels={"": ""})])
    checked = VALIDATOR.check(batch.SerializeToString(), Batch)
    assert {
        position: [each.field for each in error.violations]
        for position, error in checked.item_errors.items()
    } == {1: ["task.handler"], 2: ["task.payload.data"], 3: ['task.labels[""]']}
    assert isinstance(checked.item_errors[2], PayloadTooLarge)


@pytest.mark.parametrize(
    ("batch", "field"),
    [
        (Batch(), "requests"),
        (Batch(requests=[create()] * 1001), "requests"),
        (Batch(parent="x", requests=[create(handler="")]), "parent"),
        (task_service_pb2.CreateTasksRequest(), "requests"),
    ],
)
def test_a_batch_that_is_wrong_as_a_whole_is_refused_as_a_whole(batch: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(batch)
    assert caught.value.violations[0].field == field


Move = task_service_pb2.RescheduleTaskRequest
Schedule = schedule_service_pb2.Schedule
Interval = schedule_service_pb2.Interval


def schedule(**fields: Any) -> Any:
    base = {"task": create().task, "interval": Interval(every=Duration(seconds=1))}
    return schedule_service_pb2.CreateScheduleRequest(schedule=Schedule(**(base | fields)))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (task_service_pb2.GetTaskRequest(name="x"), "name"),
        (task_service_pb2.GetTaskRequest(name=NAME + "0"), "name"),
        (task_service_pb2.GetTaskRequest(name=NAME.upper()), "name"),
        (task_service_pb2.GetTaskRequest(name=NAME, view=9), "view"),  # type: ignore[arg-type]
        (task_service_pb2.CancelTaskRequest(name=NAME, reason="r" * 501), "reason"),
        (task_service_pb2.CancelTaskRequest(name=NAME, request_id="1"), "request_id"),
        (Update(), "task"),
        (Move(name="x"), "name"),
        (Move(name=NAME, delay=Duration(seconds=-1)), "delay"),
        (Move(name=NAME, delay=Duration(seconds=157_680_001)), "delay"),
        (Move(name=NAME, run_time=Timestamp(seconds=-1)), "run_time"),
        (Move(name=NAME, run_time=Timestamp(seconds=HORIZON_S + 1)), "run_time"),
        (Move(name=NAME, run_time=Timestamp(nanos=-1)), "run_time"),
        (Move(name=NAME, etag="e" * 201), "etag"),
        (Move(name=NAME, etag="r1\n"), "etag"),
        (Move(name=NAME, request_id="1"), "request_id"),
        (task_service_pb2.DeleteTaskRequest(name=NAME.upper()), "name"),
        (task_service_pb2.DeleteTaskRequest(name=NAME, etag="e" * 201), "etag"),
        (task_service_pb2.DeleteTaskRequest(name=NAME, request_id="1"), "request_id"),
        (task_service_pb2.RetryTaskRequest(), "name"),
        (task_service_pb2.RetryTaskRequest(name=NAME, request_id="1"), "request_id"),
        (task_service_pb2.WaitTaskRequest(name=NAME, timeout=Duration(seconds=-1)), "timeout"),
        (task_service_pb2.ListTasksRequest(page_size=-1), "page_size"),
        (task_service_pb2.ListTasksRequest(page_token="t" * 2001), "page_token"),
        (task_service_pb2.ListTasksRequest(states=[99]), "states[0]"),  # type: ignore[list-item]
        (
            task_service_pb2.ListTasksRequest(
                created_from=Timestamp(seconds=2), created_to=Timestamp(seconds=1)
            ),
            "created_to",
        ),
        (schedule(task=create(delay=Duration()).task), "schedule.task.delay"),
        (schedule(task=create(run_time=Timestamp()).task), "schedule.task.run_time"),
        (schedule(interval=Interval()), "schedule.interval.every"),
        (schedule(interval=Interval(every=Duration(nanos=1))), "schedule.interval.every"),
        (
            schedule(interval=Interval(every=Duration(seconds=1), phase=Duration(seconds=1))),
            "schedule.interval.phase",
        ),
        (
            schedule(start_time=Timestamp(seconds=2), end_time=Timestamp(seconds=1)),
            "schedule.end_time",
        ),
        (schedule(start_time=Timestamp(seconds=HORIZON_S + 1)), "schedule.start_time"),
        (schedule(max_runs=-1), "schedule.max_runs"),
    ],
)
def test_other_requests_name_their_field_too(request_: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(request_)
    assert [each.field for each in caught.value.violations] == [field]
    assert "regex" not in caught.value.message


def rule_texts() -> dict[str, str]:
    """The annotations of every field, as text, by message and field."""
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet.FromString(shipped_rules()).file
    for file in files:
        pool.Add(file)
    options = message_factory.GetMessageClass(
        pool.FindMessageTypeByName("google.protobuf.FieldOptions")
    )
    return {
        f"{kind.name}.{field.name}": str(options.FromString(field.options.SerializeToString()))
        for file in files
        if file.package == "timeball.v1"
        for kind in file.message_type
        for field in kind.field
    }


def test_every_pattern_has_words_for_people() -> None:
    texts = rule_texts()
    patterned = {path.partition(".")[2] for path, text in texts.items() if "pattern:" in text}
    keyed = {path.partition(".")[2] for path, text in texts.items() if "keys {" in text}
    assert patterned == set(PATTERNS)
    assert keyed == set(KEY_PATTERNS)


def test_the_protos_repeat_the_limits_of_the_core() -> None:
    texts = rule_texts()
    assert f"max_len: {limits.MAX_PAYLOAD_BYTES}" in texts["Payload.data"]
    assert f"lte: {limits.MAX_ATTEMPTS}" in texts["RetryPolicy.max_attempts"]
    assert f"max_pairs: {limits.MAX_LABELS}" in texts["Task.labels"]
    assert f"max_pairs: {limits.MAX_LABELS}" in texts["Task.selector"]
    assert f"max_len: {limits.MAX_NAME_CHARACTERS}" in texts["Task.handler"]
    assert f"lte: {limits.MAX_PRIORITY}" in texts["Task.priority"]
    assert f"max_items: {limits.MAX_BATCH_ITEMS}" in texts["BatchCreateTasksRequest.requests"]
    assert f"seconds: {limits.HORIZON_MS // 1000}" in texts["Task.delay"]


def test_limits_fit_into_one_another() -> None:
    task_bytes = limits.MAX_PAYLOAD_BYTES + limits.MAX_RESULT_BYTES
    assert limits.MAX_INLINE_BYTES < limits.MAX_PAYLOAD_BYTES
    assert task_bytes + limits.MAX_PAYLOAD_BYTES < limits.MAX_MESSAGE_BYTES
    assert limits.MAX_BATCH_BYTES < limits.MAX_MESSAGE_BYTES < limits.MAX_INTERNAL_MESSAGE_BYTES
    assert limits.MAX_ATTEMPTS * 3 < limits.MAX_JOURNAL_EVENTS
    assert limits.HORIZON_MS == 157_680_000_000


def test_the_plan_of_a_type_is_made_once() -> None:
    rules = RequestRules(FixedClock())
    assert rules.violations(create()) == rules.violations(create()) == []
