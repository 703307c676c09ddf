"""Three servers each: a majority goes on without the third, and knows it again afterwards."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from cassandra import ReadTimeout, Unavailable, WriteTimeout

from tests.support.polls import until
from tests.support.servers import zookeeper_nodes
from tests.support.servers.cassandra_nodes import CassandraCluster, session
from tests.support.servers.zookeeper_nodes import ZooKeeperCluster

pytestmark = pytest.mark.timeout(300)
BOTH = {1: "plain", 2: "decided"}


def words(session: Any, place: str) -> dict[int, str] | None:
    """All rows; None while a node that just died is still taken for alive and waited for."""
    with contextlib.suppress(ReadTimeout):
        return {row.id: row.word for row in session.execute(f"SELECT id, word FROM {place}")}
    return None


def test_two_of_three_cassandras_write_read_and_decide(cassandra_three: CassandraCluster) -> None:
    first, second, third = cassandra_three.nodes
    with cassandra_three.keyspace("of_three") as keyspace:
        place = f"{keyspace}.words"
        with cassandra_three.session() as opened:
            opened.execute(f"CREATE TABLE {place} (id int PRIMARY KEY, word text)")
        insert = f"INSERT INTO {place} (id, word) VALUES (%s, %s)"
        with third.killed(), session(first.address, second.address) as opened:
            opened.execute(insert, (1, "plain"))
            opened.execute(f"{insert} IF NOT EXISTS", (2, "decided"))
            assert until(lambda: words(opened, place), "read by two") == BOTH
        cassandra_three.wait_whole()
        with session(third.address) as opened:
            assert words(opened, place) == BOTH


def test_one_of_three_cassandras_decides_nothing(cassandra_three: CassandraCluster) -> None:
    first, second, third = cassandra_three.nodes
    with cassandra_three.keyspace("of_one") as keyspace:
        with cassandra_three.session() as opened:
            opened.execute(f"CREATE TABLE {keyspace}.words (id int PRIMARY KEY)")
        with (
            second.frozen(),
            third.frozen(),
            session(first.address) as opened,
            pytest.raises((WriteTimeout, Unavailable)),
        ):
            opened.execute(f"INSERT INTO {keyspace}.words (id) VALUES (1)")
        cassandra_three.wait_whole()


def test_an_ensemble_elects_anew_when_its_leader_dies(zookeeper_three: ZooKeeperCluster) -> None:
    leader = zookeeper_three.leader()
    with zookeeper_three.chroot("elected") as endpoints:
        with leader.killed():
            others = [node for node in zookeeper_three.nodes if node is not leader]
            until(lambda: {node.mode() for node in others} == {"leader", "follower"}, "election")
            with zookeeper_nodes.session(endpoints) as client:
                client.create("/kept", b"kept")
        zookeeper_three.wait_whole()
        with zookeeper_nodes.session(f"{leader.address}/elected") as client:
            client.sync("/kept")
            assert client.get("/kept")[0] == b"kept"
