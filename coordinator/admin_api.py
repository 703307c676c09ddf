"""What operators may see and do, without a door: the cluster in figures, and draining a node.

Asks every scheduler node how it fares; one that does not answer in time is shown as such and
holds nobody up. Moves no shard itself: the leader does, because a member is draining.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
from timeball.errors import FailedPrecondition, NodeNotFound, TimeballError, Unavailable

from coordinator.dead_letters import DeadLetters
from coordinator.overview import Overview
from coordinator.requests import Cluster
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.ports.coordination import Member, Role
from timeball_server.ports.owners import OwnerInspector, ShardFigures

log = structlog.stdlib.get_logger("coordinator")
REPORT_MS: Final = 1_000
"""How long the whole picture waits for a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The cluster, and the figures of those shards whose owners answered."""

    overview: Overview
    figures: Mapping[ShardId, ShardFigures]
    now_ms: int


class AdminApi:
    """For operators.

    Args:
        overview: reads the cluster from the coordination service.
        inspect: finds a scheduler node by its address; None = nobody can be asked.
    """

    def __init__(
        self,
        overview: Callable[[], Awaitable[Overview]],
        inspect: Callable[[str], OwnerInspector] | None,
        cluster: Cluster,
    ) -> None:
        self._overview = overview
        self._inspect = inspect
        self._clock = cluster.clock
        self.dead_letters = DeadLetters(cluster.store, cluster.clock, cluster.token_key)

    async def picture(self) -> Picture:
        """Members, shards and how they fare.

        Raises:
            CoordinationUnavailable: the coordination service cannot be reached now.
        """
        overview = await self._overview()
        nodes = [each for each in overview.members if each.role is Role.SCHEDULER_NODE]
        reports = await asyncio.gather(*(self._report(node) for node in nodes))
        owned = {(each.shard, each.epoch, each.owner) for each in overview.shards}
        figures = {
            each.shard: each
            for node, report in zip(nodes, reports, strict=True)
            for each in report
            if (each.shard, each.epoch, node.node) in owned
        }
        return Picture(overview=overview, figures=figures, now_ms=self._clock.now().wall_ms)

    async def drain(self, name: str) -> Member:
        """Give a scheduler node no more work; the answer is the member as it is now.

        Two drains of the last two nodes at once may both succeed: the leader then leaves the
        shards where they are, and a node that is started takes them.

        Raises:
            NodeNotFound: no living node has this name.
            FailedPrecondition: it is no scheduler node, or nobody else could take its shards.
            Unavailable: it could not be told; repeat.
        """
        members = (await self._overview()).members
        node = _drainable(members, name)
        if node.draining:
            return node
        if self._inspect is None:
            raise Unavailable("this coordinator has no way to reach scheduler nodes")
        await self._inspect(node.address).drain()
        return replace(node, draining=True)

    async def _report(self, node: Member) -> Sequence[ShardFigures]:
        """What a node says of its shards; nothing if it does not answer in time."""
        if self._inspect is None:
            return ()
        try:
            async with asyncio.timeout(REPORT_MS / 1_000):
                return await self._inspect(node.address).report()
        except (TimeballError, TimeoutError) as error:
            log.info("a scheduler node did not report", silent=node.node, error=str(error))
            return ()


def _drainable(members: Sequence[Member], name: str) -> Member:
    """The scheduler node of this name, if its shards have somewhere to go."""
    named = [each for each in members if each.node == NodeId(name)]
    if not named:
        raise NodeNotFound(f"there is no living node {name}; `timeball cluster nodes` shows them")
    nodes = [each for each in named if each.role is Role.SCHEDULER_NODE]
    if not nodes:
        raise FailedPrecondition(
            f"{name} is no scheduler node but {named[0].role.value}; "
            "stop its process instead, it finishes what it has begun"
        )
    others = (each for each in members if each.role is Role.SCHEDULER_NODE and each.node != name)
    if all(each.draining for each in others) and not nodes[0].draining:
        raise FailedPrecondition(
            f"{name} is the last scheduler node that takes shards; start another one first"
        )
    return nodes[0]
