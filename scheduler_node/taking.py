"""One take-over: ownership entry, epoch in the store, owner row for readers, a look at the members.

Owns the order of rules R1 and R2 up to the moment at which the engine may have the shard. Never
decides which shard is taken, and never reads a journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from timeball.errors import OutcomeUnknown, Unavailable

from timeball_server.core.buckets import minute_of
from timeball_server.core.ids import Epoch, Minute, NodeId, ShardId
from timeball_server.core.retention import first_home
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import CoordinationSession
from timeball_server.ports.store import Applied, NotApplied, OwnerRow, ShardRow, Store

T = TypeVar("T")
PAUSE_MS: Final = 100
"""Between two tries of what the store did not answer."""
_LOOK_BACK_MINUTES: Final = 2


class NotWished(Exception):
    """The shard became another node's wish while it was being taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Who takes: the node and the address that readers and callers are told."""

    node: NodeId
    address: str


class Taker:
    """Takes shards in one session.

    Args:
        look_at_executors: reads the members and tells the engine.
        is_wished: whether the shard should still be this node's.
    """

    def __init__(
        self,
        place: Place,
        session: CoordinationSession,
        store: Store,
        clock: Clock,
        *,
        look_at_executors: Callable[[], Awaitable[None]],
        is_wished: Callable[[ShardId], bool],
    ) -> None:
        self._place = place
        self._session = session
        self._store = store
        self._clock = clock
        self._look_at_executors = look_at_executors
        self._is_wished = is_wished
        self._published_ms: dict[ShardId, int] = {}

    async def take(self, shard: ShardId) -> ShardRow | None:
        """Become the owner; the shard's row with our epoch, None if that did not come about.

        Raises:
            CoordinationUnavailable: the entry may be ours; taking again replaces it.
        """
        epoch = await self._session.take_ownership(shard)
        if epoch is None:
            return None
        try:
            row = await self._become_owner(shard, epoch)
        except NotWished:
            row = None
        if row is None:
            await self._session.release_ownership(shard, epoch)
        return row

    async def _become_owner(self, shard: ShardId, epoch: Epoch) -> ShardRow | None:
        """Epoch, then owner row; meanwhile a look at the executors.

        The look is later than our entry, so whoever an earlier owner's claim may name was a
        member before it: not to be seen means to be gone (rule R14).
        """
        looked, row = await asyncio.gather(
            self._look_at_executors(), self._publish(shard, epoch), return_exceptions=True
        )
        if isinstance(looked, BaseException):
            raise looked
        if isinstance(row, BaseException):
            raise row
        return row

    async def _publish(self, shard: ShardId, epoch: Epoch) -> ShardRow | None:
        row = await self._raise_epoch(shard, epoch)
        if row is None or row.epoch != epoch:
            return None
        await self._insist(shard, lambda: self._store.write_owner(self.owner_row(row)))
        return row

    def owner_row(self, row: ShardRow) -> OwnerRow:
        """What readers see of our ownership; a clock that is set back makes no later row older."""
        at_ms = max(self._clock.now().wall_ms, self._published_ms.get(row.shard, 0) + 1)
        self._published_ms[row.shard] = at_ms
        return OwnerRow(
            shard=row.shard,
            epoch=row.epoch,
            owner=self._place.node,
            address=self._place.address,
            scan_from=row.scan_from,
            deleted_below=row.deleted_below,
            at_ms=at_ms,
        )

    async def _raise_epoch(self, shard: ShardId, epoch: Epoch) -> ShardRow | None:
        """Rule R1: one conditional write; ambiguity is resolved by a serial read."""
        now_ms = self._clock.now().wall_ms
        first = Minute(minute_of(now_ms) - _LOOK_BACK_MINUTES)
        outcome: Applied | NotApplied = Applied()
        try:
            outcome = await self._store.raise_epoch(shard, epoch, first, first_home(now_ms))
        except Unavailable:
            await self._clock.sleep_ms(PAUSE_MS)
            return None
        except OutcomeUnknown:
            await self._clock.sleep_ms(PAUSE_MS)
        if isinstance(outcome, NotApplied):
            return outcome.row
        row: ShardRow | None = await self._insist(shard, lambda: self._store.read_shard(shard))
        return row

    async def _insist(self, shard: ShardId, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until the store answers, for as long as the shard should be ours."""
        while True:
            if not self._is_wished(shard):
                raise NotWished
            try:
                return await ask()
            except (OutcomeUnknown, Unavailable):
                await self._clock.sleep_ms(PAUSE_MS)
