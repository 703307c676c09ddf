"""Carries out the engine's reads and watermark moves, and feeds the answers back as events.

Reads are repeated until the store answers or the shard is not ours any more; an ambiguous
conditional write is resolved by a serial read (rules R1, R20).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from timeball.errors import OutcomeUnknown, Unavailable

from scheduler_node.finding import Finder
from scheduler_node.paging import TakePage, each_page, known_kinds
from scheduler_node.removing import Remover
from scheduler_node.watermarks import Watermarks
from timeball_server.core.engine import events
from timeball_server.core.engine.effects import FindTask, LoadSlice, MoveScanFrom, SweepBucket
from timeball_server.core.ids import (
    KIND_SCHEDULE,
    Epoch,
    ShardId,
    TaskId,
    decode_id,
)
from timeball_server.core.journal import CLOSED, DueRow, EventRow
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import DuePage, OwnerRow, ShardRow, Store

T = TypeVar("T")
_PAGE_ROWS: Final = 250
"""Taken in at one go: more would hold up what is due meanwhile."""
_CONCURRENT_READS: Final = 8
_CONCURRENT_SEARCHES: Final = 4
"""Beside the reads: however much callers repeat, what is due is read."""
_EVER: Final = 2**62
_PAUSE_MS: Final = 50
_STILL_OPEN_MS: Final = 2_000
"""What was due longer ago has mostly ended, and its head says so."""
Journals = Mapping[TaskId, Sequence[EventRow]]


class Ended(NamedTuple):
    """Final heads of a shard's ended tasks, read before this epoch of it began."""

    epoch: Epoch
    heads: Mapping[TaskId, EventRow]


@dataclass(slots=True, kw_only=True)
class Reads:
    """What was read of tasks behind hints: heads, whole journals; spared: known to have ended."""

    heads_spared: int = 0
    heads_read: int = 0
    journals_read: int = 0


class NoLongerOurs(Exception):
    """The shard was lost while a read for it was being repeated."""


