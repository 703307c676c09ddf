"""A coordinator without its doors: one session after another, routes, leadership and TaskApi.

Owns the life cycle of the session. Losing it costs nothing but the leadership: coordinators
keep no state that others rely on, and the routes of before stay in use as hints. The gRPC
service and the simulation put their own doors around this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final

import structlog
from timeball.errors import CoordinationUnavailable, TimeballError

from coordinator.api import TaskApi
from coordinator.overview import Overview, read_overview
from coordinator.owner_calls import OwnerCalls
from coordinator.requests import Cluster
from coordinator.routing import Router
from timeball_server.core.buckets import Layout
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import CoordinationSession, Member, Role
from timeball_server.ports.owners import OwnerDialer, OwnerInspector, OwnerObserver
from timeball_server.ports.store import Store
from timeball_server.runtime.joining import join_in_turn
from timeball_server.runtime.lifecycle import Service

log = structlog.stdlib.get_logger("coordinator")
REJOIN_MS: Final = 500
"""Pause between two tries to join again."""
Connect = Callable[[], Awaitable[CoordinationSession]]
Lead = Callable[[CoordinationSession], Awaitable[None]]
"""Stands for leader and leads, until the session is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorConfig:
    """A coordinator's own settings. `token_key` seals page tokens: one for the whole cluster."""

    node: NodeId
    address: str
    version: str = ""
    token_key: bytes = b"timeball page token"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorPorts:
    """The world around a coordinator. `connect` opens a fresh session each time.

    `inspect` finds scheduler nodes by address for operators, `observe` for consoles; None = nobody
    can be asked.
    """

    store: Store
    connect: Connect
    dialer: OwnerDialer
    clock: Clock
    lead: Lead
    entropy: Random
    inspect: Callable[[str], OwnerInspector] | None = None
    observe: Callable[[str], OwnerObserver] | None = None


class CoordinatorNode(Service):
    """The service without doors."""

    def __init__(self, config: CoordinatorConfig, ports: CoordinatorPorts, layout: Layout) -> None:
        super().__init__(f"coordinator {config.node}")
        self.config = config
        self.router = Router(ports.dialer, ports.clock)
        self.inspect = ports.inspect
        self.observe = ports.observe
        self._ports = ports
        self._layout = layout
        self._session: CoordinationSession | None = None
        self.cluster = Cluster(
            store=ports.store,
            calls=OwnerCalls(self.router, ports.clock),
            clock=ports.clock,
            layout=layout,
            entropy=ports.entropy,
            token_key=config.token_key,
        )
        self.api = TaskApi(self.cluster)

    async def overview(self) -> Overview:
        """The cluster as the coordination service has it.

        Raises:
            CoordinationUnavailable: it cannot be reached now.
        """
        if self._session is None:
            raise _no_session()
        return await read_overview(self._session, self._layout)

    async def wish(self, shard: ShardId, node: NodeId | None) -> None:
        """Say where an operator wants a shard to be, or that it may be anywhere (None).

        Raises:
            CoordinationUnavailable: it cannot be noted now.
        """
        if self._session is None:
            raise _no_session()
        await self._session.write_wish(shard, node)

    async def _begin(self) -> None:
        await self._join()
        self.spawn("sessions", self._live())

    async def _end(self) -> None:
        await self._leave()
        await self._ports.dialer.close()

    async def _live(self) -> None:
        """Lead or stand by for as long as the session lasts; then the next session."""
        while True:
            if self._session is not None:
                await self._ports.lead(self._session)
            await self._leave()
            try:
                await self._join()
            except TimeballError as error:
                log.warning("cannot join", node=self.config.node, error=str(error))
                await self._ports.clock.sleep_ms(REJOIN_MS)

    async def _join(self) -> None:
        config = self.config
        session = await self._ports.connect()
        member = Member(
            role=Role.COORDINATOR,
            node=config.node,
            address=config.address,
            started_ms=self._ports.clock.now().wall_ms,
            version=config.version,
        )
        incarnation = await join_in_turn(session, member, self._ports.clock)
        self._session = session
        self.router.attach(session)
        log.info("joined", node=config.node, incarnation=incarnation)

    async def _leave(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _no_session() -> CoordinationUnavailable:
    return CoordinationUnavailable(
        "This coordinator has no session with the coordination service right now; "
        "repeat the call in a moment."
    )
