"""A cluster in this process: two coordinators, two scheduler nodes, an executor, real gRPC.

Memory instead of a store, in-process coordination, and a wire to each coordinator that a test can
cut. Its handlers wait until the test lets them go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final

from timeball import AsyncClient
from timeball.registry import Handler

from coordinator.node import CoordinatorConfig
from coordinator.service import Coordinator, Doors
from coordinator.wiring import coordinator, coordinator_ports
from executor_node.membership import SessionMemberships
from executor_node.service import ExecutorConfig, ExecutorService
from scheduler_node.service import SchedulerNodeConfig
from scheduler_node.wiring import SchedulerNodeProcess
from tests.support.held_store import HeldStore, Leash
from tests.support.polls import eventually
from tests.support.tcp_proxy import TcpProxy
from timeball_server.coordination.local import LocalCoordinator, LocalSession
from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.ids import Incarnation, Minute, NodeId
from timeball_server.ports.coordination import Member
from timeball_server.rpc.auth import OpenLoopback
from timeball_server.rpc.owner_transport import GrpcOwnerDialer
from timeball_server.runtime.clock import SystemClock
from timeball_server.runtime.entropy import fresh_random
from timeball_server.runtime.lifecycle import Service
from timeball_server.store.memory import MemoryDatabase, MemoryStore

SHARDS: Final = 4
SESSION_MS: Final = 60_000
"""Far longer than any test is slow: a session ends, and a lease with it, when the test says so."""
LISTEN: Final = "127.0.0.1:0"
LAYOUT: Final = Layout((LayoutRow(from_minute=Minute(0), shard_count=SHARDS),))
GATED: Final = "it.gated"
CAPPED: Final = "it.capped"
"""As the other one, but no more than one at a time."""


class WiredMemberships(SessionMemberships):
    """An executor's, who is reached through a wire that a test can hold up and cut."""

    wire: TcpProxy | None = None

    async def join(self, member: Member) -> Incarnation:
        """Become a member at the near end of a new wire."""
        host, _, port = member.address.rpartition(":")
        wire = await TcpProxy(host, int(port)).__aenter__()
        incarnation = await super().join(replace(member, address=wire.address))
        self.wire = wire
        return incarnation

    async def leave(self) -> None:
        """Close the session, then the wire."""
        await super().leave()
        if self.wire is not None:
            await self.wire.__aexit__()
            self.wire = None


class ClusterInProcess:
    """The cluster while it runs."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.database = MemoryDatabase(LAYOUT)
        self.leash = Leash()
        self.service = LocalCoordinator(100, self.clock)
        self.coordinators: list[Coordinator] = []
        self.wires: list[TcpProxy] = []
        self.gate = asyncio.Event()
        self.starts: list[int] = []
        self._executor_membership: WiredMemberships | None = None
        self._sessions: dict[str, LocalSession] = {}

    @property
    def address(self) -> str:
        """Both coordinators, through their wires."""
        return ",".join(wire.address for wire in self.wires)

    async def owners(self) -> set[str]:
        """Who owns shards now; empty while a shard has no owner."""
        found = (await self.coordinators[-1].node.overview()).shards
        names = {str(each.owner) for each in found}
        return set() if "None" in names else names

    async def settled(self) -> bool:
        """Whether every shard has an owner."""
        return bool(await self.owners())

    def expire(self, node: str) -> None:
        """A node's session is over, as if it had been silent for too long; also when it is cut."""
        self.service.expire(self._sessions[node])

    @property
    def executor_wire(self) -> TcpProxy:
        """Between the scheduler nodes and the executor."""
        joined = self._executor_membership
        wire = None if joined is None else joined.wire
        assert wire is not None, "the executor has not joined"
        return wire

    def cut(self, node: str) -> None:
        """A node hears nothing from the coordination service, until it is healed."""
        self._sessions[node].cut()

    def heal(self, node: str) -> None:
        """It does again, and learns whether its session has lived on."""
        self._sessions[node].heal()

    def members(self) -> list[Service]:
        """Everything but the coordinators."""
        return [*(self._node(f"scheduler-{number}") for number in (1, 2)), self._executor()]

    def coordinator(self, name: str) -> Coordinator:
        """A coordinator that has not been started."""
        dialer = GrpcOwnerDialer(clock=self.clock, rng=fresh_random())

        async def connect() -> LocalSession:
            return await self.service.connect(SESSION_MS)

        ports = coordinator_ports(
            store=MemoryStore(self.database),
            connect=connect,
            dialer=dialer,
            clock=self.clock,
            layout=LAYOUT,
        )
        config = CoordinatorConfig(node=NodeId(name), address="")
        doors = Doors(listen=LISTEN, authenticator=OpenLoopback(LISTEN), store="memory")
        return coordinator(config, ports, LAYOUT, doors)

    def _node(self, name: str) -> SchedulerNodeProcess:
        async def connect() -> LocalSession:
            self._sessions[name] = await self.service.connect(SESSION_MS)
            return self._sessions[name]

        config = SchedulerNodeConfig(
            node=NodeId(name), address=LISTEN, engine=EngineConfig(session_timeout_ms=SESSION_MS)
        )
        store = HeldStore(self.database, self.leash)
        return SchedulerNodeProcess(config, store, connect, self.clock)

    def _executor(self) -> ExecutorService:
        async def gated(number: int) -> int:
            self.starts.append(number)
            await self.gate.wait()
            return number

        handlers = {name: Handler(name, gated) for name in (GATED, CAPPED)}
        memberships = self._executor_membership = WiredMemberships(self._connect)
        config = ExecutorConfig(node=NodeId("executor-1"), drain_ms=1_000, caps=((CAPPED, 1),))
        return ExecutorService(config, handlers, memberships, self.clock)

    def another_executor(self, name: str, handler: Handler, slots: int) -> ExecutorService:
        """One that has not been started and serves a handler of the test's."""
        memberships = SessionMemberships(self._connect)
        config = ExecutorConfig(node=NodeId(name), slots=slots, drain_ms=1_000)
        return ExecutorService(config, {handler.name: handler}, memberships, self.clock)

    async def _connect(self) -> LocalSession:
        return await self.service.connect(SESSION_MS)


@asynccontextmanager
async def cluster_in_process() -> AsyncIterator[ClusterInProcess]:
    """Everything serves inside the block and has ended after it.

    Coordinators end last: a scheduler node that leaves waits for a leader to wish its shards away.
    """
    cluster = ClusterInProcess()
    async with AsyncExitStack() as last, AsyncExitStack() as first:
        last.push_async_callback(cluster.service.close)
        for member in cluster.members():
            await member.start()
            first.push_async_callback(member.stop)
        for number in (1, 2):
            made = cluster.coordinator(f"coordinator-{number}")
            await made.start()
            last.push_async_callback(made.stop)
            host, _, port = made.address.rpartition(":")
            cluster.coordinators.append(made)
            cluster.wires.append(await last.enter_async_context(TcpProxy(host, int(port))))
        await eventually(cluster.settled, "every shard has an owner")
        yield cluster


@asynccontextmanager
async def client_of(cluster: ClusterInProcess) -> AsyncIterator[AsyncClient]:
    """A client that knows both coordinators."""
    async with AsyncClient(cluster.address) as client:
        yield client
