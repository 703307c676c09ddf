"""Reads of the owner rows: at most one per shard per few milliseconds, whoever asks.

A reader may share a read only if that read begins after the reader asked (rule R16), so
readers join the next read, never one that is under way.
"""

from __future__ import annotations

import asyncio
from typing import Final

from timeball_server.core.ids import ShardId
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import OwnerRow, Store

SPACING_MS: Final = 5
"""Two reads of one shard begin at least this far apart."""


class OwnerRows:
    """Shares reads of owner rows."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._next: dict[ShardId, asyncio.Task[OwnerRow | None]] = {}
        self._began_mono_ms: dict[ShardId, int] = {}

    async def read(self, shard: ShardId) -> OwnerRow | None:
        """The owner row with the highest epoch, by a read that begins after this call."""
        read = self._next.get(shard)
        if read is None:
            loop = asyncio.get_running_loop()
            read = loop.create_task(self._read(shard), name=f"owner row of shard {shard}")
            read.add_done_callback(_look)
            self._next[shard] = read
        return await asyncio.shield(read)

    async def _read(self, shard: ShardId) -> OwnerRow | None:
        """Wait for the turn, close the group of those who share this read, and read."""
        now_mono_ms = self._clock.now().mono_ms
        earliest_mono_ms = self._began_mono_ms.get(shard, now_mono_ms - SPACING_MS) + SPACING_MS
        try:
            if earliest_mono_ms > now_mono_ms:
                await self._clock.sleep_ms(earliest_mono_ms - now_mono_ms)
        finally:
            del self._next[shard]
        self._began_mono_ms[shard] = self._clock.now().mono_ms
        return await self._store.read_owner(shard)


def _look(read: asyncio.Task[OwnerRow | None]) -> None:
    """Those who asked get the error; when all of them have gone, nobody misses it."""
    if not read.cancelled():
        read.exception()
