"""Carries out the removal of buckets: reads them whole, moves the watermark, deletes (R19, R20).

Owns the order: the conditional write, then its plain copy for readers, then the engine hears of
it, then the deletes, each resent until it is acknowledged. Never decides what may go.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from scheduler_node.finding import Insist
from scheduler_node.watermarks import Watermarks
from timeball_server.core.engine import events
from timeball_server.core.engine.effects import MoveDeletedBelow, ReadForRemoval, RemoveBuckets
from timeball_server.core.ids import Minute, TaskId
from timeball_server.core.journal import EventRow
from timeball_server.core.retention import EMPTY, with_heads
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import Store

_PAGE_HEADS: Final = 250
_PAUSE_MS: Final = 50
"""Between pages, and between deletes: removals hold up nothing that is due."""


class Remover:
    """The removing part of the shell.

    Args:
        insist: raises when the shard is not ours any more; then the work ends without a word.
        watermarks: moves the shard's.
        start: runs work in the background.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        post: Callable[[events.Event], None],
        insist: Insist,
        watermarks: Watermarks,
        start: Callable[[str, Coroutine[Any, Any, None]], object],
    ) -> None:
        self._store = store
        self._clock = clock
        self._post = post
        self._insist = insist
        self._watermarks = watermarks
        self._start = start

    def read(self, effect: ReadForRemoval) -> None:
        """Read a bucket's heads to the end, page by page."""
        self._start("read for removal", self._read(effect))

    def move(self, effect: MoveDeletedBelow) -> None:
        """Raise the watermark and publish it."""
        self._start("deleted_below", self._move(effect))

    def remove(self, effect: RemoveBuckets) -> None:
        """Delete buckets, each until it is acknowledged."""
        self._start("remove", self._remove(effect))

    async def _read(self, effect: ReadForRemoval) -> None:
        minute, shard = effect.minute, effect.shard
        contents, after = EMPTY, None
        while True:
            heads = await self._page(effect, after)
            contents = with_heads(contents, heads)
            if len(heads) < _PAGE_HEADS or contents.open_task is not None:
                break
            after = heads[-1].task_id
            await self._clock.sleep_ms(_PAUSE_MS)
        self._post(events.BucketRead(shard, effect.epoch, minute, contents))

    async def _page(self, effect: ReadForRemoval, after: TaskId | None) -> Sequence[EventRow]:
        minute, shard = effect.minute, effect.shard
        return await self._insist(
            shard,
            effect.epoch,
            lambda: self._store.read_bucket_journals(minute, shard, after, _PAGE_HEADS),
        )

    async def _move(self, effect: MoveDeletedBelow) -> None:
        shard, epoch = effect.shard, effect.epoch
        row = await self._watermarks.move(
            shard,
            epoch,
            lambda: self._store.move_deleted_below(shard, epoch, effect.old, effect.new),
            lambda row: row.deleted_below == effect.new,
        )
        reached = None if row is None else row.deleted_below
        self._post(events.DeletedBelowMoved(shard, epoch, reached))

    async def _remove(self, effect: RemoveBuckets) -> None:
        shard, epoch = effect.shard, effect.epoch
        for number in range(effect.first, effect.below):
            delete = partial(self._store.delete_bucket, Minute(number), shard)
            await self._insist(shard, epoch, delete)
            await self._clock.sleep_ms(_PAUSE_MS)
        self._post(events.BucketsRemoved(shard, epoch, effect.first, effect.below))
