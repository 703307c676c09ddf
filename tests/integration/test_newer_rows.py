"""A rollback: a newer version wrote an event that the nodes of now cannot read.

The task is held back and explained, every other one of the cluster goes on, no node ends; and when
an owner can read it, it goes on by itself.
"""

from __future__ import annotations

from typing import Any

import pytest
import timeball
from timeball import AsyncClient, BlockingCause, TaskState, errors
from timeball.states import state_of

from tests.support.cluster_in_process import GATED, ClusterInProcess, cluster_in_process
from tests.support.foreign_rows import foreign
from tests.support.polls import eventually
from timeball_server.core.ids import ShardId, TaskId, home_of
from timeball_server.core.journal import EventRow

pytestmark = pytest.mark.asyncio
PATIENCE = "20s"


def gated(number: int, **options: Any) -> timeball.Submission[int]:
    return timeball.submission(GATED, {"number": number}, **options)


async def owner_of(cluster: ClusterInProcess, shard: ShardId) -> tuple[str, int]:
    """Who owns the shard, and in which epoch; waits until somebody does."""

    async def look() -> tuple[str, int] | None:
        shards = (await cluster.coordinators[0].node.overview()).shards
        (found,) = [each for each in shards if each.shard == shard]
        return None if found.owner is None else (str(found.owner), found.epoch or 0)

    return await eventually(look, f"shard {shard} has an owner")


async def moved(cluster: ClusterInProcess, shard: ShardId) -> None:
    """The shard has been taken anew, by whomever, and nothing of it is in memory from before."""
    node, epoch = await owner_of(cluster, shard)
    cluster.expire(node)

    async def look() -> bool:
        return (await owner_of(cluster, shard))[1] > epoch

    await eventually(look, f"shard {shard} was taken again")


def write_as_newer(cluster: ClusterInProcess, task_id: TaskId) -> EventRow:
    """Make the task's head one of a newer version; what stood there."""
    head = cluster.database.journal.head(task_id)
    assert head is not None
    cluster.database.journal.add(foreign(head))
    return head


async def refused(client: AsyncClient, task: str) -> None:
    """Every way to ask for the task answers that a newer version is needed."""
    for ask in (client.get, client.cancel):
        with pytest.raises(errors.NewerVersionNeeded, match="pgrade"):
            await ask(task)
    with pytest.raises(errors.WaitTimeout):  # who waits goes on waiting: it has not ended
        await client.wait(task, timeout="1s")
    (answer,) = await client.get_many([task])
    assert isinstance(answer, errors.NewerVersionNeeded)


async def test_one_unreadable_row_holds_back_one_task_until_somebody_can_read_it() -> None:
    async with (
        cluster_in_process() as cluster,
        AsyncClient(cluster.address, deadline="2s") as client,
    ):
        task = await client.submit(gated(0, delay="15s"))
        task_id = TaskId(task.id)
        shard = home_of(task_id).shard
        row = write_as_newer(cluster, task_id)
        await moved(cluster, shard)

        async def explained() -> bool:
            found = await client.explain(task.id)
            return found.blocking.cause is BlockingCause.NEWER_VERSION_NEEDED

        await eventually(explained, "the task is explained")
        await refused(client, task.id)
        listed = {each.name: state_of(each.state) async for each in client.list()}
        assert listed == {task.name: TaskState.UNKNOWN}
        failed = [each.name async for each in client.list(states=[TaskState.FAILED])]
        assert failed == [task.name], "nobody knows, so nobody says that it did not"

        cluster.gate.set()
        others = [await client.submit(gated(number)) for number in range(1, 25)]
        assert {home_of(TaskId(each.id)).shard for each in others} >= {shard}
        assert [await each.result(timeout=PATIENCE) for each in others] == list(range(1, 25))
        assert len(await cluster.owners()) >= 1

        cluster.database.journal.add(row)  # a node of the newer version reads what it wrote
        await moved(cluster, shard)
        await client.reschedule(task.id)
        assert await task.result(timeout=PATIENCE) == 0
        assert cluster.starts.count(0) == 1
