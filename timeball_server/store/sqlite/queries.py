"""What the SQLite store asks of a connection. Runs on a lane's thread; begins no transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Any, Final

from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    Minute,
    NodeId,
    ShardId,
    TaskId,
    encode_id,
)
from timeball_server.core.journal import DueRow, EventRow, LedgerRow, Row, VersionRow
from timeball_server.ports.store import Applied, DuePage, NotApplied, OwnerRow, ShardRow
from timeball_server.store.keys import due_order, home_bucket, no_fenced_row, refuse_other_content
from timeball_server.store.records import (
    Values,
    due_from,
    event_from,
    ledger_from,
    version_from,
)
from timeball_server.store.sqlite.rows import TABLES, Table
from timeball_server.store.sqlite.statements import STATEMENTS

_CLUSTER: Final = "default"


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one table, ready to be bound."""

    table: Table[Any]
    rows: list[Row]
    values: list[Values]


def batches(rows: Sequence[Row]) -> list[Batch]:
    """Sort rows by table and encode them; runs on the loop, so that mistakes surface there."""
    found: dict[type[Row], Batch] = {}
    for row in rows:
        table = TABLES[type(row)]
        batch = found.setdefault(type(row), Batch(table, [], []))
        batch.rows.append(row)
        batch.values.append(table.to_values(row))
    return list(found.values())


def write(connection: sqlite3.Connection, pending: Sequence[Batch]) -> None:
    """Insert rows; those that stand already must be equal."""
    for batch in pending:
        cursor = connection.executemany(batch.table.insert, batch.values)
        if cursor.rowcount != len(batch.rows):
            _check_equal(connection, batch)


def _check_equal(connection: sqlite3.Connection, batch: Batch) -> None:
    table = batch.table
    for row, values in zip(batch.rows, batch.values, strict=True):
        standing = connection.execute(table.find, values[: table.key_size]).fetchone()
        if standing != values and table.from_values(standing) != row:
            refuse_other_content(row)


def read_journals(
    connection: sqlite3.Connection, task_ids: Iterable[TaskId]
) -> dict[TaskId, list[EventRow]]:
    """Events of tasks; tasks without events are left out."""
    found = {task_id: _events(connection, task_id) for task_id in task_ids}
    return {task_id: events for task_id, events in found.items() if events}


def heads_of(connection: sqlite3.Connection, task_ids: Iterable[TaskId]) -> dict[TaskId, EventRow]:
    """The newest event of each task; tasks without events are left out."""
    found: dict[TaskId, EventRow] = {}
    for task_id in task_ids:
        place = _place(task_id)
        values = connection.execute(STATEMENTS["head_of_task"], place).fetchone()
        if values is not None:
            found[task_id] = event_from(values)
    return found


def find_journal(connection: sqlite3.Connection, home: Bucket, unique: bytes) -> list[EventRow]:
    """Events of the task with this unique number in any part."""
    for part in _parts(connection, "journal_parts", home.minute, home.shard):
        task_id = encode_id(IdParts(Bucket(home.minute, home.shard, part), unique))
        if events := _events(connection, task_id):
            return events
    return []


def read_heads(
    connection: sqlite3.Connection, minute: Minute, shard: ShardId, after: TaskId, limit: int
) -> list[EventRow]:
    """Heads of a bucket's tasks; '' comes before every id."""
    parts = _parts(connection, "journal_parts", minute, shard)
    streams = [_heads_of_part(connection, (minute, shard, part, after)) for part in parts]
    ordered = merge(*streams, key=lambda values: values[3])
    return [event_from(values) for values in islice(ordered, limit)]


def _heads_of_part(connection: sqlite3.Connection, place: Values) -> Iterator[Values]:
    last = None
    for values in connection.execute(STATEMENTS["journals_of_part"], place):
        if values[3] != last:
            last = values[3]
            yield values


@dataclass(frozen=True, slots=True, kw_only=True)
class DueQuery:
    """Which hints of a bucket."""

    minute: Minute
    shard: ShardId
    from_ms: int
    to_ms: int
    limit: int
    after: DueRow | None


def read_due(connection: sqlite3.Connection, query: DueQuery) -> DuePage:
    """Hints of all parts, merged."""
    pages = [
        connection.execute(
            STATEMENTS["due_of_part"],
            (query.minute, query.shard, part, *_start(query, part), query.to_ms, query.limit + 1),
        )
        for part in _parts(connection, "due_parts", query.minute, query.shard)
    ]
    ordered = merge(*(map(due_from, page) for page in pages), key=due_order)
    rows = tuple(islice(ordered, query.limit + 1))
    return DuePage(rows[: query.limit], len(rows) > query.limit)


def _start(query: DueQuery, part: int) -> tuple[int, str, int, int]:
    """The place after which a part is read: equal hints of later parts are still to come."""
    after = query.after
    first = (query.from_ms, "", 0, 0)
    if after is None:
        return first
    epoch = after.epoch if part <= after.part else after.epoch - 1
    return max(first, (after.due_ms, after.task_id, after.seq, epoch))


