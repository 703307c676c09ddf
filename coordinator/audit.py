"""The audit log: who changed what in the cluster, when, and how it ended.

What administrators and operators do is noted here; what happens to tasks stands in their own
journals, each event with its actor, so no task waits for this log. A row that cannot be written
now is written later; what cannot be kept any longer is counted and still stands in the log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Final

import structlog
from timeball.errors import TimeballError

from timeball_server.ports.access import AccessStore, AuditRow
from timeball_server.ports.clock import Clock
from timeball_server.ports.metrics import Family, counter, gauge

log = structlog.stdlib.get_logger("audit")
MAX_WAITING_ROWS: Final = 10_000
MAX_BATCH_ROWS: Final = 100
WRITE_MS: Final = 2_000
"""How long an answer waits for its row; then the row follows later."""
FLUSH_EVERY_MS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something that somebody tries. `namespace` is empty for what concerns the whole cluster."""

    actor: str
    action: str
    target: str
    namespace: str = ""
    request_id: str = ""
    detail: str = ""


class Auditor:
    """Notes deeds."""

    def __init__(self, access: AccessStore, clock: Clock, entropy: Random) -> None:
        self._access = access
        self._clock = clock
        self._entropy = entropy
        self._waiting: deque[AuditRow] = deque()
        self._dropped = 0

    @asynccontextmanager
    async def noted(self, deed: Deed) -> AsyncIterator[None]:
        """Around what is done: notes how it ended, before its caller is answered."""
        try:
            yield
        except TimeballError as error:
            await self._write(self._row(deed, error.reason))
            raise
        except BaseException:
            # Broken off or broken: nobody waits for the row, and nobody knows how far it came.
            self.note(deed, "UNKNOWN")
            raise
        await self._write(self._row(deed, "OK"))

    def note(self, deed: Deed, outcome: str = "OK", at_ms: int | None = None) -> None:
        """Note something without waiting."""
        self._keep(self._row(deed, outcome, at_ms))

    async def run(self) -> None:
        """Write what waits, for as long as the coordinator lives."""
        while True:
            await self._clock.sleep_ms(FLUSH_EVERY_MS)
            await self.flush()

    async def flush(self) -> None:
        """Write what waits; what cannot be written goes on waiting."""
        while self._waiting:
            rows = [self._waiting.popleft() for _ in range(min(MAX_BATCH_ROWS, len(self._waiting)))]
            try:
                await self._access.append_audit(rows)
            except TimeballError as error:
                self._waiting.extendleft(reversed(rows))
                log.warning("audit rows wait", rows=len(self._waiting), error=error.reason)
                return
            except BaseException:  # broken off: the same rows may be written twice, never not
                self._waiting.extendleft(reversed(rows))
                raise

    def metrics(self) -> Iterator[Family]:
        """How the log keeps up."""
        text = "Rows of the audit log that wait to be written."
        yield gauge("timeball_audit_waiting_rows", text, len(self._waiting))
        text = "Rows of the audit log that were given up; the process's own log has them."
        yield counter("timeball_audit_dropped_rows", text, self._dropped)

    async def _write(self, row: AuditRow) -> None:
        try:
            async with asyncio.timeout(WRITE_MS / 1_000):
                await self._access.append_audit([row])
        except (TimeballError, TimeoutError) as error:
            log.warning("an audit row waits", id=row.id, error=str(error))
            self._keep(row)

    def _keep(self, row: AuditRow) -> None:
        if len(self._waiting) >= MAX_WAITING_ROWS:
            self._dropped += 1
            return
        self._waiting.append(row)

    def _row(self, deed: Deed, outcome: str, at_ms: int | None = None) -> AuditRow:
        """The row of a deed, which also stands as a line in the process's log."""
        now_ms = self._clock.now().wall_ms if at_ms is None else at_ms
        row = AuditRow(
            namespace=deed.namespace,
            at_ms=now_ms,
            id=self._entropy.randbytes(10).hex(),
            actor=deed.actor,
            action=deed.action,
            target=deed.target,
            outcome=outcome,
            request_id=deed.request_id,
            detail=deed.detail,
        )
        log.info(
            "audit",
            actor=row.actor,
            action=row.action,
            target=row.target,
            namespace=row.namespace,
            outcome=row.outcome,
            request_id=row.request_id,
            detail=row.detail,
        )
        return row
