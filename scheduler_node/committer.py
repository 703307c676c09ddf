"""Group commit: what many tasks want written goes to the store in few writes.

Owns resending: the same rows until they are durable or the shard is not ours any more (rule
R7), and waiting for company: a write whose asker is patient begins when the last batch is as old
as that allows. Must never report a write that the store has not acknowledged, and never begin one
without the lease (rule R3).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from timeball.errors import OutcomeUnknown, Unavailable

from timeball_server.core.engine.effects import Write
from timeball_server.core.journal import Row
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import Store

_RESEND_FIRST_MS: Final = 20
_RESEND_MOST_MS: Final = 1_000
_EVER_MS: Final = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitLimits:
    """How large a batch may be and how many may be under way at once."""

    rows: int = 500
    batches_in_flight: int = 2


class Committer:
    """Collects writes and carries them to the store.

    Args:
        may_write: whether this write's shard is still ours and the lease holds.
        on_durable: told the numbers of writes, in the order of their batches, and whether
            anybody is in a hurry to hear of them.
        spawn: runs a batch in the background.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        may_write: Callable[[Write], bool],
        on_durable: Callable[[Sequence[int], bool], None],
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
        limits: CommitLimits | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._may_write = may_write
        self._on_durable = on_durable
        self._spawn = spawn
        self._limits = limits or CommitLimits()
        self._queue: deque[Write] = deque()
        self._queued_rows = 0
        self._linger_ms = _EVER_MS
        self._begun_ms = -_EVER_MS
        self._timer: asyncio.TimerHandle | None = None
        self._in_flight = 0
        self._failing = 0
        self.batches = 0
        self.rows = 0
        self.resends = 0

    @property
    def is_stuck(self) -> bool:
        """Whether every batch under way was refused by the store at least once: nothing moves."""
        return self._failing >= self._limits.batches_in_flight

    def add(self, write: Write) -> None:
        """Queue a write; `flush` begins it."""
        self._queue.append(write)
        self._queued_rows += len(write.rows)
        self._linger_ms = min(self._linger_ms, write.linger_ms)

    def flush(self) -> None:
        """Begin batches while it is time for them and there is room for another one."""
        while self._queue and self._in_flight < self._limits.batches_in_flight:
            if not self._is_time():
                return
            batch = self._next_batch()
            if batch:
                self._in_flight += 1
                self._spawn("commit", self._commit(batch))

    def _is_time(self) -> bool:
        """Whether the most hurried write of the queue waits no longer; else look again then."""
        now_ms = self._clock.now().mono_ms
        left_ms = self._begun_ms + self._linger_ms - now_ms
        if left_ms > 0 and self._queued_rows < self._limits.rows:
            if self._timer is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(left_ms / 1_000, self._look_again)
            return False
        self._begun_ms = now_ms
        return True

    def _look_again(self) -> None:
        self._timer = None
        self.flush()

    def _next_batch(self) -> list[Write]:
        batch: list[Write] = []
        rows = 0
        while self._queue and (not batch or rows < self._limits.rows):
            write = self._queue.popleft()
            self._queued_rows -= len(write.rows)
            if self._may_write(write):
                batch.append(write)
                rows += len(write.rows)
        if not self._queue:
            self._linger_ms = _EVER_MS
        return batch

    async def _commit(self, batch: list[Write]) -> None:
        try:
            await self._until_durable(batch)
        finally:
            self._in_flight -= 1
        self.flush()

    async def _until_durable(self, batch: list[Write]) -> None:
        if await self._append(batch):
            return
        self._failing += 1
        try:
            await self._resend(batch)
        finally:
            self._failing -= 1

    async def _resend(self, batch: list[Write]) -> None:
        """The same rows, for as long as their shards are ours."""
        pause_ms = _RESEND_FIRST_MS
        while batch:
            self.resends += 1
            await self._clock.sleep_ms(pause_ms)
            pause_ms = min(2 * pause_ms, _RESEND_MOST_MS)
            batch = [write for write in batch if self._may_write(write)]
            if batch and await self._append(batch):
                return

    async def _append(self, batch: Sequence[Write]) -> bool:
        """Whether the store has acknowledged the batch."""
        rows: list[Row] = [row for write in batch for row in write.rows]
        try:
            await self._store.append(rows)
        except (OutcomeUnknown, Unavailable):
            return False
        self.batches += 1
        self.rows += len(rows)
        hurried = any(write.linger_ms == 0 for write in batch)
        self._on_durable([write.token for write in batch], hurried)
        return True
