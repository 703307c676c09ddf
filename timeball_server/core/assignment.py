"""Who should own which shard: sticky, weighted, with the fewest moves.

Owns the arithmetic of the leader's wish. Never knows who owns what at the moment: the owners
carry the wish out, and the fence of rule R1 keeps a late owner harmless.

An operator's wish comes first: that shard stays where it is wished for as long as the node lives
and is not draining. What is not wished is shared out so that loads are even as far as that allows.

A node's share is its part of all weights. Shares are rarely whole, so each node gets its share
rounded down and some get one more. Those that already hold more are preferred for the extra
one; that alone makes the moves minimal and a plan of its own result empty.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from timeball_server.core.ids import NodeId, ShardId

NOBODY = "no scheduler node is there to take it"
FIRST = "first assignment"
WISHED = "moved by an operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeighedNode:
    """A living scheduler node. `weight` is at least 1; a draining node gets nothing."""

    node: NodeId
    weight: int = 1
    draining: bool = False

    def __post_init__(self) -> None:
        """Refuse a weight that would make shares meaningless."""
        if self.weight < 1:
            raise ValueError(f"the weight of {self.node!r} is {self.weight}, it must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The wish: `shards` names a node for each shard, `reasons` says why a shard moved.

    Without a node that can take shards, `shards` is empty.
    """

    shards: Mapping[ShardId, NodeId]
    reasons: Mapping[ShardId, str]


def plan(
    shards: Collection[ShardId],
    nodes: Collection[WeighedNode],
    current: Mapping[ShardId, NodeId],
    wishes: Mapping[ShardId, NodeId] = MappingProxyType({}),
) -> Plan:
    """Give every shard a node. The same arguments give the same plan, in whatever order.

    Args:
        shards: all shards; entries of `current` for others are forgotten.
        nodes: the living nodes, each once.
        current: the plan so far.
        wishes: where an operator wants single shards; others are forgotten like those of
            `current`. One that names no taker waits until its node is one.
    """
    wanted = sorted(set(shards))
    takers = sorted((each for each in nodes if not each.draining), key=lambda each: each.node)
    if not takers:
        return Plan(shards={}, reasons=dict.fromkeys(wanted, NOBODY))
    held = _held(wanted, takers, current)
    names = held.keys()
    pinned = {s: wishes[s] for s in wanted if s in wishes and wishes[s] in names}
    placed = pinned | _share_out(wanted, takers, current, pinned)
    draining = {each.node for each in nodes if each.draining}
    reasons = {
        shard: WISHED if shard in pinned else _reason(current.get(shard), node, held, draining)
        for shard, node in placed.items()
        if current.get(shard) != node
    }
    return Plan(shards=dict(sorted(placed.items())), reasons=reasons)


def _share_out(
    wanted: Sequence[ShardId],
    takers: Sequence[WeighedNode],
    current: Mapping[ShardId, NodeId],
    pinned: Mapping[ShardId, NodeId],
) -> dict[ShardId, NodeId]:
    """Give each shard that is not pinned a node: its own if that may keep it, else with room."""
    fixed = Counter(pinned.values())
    free = [shard for shard in wanted if shard not in pinned]
    held = _held(free, takers, current)
    loads = {node: len(own) + fixed[node] for node, own in held.items()}
    targets = _fair_targets(len(wanted), takers, loads, fixed)
    rooms = {node: target - fixed[node] for node, target in targets.items()}
    kept = {shard: node for node, own in held.items() for shard in own[: rooms[node]]}
    left = {node: room - min(room, len(held[node])) for node, room in rooms.items()}
    return kept | _spread([shard for shard in free if shard not in kept], left)


def _fair_targets(
    shard_count: int,
    takers: Sequence[WeighedNode],
    loads: Mapping[NodeId, int],
    fixed: Mapping[NodeId, int],
) -> dict[NodeId, int]:
    """Shares, where a node that is pinned more than its share has that, and the rest share."""
    sharing = list(takers)
    full: dict[NodeId, int] = {}
    while True:
        targets = _targets(shard_count - sum(full.values()), sharing, loads)
        over = {node: fixed[node] for node, target in targets.items() if fixed[node] > target}
        if not over:
            return full | targets
        full |= over
        sharing = [each for each in sharing if each.node not in over]


def _held(
    wanted: Sequence[ShardId], takers: Sequence[WeighedNode], current: Mapping[ShardId, NodeId]
) -> dict[NodeId, list[ShardId]]:
    """What each taker has by the wish so far, lowest shard first."""
    held: dict[NodeId, list[ShardId]] = {each.node: [] for each in takers}
    for shard in wanted:
        own = held.get(current[shard]) if shard in current else None
        if own is not None:
            own.append(shard)
    return held


def _targets(
    shard_count: int, takers: Sequence[WeighedNode], loads: Mapping[NodeId, int]
) -> dict[NodeId, int]:
    """How many shards each taker gets: its share rounded down, or one more for some."""
    total = sum(each.weight for each in takers)
    targets = {each.node: shard_count * each.weight // total for each in takers}
    remainders = {each.node: shard_count * each.weight % total for each in takers}
    broken = [node for node, remainder in remainders.items() if remainder]
    broken.sort(key=lambda node: (loads[node] <= targets[node], -remainders[node], node))
    for node in broken[: shard_count - sum(targets.values())]:
        targets[node] += 1
    return targets


def _spread(homeless: Sequence[ShardId], room: Mapping[NodeId, int]) -> dict[ShardId, NodeId]:
    """Give each homeless shard to the node with most room, so that neighbours are spread."""
    heap = [(-free, node) for node, free in room.items()]
    heapq.heapify(heap)
    placed: dict[ShardId, NodeId] = {}
    for shard in homeless:
        negative_free, node = heap[0]
        placed[shard] = node
        heapq.heapreplace(heap, (negative_free + 1, node))
    return placed


def _reason(
    giver: NodeId | None,
    receiver: NodeId,
    held: Mapping[NodeId, Sequence[ShardId]],
    draining: Collection[NodeId],
) -> str:
    """Why a shard moved, for people."""
    if giver is None:
        return FIRST
    if giver in draining:
        return f"drain of {giver}"
    if giver not in held:
        return f"{giver} left"
    if not held[receiver]:
        return f"balance: {receiver} joined"
    return f"balance: {giver} had more than its share"
