"""Watching: what a stream tells, how it is taken up again, and when that ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2
from timeball import Change, TaskState, errors
from timeball._verbs import OUTAGE_MAX_S
from timeball.v1 import task_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.sdk.conftest import Door

OTHER = "namespaces/n/tasks/" + "9" * 40
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def told(door: Door, *states: str, token: str = "", name: str = "") -> pb.WatchTasksResponse:
    response = pb.WatchTasksResponse(resume_token=token)
    for state in states:
        ended = state in ("SUCCEEDED", "CANCELLED")
        response.changes.add(name=name or door.task_name, task=door.task(state), done=ended)
    return response


def states(changes: list[Change]) -> list[TaskState | None]:
    return [change.state for change in changes]


def test_changes_come_until_the_end(door: Door) -> None:
    watching = door.start(lambda: list(door.client.watch(door.task_id)))
    stream = door.take_watch()
    assert list(stream.request.names) == [door.task_name]
    assert (stream.request.view, stream.request.resume_token) == (pb.TASK_VIEW_BASIC, "")
    assert (stream.timeout_s, stream.metadata) == (None, {"authorization": "Bearer key-1"})
    stream.say(told(door, "SCHEDULED", token="t1"))
    stream.say(told(door, "RUNNING", token="t2"))
    stream.say(told(door, "SUCCEEDED", token="t3"))
    stream.end()
    changes = door.finish(watching)
    assert states(changes) == [TaskState.SCHEDULED, TaskState.RUNNING, TaskState.SUCCEEDED]
    assert [change.done for change in changes] == [False, False, True]
    assert changes[0].id == door.task_id


@pytest.mark.parametrize("code", [UNAVAILABLE, grpc.StatusCode.OK, grpc.StatusCode.CANCELLED])
def test_a_broken_stream_is_taken_up_with_its_last_token(door: Door, code: grpc.StatusCode) -> None:
    watching = door.follow(lambda: door.client.watch([door.task_id, OTHER], full=True))
    first = door.take_watch()
    first.say(told(door, "SUCCEEDED", token="after one"))
    assert watching.next().done
    first.end(code)
    second = door.take_watch()
    assert second.request.resume_token == "after one"
    assert list(second.request.names) == [door.task_name, OTHER]
    assert second.request.view == pb.TASK_VIEW_FULL
    second.say(told(door, "CANCELLED", name=OTHER))
    second.end()
    assert [change.name for change in door.finish(watching.future)] == [door.task_name, OTHER]
    assert door.clock.slept


def test_what_is_not_there_is_a_change_with_an_error(door: Door) -> None:
    watching = door.start(lambda: list(door.client.watch([door.task_id, OTHER])))
    stream = door.take_watch()
    response = told(door, "SUCCEEDED")
    error = pb.ItemError(code="NOT_FOUND", reason="TASK_NOT_FOUND", message="none")
    response.changes.add(name=OTHER, error=error, done=True)
    stream.say(response)
    stream.end()
    last = door.finish(watching)[-1]
    assert isinstance(last.error, errors.TaskNotFound)
    assert (last.task, last.state, last.done) == (None, None, True)


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", errors.InvalidRequest),
        (grpc.StatusCode.UNAUTHENTICATED, "", errors.Unauthenticated),
    ],
)
def test_what_cannot_succeed_is_not_tried_again(
    door: Door, code: grpc.StatusCode, reason: str, expected: type[errors.TimeballError]
) -> None:
    watching = door.start(lambda: list(door.client.watch(door.task_id)))
    door.take_watch().end(code, reason)
    with pytest.raises(expected):
        door.finish(watching)


def test_who_was_too_slow_comes_back_with_its_token(
    door: Door, trailers_of: Callable[..., Any]
) -> None:
    watching = door.follow(lambda: door.client.watch(door.task_id))
    first = door.take_watch()
    first.say(told(door, "SCHEDULED", token="t1"))
    watching.next()
    hint = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=50_000_000))
    first.rpc.terminate(
        trailers_of("too slow", "WATCHER_TOO_SLOW", hint), grpc.StatusCode.RESOURCE_EXHAUSTED, ""
    )
    second = door.take_watch()
    assert second.request.resume_token == "t1"
    second.say(told(door, "CANCELLED"))
    second.end()
    assert states(door.finish(watching.future))[-1] is TaskState.CANCELLED


def test_a_service_that_stays_away_is_told_of(door: Door) -> None:
    watching = door.start(lambda: list(door.client.watch(door.task_id)))
    is_over = False
    while not is_over:
        stream = door.take_watch()
        is_over = door.time.time() > OUTAGE_MAX_S
        stream.end(UNAVAILABLE)
    with pytest.raises(errors.Unavailable):
        door.finish(watching)


def test_the_time_to_watch_is_over(door: Door) -> None:
    watching = door.follow(lambda: door.client.watch(door.task_id, timeout="5s"))
    stream = door.take_watch()
    assert stream.timeout_s == 5.0
    stream.say(told(door, "SCHEDULED"))
    watching.next()
    door.time.sleep_for(5)
    stream.end(grpc.StatusCode.DEADLINE_EXCEEDED)
    with pytest.raises(errors.WaitTimeout):
        door.finish(watching.future)


def test_a_handle_tells_where_its_task_stands(door: Door) -> None:
    making = door.start(door.client.submit, "billing.charge")
    door.take().answer(door.created())
    handle = door.finish(making)
    watching = door.start(lambda: list(handle.watch()))
    stream = door.take_watch()
    assert stream.request.view == pb.TASK_VIEW_FULL
    stream.say(told(door, "RUNNING"))
    stream.say(told(door, "SUCCEEDED"))
    stream.end()
    assert door.finish(watching) == [TaskState.RUNNING, TaskState.SUCCEEDED]
    assert handle.last_seen == door.task("SUCCEEDED")


def test_a_handle_of_nothing_raises(door: Door) -> None:
    making = door.start(door.client.submit, "billing.charge")
    door.take().answer(door.created())
    handle = door.finish(making)
    watching = door.start(lambda: list(handle.watch()))
    stream = door.take_watch()
    response = pb.WatchTasksResponse()
    error = pb.ItemError(code="NOT_FOUND", reason="TASK_NOT_FOUND", message="none")
    response.changes.add(name=door.task_name, error=error, done=True)
    stream.say(response)
    with pytest.raises(errors.TaskNotFound):
        door.finish(watching)
