"""Sessions on a ZooKeeper of the tests. Collected where the server fixtures are loaded."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.servers.zookeeper_nodes import ZooKeeperCluster
from tests.support.zookeeper_worlds import ZooKeeperWorld, zookeeper_world

SERVERS = "tests.support.servers.fixtures"
collect_ignore = [] if os.environ.get("TIMEBALL_LONG") == "1" else ["test_three_servers.py"]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """These tests are part of every run that can start servers, and of no other."""
    is_test = collection_path.name.startswith("test_")
    return True if is_test and not config.pluginmanager.has_plugin(SERVERS) else None


@pytest_asyncio.fixture
async def world(zookeeper_node: ZooKeeperCluster) -> AsyncIterator[ZooKeeperWorld]:
    """An empty root on a server that is only used."""
    async with zookeeper_world(str(zookeeper_node.addresses[0])) as found:
        yield found


@pytest_asyncio.fixture
async def breakable(zookeeper_own: ZooKeeperCluster) -> AsyncIterator[ZooKeeperWorld]:
    """An empty root on a server that may be killed; whole again before it is cleaned up."""
    async with zookeeper_world(str(zookeeper_own.addresses[0])) as found:
        yield found
        zookeeper_own.heal()
