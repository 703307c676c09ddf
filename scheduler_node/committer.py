"""Group commit: what many tasks want written goes to the store in few writes.

Owns resending: the same rows until they are durable or the shard is not ours any more (rule
R7). Must never report a write that the store has not acknowledged, and never begin one without
the lease (rule R3).
"""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitLimits:
    """How large a batch may be and how many may be under way at once."""

    rows: int = 500
    batches_in_flight: int = 2


class Committer:
    """Collects writes and carries them to the store.

    Args:
        may_write: whether this write's shard is still ours and the lease holds.
        on_durable: told the numbers of writes, in the order of their batches.
        spawn: runs a batch in the background.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        may_write: Callable[[Write], bool],
        on_durable: Callable[[Sequence[int]], None],
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
        self._in_flight = 0
        self.batches = 0
        self.rows = 0
        self.resends = 0

    def add(self, write: Write) -> None:
        """Queue a write; `flush` begins it."""
        self._queue.append(write)

    def flush(self) -> None:
        """Begin batches while there is something to write and room for another one."""
        while self._queue and self._in_flight < self._limits.batches_in_flight:
            batch = self._next_batch()
            if batch:
                self._in_flight += 1
                self._spawn("commit", self._commit(batch))

    def _next_batch(self) -> list[Write]:
        batch: list[Write] = []
        rows = 0
        while self._queue and (not batch or rows < self._limits.rows):
            write = self._queue.popleft()
            if self._may_write(write):
                batch.append(write)
                rows += len(write.rows)
        return batch

    async def _commit(self, batch: list[Write]) -> None:
        try:
            await self._until_durable(batch)
        finally:
            self._in_flight -= 1
        self.flush()

    async def _until_durable(self, batch: list[Write]) -> None:
        pause_ms = _RESEND_FIRST_MS
        while batch:
            rows: list[Row] = [row for write in batch for row in write.rows]
            try:
                await self._store.append(rows)
            except (OutcomeUnknown, Unavailable):
                self.resends += 1
                await self._clock.sleep_ms(pause_ms)
                pause_ms = min(2 * pause_ms, _RESEND_MOST_MS)
                batch = [write for write in batch if self._may_write(write)]
                continue
            self.batches += 1
            self.rows += len(rows)
            self._on_durable([write.token for write in batch])
            return
