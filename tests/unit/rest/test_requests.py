"""Requests out of path, query, headers and body; everything that is refused, with its field."""

from __future__ import annotations

import contextlib
import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from timeball.errors import InvalidRequest
from timeball.v1 import schedule_service_pb2 as schedules
from timeball.v1 import task_pb2, task_service_pb2

from timeball_server.rest.problems import MethodNotAllowed, PathNotFound
from timeball_server.rest.requests import request_id_of_key, request_message
from timeball_server.rest.routes import find_route, read_routes

tasks: Any = task_service_pb2  # its constructors take words and dictionaries too
TaskMessage: Any = task_pb2.Task
ROUTES = read_routes()
TASK = "/v1/namespaces/shop/tasks/1"
TASKS = "/v1/namespaces/shop/tasks"
UUID = "018f2f5e-7a3b-7c21-9d4e-5f6071829304"


def parsed(method: str, target: str, body: Any = None, key: str | None = None) -> Any:
    path, _, query = target.partition("?")
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    pairs = parse_qsl(query, keep_blank_values=True)
    return request_message(find_route(ROUTES, method, path), pairs, raw, key)


@pytest.mark.parametrize(
    ("method", "target", "body", "expected"),
    [
        ("GET", TASK, None, tasks.GetTaskRequest(name="namespaces/shop/tasks/1")),
        ("HEAD", f"{TASK}?view=TASK_VIEW_BASIC&allowStale=true", None,
         tasks.GetTaskRequest(name="namespaces/shop/tasks/1", view="TASK_VIEW_BASIC",
                              allow_stale=True)),
        ("GET", f"{TASK}?allow_stale=false", None,
         tasks.GetTaskRequest(name="namespaces/shop/tasks/1")),
        ("GET", f"{TASK}:wait?timeout=1.5s", None,
         tasks.WaitTaskRequest(name="namespaces/shop/tasks/1",
                               timeout={"seconds": 1, "nanos": 500_000_000})),
        ("GET", f"{TASKS}?states=TASK_STATE_SCHEDULED&states=5&pageSize=7&owner=u%201", None,
         tasks.ListTasksRequest(parent="namespaces/shop", owner="u 1", page_size=7,
                                states=["TASK_STATE_SCHEDULED", 5])),
        ("GET", f"{TASKS}?createdFrom=2026-01-02T03:04:05Z", None,
         tasks.ListTasksRequest(parent="namespaces/shop",
                                created_from={"seconds": 1767323045})),
        ("POST", f"{TASKS}?requestId={UUID}&validateOnly=true",
         {"handler": "a.b", "payload": {"data": "eHk="}, "labels": {"k": "v"}, "delay": "2s"},
         tasks.CreateTaskRequest(
             parent="namespaces/shop", request_id=UUID, validate_only=True,
             task=TaskMessage(handler="a.b", payload={"data": b"xy"}, labels={"k": "v"},
                                delay={"seconds": 2}))),
        ("POST", f"{TASKS}:batchCreate", {"requests": [{"task": {"handler": "a.b"}}]},
         tasks.BatchCreateTasksRequest(parent="namespaces/shop",
                                       requests=[{"task": {"handler": "a.b"}}])),
        ("POST", f"{TASK}:cancel", None,
         tasks.CancelTaskRequest(name="namespaces/shop/tasks/1")),
        ("POST", f"{TASK}:cancel", {"reason": "late", "name": "namespaces/shop/tasks/1"},
         tasks.CancelTaskRequest(name="namespaces/shop/tasks/1", reason="late")),
        ("PATCH", f"{TASK}?updateMask=priority,retry", {"priority": 7, "etag": "r1"},
         tasks.UpdateTaskRequest(
             task=TaskMessage(name="namespaces/shop/tasks/1", priority=7, etag="r1"),
             update_mask={"paths": ["priority", "retry"]})),
        ("PATCH", f"{TASK}?requestId={UUID}", {"name": "namespaces/shop/tasks/1"},
         tasks.UpdateTaskRequest(
             task=TaskMessage(name="namespaces/shop/tasks/1"), request_id=UUID)),
        ("POST", f"{TASK}:reschedule", {"delay": "2s", "etag": "r1"},
         tasks.RescheduleTaskRequest(
             name="namespaces/shop/tasks/1", delay={"seconds": 2}, etag="r1")),
        ("POST", f"{TASK}:retry", None,
         tasks.RetryTaskRequest(name="namespaces/shop/tasks/1")),
        ("DELETE", f"{TASK}?etag=r1", None,
         tasks.DeleteTaskRequest(name="namespaces/shop/tasks/1", etag="r1")),
        ("DELETE", "/v1/namespaces/shop/schedules/1", None,
         schedules.DeleteScheduleRequest(name="namespaces/shop/schedules/1")),
    ],
)  # fmt: skip
def test_a_request_is_read(method: str, target: str, body: Any, expected: Any) -> None:
    assert parsed(method, target, body) == expected


