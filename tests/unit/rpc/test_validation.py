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

from tests.support.rpc_records import EMPTY_ID, specs
from timeball_server.core import limits
from timeball_server.core.model import TaskSpec
from timeball_server.ports.clock import Clock, Now
from timeball_server.rpc.convert import task_from_spec
from timeball_server.rpc.request_rules import RequestRules
from timeball_server.rpc.sentences import KEY_PATTERNS, PATTERNS
from timeball_server.rpc.validation import RequestValidator, shipped_rules

NOW_MS = 2_100_000_000_000
MAX_INT64 = 2**63 - 1


class FixedClock(Clock):
    def now(self) -> Now:
        return Now(NOW_MS, 0)

    async def sleep_ms(self, duration_ms: float) -> None:
        raise AssertionError("validation never waits")


VALIDATOR = RequestValidator(FixedClock(), shipped_rules())

Create = task_service_pb2.CreateTaskRequest


def create(**task: Any) -> Create:
    """A valid request but for what the arguments say about its task."""
    fields = {"handler": "demo.hello"} | task
    return Create(parent="namespaces/default", task=task_pb2.Task(**fields))


def retry(**fields: Any) -> Create:
    return create(retry=task_pb2.RetryPolicy(**fields))


def timeout(**fields: Any) -> Create:
    return create(timeouts=task_pb2.Timeouts(**fields))


def payload(**fields: Any) -> Create:
    return create(payload=task_pb2.Payload(**fields))


def at(seconds: int, nanos: int = 0) -> Create:
    return create(run_time=Timestamp(seconds=seconds, nanos=nanos))


def after(seconds: int, nanos: int = 0) -> Create:
    return create(delay=Duration(seconds=seconds, nanos=nanos))


def labels(**pairs: str) -> Create:
    return create(labels=pairs)


def many(count: int) -> dict[str, str]:
    return {f"k{number}": "v" for number in range(count)}


def complaints(raw: bytes) -> dict[str, str]:
    """What is wrong with the bytes of a creation, by field; the whole if no field is to blame."""
    try:
        VALIDATOR.check(raw, Create)
    except InvalidRequest as error:
        by_field = {each.field: each.description for each in error.violations}
        return by_field or {"": error.message}
    return {}


def check(request: Any) -> Any:
    return VALIDATOR.check(request.SerializeToString(), type(request)).message


HORIZON_S = (NOW_MS + limits.HORIZON_MS) // 1000
LONG = "a" * 200
UNFIT = [
    "\x00",
    "a\x00b",
    "\x1f",
    "\x7f",
    "\x85",
    "a\nb",
    "a\r\n",
    "\u202eabc",
    "a\u200bb",
    "\ufeff",
]

