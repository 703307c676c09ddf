"""Every statement that the Cassandra store runs: name, text, consistency, repeatable or not.

One table, so that a person can check at a glance that no plain write touches a conditional
table and that every plain write brings its own timestamp (see rows.py). Values are always bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from timeball_server.store.access_rows import AUDIT_COLUMNS, TABLES, AccessTable
from timeball_server.store.records import (
    BY_OWNER_COLUMNS,
    BY_STATE_COLUMNS,
    DEAD_LETTER_COLUMNS,
    DUE_COLUMNS,
    EVENT_COLUMNS,
    LEDGER_COLUMNS,
    VERSION_COLUMNS,
)


class Level(Enum):
    """Names an execution profile of the session."""

    PLAIN = "plain"
    """LOCAL_QUORUM both ways: what one call has written every later one sees."""
    CONDITIONAL = "conditional"
    """A Paxos round at LOCAL_SERIAL, committed at LOCAL_QUORUM."""
    SERIAL = "serial"
    """A read at LOCAL_SERIAL: finishes rounds that were begun, or rules them out."""
    LISTING = "listing"
    """LOCAL_ONE: hints for people, verified on read."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A text with marks for its values."""

    cql: str
    level: Level
    is_idempotent: bool = True


def _insert(table: str, columns: tuple[str, ...]) -> Statement:
    marks = ", ".join("?" * len(columns))
    names = ", ".join(columns)
    text = f"INSERT INTO {table} ({names}) VALUES ({marks}) USING TIMESTAMP ?"
    return Statement(text, Level.PLAIN)


def _read(text: str) -> Statement:
    return Statement(text, Level.PLAIN)


def _listing(table: str, columns: tuple[str, ...], partition: str, at: str, end: str) -> Statement:
    """Of each place the first row, the highest epoch; GROUP BY takes the key's own order."""
    condition = " AND ".join(f"{column} = ?" for column in partition.split(", "))
    return Statement(
        f"SELECT {', '.join(columns)} FROM {table} WHERE {condition} AND {end}"
        f" GROUP BY {partition}, {at}, task_id LIMIT ?",
        Level.LISTING,
    )


def _conditional(text: str) -> Statement:
    return Statement(text, Level.CONDITIONAL, is_idempotent=False)


def _access(table: AccessTable) -> dict[str, Statement]:
    """One of the tables that administrators change: no row is written without a condition."""
    columns, (partition, name) = ", ".join(table.columns), table.key
    marks = ", ".join("?" * len(table.columns))
    changes = ", ".join(f"{column} = ?" for column in table.columns[2:])
    here = f"WHERE {partition} = ? AND {name} = ?"
    listed, source = (name, table.index) if table.index else (columns, table.name)
    found = {
        f"add_{table.name}": _conditional(
            f"INSERT INTO {table.name} ({columns}) VALUES ({marks}) IF NOT EXISTS"
        ),
        f"change_{table.name}": _conditional(f"UPDATE {table.name} SET {changes} {here} IF EXISTS"),
        f"read_{table.name}": _read(f"SELECT {columns} FROM {table.name} {here}"),
        f"list_{table.name}": _read(
            f"SELECT {listed} FROM {source} WHERE {partition} = ? AND {name} > ? LIMIT ?"
        ),
    }
    if table.index:
        found[f"index_{table.name}"] = _insert(table.index, table.key)
    return found


OWNER_COLUMNS: Final = (
    *("shard", "epoch", "owner", "address", "scan_from", "deleted_below", "at_ms"),
)
SHARD_COLUMNS: Final = ("shard", "epoch", "scan_from", "deleted_below")
_BUCKET: Final = "WHERE minute = ? AND shard = ? AND part = ?"
_PARTS: Final = "WHERE minute = ? AND shard = ? AND part IN ? PER PARTITION LIMIT 1"
_BUCKETS: Final = "WHERE minute IN ? AND shard IN ? AND part IN ?"
_JOURNAL: Final = f"SELECT {', '.join(EVENT_COLUMNS)} FROM journal"
_EVENTS: Final = f"{_JOURNAL} {_BUCKET}"
_OF_TASK: Final = "GROUP BY minute, shard, part, task_id"
_BY_OWNER: Final = ("tasks_by_owner", BY_OWNER_COLUMNS, "namespace, owner, day", "created_ms")
_BY_STATE: Final = ("tasks_by_state", BY_STATE_COLUMNS, "namespace, state, day, slice", "at_ms")
_DEAD: Final = ("dead_letters", DEAD_LETTER_COLUMNS, "namespace, day", "at_ms")

