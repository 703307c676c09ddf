"""Which adapters the server's commands work on; no other module of the command line names them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from timeball_server.runtime.clock import SystemClock
from timeball_server.runtime.entropy import system_random
from timeball_server.store.cassandra.applying import Applier
from timeball_server.store.cassandra.config import CassandraConfig
from timeball_server.store.cassandra.driver import connect
from timeball_server.store.cassandra.migrations import Wishes
from timeball_server.store.cassandra.tls import tls_context


class SchemaApplier:
    """The commands of `timeball schema` on one keyspace."""

    def __init__(self, applier: Applier) -> None:
        self._applier = applier

    def plan(self, replicas: Mapping[str, int] | None, shard_count: int | None) -> list[str]:
        """What apply would do, one line each; raises as `Applier.plan`."""
        wishes = Wishes(replicas=replicas, shard_count=shard_count)
        return self._applier.plan(wishes).lines

    def apply(self, replicas: Mapping[str, int] | None, shard_count: int | None) -> None:
        """Bring the keyspace to this version's schema; raises as `Applier.apply`."""
        self._applier.apply(Wishes(replicas=replicas, shard_count=shard_count))


def cassandra_at(
    hosts: tuple[str, ...], port: int, *, tls_ca: str = "", **more: Any
) -> CassandraConfig:
    """Where the database is; `more` are further settings of CassandraConfig.

    Raises:
        InvalidRequest: the keyspace has a name that would have to be quoted.
        FailedPrecondition: the file of the CA cannot be used.
    """
    return CassandraConfig(contact_points=hosts, port=port, ssl_context=tls_context(tls_ca), **more)


@contextmanager
def schema_applier(config: CassandraConfig, say: Callable[[str], None]) -> Iterator[SchemaApplier]:
    """Connected to the cluster, whether the keyspace is there or not.

    Raises:
        StoreUnavailable: no node answered before the deadline of the configuration.
        FailedPrecondition: wrong credentials.
    """
    # The number tells two runs of one process id on two machines of one name apart.
    number = system_random().getrandbits(32)
    owner = f"{socket.gethostname()} process {os.getpid()} run {number:08x}"
    cluster, driver = asyncio.run(connect(config, SystemClock(), say, None))
    try:
        yield SchemaApplier(Applier(cluster, driver, config.keyspace, owner, say))
    finally:
        cluster.shutdown()
