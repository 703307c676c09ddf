"""How the driver is set up: everything that its defaults get wrong for us, in one place.

TCP_NODELAY, because the driver writes 4 KiB slices and waits for a delayed acknowledgement
between them (a batch of 20 rows: 47 ms instead of 2). No retries, because the default policy
sends even a conditional statement again on a broken connection, which then reports that it was
not applied although it was. Compiled parts asserted, because a wheel without them works, slowly.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    RequestValidationException,
    UnresolvableContactPoints,
    protocol,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, ExecutionProfile, NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.policies import (
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)
from cassandra.query import dict_factory, tuple_factory
from timeball.errors import FailedPrecondition, StoreUnavailable, TimeballError

from timeball_server.ports.clock import Clock
from timeball_server.store.cassandra.config import CassandraConfig
from timeball_server.store.cassandra.statements import Level

PROTOCOL_VERSION: Final = 5
_HEARTBEAT_S: Final = 3
_HEARTBEAT_TIMEOUT_S: Final = 2
_CONNECT_TIMEOUT_S: Final = 2
_RECONNECT_S: Final = 1.0
_PAUSE_MS: Final = 500
_FAILURES: Final = (
    NoHostAvailable,
    DriverException,
    UnresolvableContactPoints,
    ConnectionException,
    protocol.ErrorMessage,
    OSError,
)

# Checked before execution. The driver words some of these itself, others are its messages.
REFUSED: Final = (RequestValidationException, protocol.RequestValidationException)

Say = Callable[[str], None]
"""Takes one line for people."""
Prepare = Callable[[Any, Any], None]
"""Asks a connected cluster and its session; blocks."""


def connection_class() -> Any:
    """The libev connection.

    Raises:
        FailedPrecondition: the installed driver lacks a compiled part.
    """
    try:
        import cassandra.cmurmur3
        import cassandra.row_parser  # noqa: F401
        from cassandra.io.libevreactor import LibevConnection
    except (ImportError, DriverException) as error:
        raise FailedPrecondition(
            f"The installed cassandra-driver has no compiled parts ({error}). Install a wheel of "
            "cassandra-driver 3.30.1 or newer for this Python, on a system with libev."
        ) from error
    return LibevConnection


class NeverRetry(FallthroughRetryPolicy):  # type: ignore[misc]  # the vendor has no types
    """Every failure is the caller's to judge: it knows what may be sent twice."""


def profiles(config: CassandraConfig) -> dict[str, Any]:
    """One execution profile for each level."""
    balancing = TokenAwarePolicy(
        DCAwareRoundRobinPolicy(local_dc=config.datacenter), shuffle_replicas=False
    )

    def profile(consistency: int, rows: Callable[..., Any], **more: Any) -> Any:
        return ExecutionProfile(
            load_balancing_policy=balancing,
            retry_policy=NeverRetry(),
            consistency_level=consistency,
            request_timeout=config.request_timeout_ms / 1_000,
            row_factory=rows,
            **more,
        )

    serial = {"serial_consistency_level": ConsistencyLevel.LOCAL_SERIAL}
    return {
        Level.PLAIN.value: profile(ConsistencyLevel.LOCAL_QUORUM, tuple_factory),
        Level.CONDITIONAL.value: profile(ConsistencyLevel.LOCAL_QUORUM, dict_factory, **serial),
        Level.SERIAL.value: profile(ConsistencyLevel.LOCAL_SERIAL, tuple_factory),
        Level.LISTING.value: profile(ConsistencyLevel.LOCAL_ONE, tuple_factory),
    }


