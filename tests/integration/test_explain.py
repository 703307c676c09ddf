"""Why a task is not running, asked through the public API: each cause in a state that makes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import timeball
from timeball import AsyncClient, BlockingCause, Client, Explanation, errors
from timeball.cli.explain import lines
from timeball.registry import Handler

from tests.support import dev_tasks
from tests.support.cluster_in_process import (
    CAPPED,
    GATED,
    ClusterInProcess,
    client_of,
    cluster_in_process,
)
from tests.support.dev_server import DevServer, ExecutorServer, dev_server, ending
from tests.support.polls import eventually

pytestmark = pytest.mark.asyncio
PATIENCE = "20s"
NOBODY_S = "it.nobody"
SLOW = timeball.RetryPolicy(initial_delay="1h", coefficient=1.0, jitter=0.0)
UNEVEN = "it.uneven"
ONCE = timeball.RetryPolicy(max_attempts=1)
NODES = ("scheduler-1", "scheduler-2")


async def held_by(client: AsyncClient, task: str, cause: BlockingCause) -> Explanation:
    """The explanation, once this is what holds the task back."""
    seen: list[BlockingCause] = []

    async def look() -> Explanation | None:
        found = await client.explain(task)
        seen.append(found.blocking.cause)
        return found if found.blocking.cause is cause else None

    try:
        return await eventually(look, f"{task} is held back by {cause}")
    except AssertionError as error:
        raise AssertionError(f"{error}; it was {list(dict.fromkeys(seen))}") from None


# One node, one executor ---------------------------------------------------------------------------


async def test_not_due(client: AsyncClient) -> None:
    task = await client.submit(dev_tasks.echo.options(delay="1h").prepare("later"))
    found = await held_by(client, task.id, BlockingCause.NOT_DUE)
    assert found.name == task.name
    assert found.blocking.next_check_at is not None
    assert found.blocking.since is not None
    wait_s = (found.blocking.next_check_at - found.blocking.since).total_seconds()
    assert wait_s == pytest.approx(3600, abs=0.1)
    assert found.also == ()
    assert (await task.explain()).blocking == found.blocking


async def test_backoff(client: AsyncClient) -> None:
    task = await client.submit(dev_tasks.flaky.options(retry=SLOW).prepare(1))
    found = await held_by(client, task.id, BlockingCause.BACKOFF)
    assert found.blocking.details["error"] == "ConnectionError"
    assert found.blocking.details["attempt"] == "1"
    assert found.blocking.next_check_at is not None


async def test_running_and_ended(dev: DevServer, client: AsyncClient) -> None:
    task = await client.submit(dev_tasks.hold.prepare("explain.running"))
    found = await held_by(client, task.id, BlockingCause.RUNNING)
    assert found.blocking.details["executor"]
    assert found.blocking.since is not None
    (dev.work / "explain.running").touch()
    await task.result(timeout=PATIENCE)
    found = await held_by(client, task.id, BlockingCause.ENDED)
    assert found.blocking.details["state"] == "SUCCEEDED"


async def test_no_handler_is_told_of_what_is_not_due_either(client: AsyncClient) -> None:
    task = await client.submit(NOBODY_S)
    found = await held_by(client, task.id, BlockingCause.NO_HANDLER)
    assert found.blocking.details["handler"] == NOBODY_S
    later = await client.submit(NOBODY_S, delay="1h")
    found = await held_by(client, later.id, BlockingCause.NOT_DUE)
    assert [each.cause for each in found.also] == [BlockingCause.NO_HANDLER]


async def test_its_key_s_limit_and_its_rate(dev: DevServer, client: AsyncClient) -> None:
    wish = dev_tasks.hold.options(concurrency_key="explain").prepare("explain.key")
    first, second = await client.submit(wish), await client.submit(wish)
    await held_by(client, first.id, BlockingCause.RUNNING)
    found = await held_by(client, second.id, BlockingCause.KEY_LIMIT)
    assert found.blocking.details["key"] == "explain"
    await client.admin.set_limit("key", "explain", concurrency=2, rate="1/h")
    found = await held_by(client, second.id, BlockingCause.RATE_LIMIT)
    assert found.blocking.next_check_at is not None
    (dev.work / "explain.key").touch()
    await client.cancel(second.id)


async def test_no_label_until_an_executor_with_it_joins(
    dev: DevServer, client: AsyncClient, tmp_path: Path
) -> None:
    wish = dev_tasks.echo.options(selector={"zone": "eu"}).prepare("here")
    task = await client.submit(wish)
    found = await held_by(client, task.id, BlockingCause.NO_LABEL)
    assert found.blocking.details["label"] == "zone=eu"
    (line,) = lines(found)
    assert line.startswith(f"waits: no executor with label zone=eu serves {dev_tasks.echo.name}")
    assert line.endswith("looks again: when one joins")
    executor = ExecutorServer(tmp_path, "european")
    with ending(executor):
        await executor.start(client, dev.address, "zone=eu")
        assert await task.result(timeout=PATIENCE) == "here"
        assert executor.terminate() == 0


async def test_executors_full_and_the_lane_that_must_let_others_go(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    work = tmp_path_factory.mktemp("full")
    with dev_server(work, slots=1) as narrow:
        async with AsyncClient(narrow.address) as client:
            first = await client.submit(dev_tasks.hold.prepare("full"))
            await held_by(client, first.id, BlockingCause.RUNNING)
            second = await client.submit(dev_tasks.echo.options(priority=5).prepare("second"))
            third = await client.submit(dev_tasks.echo.options(priority=4).prepare("third"))
            found = await held_by(client, third.id, BlockingCause.EXECUTORS_FULL)
            assert found.blocking.details["ahead"] == "1"
            assert found.blocking.details["slots"] == "1"
            urgent = await client.submit(dev_tasks.echo.options(priority=9).prepare("urgent"))
            found = await held_by(client, urgent.id, BlockingCause.LANE_BUDGET)
            assert found.blocking.details["lane"] == "NINE"
            assert [each.cause for each in found.also] == [BlockingCause.EXECUTORS_FULL]
            (work / "full").touch()
            for task in (second, third, urgent):
                await task.result(timeout=PATIENCE)


async def test_the_synchronous_twin_says_the_same(dev: DevServer, client: AsyncClient) -> None:
    task = await client.submit(NOBODY_S)

    def ask() -> Explanation:
        with Client(dev.address) as twin:
            return twin.explain(task.name)

    found = await asyncio.get_running_loop().run_in_executor(None, ask)
    assert found.blocking == (await client.explain(task.id)).blocking


async def test_what_is_not_there_is_an_error(client: AsyncClient) -> None:
    task = await client.submit(dev_tasks.echo.options(delay="1h").prepare("later"))
    with pytest.raises(errors.TaskNotFound):
        await client.explain(task.id[:-4] + "0000")
    with pytest.raises(errors.TaskNotFound):
        await client.explain(task.name.replace("namespaces/default", "namespaces/other"))


# A cluster whose store, sessions and wire are the test's -----------------------------------------


@asynccontextmanager
async def cluster_on_a_leash() -> AsyncIterator[tuple[ClusterInProcess, AsyncClient]]:
    """Whatever is held is let go before the cluster ends."""
    async with cluster_in_process() as cluster, client_of(cluster) as client:
        try:
            yield cluster, client
        finally:
            cluster.leash.let_go()
            cluster.gate.set()


def gated(number: int, **options: Any) -> timeball.Submission[int]:
    return timeball.submission(GATED, {"number": number}, **options)


async def test_an_outcome_that_is_being_written() -> None:
    async with cluster_on_a_leash() as (cluster, client):
        task = await client.submit(gated(1))
        await held_by(client, task.id, BlockingCause.RUNNING)
        cluster.leash.writes.clear()
        cluster.gate.set()
        found = await held_by(client, task.id, BlockingCause.MUTATION_IN_FLIGHT)
        assert found.blocking.details["writing"] == "outcome"
        cluster.leash.let_go()
        assert await task.result(timeout=PATIENCE) == 1


async def test_a_start_in_the_making_and_a_store_that_is_away() -> None:
    async with cluster_on_a_leash() as (cluster, client):
        cluster.leash.claims.clear()
        held = await client.submit(gated(0, delay="100ms"))
        await held_by(client, held.id, BlockingCause.STARTING)
        cluster.leash.let_go()
        await held_by(client, held.id, BlockingCause.RUNNING)
        cluster.leash.claims.clear()
        made = await client.batch_submit(gated(n, delay=f"{100 + 40 * n}ms") for n in range(24))
        tasks = [task for task in made if isinstance(task, timeball.Handle)]
        assert len(tasks) == len(made)
        await held_by(client, tasks[0].id, BlockingCause.STARTING)
        cluster.leash.is_away = True
        cluster.leash.claims.set()
        found = await held_by(client, tasks[0].id, BlockingCause.STORE_UNAVAILABLE)
        assert [each.cause for each in found.also] == [BlockingCause.STARTING]
        cluster.leash.let_go()
        cluster.gate.set()
        assert [await task.result(timeout=PATIENCE) for task in tasks] == list(range(24))


async def test_an_executor_that_is_waited_for_asked_and_then_missed() -> None:
    async with cluster_on_a_leash() as (cluster, client):
        warm = await client.submit(gated(0))
        await held_by(client, warm.id, BlockingCause.RUNNING)
        cluster.executor_wire.hold()
        task = await client.submit(gated(1))
        found = await held_by(client, task.id, BlockingCause.DISPATCHED)
        assert found.blocking.details["executor"] == "executor-1"
        cancelling = asyncio.ensure_future(client.cancel(task.id))
        found = await held_by(client, task.id, BlockingCause.REVOKE_ASKED)
        assert found.blocking.since is not None
        assert [each.cause for each in found.also] == [BlockingCause.DISPATCHED]
        cluster.executor_wire.cut()
        found = await held_by(client, task.id, BlockingCause.ATTEMPT_UNRESOLVED)
        assert found.blocking.details["attempt"] == "1"
        other = await client.submit(gated(2))
        found = await held_by(client, other.id, BlockingCause.EXECUTORS_UNREACHABLE)
        assert "executor-1 has no open stream" in found.blocking.description
        cluster.executor_wire.resume()
        cluster.gate.set()
        assert await other.result(timeout=PATIENCE) == 2
        await asyncio.wait((cancelling,))
        assert isinstance(cancelling.exception(), errors.TimeballError | None)


async def test_a_handler_that_runs_as_often_as_its_cap_allows() -> None:
    async with cluster_on_a_leash() as (cluster, client):
        first = await client.submit(CAPPED, {"number": 1})
        await held_by(client, first.id, BlockingCause.RUNNING)
        second = await client.submit(CAPPED, {"number": 2})
        found = await held_by(client, second.id, BlockingCause.HANDLER_CAP)
        assert found.blocking.details["cap"] == "1"
        cluster.gate.set()
        assert await second.result(timeout=PATIENCE) == 2


async def test_an_executor_that_is_left_out_while_the_other_one_is_busy() -> None:
    async def well(hold: bool) -> None:
        if hold:
            await cluster.gate.wait()

    async def sick(hold: bool) -> None:
        raise ConnectionError("no")

    async def many_end() -> None:
        wishes = [timeball.submission(UNEVEN, {"hold": False}, retry=ONCE) for _ in range(100)]
        handles = await client.batch_submit(wishes)
        for handle in handles:
            assert isinstance(handle, timeball.Handle)
            await client.wait(handle.id, timeout=PATIENCE)

    async def look() -> Explanation | None:
        await many_end()
        held = [await client.submit(UNEVEN, {"hold": True}, retry=ONCE) for _ in range(4)]
        told = [await handle.explain() for handle in held]
        found = [each for each in told if each.blocking.cause is BlockingCause.EXECUTORS_LEFT_OUT]
        cluster.gate.set()
        for handle in held:
            await client.wait(handle.id, timeout=PATIENCE)
        cluster.gate.clear()
        return found[0] if found else None

    async with cluster_on_a_leash() as (cluster, client):
        executors = [
            cluster.another_executor(run.__name__, Handler(UNEVEN, run), slots=1)
            for run in (well, sick)
        ]
        for executor in executors:
            await executor.start()
        try:
            found = await eventually(look, "the sick one is left out", 60.0)
            assert found.blocking.details["executors"] == "sick"
            assert "of its attempts failed" in found.blocking.description
            assert [each.cause for each in found.also] == [BlockingCause.EXECUTORS_FULL]
        finally:
            cluster.gate.set()
            for executor in executors:
                await executor.stop()


async def test_an_owner_that_does_not_answer() -> None:
    async with cluster_on_a_leash() as (cluster, client):
        task = await client.submit(gated(1, delay="1h"))
        cluster.leash.reads.clear()
        found = await held_by(client, task.id, BlockingCause.OWNER_SILENT)
        assert found.blocking.details["node"] in NODES
        assert [each.cause for each in found.also] == [BlockingCause.NOT_DUE]


async def test_owners_out_of_sight_and_then_none() -> None:
    async with cluster_on_a_leash() as (cluster, client):
        task = await client.submit(NOBODY_S)
        await held_by(client, task.id, BlockingCause.NO_HANDLER)
        for node in NODES:
            cluster.cut(node)
        found = await held_by(client, task.id, BlockingCause.OWNER_SUSPENDED)
        assert BlockingCause.NO_HANDLER in [each.cause for each in found.also]
        for node in NODES:
            cluster.expire(node)
        found = await held_by(client, task.id, BlockingCause.SHARD_NOT_OWNED)
        assert found.blocking.since is not None
        for node in NODES:
            cluster.heal(node)
        await held_by(client, task.id, BlockingCause.NO_HANDLER)


async def test_a_new_owner_that_has_not_read_the_past() -> None:
    async with cluster_on_a_leash() as (cluster, client):
        task = await client.submit(NOBODY_S)
        await held_by(client, task.id, BlockingCause.NO_HANDLER)
        cluster.leash.scans.clear()
        for node in NODES:
            cluster.expire(node)
        found = await held_by(client, task.id, BlockingCause.SHARD_LOADING)
        assert found.blocking.since is not None
        cluster.leash.let_go()
        await held_by(client, task.id, BlockingCause.NO_HANDLER)
