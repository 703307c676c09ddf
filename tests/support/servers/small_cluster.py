"""A small cluster of our processes on servers of the tests, to see how it lives without them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support import dev_tasks
from tests.support.servers.cassandra_nodes import CassandraCluster
from tests.support.servers.fixtures import unique_name
from tests.support.servers.zookeeper_nodes import ZooKeeperCluster
from tools.local_cluster import LocalCluster, Places, Shape

APP = Path(dev_tasks.__file__)


@contextlib.contextmanager
def small_cluster(
    folder: Path, cassandra: CassandraCluster, zookeeper: ZooKeeperCluster, *settings: str
) -> Iterator[LocalCluster]:
    """One process of each kind, in a keyspace and below a root of their own."""
    name = unique_name("small", 30)
    shape = Shape(
        schedulers=1,
        coordinators=1,
        strengths=(5,),
        shards=4,
        servers={"cassandra": cassandra.endpoints, "zookeeper": zookeeper.endpoints},
        keyspace=name,
        root=f"/{name}",
        settings=settings,
    )
    places = Places(folder)
    places.make()
    cluster = LocalCluster(places, [str(APP)], {dev_tasks.OUT_VARIABLE: str(folder)}, shape)
    try:
        with cluster.running():
            yield cluster
    finally:
        cassandra.heal()
        zookeeper.heal()
        with cassandra.session(request_timeout_s=30) as admin:
            admin.execute(f"DROP KEYSPACE IF EXISTS {name}")
