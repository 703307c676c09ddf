"""A node that freezes, dies and comes back, and a database that is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from timeball.errors import FailedPrecondition, OutcomeUnknown, StoreUnavailable

from tests.support.polls import eventually, mono_s
from tests.support.servers.addresses import free_ports
from tests.support.servers.cassandra_nodes import CassandraCluster
from tests.support.store_worlds import MINUTE, SHARD, START_MS, due, event, task
from timeball_server.core.journal import EventRow, Row
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.cassandra.config import CassandraConfig
from timeball_server.store.cassandra.store import CassandraStore

pytestmark = pytest.mark.asyncio
USUAL_MS = CassandraConfig(contact_points=()).request_timeout_ms


def rows(first: int, minute: int = MINUTE) -> list[Row]:
    """A hundred tasks over five parts."""
    ids = [task(first + number, part=number % 5, minute=minute) for number in range(100)]
    return [row for task_id in ids for row in (event(task_id), due(task_id, minute=minute))]


async def resend(store: CassandraStore, again: Sequence[Row]) -> bool:
    """One more try of the same rows, as a caller does it."""
    try:
        await store.append(again)
    except (OutcomeUnknown, StoreUnavailable):
        return False
    return True


async def standing(store: CassandraStore, minute: int = MINUTE) -> set[str]:
    """The tasks whose hints and journals are both there."""
    page = await store.read_due(MINUTE, SHARD, START_MS, START_MS + 60_000, 10_000)
    journals = await store.read_journals([hint.task_id for hint in page.rows])
    assert all(len(events) == 1 for events in journals.values())
    return set(journals)


async def test_a_frozen_node_leaves_writes_unknown_and_takes_them_when_it_thaws(
    store: CassandraStore, durable: CassandraConfig, cassandra_own: CassandraCluster
) -> None:
    pending = rows(1_000)
    (node,) = cassandra_own.nodes
    usual = replace(durable, request_timeout_ms=USUAL_MS)
    hasty = await CassandraStore.open(usual, SystemClock(), print)
    try:
        await asyncio.to_thread(node.freeze)
        begun_s = mono_s()
        with pytest.raises(OutcomeUnknown):
            await hasty.append(pending)
        taken_s = mono_s() - begun_s
        with pytest.raises(StoreUnavailable):
            await hasty.read_shard(SHARD)
    finally:
        await asyncio.to_thread(node.thaw)
        await hasty.close()
    # The driver's own timer ended it, long before the 10 s that are its default.
    assert usual.request_timeout_ms / 1_000 * 0.9 < taken_s < 9
    await eventually(lambda: resend(store, pending), "the same rows written")
    assert {row.task_id for row in pending if isinstance(row, EventRow)} <= await standing(store)


async def test_a_killed_node_is_found_again_and_has_what_it_acknowledged(
    store: CassandraStore, cassandra_own: CassandraCluster
) -> None:
    kept, lost = rows(2_000), rows(3_000)
    await store.append(kept)
    (node,) = cassandra_own.nodes
    await asyncio.to_thread(node.kill)
    failures = [await resend(store, lost) for _ in range(3)]
    assert failures == [False] * 3
    await asyncio.to_thread(node.start)
    await asyncio.to_thread(node.wait_ready)
    await eventually(lambda: resend(store, lost), "connected again by itself")
    found = await standing(store)
    assert {row.task_id for row in (*kept, *lost) if isinstance(row, EventRow)} <= found


async def test_a_database_that_is_not_there_is_waited_for_with_one_line(
    durable: CassandraConfig,
) -> None:
    (port,) = free_ports(1, ("127.0.0.1",))
    place = replace(durable, port=port, connect_deadline_ms=1_500)
    said: list[str] = []
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}"):
        await CassandraStore.open(place, SystemClock(), said.append)
    assert len(said) == 1
    assert f"127.0.0.1:{port}" in said[0]
    assert "\n" not in said[0]


async def test_a_keyspace_that_is_not_there_is_not_waited_for(durable: CassandraConfig) -> None:
    said: list[str] = []
    with pytest.raises(FailedPrecondition, match="timeball schema apply"):
        await CassandraStore.open(replace(durable, keyspace="missing"), SystemClock(), said.append)
    assert said == []
