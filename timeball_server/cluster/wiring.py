"""Opens what the settings name: the store, and sessions with the coordination service.

Adapters are imported when they are opened: dev mode wires the same services without them, and
their drivers would be a third of its start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from timeball.errors import FailedPrecondition

from timeball_server.cluster.opening import PatientAtFirst
from timeball_server.core.buckets import Layout
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import CoordinationSession
from timeball_server.ports.metrics import Source
from timeball_server.ports.store import Store
from timeball_server.runtime.lifecycle import Service
from timeball_server.runtime.settings import (
    ClusterSettings,
    CoordinationSettings,
    MetricsSettings,
    StoreSettings,
)

Say = Callable[[str], None]
_TRY_MS: Final = 5_000
"""How long one try to open a session with the coordination service may take."""
_SHORTEST_TRY_MS: Final = 500


async def open_store(
    settings: StoreSettings, clock: Clock, say: Say, cluster: ClusterSettings | None = None
) -> Store:
    """Connect to the database, waiting for it until its deadline.

    Args:
        settings: where it is.
        clock: for waits.
        say: takes one line for people while it is not there.
        cluster: facts that it must agree with.

    Raises:
        StoreUnavailable: it was not there in time; the message names the address.
        FailedPrecondition: the schema is not that of this version, or a fact differs.
    """
    from timeball_server.store.cassandra.config import CassandraConfig, Expected
    from timeball_server.store.cassandra.store import CassandraStore
    from timeball_server.store.cassandra.tls import tls_context

    facts = cluster or ClusterSettings()
    copies = (each.partition("=") for each in facts.replicas)

    hosts = tuple(address.rpartition(":")[0] for address in settings.addresses)
    config = CassandraConfig(
        contact_points=hosts,
        port=int(settings.addresses[0].rpartition(":")[2]),
        keyspace=settings.keyspace,
        datacenter=settings.datacenter,
        username=settings.username,
        password=settings.password,
        ssl_context=tls_context(settings.tls_ca, settings.tls_certificate, settings.tls_key),
        connect_deadline_ms=settings.connect_deadline_ms,
        expected=Expected(
            cluster_name=facts.name,
            shard_count=facts.shards,
            replicas={name: int(count) for name, _, count in copies},
        ),
    )
    return await CassandraStore.open(config, clock, say)


async def cluster_layout(store: Store) -> Layout:
    """The cluster's layout.

    Raises:
        FailedPrecondition: the cluster was never bootstrapped.
    """
    layout = await store.read_layout()
    if layout is None:
        raise FailedPrecondition(
            "this database has no layout yet; run `timeball schema apply --shards N` once"
        )
    return layout


def session_opener(
    settings: CoordinationSettings, store: Store, clock: Clock, say: Say
) -> Callable[[], Awaitable[CoordinationSession]]:
    """Opens a fresh session each time it is called, the first one with patience.

    Args:
        settings: where the coordination service is.
        store: of the same cluster: a root that belongs to another one's is refused.
        clock: for waits.
        say: takes one line for people while the service is not there.
    """
    from timeball_server.coordination.zookeeper.identity import open_identified
    from timeball_server.coordination.zookeeper.options import ZooKeeperOptions
    from timeball_server.store.cassandra.store import CassandraStore

    if not isinstance(store, CassandraStore):
        raise AssertionError("a cluster keeps its tasks in cassandra")
    options = ZooKeeperOptions(
        hosts=",".join(settings.addresses),
        root=settings.root,
        session_timeout_ms=settings.session_timeout_ms,
        connect_within_ms=max(_SHORTEST_TRY_MS, min(_TRY_MS, settings.connect_deadline_ms // 2)),
        user=settings.user,
        password=settings.password,
    )

    async def connect() -> CoordinationSession:
        return await open_identified(options, clock, store.identity)

    return PatientAtFirst(connect, clock, say, settings.connect_deadline_ms)


def with_metrics(service: Service, settings: MetricsSettings, sources: Sequence[Source]) -> Service:
    """The service, and its numbers on the port that the settings name, if they name one."""
    if not settings.port:
        return service
    from timeball_server.runtime.metrics import WithMetrics

    return WithMetrics(service, f"{settings.host}:{settings.port}", sources)


class WithStore(Service):
    """A service and the store that was opened for it: started and stopped as one."""

    def __init__(self, service: Service, store: Store) -> None:
        super().__init__(f"{service.name} with its store")
        self._service = service
        self._store = store

    @property
    def address(self) -> str:
        """host:port where the service listens."""
        return str(getattr(self._service, "address", ""))

    async def _begin(self) -> None:
        await self._service.start()
        self.spawn("watch", self._service.wait_stopped())

    async def _end(self) -> None:
        await self._service.stop()
        await self._store.close()