STATEMENTS: Final[Mapping[str, Statement]] = {
    # Immutable rows.
    "add_event": _insert("journal", EVENT_COLUMNS),
    "add_due": _insert("due", DUE_COLUMNS),
    "add_by_owner": _insert("tasks_by_owner", BY_OWNER_COLUMNS),
    "add_by_state": _insert("tasks_by_state", BY_STATE_COLUMNS),
    "add_dead_letter": _insert("dead_letters", DEAD_LETTER_COLUMNS),
    "add_verdict": _insert("ledger", LEDGER_COLUMNS),
    "add_version": _insert("schedule_versions", VERSION_COLUMNS),
    # Journal and hints. Of a task the newest event comes first; of a group the first row is taken.
    "journal_parts": _read(f"SELECT part FROM journal {_PARTS}"),
    "due_parts": _read(f"SELECT part FROM due {_PARTS}"),
    "journals": _read(f"{_EVENTS} AND task_id IN ?"),
    "heads_of": _read(f"{_EVENTS} AND task_id IN ? {_OF_TASK}"),
    "heads": _read(f"{_EVENTS} AND task_id > ? {_OF_TASK} LIMIT ?"),
    # The same of several buckets: every combination of these minutes, shards and parts is read.
    "journals_across": _read(f"{_JOURNAL} {_BUCKETS} AND task_id IN ?"),
    "heads_of_across": _read(f"{_JOURNAL} {_BUCKETS} AND task_id IN ? {_OF_TASK}"),
    "due": _read(
        f"SELECT {', '.join(DUE_COLUMNS)} FROM due {_BUCKET}"
        " AND (due_ms, task_id, seq, epoch) > (?, ?, ?, ?) AND (due_ms) < (?) LIMIT ?"
    ),
    "delete_journal": Statement(f"DELETE FROM journal USING TIMESTAMP ? {_BUCKET}", Level.PLAIN),
    "delete_due": Statement(f"DELETE FROM due USING TIMESTAMP ? {_BUCKET}", Level.PLAIN),
    # The fenced row: conditional writes and serial reads, nothing else, ever.
    "read_shard": Statement(
        f"SELECT {', '.join(SHARD_COLUMNS)} FROM shards WHERE shard = ?", Level.SERIAL
    ),
    "raise_epoch": _conditional("UPDATE shards SET epoch = ? WHERE shard = ? IF epoch < ?"),
    "add_shard": _conditional(
        "INSERT INTO shards (shard, epoch, scan_from, deleted_below) VALUES (?, ?, ?, ?)"
        " IF NOT EXISTS"
    ),
    "move_scan_from": _conditional(
        "UPDATE shards SET scan_from = ? WHERE shard = ? IF epoch = ? AND scan_from = ?"
    ),
    "move_deleted_below": _conditional(
        "UPDATE shards SET deleted_below = ? WHERE shard = ? IF epoch = ? AND deleted_below = ?"
    ),
    # A scan cannot be serial; it sees every conditional write that was acknowledged.
    "highest_epoch": _read("SELECT max(epoch) FROM shards"),
    # Owners: the timestamp is the row's instant, so that within an epoch the later one stands.
    "write_owner": _insert("owners", OWNER_COLUMNS),
    "read_owners": _read(
        f"SELECT {', '.join(OWNER_COLUMNS)} FROM owners WHERE shard IN ? PER PARTITION LIMIT 1"
    ),
    # Cluster facts and names.
    "read_layout": Statement(
        "SELECT from_minute, shard_count FROM layout WHERE cluster = ?", Level.SERIAL
    ),
    "add_layout": _conditional(
        "INSERT INTO layout (cluster, from_minute, shard_count) VALUES (?, ?, ?) IF NOT EXISTS"
    ),
    "bind_name": _conditional(
        "INSERT INTO names (namespace, name, task_id) VALUES (?, ?, ?) IF NOT EXISTS"
    ),
    "rebind_name": _conditional(
        "UPDATE names SET task_id = ? WHERE namespace = ? AND name = ? IF task_id = ?"
    ),
    "read_name": _read("SELECT name, task_id FROM names WHERE namespace = ? AND name = ?"),
    # Listings, newest first: the rest of the cursor's own instant, then everything before it.
    "by_owner_at": _listing(*_BY_OWNER, "created_ms = ? AND task_id > ?"),
    "by_owner_before": _listing(*_BY_OWNER, "created_ms < ?"),
    "by_state_at": _listing(*_BY_STATE, "at_ms = ? AND task_id > ?"),
    "by_state_before": _listing(*_BY_STATE, "at_ms < ?"),
    "dead_letters_at": _listing(*_DEAD, "at_ms = ? AND task_id > ?"),
    "dead_letters_before": _listing(*_DEAD, "at_ms < ?"),
    # The ledger of a month and the versions of a schedule, of each key the highest epoch first.
    "ledger": _read(
        f"SELECT {', '.join(LEDGER_COLUMNS)} FROM ledger"
        " WHERE schedule_id = ? AND month = ? AND nominal_ms >= ? LIMIT ?"
    ),
    "schedule_versions": _read(
        f"SELECT {', '.join(VERSION_COLUMNS)} FROM schedule_versions"
        " WHERE schedule_id = ? AND version > ? LIMIT ?"
    ),
    # Namespaces, users and keys, and the audit log, which is a listing of its own kind.
    **{name: each for table in TABLES.values() for name, each in _access(table).items()},
    "add_audit": _insert("audit", AUDIT_COLUMNS),
    "audit": Statement(
        f"SELECT {', '.join(AUDIT_COLUMNS)} FROM audit WHERE namespace = ? AND day = ?"
        " AND slice = ? AND (at_ms, id) < (?, ?) ORDER BY at_ms DESC LIMIT ?",
        Level.LISTING,
    ),
}
