"""Conditional writes and serial reads: fenced rows, layout, names.

Owns the order of conditional requests of this process: those of one row go one after the other,
because rounds of Paxos that meet make each other repeat, and not many run at once, because an
overloaded server goes on with rounds that nobody waits for any more. Repeats nothing: a request
whose outcome is unknown is its caller's to resolve, by `read_shard`.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Any, Final

from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.ids import Epoch, Minute, ShardId, TaskId
from timeball_server.ports.store import Applied, NotApplied, ShardRow
from timeball_server.store.cassandra.rows import Values
from timeball_server.store.cassandra.session import Session
from timeball_server.store.keys import no_fenced_row

CLUSTER: Final = "default"
_LANES: Final = 16


class Conditions:
    """The conditional half of a store."""

    def __init__(self, session: Session) -> None:
        self._session = session
        # asyncio's locks are fair: who asks first goes first.
        self._lanes = [asyncio.Lock() for _ in range(_LANES)]

    async def read_shard(self, shard: ShardId) -> ShardRow | None:
        """The fenced row, behind every conditional write that this process sent before."""
        async with self._lane("shards", shard):
            return await self._read_shard(shard)

    async def raise_epoch(
        self, shard: ShardId, epoch: Epoch, watermarks: tuple[Minute, Minute]
    ) -> Applied | NotApplied:
        """Set the epoch if it is lower; create the row with these watermarks if there is none."""
        async with self._lane("shards", shard):
            standing = await self._session.conditional("raise_epoch", (epoch, shard, epoch))
            if standing is not None and standing.get("epoch") is None:
                return await self._add_shard(shard, epoch, watermarks)
            return await self._answer(shard, standing)

    async def _add_shard(
        self, shard: ShardId, epoch: Epoch, watermarks: tuple[Minute, Minute]
    ) -> Applied | NotApplied:
        standing = await self._session.conditional("add_shard", (shard, epoch, *watermarks))
        if standing is not None and standing["epoch"] < epoch:
            # Another process made the row in between: now there is one to raise.
            standing = await self._session.conditional("raise_epoch", (epoch, shard, epoch))
        return await self._answer(shard, standing)

    async def move(
        self, name: str, shard: ShardId, epoch: Epoch, old: Minute, new: Minute
    ) -> Applied | NotApplied:
        """Set a watermark if epoch and old value are as given."""
        async with self._lane("shards", shard):
            standing = await self._session.conditional(name, (new, shard, epoch, old))
            return await self._answer(shard, standing)

    async def read_layout(self) -> Layout | None:
        """The layout rows, None before bootstrap."""
        rows = await self._session.read("read_layout", (CLUSTER,))
        history = tuple(
            LayoutRow(from_minute=Minute(minute), shard_count=count) for minute, count in rows
        )
        return Layout(history) if history else None

    async def add_layout(self, row: LayoutRow) -> bool:
        """Add a row unless its minute has one."""
        async with self._lane("layout", CLUSTER):
            values = (CLUSTER, row.from_minute, row.shard_count)
            return await self._session.conditional("add_layout", values) is None

    async def bind_name(self, namespace: str, name: str, task_id: TaskId) -> TaskId:
        """Give a name to a task unless it has one."""
        async with self._lane(namespace, name):
            standing = await self._session.conditional("bind_name", (namespace, name, task_id))
            return task_id if standing is None else TaskId(standing["task_id"])

    async def rebind_name(
        self, namespace: str, name: str, holder: TaskId, task_id: TaskId
    ) -> TaskId:
        """Take a name from the task that has it."""
        async with self._lane(namespace, name):
            values = (task_id, namespace, name, holder)
            standing = await self._session.conditional("rebind_name", values)
            return task_id if standing is None else TaskId(standing.get("task_id") or holder)

    async def _answer(
        self, shard: ShardId, standing: dict[str, Any] | None
    ) -> Applied | NotApplied:
        """A refusal names the columns of its condition only: the whole row is read."""
        if standing is None:
            return Applied()
        return NotApplied(await self._read_shard(shard) or no_fenced_row(shard))

    async def _read_shard(self, shard: ShardId) -> ShardRow | None:
        rows = await self._session.read("read_shard", (shard,))
        return _shard_from(rows[0]) if rows else None

    def _lane(self, *key: object) -> asyncio.Lock:
        return self._lanes[zlib.crc32(repr(key).encode()) % _LANES]


def _shard_from(values: Values) -> ShardRow:
    shard, epoch, scan_from, deleted_below = values
    return ShardRow(
        shard=ShardId(shard),
        epoch=Epoch(epoch),
        scan_from=Minute(scan_from),
        deleted_below=Minute(deleted_below),
    )
