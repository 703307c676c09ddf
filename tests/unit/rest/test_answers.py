"""Answers: every error of the family has a status, both shapes say the same."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from timeball import errors
from timeball.v1 import schedule_service_pb2, task_pb2, task_service_pb2

from timeball_server.rest.answers import STATUS_OF_CODE, failure, http_status, success
from timeball_server.rest.problems import BodyTooLarge, MethodNotAllowed, UnsupportedMediaType
from timeball_server.rest.routes import Route, read_routes

ROUTES = {route.rpc.name: route for route in read_routes()}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidRequest("x"), 400),
        (errors.Unauthenticated("x"), 401),
        (errors.PermissionDenied("x"), 403),
        (errors.TaskNotFound("x"), 404),
        (MethodNotAllowed("x", ["GET"]), 405),
        (errors.AlreadyExists("x"), 409),
        (errors.TooLate("x"), 409),
        (errors.RequestIdReused("x"), 409),
        (errors.Aborted("x"), 409),
        (errors.StaleEtag("x"), 412),
        (errors.PayloadTooLarge("x"), 413),
        (BodyTooLarge("x"), 413),
        (UnsupportedMediaType("x"), 415),
        (errors.ResourceExhausted("x"), 429),
        (errors.Internal("x"), 500),
        (errors.Draining("x"), 503),
        (errors.StoreUnavailable("x"), 503),
        (errors.OutcomeUnknown("x"), 504),
    ],
)
def test_errors_have_statuses(error: errors.TimeballError, status: int) -> None:
    assert http_status(error) == status


def test_every_status_of_grpc_has_one() -> None:
    assert set(STATUS_OF_CODE) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


def body_of(error: errors.TimeballError, accept: str = "*/*") -> Any:
    return json.loads(failure(error, accept).body)


def test_both_shapes_say_what_is_wrong_and_where() -> None:
    error = errors.InvalidRequest(
        "task.handler: must not be empty",
        violations=[errors.Violation("task.handler", "must not be empty")],
        metadata={"a": "b"},
    )
    shown = body_of(error)["error"]
    assert (shown["code"], shown["status"]) == (400, "INVALID_ARGUMENT")
    info, bad = shown["details"]
    assert (info["reason"], info["metadata"]) == ("INVALID_REQUEST", {"a": "b"})
    found = [{"field": "task.handler", "description": "must not be empty"}]
    assert bad["fieldViolations"] == found
    for accept in ("application/problem+json", "text/html, Application/Problem+JSON;q=0.9"):
        answer = failure(error, accept)
        assert answer.headers["content-type"] == "application/problem+json"
        problem = json.loads(answer.body)
        assert problem["errors"] == found
        assert (problem["status"], problem["title"]) == (400, "Bad Request")
        assert (problem["reason"], problem["metadata"]) == ("INVALID_REQUEST", {"a": "b"})
    assert failure(error, "application/json").headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (errors.Draining("x"), "1"),
        (errors.ResourceExhausted("x", retry_after_s=2.2), "3"),
        (errors.Unavailable("x", retry_after_s=0), "1"),
        (errors.TooLate("x"), None),
    ],
)
def test_waiting_times_are_whole_seconds(error: errors.TimeballError, seconds: str | None) -> None:
    assert failure(error, "").headers.get("retry-after") == seconds


def test_401_names_the_scheme_and_405_the_methods() -> None:
    assert failure(errors.Unauthenticated("x"), "").headers["www-authenticate"] == "Bearer"
    assert failure(MethodNotAllowed("x", ["POST", "GET"]), "").headers["allow"] == "GET, POST"


def answered(route: Route, response: Any) -> tuple[int, str | None, Any]:
    answer = success(route, response)
    return answer.status, answer.headers.get("location"), json.loads(answer.body)


def test_what_was_made_has_an_address_and_a_mere_check_has_none() -> None:
    task = task_pb2.Task(name="namespaces/shop/tasks/1", handler="a.b")
    made = task_service_pb2.CreateTaskResponse(task=task)
    shown = {"name": "namespaces/shop/tasks/1", "handler": "a.b"}
    path = "/v1/namespaces/shop/tasks/1"
    assert answered(ROUTES["CreateTask"], made) == (201, path, shown)
    checked = task_service_pb2.CreateTaskResponse(task=task_pb2.Task(handler="a.b"))
    assert answered(ROUTES["CreateTask"], checked) == (200, None, {"handler": "a.b"})
    cancelled = task_service_pb2.CancelTaskResponse(task=task)
    assert answered(ROUTES["CancelTask"], cancelled) == (200, None, shown)
    waited = task_service_pb2.WaitTaskResponse(task=task, done=True)
    assert answered(ROUTES["WaitTask"], waited) == (200, None, {"task": shown, "done": True})
    deleted = schedule_service_pb2.DeleteScheduleResponse()
    assert answered(ROUTES["DeleteSchedule"], deleted) == (200, None, {})
