"""Three nodes with three copies, of which one freezes: work goes on at a quorum."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from timeball.errors import OutcomeUnknown, StoreUnavailable

from tests.support.cassandra_world import Keyspace, config
from tests.support.polls import eventually
from tests.support.servers.cassandra_nodes import CassandraCluster
from tests.support.servers.fixtures import unique_name
from tests.support.store_worlds import MINUTE, event, task
from timeball_server.core.ids import Epoch, Minute, ShardId, TaskId
from timeball_server.ports.store import Applied
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.cassandra.config import CassandraConfig
from timeball_server.store.cassandra.store import CassandraStore

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def copied(cassandra_three: CassandraCluster) -> Iterator[CassandraConfig]:
    """A keyspace with three copies."""
    place = config(unique_name("three", 30), cassandra_three.endpoints, request_timeout_ms=1_500)
    keyspace = Keyspace(place, is_durable=True, copies=3)
    keyspace.close()
    yield place
    cassandra_three.heal()


async def written(store: CassandraStore, task_id: TaskId) -> bool:
    """One more try, as a caller does it."""
    try:
        await store.append([event(task_id)])
    except (OutcomeUnknown, StoreUnavailable):
        return False
    return True


async def test_one_frozen_node_of_three_loses_nothing_and_stops_nobody(
    copied: CassandraConfig, cassandra_three: CassandraCluster
) -> None:
    store = await CassandraStore.open(copied, SystemClock(), print)
    before = [task(n, minute=MINUTE + n % 7) for n in range(70)]
    during = [task(100 + n, minute=MINUTE + n % 7) for n in range(70)]
    try:
        await store.append([event(each) for each in before])
        await asyncio.to_thread(cassandra_three.nodes[1].freeze)
        try:
            for each in during:
                await eventually(lambda each=each: written(store, each), "written at a quorum")  # type: ignore[misc]
            found = await store.read_journals([*before, *during])
            assert set(found) == {*before, *during}
            shards = [ShardId(number) for number in range(12)]
            raised = [await store.raise_epoch(each, Epoch(3), Minute(5)) for each in shards]
            assert raised == [Applied()] * 12
        finally:
            await asyncio.to_thread(cassandra_three.nodes[1].thaw)
        await asyncio.to_thread(cassandra_three.wait_whole)
        assert len(await store.read_journals([*before, *during])) == 140
    finally:
        await store.close()
