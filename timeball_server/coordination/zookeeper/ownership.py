"""Ownership: ephemeral entries whose czxid is the epoch (R1).

The epoch always comes from creating, by this very call. An entry of this session that is found
instead, because an answer was lost, is replaced in one step: what may have been done in the older
epoch is over. One thing at a time is done with a shard.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from kazoo.exceptions import NodeExistsError, NoNodeError

from timeball_server.coordination.zookeeper import layout as words
from timeball_server.coordination.zookeeper import requests
from timeball_server.coordination.zookeeper.calls import TRIES, Calls
from timeball_server.coordination.zookeeper.mirror import Entry
from timeball_server.core.ids import Epoch, ShardId
from timeball_server.ports.coordination import Ownership


class Owners:
    """The ownership entries, as one session uses them."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._locks: defaultdict[ShardId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._made: dict[ShardId, Epoch] = {}

    async def take(self, shard: ShardId) -> Epoch | None:
        """Create the entry; its czxid. None = another session holds it."""
        joined = self._calls.require_joined("take_ownership")
        data, path = words.write_node(joined.node), self._calls.layout.owner(shard)
        async with self._locks[shard]:
            self._made.pop(shard, None)
            for _ in range(TRIES):
                is_settled, czxid = await self._try_to_take(path, data)
                if czxid is not None:
                    self._made[shard] = Epoch(czxid)
                if is_settled:
                    return self._made.get(shard)
        return None

    async def release(self, shard: ShardId, epoch: Epoch) -> None:
        """Remove the entry if it is ours and of this epoch.

        Only this session could replace its own entry between the look and the removal. Without
        the look goes what this session made and has not touched since, but once: should that
        answer get lost, the entry may be somebody else's by the next time.
        """
        name, path = "release_ownership", self._calls.layout.owner(shard)
        async with self._locks[shard]:
            if self._made.pop(shard, None) == epoch:
                removal = requests.delete(path, requests.ANY_VERSION)
                await self._calls.together(name, removal, expected=(NoNodeError,))
                return
            found = await self._calls.look(name, path)
            if found is not None and self._calls.is_mine(found) and found.czxid == epoch:
                removal = requests.delete(path, found.version)
                await self._calls.together(name, removal, expected=(NoNodeError,))

    async def all(self) -> tuple[Ownership, ...]:
        """Who holds what now, ordered by shard."""
        entries = await self._calls.mirror.owners.read("ownerships")
        found = (_ownership_of(entry) for entry in entries)
        known = [ownership for ownership in found if ownership is not None]
        return tuple(sorted(known, key=lambda ownership: ownership.shard))

    async def _try_to_take(self, path: str, data: bytes) -> tuple[bool, int | None]:
        """Whether it is settled who has it, and the czxid if that is this call."""
        name = "take_ownership"
        try:
            return True, await self._calls.create(name, path, data)
        except NodeExistsError:
            found = await self._calls.look(name, path)
        if found is None:
            return False, None
        if not self._calls.is_mine(found):
            return True, None
        return await self._replace(name, path, data, found.version)

    async def _replace(
        self, name: str, path: str, data: bytes, version: int
    ) -> tuple[bool, int | None]:
        """Remove our entry and make it anew in one step."""
        results = await self._calls.together(
            name,
            requests.delete(path, version),
            requests.create(path, data, self._calls.link.acl, requests.EPHEMERAL),
            expected=(NoNodeError,),
        )
        if results is None:
            return False, None
        _, (_, stat) = results
        return True, stat.czxid


def _ownership_of(entry: Entry) -> Ownership | None:
    """An ownership with its epoch, None if the entry cannot be read."""
    shard, node = words.shard_of(entry.name), words.read_node(entry.data)
    if shard is None or node is None:
        return None
    return Ownership(shard=shard, node=node, epoch=Epoch(entry.czxid))
