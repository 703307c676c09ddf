"""What the verbs that change a task say to the service, and what the handles make of it."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import timeball
from click.testing import CliRunner, Result
from timeball import errors
from timeball.cli.root import root
from timeball.cli.session import Session
from timeball.handle import SyncHandle
from timeball.options import UpdateOptions, submission
from timeball.states import TaskState
from timeball.v1 import task_pb2
from timeball.v1 import task_service_pb2 as pb

if TYPE_CHECKING:
    from tests.unit.sdk.conftest import Door

REQUEST_ID = "0189d5f1-0000-7000-8000-000000000001"
AT = datetime(2030, 1, 1, tzinfo=UTC)


def handle_of(door: Door) -> SyncHandle[Any]:
    return SyncHandle(door.client, door.task(etag="r4"))


def updated(door: Door, **fields: Any) -> pb.UpdateTaskResponse:
    return pb.UpdateTaskResponse(task=door.task(etag="r5", **fields))


# Updates ------------------------------------------------------------------------------------------


def test_an_update_says_what_changes_and_nothing_else(door: Door) -> None:
    changing = door.start(
        door.client.update,
        door.task_id,
        {"user": "u2"},
        priority=0,
        labels={},
        selector={"gpu": "a"},
        retry=timeball.RetryPolicy(max_attempts=2, initial_delay="5s"),
        timeout="30s",
        etag="r4",
        request_id=REQUEST_ID,
    )
    sent = door.take()
    assert sent.method == "UpdateTask"
    request, task = sent.request, sent.request.task
    assert (task.name, task.etag, request.request_id) == (door.task_name, "r4", REQUEST_ID)
    assert sorted(request.update_mask.paths) == [
        *("labels", "payload", "priority", "retry", "selector", "timeouts"),
    ]
    assert task.payload == task_pb2.Payload(content_type="application/json", data=b'{"user":"u2"}')
    assert task.HasField("priority")
    assert (task.priority, dict(task.labels), dict(task.selector)) == (0, {}, {"gpu": "a"})
    assert (task.retry.max_attempts, task.retry.initial_delay.seconds) == (2, 5)
    assert task.timeouts.start_to_close.seconds == 30
    assert not task.timeouts.HasField("schedule_to_close")
    assert not request.resend
    sent.answer(updated(door))
    assert door.finish(changing).etag == "r5"


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ({"priority": 3}, ["priority"]),
        ({"labels": {}}, ["labels"]),
        ({"timeout": None}, ["timeouts"]),
        ({"start_within": "5s", "finish_within": None}, ["timeouts"]),
        ({"retry": timeball.RetryPolicy()}, ["retry"]),
    ],
)
def test_each_option_is_a_field_of_the_mask(
    door: Door, options: UpdateOptions, paths: list[str]
) -> None:
    changing = door.start(door.client.update, door.task_id, **options)
    sent = door.take()
    assert list(sent.request.update_mask.paths) == paths
    assert not sent.request.task.HasField("payload")
    sent.answer(updated(door))
    door.finish(changing)


def test_a_prepared_task_lends_its_arguments_alone(door: Door) -> None:
    ready = submission("billing.charge", {"user": "u2"}, priority=9, labels={"a": "b"})
    changing = door.start(handle_of(door).update, ready)
    sent = door.take()
    assert sent.request.task.payload.data == b'{"user":"u2"}'
    assert list(sent.request.update_mask.paths) == ["payload"]
    sent.answer(updated(door, priority=4))
    assert door.finish(changing) is TaskState.SCHEDULED


def test_what_cannot_be_meant_is_refused_before_anything_is_sent(door: Door) -> None:
    update: Any = door.client.update
    with pytest.raises(errors.InvalidRequest, match="say other arguments"):
        update(door.task_id)
    with pytest.raises(TypeError, match="did you mean 'priority'"):
        update(door.task_id, priorty=3)
    with pytest.raises(TypeError, match="owner"):
        update(door.task_id, owner="me")
    with pytest.raises(errors.InvalidRequest, match="soon"):
        update(door.task_id, timeout="soon")
    with pytest.raises(errors.InvalidRequest, match="task"):
        update(door.task_id, priority="high")
    with pytest.raises(errors.InvalidRequest, match="no JSON form"):
        update(door.task_id, {"user": object()})
    with pytest.raises(errors.InvalidRequest, match="another handler"):
        handle_of(door).update(submission("billing.refund"))
    with pytest.raises(errors.InvalidRequest, match="not both"):
        door.client.reschedule(door.task_id, at=AT, after="1s")
    with pytest.raises(errors.InvalidRequest, match="zone"):
        door.client.reschedule(door.task_id, at=AT.replace(tzinfo=None))
    assert door.channel.calls.empty()


def test_a_repetition_has_the_same_request_id_and_says_so(door: Door) -> None:
    for verb, answer in (
        (lambda: door.client.update(door.task_id, priority=1), updated(door)),
        (lambda: door.client.reschedule(door.task_id), pb.RescheduleTaskResponse(task=door.task())),
        (lambda: door.client.delete(door.task_id), pb.DeleteTaskResponse()),
        (lambda: door.client.retry(door.task_id), pb.RetryTaskResponse(task=door.task())),
    ):
        calling = door.start(verb)
        first = door.take()
        first.fail(grpc.StatusCode.DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN")
        second = door.take()
        assert (first.request.resend, second.request.resend) == (False, True)
        assert first.request.request_id == second.request.request_id != ""
        second.answer(answer)
        door.finish(calling)


def test_an_overtaken_etag_is_not_tried_again(door: Door) -> None:
    changing = door.start(door.client.update, door.task_id, priority=1, etag="r1")
    door.take().fail(grpc.StatusCode.ABORTED, "STALE_ETAG")
    with pytest.raises(errors.StaleEtag):
        door.finish(changing)
    assert door.clock.slept == []


# Handles ------------------------------------------------------------------------------------------


def test_a_handle_remembers_what_its_task_became(door: Door) -> None:
    handle = handle_of(door)
    changing = door.start(handle.update, priority=8, etag=handle.last_seen.etag)
    sent = door.take()
    assert sent.request.task.etag == "r4"
    sent.answer(updated(door, priority=8))
    assert door.finish(changing) is TaskState.SCHEDULED
    assert (handle.last_seen.etag, handle.last_seen.priority) == ("r5", 8)
    moving = door.start(handle.reschedule, at=AT, etag="r5")
    sent = door.take()
    assert sent.request.run_time.ToDatetime(tzinfo=UTC) == AT
    assert (sent.request.etag, sent.request.WhichOneof("when")) == ("r5", "run_time")
    sent.answer(pb.RescheduleTaskResponse(task=door.task(etag="r6")))
    door.finish(moving)
    assert handle.last_seen.etag == "r6"
    moving = door.start(handle.reschedule, after="90s")
    sent = door.take()
    assert sent.request.delay.seconds == 90
    sent.answer(pb.RescheduleTaskResponse(task=door.task()))
    door.finish(moving)
    deleting = door.start(handle.delete, etag="r6")
    sent = door.take()
    assert (sent.method, sent.request.name, sent.request.etag) == (
        *("DeleteTask", door.task_name, "r6"),
    )
    sent.answer(pb.DeleteTaskResponse())
    assert door.finish(deleting) is None


def test_a_retry_answers_a_handle_of_the_same_type(door: Door) -> None:
    handle = SyncHandle[int](door.client, door.task("FAILED"), int)
    retrying = door.start(handle.retry)
    new = task_pb2.Task(name=door.task_name[:-1] + "z", redrive_of=door.task_name)
    door.take().answer(pb.RetryTaskResponse(task=new))
    again = door.finish(retrying)
    assert (again.name, again.last_seen.redrive_of) == (new.name, handle.name)
    waiting = door.start(again.result)
    door.take().answer(door.ended(b'"no number"'))
    with pytest.raises(errors.FailedPrecondition):
        door.finish(waiting)


def test_a_cancel_may_terminate(door: Door) -> None:
    handle = handle_of(door)
    for terminate, state in ((False, TaskState.CANCELLED), (True, TaskState.TERMINATED)):
        cancelling = door.start(handle.cancel, terminate=terminate)
        sent = door.take()
        assert sent.request.terminate is terminate
        sent.answer(pb.CancelTaskResponse(task=door.task(state)))
        assert door.finish(cancelling) is state


class Answers:
    """A channel for coroutines that answers every call and keeps the requests."""

    def __init__(self, door: Door) -> None:
        self.task = door.task(etag="r5")
        self.requests: list[Any] = []

    def unary_unary(self, path: str, **_: Any) -> Any:
        kind = getattr(pb, path.rpartition("/")[2] + "Response")

        async def call(request: Any, **_: Any) -> Any:
            self.requests.append(request)
            return kind(task=self.task) if "task" in kind.DESCRIPTOR.fields_by_name else kind()

        return call


def test_the_asynchronous_twin_says_the_same(door: Door) -> None:
    answers = Answers(door)

    async def main() -> None:
        channel: Any = answers
        client = timeball.AsyncClient("service:1", namespace="n", channel=channel)
        handle = timeball.Handle[int](client, door.task(etag="r4"), int)
        assert await handle.update({"a": 1}, priority=2, etag="r4") is TaskState.SCHEDULED
        assert handle.last_seen.etag == "r5"
        assert await handle.reschedule(after="1s") is TaskState.SCHEDULED
        await handle.delete(etag="r5")
        assert (await handle.retry()).name == door.task_name
        assert await handle.cancel(terminate=True) is TaskState.SCHEDULED
        with pytest.raises(errors.InvalidRequest, match="another handler"):
            await handle.update(submission("billing.refund"))

    asyncio.run(main())
    update, move, delete, retry, cancel = answers.requests
    assert (list(update.update_mask.paths), update.task.etag) == (["payload", "priority"], "r4")
    assert (move.delay.seconds, delete.etag, cancel.terminate) == (1, "r5", True)
    assert retry.name == door.task_name


# The command line ---------------------------------------------------------------------------------


def run(door: Door, *arguments: str, stdin: str | None = None) -> Future[Result]:
    session = Session(connect=lambda _: door.client)
    return door.start(CliRunner().invoke, root, list(arguments), obj=session, input=stdin)


def test_update_says_what_its_options_say(door: Door) -> None:
    running = run(
        door,
        *("task", "update", door.task_id, "--payload", "-", "--priority", "7"),
        *("--label", "team=billing", "--clear", "selector", "--max-attempts", "3"),
        *("--attempt-timeout", "30s", "--etag", "r4", "--request-id", REQUEST_ID),
        stdin='{"user": "u2"}',
    )
    sent = door.take()
    task = sent.request.task
    assert (task.payload.data, task.priority) == (b'{"user":"u2"}', 7)
    assert (dict(task.labels), dict(task.selector)) == ({"team": "billing"}, {})
    assert (task.retry.max_attempts, task.timeouts.start_to_close.seconds) == (3, 30)
    assert (task.etag, sent.request.request_id) == ("r4", REQUEST_ID)
    assert set(sent.request.update_mask.paths) == {
        *("payload", "priority", "labels", "selector", "retry", "timeouts"),
    }
    sent.answer(updated(door, priority=7))
    result = door.finish(running)
    assert result.exit_code == 0
    assert door.task_id in result.stdout


def test_cleared_fields_go_back_to_their_defaults(door: Door) -> None:
    words = [word for each in ("labels", "retry", "limits") for word in ("--clear", each)]
    running = run(door, "task", "update", door.task_id, *words, "-o", "json")
    sent = door.take()
    assert list(sent.request.update_mask.paths) == ["labels", "retry", "timeouts"]
    assert sent.request.task.retry == task_pb2.RetryPolicy()
    assert sent.request.task.timeouts == task_pb2.Timeouts()
    sent.answer(updated(door))
    assert json.loads(door.finish(running).stdout)["etag"] == "r5"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("update", "x"), "say other arguments"),
        (("update", "x", "--payload", "[1]"), "JSON"),
        (("update", "x", "--clear", "owner"), "owner"),
        (("update", "x", "--label", "nothing"), "KEY=VALUE"),
        (("update", "x", "--attempt-timeout", "soon"), "soon"),
        (("reschedule", "x", "--at", "tomorrow"), "tomorrow"),
        (("reschedule", "x", "--at", "2030-01-01T00:00:00Z", "--in", "1s"), "not both"),
        (("reschedule",), "ID"),
        (("retry",), "ID"),
        (("delete",), "ID"),
        (("delete", "x"), "--yes"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_nothing_is_sent(
    door: Door, arguments: tuple[str, ...], words: str
) -> None:
    result = door.finish(run(door, "task", *arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert door.channel.calls.empty()


def test_what_became_of_each_of_several_is_told(door: Door) -> None:
    running = run(door, "task", "delete", "a", "b", "c", "--yes", "-o", "json")
    door.take().answer(pb.DeleteTaskResponse())
    door.take().fail(grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND", message="not there")
    door.take().answer(pb.DeleteTaskResponse())
    result = door.finish(running)
    assert result.exit_code == 3
    assert json.loads(result.stdout) == {
        "results": [
            {"name": "a"},
            {"name": "b", "error": {"reason": "TASK_NOT_FOUND", "message": "not there"}},
            {"name": "c"},
        ]
    }


def test_an_error_that_is_not_about_one_task_ends_the_rest(door: Door) -> None:
    running = run(door, "task", "retry", "a", "b", "c")
    door.take().answer(pb.RetryTaskResponse(task=door.task()))
    door.take().fail(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", message="not you")
    result = door.finish(running)
    assert result.exit_code == 4
    _, first, second = result.stdout.splitlines()
    assert first.split() == ["a", door.task_id, "SCHEDULED", "-"]
    assert "not you" in second
    assert door.channel.calls.empty()


def test_cancel_may_terminate_on_the_command_line(door: Door) -> None:
    running = run(door, "task", "cancel", door.task_id, "--terminate")
    sent = door.take()
    assert sent.request.terminate
    sent.answer(pb.CancelTaskResponse(task=door.task("TERMINATED")))
    assert "TERMINATED" in door.finish(running).stdout


def test_help_names_every_verb(door: Door) -> None:
    told = door.finish(run(door, "task", "--help")).stdout
    for verb in ("create", "cancel", "update", "reschedule", "retry", "delete"):
        assert verb in told
