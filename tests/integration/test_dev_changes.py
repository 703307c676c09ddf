"""Changes of tasks through the public SDK in `timeball dev`: every verb, and what it refuses."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import timeball
from timeball import errors
from timeball.states import TaskState, state_of
from timeball.v1 import task_pb2

from tests.support import dev_tasks
from tests.support.dev_server import ROOT, DevServer, dev_server, environment
from tests.support.leads import at_ms, in_good_time
from tests.support.polls import DEADLINE_S, eventually, wall_ms

pytestmark = pytest.mark.asyncio
PATIENCE = "20s"
HOUR = "1h"
SLOW = timeball.RetryPolicy(max_attempts=2, initial_delay=HOUR, coefficient=1.0, jitter=0.0)


def events_of(task: task_pb2.Task) -> list[str]:
    return [entry.event for entry in task.journal]


async def running(handle: timeball.Handle[str]) -> None:
    async def is_running() -> bool:
        return await handle.status() is TaskState.RUNNING

    await eventually(is_running, "it runs")


async def test_the_example_of_the_guide_runs(tmp_path: Path) -> None:
    example = str(ROOT / "examples" / "change.py")
    with dev_server(tmp_path, apps=(example,)) as server:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, example),
            env=environment(TIMEBALL_ADDRESS=server.address),
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await asyncio.wait_for(child.communicate(), DEADLINE_S)
    assert child.returncode == 0
    expected = ["somebody else was faster; read again, then decide", "7"]
    assert told.decode().splitlines() == expected


# Updates ------------------------------------------------------------------------------------------


async def test_an_update_changes_what_it_names_and_nothing_else(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    labels = {"team": "a", "desk": "7"}
    policy = timeball.RetryPolicy(max_attempts=7)
    later = dev_tasks.echo.options(delay=HOUR, labels=labels, retry=policy, timeout="9s")
    handle = await later.submit("before")
    before = await client.get(handle.id)
    assert await handle.update(priority=7, labels={"team": "b"}) is TaskState.SCHEDULED
    changed = handle.last_seen
    assert (changed.priority, changed.effective_priority) == (7, 7)
    assert dict(changed.labels) == {"team": "b"}
    assert changed.etag != before.etag
    for name in ("payload", "selector", "retry", "timeouts", "due_time", "handler", "owner"):
        assert getattr(changed, name) == getattr(before, name), name
    await handle.update(dev_tasks.echo.prepare("after"), retry=timeball.RetryPolicy(), timeout=None)
    assert handle.last_seen.retry.max_attempts == 5
    assert not handle.last_seen.timeouts.HasField("start_to_close")
    assert handle.last_seen.priority == 7
    assert events_of(handle.last_seen) == ["CREATED", "UPDATED", "UPDATED"]
    await handle.reschedule()
    assert await handle.result(timeout=PATIENCE) == "after"
    (only,) = dev.starts_of(handle.id)
    assert only.priority == 7
    assert [task.name async for task in client.list(label="team=b")] == [handle.name]
    assert [task.name async for task in client.list(label="desk=7")] == []


async def test_an_etag_that_was_overtaken_changes_nothing(client: timeball.AsyncClient) -> None:
    handle = await dev_tasks.echo.options(delay=HOUR).submit("x")
    first = handle.last_seen.etag
    await handle.update(priority=1, etag=first)
    second = handle.last_seen.etag
    for change in (
        handle.update(priority=9, etag=first),
        handle.reschedule(after="2h", etag=first),
    ):
        with pytest.raises(errors.StaleEtag) as caught:
            await change
        assert caught.value.metadata == {"state": "SCHEDULED", "etag": second}
    found = await client.get(handle.id)
    assert (found.priority, found.etag) == (1, second)
    assert await handle.reschedule(after="2h", etag=second) is TaskState.SCHEDULED
    assert handle.last_seen.etag not in (first, second)


async def test_an_update_to_what_is_so_already_leaves_the_etag(
    client: timeball.AsyncClient,
) -> None:
    handle = await dev_tasks.echo.options(delay=HOUR, priority=6).submit("x")
    before = handle.last_seen.etag
    await handle.update(priority=6)
    assert handle.last_seen.etag == before
    assert events_of(handle.last_seen) == ["CREATED"]


async def test_a_repeated_request_is_answered_and_not_done_twice(
    client: timeball.AsyncClient,
) -> None:
    handle = await dev_tasks.echo.options(delay=HOUR).submit("x")
    request_id = "0189d5f1-0000-7000-8000-000000000001"
    for _ in range(2):
        changed = await client.update(handle.id, priority=8, request_id=request_id)
    await client.update(handle.id, priority=3)
    repeated = await client.update(handle.id, priority=8, request_id=request_id)
    assert repeated.priority == 3
    assert events_of(repeated) == ["CREATED", "UPDATED", "UPDATED"]
    assert changed.priority == 8
    with pytest.raises(errors.RequestIdReused):
        await client.update(handle.id, priority=1, request_id=request_id)


async def test_a_retry_to_come_takes_the_new_arguments(client: timeball.AsyncClient) -> None:
    handle = await dev_tasks.flaky.options(retry=SLOW).submit(9)

    async def is_retrying() -> bool:
        return await handle.status() is TaskState.RETRYING

    await eventually(is_retrying, "its first attempt has failed")
    assert await handle.update({"failures": 1}) is TaskState.RETRYING
    moved = await handle.retry()
    assert moved.id == handle.id
    assert await moved.result(timeout=PATIENCE) == 2


@pytest.mark.parametrize("verb", ["update", "reschedule", "retry"])
async def test_what_runs_or_has_ended_is_too_late(
    dev: DevServer, client: timeball.AsyncClient, verb: str
) -> None:
    name = f"gate-{verb}"
    handle = await dev_tasks.hold.submit(name)
    await running(handle)
    changes = {
        "update": lambda: handle.update(priority=1),
        "reschedule": lambda: handle.reschedule(after=HOUR),
        "retry": handle.retry,
    }
    with pytest.raises(errors.TooLate, match="attempt 1") as caught:
        await changes[verb]()
    assert caught.value.metadata["state"] == "RUNNING"
    (dev.work / name).touch()
    assert await handle.result(timeout=PATIENCE) == f"{name} opened in attempt 1"
    with pytest.raises(errors.FailedPrecondition, match="SUCCEEDED") as ended:
        await changes[verb]()
    assert isinstance(ended.value, errors.TooLate) == (verb != "retry")
    assert len(dev.starts_of(handle.id)) == 1


async def test_what_an_update_cannot_change_is_refused_by_the_service(
    client: timeball.AsyncClient,
) -> None:
    handle = await dev_tasks.echo.options(delay=HOUR).submit("x")
    with pytest.raises(errors.InvalidRequest, match="priority"):
        await handle.update(priority=10)
    with pytest.raises(errors.InvalidRequest, match="another handler"):
        await handle.update(dev_tasks.refuse.prepare("x"))
    with pytest.raises(errors.InvalidRequest, match="etag"):
        await handle.update(priority=1, etag="yesterday")
    with pytest.raises(errors.InvalidRequest):
        await handle.update()
    with pytest.raises(TypeError, match="run_at"):
        await handle.update(run_at=datetime.now(UTC))  # type: ignore[call-arg]
    assert events_of(await client.get(handle.id)) == ["CREATED"]


# Other times --------------------------------------------------------------------------------------


async def test_a_task_moves_to_an_instant_and_starts_then_once(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.echo.options(delay=HOUR).submit("moved")
    due_ms = wall_ms() + 600
    assert await handle.reschedule(at=at_ms(due_ms)) is TaskState.SCHEDULED
    assert handle.last_seen.due_time.ToMilliseconds() == due_ms
    assert await handle.result(timeout=PATIENCE) == "moved"
    (only,) = dev.starts_of(handle.id)
    assert only.due_ms == due_ms
    assert only.started_ms >= due_ms
    assert events_of(await client.get(handle.id))[:2] == ["CREATED", "RESCHEDULED"]


async def test_a_task_that_is_put_off_does_not_start_before(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    async def put_off(due_ms: int) -> timeball.Handle[str]:
        made = await dev_tasks.echo.options(run_at=at_ms(due_ms)).submit("x")
        assert await made.reschedule(after=HOUR) is TaskState.SCHEDULED
        return made

    due_ms, handle = await in_good_time(put_off)
    witness = await dev_tasks.echo.options(run_at=at_ms(due_ms + 200)).submit("witness")
    await witness.result(timeout=PATIENCE)
    assert await handle.status() is TaskState.SCHEDULED
    assert dev.starts_of(handle.id) == []
    await handle.reschedule(after="1ms")
    assert await handle.result(timeout=PATIENCE) == "x"


async def test_times_that_cannot_be_meant_are_refused(client: timeball.AsyncClient) -> None:
    handle = await dev_tasks.echo.options(delay=HOUR).submit("x")
    far = datetime.now(UTC) + timedelta(days=1826)
    with pytest.raises(errors.InvalidRequest, match="1825 days"):
        await handle.reschedule(at=far)
    with pytest.raises(errors.InvalidRequest, match="not both"):
        await handle.reschedule(at=far, after=HOUR)
    with pytest.raises(errors.InvalidRequest, match="zone"):
        await handle.reschedule(at=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point


# Ends ---------------------------------------------------------------------------------------------


async def test_an_ended_task_is_deleted_for_every_reader(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.echo.options(owner="deleter").submit("x")
    await handle.result(timeout=PATIENCE)
    await handle.delete()
    for look in (
        handle.status(),
        handle.result(timeout=PATIENCE),
        handle.cancel(),
        handle.update(priority=1),
        handle.reschedule(),
        handle.retry(),
        handle.delete(),
    ):
        with pytest.raises(errors.TaskNotFound):
            await look
    (found,) = await client.get_many([handle.id])
    assert isinstance(found, errors.TaskNotFound)
    assert [task async for task in client.list(owner="deleter")] == []
    everybodys = client.list(owner="-", states=["SUCCEEDED"], page_size=1_000)
    assert handle.name not in [task.name async for task in everybodys]
    told = [change async for change in client.watch([handle.id], timeout=PATIENCE)]
    assert [(change.done, type(change.error)) for change in told] == [(True, errors.TaskNotFound)]


async def test_a_repeated_deletion_is_answered_alike(client: timeball.AsyncClient) -> None:
    handle = await dev_tasks.echo.submit("x")
    await handle.result(timeout=PATIENCE)
    for _ in range(2):
        await client.delete(handle.id, request_id="0189d5f1-0000-7000-8000-000000000002")


async def test_what_goes_on_is_not_deleted(client: timeball.AsyncClient) -> None:
    handle = await dev_tasks.echo.options(delay=HOUR).submit("x")
    with pytest.raises(errors.FailedPrecondition, match="cancel it first") as caught:
        await handle.delete()
    assert not isinstance(caught.value, errors.TooLate)
    await handle.cancel()
    with pytest.raises(errors.StaleEtag):
        await handle.delete(etag="r99")
    await handle.delete(etag=handle.last_seen.etag)


async def test_a_deleted_dead_letter_is_no_letter_and_not_redriven(
    client: timeball.AsyncClient,
) -> None:
    handle = await dev_tasks.refuse.submit("no")
    with pytest.raises(timeball.TaskFailed):
        await handle.result(timeout=PATIENCE)
    await handle.delete()
    assert handle.name not in [letter.task async for letter in client.dead_letters()]
    (result,) = await client.admin.redrive([handle.id])
    assert result.error.reason == "TASK_NOT_FOUND"


async def test_a_failed_task_is_done_again_by_a_new_one_once(
    client: timeball.AsyncClient,
) -> None:
    handle = await dev_tasks.refuse.options(labels={"desk": "7"}).submit("no")
    with pytest.raises(timeball.TaskFailed):
        await handle.result(timeout=PATIENCE)
    again = await handle.retry()
    assert again.id != handle.id
    assert again.last_seen.redrive_of == handle.name
    assert again.last_seen.labels == {"desk": "7"}
    assert (await handle.retry()).id == again.id
    with pytest.raises(timeball.TaskFailed):
        await again.result(timeout=PATIENCE)
    assert await handle.status() is TaskState.FAILED


async def test_a_cancelled_task_is_not_retried(client: timeball.AsyncClient) -> None:
    handle = await dev_tasks.echo.options(delay=HOUR).submit("x")
    await handle.cancel()
    with pytest.raises(errors.FailedPrecondition, match="CANCELLED; retry takes") as caught:
        await handle.retry()
    assert not isinstance(caught.value, errors.TooLate)


async def test_terminate_ends_what_runs_and_nothing_it_says_counts(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.hold.submit("fenced")
    await running(handle)
    assert await handle.cancel(terminate=True, reason="enough") is TaskState.TERMINATED
    (dev.work / "fenced").touch()
    ended = await client.wait(handle.id, timeout=PATIENCE)
    assert state_of(ended.state) is TaskState.TERMINATED
    assert not ended.HasField("result")
    assert len(dev.starts_of(handle.id)) == 1
    waiting = await dev_tasks.echo.options(delay=HOUR).submit("x")
    assert await waiting.cancel(terminate=True) is TaskState.TERMINATED
    assert dev.starts_of(waiting.id) == []


async def test_the_synchronous_client_says_the_same(dev: DevServer) -> None:
    await asyncio.to_thread(_say_it_synchronously, dev)


def _say_it_synchronously(dev: DevServer) -> None:
    with timeball.Client(dev.address) as client:
        handle = client.submit("it.echo", {"value": "a"}, delay=HOUR)
        assert handle.update({"value": "b"}, priority=8) is TaskState.SCHEDULED
        with pytest.raises(errors.StaleEtag):
            handle.reschedule(etag="r1")
        assert handle.reschedule(after="2h", etag=handle.last_seen.etag) is TaskState.SCHEDULED
        assert handle.retry().result(timeout=PATIENCE) == "b"
        with pytest.raises(errors.TooLate):
            handle.update(priority=1)
        handle.delete()
        with pytest.raises(errors.TaskNotFound):
            handle.status()
        other = client.submit("it.echo", {"value": "a"}, delay=HOUR)
        assert other.cancel(terminate=True) is TaskState.TERMINATED
        assert client.get(other.id).state == task_pb2.TASK_STATE_TERMINATED