@pytest.mark.parametrize(
    ("method", "target", "body", "field"),
    [
        ("GET", f"{TASKS}?foo=1", None, "foo"),
        ("GET", f"{TASKS}?parent=namespaces/other", None, "parent"),
        ("GET", f"{TASKS}?pageSize=1&pageSize=2", None, "pageSize"),
        ("GET", f"{TASKS}?pageSize=1&page_size=2", None, "page_size"),
        ("GET", f"{TASKS}?pageSize=x", None, "pageSize"),
        ("GET", f"{TASKS}?pageSize=99999999999", None, "page_size"),
        ("GET", f"{TASKS}?states=LATE", None, "states"),
        ("GET", f"{TASKS}?owner.name=x", None, "owner.name"),
        ("GET", f"{TASKS}?createdFrom=yesterday", None, "created_from"),
        ("GET", f"{TASK}?allowStale=1", None, "allowStale"),
        ("POST", f"{TASKS}?task.handler=a.b", {"handler": "a.b"}, "task.handler"),
        ("POST", f"{TASKS}:batchCreate?parent=x", {}, "parent"),
        ("POST", f"{TASK}:cancel?reason=x", {}, "reason"),
        ("POST", f"{TASK}:cancel", {"name": "namespaces/other/tasks/1"}, "name"),
        ("POST", TASKS, {"handle": "a.b"}, "task.handle"),
        ("POST", TASKS, {"handler": 5}, "task.handler"),
        ("POST", TASKS, {"handler": "a.b", "dueTime": "x", "due_time": "x"}, "task.due_time"),
        ("POST", TASKS, {"labels": []}, "task.labels"),
        ("POST", TASKS, {"labels": {"k": 1}}, 'task.labels["k"]'),
        ("POST", TASKS, {"priority": "high"}, "task.priority"),
        ("POST", TASKS, {"priority": True}, "task.priority"),
        ("POST", TASKS, {"priority": 10**30}, "task.priority"),
        ("POST", TASKS, {"runTime": "tomorrow"}, "task.run_time"),
        ("POST", TASKS, {"delay": 5}, "task.delay"),
        ("POST", TASKS, {"deliveryMode": "TWICE"}, "task.delivery_mode"),
        ("POST", TASKS, {"payload": []}, "task.payload"),
        ("POST", TASKS, {"payload": {"data": "***"}}, "task.payload.data"),
        ("POST", TASKS, {"payload": {"data": "abcde"}}, "task.payload.data"),
        ("POST", TASKS, {"owner": "\ud800"}, "task.owner"),
        ("POST", f"{TASKS}:batchCreate", {"requests": {}}, "requests"),
        ("POST", f"{TASKS}:batchCreate", {"requests": [{}, {"task": {"x": 1}}]},
         "requests[1].task.x"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(method: str, target: str, body: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(method, target, body)
    assert [each.field for each in caught.value.violations] == [field]
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("method", "target", "body", "words"),
    [
        ("GET", f"{TASKS}?createdFrom=2026-01-01", None, "2030-01-31T09:00:00Z"),
        ("GET", f"{TASKS}?states=SUCCEEDED", None, "TASK_STATE_SUCCEEDED"),
        ("GET", f"{TASK}:wait?timeout=5", None, "such as 1.5s"),
        ("POST", TASKS, {"runTime": "2026-01-01T00:00:00"}, "with its zone"),
        ("PATCH", f"{TASK}?updateMask=_,%20", {}, "commas"),
        ("POST", f"{TASK}:reschedule", {"delay": "1s", "runTime": "2030-01-31T09:00:00Z"},
         "say one of runTime, delay, not several"),
    ],
)  # fmt: skip
def test_what_would_be_accepted_is_said_without_the_parser_s_words(
    method: str, target: str, body: Any, words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(method, target, body)
    assert words in caught.value.message
    assert not {"format", "parse", "oneof", "timeball.v1"} & set(caught.value.message.split())


def test_a_mask_may_be_written_as_in_the_protos() -> None:
    asked = parsed("PATCH", f"{TASK}?updateMask=run_time,labels", {})
    assert list(asked.update_mask.paths) == ["run_time", "labels"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "must be JSON"),
        (b"{", "line 1, column 2"),
        (b"[]", "got an array"),
        (b"null", "got null"),
        (b"true", "got true or false"),
        (b"12", "got a number"),
        (b'"x"', "got a text"),
        (b"\xff{}", "UTF-8"),
        (b'{"handler":"a.b","handler":"c.d"}', "handler twice"),
        (b'{"priority":NaN}', "NaN"),
        (b'{"priority":' + b"9" * 5_000 + b"}", "huge"),
        (b'{"labels":' + b"[" * 100_000, "nested"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed("POST", TASKS, body)
    assert words in caught.value.message


def test_a_call_without_body_takes_none() -> None:
    with pytest.raises(InvalidRequest, match="takes no body"):
        parsed("GET", TASK, {})


def test_paths_and_methods_that_are_not_served_are_told_apart() -> None:
    for path in ("/v1", "/v2/cluster", f"{TASK}:explode", f"{TASK}/x", "/v1/namespaces//tasks"):
        with pytest.raises(PathNotFound):
            find_route(ROUTES, "GET", path)
    with pytest.raises(MethodNotAllowed) as caught:
        find_route(ROUTES, "PATCH", TASKS)
    assert caught.value.allowed == ("GET", "HEAD", "OPTIONS", "POST")


def test_an_idempotency_key_becomes_a_request_id_and_counts_as_repeated() -> None:
    for key in (UUID, UUID.upper(), f'"{UUID}"', f" {UUID} "):
        request = parsed("POST", TASKS, {"handler": "a.b"}, key)
        assert (request.request_id, request.resend) == (UUID, True)
    assert request_id_of_key("order-17") == request_id_of_key('"order-17"')
    assert request_id_of_key("order-17") != request_id_of_key("order-18")
    assert parsed("GET", TASK, None, UUID).name == "namespaces/shop/tasks/1"
    with pytest.raises(InvalidRequest, match="differs from the header"):
        parsed("POST", f"{TASK}:cancel", {"requestId": UUID}, "order-17")


@pytest.mark.parametrize("key", ["", '""', "é", "a\tb", "k" * 256])
def test_a_key_that_cannot_be_one_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request_id_of_key(key)
    assert caught.value.violations[0].field == "Idempotency-Key"


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
LISTS = st.builds(
    tasks.ListTasksRequest,
    parent=st.just("namespaces/shop"),
    owner=TEXT,
    handler=TEXT,
    page_token=TEXT,
    page_size=st.integers(-(2**31), 2**31 - 1),
    states=st.lists(st.sampled_from(list(task_pb2.TaskState.values())), max_size=4),
)
TASK_MESSAGES = st.builds(
    task_pb2.Task,
    handler=TEXT,
    owner=TEXT,
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
    priority=st.integers(0, 9),
    payload=st.builds(task_pb2.Payload, content_type=TEXT, data=st.binary(max_size=40)),
)


@given(message=LISTS, camel=st.booleans())
def test_any_list_request_survives_the_query(message: Any, camel: bool) -> None:
    document = MessageToDict(message, preserving_proto_field_name=not camel)
    del document["parent"]
    assert parsed("GET", f"{TASKS}?{urlencode(document, doseq=True)}") == message


@given(task=TASK_MESSAGES, camel=st.booleans())
def test_any_task_survives_the_body(task: task_pb2.Task, camel: bool) -> None:
    body = MessageToDict(task, preserving_proto_field_name=not camel)
    assert parsed("POST", TASKS, body).task == task


@given(body=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert parsed("POST", TASKS, body).parent == "namespaces/shop"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([field.json_name for field in task_pb2.Task.DESCRIPTOR.fields])


@given(body=st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_values_of_known_fields_are_read_or_refused(body: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        assert parsed("POST", TASKS, body).parent == "namespaces/shop"
