"""Which shards a scheduler node lets go, takes, or makes itself ready for, as things stand.

The leader wishes all moves at once. The two nodes of each move pace them: a shard stays with its
owner until the next one stands by for it, and a node makes itself ready for one shard at a time.
So a shard is without an owner for no longer than its own change of hands takes. What nobody owns
is taken at once. Never fences anything: that is the ownership entry's (rule R1).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from timeball_server.core.ids import NodeId, ShardId

MOVES_IN_AT_ONCE: Final = 1
"""Shards that a node is being handed at a time; more would queue for the same reads and writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a node sees in one look. Only the wish and the entries of others may be out of date.

    Attributes:
        node: who looks.
        assignment: the leader's wish; empty before the first.
        owners: whose ownership entries there are.
        standbys: who stands by for what.
        held: shards in this node's memory that it is not letting go yet.
        leaving: this node lets everything go at once and takes nothing.
    """

    node: NodeId
    assignment: Mapping[ShardId, NodeId]
    owners: Mapping[ShardId, NodeId]
    standbys: Mapping[ShardId, NodeId]
    held: Collection[ShardId]
    leaving: bool = False

    @property
    def wished(self) -> frozenset[ShardId]:
        """Shards that this node should own."""
        if self.leaving:
            return frozenset()
        return frozenset(s for s, node in self.assignment.items() if node == self.node)


def going(scene: Scene) -> Sequence[ShardId]:
    """Shards that should be another node's, lowest first."""
    return sorted(set(scene.held) - scene.wished)


def to_release(scene: Scene) -> Sequence[ShardId]:
    """Shards to let go now: the next owner stands by, or nobody is to be waited for."""
    return [
        shard
        for shard in going(scene)
        if scene.leaving
        or shard not in scene.assignment
        or scene.standbys.get(shard) == scene.assignment[shard]
    ]


def to_take(scene: Scene, busy: Collection[ShardId]) -> Sequence[ShardId]:
    """Shards to take now: wished here, and no other node has an entry.

    Args:
        busy: shards that are being taken, or let go, already.
    """
    return [shard for shard in _missing(scene, busy) if _is_free(scene, shard)]


def to_prepare(scene: Scene, busy: Collection[ShardId], under_way: int) -> Sequence[ShardId]:
    """Shards to become a standby for now: wished here, another node serves them.

    Args:
        busy: shards that something is being done with already.
        under_way: hand-overs to this node that have begun and not ended.
    """
    room = max(0, MOVES_IN_AT_ONCE - under_way)
    return [shard for shard in _missing(scene, busy) if not _is_free(scene, shard)][:room]


def _missing(scene: Scene, busy: Collection[ShardId]) -> Sequence[ShardId]:
    return sorted(scene.wished - set(scene.held) - set(busy))


def _is_free(scene: Scene, shard: ShardId) -> bool:
    return scene.owners.get(shard, scene.node) == scene.node