def new_cluster(config: CassandraConfig) -> Any:
    """A driver instance, not yet connected.

    Table metadata is off; `connect` loads the keyspace's replication alone, which is what routing
    by token needs. No statement takes the driver's own timestamps.
    """
    auth = PlainTextAuthProvider(config.username, config.password) if config.username else None
    return Cluster(
        config.contact_points,
        port=config.port,
        connection_class=connection_class(),
        sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        protocol_version=PROTOCOL_VERSION,
        compression=False,
        auth_provider=auth,
        ssl_context=config.ssl_context,
        execution_profiles=profiles(config),
        # The default number of attempts is 64: a minute of absence, and the node is forgotten.
        reconnection_policy=ConstantReconnectionPolicy(_RECONNECT_S, max_attempts=None),
        connect_timeout=_CONNECT_TIMEOUT_S,
        control_connection_timeout=_CONNECT_TIMEOUT_S,
        idle_heartbeat_interval=_HEARTBEAT_S,
        idle_heartbeat_timeout=_HEARTBEAT_TIMEOUT_S,
        schema_metadata_enabled=False,
    )


def connect_once(
    config: CassandraConfig,
    keyspace: str | None,
    prepare: Prepare | None = None,
    make: Callable[[CassandraConfig], Any] = new_cluster,
) -> tuple[Any, Any]:
    """Connect from a thread that may wait; the cluster and its session.

    Args:
        prepare: what else the database must answer before it counts as reached.
        make: makes the driver's instance.

    Raises:
        StoreUnavailable: no node could be reached, or too few of them.
        FailedPrecondition: the credentials are wrong, the keyspace is not there, or the servers
            refuse a statement.
    """
    cluster = make(config)
    try:
        session = cluster.connect()
        session.use_client_timestamp = False
        if keyspace is not None:
            _use(session, cluster, keyspace)
        if prepare is not None:
            prepare(cluster, session)
    except _FAILURES as error:
        cluster.shutdown()
        raise _refusal(config, error) from error
    except BaseException:
        cluster.shutdown()
        raise
    return cluster, session


def _use(session: Any, cluster: Any, keyspace: str) -> None:
    name = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = %s"
    found = session.execute(name, (keyspace,), execution_profile=Level.PLAIN.value)
    if not found.one():
        raise FailedPrecondition(
            f"There is no keyspace {keyspace}. Run `timeball schema apply` once for this cluster, "
            "or correct the name of the keyspace."
        )
    session.set_keyspace(keyspace)
    cluster.refresh_keyspace_metadata(keyspace)


def _refusal(config: CassandraConfig, error: BaseException) -> TimeballError:
    causes = [*error.errors.values()] if isinstance(error, NoHostAvailable) else [error]
    if any(isinstance(cause, AuthenticationFailed) for cause in causes):
        return FailedPrecondition(
            f"Cassandra at {config.address} refuses the user name or the password of "
            f"{config.username or 'nobody'!r}. Correct store.username and store.password of this "
            "process."
        )
    if isinstance(error, REFUSED):
        return FailedPrecondition(
            f"Cassandra at {config.address} refuses a statement of this version: {error}. Look at "
            "`timeball schema plan`, and whether the servers are of a version that we support."
        )
    cause = " ".join(str(causes[0]).split()) if causes else str(error)
    return StoreUnavailable(f"Cassandra at {config.address} cannot be reached: {cause[:200]}.")


async def connect(
    config: CassandraConfig,
    clock: Clock,
    say: Say,
    keyspace: str | None,
    prepare: Prepare | None = None,
    make: Callable[[CassandraConfig], Any] = new_cluster,
) -> tuple[Any, Any]:
    """Connect, again and again until the deadline; says once that it waits.

    Args:
        prepare, make: as for `connect_once`.

    Raises:
        StoreUnavailable: the deadline came first.
        FailedPrecondition: as `connect_once`; not repeated.
    """
    deadline_ms = clock.now().mono_ms + config.connect_deadline_ms
    has_said = False
    while True:
        try:
            return await asyncio.to_thread(connect_once, config, keyspace, prepare, make)
        except StoreUnavailable as error:
            if clock.now().mono_ms + _PAUSE_MS >= deadline_ms:
                raise
            if not has_said:
                say(f"{error} Trying for up to {config.connect_deadline_ms // 1_000} s.")
                has_said = True
        await clock.sleep_ms(_PAUSE_MS)
