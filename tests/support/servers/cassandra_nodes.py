"""Real Cassandra for the tests: one node, or three that share every row.

Owns how a node is configured, started and asked. Holds no session open: tests open their own.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    DriverException,
    ExecutionProfile,
    NoHostAvailable,
    Session,
)
from cassandra.connection import ConnectionException
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import (
    ConstantReconnectionPolicy,
    FallthroughRetryPolicy,
    WhiteListRoundRobinPolicy,
)
from cassandra.query import SimpleStatement

from tests.support.servers.addresses import (
    HERE,
    Address,
    free_ports,
    hosts,
    parse,
    write_from_template,
)
from tests.support.servers.nodes import ServerCluster, ServerNode
from tests.support.servers.process import ServerProcess
from tools import jars

REQUEST_TIMEOUT_S = 10.0
DEFINE_TIMEOUT_S = 30.0
RECONNECT_S = 0.2
CONNECT_TIMEOUT_S = 5.0
PORT_TIMEOUT_S = 0.5
SLOW_TIMEOUT_MS, QUICK_TIMEOUT_MS = 10_000, 1_000
TOKENS = 2**64
COMMITLOGS = {
    "batch": "commitlog_sync: batch",
    "periodic": "commitlog_sync: periodic\ncommitlog_sync_period: 1000ms",
}
# Empty, in every cluster from its first moment, and copied three times: reading all of it at ALL
# succeeds only when every node is seen alive.
EVERYBODY = "SELECT view_name FROM system_distributed.view_build_status"
REFUSALS = (NoHostAvailable, DriverException, ConnectionException, OSError)
"""How the driver says that a node does not serve now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How a node is sized.

    Attributes:
        java: options of its machine beside those of `cassandra.jvm`.
    """

    heap_mb: int
    memtable_mib: int
    commitlog_mib: int
    file_cache_mib: int
    java: tuple[str, ...] = ()


SMALL = Tuning(
    heap_mb=384,
    memtable_mib=48,
    commitlog_mib=128,
    file_cache_mib=32,
    java=("-XX:TieredStopAtLevel=1", "-XX:MaxDirectMemorySize=128m"),
)
"""For tests: serves within seconds, in little memory, and its code is compiled once and quickly."""
STEADY = Tuning(heap_mb=1_536, memtable_mib=256, commitlog_mib=1_024, file_cache_mib=256)
"""For measurements: the machine's own compiler, and memory as a small server would give it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a client needs to be let in: nothing, by default."""

    username: str = ""
    password: str = ""
    ssl_context: ssl.SSLContext | None = None


OPEN = Access()


