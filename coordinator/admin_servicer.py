"""AdminService over gRPC: what operators see of the cluster, and what they may do to it.

Everything that changes something, or shows what tasks said, leaves a line in the log.
"""

from __future__ import annotations

from typing import Any

import structlog
from timeball.errors import TimeballError
from timeball.v1 import admin_service_pb2 as pb
from timeball.v1 import admin_service_pb2_grpc as stubs

from coordinator.admin_api import AdminApi
from coordinator.admin_messages import letter_message, node_message, shard_message
from coordinator.calls_in import caller
from timeball_server.rpc.convert import ms_from_timestamp

log = structlog.stdlib.get_logger("audit")


class AdminServicer(stubs.AdminServiceServicer):
    """Serves operators.

    Args:
        store: what the store is, for example sqlite.
        version: of this coordinator.
    """

    def __init__(self, api: AdminApi, *, store: str, version: str) -> None:
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
            nodes=[node_message(each, overview, picture.now_ms) for each in overview.members],
            shards=[shard_message(each, picture.figures) for each in overview.shards],
            leader=overview.leader or "",
            assignment_version=overview.assignment_version,
            store=self._store,
            version=self._version,
        )

    async def DrainNode(  # noqa: N802 - the name is the proto's
        self, request: pb.DrainNodeRequest, context: Any
    ) -> pb.DrainNodeResponse:
        """Give a scheduler node no more work."""
        actor, outcome = caller().subject, "OK"
        try:
            member = await self._api.drain(request.node)
        except TimeballError as error:
            outcome = error.reason
            raise
        finally:
            log.info("drain of a node", actor=actor, target=request.node, outcome=outcome,
                     request_id=request.request_id)  # fmt: skip
        return pb.DrainNodeResponse(node=node_message(member))

    async def ListDeadLetters(  # noqa: N802 - the name is the proto's
        self, request: pb.ListDeadLettersRequest, context: Any
    ) -> pb.ListDeadLettersResponse:
        """Tasks that failed for good, newest first."""
        who, has = caller(), request.HasField
        page = await self._api.dead_letters.page(
            who.namespace,
            from_ms=ms_from_timestamp(request.failed_from) if has("failed_from") else None,
            to_ms=ms_from_timestamp(request.failed_to) if has("failed_to") else None,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        log.info("dead letters read", actor=who.subject, namespace=who.namespace,
                 letters=len(page.letters), outcome="OK")  # fmt: skip
        return pb.ListDeadLettersResponse(
            dead_letters=[letter_message(each) for each in page.letters],
            next_page_token=page.next_token,
        )
