"""What operators may see and do, without a door: the cluster in figures, draining, moving shards.

Asks every scheduler node how it fares; one that does not answer in time is shown as such and
holds nobody up. Moves no shard itself: the leader does, because a member is draining or because
somebody wished a shard elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
from timeball.errors import FailedPrecondition, NodeNotFound, TimeballError, Unavailable, refused

from coordinator.access_api import Rows, page_of_rows
from coordinator.dead_letters import DeadLetters
from coordinator.overview import Overview, ShardOverview
from coordinator.requests import Cluster
from timeball_server.core.ids import Incarnation, NodeId, ShardId
from timeball_server.ports.coordination import Member, Role
from timeball_server.ports.owners import (
    ExecutorFigures,
    OwnerInspector,
    OwnerObserver,
    ShardFigures,
)

log = structlog.stdlib.get_logger("coordinator")
REPORT_MS: Final = 1_000
"""How long the whole picture waits for a node."""
NO_SECONDS: Final = 1 << 40
"""A second that never comes: what a node did in past ones is not asked for."""


Look = tuple[Sequence[ShardFigures], Sequence[ExecutorFigures]]
"""What a scheduler node says of its shards and of the executors."""
LeftOut = Sequence[tuple[NodeId, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The cluster, and the figures of those shards whose owners answered.

    `left_out` are executors that get no work now because they do far worse than their peers: which
    scheduler nodes say so, and why.
    """

    overview: Overview
    figures: Mapping[ShardId, ShardFigures]
    now_ms: int
    left_out: Mapping[Incarnation, LeftOut]


class AdminApi:
    """For operators.

    Args:
        overview: reads the cluster from the coordination service.
        inspect: finds a scheduler node by its address; None = nobody can be asked.
        wish: says where a shard should be, or that it may be anywhere; None = nobody can be told.
    """

    def __init__(
        self,
        overview: Callable[[], Awaitable[Overview]],
        inspect: Callable[[str], OwnerInspector] | None,
        cluster: Cluster,
        wish: Callable[[ShardId, NodeId | None], Awaitable[None]] | None = None,
    ) -> None:
        self._overview = overview
        self._inspect = inspect
        self._wish = wish
        self._clock = cluster.clock
        self._token_key = cluster.token_key
        self.dead_letters = DeadLetters(cluster.store, cluster.clock, cluster.token_key)

    async def picture(self) -> Picture:
        """Members, shards and how they fare.

        Raises:
            CoordinationUnavailable: the coordination service cannot be reached now.
        """
        overview = await self._overview()
        looks = await self._looks(overview)
        owned = {(each.shard, each.epoch, each.owner) for each in overview.shards}
        figures = {
            each.shard: each
            for node, (shards, _) in looks
            for each in shards
            if (each.shard, each.epoch, node) in owned
        }
        return Picture(
            overview=overview,
            figures=figures,
            now_ms=self._clock.now().wall_ms,
            left_out=_left_out(looks),
        )

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

    async def move(self, shard: int, name: str) -> Picture:
        """Wish a shard on a node; the leader moves it there. Twice is like once.

        Raises:
            InvalidRequest: the cluster has no such shard.
            NodeNotFound: no living node has this name.
            FailedPrecondition: it takes no shards.
            CoordinationUnavailable: the wish could not be noted; repeat.
        """
        overview = await self._overview()
        _check_shard(overview, shard)
        _check_taker(overview.members, name)
        return await self._wished(ShardId(shard), NodeId(name))

    async def unpin(self, shard: int) -> Picture:
        """Let the leader place a shard as it likes. Without a wish nothing changes.

        Raises:
            InvalidRequest: the cluster has no such shard.
            CoordinationUnavailable: it could not be noted; repeat.
        """
        _check_shard(await self._overview(), shard)
        return await self._wished(ShardId(shard), None)

    async def nodes(
        self, role: str, page_size: int, page_token: str
    ) -> tuple[Picture, Rows[Member]]:
        """A page of living processes by role and name, and the picture that they are from.

        Raises:
            InvalidRequest: the token is not for this list.
        """
        overview = await self._overview()
        chosen = [each for each in overview.members if role in ("", each.role.value)]
        by_name = {f"{each.role.value}/{each.node}": each for each in chosen}
        page = await page_of_rows(
            _slices(sorted(by_name)), str, ["nodes", role], self._token_key, page_size, page_token
        )
        asks = any(by_name[name].role is Role.EXECUTOR for name in page.rows)
        picture = Picture(
            overview=overview,
            figures={},
            now_ms=self._clock.now().wall_ms,
            left_out=_left_out(await self._looks(overview)) if asks else {},
        )
        return picture, Rows([by_name[name] for name in page.rows], page.next_token)

    async def shards(
        self, owner: str, page_size: int, page_token: str
    ) -> tuple[Picture, Rows[ShardOverview]]:
        """A page of shards by number, and the picture that they are from.

        Raises:
            InvalidRequest: the token is not for this list.
        """
        picture = await self.picture()
        chosen = [each for each in picture.overview.shards if owner in ("", each.owner)]
        by_number = {f"{each.shard:05}": each for each in chosen}
        query = ["shards", owner]
        page = await page_of_rows(
            _slices(sorted(by_number)), str, query, self._token_key, page_size, page_token
        )
        return picture, Rows([by_number[name] for name in page.rows], page.next_token)

    async def _wished(self, shard: ShardId, node: NodeId | None) -> Picture:
        if self._wish is None:
            raise Unavailable("this coordinator has no way to tell the leader")
        await self._wish(shard, node)
        return await self.picture()

    async def _looks(self, overview: Overview) -> list[tuple[NodeId, Look]]:
        """What every scheduler node says."""
        nodes = [each for each in overview.members if each.role is Role.SCHEDULER_NODE]
        looks = await asyncio.gather(*(self._look(node) for node in nodes))
        return [(node.node, look) for node, look in zip(nodes, looks, strict=True)]

    async def _look(self, node: Member) -> Look:
        """What a node says; nothing if it does not answer in time."""
        if self._inspect is None:
            return (), ()
        try:
            async with asyncio.timeout(REPORT_MS / 1_000):
                return await _asked(self._inspect(node.address))
        except (TimeballError, TimeoutError) as error:
            log.info("a scheduler node did not report", silent=node.node, error=str(error))
            return (), ()


