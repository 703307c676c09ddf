"""If-Match: the etag of a change, or a refusal; never a condition that nobody looks at."""

from __future__ import annotations

from typing import Any

import pytest
from timeball.errors import InvalidRequest
from timeball.v1 import schedule_service_pb2 as schedules
from timeball.v1 import task_pb2
from timeball.v1 import task_service_pb2 as tasks

from timeball_server.rest.answers import success
from timeball_server.rest.preconditions import HEADER, set_etag
from timeball_server.rest.routes import read_routes

ROUTES = {route.rpc.name: route for route in read_routes()}


@pytest.mark.parametrize(
    ("message", "method"),
    [
        (tasks.DeleteTaskRequest(), "DELETE"),
        (tasks.RescheduleTaskRequest(), "POST"),
        (schedules.UpdateScheduleRequest(), "PATCH"),
    ],
)
def test_the_header_is_the_etag_of_the_request(message: Any, method: str) -> None:
    set_etag(message, method, ' "r4" ')
    assert message.etag == "r4"
    set_etag(message, method, '"r4"')  # the same once more is no contradiction
    with pytest.raises(InvalidRequest, match="differs"):
        set_etag(message, method, '"r5"')


def test_an_update_of_a_task_says_it_in_the_task() -> None:
    message = tasks.UpdateTaskRequest()
    set_etag(message, "PATCH", '"r4"')
    assert message.task.etag == "r4"


@pytest.mark.parametrize("header", ["r4", 'W/"r4"', '"r4", "r5"', '""', ""])
def test_what_is_not_one_etag_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequest, match="in quotes") as caught:
        set_etag(tasks.DeleteTaskRequest(), "DELETE", header)
    assert caught.value.violations[0].field == HEADER


@pytest.mark.parametrize("message", [tasks.CreateTaskRequest(), tasks.CancelTaskRequest()])
def test_a_condition_that_nobody_would_look_at_is_refused(message: Any) -> None:
    with pytest.raises(InvalidRequest, match="looks at no etag"):
        set_etag(message, "POST", '"r4"')


@pytest.mark.parametrize(("method", "header"), [("DELETE", None), ("DELETE", "*"), ("GET", '"r"')])
def test_without_a_condition_nothing_is_set(method: str, header: str | None) -> None:
    message = tasks.DeleteTaskRequest() if method == "DELETE" else tasks.GetTaskRequest()
    set_etag(message, method, header)
    assert message == type(message)()


def test_answers_carry_the_etag_of_what_they_show() -> None:
    task = task_pb2.Task(name="namespaces/shop/tasks/1", etag="r3")
    assert success(ROUTES["GetTask"], tasks.GetTaskResponse(task=task)).headers["etag"] == '"r3"'
    assert "etag" not in success(ROUTES["DeleteTask"], tasks.DeleteTaskResponse()).headers
