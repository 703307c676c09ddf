"""The ledger of schedules as a reader finds it: for every nominal time, the newest epoch's."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.checker.history import Verdict
from tests.support.virtual_loop import START_WALL_MS
from timeball_server.core.journal import LedgerRow
from timeball_server.store.memory import MemoryDatabase


def verdicts(database: MemoryDatabase) -> Iterator[Verdict]:
    """One verdict for each nominal time that has any."""
    newest: dict[tuple[str, int], LedgerRow] = {}
    for row in database.ledger._rows.values():
        for nominal_ms in _times(row):
            key = (str(row.schedule_id), nominal_ms)
            standing = newest.get(key)
            if standing is None or standing.epoch <= row.epoch:
                newest[key] = row
    for (schedule, nominal_ms), row in sorted(newest.items()):
        yield Verdict(
            schedule=schedule,
            nominal_us=(nominal_ms - START_WALL_MS) * 1_000,
            verdict=row.verdict,
            task=str(row.task_id or ""),
        )


def _times(row: LedgerRow) -> range:
    """The nominal times of a row: one, or several in a row that were decided alike."""
    last_ms = row.last_nominal_ms or row.nominal_ms
    step_ms = (last_ms - row.nominal_ms) // max(1, (row.times or 1) - 1) or 1
    return range(row.nominal_ms, last_ms + 1, step_ms)
