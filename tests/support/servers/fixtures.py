"""The pytest side of the test servers: who starts one, who shares it, and whose log is shown.

One session starts each cluster at most once, at the first test that asks for it. A server that
cannot be had fails that test with one sentence: nothing is ever skipped for want of a server.

- `cassandra_node`, `zookeeper_node`: one server to use and never to stop. TIMEBALL_TEST_CASSANDRA
  and TIMEBALL_TEST_ZOOKEEPER (`host:port,...`) name existing ones to use instead.
- `cassandra_own`, `zookeeper_own`: one server that may be killed and frozen, always started here;
  the same as `..._node` when no existing one is named.
- `cassandra_three`, `zookeeper_three`: three of them, always started here, to be broken.
- `cassandra_keyspace`: an empty keyspace of the test module. `zookeeper_chroot`: an empty chroot of
  the test.

Whoever breaks a server heals it: by `with node.killed():`, `with node.frozen():` or `heal()`.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import cassandra_nodes, zookeeper_nodes
from tests.support.servers.cassandra_nodes import CassandraCluster
from tests.support.servers.nodes import ServerCluster
from tests.support.servers.zookeeper_nodes import ZooKeeperCluster

CASSANDRA_VARIABLE = "TIMEBALL_TEST_CASSANDRA"
ZOOKEEPER_VARIABLE = "TIMEBALL_TEST_ZOOKEEPER"
LOGS = Path(__file__).resolve().parents[3] / ".cache" / "tests" / "servers"
LOGS_KEPT = 30
KEYSPACE_NAME_LIMIT = 48

Clusters = dict[str, ServerCluster[Any]]
CLUSTERS = pytest.StashKey[Clusters]()


def pytest_configure(config: pytest.Config) -> None:
    """Makes room for the clusters of this session, by the name of their fixture."""
    config.stash[CLUSTERS] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the end of the logs of the servers a failed test used."""
    report = yield
    asked = set(getattr(item, "fixturenames", ()))
    for name, cluster in item.config.stash[CLUSTERS].items():
        if report.failed and name in asked:
            report.sections.append((f"servers of {name}", cluster.tails()))
    return report


def run_name(kind: str) -> str:
    """Names a cluster of this run, so that two runs on one machine keep their logs apart."""
    return f"{kind}-{os.getpid()}"


def logs() -> Path:
    """The folder of all servers' logs, with only the newest of earlier runs in it."""
    LOGS.mkdir(parents=True, exist_ok=True)
    oldest_first = sorted(LOGS.glob("*.log"), key=lambda path: path.stat().st_mtime)
    for path in oldest_first[:-LOGS_KEPT]:
        path.unlink(missing_ok=True)
    return LOGS


@contextlib.contextmanager
def serving(
    request: pytest.FixtureRequest, cluster: ServerCluster[Any], *, is_ours: bool
) -> Iterator[None]:
    """The cluster whole inside the block; ended after it when it is ours."""
    request.config.stash[CLUSTERS][str(request.fixturename)] = cluster
    try:
        if is_ours:
            cluster.start()
        else:
            cluster.wait_whole()
        yield
    finally:
        cluster.close()


def folder(request: pytest.FixtureRequest, kind: str) -> Path:
    """A new folder for a cluster's data."""
    factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    return factory.mktemp(kind)


def own_cassandra(request: pytest.FixtureRequest, count: int) -> Iterator[CassandraCluster]:
    """A Cassandra cluster of ours, started and ended."""
    name = run_name(f"cassandra-{count}")
    place = folder(request, "cassandra")
    cluster = cassandra_nodes.prepared(count, name=name, folder=place, logs=logs())
    with serving(request, cluster, is_ours=True):
        yield cluster


def own_zookeeper(request: pytest.FixtureRequest, count: int) -> Iterator[ZooKeeperCluster]:
    """A ZooKeeper ensemble of ours, started and ended."""
    name = run_name(f"zookeeper-{count}")
    place = folder(request, "zookeeper")
    cluster = zookeeper_nodes.prepared(count, name=name, folder=place, logs=logs())
    with serving(request, cluster, is_ours=True):
        yield cluster


@pytest.fixture(scope="session")
def cassandra_own(request: pytest.FixtureRequest) -> Iterator[CassandraCluster]:
    """One Cassandra node that tests may stop."""
    yield from own_cassandra(request, 1)


@pytest.fixture(scope="session")
def cassandra_three(request: pytest.FixtureRequest) -> Iterator[CassandraCluster]:
    """Three Cassandra nodes that tests may stop, each holding every row."""
    yield from own_cassandra(request, 3)


@pytest.fixture(scope="session")
def cassandra_node(request: pytest.FixtureRequest) -> Iterator[CassandraCluster]:
    """Cassandra to use and not to stop: existing, or our one node."""
    if text := os.environ.get(CASSANDRA_VARIABLE):
        cluster = cassandra_nodes.existing(text)
        with serving(request, cluster, is_ours=False):
            yield cluster
    else:
        yield request.getfixturevalue("cassandra_own")


@pytest.fixture(scope="session")
def zookeeper_own(request: pytest.FixtureRequest) -> Iterator[ZooKeeperCluster]:
    """One ZooKeeper server that tests may stop."""
    yield from own_zookeeper(request, 1)


@pytest.fixture(scope="session")
def zookeeper_three(request: pytest.FixtureRequest) -> Iterator[ZooKeeperCluster]:
    """A ZooKeeper ensemble of three that tests may stop."""
    yield from own_zookeeper(request, 3)


@pytest.fixture(scope="session")
def zookeeper_node(request: pytest.FixtureRequest) -> Iterator[ZooKeeperCluster]:
    """ZooKeeper to use and not to stop: existing, or our one server."""
    if text := os.environ.get(ZOOKEEPER_VARIABLE):
        cluster = zookeeper_nodes.existing(text)
        with serving(request, cluster, is_ours=False):
            yield cluster
    else:
        yield request.getfixturevalue("zookeeper_own")


def unique_name(base: str, limit: int) -> str:
    """A name nobody else has on a shared server: lower-case letters, digits and underscores."""
    ending = f"_{secrets.token_hex(4)}"
    return re.sub(r"\W", "_", base.lower())[: limit - len(ending)] + ending


@pytest.fixture(scope="module")
def cassandra_keyspace(
    request: pytest.FixtureRequest, cassandra_node: CassandraCluster
) -> Iterator[str]:
    """The name of a keyspace for this test module alone, dropped after it."""
    name = unique_name(Path(request.path).stem, KEYSPACE_NAME_LIMIT)
    with cassandra_node.keyspace(name):
        yield name


@pytest.fixture
def zookeeper_chroot(
    request: pytest.FixtureRequest, zookeeper_node: ZooKeeperCluster
) -> Iterator[str]:
    """Endpoints ending with a chroot for this test alone, removed after it."""
    with zookeeper_node.chroot(unique_name(request.node.name, 80)) as endpoints:
        yield endpoints
