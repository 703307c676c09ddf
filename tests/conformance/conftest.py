"""Who takes part in the suites: one client of each adapter in turn, on each loop it may run on.

The adapters of one process take part in every run. Where the fixtures of real servers are loaded
(`-p tests.support.servers.fixtures`) Cassandra and ZooKeeper do, and these alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.cassandra_world import CassandraWorld, shared_keyspace
from tests.support.coordination_worlds import Runner, run_local, zookeeper_runner
from tests.support.store_worlds import WORLDS, MakeWorld, World, connected
from timeball_server.ports.access import AccessStore
from timeball_server.ports.store import Store
from timeball_server.runtime.loops import LoopChoice, LoopFactory, loop_factory

SERVERS = "tests.support.servers.fixtures"
LOOPS: Mapping[str, LoopFactory] = {
    each.value: loop_factory(each) or asyncio.new_event_loop
    for each in (LoopChoice.ASYNCIO, LoopChoice.UVLOOP)
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Names the adapters that take part, and for coordination on a real server the loops too."""
    is_real = metafunc.config.pluginmanager.has_plugin(SERVERS)
    stores = ["cassandra"] if is_real else sorted(WORLDS)
    coordination = [f"zookeeper-{loop}" for loop in LOOPS] if is_real else ["local"]
    for name, chosen in (("make_world", stores), ("run", coordination)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, chosen, indirect=True)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, LoopFactory]:
    """Every test of a coroutine runs on both loops."""
    del config, item
    return LOOPS


@pytest.fixture(scope="package")
def make_world(request: pytest.FixtureRequest) -> Iterator[MakeWorld]:
    """Makes empty databases of one adapter, each in a folder of its own."""
    if request.param in WORLDS:
        yield WORLDS[request.param]
    else:
        with shared_keyspace(request.getfixturevalue("cassandra_node").endpoints) as keyspace:
            yield partial(CassandraWorld, keyspace)


@pytest.fixture
def store_world(make_world: MakeWorld, tmp_path: Path) -> World:
    """An empty database."""
    return make_world(tmp_path)


@pytest_asyncio.fixture
async def store_client(store_world: World) -> AsyncIterator[Store]:
    """A client of it."""
    async with connected(store_world) as store:
        yield store


@pytest.fixture
def access(store_client: Store) -> AccessStore:
    """What administrators change there."""
    return store_client.access


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Runner:
    """Plays a scenario on one adapter: in virtual time, or on a real server on one loop."""
    if request.param == "local":
        return run_local
    (address, *_) = request.getfixturevalue("zookeeper_node").addresses
    return zookeeper_runner(str(address), LOOPS[request.param.partition("-")[2]])
