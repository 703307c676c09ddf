"""The coordinator's life: joining, leading, losing its session, and what operators see."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest
from timeball.errors import AlreadyExists, CoordinationUnavailable

from coordinator.node import REJOIN_MS, CoordinatorConfig, CoordinatorNode, CoordinatorPorts
from tests.support.fake_owners import LAYOUT, Rig, on_rig
from timeball_server.coordination.local import LocalSession
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.ports.coordination import CoordinationSession, Role, SessionState
from timeball_server.runtime.lifecycle import Phase

CONFIG = CoordinatorConfig(node=NodeId("front"), address="front:1", version="1.2.3")


class Front:
    """A coordinator on a rig, with the sessions it opened and the terms it led in."""

    def __init__(self, rig: Rig, config: CoordinatorConfig = CONFIG) -> None:
        self.rig = rig
        self.sessions: list[LocalSession] = []
        self.led: list[CoordinationSession] = []
        self.refuse = 0
        ports = CoordinatorPorts(
            store=rig.store,
            connect=self.connect,
            dialer=rig.dialer,
            clock=rig.clock,
            lead=self.lead,
            entropy=Random(1),
        )
        self.node = CoordinatorNode(config, ports, LAYOUT)

    async def connect(self) -> LocalSession:
        if self.refuse:
            self.refuse -= 1
            raise CoordinationUnavailable("not now")
        self.sessions.append(await self.rig.service.connect(3_000))
        return self.sessions[-1]

    async def lead(self, session: CoordinationSession) -> None:
        """Stand by until the session is lost."""
        self.led.append(session)
        over = asyncio.Event()
        session.on_change(lambda: over.set() if session.state is SessionState.LOST else None)
        await over.wait()


async def coordinators(rig: Rig) -> list[str]:
    session = await rig.service.connect(10_000)
    return [member.node for member in await session.members(Role.COORDINATOR)]


@on_rig
async def test_it_is_a_member_from_start_to_stop(rig: Rig) -> None:
    front = Front(rig)
    await front.node.start()
    assert await coordinators(rig) == ["front"]
    await front.node.stop()
    assert await coordinators(rig) == []
    assert front.node.phase is Phase.STOPPED


@on_rig
async def test_a_second_one_of_its_name_does_not_start(rig: Rig) -> None:
    first, second = Front(rig), Front(rig)
    await first.node.start()
    with pytest.raises(AlreadyExists):
        await second.node.start()
    assert second.sessions[-1].state is SessionState.LOST
    assert await coordinators(rig) == ["front"]
    await first.node.stop()


@on_rig
async def test_started_again_at_once_it_waits_for_the_end_of_its_earlier_life(rig: Rig) -> None:
    earlier, again = Front(rig), Front(rig)
    await earlier.node.start()
    starting = asyncio.create_task(again.node.start())
    await rig.clock.sleep_ms(1_000)
    assert not starting.done()
    rig.service.expire(earlier.sessions[-1])
    await starting
    assert await coordinators(rig) == ["front"]
    assert len(again.sessions) == 1
    await again.node.stop()
    await earlier.node.stop()


@on_rig
async def test_a_lost_session_is_followed_by_another(rig: Rig) -> None:
    front = Front(rig)
    await front.node.start()
    front.refuse = 3
    rig.service.expire(front.sessions[-1])
    await rig.clock.sleep_ms(4 * REJOIN_MS)
    assert await coordinators(rig) == ["front"]
    assert front.led == front.sessions
    assert len(front.sessions) == 2
    await front.node.stop()


@on_rig
async def test_routes_follow_the_new_session(rig: Rig) -> None:
    front = Front(rig)
    await front.node.start()
    rig.service.expire(front.sessions[-1])
    await rig.clock.sleep_ms(100)
    await rig.node("west", 0)
    await rig.clock.sleep_ms(1)
    target = await front.node.router.target(ShardId(0))
    assert target is not None
    assert target.node == "west"
    await front.node.stop()


@on_rig
async def test_the_overview_shows_members_shards_and_wishes(rig: Rig) -> None:
    front = Front(rig)
    await front.node.start()
    await rig.node("west", 0, 1)
    session = front.sessions[-1]
    await session.campaign()
    term = await session.term()
    assert term is not None
    west = NodeId("west")
    await session.write_assignment(
        term, 0, {ShardId(0): west, ShardId(2): west}, {ShardId(2): "new"}
    )
    overview = await front.node.overview()
    assert [member.node for member in overview.members] == ["front", "west"]
    assert (overview.leader, overview.assignment_version) == ("front", 1)
    assert [(each.owner, each.assigned, each.reason) for each in overview.shards] == [
        ("west", "west", ""),
        ("west", None, ""),
        (None, "west", "new"),
        (None, None, ""),
    ]
    await front.node.stop()


@on_rig
async def test_without_a_session_there_is_no_overview(rig: Rig) -> None:
    front = Front(rig, replace(CONFIG, node=NodeId("late")))
    with pytest.raises(CoordinationUnavailable):
        await front.node.overview()
    await front.node.start()
    front.sessions[-1].cut()
    with pytest.raises(CoordinationUnavailable):
        await front.node.overview()
    await front.node.stop()
