"""The servers the other tests stand on: real ones, that keep data, die, freeze and come back."""

from __future__ import annotations

from typing import Any

import pytest
from cassandra import OperationTimedOut
from kazoo.exceptions import ConnectionLoss, NoNodeError, SessionExpiredError

from tests.support.servers import cassandra_nodes, zookeeper_nodes
from tests.support.servers.cassandra_nodes import CassandraCluster
from tests.support.servers.process import ServerError
from tests.support.servers.zookeeper_nodes import ZooKeeperCluster

# A server that starts on a busy machine is slow; a test that waits for one is not broken.
pytestmark = pytest.mark.timeout(600)
SHORT_TIMEOUT_S = 2.0


def table(session: Any, keyspace: str, name: str) -> str:
    session.execute(f"CREATE TABLE IF NOT EXISTS {keyspace}.{name} (id int PRIMARY KEY, word text)")
    return f"{keyspace}.{name}"


def words(session: Any, place: str) -> dict[int, str]:
    return {row.id: row.word for row in session.execute(f"SELECT id, word FROM {place}")}


def test_cassandra_writes_conditionally_and_reads_back(
    cassandra_node: CassandraCluster, cassandra_keyspace: str
) -> None:
    with cassandra_node.session() as session:
        place = table(session, cassandra_keyspace, "written")
        session.execute(f"INSERT INTO {place} (id, word) VALUES (1, 'plain')")
        insert = f"INSERT INTO {place} (id, word) VALUES (2, %s) IF NOT EXISTS"
        assert session.execute(insert, ("first",)).was_applied
        assert not session.execute(insert, ("second",)).was_applied
        assert words(session, place) == {1: "plain", 2: "first"}


def test_cassandra_runs_the_formats_that_timeball_measures_with(
    cassandra_node: CassandraCluster, cassandra_keyspace: str
) -> None:
    del cassandra_keyspace  # asks for a keyspace of its own to see that names do not collide
    with cassandra_node.session() as session:
        rows = session.execute("SELECT name, value FROM system_views.settings")
        found = {row.name: row.value for row in rows}
    wanted = {"paxos_variant": "v2", "storage_compatibility_mode": "NONE"}
    assert {name: found[name] for name in wanted} == wanted


def test_a_killed_cassandra_keeps_what_it_acknowledged(cassandra_own: CassandraCluster) -> None:
    (node,) = cassandra_own.nodes
    with cassandra_own.keyspace("killed_cassandra") as keyspace:
        with cassandra_own.session() as session:
            place = table(session, keyspace, "kept")
            for number in range(50):
                session.execute(f"INSERT INTO {place} (id, word) VALUES ({number}, 'kept')")
        with node.killed():
            assert not node.answers()
        with cassandra_own.session() as session:
            assert words(session, place) == dict.fromkeys(range(50), "kept")


def test_a_frozen_cassandra_lets_requests_time_out_and_goes_on_when_thawed(
    cassandra_own: CassandraCluster,
) -> None:
    (node,) = cassandra_own.nodes
    with (
        cassandra_own.keyspace("frozen_cassandra") as keyspace,
        cassandra_own.session() as session,
    ):
        place = table(session, keyspace, "slow")
        insert = f"INSERT INTO {place} (id, word) VALUES (%s, 'slow')"
        with node.frozen(), pytest.raises(OperationTimedOut):
            session.execute(insert, (1,), timeout=SHORT_TIMEOUT_S)
        session.execute(insert, (2,))
        # The first write reached a stopped server: unknown, as every timeout. It may be there.
        assert words(session, place).items() >= {2: "slow"}.items()


def test_an_orderly_restart_keeps_the_address(cassandra_own: CassandraCluster) -> None:
    (node,) = cassandra_own.nodes
    before = node.address
    node.restart()
    assert node.answers()
    assert cassandra_own.addresses == (before,)


def test_zookeeper_creates_under_the_tests_own_chroot(
    zookeeper_node: ZooKeeperCluster, zookeeper_chroot: str
) -> None:
    with zookeeper_nodes.session(zookeeper_chroot) as client:
        client.create("/mine", b"words")
        assert client.get("/mine")[0] == b"words"
        assert client.get_children("/") == ["mine"]
        assert client.server_version()[:2] == (3, 9)
    with zookeeper_node.session() as client, pytest.raises(NoNodeError):
        client.get("/mine")


def test_a_killed_zookeeper_keeps_what_it_acknowledged(zookeeper_own: ZooKeeperCluster) -> None:
    (node,) = zookeeper_own.nodes
    with zookeeper_own.chroot("killed") as endpoints:
        with zookeeper_nodes.session(endpoints) as client:
            client.create("/kept", b"kept")
        with node.killed():
            assert not node.answers()
        with zookeeper_nodes.session(endpoints) as client:
            assert client.get("/kept")[0] == b"kept"


def test_a_frozen_zookeeper_ends_requests_and_goes_on_when_thawed(
    zookeeper_own: ZooKeeperCluster,
) -> None:
    (node,) = zookeeper_own.nodes
    with zookeeper_own.chroot("frozen") as endpoints:
        with (
            zookeeper_nodes.session(endpoints, timeout_s=SHORT_TIMEOUT_S) as client,
            node.frozen(),
            pytest.raises((ConnectionLoss, SessionExpiredError)),
        ):
            client.get("/")
        with zookeeper_nodes.session(endpoints) as client:
            assert client.create("/after") == "/after"


def test_servers_that_were_there_before_are_never_stopped(cassandra_own: CassandraCluster) -> None:
    found = cassandra_nodes.existing(cassandra_own.endpoints)
    found.wait_whole()
    with pytest.raises(ServerError, match="was there before the tests"):
        found.nodes[0].kill()
    found.close()
    assert cassandra_own.nodes[0].answers()