@contextlib.contextmanager
def session(
    *addresses: Address, request_timeout_s: float = REQUEST_TIMEOUT_S, access: Access = OPEN
) -> Iterator[Session]:
    """A session that asks these nodes only, in turn, and tells every failure instead of retrying.

    Any node that dies is asked again soon. Raises `NoHostAvailable` when none of them answers.
    """
    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy([address.host for address in addresses]),
        retry_policy=FallthroughRetryPolicy(),
        consistency_level=ConsistencyLevel.QUORUM,
        request_timeout=request_timeout_s,
    )
    driver = Cluster(
        contact_points=[address.host for address in addresses],
        port=addresses[0].port,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connection_class=LibevConnection,
        protocol_version=5,
        auth_provider=PlainTextAuthProvider(access.username, access.password)
        if access.username
        else None,
        ssl_context=access.ssl_context,
        reconnection_policy=ConstantReconnectionPolicy(RECONNECT_S, max_attempts=None),
        connect_timeout=CONNECT_TIMEOUT_S,
        control_connection_timeout=CONNECT_TIMEOUT_S,
        sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
    try:
        yield driver.connect()
    finally:
        driver.shutdown()


class CassandraNode(ServerNode):
    """One Cassandra node; `access` is how its tests get in."""

    def __init__(
        self, *, address: Address, process: ServerProcess | None = None, access: Access = OPEN
    ) -> None:
        super().__init__(address=address, process=process)
        self.access = access

    def answers(self) -> bool:
        """Whether CQL works here: the port first, since asking the driver costs more."""
        with contextlib.suppress(OSError):
            where = (self.address.host, self.address.port)
            socket.create_connection(where, PORT_TIMEOUT_S).close()
            return self._reads("SELECT release_version FROM system.local", ConsistencyLevel.ONE)
        return False

    def sees_everybody(self) -> bool:
        """Whether it takes every node of its cluster for alive."""
        return self._reads(EVERYBODY, ConsistencyLevel.ALL)

    def _reads(self, cql: str, consistency_level: int) -> bool:
        with contextlib.suppress(*REFUSALS), session(self.address, access=self.access) as asked:
            asked.execute(SimpleStatement(cql, consistency_level=consistency_level))
            return True
        return False


class CassandraCluster(ServerCluster[CassandraNode]):
    """One node, or several that each hold every row."""

    @property
    def replicas(self) -> int:
        """How often a row is held: by every node, by three at most."""
        return min(len(self.nodes), 3)

    def is_whole(self) -> bool:
        """Whether every node takes every other for alive."""
        return len(self.nodes) == 1 or all(node.sees_everybody() for node in self.nodes)

    @contextlib.contextmanager
    def session(self, **settings: Any) -> Iterator[Session]:
        """A session with every node; see `session`."""
        access = self.nodes[0].access
        with session(*self.addresses, **{"access": access, **settings}) as opened:
            yield opened

    @contextlib.contextmanager
    def keyspace(self, name: str) -> Iterator[str]:
        """A keyspace of that name, new and empty, dropped after the block."""
        copies = f"{{'class': 'NetworkTopologyStrategy', 'replication_factor': {self.replicas}}}"
        self._define(f"DROP KEYSPACE IF EXISTS {name}")
        self._define(f"CREATE KEYSPACE {name} WITH replication = {copies}")
        try:
            yield name
        finally:
            self._define(f"DROP KEYSPACE {name}")

    def _define(self, cql: str) -> None:
        """Changes the schema, in a session of its own: the last one's nodes may have died since."""
        with self.session(request_timeout_s=DEFINE_TIMEOUT_S) as admin:
            admin.execute(cql)


def existing(text: str) -> CassandraCluster:
    """Servers that run already, written `host:port,...`; they share one port."""
    nodes = tuple(CassandraNode(address=address) for address in parse(text))
    return CassandraCluster(nodes=nodes)


def prepared(
    count: int,
    *,
    name: str,
    folder: Path,
    logs: Path,
    commitlog: str = "batch",
    guard: str = "",
    access: Access = OPEN,
    tuning: Tuning = SMALL,
    on: tuple[str, ...] = (),
) -> CassandraCluster:
    """A cluster of `count` nodes with everything written and nothing started.

    `commitlog` is a name of COMMITLOGS: `batch` keeps every acknowledged write, `periodic` is fast.
    `guard` are further lines of their settings, about who is let in, and `access` is who that is.
    `on` are their addresses, those of loopback by default.

    Raises:
        JarsError: Java 17 or the jars are missing.
    """
    program, libraries, on = jars.java(), jars.fetch("cassandra"), on or hosts(count)
    cql_port, storage_port = free_ports(2, on)
    nodes = []
    for number, host in enumerate(on):
        home = folder / f"node{number}"
        home.mkdir(parents=True)
        facts = {
            "cluster": name,
            "host": host,
            "cql_port": cql_port,
            "storage_port": storage_port,
            "seeds": ",".join(on),
            "commitlog": COMMITLOGS[commitlog],
            "guard": guard,
            "memtable_mib": tuning.memtable_mib,
            "commitlog_mib": tuning.commitlog_mib,
            "file_cache_mib": tuning.file_cache_mib,
            "timeout_ms": SLOW_TIMEOUT_MS if count == 1 else QUICK_TIMEOUT_MS,
            "token": number * (TOKENS // count) - TOKENS // 2,
        }
        write_from_template("cassandra.yaml", home / "cassandra.yaml", facts)
        process = ServerProcess(
            name=f"{name}-{number}",
            command=command(program, libraries, home, tuning),
            log=logs / f"{name}-{number}.log",
        )
        where = Address(host=host, port=cql_port)
        nodes.append(CassandraNode(address=where, process=process, access=access))
    return CassandraCluster(nodes=tuple(nodes), folder=folder)


def command(program: Path, libraries: Path, home: Path, tuning: Tuning) -> list[str]:
    """The command line of a node whose settings and data are in `home`."""
    agent = next(libraries.glob("jamm-*.jar"))
    temporary = home / "tmp"
    temporary.mkdir()
    return [
        str(program),
        f"-Xms{tuning.heap_mb // 2}m",
        f"-Xmx{tuning.heap_mb}m",
        *tuning.java,
        f"@{HERE / 'cassandra.jvm'}",
        f"-javaagent:{agent}",
        f"-Djava.io.tmpdir={temporary}",
        f"-Djna.tmpdir={temporary}",
        f"-Dcassandra.config={(home / 'cassandra.yaml').as_uri()}",
        f"-Dcassandra.storagedir={home / 'data'}",
        f"-Dlogback.configurationFile={HERE / 'logback.xml'}",
        *("-cp", str(libraries / "*")),
        "org.apache.cassandra.service.CassandraDaemon",
    ]
