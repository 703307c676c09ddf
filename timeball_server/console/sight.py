"""What a coordinator sees of the cluster in one look. Records only.

No namespace, no payload and no result is in here, so none can reach the page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from timeball_server.core.ids import Epoch, NodeId, ShardId
from timeball_server.ports.coordination import Member
from timeball_server.ports.owners import NodeFigures, ShardFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSight:
    """A shard.

    Attributes:
        owner: who owns it, None = nobody now.
        assigned: whom the leader wants; `reason` says why it was moved there last.
        figures: what its owner says, None without an answer from the owner of this epoch.
    """

    shard: ShardId
    owner: NodeId | None
    epoch: Epoch
    assigned: NodeId | None
    reason: str
    figures: ShardFigures | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """The cluster. Not one moment: things may move while it is read.

    Attributes:
        at_ms: the coordinator's wall clock.
        nodes: figures of the scheduler nodes that answered.
    """

    at_ms: int
    leader: NodeId | None
    assignment_version: int
    members: tuple[Member, ...]
    shards: tuple[ShardSight, ...]
    nodes: Mapping[NodeId, NodeFigures]


FromSecond = Callable[[NodeId], int]
"""The first second that is not known of a node, since 1970; 0 = all that it remembers."""
Look = Callable[[FromSecond], Awaitable[Sight]]
"""Looks once. Raises CoordinationUnavailable when the members cannot be read."""
