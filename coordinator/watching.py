"""Tasks that callers of this coordinator wait for or watch, followed at the owners of now.

Owns one push stream per scheduler node. Whoever stops telling (an owner that died, lost the
shard, or froze until the map changed) is replaced: its successor is asked anew and tells the
present state first, so no end is missed in between. Must never hand on what lies behind something
it has handed on already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from timeball.errors import ResourceExhausted, Unavailable

from coordinator.outcomes import RETRY_AFTER_S
from coordinator.routing import Router, Target
from timeball_server.core.commands import (
    Done,
    Outcome,
    Rejected,
    RejectionReason,
    WatchTask,
    is_last,
)
from timeball_server.core.ids import ShardId, home_of
from timeball_server.ports.owners import Change, OwnerWatch

log = structlog.stdlib.get_logger("coordinator")
FOLLOWED_MAX: Final = 200_000
"""Tasks that one coordinator follows at a time; more are refused."""
RETRY_MS: Final = 100
"""Pause before somebody is asked again who was turned away, unless the map changes."""
_ELSEWHERE: Final = frozenset(
    {
        RejectionReason.NOT_OWNED,
        RejectionReason.NOT_READY,
        RejectionReason.UNKNOWN,
        RejectionReason.OVERLOADED,
    }
)
"""Says nothing about the task: ask again, perhaps elsewhere."""
Take = Callable[[Outcome], None]


class Following:
    """One wish to hear of a task, from `follow` to its last outcome or `drop`."""

    __slots__ = ("feed", "number", "place", "shard", "take", "watched")

    def __init__(self, watched: WatchTask, take: Take) -> None:
        self.watched = watched
        self.take = take
        self.shard = home_of(watched.task_id).shard
        self.feed: _Feed | None = None
        self.number = 0
        self.place = (0, 0)

    @property
    def is_placed(self) -> bool:
        """Whether an owner has been asked."""
        return self.feed is not None


class _Feed:
    """One stream to one scheduler node."""

    def __init__(self, address: str, stream: OwnerWatch) -> None:
        self.address = address
        self.stream = stream
        self.followings: dict[int, Following] = {}
        self._numbers = 0

    def add(self, following: Following) -> None:
        """Ask this node."""
        self._numbers += 1
        following.feed, following.number = self, self._numbers
        self.followings[self._numbers] = following
        self.stream.follow(self._numbers, following.watched)

    def remove(self, following: Following, *, tell: bool = True) -> None:
        """Ask this node no longer."""
        del self.followings[following.number]
        following.feed = None
        if tell:
            self.stream.drop(following.number)


class Watches:
    """Everything that is followed. Its tasks live for as long as something is."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._followings: dict[ShardId, dict[Following, None]] = {}
        self._count = 0
        self._unplaced: dict[Following, None] = {}
        self._later: dict[Following, None] = {}
        self._feeds: dict[str, _Feed] = {}
        self._of_shard: dict[ShardId, _Feed] = {}
        self._wake = asyncio.Event()
        self._placer: asyncio.Task[None] | None = None
        self._readers: dict[asyncio.Task[None], None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        router.on_change(self._map_changed)

    def follow(self, watched: WatchTask, take: Take) -> Following:
        """Follow a task. `take` is called in the loop with each outcome and must return at once.

        Raises:
            ResourceExhausted: this coordinator follows too much already.
        """
        if self._count >= FOLLOWED_MAX:
            sentence = "this coordinator follows too many tasks already; ask again in a moment"
            raise ResourceExhausted(sentence, retry_after_s=RETRY_AFTER_S)
        following = Following(watched, take)
        self._followings.setdefault(following.shard, {})[following] = None
        self._count += 1
        feed = self._of_shard.get(following.shard)
        if feed is None:
            self._unplaced[following] = None
            self._wake.set()
            self._keep_placing()
        else:
            feed.add(following)
        return following

    def drop(self, following: Following) -> None:
        """Follow it no longer. Safe to call after its last outcome."""
        if following.feed is not None:
            following.feed.remove(following)
        self._forget(following)

    def of(self, shard: ShardId) -> tuple[Following, ...]:
        """What is followed of a shard."""
        return tuple(self._followings.get(shard, ()))

    async def close(self) -> None:
        """End all streams; nobody is told anything any more."""
        self._closed = True
        tasks = [*self._readers, *([self._placer] if self._placer else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._timer is not None:
            self._timer.cancel()
        for feed in self._feeds.values():
            await feed.stream.close()
        self._feeds.clear()

    def _forget(self, following: Following) -> None:
        self._unplaced.pop(following, None)
        self._later.pop(following, None)
        of_shard = self._followings.get(following.shard, {})
        if following in of_shard:
            del of_shard[following]
            self._count -= 1
        if not of_shard:
            self._followings.pop(following.shard, None)

    # Placing --------------------------------------------------------------------------------------

    def _keep_placing(self) -> None:
        if not self._closed and (self._placer is None or self._placer.done()):
            self._placer = asyncio.get_running_loop().create_task(
                self._place_for_ever(), name="watches: placer"
            )

    async def _place_for_ever(self) -> None:
        while self._followings:
            self._wake.clear()
            await self._place(tuple(self._followings))
            await self._wake.wait()

    async def _place(self, shards: Iterable[ShardId]) -> None:
        """Put each shard's followings where the map says; those that moved first let go."""
        for shard in shards:
            target = await self._router.target(shard)
            before = self._of_shard.get(shard)
            if target is not None and (before is None or before.address != target.address):
                self._move(shard, before, self._feed_of(target))
        for following in tuple(self._unplaced):
            feed = self._of_shard.get(following.shard)
            del self._unplaced[following]
            if feed is None:
                self._turned_away(following)
            else:
                feed.add(following)

    def _move(self, shard: ShardId, before: _Feed | None, feed: _Feed) -> None:
        self._of_shard[shard] = feed
        for following in self.of(shard):
            if before is not None and following.feed is before:
                before.remove(following)
                self._unplaced[following] = None

    def _feed_of(self, target: Target) -> _Feed:
        feed = self._feeds.get(target.address)
        if feed is None:
            stream = self._router.client(target).watch()
            feed = self._feeds[target.address] = _Feed(target.address, stream)
            reader = asyncio.get_running_loop().create_task(self._read(feed), name="watches: feed")
            self._readers[reader] = None
            reader.add_done_callback(self._readers.pop)
        return feed

    def _turned_away(self, following: Following) -> None:
        """Ask again when the map changes, or after a pause."""
        self._later[following] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(RETRY_MS / 1_000, self._again)

    def _map_changed(self) -> None:
        """Have what is followed looked at; whoever follows the rest next asks the map of then."""
        of_shard = self._of_shard
        self._of_shard = {shard: of_shard[shard] for shard in of_shard if shard in self._followings}
        self._again()

    def _again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._unplaced.update(self._later)
        self._later.clear()
        self._wake.set()
        if self._followings:
            self._keep_placing()

    # Hearing --------------------------------------------------------------------------------------

    async def _read(self, feed: _Feed) -> None:
        """Hand on what a node tells, until it tells no more."""
        try:
            while True:
                for change in await feed.stream.changes():
                    self._hear(feed, change)
        except Unavailable as error:
            log.info("push stream ended", address=feed.address, why=str(error))
        finally:
            self._ended(feed)
        await feed.stream.close()

    def _ended(self, feed: _Feed) -> None:
        """Everything that was asked here is asked again, wherever the map says then."""
        if self._feeds.get(feed.address) is feed:
            del self._feeds[feed.address]
        for shard in [shard for shard, each in self._of_shard.items() if each is feed]:
            del self._of_shard[shard]
        self._router.suspect()
        for following in tuple(feed.followings.values()):
            feed.remove(following, tell=False)
            self._turned_away(following)

    def _hear(self, feed: _Feed, change: Change) -> None:
        following, outcome = feed.followings.get(change.number), change.outcome
        if following is None:
            return  # dropped, or moved to another owner meanwhile
        if is_last(outcome):
            feed.remove(following, tell=False)
        if isinstance(outcome, Rejected) and outcome.reason in _ELSEWHERE:
            self._router.suspect()
            self._turned_away(following)
            return
        if isinstance(outcome, Done):
            place = _place_of(outcome)
            if place < following.place:
                return
            following.place = place
        if is_last(outcome):
            self._forget(following)
        following.take(outcome)


def _place_of(done: Done) -> tuple[int, int]:
    """How far a task's journal has come."""
    last = done.task.journal[-1] if done.task.journal else None
    return (0, 0) if last is None else (last.epoch, last.seq)
