"""Reads of the owner rows: at most one in a few milliseconds, whoever asks for whichever shards.

A reader may share a read only if that read begins after the reader asked (rule R16), so
readers join the next read, never one that is under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from timeball_server.core.ids import ShardId
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import OwnerRow, Store

SPACING_MS: Final = 5
"""Two reads begin at least this far apart."""


Rows = Mapping[ShardId, OwnerRow]


@dataclass(frozen=True, slots=True)
class _Round:
    """The next read: of which shards, and what it will answer to all who asked."""

    shards: set[ShardId]
    answer: asyncio.Task[Rows]


class OwnerRows:
    """Shares reads of owner rows."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._next: _Round | None = None
        self._began_mono_ms = clock.now().mono_ms - SPACING_MS

    async def read(self, shards: Collection[ShardId]) -> Rows:
        """At least these owner rows, of each the highest epoch, by a read that begins after this.

        A shard that never had an owner is left out.
        """
        if not shards:
            return {}
        coming = self._next or self._begin()
        coming.shards.update(shards)
        return await asyncio.shield(coming.answer)

    def _begin(self) -> _Round:
        shards: set[ShardId] = set()
        answer = asyncio.create_task(self._read(shards), name="owner rows")
        answer.add_done_callback(_look)
        self._next = _Round(shards, answer)
        return self._next

    async def _read(self, shards: set[ShardId]) -> Rows:
        """Wait for the turn, close the group of those who share this read, and read."""
        wait_ms = self._began_mono_ms + SPACING_MS - self._clock.now().mono_ms
        try:
            if wait_ms > 0:
                await self._clock.sleep_ms(wait_ms)
        finally:
            self._next = None
        self._began_mono_ms = self._clock.now().mono_ms
        return await self._store.read_owners(shards)


def _look(read: asyncio.Task[Rows]) -> None:
    """Those who asked get the error; when all of them have gone, nobody misses it."""
    if not read.cancelled():
        read.exception()
