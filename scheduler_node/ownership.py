"""Taking and releasing shards as the leader wishes.

Owns the order of a take-over: ownership entry, epoch in the store, owner row for readers, a
fresh look at the executors, and only then the engine (rules R1, R2). A hand-over is the reverse:
the engine falls quiet, then the entry is removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import structlog
from timeball.errors import OutcomeUnknown, Unavailable

from timeball_server.core.buckets import minute_of
from timeball_server.core.engine import events
from timeball_server.core.ids import Epoch, Minute, NodeId, ShardId
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import CoordinationSession, SessionLost
from timeball_server.ports.store import Applied, NotApplied, OwnerRow, ShardRow, Store

log = structlog.stdlib.get_logger("scheduler_node")
T = TypeVar("T")
_PAUSE_MS: Final = 100
_LOOK_BACK_MINUTES: Final = 2
_TAKES_AT_ONCE: Final = 8
"""Shards being taken at a time: each costs a few round trips, and all wait to be served."""


class Ownership:
    """Follows the assignment in one session.

    Args:
        look_at_executors: reads the members and tells the engine.
        post: takes events for the engine.
    """

    def __init__(
        self,
        node: NodeId,
        address: str,
        session: CoordinationSession,
        store: Store,
        clock: Clock,
        *,
        look_at_executors: Callable[[], Awaitable[None]],
        post: Callable[[events.Event], None],
    ) -> None:
        self._node = node
        self._address = address
        self._session = session
        self._store = store
        self._clock = clock
        self._look_at_executors = look_at_executors
        self._post = post
        self._held: dict[ShardId, Epoch] = {}
        self._releasing: dict[ShardId, Epoch] = {}
        self._ended: list[tuple[ShardId, Epoch]] = []
        self._draining = False

    @property
    def held(self) -> dict[ShardId, Epoch]:
        """Shards that the engine has or is being given, with their epochs."""
        return self._held

    @property
    def is_done(self) -> bool:
        """Whether nothing is held and no entry of what was held is left."""
        return not (self._held or self._releasing or self._ended)

    def ended(self, shard: ShardId, epoch: Epoch) -> None:
        """The engine has let go of a shard; its entry is removed in the next round."""
        self._ended.append((shard, epoch))
        if self._held.get(shard) == epoch:
            del self._held[shard]

    def drain(self) -> None:
        """Hand everything over from the next round on and take nothing more."""
        self._draining = True

    async def run_once(self) -> bool:
        """One round: release what ended, let go of what is not wished, take what is.

        Returns:
            Whether everything is as wished; otherwise the round should be repeated soon.

        Raises:
            SessionLost: the session is over; start anew.
        """
        await self._remove_ended()
        assignment = await self._session.read_assignment()
        wished = set() if assignment is None or self._draining else self._mine(assignment.shards)
        for shard, epoch in self._held.items():
            if shard not in wished and shard not in self._releasing:
                self._releasing[shard] = epoch
                self._post(events.ShardReleasing(shard))
        missing = sorted(wished - set(self._held))
        slices = range(0, len(missing), _TAKES_AT_ONCE)
        taken = [await self._take_all(missing[at : at + _TAKES_AT_ONCE]) for at in slices]
        return all(taken) and not self._releasing

    async def _take_all(self, shards: Sequence[ShardId]) -> bool:
        """Take shards side by side; every take has ended when this returns or raises."""
        taken = await asyncio.gather(
            *(self._take(shard) for shard in shards), return_exceptions=True
        )
        for outcome in taken:
            if isinstance(outcome, BaseException):
                raise outcome
        return all(taken)

    def _mine(self, shards: Mapping[ShardId, NodeId]) -> set[ShardId]:
        return {shard for shard, node in shards.items() if node == self._node}

    async def _remove_ended(self) -> None:
        while self._ended:
            shard, epoch = self._ended[0]
            await self._session.release_ownership(shard, epoch)
            self._ended.pop(0)
            if self._releasing.get(shard) == epoch:
                del self._releasing[shard]

    async def _take(self, shard: ShardId) -> bool:
        if shard in self._releasing:
            return False
        begun_mono_ms = self._clock.now().mono_ms
        epoch = await self._session.take_ownership(shard)
        if epoch is None:
            return False
        row = await self._raise_epoch(shard, epoch)
        if row is None or row.epoch != epoch:
            await self._session.release_ownership(shard, epoch)
            return False
        await self._insist(lambda: self._store.write_owner(self.owner_row(row)))
        await self._look_at_executors()
        self._held[shard] = epoch
        self._post(
            events.ShardAcquired(
                shard=shard,
                epoch=epoch,
                scan_from=row.scan_from,
                deleted_below=row.deleted_below,
            )
        )
        took_ms = self._clock.now().mono_ms - begun_mono_ms
        log.info("shard taken", node=self._node, shard=shard, epoch=epoch, took_ms=took_ms)
        return True

    def owner_row(self, row: ShardRow) -> OwnerRow:
        """What readers see of our ownership."""
        return OwnerRow(
            shard=row.shard,
            epoch=row.epoch,
            owner=self._node,
            address=self._address,
            scan_from=row.scan_from,
            deleted_below=row.deleted_below,
            at_ms=self._clock.now().wall_ms,
        )

    async def _raise_epoch(self, shard: ShardId, epoch: Epoch) -> ShardRow | None:
        """Rule R1: one conditional write; ambiguity is resolved by a serial read."""
        first = Minute(minute_of(self._clock.now().wall_ms) - _LOOK_BACK_MINUTES)
        outcome: Applied | NotApplied = Applied()
        try:
            outcome = await self._store.raise_epoch(shard, epoch, first)
        except Unavailable:
            await self._clock.sleep_ms(_PAUSE_MS)
            return None
        except OutcomeUnknown:
            await self._clock.sleep_ms(_PAUSE_MS)
        if isinstance(outcome, NotApplied):
            return outcome.row
        row: ShardRow | None = await self._insist(lambda: self._store.read_shard(shard))
        return row

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except SessionLost:
                raise
            except (OutcomeUnknown, Unavailable):
                await self._clock.sleep_ms(_PAUSE_MS)
