"""A real ZooKeeper for these tests, which run only when one is asked for.

TIMEBALL_TEST_ZOOKEEPER=host:port uses an existing server, TIMEBALL_WITH_ZOOKEEPER=1 starts one.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.servers.fixtures import (
    pytest_configure,
    pytest_runtest_makereport,
    zookeeper_node,
    zookeeper_own,
    zookeeper_three,
)
from tests.support.servers.zookeeper_nodes import ZooKeeperCluster
from tests.support.zookeeper_worlds import ZooKeeperWorld, zookeeper_world

__all__ = [
    "pytest_configure",
    "pytest_runtest_makereport",
    "zookeeper_node",
    "zookeeper_own",
    "zookeeper_three",
]

SWITCHES = {"TIMEBALL_TEST_ZOOKEEPER", "TIMEBALL_WITH_ZOOKEEPER"}
collect_ignore_glob = [] if SWITCHES & os.environ.keys() else ["test_*.py"]
if os.environ.get("TIMEBALL_LONG") != "1":
    collect_ignore_glob.append("test_three_servers.py")


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