# Path of the field, a request that must be refused there, words of the sentence.
REFUSED: list[tuple[str, Create, str]] = [
    ("task", Create(), "must be set"),
    ("task", create(run_time=Timestamp(), delay=Duration()), "either run_time or delay"),
    ("parent", Create(parent="default", task=create().task), "namespaces/{namespace}"),
    ("parent", Create(parent="namespaces/A", task=create().task), "namespaces/{namespace}"),
    ("parent", Create(parent="namespaces/../x", task=create().task), "namespaces/{namespace}"),
    ("parent", Create(parent="namespaces/" + "a" * 64, task=create().task), "namespaces/"),
    ("parent", Create(parent="namespaces/a\n", task=create().task), "U+000A"),
    ("request_id", Create(request_id="x", task=create().task), "UUID"),
    ("request_id", Create(request_id="0" * 32, task=create().task), "UUID"),
    ("request_id", Create(request_id="{" + "0" * 34 + "}", task=create().task), "UUID"),
    ("task.name", create(name="n" * 201), "at most 200 characters, got 201"),
    ("task.etag", create(etag="e" * 201), "at most 200 characters, got 201"),
    ("task.handler", create(handler=""), "dotted name"),
    ("task.handler", create(handler=" "), "spaces only"),
    ("task.handler", create(handler=LONG + "a"), "at most 200 characters, got 201"),
    ("task.handler", create(handler="h" * 2**20), "at most 200 characters"),
    ("task.handler", create(handler="1a"), "dotted name"),
    ("task.handler", create(handler="a..b"), "dotted name"),
    ("task.handler", create(handler="../a"), "dotted name"),
    ("task.handler", create(handler="a%00"), "dotted name"),
    ("task.handler", create(handler="os:system"), "dotted name"),
    ("task.handler", create(handler="${a}"), "dotted name"),
    ("task.handler", create(handler="a'; drop table due;--"), "dotted name"),
    ("task.handler", create(handler="e\u0301"), "dotted name"),
    *[("task.handler", create(handler=f"a{text}"), "without control") for text in UNFIT],
    ("task.payload.content_type", payload(content_type="json"), "application/json"),
    ("task.payload.content_type", payload(content_type="a/b\r\nx: y"), "U+000D"),
    ("task.payload.content_type", payload(content_type="a/" + "b" * 126), "at most 127"),
    (
        "task.payload.data",
        payload(data=bytes(limits.MAX_PAYLOAD_BYTES + 1)),
        "at most 1048576 bytes, got 1048577",
    ),
    ("task.run_time", at(-1), "1970-01-01"),
    ("task.run_time", at(-62_135_596_800), "1970-01-01"),
    ("task.run_time", at(-62_135_596_801), "years 1 to 9999"),
    ("task.run_time", at(253_402_300_800), "years 1 to 9999"),
    ("task.run_time", at(253_402_300_799), "at most 1825 days ahead"),
    ("task.run_time", at(MAX_INT64), "years 1 to 9999"),
    ("task.run_time", at(-MAX_INT64 - 1), "years 1 to 9999"),
    ("task.run_time", at(1, -1), "nanos must be between 0 and 999999999, got -1"),
    ("task.run_time", at(1, 10**9), "nanos must be between 0 and 999999999, got 1000000000"),
    ("task.run_time", at(HORIZON_S, 1), "at most 1825 days ahead"),
    ("task.delay", after(-1), "between 0s and 157680000s, got -1s"),
    ("task.delay", after(0, -1), "between 0s"),
    ("task.delay", after(1, -1), "same sign"),
    ("task.delay", after(0, 10**9), "nanos must be"),
    ("task.delay", after(limits.HORIZON_MS // 1000, 1), "between 0s and 157680000s"),
    ("task.delay", after(MAX_INT64), "shorter than 10000 years"),
    ("task.priority", create(priority=-1), "between 0 and 9, got -1"),
    ("task.priority", create(priority=10), "between 0 and 9, got 10"),
    ("task.priority", create(priority=2**31 - 1), "between 0 and 9, got 2147483647"),
    ("task.labels", create(labels=many(33)), "at most 32 entries, got 33"),
    ("task.labels", create(labels=many(10_000)), "at most 32 entries, got 10000"),
    ('task.labels[""]', create(labels={"": "v"}), "letter or digit"),
    ('task.labels["-a"]', create(labels={"-a": "v"}), "letter or digit"),
    ('task.labels["a b"]', create(labels={"a b": "v"}), "letter or digit"),
    ('task.labels["a\\u0000"]', create(labels={"a\0": "v"}), "without control"),
    (f'task.labels["{"k" * 64}"]', create(labels={"k" * 64: "v"}), "at most 63 characters, got 64"),
    ('task.labels["a"]', labels(a="v" * 201), "at most 200 characters, got 201"),
    ('task.labels["a"]', labels(a="   "), "spaces only"),
    *[('task.labels["a"]', labels(a=text), "without control") for text in UNFIT],
    ("task.selector", create(selector=many(33)), "at most 32 entries, got 33"),
    ('task.selector["a b"]', create(selector={"a b": "v"}), "letter or digit"),
    ('task.selector["a"]', create(selector={"a": "v\n"}), "without control"),
    ('task.selector["a"]', create(selector={"a": "v" * 201}), "at most 200 characters"),
    ("task.retry.max_attempts", retry(max_attempts=0), "between 1 and 100, got 0"),
    ("task.retry.max_attempts", retry(max_attempts=-1), "between 1 and 100, got -1"),
    ("task.retry.max_attempts", retry(max_attempts=101), "between 1 and 100, got 101"),
    ("task.retry.max_attempts", retry(max_attempts=2**31 - 1), "between 1 and 100"),
    ("task.retry.initial_delay", retry(initial_delay=Duration()), "between 0.001s and 86400s"),
    ("task.retry.initial_delay", retry(initial_delay=Duration(seconds=-1)), "got -1s"),
    ("task.retry.initial_delay", retry(initial_delay=Duration(seconds=86_401)), "got 86401s"),
    ("task.retry.initial_delay", retry(initial_delay=Duration(seconds=1, nanos=-1)), "sign"),
    ("task.retry.coefficient", retry(coefficient=0), "between 1 and 100, got 0.0"),
    ("task.retry.coefficient", retry(coefficient=0.999), "between 1 and 100, got 0.999"),
    ("task.retry.coefficient", retry(coefficient=1e9), "between 1 and 100, got 1000000000.0"),
    ("task.retry.coefficient", retry(coefficient=float("nan")), "between 1 and 100, got nan"),
    ("task.retry.coefficient", retry(coefficient=float("inf")), "between 1 and 100, got inf"),
    ("task.retry.max_delay", retry(max_delay=Duration()), "between 0.001s and 604800s"),
    ("task.retry.max_delay", retry(max_delay=Duration(seconds=604_801)), "got 604801s"),
    (
        "task.retry.max_delay",
        retry(initial_delay=Duration(seconds=2), max_delay=Duration(seconds=1)),
        "at least initial_delay (2000 ms), got 1000 ms",
    ),
    ("task.retry.max_age", retry(max_age=Duration()), "between 0.001s"),
    ("task.retry.max_age", retry(max_age=Duration(seconds=157_680_001)), "157680000s"),
    ("task.retry.jitter", retry(jitter=-0.1), "between 0 and 1, got -0.1"),
    ("task.retry.jitter", retry(jitter=1.1), "between 0 and 1, got 1.1"),
    ("task.retry.jitter", retry(jitter=float("nan")), "between 0 and 1, got nan"),
    ("task.timeouts.schedule_to_start", timeout(schedule_to_start=Duration()), "0.001s"),
    (
        "task.timeouts.schedule_to_start",
        timeout(schedule_to_start=Duration(seconds=157_680_001)),
        "157680000s",
    ),
    ("task.timeouts.start_to_close", timeout(start_to_close=Duration()), "0.001s"),
    (
        "task.timeouts.start_to_close",
        timeout(start_to_close=Duration(seconds=2_592_001)),
        "2592000s, got 2592001s",
    ),
    ("task.timeouts.schedule_to_close", timeout(schedule_to_close=Duration(seconds=-1)), "-1s"),
    ("task.timeouts.heartbeat", timeout(heartbeat=Duration(seconds=86_401)), "got 86401s"),
    ("task.timeouts.heartbeat", timeout(heartbeat=Duration(nanos=-(10**9))), "nanos must be"),
    ("task.delivery_mode", create(delivery_mode=7), "values that the API defines, got 7"),
    ("task.delivery_mode", create(delivery_mode=-1), "values that the API defines, got -1"),
    ("task.owner", create(owner="o" * 201), "at most 200 characters, got 201"),
    ("task.owner", create(owner="a/b"), "without /"),
    ("task.owner", create(owner="\t"), "without control"),
    ("task.owner", create(owner="  "), "spaces only"),
    *[("task.owner", create(owner=text), "without control") for text in UNFIT],
]

ACCEPTED: list[Create] = [
    Create(task=create().task),
    Create(parent="namespaces/-", task=create().task),
    Create(parent="namespaces/" + "a" * 63, task=create().task),
    Create(request_id="018F2F5E-7a3b-7c21-9d4e-5f6071829304", task=create().task),
    create(handler="a"),
    create(handler=LONG),
    create(handler="billing.charge-2.x_y"),
    payload(content_type=""),
    payload(content_type="application/json; charset=utf-8"),
    payload(content_type="a/" + "b" * 125),
    payload(data=bytes(limits.MAX_PAYLOAD_BYTES)),
    payload(data=b"\x00\xff"),
    at(0),
    at(1, 999_999_999),
    at(NOW_MS // 1000 - 365 * 86_400),
    at(NOW_MS // 1000),
    at(2**31),
    at(HORIZON_S),
    after(0),
    after(0, 1),
    after(limits.HORIZON_MS // 1000),
    create(priority=0),
    create(priority=9),
    create(labels=many(32), selector=many(32)),
    create(labels={"k" * 63: "v" * 200, "a/b.c-d_e": ""}),
    labels(a="Grüße 你好 👩‍💻 e\u0301", b="é", c="../%00${x}{{y}}'; --"),
    retry(max_attempts=1, coefficient=1, jitter=0),
    retry(max_attempts=100, coefficient=100, jitter=1),
    retry(initial_delay=Duration(nanos=10**6), max_delay=Duration(nanos=10**6)),
    retry(initial_delay=Duration(seconds=86_400), max_delay=Duration(seconds=604_800)),
    retry(initial_delay=Duration(seconds=86_400)),
    retry(max_age=Duration(seconds=157_680_000)),
    timeout(start_to_close=Duration(seconds=2_592_000), heartbeat=Duration(seconds=86_400)),
    timeout(schedule_to_start=Duration(nanos=10**6), schedule_to_close=Duration(nanos=10**6)),
    create(delivery_mode=task_pb2.DELIVERY_MODE_AT_MOST_ONCE),
    create(owner="o" * 200),
    create(owner="anna@example.org"),
    create(failure=task_pb2.Failure(stack="line\nline"), update_time=Timestamp(nanos=-1)),
]


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


NAME = f"namespaces/default/tasks/{EMPTY_ID}"
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
        (schedule(task=create(delay=Duration()).task), "schedule.task"),
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
