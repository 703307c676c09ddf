"""A scheduler node with its door: the gRPC server that coordinators reach it through."""

from __future__ import annotations

from dataclasses import replace

import structlog

from scheduler_node.reporting import Inspector
from scheduler_node.service import DRAIN_MS, Connect, SchedulerNode, SchedulerNodeConfig
from timeball_server.cluster.settings import SchedulerNodeSettings
from timeball_server.cluster.wiring import (
    Say,
    WithStore,
    cluster_layout,
    open_store,
    session_opener,
    with_metrics,
)
from timeball_server.internal.v1 import shard_service_pb2_grpc as stubs
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import Store
from timeball_server.rpc.executor_transport import GrpcExecutorDialer
from timeball_server.rpc.owner_servicer import ShardServicer
from timeball_server.rpc.server import RpcServer
from timeball_server.rpc.server import Service as RpcService
from timeball_server.runtime.entropy import fresh_random
from timeball_server.runtime.lifecycle import Service

log = structlog.stdlib.get_logger("scheduler_node")
_GRACE_MS = 2_000


class SchedulerNodeProcess(Service):
    """Listens first, so that the address it joins with is real; leaves in the reverse order."""

    def __init__(
        self,
        config: SchedulerNodeConfig,
        store: Store,
        connect: Connect,
        clock: Clock,
        advertise: str | None = None,
    ) -> None:
        super().__init__(f"scheduler node process {config.node}", drain_ms=DRAIN_MS)
        self._advertise = advertise
        self._dialer = GrpcExecutorDialer()
        self.node = SchedulerNode(config, store, connect, self._dialer, clock, fresh_random())
        inspector = Inspector(self.node.shell, clock, self.node.take_no_more)
        self._servicer = ShardServicer(self.node.shell.calls, _report_bug, inspector=inspector)
        self._server = RpcServer(
            config.address,
            [
                RpcService(
                    name="timeball.internal.v1.ShardService",
                    register=lambda server: stubs.add_ShardServiceServicer_to_server(
                        self._servicer, server
                    ),
                )
            ],
            internal=True,
        )

    @property
    def address(self) -> str:
        """Where coordinators reach it."""
        return self._server.address

    async def _begin(self) -> None:
        await self._server.start()
        address = self._advertise or self._server.address
        self.node.config = replace(self.node.config, address=address)
        await self.node.start()
        self.spawn("watch", self._watch())

    async def _watch(self) -> None:
        await self.node.wait_stopped()

    async def _drain(self) -> None:
        """Shards first: until they are gone their callers find them here and nowhere else."""
        await self.node.hand_over()
        self._servicer.drain()
        await self._server.drain()

    async def _end(self) -> None:
        await self.node.stop()
        await self._server.stop(_GRACE_MS)
        await self._servicer.close()


async def clustered_node(
    config: SchedulerNodeConfig, settings: SchedulerNodeSettings, say: Say, clock: Clock
) -> Service:
    """A scheduler node of a cluster, its store connected.

    Raises:
        StoreUnavailable: the database was not there in time.
        FailedPrecondition: the schema or the cluster's facts do not fit.
    """
    store = await open_store(settings.store, clock, say, settings.cluster)
    try:
        await cluster_layout(store)
    except BaseException:
        await store.close()
        raise
    connect = session_opener(settings.coordination, store, clock, say)
    process = SchedulerNodeProcess(config, store, connect, clock, settings.listen.advertise)
    service = WithStore(process, store)
    return with_metrics(service, settings.metrics, [process.node.shell.metrics])


def _report_bug(error: BaseException) -> None:
    """Something that is no error of the family: a bug of ours."""
    log.error("a command failed by a bug", exc_info=error)
