"""What the console sees through a coordinator: the overview, and every scheduler node's figures.

Asks all nodes at once and waits for none longer than the port's patience. Decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from timeball.errors import TimeballError

from coordinator.overview import Overview, ShardOverview
from timeball_server.console.sight import FromSecond, Look, ShardSight, Sight
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Member, Role
from timeball_server.ports.owners import NodeFigures, OwnerObserver, ShardFigures

log = structlog.stdlib.get_logger("coordinator")
Observe = Callable[[str], OwnerObserver]
"""Finds a scheduler node by its address."""


def console_look(
    overview: Callable[[], Awaitable[Overview]], observe: Observe | None, clock: Clock
) -> Look:
    """Looks for a console.

    Args:
        overview: reads the cluster from the coordination service.
        observe: None = nobody can be asked.
    """

    async def look(from_s: FromSecond) -> Sight:
        seen = await overview()
        nodes = await _figures(seen.members, observe, from_s)
        return Sight(
            at_ms=clock.now().wall_ms,
            leader=seen.leader,
            assignment_version=seen.assignment_version,
            members=seen.members,
            shards=tuple(_shard(each, nodes) for each in seen.shards),
            nodes=nodes,
        )

    return look


async def _figures(
    members: tuple[Member, ...], observe: Observe | None, from_s: FromSecond
) -> Mapping[NodeId, NodeFigures]:
    """What the scheduler nodes say that answer in time."""
    if observe is None:
        return {}
    nodes = [each for each in members if each.role is Role.SCHEDULER_NODE]
    answers = await asyncio.gather(
        *(_ask(observe(node.address), node.node, from_s(node.node)) for node in nodes)
    )
    pairs = zip(nodes, answers, strict=True)
    return {node.node: answer for node, answer in pairs if answer is not None}


async def _ask(node: OwnerObserver, name: NodeId, from_s: int) -> NodeFigures | None:
    try:
        return await node.observe(from_s)
    except TimeballError as error:
        log.info("a scheduler node did not answer the console", silent=name, error=str(error))
        return None


def _shard(shard: ShardOverview, nodes: Mapping[NodeId, NodeFigures]) -> ShardSight:
    return ShardSight(
        shard=shard.shard,
        owner=shard.owner,
        epoch=shard.epoch,
        assigned=shard.assigned,
        reason=shard.reason,
        figures=None if shard.owner is None else _own(shard, nodes.get(shard.owner)),
    )


def _own(shard: ShardOverview, node: NodeFigures | None) -> ShardFigures | None:
    """What the owner says of its shard, if it is of the epoch that counts."""
    said: Mapping[ShardId, ShardFigures] = (
        {} if node is None else {each.shard: each for each in node.shards}
    )
    found = said.get(shard.shard)
    return found if found is not None and found.epoch == shard.epoch else None