async def _asked(node: OwnerInspector) -> Look:
    """Shards and executors where the node can be observed, else shards alone."""
    if not isinstance(node, OwnerObserver):
        return await node.report(), ()
    seen = await node.observe(NO_SECONDS)
    return seen.shards, seen.executors


def _left_out(looks: Sequence[tuple[NodeId, Look]]) -> Mapping[Incarnation, LeftOut]:
    by_executor: dict[Incarnation, list[tuple[NodeId, str]]] = {}
    for node, (_, executors) in looks:
        for each in executors:
            if each.left_out_ms > 0:
                by_executor.setdefault(each.incarnation, []).append((node, each.left_out_reason))
    return by_executor


def _check_shard(overview: Overview, shard: int) -> None:
    known = [each.shard for each in overview.shards]
    if shard not in known:
        sentence = f"must be one of the cluster's shards, 0 to {max(known)}, got {shard}"
        raise refused("shard", sentence)


def _check_taker(members: Sequence[Member], name: str) -> None:
    """Refuse a node that takes no shards."""
    named = [each for each in members if each.node == NodeId(name)]
    if not named:
        raise _no_node(name)
    nodes = [each for each in named if each.role is Role.SCHEDULER_NODE]
    if not nodes or nodes[0].draining:
        what = "draining" if nodes else f"no scheduler node but {named[0].role.value}"
        raise FailedPrecondition(f"{name} is {what}; it takes no shards")


def _no_node(name: str) -> NodeNotFound:
    return NodeNotFound(f"there is no living node {name}; `timeball cluster nodes` shows them")


def _slices(names: Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """Reads of names that are all in hand."""

    async def read(after: str, limit: int) -> Sequence[str]:
        return [name for name in names if name > after][:limit]

    return read


def _drainable(members: Sequence[Member], name: str) -> Member:
    """The scheduler node of this name, if its shards have somewhere to go."""
    named = [each for each in members if each.node == NodeId(name)]
    if not named:
        raise _no_node(name)
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
