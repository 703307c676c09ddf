"""Arithmetic of minutes and months, and the layout of shards.

Half-open everywhere: a bucket holds [start, end).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from timeball_server.core.ids import Minute, ShardId

MINUTE_MS: Final = 60_000
_DAY_S: Final = 86_400
_DAY_MS: Final = 86_400_000
SLICE_MS: Final = 10_000


def minute_of(instant_ms: int) -> Minute:
    """The minute that holds this wall-clock instant."""
    return Minute(instant_ms // MINUTE_MS)


def start_ms(minute: Minute) -> int:
    """First millisecond of a minute."""
    return minute * MINUTE_MS


def end_ms(minute: Minute) -> int:
    """First millisecond after a minute."""
    return (minute + 1) * MINUTE_MS


def month_of(instant_ms: int) -> int:
    """Year and month as people write them, UTC: 202607."""
    return _month_of_day(instant_ms // _DAY_MS)


@lru_cache(maxsize=1_024)
def _month_of_day(day: int) -> int:
    """Remembered: every verdict on a schedule asks, and most are of today."""
    date = datetime.fromtimestamp(day * _DAY_S, UTC)
    return date.year * 100 + date.month


def month_end_ms(month: int) -> int:
    """First millisecond after a month, UTC."""
    year, number = divmod(month, 100)
    after = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return int(after.timestamp()) * 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutRow:
    """Ids minted for minutes from `from_minute` on name one of `shard_count` shards."""

    from_minute: Minute
    shard_count: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The cluster's history of shard counts, oldest first; never empty."""

    rows: tuple[LayoutRow, ...]

    def __post_init__(self) -> None:
        """Refuse an empty or unordered history."""
        minutes = [row.from_minute for row in self.rows]
        if not minutes or minutes != sorted(set(minutes)):
            raise ValueError("a layout has at least one row and strictly rising minutes")

    def shard_count(self, minute: Minute) -> int:
        """How many shards ids of this minute may name; minutes before the first row use it."""
        count = self.rows[0].shard_count
        for row in self.rows:
            if row.from_minute <= minute:
                count = row.shard_count
        return count

    def shard_for(self, minute: Minute, unique: bytes) -> ShardId:
        """The shard that a new id of this minute names: a stable hash of its unique number."""
        return ShardId(int.from_bytes(unique[8:16], "big") % self.shard_count(minute))

    def shard_for_key(self, namespace: str, key: str) -> ShardId:
        """The home of a concurrency key: the same for ever, so among the shards of the beginning.

        Were it to follow the layout, two owners would count the tasks of one key (ADR 16).
        """
        digest = hashlib.blake2b(key.encode(), key=namespace.encode()[:64], digest_size=8).digest()
        return ShardId(int.from_bytes(digest, "big") % self.rows[0].shard_count)

    def all_shards(self) -> Sequence[ShardId]:
        """Every shard that any id can name; all of them stay owned (rule R23)."""
        return [ShardId(number) for number in range(max(row.shard_count for row in self.rows))]
