"""AdminService over gRPC: what operators see of the cluster, and what they may do to it.

Everything that changes something is noted in the audit log; who reads what tasks said leaves a
line in the process's log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from timeball.v1 import admin_service_pb2 as pb
from timeball.v1 import admin_service_pb2_grpc as stubs

from coordinator.access_servicer import AccessMethods
from coordinator.admin_api import AdminApi, Picture
from coordinator.admin_messages import (
    letter_message,
    node_message,
    redrive_message,
    shard_message,
)
from coordinator.administration import Administration
from coordinator.audit import Deed
from coordinator.calls_in import caller, patience_ms
from coordinator.dead_letters import LettersPage
from coordinator.limits_servicer import LimitMethods
from coordinator.task_messages import task_ids_of
from timeball_server.core.ids import TaskId
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Member
from timeball_server.rpc.convert import ms_from_timestamp

log = structlog.stdlib.get_logger("audit")


class AdminServicer(AccessMethods, LimitMethods, stubs.AdminServiceServicer):
    """Serves operators and administrators.

    Args:
        store: what the store is, for example sqlite.
        version: of this coordinator.
    """

    def __init__(
        self, api: AdminApi, parts: Administration, clock: Clock, *, store: str, version: str
    ) -> None:
        super().__init__(parts, clock)
        self.limits = parts.limits
        self._api = api
        self._store = store
        self._version = version

    async def GetCluster(  # noqa: N802 - the name is the proto's
        self, request: pb.GetClusterRequest, context: Any
    ) -> pb.GetClusterResponse:
        """Members, leader, shards, their owners and how they fare."""
        picture = await self._api.picture()
        overview = picture.overview
        return pb.GetClusterResponse(
            nodes=[_node(picture, each) for each in overview.members],
            shards=[shard_message(each, picture.figures) for each in overview.shards],
            leader=overview.leader or "",
            assignment_version=overview.assignment_version,
            store=self._store,
            version=self._version,
        )

    async def ListNodes(  # noqa: N802 - the name is the proto's
        self, request: pb.ListNodesRequest, context: Any
    ) -> pb.ListNodesResponse:
        """A page of living processes."""
        picture, page = await self._api.nodes(request.role, request.page_size, request.page_token)
        return pb.ListNodesResponse(
            nodes=[_node(picture, each) for each in page.rows],
            next_page_token=page.next_token,
        )

    async def ListShards(  # noqa: N802 - the name is the proto's
        self, request: pb.ListShardsRequest, context: Any
    ) -> pb.ListShardsResponse:
        """A page of shards."""
        picture, page = await self._api.shards(request.owner, request.page_size, request.page_token)
        return pb.ListShardsResponse(
            shards=[shard_message(each, picture.figures) for each in page.rows],
            next_page_token=page.next_token,
        )

    async def DrainNode(  # noqa: N802 - the name is the proto's
        self, request: pb.DrainNodeRequest, context: Any
    ) -> pb.DrainNodeResponse:
        """Give a scheduler node no more work."""
        async with self._parts.auditor.noted(_deed("DrainNode", request.node, request)):
            member = await self._api.drain(request.node)
        return pb.DrainNodeResponse(node=node_message(member))

    async def MoveShard(  # noqa: N802 - the name is the proto's
        self, request: pb.MoveShardRequest, context: Any
    ) -> pb.MoveShardResponse:
        """Wish a shard on a node."""
        deed = _deed("MoveShard", str(request.shard), request, f"to {request.node}")
        async with self._parts.auditor.noted(deed):
            picture = await self._api.move(request.shard, request.node)
        return pb.MoveShardResponse(shard=_shard(picture, request.shard))

    async def UnpinShard(  # noqa: N802 - the name is the proto's
        self, request: pb.UnpinShardRequest, context: Any
    ) -> pb.UnpinShardResponse:
        """Let the leader place a shard as it likes."""
        async with self._parts.auditor.noted(_deed("UnpinShard", str(request.shard), request)):
            picture = await self._api.unpin(request.shard)
        return pb.UnpinShardResponse(shard=_shard(picture, request.shard))

    async def ListDeadLetters(  # noqa: N802 - the name is the proto's
        self, request: pb.ListDeadLettersRequest, context: Any
    ) -> pb.ListDeadLettersResponse:
        """Tasks that failed for good, newest first."""
        who, page = caller(), await self._letters(request)
        log.info("dead letters read", actor=who.subject, namespace=who.namespace,
                 letters=len(page.letters), outcome="OK")  # fmt: skip
        return pb.ListDeadLettersResponse(
            dead_letters=[letter_message(each) for each in page.letters],
            next_page_token=page.next_token,
        )

    async def RedriveDeadLetters(  # noqa: N802 - the name is the proto's
        self, request: pb.RedriveDeadLettersRequest, context: Any
    ) -> pb.RedriveDeadLettersResponse:
        """Do tasks again that failed for good."""
        who, token = caller(), ""
        if request.names:
            ids: Sequence[TaskId] = task_ids_of(request, who)
        else:
            page = await self._letters(request)
            ids, token = [each.task.task_id for each in page.letters], page.next_token
        deed = _deed("RedriveDeadLetters", f"{len(ids)} dead letters", request, " ".join(ids[:20]))
        async with self._parts.auditor.noted(deed):
            results = await self._parts.redriver.redrive(who, ids, patience_ms(context))
        return pb.RedriveDeadLettersResponse(
            results=[redrive_message(each, who.namespace) for each in results],
            next_page_token=token,
        )

    async def _letters(
        self, request: pb.ListDeadLettersRequest | pb.RedriveDeadLettersRequest
    ) -> LettersPage:
        """The page of dead letters that a request asks for."""
        has = request.HasField
        return await self._api.dead_letters.page(
            caller().namespace,
            from_ms=ms_from_timestamp(request.failed_from) if has("failed_from") else None,
            to_ms=ms_from_timestamp(request.failed_to) if has("failed_to") else None,
            handler=request.handler,
            page_size=request.page_size,
            page_token=request.page_token,
        )


def _deed(action: str, target: str, request: Any, detail: str = "") -> Deed:
    """What is about to be done; of a namespace where the request has one."""
    who = caller()
    namespace = who.namespace if "parent" in request.DESCRIPTOR.fields_by_name else ""
    return Deed(
        actor=who.subject,
        action=action,
        target=target,
        namespace=namespace,
        request_id=request.request_id,
        detail=detail,
    )


def _node(picture: Picture, member: Member) -> pb.Node:
    left_out = picture.left_out.get(member.incarnation, ())
    return node_message(member, picture.overview, picture.now_ms, left_out)


def _shard(picture: Picture, number: int) -> pb.Shard:
    return next(
        shard_message(each, picture.figures)
        for each in picture.overview.shards
        if each.shard == number
    )
