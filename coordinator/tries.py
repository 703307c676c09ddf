"""Tries under way, and which of them the watched map has made pointless.

Must never end a try early that may still be answered: an owner answers what it has when it lets
a shard go, so a try gets a moment more after the map has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Final

from coordinator.routing import Router
from timeball_server.core.ids import ShardId

MOVED_GRACE_MS: Final = 100
"""How long an answer may take after the map has named another owner."""


class Try:
    """Commands that wait for one owner: within `async with`, no longer than the limit."""

    __slots__ = ("_under_way", "address", "is_moved", "patience", "shards")

    def __init__(
        self,
        address: str,
        shards: Iterable[ShardId],
        limit_ms: float,
        under_way: dict[Try, None],
    ) -> None:
        self.address = address
        self.shards = frozenset(shards)
        self.is_moved = False
        self.patience = asyncio.timeout(limit_ms / 1_000)
        self._under_way = under_way

    async def __aenter__(self) -> None:
        await self.patience.__aenter__()
        self._under_way[self] = None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        del self._under_way[self]
        await self.patience.__aexit__(kind, error, frames)


class Tries:
    """All tries of a coordinator."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._under_way: dict[Try, None] = {}
        self._looking: asyncio.Task[None] | None = None
        self._look_again = False
        router.on_change(self._map_changed)

    def at(self, address: str, shards: Iterable[ShardId], limit_ms: float) -> Try:
        """A try at an owner, for as long as it owns the shards and no longer than the limit.

        Raises:
            TimeoutError: it has not ended by then; from the block's end.
        """
        return Try(address, shards, limit_ms, self._under_way)

    def close(self) -> None:
        """Look at nothing any more."""
        if self._looking is not None:
            self._looking.cancel()

    def _map_changed(self) -> None:
        """Have those looked at that are under way; one look at a time."""
        self._look_again = True
        if self._under_way and (self._looking is None or self._looking.done()):
            loop = asyncio.get_running_loop()
            self._looking = loop.create_task(self._look(), name="tries: look at the map")

    async def _look(self) -> None:
        while self._look_again:
            self._look_again = False
            for under_way in tuple(self._under_way):
                if not under_way.is_moved and await self._has_moved(under_way):
                    self._end_soon(under_way)

    async def _has_moved(self, under_way: Try) -> bool:
        """Whether somebody else, or nobody, owns a shard of this try now."""
        for shard in under_way.shards:
            target = await self._router.target(shard)
            if target is None or target.address != under_way.address:
                return True
        return False

    def _end_soon(self, under_way: Try) -> None:
        under_way.is_moved = True
        patience = under_way.patience
        ends = patience.when()
        soon = asyncio.get_running_loop().time() + MOVED_GRACE_MS / 1_000
        if under_way in self._under_way and (ends is None or soon < ends):
            patience.reschedule(soon)
