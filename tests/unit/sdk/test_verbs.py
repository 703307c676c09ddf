"""What each verb says to the service and makes of its answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from timeball import errors
from timeball._verbs import BATCH_BYTES_MAX, BATCH_ITEMS_MAX, OUTAGE_MAX_S, WAIT_MARGIN_S, chunks
from timeball.handle import SyncHandle
from timeball.options import submission
from timeball.timings import every
from timeball.v1 import admin_service_pb2, schedule_service_pb2, task_pb2, task_service_pb2

if TYPE_CHECKING:
    from tests.unit.sdk.conftest import Door

SCHEDULE_NAME = "namespaces/n/schedules/0123456789abcdefghijklmnopqrstuvwxyz0123"


def not_yet(door: Door) -> task_service_pb2.WaitTaskResponse:
    return task_service_pb2.WaitTaskResponse(task=door.task("RUNNING"))


def test_waiting_goes_on_round_by_round_until_the_end(door: Door) -> None:
    waiting = door.start(door.client.wait, door.task_id)
    for _ in range(3):
        sent = door.take()
        assert sent.request.timeout.seconds == 30
        assert sent.timeout_s == 30 + WAIT_MARGIN_S
        door.time.sleep_for(30)
        sent.answer(not_yet(door))
    door.take().answer(door.ended())
    assert door.finish(waiting).state == task_pb2.TASK_STATE_SUCCEEDED
    assert door.clock.slept == []


def test_a_broken_wait_is_taken_up_again(door: Door) -> None:
    waiting = door.start(door.client.wait, door.task_id, timeout="5m")
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        door.take().fail(code)
    sent = door.take()
    assert sent.request.name == door.task_name
    sent.answer(door.ended())
    assert door.finish(waiting).state == task_pb2.TASK_STATE_SUCCEEDED
    assert len(door.clock.slept) == 2


def test_a_wait_outlives_an_outage_but_not_a_long_one(door: Door) -> None:
    waiting = door.start(door.client.wait, door.task_id)
    for _ in range(3):
        sent = door.take()
        door.time.sleep_for(OUTAGE_MAX_S - 5)
        sent.fail(grpc.StatusCode.UNAVAILABLE)
        door.take().answer(not_yet(door))
    sent = door.take()
    door.time.sleep_for(OUTAGE_MAX_S + 1)
    sent.fail(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(errors.Unavailable):
        door.finish(waiting)


def test_patience_ends_with_wait_timeout_and_the_last_round_is_short(door: Door) -> None:
    waiting = door.start(door.client.wait, door.task_id, timeout="40s")
    first = door.take()
    door.time.sleep_for(30)
    first.answer(not_yet(door))
    second = door.take()
    assert second.request.timeout.seconds == 10
    door.time.sleep_for(10)
    second.answer(not_yet(door))
    with pytest.raises(errors.WaitTimeout, match="goes on"):
        door.finish(waiting)


def test_patience_that_ends_in_an_outage_names_it(door: Door) -> None:
    waiting = door.start(door.client.wait, door.task_id, timeout="4s")
    sent = door.take()
    door.time.sleep_for(4)
    sent.fail(grpc.StatusCode.UNAVAILABLE, message="went away")
    with pytest.raises(errors.WaitTimeout, match="went away"):
        door.finish(waiting)


def test_a_server_that_answers_too_early_is_not_asked_in_a_loop(door: Door) -> None:
    waiting = door.start(door.client.wait, door.task_id)
    door.take().answer(not_yet(door))
    door.take().answer(door.ended())
    door.finish(waiting)
    assert door.clock.slept == [0.1]


def test_a_wait_for_what_does_not_exist_ends_at_once(door: Door) -> None:
    waiting = door.start(door.client.wait, door.task_id)
    door.take().fail(grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
    with pytest.raises(errors.TaskNotFound):
        door.finish(waiting)


def test_pages_are_read_as_they_are_needed(door: Door) -> None:
    since = datetime(2030, 1, 1, tzinfo=UTC)
    found = door.client.list(
        owner="accounts", handler="billing.charge", states=["failed"], created_from=since,
        label="team=billing", due_to=since,
        page_size=2,
    )  # fmt: skip
    assert door.channel.calls.empty()
    first = door.start(lambda: [next(found), next(found)])
    sent = door.take()
    assert sent.request.parent == "namespaces/n"
    assert sent.request.owner == "accounts"
    assert sent.request.handler == "billing.charge"
    assert list(sent.request.states) == [task_pb2.TASK_STATE_FAILED]
    assert sent.request.created_from.ToDatetime(tzinfo=UTC) == since
    assert sent.request.label == "team=billing"
    assert sent.request.due_to.ToDatetime(tzinfo=UTC) == since
    assert not sent.request.HasField("due_from")
    assert (sent.request.page_size, sent.request.page_token) == (2, "")
    page = task_service_pb2.ListTasksResponse(tasks=[door.task()] * 2, next_page_token="two")
    sent.answer(page)
    assert len(door.finish(first)) == 2
    assert door.channel.calls.empty()
    rest = door.start(lambda: list(found))
    second = door.take()
    assert second.request.page_token == "two"
    second.answer(task_service_pb2.ListTasksResponse(tasks=[door.task()]))
    assert len(door.finish(rest)) == 1


def test_a_limit_stops_paging(door: Door) -> None:
    reading = door.start(lambda: list(door.client.list(limit=1)))
    page = task_service_pb2.ListTasksResponse(tasks=[door.task()] * 2, next_page_token="more")
    door.take().answer(page)
    assert len(door.finish(reading)) == 1
    assert door.channel.calls.empty()


def test_an_unknown_state_is_refused_before_anything_is_sent(door: Door) -> None:
    with pytest.raises(errors.InvalidRequest, match="SUCCEEDED"):
        door.client.list(states=["finished"])


def test_items_of_a_batch_succeed_or_fail_by_themselves(door: Door) -> None:
    making = door.start(
        door.client.batch_submit, [submission("a", {"n": 1}), submission("b", {"n": 2})]
    )
    door.take().fail(grpc.StatusCode.UNAVAILABLE)
    sent = door.take()
    assert [each.resend for each in sent.request.requests] == [True, True]
    assert len({each.request_id for each in sent.request.requests}) == 2
    refused = task_service_pb2.ItemError(code="INVALID_ARGUMENT", message="no such name")
    results = [{"task": door.task()}, {"error": refused}]
    sent.answer(
        task_service_pb2.BatchCreateTasksResponse(
            results=[task_service_pb2.CreateResult(**each) for each in results]  # type: ignore[arg-type]
        )
    )
    good, bad = door.finish(making)
    assert isinstance(good, SyncHandle)
    assert isinstance(bad, errors.InvalidRequest)


def test_a_chunk_that_fails_later_does_not_hide_what_was_made(door: Door) -> None:
    count = BATCH_ITEMS_MAX + 1
    making = door.start(door.client.batch_submit, [submission("a")] * count)
    sent = door.take()
    made = task_service_pb2.CreateResult(task=door.task())
    sent.answer(task_service_pb2.BatchCreateTasksResponse(results=[made] * BATCH_ITEMS_MAX))
    door.take().fail(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    results = door.finish(making)
    assert len(results) == count
    assert isinstance(results[-1], errors.PermissionDenied)
    assert all(isinstance(each, SyncHandle) for each in results[:-1])


def test_a_batch_of_which_nothing_was_made_raises(door: Door) -> None:
    assert door.client.batch_submit([]) == []
    making = door.start(door.client.batch_submit, [submission("a")])
    door.take().fail(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    with pytest.raises(errors.Unauthenticated):
        door.finish(making)


@pytest.mark.parametrize("size", [10, 600_000])
def test_chunks_respect_number_and_size_and_lose_nothing(size: int) -> None:
    data = b"x" * size
    count = 2_500 if size == 10 else 20
    requests = [
        task_service_pb2.CreateTaskRequest(
            request_id=str(number), task=task_pb2.Task(payload=task_pb2.Payload(data=data))
        )
        for number in range(count)
    ]
    parts = list(chunks(requests))
    assert [each for part in parts for each in part] == requests
    assert max(map(len, parts)) <= BATCH_ITEMS_MAX
    assert max(sum(each.ByteSize() for each in part) for part in parts) <= BATCH_BYTES_MAX


def test_many_are_read_a_thousand_at_a_time_each_by_itself(door: Door) -> None:
    wanted = [door.task_id] * (BATCH_ITEMS_MAX + 1)
    reading = door.start(door.client.get_many, iter(wanted), full=True)
    for length in (BATCH_ITEMS_MAX, 1):
        sent = door.take()
        assert list(sent.request.names) == [door.task_name] * length
        assert sent.request.view == task_service_pb2.TASK_VIEW_FULL
        missing = task_service_pb2.ItemError(code="NOT_FOUND", reason="TASK_EXPIRED", message="m")
        results = [task_service_pb2.GetResult(task=door.task("RUNNING"))] * (length - 1)
        results.append(task_service_pb2.GetResult(error=missing))
        sent.answer(task_service_pb2.BatchGetTasksResponse(results=results))
    found = door.finish(reading)
    assert len(found) == len(wanted)
    assert isinstance(found[-1], errors.TaskExpired)
    assert isinstance(found[0], task_pb2.Task)


def test_a_schedule_is_created_read_and_deleted(door: Door) -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    interval = every(timedelta(seconds=2), phase="500ms", start=start, max_runs=3)
    making = door.start(
        door.client.create_schedule, interval, "billing.charge", {"user": "u1"}, title="nightly"
    )
    sent = door.take()
    schedule = sent.request.schedule
    assert schedule.interval.every.seconds == 2
    assert schedule.interval.phase.nanos == 500_000_000
    assert schedule.start_time.ToDatetime(tzinfo=UTC) == start
    assert not schedule.HasField("end_time")
    assert schedule.max_runs == 3
    assert schedule.task.labels == {"schedule": "nightly"}
    assert sent.request.request_id
    made = schedule_service_pb2.Schedule(name=SCHEDULE_NAME)
    sent.answer(schedule_service_pb2.CreateScheduleResponse(schedule=made))
    handle = door.finish(making)
    assert "active" in repr(handle)

    reading = door.start(handle.get)
    sent = door.take()
    assert sent.request.name == SCHEDULE_NAME
    made.ended = True
    sent.answer(schedule_service_pb2.GetScheduleResponse(schedule=made))
    assert door.finish(reading).ended
    assert "ended" in repr(handle)

    ending = door.start(handle.delete)
    sent = door.take()
    assert sent.request.request_id
    sent.answer(schedule_service_pb2.DeleteScheduleResponse())
    door.finish(ending)


def test_a_schedule_s_task_has_no_time_of_its_own(door: Door) -> None:
    with pytest.raises(errors.InvalidRequest, match="delay"):
        door.client.create_schedule(every("2s"), "billing.charge", delay="1s")


def test_the_cluster(door: Door) -> None:
    asking = door.start(door.client.cluster)
    door.take().answer(admin_service_pb2.GetClusterResponse(leader="coordinator-1"))
    assert door.finish(asking).leader == "coordinator-1"


def test_draining_a_node(door: Door) -> None:
    draining = door.start(door.client.drain_node, "scheduler-1")
    sent = door.take()
    assert sent.request.node == "scheduler-1"
    assert sent.request.request_id
    node = admin_service_pb2.Node(name="scheduler-1", draining=True)
    sent.answer(admin_service_pb2.DrainNodeResponse(node=node))
    assert door.finish(draining) == node


def test_dead_letters_are_read_page_by_page(door: Door) -> None:
    begin = datetime(2030, 1, 1, tzinfo=UTC)

    def read() -> list[str]:
        found = door.client.dead_letters(failed_from=begin, page_size=2, limit=3)
        return [letter.handler for letter in found]

    reading = door.start(read)
    letters = [admin_service_pb2.DeadLetter(handler=name) for name in "abcd"]
    first = door.take()
    assert (first.request.page_size, first.request.page_token) == (2, "")
    assert first.request.failed_from.seconds == int(begin.timestamp())
    assert not first.request.HasField("failed_to")
    first.answer(
        admin_service_pb2.ListDeadLettersResponse(dead_letters=letters[:2], next_page_token="t")
    )
    second = door.take()
    assert second.request.page_token == "t"
    second.answer(
        admin_service_pb2.ListDeadLettersResponse(dead_letters=letters[2:], next_page_token="u")
    )
    assert door.finish(reading) == ["a", "b", "c"]
