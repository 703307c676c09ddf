"""What the driver does on the wire: no delays of its own, nothing sent twice, answers in bursts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest
from timeball.errors import OutcomeUnknown, StoreUnavailable

from tests.integration.cassandra.wire import HOST, Wire
from tests.support.polls import eventually
from tests.support.store_worlds import event, task
from timeball_server.core.ids import Epoch, Minute, ShardId
from timeball_server.ports.store import NotApplied, ShardRow
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.cassandra.config import CassandraConfig
from timeball_server.store.cassandra.store import CassandraStore

pytestmark = pytest.mark.asyncio
EPOCH = Epoch(0x51_5A_4B_3C_2D_1E_0F_77)


def sockets_to(port: int) -> Iterator[socket.socket]:
    """Copies of this process's sockets that are connected to a port."""
    for each in psutil.Process().net_connections(kind="tcp"):
        if each.status == psutil.CONN_ESTABLISHED and each.raddr.port == port:
            yield socket.fromfd(each.fd, each.family, each.type)


async def test_no_socket_waits_for_more_bytes(
    store: CassandraStore, durable: CassandraConfig
) -> None:
    await store.append([event(task(1))])
    found = list(sockets_to(durable.port))
    assert len(found) >= 2  # the control connection and one for requests
    for each in found:
        with each:
            assert each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_a_burst_of_answers_wakes_the_loop_less_often_than_it_has_answers(
    store: CassandraStore,
) -> None:
    bridge = store.session.bridge
    answers, wake_ups = bridge.answers, bridge.wake_ups
    await asyncio.gather(*(store.append([event(task(n))]) for n in range(300)))
    assert bridge.answers - answers == 300
    assert bridge.wake_ups - wake_ups < 300


async def test_a_conditional_write_is_sent_once_and_its_lost_answer_is_unknown(
    durable: CassandraConfig,
) -> None:
    shard = ShardId(501)
    (host,) = durable.contact_points
    async with Wire(host, durable.port) as wire:
        through = replace(durable, contact_points=(HOST,), port=wire.port)
        store = await CassandraStore.open(through, SystemClock(), print)
        try:
            await store.raise_epoch(shard, Epoch(1), Minute(7))
            wire.swallow = EPOCH.to_bytes(8, "big")
            raising = asyncio.create_task(store.raise_epoch(shard, EPOCH, Minute(7)))
            await wire.swallowed.wait()
            wire.cut()  # the default policy would now send it again and hear: not applied
            with pytest.raises(OutcomeUnknown):
                await raising
            wire.swallow = b""

            async def resolved() -> ShardRow | None:
                try:
                    return await store.read_shard(shard)
                except StoreUnavailable:
                    return None

            row = ShardRow(shard=shard, epoch=EPOCH, scan_from=Minute(7), deleted_below=Minute(0))
            assert await eventually(resolved, "connected again") == row
            # One request names the epoch twice: the new value, and the bound of the condition.
            assert wire.said.count(EPOCH.to_bytes(8, "big")) == 2
            assert await store.raise_epoch(shard, EPOCH, Minute(7)) == NotApplied(row)
        finally:
            await store.close()


async def test_a_plain_write_is_not_repeated_by_the_driver(durable: CassandraConfig) -> None:
    (host,) = durable.contact_points
    async with Wire(host, durable.port) as wire:
        through = replace(durable, contact_points=(HOST,), port=wire.port)
        store = await CassandraStore.open(through, SystemClock(), print)
        try:
            row = replace(event(task(1)), actor="user:who-is-seen-once")
            wire.swallow = row.actor.encode()
            writing = asyncio.create_task(store.append([row]))
            await wire.swallowed.wait()
            wire.cut()
            with pytest.raises(OutcomeUnknown):
                await writing
            assert wire.said.count(row.actor.encode()) == 1
        finally:
            await store.close()
