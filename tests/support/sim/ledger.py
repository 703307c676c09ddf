"""What the store holds when all is over: ledgers and versions of schedules, and buckets of tasks.

Of a nominal time, and of a version, the newest epoch's row counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.support.checker.records import Edition, Verdict
from tests.support.checker.stored import Stored
from tests.support.virtual_loop import since_start_us
from timeball_server.core.buckets import end_ms
from timeball_server.core.ids import SCHEDULES_MINUTE, Minute, home_of
from timeball_server.core.journal import (
    CLOSED,
    EventRow,
    LedgerRow,
    ScheduleDetail,
    VersionRow,
    head_of,
)
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
            nominal_us=since_start_us(nominal_ms),
            verdict=row.verdict,
            task=str(row.task_id or ""),
            number=row.version,
            late_us=row.lateness_ms * 1_000 if nominal_ms == row.nominal_ms else None,
            down_us=row.down_ms * 1_000,
            cause=row.cause,
        )


def editions(database: MemoryDatabase) -> Iterator[Edition]:
    """The versions of all schedules, of each number the newest epoch's.

    A row is written before the event that puts it in force, which may have failed (rule S6).
    """
    for schedule_id in sorted(database.versions._rows):
        newest: dict[int, VersionRow] = {}
        head = head_of(database.journal.events(schedule_id))
        detail = None if head is None else head.detail
        last = detail.version if isinstance(detail, ScheduleDetail) else 0
        for row in database.versions.of(schedule_id, 0):
            if row.version <= last:
                newest.setdefault(row.version, row)
        for number, row in newest.items():
            after_us = since_start_us(row.after_ms)
            yield Edition(schedule=str(schedule_id), number=number, after_us=after_us)


def buckets(database: MemoryDatabase) -> Iterator[Stored]:
    """Every bucket that tasks are stored in."""
    found: dict[tuple[int, int], list[EventRow]] = defaultdict(list)
    for task_id in sorted(database.journal._tasks):
        home, head = home_of(task_id), head_of(database.journal.events(task_id))
        if head is not None and home.minute != SCHEDULES_MINUTE:
            found[home.shard, home.minute].append(head)
    for (shard, minute), heads in sorted(found.items()):
        parts = Counter(home_of(head.task_id).part for head in heads)
        yield Stored(
            shard=shard,
            ends_us=since_start_us(end_ms(Minute(minute))),
            changed_us=max(since_start_us(head.at_ms) for head in heads),
            open=next((str(head.task_id) for head in heads if head.state not in CLOSED), ""),
            parts=tuple(parts[number] for number in range(max(parts) + 1)),
        )


def _times(row: LedgerRow) -> range:
    """The nominal times of a row: one, or several in a row that were decided alike."""
    last_ms = row.last_nominal_ms or row.nominal_ms
    step_ms = (last_ms - row.nominal_ms) // max(1, (row.times or 1) - 1) or 1
    return range(row.nominal_ms, last_ms + 1, step_ms)
