from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from timeball import errors
from timeball.handle import SyncHandle
from timeball.states import TaskState, state_of
from timeball.v1 import task_pb2, task_service_pb2

if TYPE_CHECKING:
    from tests.unit.sdk.conftest import Door


def handle_of(door: Door, result_type: Any = Any) -> SyncHandle[Any]:
    return SyncHandle(door.client, door.task(), result_type)


def test_it_says_what_it_is(door: Door) -> None:
    handle = handle_of(door)
    assert repr(handle) == f"<SyncHandle {door.task_id} SCHEDULED>"
    assert (handle.id, handle.name) == (door.task_id, door.task_name)


def test_the_result_has_its_declared_type(door: Door) -> None:
    handle = handle_of(door, list[int])
    waiting = door.start(handle.result)
    door.take().answer(door.ended(b"[1,2]"))
    assert door.finish(waiting) == [1, 2]
    assert "SUCCEEDED" in repr(handle)
    waiting = door.start(handle.result)
    door.take().answer(door.ended(b'["one"]'))
    with pytest.raises(errors.FailedPrecondition, match=r"\$\[0\]"):
        door.finish(waiting)


def test_a_failed_task_tells_cause_and_last_failure(door: Door) -> None:
    waiting = door.start(handle_of(door).result)
    failure = task_pb2.Failure(kind="CardDeclined", message="no funds")
    task = door.task("FAILED", cause=task_pb2.FAILURE_CAUSE_EXHAUSTED, failure=failure, attempt=5)
    door.take().answer(task_service_pb2.WaitTaskResponse(task=task, done=True))
    with pytest.raises(errors.TaskFailed, match=r"EXHAUSTED.*CardDeclined: no funds") as caught:
        door.finish(waiting)
    assert caught.value.metadata == {
        "task": door.task_name,
        "state": "FAILED",
        "attempts": "5",
        "cause": "EXHAUSTED",
        "failure_kind": "CardDeclined",
        "failure_message": "no funds",
    }


def test_a_cancelled_task_has_no_result_either(door: Door) -> None:
    waiting = door.start(handle_of(door).result)
    task = door.task("CANCELLED")
    door.take().answer(task_service_pb2.WaitTaskResponse(task=task, done=True))
    with pytest.raises(errors.TaskFailed, match="CANCELLED"):
        door.finish(waiting)


def test_cancel_and_status(door: Door) -> None:
    handle = handle_of(door)
    asking = door.start(handle.status)
    door.take().answer(task_service_pb2.GetTaskResponse(task=door.task("RUNNING")))
    assert door.finish(asking) is TaskState.RUNNING
    cancelling = door.start(handle.cancel, reason="changed my mind")
    sent = door.take()
    assert sent.request.reason == "changed my mind"
    sent.fail(grpc.StatusCode.FAILED_PRECONDITION, "TOO_LATE")
    with pytest.raises(errors.TooLate):
        door.finish(cancelling)
    cancelling = door.start(handle.cancel)
    door.take().answer(task_service_pb2.CancelTaskResponse(task=door.task("CANCELLED")))
    assert door.finish(cancelling) is TaskState.CANCELLED
    assert handle.last_seen.state == task_pb2.TASK_STATE_CANCELLED


def test_states_are_the_api_s_and_unknown_ones_are_tolerated() -> None:
    for name, number in task_pb2.TaskState.items():
        word = name.removeprefix("TASK_STATE_").replace("UNSPECIFIED", "UNKNOWN")
        assert state_of(number) is TaskState(word)
    assert state_of(99) is TaskState.UNKNOWN
    final = {state for state in TaskState if state.is_final}
    assert final == {"SUCCEEDED", "FAILED", "CANCELLED", "TERMINATED"}
