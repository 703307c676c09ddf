"""Requests that must be refused, field by field, and their accepted twins."""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from timeball.v1 import task_pb2, task_service_pb2

from timeball_server.core import limits

NOW_MS = 2_100_000_000_000
MAX_INT64 = 2**63 - 1


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
    ("task.delay", create(run_time=Timestamp(), delay=Duration()), "absent when run_time is set"),
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
    ("chosen_name", Create(chosen_name="Not so", task=create().task), "a letter first"),
    ("chosen_name", Create(chosen_name="a" * 101, task=create().task), "at most 100"),
    ("while_open", Create(while_open=9, task=create().task), "values that the API defines, got 9"),  # type: ignore[arg-type]
    ("after_end", Create(after_end=9, task=create().task), "values that the API defines, got 9"),  # type: ignore[arg-type]
    ("task.concurrency_key", create(concurrency_key="a*"), "without *"),
    ("task.concurrency_key", create(concurrency_key="k" * 201), "at most 200 characters, got 201"),
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
    ("task.timeouts.heartbeat", timeout(heartbeat=Duration(seconds=-1)), "-1s"),
    ("task.delivery_mode", create(delivery_mode=7), "values that the API defines, got 7"),
    ("task.delivery_mode", create(delivery_mode=-1), "values that the API defines, got -1"),
    ("task.owner", create(owner="-"), "everybody"),
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
    timeout(start_to_close=Duration(seconds=2_592_000), schedule_to_close=Duration(seconds=86_400)),
    timeout(schedule_to_start=Duration(nanos=10**6), schedule_to_close=Duration(nanos=10**6)),
    create(delivery_mode=task_pb2.DELIVERY_MODE_AT_MOST_ONCE),
    create(owner="o" * 200),
    create(owner="anna@example.org"),
    create(failure=task_pb2.Failure(stack="line\nline"), update_time=Timestamp(nanos=-1)),
]
