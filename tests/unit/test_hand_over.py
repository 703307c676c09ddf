"""A scheduler node that is asked to stop: its shards go where the leader wishes, before it ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from timeball.errors import Unavailable

from coordinator.leadership import Leadership, Outcome
from scheduler_node.service import SchedulerNode, SchedulerNodeConfig
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.coordination.local import LocalCoordinator, LocalSession
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.core.messages import StreamHello
from timeball_server.ports.coordination import Member, Role
from timeball_server.ports.executors import ExecutorStream
from timeball_server.store.memory import MemoryDatabase, MemoryStore

SHARDS = [ShardId(number) for number in range(4)]
SESSION_MS = 4_000


class NoExecutors:
    """A dialer that is never needed."""

    async def open(self, member: Member, hello: StreamHello) -> ExecutorStream:
        raise Unavailable(f"{member.node} is not there")


class Duo:
    """A service, a leader, and scheduler nodes by name."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.clock = VirtualClock(loop)
        self.service = LocalCoordinator(100, self.clock)
        self.database = MemoryDatabase()

    async def lead(self) -> Leadership:
        session = await self.service.connect(60_000)
        await session.join(Member(role=Role.COORDINATOR, node=NodeId("front"), address="front"))
        return Leadership(session, SHARDS, self.clock)

    async def node(self, name: str) -> SchedulerNode:
        node = SchedulerNode(
            SchedulerNodeConfig(node=NodeId(name), address=name),
            MemoryStore(self.database),
            self.connect,
            NoExecutors(),
            self.clock,
            random.Random(name),
        )
        await node.start()
        return node

    async def connect(self) -> LocalSession:
        return await self.service.connect(SESSION_MS)

    async def owners(self) -> dict[ShardId, NodeId]:
        session = await self.connect()
        found = {each.shard: each.node for each in await session.ownerships()}
        await session.close()
        return found


def on_duo(scenario: Callable[[Duo], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that plays the scenario in virtual time."""

    def test() -> None:
        run_virtual(lambda loop: scenario(Duo(loop)))

    test.__name__ = scenario.__name__
    return test


@on_duo
async def test_a_node_that_is_stopped_sees_its_shards_go_to_the_other(duo: Duo) -> None:
    leader = await duo.lead()
    leading = asyncio.create_task(leader.run())
    west, east = await duo.node("west"), await duo.node("east")
    await duo.clock.sleep_ms(1_000)
    assert sorted((await duo.owners()).values()) == ["east", "east", "west", "west"]

    begun_ms = duo.clock.now().mono_ms
    await west.hand_over()
    assert duo.clock.now().mono_ms - begun_ms < SESSION_MS // 2
    assert set((await duo.owners()).values()) <= {"east"}
    await duo.clock.sleep_ms(500)
    assert await duo.owners() == dict.fromkeys(SHARDS, "east")

    await west.stop()
    await east.stop()
    leading.cancel()
    await duo.service.close()


@on_duo
async def test_the_last_node_releases_what_nobody_else_can_take(duo: Duo) -> None:
    leader = await duo.lead()
    leading = asyncio.create_task(leader.run())
    west = await duo.node("west")
    await duo.clock.sleep_ms(1_000)
    assert await duo.owners() == dict.fromkeys(SHARDS, "west")
    begun_ms = duo.clock.now().mono_ms
    await west.hand_over()
    assert duo.clock.now().mono_ms - begun_ms < 1_000
    await west.stop()
    assert await duo.owners() == {}
    leading.cancel()
    await duo.service.close()


@on_duo
async def test_without_a_leader_shards_are_released_all_the_same(duo: Duo) -> None:
    leader = await duo.lead()
    west, east = await duo.node("west"), await duo.node("east")
    assert (await leader.run_once()).outcome is Outcome.ASSIGNED
    await duo.clock.sleep_ms(2_000)
    assert set((await duo.owners()).values()) == {"east", "west"}
    await west.hand_over()
    await west.stop()
    assert set((await duo.owners()).values()) == {"east"}
    await east.stop()
    await duo.service.close()
