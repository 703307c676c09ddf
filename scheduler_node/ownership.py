"""Following the assignment: what is let go, what is prepared for, what is taken, round by round.

Owns what this node holds in one session. A hand-over begins with the engine falling quiet and
ends with the entry's removal; what moves when is decided in core/hand_over.py. Each take-over is
a task of its own, so that none waits for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

import structlog
from timeball.errors import OutcomeUnknown, TimeballError, Unavailable

from scheduler_node.ahead import ended_heads
from scheduler_node.taking import PAUSE_MS, Place, Taker
from timeball_server.core.engine import events
from timeball_server.core.hand_over import Scene, going, to_prepare, to_release, to_take
from timeball_server.core.ids import Epoch, ShardId, TaskId
from timeball_server.core.journal import EventRow
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import CoordinationSession
from timeball_server.ports.store import OwnerRow, ShardRow, Store

log = structlog.stdlib.get_logger("scheduler_node")
Heads = Mapping[TaskId, EventRow]
_TAKES_AT_ONCE: Final = 8
"""Shards being taken at a time: each costs a few round trips, and all wait to be served."""
PATIENCE_MS: Final = 5_000
"""So long a shard that should move waits for its next owner to stand by; then it is let go."""


SOON_MS: Final = 50
WAITING_MS: Final = 200
CALM_MS: Final = 1_000
"""Until the next round should nothing change: something is begun, others are waited for, calm."""


class Ownership:
    """Follows the assignment in one session.

    Args:
        look_at_executors: reads the members and tells the engine.
        post: takes events for the engine.
        know: takes final heads of a shard, read ahead, before the shard is acquired.
        is_read: whether the engine has read all of a shard.
        changed: called when a round should follow soon.
        spawn: runs a take-over in the background.
    """

    def __init__(
        self,
        place: Place,
        session: CoordinationSession,
        store: Store,
        clock: Clock,
        *,
        look_at_executors: Callable[[], Awaitable[None]],
        post: Callable[[events.Event], None],
        know: Callable[[ShardId, Epoch, Heads], None],
        is_read: Callable[[ShardId], bool],
        changed: Callable[[], None],
        spawn: Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._node = place.node
        self._session = session
        self._store = store
        self._clock = clock
        self._taker = Taker(
            place,
            session,
            store,
            clock,
            look_at_executors=look_at_executors,
            is_wished=lambda shard: shard in self._wished,
        )
        self._post = post
        self._know = know
        self._is_read = is_read
        self._changed = changed
        self._spawn = spawn
        self._held: dict[ShardId, Epoch] = {}
        self._releasing: dict[ShardId, Epoch] = {}
        self._ended: list[tuple[ShardId, Epoch]] = []
        self._wished: frozenset[ShardId] = frozenset()
        self._entries: dict[ShardId, Epoch] = {}
        self._preparing: dict[ShardId, asyncio.Task[None]] = {}
        self._standing: dict[ShardId, Heads] = {}
        self._taking: dict[ShardId, asyncio.Task[None]] = {}
        self._moved_in: set[ShardId] = set()
        self._room = asyncio.Semaphore(_TAKES_AT_ONCE)
        self._draining = False
        self._going = 0
        self._progress_mono_ms = clock.now().mono_ms

    @property
    def held(self) -> dict[ShardId, Epoch]:
        """Shards that the engine has, with their epochs."""
        return self._held

    @property
    def is_done(self) -> bool:
        """Whether nothing is held or being taken and no entry of what was held is left."""
        return not (self._held or self._releasing or self._ended or self._taking)

    @property
    def is_leaving(self) -> bool:
        """Whether the leader wishes shards of ours elsewhere, so that waiting for them has a point.

        With what has fallen quiet but is not released yet.
        """
        return bool(self._going or self._releasing or self._ended)

    def ended(self, shard: ShardId, epoch: Epoch) -> None:
        """The engine has let go of a shard; its entry is removed in the next round."""
        self._ended.append((shard, epoch))
        if self._held.get(shard) == epoch:
            del self._held[shard]

    def drain(self) -> None:
        """Hand everything over from the next round on and take nothing more."""
        self._draining = True

    async def close(self) -> None:
        """The session is over, and with it everything that was begun in it."""
        tasks = [*self._preparing.values(), *self._taking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def owner_row(self, row: ShardRow) -> OwnerRow:
        """What readers see of our ownership."""
        return self._taker.owner_row(row)

    async def run_once(self) -> int:
        """One round: release what ended, let go of what is not wished, begin to take what is.

        Returns:
            After how many milliseconds to look again, should nothing change before.

        Raises:
            SessionLost: the session is over; start anew.
            CoordinationUnavailable: not connected now; repeat.
        """
        await self._remove_ended()
        scene = await self._look()
        self._wished = scene.wished
        self._let_go(scene)
        await self._stand_down(scene)
        # What was taken, or let go, while we looked is no longer as the scene has it.
        busy = {*self._held, *self._releasing, *self._taking, *(shard for shard, _ in self._ended)}
        self._ended += self._left_behind(busy | scene.wished)
        for shard in to_take(scene, busy):
            self._begin_to_take(shard)
        self._moved_in = {shard for shard in self._moved_in if self._is_under_way(shard)}
        begun = {*self._preparing, *self._standing, *self._moved_in}
        for shard in to_prepare(scene, busy | begun, len(begun)):
            self._begin_to_prepare(shard)
        return self._pause_ms(scene)

    def _pause_ms(self, scene: Scene) -> int:
        if self._releasing or self._ended or self._taking or self._moved_in:
            return SOON_MS
        return WAITING_MS if scene.wished != set(self._held) else CALM_MS

    async def _look(self) -> Scene:
        session = self._session
        assignment, owners, standbys = await asyncio.gather(
            session.read_assignment(), session.ownerships(), session.standbys()
        )
        self._entries = {each.shard: each.epoch for each in owners if each.node == self._node}
        return Scene(
            node=self._node,
            assignment={} if assignment is None else assignment.shards,
            owners={each.shard: each.node for each in owners},
            standbys=standbys,
            held=[shard for shard in self._held if shard not in self._releasing],
            leaving=self._draining,
        )

    def _left_behind(self, busy: AbstractSet[ShardId]) -> list[tuple[ShardId, Epoch]]:
        """Entries of this node that nobody here knows any more.

        A take-over that is not wished any more removes its entry. If it cannot just then, nobody
        else would, and the next owner would wait for as long as our session lives.
        """
        return [entry for entry in self._entries.items() if entry[0] not in busy]

    # Letting go ---------------------------------------------------------------------------------

    def _let_go(self, scene: Scene) -> None:
        """Fall quiet on what the next owner waits for; on one more if none has come for long."""
        now_mono_ms = self._clock.now().mono_ms
        waiting = going(scene)
        self._going = len(waiting)
        releases = to_release(scene)
        if releases or not waiting:
            self._progress_mono_ms = now_mono_ms
        elif now_mono_ms - self._progress_mono_ms >= PATIENCE_MS:
            self._progress_mono_ms = now_mono_ms
            releases = waiting[:1]
        for shard in releases:
            self._releasing[shard] = self._held[shard]
            self._post(events.ShardReleasing(shard))
            log.info("letting a shard go", node=self._node, shard=shard, epoch=self._held[shard])

    async def _remove_ended(self) -> None:
        while self._ended:
            shard, epoch = self._ended[0]
            await self._session.release_ownership(shard, epoch)
            self._ended.pop(0)
            if self._releasing.get(shard) == epoch:
                del self._releasing[shard]

    # Being handed a shard -----------------------------------------------------------------------

    def _is_under_way(self, shard: ShardId) -> bool:
        return shard in self._taking or (shard in self._held and not self._is_read(shard))

    def _begin_to_prepare(self, shard: ShardId) -> None:
        self._preparing[shard] = self._spawn(f"prepare {shard}", self._prepare(shard))

    async def _prepare(self, shard: ShardId) -> None:
        """Read ahead, then say that we stand by."""
        try:
            heads = await self._read_ahead(shard)
            while shard in self._wished and not await self._session.stand_by(shard):
                await self._clock.sleep_ms(PAUSE_MS)
            if shard in self._wished:
                self._standing[shard] = heads
        except TimeballError as error:
            log.info("cannot stand by", node=self._node, shard=shard, error=str(error))
        finally:
            self._preparing.pop(shard, None)

    async def _read_ahead(self, shard: ShardId) -> Heads:
        """What has ended; nothing if the store does not answer, which is no reason to wait."""
        try:
            return await ended_heads(self._store, shard, self._clock.now().wall_ms)
        except (OutcomeUnknown, Unavailable) as error:
            log.info("cannot read ahead", node=self._node, shard=shard, error=str(error))
            return {}

    async def _stand_down(self, scene: Scene) -> None:
        """Take back what we said of shards that have become ours, or are not to be ours."""
        said = {shard for shard, node in scene.standbys.items() if node == self._node}
        for shard in said - set(self._preparing):
            if shard in self._held or shard not in scene.wished:
                await self._session.stand_down(shard)
        for shard in set(self._standing) - scene.wished:
            del self._standing[shard]

    # Taking -------------------------------------------------------------------------------------

    def _begin_to_take(self, shard: ShardId) -> None:
        preparing = self._preparing.pop(shard, None)
        if preparing is not None:
            preparing.cancel()
        heads = self._standing.pop(shard, None)
        if heads is not None:
            self._moved_in.add(shard)
        self._taking[shard] = self._spawn(f"take {shard}", self._take_if_wished(shard, heads or {}))

    async def _take_if_wished(self, shard: ShardId, heads: Heads) -> None:
        try:
            async with self._room:
                await self._take(shard, heads)
        except TimeballError as error:
            log.info("cannot take a shard", node=self._node, shard=shard, error=str(error))
        finally:
            self._taking.pop(shard, None)
            self._changed()

    async def _take(self, shard: ShardId, heads: Heads) -> None:
        begun_mono_ms = self._clock.now().mono_ms
        row = await self._taker.take(shard)
        if row is None:
            return
        self._held[shard] = row.epoch
        self._know(shard, row.epoch, heads)
        self._post(
            events.ShardAcquired(
                shard=shard,
                epoch=row.epoch,
                scan_from=row.scan_from,
                deleted_below=row.deleted_below,
            )
        )
        took_ms = self._clock.now().mono_ms - begun_mono_ms
        facts = {"epoch": row.epoch, "took_ms": took_ms, "read_ahead": len(heads)}
        log.info("shard taken", node=self._node, shard=shard, **facts)
