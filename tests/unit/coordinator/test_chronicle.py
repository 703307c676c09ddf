"""What the leader notes of the cluster's own life, and that nobody else does."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from timeball.errors import CoordinationUnavailable

from coordinator.audit import Auditor
from coordinator.chronicle import Chronicle
from coordinator.overview import Overview, ShardOverview
from tests.support.manual_clock import START_WALL_MS, ManualClock
from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId
from timeball_server.ports.coordination import Member, Role
from timeball_server.store.memory_access import AccessTables, MemoryAccess

pytestmark = pytest.mark.asyncio
ME, OTHER = NodeId("front"), NodeId("back")
WEST = Member(
    role=Role.SCHEDULER_NODE, node=NodeId("west"), address="west:1", incarnation=Incarnation(7)
)
SHARD = ShardOverview(
    shard=ShardId(3), owner=WEST.node, epoch=Epoch(9), assigned=WEST.node, reason="first"
)
CALM = Overview(members=(WEST,), leader=ME, assignment_version=1, shards=(SHARD,))


class World:
    def __init__(self) -> None:
        self.access = MemoryAccess(AccessTables())
        self.clock = ManualClock()
        self.auditor = Auditor(self.access, self.clock, random.Random(7))
        self.now: Overview | None = CALM
        self.chronicle = Chronicle(ME, self.overview, self.auditor, self.clock)

    async def overview(self) -> Overview:
        if self.now is None:
            raise CoordinationUnavailable("away")
        return self.now

    async def noted(self, *looks: Overview | None) -> list[tuple[str, str, str]]:
        """What the audit log has after these looks, oldest first."""
        for self.now in looks:
            self.clock.advance(1)
            await self.chronicle.look()
        await self.auditor.flush()
        day = START_WALL_MS // 86_400_000
        rows = (await self.access.list_audit("", day, None, 99)).rows
        assert all(row.actor == ME for row in rows)
        return sorted((row.action, row.target, row.detail) for row in rows)


async def test_a_calm_cluster_leaves_no_trace() -> None:
    assert await World().noted(CALM, CALM, None, CALM) == []


async def test_joins_losses_and_drains_are_noted() -> None:
    again = replace(WEST, incarnation=Incarnation(8))
    drained = replace(again, draining=True)
    looks = [replace(CALM, members=members) for members in ((WEST,), (again,), (drained,), ())]
    assert await World().noted(*looks) == [
        ("NodeDraining", "west", "scheduler_node at west:1, incarnation 8"),
        ("NodeJoined", "west", "scheduler_node at west:1, incarnation 8"),
        ("NodeLeft", "west", "scheduler_node at west:1, incarnation 7"),
        ("NodeLeft", "west", "scheduler_node at west:1, incarnation 8"),
    ]


async def test_shards_that_change_hands_are_noted_with_the_reason() -> None:
    free = replace(SHARD, owner=None, epoch=Epoch(0), assigned=NodeId("east"), reason="west left")
    taken = replace(free, owner=NodeId("east"), epoch=Epoch(12))
    looks = [replace(CALM, shards=(each,)) for each in (SHARD, free, taken, taken)]
    assert await World().noted(*looks) == [
        ("ShardAssigned", "3", "to east: west left"),
        ("ShardFree", "3", "was west's"),
        ("ShardTaken", "3", "by east in epoch 12"),
    ]


async def test_an_election_is_noted_by_who_won_it_and_by_nobody_else() -> None:
    theirs = replace(CALM, leader=OTHER)
    assert await World().noted(theirs, CALM) == [("LeaderElected", "front", "term of back is over")]
    assert await World().noted(CALM, replace(theirs, members=())) == []