class Readers:
    """The reading half of the shell.

    Args:
        post: takes events for the engine.
        owns: whether this node still holds the shard in this epoch.
        publish: builds the owner row that readers see for a shard row.
        spawn: runs a read in the background.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        post: Callable[[events.Event], None],
        owns: Callable[[ShardId, Epoch], bool],
        publish: Callable[[ShardRow], OwnerRow],
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
    ) -> None:
        self._store = store
        self._clock = clock
        self._post = post
        self._owns = owns
        self._spawn = spawn
        self._room = asyncio.Semaphore(_CONCURRENT_READS)
        self._search_room = asyncio.Semaphore(_CONCURRENT_SEARCHES)
        self._finder = Finder(store, post=post, insist=self._insist_on_search, start=self._start)
        self._watermarks = Watermarks(store, insist=self._insist, publish=publish)
        self.remover = Remover(
            store,
            clock,
            post=post,
            insist=self._insist,
            watermarks=self._watermarks,
            start=self._start,
        )
        self._wanted: dict[tuple[ShardId, Epoch], list[TaskId]] = {}
        self._ended: dict[ShardId, Ended] = {}
        self.sums = Reads()

    def know(self, shard: ShardId, epoch: Epoch, heads: Mapping[TaskId, EventRow]) -> None:
        """Take final heads that were read before the shard was ours; they are not read again."""
        self._ended = {s: each for s, each in self._ended.items() if self._owns(s, each.epoch)}
        self._ended[shard] = Ended(epoch, heads)

    def load(self, effect: LoadSlice) -> None:
        """Read a slice of hints and the journals behind them, page by page."""
        self._start("load", self._load(effect))

    def sweep(self, effect: SweepBucket) -> None:
        """Read an ended bucket once more. All is loaded by then: nothing read ahead is of use."""
        self._ended.pop(effect.shard, None)
        self._start("sweep", self._sweep(effect))

    def find(self, effect: FindTask) -> None:
        """Look for a task whose creation was sent again, with all others of this step."""
        self._finder.want(effect)

    def move(self, effect: MoveScanFrom) -> None:
        """Raise a watermark and publish it."""
        self._start("watermark", self._move(effect))

    def want(self, shard: ShardId, epoch: Epoch, task_ids: tuple[TaskId, ...]) -> None:
        """Read these tasks with all others wanted in this step."""
        self._wanted.setdefault((shard, epoch), []).extend(task_ids)

    def flush(self) -> None:
        """Begin one read per shard for all tasks wanted in this step, and searches."""
        self._finder.flush()
        if not self._wanted:
            return
        wanted, self._wanted = self._wanted, {}
        for (shard, epoch), task_ids in wanted.items():
            self._start("read", self._read(shard, epoch, task_ids))

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._spawn(name, self._while_ours(work))

    async def _while_ours(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except NoLongerOurs:
            return

    async def _insist_on_search(
        self, shard: ShardId, epoch: Epoch, read: Callable[[], Awaitable[T]]
    ) -> T:
        return await self._insist(shard, epoch, read, self._search_room)

    async def _insist(
        self,
        shard: ShardId,
        epoch: Epoch,
        read: Callable[[], Awaitable[T]],
        room: asyncio.Semaphore | None = None,
    ) -> T:
        """Repeat a read until it is answered, for as long as the shard is ours."""
        while True:
            if not self._owns(shard, epoch):
                raise NoLongerOurs
            try:
                async with room or self._room:
                    return await read()
            except (OutcomeUnknown, Unavailable):
                await self._clock.sleep_ms(_PAUSE_MS)

    async def _in_pieces(
        self,
        shard: ShardId,
        epoch: Epoch,
        task_ids: Sequence[TaskId],
        read: Callable[[Sequence[TaskId]], Awaitable[Mapping[TaskId, T]]],
    ) -> dict[TaskId, T]:
        """Insist on what a store may be unable to answer at once: after each failure ask for half.

        A task may carry a megabyte, and a hundred of them take longer than an answer may.
        """
        found: dict[TaskId, T] = {}
        begun, size = 0, len(task_ids)
        while begun < len(task_ids):
            if not self._owns(shard, epoch):
                raise NoLongerOurs
            try:
                async with self._room:
                    found.update(await read(task_ids[begun : begun + size]))
                begun += size
            except (OutcomeUnknown, Unavailable):
                size = max(1, size // 2)
                await self._clock.sleep_ms(_PAUSE_MS)
        return found

    async def _load(self, effect: LoadSlice) -> None:
        async def take(page: Sequence[DueRow], last: bool) -> None:
            hints, foreign = known_kinds(page)
            if foreign:
                self._loaded(effect, (), {}, last=False, foreign=foreign)
            await self._load_page(effect, hints, last=last)

        await self._each_page(effect, effect.from_ms, effect.to_ms, take)

    async def _each_page(
        self, effect: LoadSlice | SweepBucket, from_ms: int, to_ms: int, take: TakePage
    ) -> None:
        """Hints of the effect's bucket that are due in this time."""
        shard, epoch, minute = effect.shard, effect.epoch, effect.minute

        async def read(after: DueRow | None) -> DuePage:
            return await self._insist(
                shard,
                epoch,
                lambda: self._store.read_due(minute, shard, from_ms, to_ms, _PAGE_ROWS, after),
            )

        await each_page(read, take)

    async def _load_page(self, effect: LoadSlice, hints: Sequence[DueRow], *, last: bool) -> None:
        """Journals behind what is due about now or later first: it cannot wait for the rest."""
        cut_ms = self._clock.now().wall_ms - _STILL_OPEN_MS
        past = [hint for hint in hints if hint.due_ms <= cut_ms]
        others = [hint for hint in hints if hint.due_ms > cut_ms]
        if others or not past:
            journals = await self._unless_ended(effect.shard, effect.epoch, others, self._journals)
            self._loaded(effect, others, journals, last=last and not past)
        if past:
            journals = await self._unless_ended(
                effect.shard, effect.epoch, past, self._mostly_ended
            )
            self._loaded(effect, past, journals, last=last)

    def _loaded(
        self,
        effect: LoadSlice,
        hints: Sequence[DueRow],
        journals: Journals,
        *,
        last: bool,
        foreign: Sequence[DueRow] = (),
    ) -> None:
        self._post(
            events.SliceLoaded(
                shard=effect.shard,
                epoch=effect.epoch,
                number=effect.number,
                hints=hints,
                journals=journals,
                last=last,
                foreign=foreign,
            )
        )

    async def _unless_ended(
        self,
        shard: ShardId,
        epoch: Epoch,
        hints: Sequence[DueRow],
        read: Callable[[ShardId, Epoch, Sequence[TaskId]], Awaitable[Journals]],
    ) -> Journals:
        """What is behind hints: read, but for what was known to have ended before (ADR 8)."""
        ended = self._ended.get(shard)
        known = ended.heads if ended is not None and ended.epoch == epoch else {}
        task_ids = dict.fromkeys(hint.task_id for hint in hints)
        spared = {task_id: (known[task_id],) for task_id in task_ids if task_id in known}
        self.sums.heads_spared += len(spared)
        rest = [task_id for task_id in task_ids if task_id not in spared]
        return {**spared, **await read(shard, epoch, rest)} if rest else spared

    async def _mostly_ended(
        self, shard: ShardId, epoch: Epoch, task_ids: Sequence[TaskId]
    ) -> Journals:
        """Journals of tasks of the past; of those that have ended, which most have, the head."""
        self.sums.heads_read += len(task_ids)
        heads = await self._in_pieces(shard, epoch, task_ids, self._store.read_heads)
        found: dict[TaskId, Sequence[EventRow]] = {
            task_id: (head,) for task_id, head in heads.items() if head.state in CLOSED
        }
        alive = [task_id for task_id in task_ids if task_id not in found]
        return {**found, **await self._journals(shard, epoch, alive)}

    async def _journals(self, shard: ShardId, epoch: Epoch, task_ids: Iterable[TaskId]) -> Journals:
        """Journals of tasks; of schedules only the head, which says everything."""
        kinds: tuple[list[TaskId], list[TaskId]] = ([], [])
        for task_id in dict.fromkeys(task_ids):
            kinds[decode_id(task_id).kind == KIND_SCHEDULE].append(task_id)
        tasks, schedules = kinds
        found: dict[TaskId, Sequence[EventRow]] = {}
        self.sums.journals_read += len(tasks)
        if tasks:
            found.update(await self._in_pieces(shard, epoch, tasks, self._store.read_journals))
        if schedules:
            heads = await self._in_pieces(shard, epoch, schedules, self._store.read_heads)
            found.update({task_id: (head,) for task_id, head in heads.items()})
        return found

    async def _sweep(self, effect: SweepBucket) -> None:
        shard, epoch = effect.shard, effect.epoch

        async def take(page: Sequence[DueRow], last: bool) -> None:
            hints, foreign = known_kinds(page)
            journals = await self._unless_ended(shard, epoch, hints, self._mostly_ended)
            self._post(
                events.BucketSwept(
                    shard=shard,
                    epoch=epoch,
                    minute=effect.minute,
                    hints=hints,
                    journals=journals,
                    last=last,
                    foreign=foreign,
                )
            )

        await self._each_page(effect, 0, _EVER, take)

    async def _read(self, shard: ShardId, epoch: Epoch, task_ids: list[TaskId]) -> None:
        journals = await self._journals(shard, epoch, task_ids)
        self._post(events.TasksRead(shard, epoch, task_ids, journals))

    async def _move(self, effect: MoveScanFrom) -> None:
        shard, epoch = effect.shard, effect.epoch
        row = await self._watermarks.move(
            shard,
            epoch,
            lambda: self._store.move_scan_from(shard, epoch, effect.old, effect.new),
            lambda row: row.scan_from >= effect.new,
        )
        reached = None if row is None else row.scan_from
        self._post(events.ScanFromMoved(shard, epoch, reached))
