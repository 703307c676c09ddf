"""What follows a failed attempt, through the public API: named delays, final kinds, ages, ends."""

from __future__ import annotations

from itertools import pairwise

import pytest
import timeball

from tests.support import dev_tasks
from tests.support.dev_server import DevServer

pytestmark = pytest.mark.asyncio
PATIENCE = "20s"
FINAL = (
    *("INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED"),
    *("UNAUTHENTICATED", "UNIMPLEMENTED", "FAILED_PRECONDITION"),
)
PASSING = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED")


async def test_a_handler_names_the_delay_before_its_next_attempt(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    hour = timeball.RetryPolicy(initial_delay="1h", max_delay="2h")
    handle = await dev_tasks.again.options(retry=hour).submit(400)
    assert await handle.result(timeout=PATIENCE) == 2
    first, second = dev.starts_of(handle.id)
    assert 400 <= second.due_ms - first.started_ms < 3_600_000


@pytest.mark.parametrize("status", [*FINAL, *PASSING])
async def test_the_status_of_an_error_says_whether_another_attempt_may_help(
    dev: DevServer, client: timeball.AsyncClient, status: str
) -> None:
    retry = timeball.RetryPolicy(max_attempts=2, initial_delay="10ms", jitter=0.0)
    handle = await dev_tasks.answer.options(retry=retry).submit(status)
    with pytest.raises(timeball.TaskFailed) as caught:
        await handle.result(timeout=PATIENCE)
    final = status in FINAL
    assert caught.value.metadata["cause"] == ("NON_RETRIABLE" if final else "EXHAUSTED")
    assert caught.value.metadata["failure_kind"] == status
    assert len(dev.starts_of(handle.id)) == (1 if final else 2)


async def test_no_attempt_starts_beyond_the_greatest_age(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    retry = timeball.RetryPolicy(
        max_attempts=100, initial_delay="100ms", coefficient=1.0, max_age="1500ms", jitter=0.0
    )
    handle = await dev_tasks.flaky.options(retry=retry).submit(99)
    with pytest.raises(timeball.TaskFailed) as caught:
        await handle.result(timeout=PATIENCE)
    assert caught.value.metadata["cause"] == "EXHAUSTED"
    task = await client.get(handle.id)
    created_ms = task.create_time.ToMilliseconds()
    assert 1 < task.attempt < 17
    assert all(start.due_ms <= created_ms + 1_500 for start in dev.starts_of(handle.id))


async def test_full_jitter_spreads_the_delays(dev: DevServer, client: timeball.AsyncClient) -> None:
    retry = timeball.RetryPolicy(max_attempts=12, initial_delay="200ms", coefficient=1.0)
    handle = await dev_tasks.flaky.options(retry=retry).submit(11)
    assert await handle.result(timeout=PATIENCE) == 12
    attempts = (await client.get(handle.id)).attempts
    delays = [
        later.due_time.ToMilliseconds() - earlier.end_time.ToMilliseconds()
        for earlier, later in pairwise(attempts)
    ]
    assert len(set(delays)) > 3
    assert min(delays) < 150


async def test_all_attempts_together_have_a_limit(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    retry = timeball.RetryPolicy(max_attempts=100, initial_delay="100ms", coefficient=1.0)
    handle = await dev_tasks.flaky.options(retry=retry, finish_within="500ms").submit(99)
    with pytest.raises(timeball.TaskFailed) as caught:
        await handle.result(timeout=PATIENCE)
    assert caught.value.metadata["cause"] == "EXPIRED"
