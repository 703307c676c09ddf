"""Watching and streamed creations over real gRPC while owners and coordinators go."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable

import pytest
import timeball
from timeball import AsyncClient, Change, Handle, TaskState, errors

from tests.support.cluster_in_process import GATED, ClusterInProcess, client_of, cluster_in_process
from tests.support.polls import eventually, moment

pytestmark = pytest.mark.asyncio
PATIENCE = "60s"
COUNT = 40


def wishes(numbers: Iterable[int]) -> list[timeball.Submission[int]]:
    return [timeball.submission(GATED, {"number": number}) for number in numbers]


async def made(client: AsyncClient, count: int = COUNT) -> list[Handle[int]]:
    handles = await client.batch_submit(wishes(range(count)))
    return [handle for handle in handles if isinstance(handle, Handle)]


class Follower:
    """Watches tasks in the background and keeps what it is told."""

    def __init__(self, client: AsyncClient, names: list[str]) -> None:
        self.changes: list[Change] = []
        self.ending = asyncio.ensure_future(self._run(client, names))

    async def _run(self, client: AsyncClient, names: list[str]) -> None:
        async for change in client.watch(names, timeout=PATIENCE):
            self.changes.append(change)

    async def has_seen(self, state: TaskState, count: int) -> None:
        async def look() -> bool:
            return len({c.name for c in self.changes if c.state is state}) >= count

        await eventually(look, f"{count} tasks are {state}")

    def ends(self) -> Counter[str]:
        return Counter(change.name for change in self.changes if change.done)


async def test_every_end_is_told_although_each_owner_is_lost_in_between() -> None:
    async with cluster_in_process() as cluster, client_of(cluster) as client:
        names = [handle.name for handle in await made(client)]
        follower = Follower(client, names)
        await follower.has_seen(TaskState.RUNNING, COUNT)
        for node in ("scheduler-1", "scheduler-2"):
            cluster.expire(node)
            await eventually(cluster.settled, "every shard has an owner again")
        cluster.gate.set()
        await follower.ending
        assert follower.ends() == Counter(names)
        assert {c.state for c in follower.changes if c.done} == {TaskState.SUCCEEDED}


async def test_waits_end_although_the_owner_is_lost_in_between() -> None:
    async with cluster_in_process() as cluster, client_of(cluster) as client:
        handles = await made(client)
        results = [asyncio.ensure_future(handle.result(timeout=PATIENCE)) for handle in handles]
        await eventually(lambda: is_true(len(cluster.starts) >= COUNT), "all have started")
        cluster.expire("scheduler-1")
        cluster.gate.set()
        assert await asyncio.gather(*results) == list(range(COUNT))


async def test_a_watch_goes_on_at_another_coordinator_and_misses_no_end() -> None:
    async with cluster_in_process() as cluster, client_of(cluster) as client:
        names = [handle.name for handle in await made(client)]
        followers = [Follower(client, names) for _ in range(4)]
        for follower in followers:
            await follower.has_seen(TaskState.RUNNING, COUNT)
        cluster.wires[0].cut()
        cluster.gate.set()
        for follower in followers:
            await follower.ending
            assert set(follower.ends()) == set(names)


async def test_a_coordinator_that_stops_sends_its_watchers_on() -> None:
    async with cluster_in_process() as cluster, client_of(cluster) as client:
        names = [handle.name for handle in await made(client, 4)]
        followers = [Follower(client, names) for _ in range(4)]
        for follower in followers:
            await follower.has_seen(TaskState.RUNNING, 4)
        await cluster.coordinators[0].stop()
        cluster.gate.set()
        for follower in followers:
            await follower.ending
            assert set(follower.ends()) == set(names)


async def test_streamed_creations_survive_cut_wires_without_error_or_duplicate() -> None:
    async def trickle(cluster: ClusterInProcess) -> AsyncIterator[timeball.Submission[int]]:
        for wish in wishes(range(600)):
            if len(cluster.starts) in (100, 101, 102):
                cluster.wires[0].cut()
            await moment(0.001)
            yield wish

    async with cluster_in_process() as cluster, client_of(cluster) as client:
        cluster.gate.set()
        answers = {index: answer async for index, answer in client.submit_many(trickle(cluster))}
        assert sorted(answers) == list(range(600))
        handles = [answer for answer in answers.values() if isinstance(answer, Handle)]
        assert len({handle.name for handle in handles}) == 600
        await asyncio.gather(*(handle.result(timeout=PATIENCE) for handle in handles))
        assert Counter(cluster.starts) == Counter(range(600))


async def test_a_coordinator_that_stops_gets_no_more_calls() -> None:
    async with cluster_in_process() as cluster, client_of(cluster) as client:
        cluster.gate.set()
        stopping = asyncio.ensure_future(cluster.coordinators[0].stop())
        made_of = [await client.submit(GATED, {"number": number}) for number in range(50)]
        await stopping
        assert len({handle.name for handle in made_of}) == 50


async def test_what_is_not_there_is_an_item_and_not_the_end_of_the_stream() -> None:
    async with cluster_in_process() as cluster, client_of(cluster) as client:
        (handle,) = await made(client, 1)
        nothing = handle.name[:-1] + ("0" if handle.name[-1] != "0" else "1")
        foreign = handle.name.replace("default", "bank")
        follower = Follower(client, [handle.name, nothing, foreign])
        await follower.has_seen(TaskState.RUNNING, 1)
        cluster.gate.set()
        await follower.ending
        failed = {c.name: type(c.error) for c in follower.changes if c.error}
        assert failed == {nothing: errors.TaskNotFound, foreign: errors.TaskNotFound}
        assert follower.ends() == Counter([handle.name, nothing, foreign])


async def is_true(value: bool) -> bool:
    return value
