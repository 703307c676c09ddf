"""Group commit: what many tasks want written goes to the store in few writes.

Owns resending: the same rows until they are durable or the shard is not ours any more (rule
R7), and waiting for company: a write whose asker is patient begins when the last batch is as old
as that allows. What nobody waits for has a lane of its own: there it meets more rows of its own
partitions, which is what a row costs a database, and holds up nobody. Must never report a write
that the store has not acknowledged, and never begin one without the lease (rule R3).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from timeball.errors import OutcomeUnknown, Unavailable

from timeball_server.core.carried import carried_bytes
from timeball_server.core.engine.effects import Write
from timeball_server.core.journal import Row
from timeball_server.core.limits import MAX_BATCH_BYTES
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import Store

_RESEND_FIRST_MS: Final = 20
_RESEND_MOST_MS: Final = 1_000
_EVER_MS: Final = 2**31
PATIENT_FROM_MS: Final = 50
"""Writes that may wait so long do not go along with those that may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitLimits:
    """How large a batch may be and how many of each lane may be under way at once.

    Attributes:
        rows: of a batch.
        batch_bytes: of what tasks carry. Rows of one partition are one mutation, and a database
            refuses one that is too large (Cassandra: 16 MiB), now and whenever it is sent again.
        batches_in_flight: of each lane.
    """

    rows: int = 500
    batch_bytes: int = MAX_BATCH_BYTES
    batches_in_flight: int = 2


@dataclass(slots=True, kw_only=True)
class _Lane:
    """Writes that go together.

    Attributes:
        slots: batches that may be under way at once.
        linger_ms: of its most hurried write.
        begun_ms: when the last batch began.
        failing: batches under way that the store has refused at least once.
    """

    slots: int
    queue: deque[Write] = field(default_factory=deque)
    rows: int = 0
    linger_ms: int = _EVER_MS
    begun_ms: int = -_EVER_MS
    timer: asyncio.TimerHandle | None = None
    in_flight: int = 0
    failing: int = 0

    def add(self, write: Write) -> None:
        """Queue a write."""
        self.queue.append(write)
        self.rows += len(write.rows)
        self.linger_ms = min(self.linger_ms, write.linger_ms)


class Committer:
    """Collects writes and carries them to the store.

    Args:
        may_write: whether this write's shard is still ours and the lease holds.
        on_durable: told the numbers of writes, in the order of their batches, and how patient
            the least patient of those who wait for them is, in milliseconds.
        spawn: runs a batch in the background.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        may_write: Callable[[Write], bool],
        on_durable: Callable[[Sequence[int], int], None],
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
        limits: CommitLimits | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._may_write = may_write
        self._on_durable = on_durable
        self._spawn = spawn
        self._limits = limits or CommitLimits()
        self._soon = _Lane(slots=self._limits.batches_in_flight)
        self._patient = _Lane(slots=self._limits.batches_in_flight)
        self.batches = 0
        self.rows = 0
        self.resends = 0

    @property
    def is_stuck(self) -> bool:
        """Whether every batch under way was refused by the store at least once: nothing moves."""
        soon, patient = self._soon, self._patient
        failing = soon.failing + patient.failing
        all_fail = failing == soon.in_flight + patient.in_flight
        return soon.failing >= soon.slots or (all_fail and failing >= soon.slots)

    def add(self, write: Write) -> None:
        """Queue a write; `flush` begins it."""
        lane = self._patient if write.linger_ms >= PATIENT_FROM_MS else self._soon
        lane.add(write)

    def hurry(self) -> None:
        """Somebody waits for all that is queued: let `flush` begin it."""
        self._soon.linger_ms = self._patient.linger_ms = 0

    def flush(self) -> None:
        """Begin batches while it is time for them and there is room for another one."""
        self._flush(self._soon)
        self._flush(self._patient)

    def _flush(self, lane: _Lane) -> None:
        while lane.queue and lane.in_flight < lane.slots and self._is_time(lane):
            batch = self._next_batch(lane)
            if batch:
                lane.in_flight += 1
                self._spawn("commit", self._commit(lane, batch))

    def _is_time(self, lane: _Lane) -> bool:
        """Whether the most hurried write of the lane waits no longer; else look again then."""
        now_ms = self._clock.now().mono_ms
        left_ms = lane.begun_ms + lane.linger_ms - now_ms
        if left_ms > 0 and lane.rows < self._limits.rows:
            if lane.timer is None:
                loop = asyncio.get_running_loop()
                lane.timer = loop.call_later(left_ms / 1_000, self._look_again, lane)
            return False
        lane.begun_ms = now_ms
        return True

    def _look_again(self, lane: _Lane) -> None:
        lane.timer = None
        self._flush(lane)

    def _next_batch(self, lane: _Lane) -> list[Write]:
        batch: list[Write] = []
        rows = size_bytes = 0
        while lane.queue and (not batch or rows < self._limits.rows):
            write_bytes = sum(map(carried_bytes, lane.queue[0].rows))
            if batch and size_bytes + write_bytes > self._limits.batch_bytes:
                break
            write = lane.queue.popleft()
            lane.rows -= len(write.rows)
            if self._may_write(write):
                batch.append(write)
                rows += len(write.rows)
                size_bytes += write_bytes
        if not lane.queue:
            lane.linger_ms = _EVER_MS
        return batch

    async def _commit(self, lane: _Lane, batch: list[Write]) -> None:
        try:
            await self._until_durable(lane, batch)
        finally:
            lane.in_flight -= 1
        self._flush(lane)

    async def _until_durable(self, lane: _Lane, batch: list[Write]) -> None:
        if await self._append(batch):
            return
        lane.failing += 1
        try:
            await self._resend(batch)
        finally:
            lane.failing -= 1

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
        patience_ms = min(write.linger_ms for write in batch)
        self._on_durable([write.token for write in batch], patience_ms)
        return True
