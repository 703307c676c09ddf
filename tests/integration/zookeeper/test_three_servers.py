"""An ensemble: what only several servers can show."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from timeball.errors import CoordinationUnavailable

from tests.support.coordination_steps import SHARD, A, member
from tests.support.polls import eventually, moment
from tests.support.servers.zookeeper_nodes import ZooKeeperCluster
from tests.support.zookeeper_worlds import ZooKeeperWorld, zookeeper_world
from timeball_server.ports.coordination import Role

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]
LONG_TIMEOUT_MS = 10_000
READS = 10


@pytest_asyncio.fixture
async def ensemble(zookeeper_three: ZooKeeperCluster) -> AsyncIterator[ZooKeeperWorld]:
    """An empty root on three servers, whole again at the end."""
    async with zookeeper_world(zookeeper_three.endpoints) as world:
        yield world
        await asyncio.to_thread(zookeeper_three.heal)


async def test_r3_a_follower_cut_off_from_its_leader_proves_nothing(
    ensemble: ZooKeeperWorld, zookeeper_three: ZooKeeperCluster
) -> None:
    """It goes on answering reads for a while; only what the leader saw may prove a session."""
    leader = zookeeper_three.leader()
    follower = next(node for node in zookeeper_three.nodes if node is not leader)
    options = ensemble.options(hosts=str(follower.address), session_timeout_ms=LONG_TIMEOUT_MS)
    session = await ensemble.open_directly(options)
    await session.join(member(A))
    others = [node for node in zookeeper_three.nodes if node is not follower]
    for node in others:
        await asyncio.to_thread(node.freeze)
    frozen_mono_ms = ensemble.clock.now().mono_ms
    for _ in range(READS):
        await moment(0.1)
        assert len(await session.members(Role.SCHEDULER_NODE)) == 1
    proven_at_mono_ms = session.proven_at_mono_ms()
    assert proven_at_mono_ms is not None
    assert proven_at_mono_ms <= frozen_mono_ms


async def test_a_session_moves_to_another_server(
    ensemble: ZooKeeperWorld, zookeeper_three: ZooKeeperCluster
) -> None:
    options = ensemble.options(session_timeout_ms=LONG_TIMEOUT_MS)
    session = await ensemble.open_directly(options)
    await session.join(member(A))
    await session.campaign()
    term, epoch = await session.term(), await session.take_ownership(SHARD)
    await asyncio.to_thread(zookeeper_three.leader().kill)

    async def look() -> bool:
        with contextlib.suppress(CoordinationUnavailable):
            await session.prove()
            return await session.term() == term
        return False

    await eventually(look, "connected to a new leader", 30)
    (held,) = await session.ownerships()
    assert held.epoch == epoch
    assert (await session.take_ownership(SHARD) or 0) > held.epoch
