"""What the cluster looks like to an operator: members, leader, shards, wishes and owners."""

from __future__ import annotations

from dataclasses import dataclass

from timeball_server.core.buckets import Layout
from timeball_server.core.ids import Epoch, NodeId, ShardId
from timeball_server.ports.coordination import CoordinationSession, Member, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardOverview:
    """A shard: who owns it (None = nobody now), and whom the leader wants and why.

    `pinned` is where an operator wished it to be, None without a wish.
    """

    shard: ShardId
    owner: NodeId | None
    epoch: Epoch
    assigned: NodeId | None
    reason: str
    pinned: NodeId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The cluster, read in one go. Not a consistent cut: things may move between the reads."""

    members: tuple[Member, ...]
    leader: NodeId | None
    assignment_version: int
    shards: tuple[ShardOverview, ...]


async def read_overview(session: CoordinationSession, layout: Layout) -> Overview:
    """Ask the coordination service.

    Raises:
        CoordinationUnavailable: it cannot be reached now.
    """
    members: list[Member] = []
    for role in Role:
        members.extend(await session.members(role))
    owned = {each.shard: each for each in await session.ownerships()}
    assignment = await session.read_assignment()
    wishes = {} if assignment is None else assignment.shards
    reasons = {} if assignment is None else assignment.reasons
    pinned = await session.read_wishes()
    shards = tuple(
        ShardOverview(
            shard=shard,
            owner=owned[shard].node if shard in owned else None,
            epoch=owned[shard].epoch if shard in owned else Epoch(0),
            assigned=wishes.get(shard),
            reason=reasons.get(shard, ""),
            pinned=pinned.get(shard),
        )
        for shard in layout.all_shards()
    )
    return Overview(
        members=tuple(members),
        leader=await session.leader(),
        assignment_version=0 if assignment is None else assignment.version,
        shards=shards,
    )