def ledger(connection: sqlite3.Connection, place: Values) -> list[LedgerRow]:
    """Verdicts of (schedule, month), from a nominal time on, at most so many."""
    return [ledger_from(row) for row in connection.execute(STATEMENTS["ledger"], place)]


def versions(connection: sqlite3.Connection, place: Values) -> list[VersionRow]:
    """Versions of a schedule, after a number, at most so many."""
    return [version_from(row) for row in connection.execute(STATEMENTS["schedule_versions"], place)]


def delete_bucket(connection: sqlite3.Connection, minute: Minute, shard: ShardId) -> None:
    """Remove all parts of a bucket."""
    connection.execute(STATEMENTS["delete_journal"], (minute, shard))
    connection.execute(STATEMENTS["delete_due"], (minute, shard))


def read_shard(connection: sqlite3.Connection, shard: ShardId) -> ShardRow | None:
    """The fenced row."""
    row = connection.execute(STATEMENTS["read_shard"], (shard,)).fetchone()
    if row is None:
        return None
    number, epoch, scan_from, deleted_below = row
    return ShardRow(
        shard=ShardId(number),
        epoch=Epoch(epoch),
        scan_from=Minute(scan_from),
        deleted_below=Minute(deleted_below),
    )


def compare_and_set(
    connection: sqlite3.Connection, name: str, shard: ShardId, values: Values
) -> Applied | NotApplied:
    """Run a conditional statement on a fenced row."""
    if connection.execute(STATEMENTS[name], values).rowcount == 1:
        return Applied()
    return NotApplied(read_shard(connection, shard) or no_fenced_row(shard))


def write_owner(connection: sqlite3.Connection, row: OwnerRow) -> None:
    """Publish an ownership."""
    watermarks = (row.scan_from, row.deleted_below, row.at_ms)
    values = (row.shard, row.epoch, row.owner, row.address, *watermarks)
    connection.execute(STATEMENTS["write_owner"], values)


def read_owners(
    connection: sqlite3.Connection, shards: Iterable[ShardId]
) -> dict[ShardId, OwnerRow]:
    """The owner rows with the highest epochs; shards that had no owner are left out."""
    rows = (connection.execute(STATEMENTS["read_owner"], (shard,)).fetchone() for shard in shards)
    return {ShardId(row[0]): _owner_from(row) for row in rows if row is not None}


def _owner_from(row: Values) -> OwnerRow:
    number, epoch, owner, address, scan_from, deleted_below, at_ms = row
    return OwnerRow(
        shard=ShardId(number),
        epoch=Epoch(epoch),
        owner=NodeId(owner),
        address=address,
        scan_from=Minute(scan_from),
        deleted_below=Minute(deleted_below),
        at_ms=at_ms,
    )


def highest_epoch(connection: sqlite3.Connection) -> Epoch:
    """The highest epoch of any shard."""
    return Epoch(connection.execute(STATEMENTS["highest_epoch"]).fetchone()[0])


def read_layout(connection: sqlite3.Connection) -> Layout | None:
    """The layout rows, None before bootstrap."""
    rows = connection.execute(STATEMENTS["read_layout"], (_CLUSTER,)).fetchall()
    history = tuple(
        LayoutRow(from_minute=Minute(minute), shard_count=count) for minute, count in rows
    )
    return Layout(history) if history else None


def add_layout(connection: sqlite3.Connection, row: LayoutRow) -> bool:
    """Add a row unless its minute has one."""
    values = (_CLUSTER, row.from_minute, row.shard_count)
    return connection.execute(STATEMENTS["add_layout"], values).rowcount == 1


def bind_name(connection: sqlite3.Connection, namespace: str, name: str, task_id: TaskId) -> TaskId:
    """Give a name to a task unless it has one."""
    connection.execute(STATEMENTS["bind_name"], (namespace, name, task_id))
    return read_names(connection, namespace, (name,))[name]


def rebind_name(
    connection: sqlite3.Connection, namespace: str, name: str, holder: TaskId, task_id: TaskId
) -> TaskId:
    """Take a name from the task that has it."""
    connection.execute(STATEMENTS["rebind_name"], (task_id, namespace, name, holder))
    return read_names(connection, namespace, (name,)).get(name, holder)


def read_names(
    connection: sqlite3.Connection, namespace: str, names: Iterable[str]
) -> dict[str, TaskId]:
    """The tasks that have these names; names that are free are left out."""
    found: dict[str, TaskId] = {}
    for name in names:
        row = connection.execute(STATEMENTS["read_name"], (namespace, name)).fetchone()
        if row is not None:
            found[name] = TaskId(row[0])
    return found


def _events(connection: sqlite3.Connection, task_id: TaskId) -> list[EventRow]:
    events = connection.execute(STATEMENTS["journal_of_task"], _place(task_id))
    return [event_from(row) for row in events]


def _place(task_id: TaskId) -> Values:
    home = home_bucket(task_id)
    return (home.minute, home.shard, home.part, task_id)


def _parts(connection: sqlite3.Connection, name: str, minute: Minute, shard: ShardId) -> range:
    greatest = connection.execute(STATEMENTS[name], (minute, shard)).fetchone()[0]
    return range(0 if greatest is None else greatest + 1)
