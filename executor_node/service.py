"""An executor as a service of its process: listens, joins, serves, drains.

Owns the order of starting and stopping. `ExecutorNode` does the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from timeball.errors import Unavailable
from timeball.registry import Handler

from executor_node.membership import Memberships
from executor_node.node import ExecutorNode
from executor_node.start_log import StartLog
from timeball_server.core.ids import NodeId
from timeball_server.core.messages import StreamHello
from timeball_server.internal.v1 import executor_service_pb2_grpc as pb_grpc
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Member, Role
from timeball_server.ports.executors import ExecutorServer
from timeball_server.rpc import server as rpc
from timeball_server.rpc.executor_transport import ExecutorServicer
from timeball_server.runtime.lifecycle import Service

SERVICE_NAME: Final = "timeball.internal.v1.ExecutorService"
ACKNOWLEDGE_SHARE: Final = 4
"""One part in this many of the drain time is kept for the last acknowledgements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorConfig:
    """An executor's own settings.

    Attributes:
        node: name, unique among the living.
        listen: host:port; port 0 takes a free one.
        advertise: host:port under which scheduler nodes reach it; None = as it listens.
        slots: handlers at once.
        strength: 1 to 100; more urgent work goes to stronger executors.
        labels: what tasks may select by.
        caps: most attempts of a handler at once; they win over what the handlers declare.
        start_log: file for one JSON line per start, if wanted.
        drain_ms: how long stopping may take.
        version: told to the cluster.
    """

    node: NodeId
    listen: str = "127.0.0.1:0"
    advertise: str | None = None
    slots: int = 100
    strength: int = 50
    labels: tuple[tuple[str, str], ...] = ()
    caps: tuple[tuple[str, int], ...] = ()
    start_log: Path | None = None
    drain_ms: int = 10_000
    version: str = ""


class ExecutorService(Service):
    """The service. `memberships` make it a member; handlers are what it serves, by name."""

    def __init__(
        self,
        config: ExecutorConfig,
        handlers: Mapping[str, Handler],
        memberships: Memberships,
        clock: Clock,
    ) -> None:
        super().__init__(f"executor {config.node}", drain_ms=config.drain_ms)
        self.config = config
        self._handlers = handlers
        self._memberships = memberships
        self._clock = clock
        self._node: ExecutorNode | None = None
        self._start_log: StartLog | None = None
        servicer = ExecutorServicer(self._serve)
        self._server = rpc.RpcServer(
            config.listen,
            [
                rpc.Service(
                    name=SERVICE_NAME,
                    register=lambda server: pb_grpc.add_ExecutorServiceServicer_to_server(
                        servicer, server
                    ),
                )
            ],
            internal=True,
        )

    @property
    def member(self) -> Member | None:
        """How it introduced itself; None before it has started."""
        return None if self._node is None else self._node.member

    def hand_back_now(self) -> None:
        """Cut the grace of a stop that is under way short."""
        if self._node is not None:
            self._node.hand_back_now()

    async def _begin(self) -> None:
        if self.config.start_log is not None:
            self._start_log = StartLog(self.config.start_log)
        await self._server.start()
        self._node = ExecutorNode(
            member=self._introduction(),
            handlers=self._handlers,
            memberships=self._memberships,
            clock=self._clock,
            start_log=self._start_log,
        )
        await self._node.join_patiently()
        self.spawn("stay a member", self._node.stay())

    async def _drain(self) -> None:
        await self._server.drain()
        if self._node is not None:
            acknowledge_ms = self.config.drain_ms // ACKNOWLEDGE_SHARE
            # A tenth is left for leaving, so that the service's own deadline does not cut it.
            grace_ms = self.config.drain_ms * 9 // 10 - acknowledge_ms
            await self._node.drain(grace_ms=grace_ms, acknowledge_ms=acknowledge_ms)

    async def _end(self) -> None:
        if self._node is not None:
            await self._node.close()
        await self._server.stop()
        if self._start_log is not None:
            self._start_log.close()

    async def _serve(self, hello: StreamHello, stream: ExecutorServer) -> None:
        if self._node is None:
            raise Unavailable("the executor is starting; try again")
        await self._node.serve(hello, stream)

    def _introduction(self) -> Member:
        config = self.config
        member = Member(
            role=Role.EXECUTOR,
            node=config.node,
            address=config.advertise or self._server.address,
            strength=config.strength,
            slots=config.slots,
            labels=config.labels,
            caps=caps_of(self._handlers, config.caps),
            version=config.version,
        )
        return replace(member, started_ms=self._clock.now().wall_ms)


def caps_of(
    handlers: Mapping[str, Handler], chosen: Iterable[tuple[str, int]]
) -> tuple[tuple[str, int], ...]:
    """Most attempts at once, by handler: as declared, or as chosen for this executor."""
    declared = {
        name: handler.max_concurrent
        for name, handler in handlers.items()
        if handler.max_concurrent is not None
    }
    return tuple(sorted({**declared, **dict(chosen)}.items()))
