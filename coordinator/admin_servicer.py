"""AdminService over gRPC: what operators see of the cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from timeball.v1 import admin_service_pb2 as pb
from timeball.v1 import admin_service_pb2_grpc as stubs

from coordinator.overview import Overview, ShardOverview
from timeball_server.core.ids import NodeId
from timeball_server.ports.coordination import Member
from timeball_server.rpc.convert import set_timestamp


class AdminServicer(stubs.AdminServiceServicer):
    """Serves the overview.

    Args:
        overview: reads the cluster.
        store: what the store is, for example sqlite.
        version: of this coordinator.
    """

    def __init__(
        self, overview: Callable[[], Awaitable[Overview]], *, store: str, version: str
    ) -> None:
        self._overview = overview
        self._store = store
        self._version = version

    async def GetCluster(  # noqa: N802 - the name is the proto's
        self, request: pb.GetClusterRequest, context: Any
    ) -> pb.GetClusterResponse:
        """Members, leader, shards and their owners."""
        overview = await self._overview()
        return pb.GetClusterResponse(
            nodes=[_node(member, overview.leader) for member in overview.members],
            shards=[_shard(shard) for shard in overview.shards],
            leader=overview.leader or "",
            assignment_version=overview.assignment_version,
            store=self._store,
            version=self._version,
        )


def _node(member: Member, leader: NodeId | None) -> pb.Node:
    node = pb.Node(
        name=member.node,
        role=member.role.value,
        address=member.address,
        incarnation=member.incarnation,
        strength=member.strength,
        slots=member.slots,
        handlers=member.handlers,
        version=member.version,
        leader=member.node == leader,
    )
    if member.started_ms:
        set_timestamp(node.start_time, member.started_ms)
    return node


def _shard(shard: ShardOverview) -> pb.Shard:
    return pb.Shard(
        shard=shard.shard,
        owner=shard.owner or "",
        epoch=shard.epoch,
        assigned=shard.assigned or "",
        reason=shard.reason,
    )
