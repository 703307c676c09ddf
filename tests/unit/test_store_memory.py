"""What only the memory store has: several clients of one database, and effects without a yield."""

from __future__ import annotations

import pytest
from timeball.errors import StoreUnavailable

from tests.support.store_worlds import MINUTE, SHARD, event, owner, task
from timeball_server.core.ids import Epoch
from timeball_server.ports.store import Applied, NotApplied
from timeball_server.store.memory import MemoryDatabase, MemoryStore


@pytest.mark.asyncio
async def test_nodes_share_a_database() -> None:
    database = MemoryDatabase()
    one, two = MemoryStore(database), MemoryStore(database)
    await one.append([event(task(1))])
    await one.write_owner(owner(3))
    assert await one.raise_epoch(SHARD, Epoch(3), MINUTE) == Applied()
    assert await two.read_journals([task(1)]) == {task(1): [event(task(1))]}
    assert await two.read_owners([SHARD]) == {SHARD: owner(3)}
    assert isinstance(await two.raise_epoch(SHARD, Epoch(2), MINUTE), NotApplied)


@pytest.mark.asyncio
async def test_a_closed_client_leaves_the_others() -> None:
    database = MemoryDatabase()
    one, two = MemoryStore(database), MemoryStore(database)
    await one.close()
    with pytest.raises(StoreUnavailable):
        await one.append([event(task(1))])
    await two.append([event(task(1))])


@pytest.mark.asyncio
async def test_stores_without_a_database_in_common_do_not_meet() -> None:
    await MemoryStore().append([event(task(1))])
    assert await MemoryStore().read_journals([task(1)]) == {}


@pytest.mark.asyncio
async def test_what_was_read_is_the_reader_s_own() -> None:
    store = MemoryStore()
    await store.append([event(task(1))])
    (await store.read_journals([task(1)]))[task(1)].clear()
    assert await store.read_journals([task(1)]) == {task(1): [event(task(1))]}


def test_no_call_yields_to_the_loop() -> None:
    call = MemoryStore().append([event(task(1))])
    with pytest.raises(StopIteration):
        call.send(None)
