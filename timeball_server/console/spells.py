"""Since when shards are in a state that one look alone cannot date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from timeball_server.core.ids import ShardId


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """When a state was first seen; `exactly` if the shard was seen without it before."""

    at_ms: int
    exactly: bool


class Spells:
    """One state, noted look by look."""

    def __init__(self) -> None:
        self._now: dict[ShardId, Since] = {}
        self._others: frozenset[ShardId] = frozenset()

    def note(
        self, at_ms: int, shards: Iterable[ShardId], others: Iterable[ShardId]
    ) -> Mapping[ShardId, Since]:
        """Since when these shards are in the state; the others of this look are not."""
        self._now = {
            shard: self._now.get(shard) or Since(at_ms=at_ms, exactly=shard in self._others)
            for shard in shards
        }
        self._others = frozenset(others)
        return self._now
