"""Every statement that the SQLite store runs, by name. Values are always bound, never pasted.

Columns are those of store/records.py, in that order.
"""

from __future__ import annotations

from typing import Final

from timeball_server.store.records import (
    BY_OWNER_COLUMNS,
    BY_STATE_COLUMNS,
    DEAD_LETTER_COLUMNS,
    DUE_COLUMNS,
    EVENT_COLUMNS,
    LEDGER_COLUMNS,
    VERSION_COLUMNS,
)


def insert(table: str, columns: tuple[str, ...]) -> str:
    """Insert a row unless its key has one. Broken constraints are still errors."""
    marks = ", ".join("?" * len(columns))
    names = ", ".join(columns)
    return f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"


def select(table: str, columns: tuple[str, ...], key: tuple[str, ...]) -> str:
    """Read the row of one key."""
    condition = " AND ".join(f"{column} = ?" for column in key)
    return f"SELECT {', '.join(columns)} FROM {table} WHERE {condition}"


_EVENTS: Final = f"SELECT {', '.join(EVENT_COLUMNS)} FROM journal"
_HINTS: Final = f"SELECT {', '.join(DUE_COLUMNS)} FROM due"
_SHARD: Final = "SELECT shard, epoch, scan_from, deleted_below FROM shards"
_OWNER: Final = "shard, epoch, owner, address, scan_from, deleted_below, at_ms"
_IN_BUCKET: Final = "WHERE minute = ? AND shard = ?"

STATEMENTS: Final[dict[str, str]] = {
    "begin": "BEGIN IMMEDIATE",
    "commit": "COMMIT",
    "rollback": "ROLLBACK",
    # Journal and hints. The greatest part is one seek at the end of the bucket's keys.
    "journal_parts": f"SELECT max(part) FROM journal {_IN_BUCKET}",
    "due_parts": f"SELECT max(part) FROM due {_IN_BUCKET}",
    "journal_of_task": f"{_EVENTS} {_IN_BUCKET} AND part = ? AND task_id = ? ORDER BY epoch, seq",
    "head_of_task": f"{_EVENTS} {_IN_BUCKET} AND part = ? AND task_id = ?"
    " ORDER BY epoch DESC, seq DESC LIMIT 1",
    "journals_of_part": f"{_EVENTS} {_IN_BUCKET} AND part = ? AND task_id > ?"
    " ORDER BY task_id, epoch DESC, seq DESC",
    "due_of_part": f"{_HINTS} {_IN_BUCKET} AND part = ?"
    " AND (due_ms, task_id, seq, epoch) > (?, ?, ?, ?) AND due_ms < ?"
    " ORDER BY due_ms, task_id, seq, epoch LIMIT ?",
    "delete_journal": f"DELETE FROM journal {_IN_BUCKET}",
    "delete_due": f"DELETE FROM due {_IN_BUCKET}",
    # The fenced row: each statement is a compare-and-set.
    "read_shard": f"{_SHARD} WHERE shard = ?",
    "raise_epoch": "INSERT INTO shards (shard, epoch, scan_from, deleted_below)"
    " VALUES (?, ?, ?, ?) ON CONFLICT (shard)"
    " DO UPDATE SET epoch = excluded.epoch WHERE shards.epoch < excluded.epoch",
    "move_scan_from": "UPDATE shards SET scan_from = ?"
    " WHERE shard = ? AND epoch = ? AND scan_from = ?",
    "move_deleted_below": "UPDATE shards SET deleted_below = ?"
    " WHERE shard = ? AND epoch = ? AND deleted_below = ?",
    "highest_epoch": "SELECT coalesce(max(epoch), 0) FROM shards",
    # Owners: within an epoch the later instant stands, whatever the order of arrival.
    "write_owner": f"INSERT INTO owners ({_OWNER}) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (shard, epoch) DO UPDATE SET owner = excluded.owner,"
    " address = excluded.address, scan_from = excluded.scan_from,"
    " deleted_below = excluded.deleted_below, at_ms = excluded.at_ms"
    " WHERE owners.at_ms <= excluded.at_ms",
    "read_owner": f"SELECT {_OWNER} FROM owners WHERE shard = ? ORDER BY epoch DESC LIMIT 1",
    # Cluster facts and names.
    "read_layout": "SELECT from_minute, shard_count FROM layout WHERE cluster = ?"
    " ORDER BY from_minute",
    "add_layout": insert("layout", ("cluster", "from_minute", "shard_count")),
    "bind_name": insert("names", ("namespace", "name", "task_id")),
    "rebind_name": "UPDATE names SET task_id = ? WHERE namespace = ? AND name = ? AND task_id = ?",
    "read_name": "SELECT task_id FROM names WHERE namespace = ? AND name = ?",
    # Listings, newest first, after a place. The first bound on the instant lets the key be used.
    "by_owner": f"SELECT {', '.join(BY_OWNER_COLUMNS)} FROM tasks_by_owner"
    " WHERE namespace = ? AND owner = ? AND day = ?"
    " AND created_ms <= ? AND (created_ms < ? OR task_id > ?)"
    " ORDER BY created_ms DESC, task_id, epoch DESC",
    "by_state": f"SELECT {', '.join(BY_STATE_COLUMNS)} FROM tasks_by_state"
    " WHERE namespace = ? AND state = ? AND day = ? AND slice = ?"
    " AND at_ms <= ? AND (at_ms < ? OR task_id > ?)"
    " ORDER BY at_ms DESC, task_id, epoch DESC",
    "dead_letters": f"SELECT {', '.join(DEAD_LETTER_COLUMNS)} FROM dead_letters"
    " WHERE namespace = ? AND day = ?"
    " AND at_ms <= ? AND (at_ms < ? OR task_id > ?)"
    " ORDER BY at_ms DESC, task_id, epoch DESC",
    # The ledger of a month and the versions of a schedule, of each key the highest epoch first.
    "ledger": f"SELECT {', '.join(LEDGER_COLUMNS)} FROM ledger"
    " WHERE schedule_id = ? AND month = ? AND nominal_ms >= ?"
    " ORDER BY nominal_ms, epoch DESC LIMIT ?",
    "schedule_versions": f"SELECT {', '.join(VERSION_COLUMNS)} FROM schedule_versions"
    " WHERE schedule_id = ? AND version > ? ORDER BY version, epoch DESC LIMIT ?",
}
