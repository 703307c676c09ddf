"""A server that is killed, restarted and frozen under living sessions."""

from __future__ import annotations

import asyncio

import pytest
from timeball.errors import CoordinationUnavailable

from tests.support.coordination_steps import SHARD, A, member
from tests.support.polls import eventually
from tests.support.servers.zookeeper_nodes import ZooKeeperCluster
from tests.support.zookeeper_worlds import ZooKeeperWorld
from timeball_server.coordination.zookeeper.session import ZooKeeperSession
from timeball_server.core.ids import NodeId
from timeball_server.ports.coordination import Role, SessionState

pytestmark = pytest.mark.asyncio
LONG_TIMEOUT_MS = 10_000
SHORT_TIMEOUT_MS = 6_000


async def reach(session: ZooKeeperSession, *states: SessionState) -> None:
    async def look() -> bool:
        return session.state in states

    await eventually(look, f"session is {states}")


async def test_a_session_survives_a_quick_restart_of_the_server(
    breakable: ZooKeeperWorld, zookeeper_own: ZooKeeperCluster
) -> None:
    (node,) = zookeeper_own.nodes
    options = breakable.options(session_timeout_ms=LONG_TIMEOUT_MS)
    session = await breakable.open_directly(options)
    incarnation = await session.join(member(A))
    await session.campaign()
    term, epoch = await session.term(), await session.take_ownership(SHARD)
    calls: list[SessionState] = []
    session.on_change(lambda: calls.append(session.state))
    await asyncio.to_thread(node.kill)
    await reach(session, SessionState.SUSPENDED)
    with pytest.raises(CoordinationUnavailable):
        await session.take_ownership(SHARD)
    await asyncio.to_thread(node.start)
    await reach(session, SessionState.CONNECTED)
    assert (await session.members(Role.SCHEDULER_NODE))[0].incarnation == incarnation
    assert await session.term() == term
    (held,) = await session.ownerships()
    assert held.epoch == epoch
    assert (await session.take_ownership(SHARD) or 0) > held.epoch
    assert SessionState.SUSPENDED in calls
    assert calls[-1] is SessionState.CONNECTED
    other = await breakable.open_directly(options)
    await other.join(member(NodeId("node-z")))
    assert len(await session.members(Role.SCHEDULER_NODE)) == 2


async def test_a_frozen_server_suspends_before_the_lease_ends(
    breakable: ZooKeeperWorld, zookeeper_own: ZooKeeperCluster
) -> None:
    (node,) = zookeeper_own.nodes
    options = breakable.options(session_timeout_ms=SHORT_TIMEOUT_MS)
    session = await breakable.open_directly(options)
    with node.frozen():
        await reach(session, SessionState.SUSPENDED)
        proven_at_mono_ms = session.proven_at_mono_ms()
        assert proven_at_mono_ms is not None
        now_mono_ms = breakable.clock.now().mono_ms
        assert now_mono_ms - proven_at_mono_ms < SHORT_TIMEOUT_MS * 2 // 3
    await reach(session, SessionState.CONNECTED, SessionState.LOST)
