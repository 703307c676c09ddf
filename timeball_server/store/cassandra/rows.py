"""Rows as values to bind and back, and the timestamp that each row is written with.

Timestamps. Rows are immutable, so no write of ours ever has to win over another one; it only has
to be the same write when it is repeated, and it has to lose against the removal of its partition.
A timestamp from a clock gives neither: a resend would carry a later one, and a row written by a
node whose clock was ahead would outlive the tombstone. So the timestamp is a function of the key:
a row of a bucket is written at the first instant of the bucket's minute, a row of a listing at the
instant that it is listed under. A resend, by whatever process, is the identical mutation. CREATED
and its hint are one mutation with one timestamp. A removal is stamped with the later of now and the
bucket's end plus five minutes (rule R20), and thereby beats every row of the bucket that is there,
is on its way or still lies in a hint, however wrong any clock was; rows of other buckets have other
partitions. What this gives up: if a rule were broken and one key had two contents, the greater
value would win cell by cell, not the later row. And the name of a column that was dropped may never
be used again: Cassandra ignores cells that are stamped before the drop, which ours are.

`owners` alone has a row that is written over, by one writer: its timestamp is its own instant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from timeball_server.core.journal import (
    DeadLetterRow,
    DueRow,
    EventRow,
    LedgerRow,
    OwnerListRow,
    Row,
    StateListRow,
    VersionRow,
)
from timeball_server.store import records
from timeball_server.store.codec import encode_detail
from timeball_server.store.keys import home_bucket
from timeball_server.store.records import (
    by_owner_values,
    by_state_values,
    dead_letter_values,
    due_values,
    ledger_values,
    version_values,
)

# What is bound and what comes back: None, int, str, bytes or a list of str.
Values = tuple[Any, ...]
MINUTE_US: Final = 60_000_000
MS_US: Final = 1_000
_NO_ALARM: Final = (None, None, None)
_NO_RUN: Final = (None, None)
_ROW_BYTES: Final = 512
"""What a row costs in a request besides its last column, generously: an event with all its numbers
and names. The last column is the one that can be long: an event's detail, a message."""


@dataclass(frozen=True, slots=True)
class _Table:
    """How rows of one type are written: which value is the partition's instant, in which unit."""

    statement: str
    to_values: Callable[[Any], Values]
    partition_size: int
    instant_at: int
    unit_us: int
    place: str


class Write(NamedTuple):
    """One row, ready to be bound. Writes of equal partitions are one mutation."""

    statement: str
    values: Values
    partition: tuple[object, ...]
    size_bytes: int


def event_values(row: EventRow) -> Values:
    """The values of an event."""
    task_id, alarm, run, spec_at = row.task_id, row.alarm, row.run, row.spec_at
    home = home_bucket(task_id)
    alarm_due_ms, alarm_seq, alarm_epoch = _NO_ALARM if alarm is None else alarm
    run_seq, run_epoch = _NO_RUN if run is None else run
    unaccounted = list(row.unaccounted) if row.unaccounted else None
    return (
        home.minute, home.shard, home.part, task_id, row.epoch, row.seq, row.kind, row.state,
        alarm_due_ms, alarm_seq, alarm_epoch, row.attempt, run_seq, run_epoch, row.executor,
        row.incarnation, row.prev_epoch, spec_at[0], spec_at[1], row.revision, row.priority,
        unaccounted, row.request_id, row.at_ms, row.created_ms, row.actor,
        encode_detail(row.detail),
    )  # fmt: skip


def _texts(stored: list[str] | None) -> tuple[str, ...]:
    """A list of text as it comes back; the empty one is nothing here."""
    return tuple(stored or ())


event_from: Final = partial(records.event_from, texts=_texts)
"""The event of a row, or what stands for one that this version cannot read."""


# journal and due share the shape of their partition key, so that one bucket is one mutation.
_BUCKET: Final = "bucket"
_TABLES: Final[Mapping[type[Row], _Table]] = {
    EventRow: _Table("add_event", event_values, 3, 0, MINUTE_US, _BUCKET),
    DueRow: _Table("add_due", due_values, 3, 0, MINUTE_US, _BUCKET),
    OwnerListRow: _Table("add_by_owner", by_owner_values, 3, 3, MS_US, "add_by_owner"),
    StateListRow: _Table("add_by_state", by_state_values, 4, 4, MS_US, "add_by_state"),
    DeadLetterRow: _Table("add_dead_letter", dead_letter_values, 2, 2, MS_US, "add_dead_letter"),
    LedgerRow: _Table("add_verdict", ledger_values, 2, 2, MS_US, "add_verdict"),
    VersionRow: _Table("add_version", version_values, 1, 3, MS_US, "add_version"),
}


def write_of(row: Row) -> Write:
    """The one write that this row ever is."""
    table = _TABLES[type(row)]
    values = table.to_values(row)
    last = values[-1]
    size_bytes = _ROW_BYTES + len(last) if isinstance(last, (str, bytes)) else _ROW_BYTES
    timestamp_us = values[table.instant_at] * table.unit_us
    partition = (table.place, *values[: table.partition_size])
    return Write(table.statement, (*values, timestamp_us), partition, size_bytes)
