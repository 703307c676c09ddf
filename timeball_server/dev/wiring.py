"""Puts a whole cluster into one process: the same services, other adapters.

SQLite instead of Cassandra, in-process coordination instead of ZooKeeper, real gRPC between the
services. Nothing here is replicated: the promises hold for as long as this disk does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from timeball.registry import Handler

from coordinator.node import CoordinatorConfig
from coordinator.service import Coordinator, Doors
from coordinator.wiring import coordinator, coordinator_ports, membership_service
from executor_node.membership import SessionMemberships
from executor_node.service import ExecutorConfig, ExecutorService
from scheduler_node.service import SchedulerNodeConfig
from scheduler_node.wiring import SchedulerNodeProcess
from timeball_server.coordination.local import LocalCoordinator, LocalSession
from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.ids import Minute, NodeId
from timeball_server.core.retention import DEFAULT_RETENTION_MS, HOUR_MS
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Membership
from timeball_server.ports.store import Store
from timeball_server.rpc.auth import Authenticator
from timeball_server.rpc.owner_transport import GrpcOwnerDialer
from timeball_server.runtime.clock import SystemClock
from timeball_server.runtime.entropy import fresh_random
from timeball_server.runtime.lifecycle import Phase, Service
from timeball_server.store.memory import MemoryDatabase, MemoryStore
from timeball_server.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from timeball_server.runtime.metrics import MetricsServer

SHARDS: Final = 4
"""Shards of a new dev database; an existing one keeps the layout it was made with."""
SESSION_TIMEOUT_MS: Final = 4_000
DRAIN_MS: Final = 3_000
"""A person waits for the prompt: what still runs after most of this time is handed back."""
_LOOK_EVERY_MS: Final = 5
_LOOPBACK: Final = "127.0.0.1:0"


@dataclass(frozen=True, slots=True, kw_only=True)
class DevConfig:
    """What `timeball dev` was asked for.

    Attributes:
        listen: host:port for callers, and for executors of other processes.
        data: the SQLite file, None = memory only.
        slots: attempts at once in the built-in executor.
        start_log: file for one JSON line per start, if wanted.
        metrics: host:port for Prometheus, if wanted.
        http: host:port for JSON over HTTP, empty for none.
        operators: host:port for reflection, channelz and health, empty for none.
        retention_hours: ended tasks are kept so long, as the setting `retention.ended_hours`.
    """

    listen: str
    data: Path | None
    slots: int
    start_log: Path | None
    version: str
    metrics: str | None = None
    http: str = ""
    operators: str = ""
    retention_hours: int = DEFAULT_RETENTION_MS // HOUR_MS


def engine_config(config: DevConfig) -> EngineConfig:
    """What the scheduler node goes by."""
    return EngineConfig(
        session_timeout_ms=SESSION_TIMEOUT_MS, retention_ms=config.retention_hours * HOUR_MS
    )


class DevCluster(Service):
    """Coordinator, scheduler node and executor, started in the order in which they need each other.

    Args:
        handlers: what the built-in executor serves; without any there is no such executor.
        clock: everybody's; the system's where none is given.
    """

    def __init__(
        self,
        config: DevConfig,
        authenticator: Authenticator,
        handlers: Mapping[str, Handler],
        clock: Clock | None = None,
    ) -> None:
        super().__init__("timeball dev")
        self._config = config
        self._authenticator = authenticator
        self._handlers = handlers
        self._clock: Clock = clock or SystemClock()
        self._store: Store | None = None
        self._coordination: LocalCoordinator | None = None
        self._coordinator: Coordinator | None = None
        self._services: list[Service] = []
        self._metrics: MetricsServer | None = None

    @property
    def address(self) -> str:
        """Where callers and executors of other processes reach it."""
        return self._coordinator.address if self._coordinator else self._config.listen

    @property
    def http_address(self) -> str:
        """Where JSON over HTTP is served; empty for nowhere."""
        return self._coordinator.http_address if self._coordinator else self._config.http

    @property
    def operators_address(self) -> str:
        """Where generic gRPC tools look; empty for nowhere."""
        return self._coordinator.operators_address if self._coordinator else ""

    @property
    def metrics_address(self) -> str | None:
        """Where Prometheus reads, if wanted."""
        return None if self._metrics is None else self._metrics.address

    async def _begin(self) -> None:
        store = self._store = await self._open_store()
        first_zxid = await store.highest_epoch() + 1
        self._coordination = LocalCoordinator(first_zxid, self._clock)
        layout = await self._layout(store)
        self._coordinator = self._make_coordinator(store, layout)
        node = self._make_node(store)
        self._services = [node, *self._make_executors(), self._coordinator]
        if self._config.metrics is not None:
            from timeball_server.runtime.metrics import MetricsServer

            sources = (node.node.shell.metrics, self._coordinator.metrics)
            self._metrics = MetricsServer(self._config.metrics, sources, self._is_ready)
            self._services.append(self._metrics)
        for service in self._services:
            await service.start()
            self.spawn(f"watch {service.name}", service.wait_stopped())
        await self._shards_owned(self._coordinator)

    async def _shards_owned(self, coordinator: Coordinator) -> None:
        """Ready means that a first task need not wait for anybody to take its shard."""
        while None in {shard.owner for shard in (await coordinator.node.overview()).shards}:
            await self._clock.sleep_ms(_LOOK_EVERY_MS)

    def _is_ready(self) -> bool:
        return self.phase is Phase.RUNNING

    async def _end(self) -> None:
        for service in reversed(self._services):
            await service.stop()
        if self._coordination is not None:
            await self._coordination.close()
        if self._store is not None:
            await self._store.close()

    async def _open_store(self) -> Store:
        if self._config.data is None:
            return MemoryStore(MemoryDatabase())
        return await SqliteStore.open(self._config.data)

    async def _layout(self, store: Store) -> Layout:
        """The layout of the database; a new one gets its first row (a cluster fact)."""
        layout = await store.read_layout()
        if layout is None:
            await store.add_layout(LayoutRow(from_minute=Minute(0), shard_count=SHARDS))
            layout = await store.read_layout()
        if layout is None:
            raise AssertionError("a layout row was added and is not there")
        return layout

    async def _connect(self) -> LocalSession:
        return await self._session(SESSION_TIMEOUT_MS)

    async def _connect_member(self) -> Membership:
        return await self._connect()

    async def _session(self, session_timeout_ms: int) -> LocalSession:
        if self._coordination is None:
            raise AssertionError("sessions are opened after the start")
        return await self._coordination.connect(session_timeout_ms)

    def _make_node(self, store: Store) -> SchedulerNodeProcess:
        config = SchedulerNodeConfig(
            node=NodeId("scheduler-1"),
            address=_LOOPBACK,
            engine=engine_config(self._config),
            version=self._config.version,
        )
        return SchedulerNodeProcess(config, store, self._connect, self._clock)

    def _make_executors(self) -> list[ExecutorService]:
        if not self._handlers:
            return []
        config = ExecutorConfig(
            node=NodeId("executor-1"),
            slots=self._config.slots,
            start_log=self._config.start_log,
            drain_ms=DRAIN_MS,
            version=self._config.version,
        )
        memberships = SessionMemberships(self._connect_member)
        return [ExecutorService(config, self._handlers, memberships, self._clock)]

    def _make_coordinator(self, store: Store, layout: Layout) -> Coordinator:
        dialer = GrpcOwnerDialer(clock=self._clock, rng=fresh_random())
        ports = coordinator_ports(
            store=store,
            connect=self._connect,
            dialer=dialer,
            clock=self._clock,
            layout=layout,
            inspect=dialer.inspector,
            observe=dialer.observer,
        )
        config = CoordinatorConfig(
            node=NodeId("coordinator-1"), address="", version=self._config.version
        )
        doors = Doors(
            listen=self._config.listen,
            authenticator=self._authenticator,
            node_services=(membership_service(self._session, self._clock),),
            store="memory" if self._config.data is None else "sqlite",
            http=self._config.http,
            operators=self._config.operators,
        )
        return coordinator(config, ports, layout, doors)
