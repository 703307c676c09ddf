"""A store on a Cassandra node of the tests. Collected where the server fixtures are loaded."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.cassandra_world import Keyspace, config
from tests.support.servers.cassandra_nodes import CassandraCluster
from tests.support.servers.fixtures import unique_name
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.cassandra.config import CassandraConfig
from timeball_server.store.cassandra.store import CassandraStore

SERVERS = "tests.support.servers.fixtures"
collect_ignore = [] if os.environ.get("TIMEBALL_LONG") == "1" else ["test_three_nodes.py"]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """These tests are part of every run that can start servers, and of no other."""
    is_test = collection_path.name.startswith("test_")
    return True if is_test and not config.pluginmanager.has_plugin(SERVERS) else None


@pytest.fixture(scope="session")
def durable(cassandra_own: CassandraCluster) -> Iterator[CassandraConfig]:
    """A keyspace with a commit log on a node that may be stopped."""
    name = unique_name("store", 30)
    keyspace = Keyspace(config(name, cassandra_own.endpoints), is_durable=True)
    keyspace.close()
    yield keyspace.config
    cassandra_own.heal()


@pytest_asyncio.fixture
async def store(durable: CassandraConfig) -> AsyncIterator[CassandraStore]:
    """A client of it."""
    opened = await CassandraStore.open(durable, SystemClock(), print)
    yield opened
    await opened.close()
