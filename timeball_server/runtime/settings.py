"""Sections of settings that several services share. Units are in the names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from msgspec import Meta
from timeball.errors import Violation

from timeball_server.core.retention import (
    DEFAULT_RETENTION_MS,
    HOUR_MS,
    LEAST_HOURS,
    MOST_HOURS,
)
from timeball_server.core.retry import DEFAULT_EXECUTOR_DEATHS

Address = Annotated[str, Meta(pattern=r"^\S+:\d{1,5}$")]
"""host:port"""
NodeName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
"""Lower-case letters, digits, dots and hyphens."""


class LogLevel(StrEnum):
    """The least important lines to write."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class CoordinationKind(StrEnum):
    """Which coordination service."""

    LOCAL = "local"
    REMOTE = "remote"
    ZOOKEEPER = "zookeeper"


class StoreKind(StrEnum):
    """Which store."""

    MEMORY = "memory"
    SQLITE = "sqlite"
    CASSANDRA = "cassandra"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The process itself."""

    name: Annotated[
        NodeName | None,
        Meta(description="name of this node, unique among the living; by default the host's"),
    ] = None
    drain_ms: Annotated[
        int,
        Meta(
            ge=0, le=600_000, description="how long a stopping process may finish what it has begun"
        ),
    ] = 10_000
    log_level: Annotated[LogLevel, Meta(description="the least important lines to write")] = (
        LogLevel.INFO
    )
    log_json: Annotated[bool, Meta(description="write each log line as a JSON object")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenSettings:
    """Where a service listens."""

    host: Annotated[str, Meta(min_length=1, description="address to listen on")] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65_535, description="port to listen on; 0 lets the system choose")
    ] = 0
    advertise: Annotated[
        Address | None,
        Meta(description="host:port under which others reach this process; by default as above"),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinationSettings:
    """Members, leader and ownership."""

    kind: Annotated[CoordinationKind, Meta(description="which coordination service")] = (
        CoordinationKind.LOCAL
    )
    addresses: Annotated[
        tuple[Address, ...], Meta(description="host:port of each of its servers")
    ] = ()
    session_timeout_ms: Annotated[
        int,
        Meta(
            ge=500,
            le=120_000,
            description="silence after which a process counts as dead; smaller fails over sooner",
        ),
    ] = 4_000
    root: Annotated[
        str, Meta(pattern=r"^(/[^/\s]+)+$", description="entry below which this cluster lives")
    ] = "/timeball"
    user: Annotated[str, Meta(description="zookeeper user; empty means open entries")] = ""
    password: Annotated[str, Meta(description="its password; better in the variable")] = ""
    connect_deadline_ms: Annotated[
        int,
        Meta(ge=0, le=3_600_000, description="how long to wait for its servers at start"),
    ] = 60_000

    def problems(self) -> Iterable[Violation]:
        """Rules across settings."""
        if self.kind is not CoordinationKind.LOCAL and not self.addresses:
            yield Violation("coordination.addresses", f"needed when kind is {self.kind}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Where tasks are kept."""

    kind: Annotated[StoreKind, Meta(description="which store")] = StoreKind.SQLITE
    path: Annotated[str, Meta(description="the file of the sqlite store")] = "timeball.db"
    addresses: Annotated[
        tuple[Address, ...], Meta(description="host:port of each cassandra contact point")
    ] = ()
    keyspace: Annotated[str, Meta(min_length=1, description="keyspace of this cluster")] = (
        "timeball"
    )
    datacenter: Annotated[
        str, Meta(description="cassandra data center; by default that of the contact points")
    ] = ""
    username: Annotated[str, Meta(description="cassandra role; empty means none")] = ""
    password: Annotated[str, Meta(description="its password; better in the variable")] = ""
    connect_deadline_ms: Annotated[
        int, Meta(ge=0, le=3_600_000, description="how long to wait for the database at start")
    ] = 60_000
    tls_ca: Annotated[
        str, Meta(description="PEM file of who signed cassandra's certificates; empty means plain")
    ] = ""
    tls_certificate: Annotated[
        str, Meta(description="PEM file with this process's certificate, if cassandra asks for one")
    ] = ""
    tls_key: Annotated[str, Meta(description="PEM file with the key of that certificate")] = ""

    def problems(self) -> Iterable[Violation]:
        """Rules across settings."""
        if self.kind is StoreKind.CASSANDRA and not self.addresses:
            yield Violation("store.addresses", "needed when kind is cassandra")
        ports = {address.rpartition(":")[2] for address in self.addresses}
        if len(ports) > 1:
            yield Violation("store.addresses", "all contact points listen on the same port")
        if self.kind is StoreKind.SQLITE and not self.path:
            yield Violation("store.path", "needed when kind is sqlite")
        if self.tls_certificate and not (self.tls_key and self.tls_ca):
            yield Violation("store.tls_certificate", "needs store.tls_key and store.tls_ca")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """What this process expects of its cluster; it refuses to start on anything else."""

    name: Annotated[str, Meta(description="cassandra's cluster_name; empty means any")] = ""
    shards: Annotated[int, Meta(ge=0, le=65_536, description="number of shards; 0 means any")] = 0
    replicas: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+=[1-9][0-9]?$")], ...],
        Meta(description="copies by data center, as datacenter1=3; none means any"),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """How long what has ended can be read; alike on all scheduler nodes of a cluster."""

    ended_hours: Annotated[
        int,
        Meta(
            ge=LEAST_HOURS,
            le=MOST_HOURS,
            description="ended tasks are kept so long, and a request id is remembered at least so "
            "long",
        ),
    ] = DEFAULT_RETENTION_MS // HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSettings:
    """When a task is not tried again, whatever its own policy; alike on all scheduler nodes."""

    executor_deaths: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="a task is quarantined, a dead letter, when so many executors died while "
            "they ran it; 0 means never",
        ),
    ] = DEFAULT_EXECUTOR_DEATHS


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where Prometheus reads."""

    host: Annotated[
        str, Meta(min_length=1, description="address to answer on; nobody is asked for a key")
    ] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65_535, description="port of /metrics and /healthz; 0 means none")
    ] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The same API as JSON over HTTP."""

    listen: Annotated[
        str,
        Meta(
            pattern=r"^(\S+:\d{1,5})?$",
            description="host:port for JSON over HTTP; empty means it is not served",
        ),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorsSettings:
    """Where generic gRPC tools look at a process."""

    listen: Annotated[
        str,
        Meta(
            pattern=r"^(\S+:\d{1,5})?$",
            description="host:port for reflection, channelz and health, which ask for no key; "
            "empty means none",
        ),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Who may call."""

    keys_file: Annotated[
        str, Meta(description="TOML file with API keys by key id, beside those of the store")
    ] = ""
    pepper: Annotated[
        str,
        Meta(
            description="secret that keys are hashed with, the same on every coordinator; empty "
            "means open on loopback; better in the variable"
        ),
    ] = ""

    def problems(self) -> Iterable[Violation]:
        """Rules across settings."""
        if self.keys_file and not self.pepper:
            yield Violation("access.pepper", "needed with access.keys_file")
