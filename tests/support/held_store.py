"""A memory store on a leash: a test holds its writes or reads, or takes it away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from timeball.errors import StoreUnavailable

from timeball_server.core.ids import Minute, ShardId, TaskId
from timeball_server.core.journal import DueRow, EventKind, EventRow, Row
from timeball_server.ports.store import DuePage
from timeball_server.store.memory import MemoryDatabase, MemoryStore


class Leash:
    """What is held, of all stores that are on it: a cleared event holds.

    `claims` holds the writes that claim a task, also from those that `is_away` then refuses.
    """

    def __init__(self) -> None:
        self.is_away = False
        self.writes = asyncio.Event()
        self.claims = asyncio.Event()
        self.scans = asyncio.Event()
        self.reads = asyncio.Event()
        self.let_go()

    def let_go(self) -> None:
        """Everything goes on."""
        self.is_away = False
        for event in (self.writes, self.claims, self.scans, self.reads):
            event.set()


class HeldStore(MemoryStore):
    """The store of a scheduler node."""

    def __init__(self, database: MemoryDatabase, leash: Leash) -> None:
        super().__init__(database)
        self._leash = leash

    async def append(self, rows: Sequence[Row]) -> None:
        if any(isinstance(row, EventRow) and row.kind is EventKind.CLAIMED for row in rows):
            await self._leash.claims.wait()
        if self._leash.is_away:
            raise StoreUnavailable("away")
        await self._leash.writes.wait()
        await super().append(rows)

    async def read_due(
        self,
        minute: Minute,
        shard: ShardId,
        from_ms: int,
        to_ms: int,
        limit: int,
        after: DueRow | None = None,
    ) -> DuePage:
        await self._leash.scans.wait()
        return await super().read_due(minute, shard, from_ms, to_ms, limit, after)

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        await self._leash.reads.wait()
        return await super().read_journals(task_ids)
