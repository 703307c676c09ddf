"""Tasks from creation to their end through the public SDK, over real gRPC, in `timeball dev`."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import timeball
from timeball import errors
from timeball.states import TaskState, state_of
from timeball.v1 import task_pb2

from tests.support import dev_tasks
from tests.support.dev_server import DevServer, dev_server
from tests.support.leads import at_ms, in_good_time
from tests.support.polls import eventually, until
from tests.support.start_logs import Start
from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.ids import Minute
from timeball_server.core.minting import CreateTime, mint
from timeball_server.dev.wiring import SHARDS

pytestmark = pytest.mark.asyncio
PATIENCE = "20s"
HOUR = "1h"
PULSE_MS = 500
CAUSES = task_pb2.FailureCause
OUTCOMES = task_pb2.AttemptOutcome
LAYOUT = Layout((LayoutRow(from_minute=Minute(0), shard_count=SHARDS),))


async def in_state(client: timeball.AsyncClient, task: str, state: TaskState) -> task_pb2.Task:
    async def look() -> task_pb2.Task | None:
        found = await client.get(task)
        return found if state_of(found.state) is state else None

    return await eventually(look, f"{task} is {state}")


def wall_ms() -> int:
    return round(datetime.now(UTC).timestamp() * 1000)


# When ---------------------------------------------------------------------------------------------


async def test_an_immediate_task_answers_its_typed_result(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.count.submit(["b", "a"])
    assert await handle.result(timeout=PATIENCE) == dev_tasks.Total(words=["a", "b"], count=2)
    (only,) = dev.starts_of(handle.id)
    assert only.started_ms >= only.due_ms


async def test_a_delayed_task_starts_after_its_delay_and_not_before(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    asked_ms = wall_ms()
    handle = await dev_tasks.echo.options(delay="700ms").submit("later")
    assert state_of(handle.last_seen.state) is TaskState.SCHEDULED
    assert await handle.result(timeout=PATIENCE) == "later"
    (only,) = dev.starts_of(handle.id)
    assert asked_ms + 700 <= only.due_ms <= wall_ms()
    assert only.started_ms >= only.due_ms


async def test_an_exact_instant_is_kept_to_the_millisecond(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    run_at = datetime.now(UTC) + timedelta(milliseconds=612)
    run_at = run_at.replace(microsecond=run_at.microsecond // 1000 * 1000)
    handle = await dev_tasks.echo.options(run_at=run_at).submit("exact")
    await handle.result(timeout=PATIENCE)
    (only,) = dev.starts_of(handle.id)
    assert only.due_ms == round(run_at.timestamp() * 1000)
    (attempt,) = (await client.get(handle.id)).attempts
    assert attempt.start_time.ToMilliseconds() == only.started_ms
    assert attempt.lateness.ToMilliseconds() == only.started_ms - only.due_ms


async def test_an_instant_in_the_past_means_now(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    run_at = datetime.now(UTC) - timedelta(days=30)
    handle = await dev_tasks.echo.options(run_at=run_at).submit("overdue")
    assert await handle.result(timeout=PATIENCE) == "overdue"


# How it ends --------------------------------------------------------------------------------------


async def test_two_failures_are_retried_with_raised_priority(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.flaky.submit(2)
    assert await handle.result(timeout=PATIENCE) == 3
    task = await client.get(handle.id)
    assert [each.number for each in task.attempts] == [1, 2, 3]
    assert [each.outcome for each in task.attempts] == [
        OUTCOMES.ATTEMPT_OUTCOME_FAILED,
        OUTCOMES.ATTEMPT_OUTCOME_FAILED,
        OUTCOMES.ATTEMPT_OUTCOME_SUCCEEDED,
    ]
    priorities = [each.priority for each in task.attempts]
    assert priorities == [4, 5, 6]
    assert task.attempts[0].failure.kind == "ConnectionError"
    assert "attempt 1 was not lucky" in task.attempts[0].failure.message
    assert task.attempts[0].failure.retriable
    events = [entry.event for entry in task.journal]
    assert events == [
        *("BORN_CLAIMED", "RETRY", "CLAIMED", "RETRY", "CLAIMED", "SUCCEEDED"),
    ]
    assert [entry.seq for entry in task.journal] == list(range(1, len(events) + 1))
    starts = dev.starts_of(handle.id)
    assert [(start.attempt, start.priority) for start in starts] == [(1, 4), (2, 5), (3, 6)]
    assert all(later.due_ms >= earlier.started_ms + 50 for earlier, later in pairwise(starts))


async def test_always_failing_ends_exhausted_as_a_dead_letter(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    retry = timeball.RetryPolicy(max_attempts=2, initial_delay="20ms", jitter=0.0)
    handle = await dev_tasks.flaky.options(retry=retry).submit(99)
    with pytest.raises(timeball.TaskFailed) as caught:
        await handle.result(timeout=PATIENCE)
    assert caught.value.metadata["cause"] == "EXHAUSTED"
    assert caught.value.metadata["failure_kind"] == "ConnectionError"
    task = await client.get(handle.id)
    assert state_of(task.state) is TaskState.FAILED
    assert task.cause == CAUSES.FAILURE_CAUSE_EXHAUSTED
    assert [entry.event for entry in task.journal][-1] == "DEAD"
    assert [start.attempt for start in dev.starts_of(handle.id)] == [1, 2]


async def test_a_handler_that_gives_up_is_not_called_again(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.refuse.submit("the account is closed")
    with pytest.raises(timeball.TaskFailed, match="the account is closed") as caught:
        await handle.result(timeout=PATIENCE)
    assert caught.value.metadata["cause"] == "NON_RETRIABLE"
    assert caught.value.metadata["failure_kind"] == "NO_SUCH_ACCOUNT"
    assert len(dev.starts_of(handle.id)) == 1


async def test_wrong_arguments_from_a_caller_without_the_code_are_final(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await client.submit("it.flaky", {"failures": "many"})
    with pytest.raises(timeball.TaskFailed) as caught:
        await handle.result(timeout=PATIENCE)
    assert caught.value.metadata["failure_kind"] == "INVALID_ARGUMENT"
    assert "failures" in caught.value.metadata["failure_message"]


async def test_at_most_once_runs_once_and_is_told_so(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.echo.options(at_most_once=True).submit("once")
    assert await handle.result(timeout=PATIENCE) == "once"
    task = await client.get(handle.id)
    assert task.delivery_mode == task_pb2.DELIVERY_MODE_AT_MOST_ONCE
    assert len(dev.starts_of(handle.id)) == 1


async def test_a_snoozed_attempt_does_not_count(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.snooze.submit("snoozed", 300)
    assert await handle.result(timeout=PATIENCE) == "rested"
    first, second = dev.starts_of(handle.id)
    assert second.due_ms >= first.started_ms + 300
    assert second.priority == first.priority


async def test_a_task_that_nobody_started_in_time_expires(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.echo.options(selector={"gpu": "yes"}, start_within="200ms").submit(
        "no such executor"
    )
    with pytest.raises(timeball.TaskFailed) as caught:
        await handle.result(timeout=PATIENCE)
    assert caught.value.metadata["cause"] == "EXPIRED"
    assert dev.starts_of(handle.id) == []


async def test_a_run_over_its_limit_is_cut_and_retried(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    retry = timeball.RetryPolicy(max_attempts=2, initial_delay="20ms", jitter=0.0)
    handle = await dev_tasks.hold.options(timeout="150ms", retry=retry).submit("never-opened")
    with pytest.raises(timeball.TaskFailed) as caught:
        await handle.result(timeout=PATIENCE)
    assert caught.value.metadata["cause"] == "EXHAUSTED"
    assert caught.value.metadata["failure_kind"] == "TIMEOUT"
    assert len(dev.starts_of(handle.id)) == 2


async def test_the_next_attempt_goes_on_where_the_last_one_left_off(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.copy.submit(10, then="fail")
    assert await handle.result(timeout=PATIENCE) == "attempt 2 from 5"


async def test_a_silent_handler_is_given_up_and_its_checkpoint_kept(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.copy.options(heartbeat_within="1s").submit(10, then="hang")
    assert await handle.result(timeout=PATIENCE) == "attempt 2 from 5"
    task = await client.get(handle.id)
    assert [each.failure.kind for each in task.attempts] == ["HEARTBEAT_TIMEOUT", ""]


async def test_a_handler_that_speaks_may_run_for_long_and_shows_how_far_it_is(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    long = dev_tasks.copy.options(heartbeat_within="1s")
    handle = await long.submit(8, then="copy.on")

    async def half() -> task_pb2.Task | None:
        found = await client.get(handle.id)
        return found if found.progress.note == "row 4" else None

    task = await eventually(half, "the handler says how far it is")
    assert (task.progress.fraction, task.progress.checkpoint.data) == (0.5, b"4")
    begun = task.attempts[0].start_time.ToMilliseconds()
    heard_ms = begun + 2_500

    async def still() -> task_pb2.Task | None:
        found = await client.get(handle.id)
        return found if found.progress.heartbeat_time.ToMilliseconds() > heard_ms else None

    assert (await eventually(still, "two timeouts and a half later it is heard")).attempt == 1
    assert "50 % done: row 4" in (await client.explain(handle.id)).blocking.description
    (dev.work / "copy.on").touch()
    assert await handle.result(timeout=PATIENCE) == "attempt 1 from 0"


# Cancelling ---------------------------------------------------------------------------------------


async def test_a_task_cancelled_before_its_time_never_runs(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    async def cancelled(due_ms: int) -> timeball.Handle[str]:
        made = await dev_tasks.echo.options(run_at=at_ms(due_ms)).submit("unwanted")
        assert await made.cancel(reason="changed my mind") is TaskState.CANCELLED
        return made

    due_ms, handle = await in_good_time(cancelled)
    witness = await dev_tasks.echo.options(run_at=at_ms(due_ms + 200)).submit("witness")
    with pytest.raises(timeball.TaskFailed) as caught:
        await handle.result(timeout=PATIENCE)
    assert caught.value.metadata["state"] == "CANCELLED"
    await witness.result(timeout=PATIENCE)
    assert dev.starts_of(handle.id) == []
    last = (await client.get(handle.id)).journal[-1]
    assert last.event == "CANCELLED"
    assert "changed my mind" in last.description


async def test_cancelling_again_changes_nothing_and_after_success_is_too_late(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.echo.options(delay=HOUR).submit("unwanted")
    first, again = await client.cancel(handle.id), await client.cancel(handle.id)
    assert state_of(first.state) is state_of(again.state) is TaskState.CANCELLED
    assert [entry.event for entry in (await client.get(handle.id)).journal] == [
        *("CREATED", "CANCELLED"),
    ]
    done = await dev_tasks.echo.submit("wanted")
    await done.result(timeout=PATIENCE)
    with pytest.raises(timeball.TooLate):
        await done.cancel()
    assert await done.status() is TaskState.SUCCEEDED


async def test_a_running_task_is_too_late_to_cancel_but_its_handler_hears_of_it(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.hold.submit("running")
    await in_state(client, handle.id, TaskState.RUNNING)
    with pytest.raises(timeball.TooLate):
        await handle.cancel()
    until((dev.work / "running.cancelled").exists, "the handler saw its cancellation")
    ended = await client.wait(handle.id, timeout=PATIENCE)
    assert state_of(ended.state) is TaskState.CANCELLED
    assert len(dev.starts_of(handle.id)) == 1


async def test_an_unknown_id_is_voided_by_its_cancel(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    run_at = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=30)
    request_id = uuid.uuid4()
    coming = mint(
        "default",
        request_id.bytes,
        CreateTime(run_ms=round(run_at.timestamp() * 1000)),
        resend=False,
        now_ms=wall_ms(),
        layout=LAYOUT,
    ).task_id
    with pytest.raises(errors.TaskNotFound):
        await client.cancel(coming)
    late = dev_tasks.echo.options(run_at=run_at, request_id=str(request_id))
    with pytest.raises(errors.AlreadyExists, match="was cancelled before"):
        await late.submit("too late")
    with pytest.raises(errors.TaskNotFound):
        await client.get(coming)
    same_instant = await dev_tasks.echo.options(run_at=run_at).submit("another request")
    assert same_instant.id[:10] == coming[:10]


# Saying the same thing twice ----------------------------------------------------------------------


async def test_the_same_request_makes_one_task(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    once = dev_tasks.echo.options(delay=HOUR, request_id=str(uuid.uuid4()))
    first, second = await once.submit("same"), await once.submit("same")
    assert first.id == second.id


async def test_a_request_id_with_other_content_is_refused(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    once = dev_tasks.echo.options(delay=HOUR, request_id=str(uuid.uuid4()))
    kept = await once.submit("one thing")
    with pytest.raises(errors.RequestIdReused):
        await once.submit("another thing")
    assert b"one thing" in (await client.get(kept.id)).payload.data


async def test_waiting_ends_when_patience_does(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    handle = await dev_tasks.echo.options(delay=HOUR).submit("far away")
    with pytest.raises(timeball.WaitTimeout):
        await handle.result(timeout="100ms")
    assert await handle.status() is TaskState.SCHEDULED


# Many ---------------------------------------------------------------------------------------------


async def test_lists_go_page_by_page_newest_first_and_filter(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    owner = "list-owner"
    made = [
        await dev_tasks.echo.options(delay=HOUR, owner=owner).submit(f"{number}")
        for number in range(7)
    ]
    other = await dev_tasks.count.options(delay=HOUR, owner=owner).submit([])
    await made[0].cancel()
    ids = [*(each.id for each in made), other.id]

    async def listed(**filters: object) -> list[str]:
        found = client.list(owner=owner, **filters)  # type: ignore[arg-type]
        return [task.name.rpartition("/")[2] async for task in found]

    assert await listed(page_size=3) == ids[::-1]
    assert await listed(page_size=3, limit=4) == ids[:-5:-1]
    assert await listed(handler="it.count") == [other.id]
    assert await listed(states=["CANCELLED"]) == [made[0].id]
    assert await listed(states=["SCHEDULED"], handler="it.echo") == ids[6:0:-1]
    assert await listed(created_to=datetime.now(UTC) - timedelta(hours=1)) == []
    assert [task async for task in client.list(owner="nobody")] == []


async def test_one_bad_item_of_a_batch_fails_alone(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    items = await client.batch_submit(
        [
            dev_tasks.echo.prepare("first"),
            timeball.submission("it.echo", {"value": "second"}, priority=10),
            dev_tasks.echo.prepare("third"),
        ]
    )
    first, second, third = items
    assert isinstance(first, timeball.Handle)
    assert isinstance(third, timeball.Handle)
    assert isinstance(second, errors.InvalidRequest)
    assert second.violations[0].field.endswith("task.priority")
    assert await first.result(timeout=PATIENCE) == "first"
    assert await third.result(timeout=PATIENCE) == "third"


async def test_a_full_executor_takes_the_most_urgent_first(tmp_path: Path) -> None:
    with dev_server(tmp_path, slots=1) as small:
        async with timeball.AsyncClient(small.address) as client:
            timeball.use(client)
            gate = await dev_tasks.hold.submit("gate")
            await in_state(client, gate.id, TaskState.RUNNING)
            wishes = [1, 8, 4, 7, 4, 0]
            handles = [
                await dev_tasks.echo.options(priority=wish).submit(f"{wish}") for wish in wishes
            ]
            assert {await handle.status() for handle in handles} == {TaskState.SCHEDULED}
            (tmp_path / "gate").touch()
            for handle in handles:
                await handle.result(timeout=PATIENCE)
            order = [start.task_id for start in small.starts() if start.handler == "it.echo"]
            expected = sorted(range(len(wishes)), key=lambda number: (-wishes[number], number))
            assert order == [handles[number].id for number in expected]


# Schedules ----------------------------------------------------------------------------------------


async def test_a_schedule_runs_until_it_is_deleted(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    # However slowly the runs end, none of them keeps the next one from its time.
    timing = timeball.every(f"{PULSE_MS}ms", overlap="allow(100)")
    schedule = await dev_tasks.echo.schedule("pulse", timing, "tick")

    def runs() -> list[Start]:
        return [s for s in dev.starts() if s.handler == "it.echo" and s.task_id in pulses]

    async def three_ran() -> bool:
        pulses.update(name.rpartition("/")[2] for name in (await schedule.get()).recent_tasks)
        return len(runs()) >= 3

    pulses: set[str] = set()
    await eventually(three_ran, "three occurrences ran")
    await schedule.delete()
    last = await schedule.get()
    assert last.ended
    pulses.update(name.rpartition("/")[2] for name in last.recent_tasks)
    assert len(pulses) == last.runs
    for task in sorted(pulses):
        ended = await client.wait(task, timeout=PATIENCE)
        assert state_of(ended.state) is TaskState.SUCCEEDED
        assert ended.schedule.rpartition("/")[2] == last.uid
        assert ended.labels["schedule"] == "pulse"
    due = sorted(start.due_ms for start in runs())
    assert {later - earlier for earlier, later in pairwise(due)} == {PULSE_MS}
    assert {moment % PULSE_MS for moment in due} == {0}

    # Two more nominal times pass, and a task of ours proves it.
    witness = await dev_tasks.echo.options(delay=f"{2 * PULSE_MS + 100}ms").submit("witness")
    await witness.result(timeout=PATIENCE)
    after = await schedule.get()
    assert (after.runs, set(after.recent_tasks)) == (last.runs, set(last.recent_tasks))
    later = {start.task_id for start in dev.starts() if start.due_ms > due[-1]}
    assert later == {witness.id}
