"""Brings in the server fixtures, and keeps the clusters of three for the long setting."""

from __future__ import annotations

import os

from tests.support.servers.fixtures import (
    cassandra_keyspace,
    cassandra_node,
    cassandra_own,
    cassandra_three,
    pytest_configure,
    pytest_runtest_makereport,
    zookeeper_chroot,
    zookeeper_node,
    zookeeper_own,
    zookeeper_three,
)

__all__ = [
    "cassandra_keyspace",
    "cassandra_node",
    "cassandra_own",
    "cassandra_three",
    "pytest_configure",
    "pytest_runtest_makereport",
    "zookeeper_chroot",
    "zookeeper_node",
    "zookeeper_own",
    "zookeeper_three",
]

collect_ignore = [] if os.environ.get("TIMEBALL_LONG") == "1" else ["test_servers_of_three.py"]
