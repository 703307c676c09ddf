"""A task that kills its executor: each time a process dies, and after three it is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import timeball
from timeball.states import TaskState, state_of
from timeball.v1 import task_pb2

from tests.support import dev_tasks
from tests.support.polls import eventually
from tests.support.servers.cassandra_nodes import CassandraCluster
from tests.support.servers.small_cluster import small_cluster
from tests.support.servers.zookeeper_nodes import ZooKeeperCluster
from tests.support.start_logs import all_starts
from tools.local_cluster import LocalCluster, coordinators

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]
PATIENCE = timedelta(seconds=120)


@pytest.fixture
def cluster(
    tmp_path: Path,
    cassandra_own: CassandraCluster,
    zookeeper_own: ZooKeeperCluster,
) -> Iterator[LocalCluster]:
    with small_cluster(tmp_path / "cluster", cassandra_own, zookeeper_own) as running:
        yield running


async def test_a_task_that_kills_its_executor_is_quarantined(cluster: LocalCluster) -> None:
    async with timeball.AsyncClient(coordinators(cluster.addresses)) as client:
        handle = await client.submit(dev_tasks.poison.prepare())

        async def ended() -> task_pb2.Task | None:
            """Its supervisor starts what has died; whoever asks meanwhile is answered."""
            await asyncio.to_thread(cluster.restart_ended)
            task = await client.get(handle.id)
            return task if state_of(task.state).is_final else None

        task = await eventually(ended, "it is given up", PATIENCE.total_seconds())
        assert state_of(task.state) is TaskState.FAILED
        assert task.cause == task_pb2.FAILURE_CAUSE_QUARANTINED
        assert [each.number for each in task.attempts] == [1, 2, 3]
        letters = [letter async for letter in client.dead_letters()]
        assert [letter.task for letter in letters] == [task.name]
        await asyncio.to_thread(cluster.restart_ended)
        after = await client.submit(dev_tasks.echo.prepare("still here"))
        assert await after.result(timeout=PATIENCE) == "still here"
    starts = all_starts(cluster.places.folder)
    assert [each.attempt for each in starts if each.task_id == handle.id] == [1, 2, 3]
