"""Both schemas have all tables with one and the same key, and a column for every field."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import pytest
from timeball.errors import FailedPrecondition

import timeball_server.store
from timeball_server.core.journal import (
    DeadLetterRow,
    DueRow,
    EventRow,
    LedgerRow,
    OwnerListRow,
    StateListRow,
)
from timeball_server.ports.access import AuditRow, KeyRow, NamespaceRow, UserRow
from timeball_server.ports.store import OwnerRow, ShardRow
from timeball_server.store.sqlite import access
from timeball_server.store.sqlite.migrations import Migration, migrate, packaged_migrations
from timeball_server.store.sqlite.statements import STATEMENTS

STORE = Path(timeball_server.store.__path__[0])
CQL = STORE / "cassandra" / "schema"
SQL = STORE / "sqlite" / "schema"

# The reference: partition key, then clustering columns. Owner-written projections carry the
# epoch at the end of their key, newest first.
KEYS = {
    "due": "(minute, shard, part), due_ms, task_id, seq, epoch",
    "journal": "(minute, shard, part), task_id, epoch desc, seq desc",
    "shards": "(shard)",
    "owners": "(shard), epoch desc",
    "layout": "(cluster), from_minute",
    "checkpoints": "(task_id)",
    "schedules": "(schedule_id), epoch desc",
    "ledger": "(schedule_id, month), nominal_ms, epoch desc",
    "schedule_versions": "(schedule_id), version, epoch desc",
    "tasks_by_owner": "(namespace, owner, day), created_ms desc, task_id, epoch desc",
    "tasks_by_state": "(namespace, state, day, slice), at_ms desc, task_id, epoch desc",
    "dead_letters": "(namespace, day), at_ms desc, task_id, epoch desc",
    "users": "(namespace, user_id)",
    "users_by_namespace": "(namespace), user_id",
    "namespaces": "(cluster), namespace",
    "api_keys": "(namespace), key_id",
    "limits": "(cluster), name",
    "names": "(namespace, name)",
    "requests": "(namespace, request_id)",
    "blobs": "(sha256), chunk",
    "logs": "(task_id, attempt), seq",
    "audit": "(namespace, day, slice), at_ms, id",
    "rollups": "(namespace, hour), minute, shard, epoch desc",
}
CQL_TYPES = {"bigint": "INTEGER", "int": "INTEGER", "text": "TEXT", "blob": "BLOB"}
CQL_TYPES |= {"frozen<list<text>>": "TEXT", "boolean": "INTEGER"}


class Table(NamedTuple):
    """A table as a schema file or a database describes it."""

    key: str
    columns: dict[str, str]
    options: str


def cql_tables() -> dict[str, Table]:
    found: dict[str, Table] = {}
    for path in sorted(CQL.glob("*.cql")):
        text = re.sub(r"--[^\n]*", "", path.read_text())
        for statement in text.split(";"):
            added = re.fullmatch(
                r"\s*ALTER TABLE (\w+) ADD IF NOT EXISTS \((.*)\)", statement, re.DOTALL
            )
            if added is not None:
                columns = dict(column.split() for column in added[2].split(","))
                found[added[1]].columns.update(columns)
            elif statement.strip():
                name, table = cql_table(statement)
                assert name not in found
                found[name] = table
    return found


def cql_table(statement: str) -> tuple[str, Table]:
    match = re.fullmatch(
        r"\s*CREATE TABLE IF NOT EXISTS (\w+) "
        r"\((.*?)\s+PRIMARY KEY \(\((.*?)\)(.*?)\)\s*\) WITH (.*)",
        statement,
        re.DOTALL,
    )
    assert match is not None, statement
    name, body, partition, clustering, options = match.groups()
    columns = dict(line.strip().rstrip(",").split(" ", 1) for line in body.strip().splitlines())
    key = f"({partition}){clustering}"
    assert cql_order(options) == [column.strip() for column in clustering.split(",")[1:]]
    for column in re.findall(r"(\w+) DESC", options):
        key = re.sub(rf", {column}\b", f", {column} desc", key)
    return name, Table(key, columns, options)


def cql_order(options: str) -> list[str]:
    """The clustering columns that CLUSTERING ORDER BY names, in its order."""
    match = re.search(r"CLUSTERING ORDER BY \((.*?)\)", options)
    return [] if match is None else [entry.split()[0] for entry in match[1].split(",")]


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """A database in memory with this version's schema."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, packaged_migrations())
        yield connection


def sqlite_columns(database: sqlite3.Connection, table: str) -> dict[str, str]:
    return {row[1]: row[2] for row in database.execute(f"PRAGMA table_info({table})")}


def sqlite_key(database: sqlite3.Connection, table: str) -> list[str]:
    indexes = database.execute(f"PRAGMA index_list({table})").fetchall()
    (primary,) = [row[1] for row in indexes if row[3] == "pk"]
    entries = database.execute(f"PRAGMA index_xinfo({primary})").fetchall()
    return [f"{row[2]} desc" if row[3] else row[2] for row in entries if row[5]]


# -- keys and columns


def test_cassandra_has_exactly_these_tables_and_keys() -> None:
    assert {name: table.key for name, table in cql_tables().items()} == KEYS


def test_sqlite_has_exactly_these_tables_and_keys(database: sqlite3.Connection) -> None:
    tables = {
        row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type='table'")
    }
    assert tables - {"schema_versions"} == set(KEYS)
    found = {name: sqlite_key(database, name) for name in KEYS}
    assert found == {name: re.sub(r"[()]", "", key).split(", ") for name, key in KEYS.items()}


def test_both_have_the_same_columns_of_matching_types(database: sqlite3.Connection) -> None:
    for name, table in cql_tables().items():
        matching = {column: CQL_TYPES[kind] for column, kind in table.columns.items()}
        assert sqlite_columns(database, name) == matching, name


def test_sqlite_tables_are_strict_and_clustered(database: sqlite3.Connection) -> None:
    rows = database.execute("PRAGMA table_list").fetchall()
    options = {row[1]: (bool(row[4]), bool(row[5])) for row in rows if row[1] in KEYS}
    assert options == dict.fromkeys(KEYS, (True, True))


COLUMNS_OF = {
    "alarm": {"alarm_due_ms", "alarm_seq", "alarm_epoch"},
    "run": {"run_seq", "run_epoch"},
    "spec_at": {"spec_seq", "spec_epoch"},
}
# What adapters derive from a row, and what is kept for later.
DERIVED = {
    "journal": {"minute", "shard", "part"},
    "due": {"shard", "payload"},
    "tasks_by_owner": {"day"},
    "tasks_by_state": {"day", "slice"},
    "dead_letters": {"day"},
    "ledger": {"month", "last_nominal_ms", "times"},
    "owners": set(),
    "shards": set(),
    "namespaces": set(),
    "users": set(),
    "api_keys": set(),
    "audit": {"day", "slice"},
}


@pytest.mark.parametrize(
    ("record", "table"),
    [
        (EventRow, "journal"),
        (DueRow, "due"),
        (OwnerListRow, "tasks_by_owner"),
        (StateListRow, "tasks_by_state"),
        (DeadLetterRow, "dead_letters"),
        (LedgerRow, "ledger"),
        (OwnerRow, "owners"),
        (ShardRow, "shards"),
        (NamespaceRow, "namespaces"),
        (UserRow, "users"),
        (KeyRow, "api_keys"),
        (AuditRow, "audit"),
    ],
)
def test_every_field_has_its_columns(record: type, table: str) -> None:
    names = [COLUMNS_OF.get(entry.name, {entry.name}) for entry in fields(record)]
    assert set().union(*names) | DERIVED[table] == set(cql_tables()[table].columns)


def test_instants_epochs_and_minutes_have_room_in_cassandra() -> None:
    wide = re.compile(r".*_ms|.*epoch|minute|from_minute|scan_from|deleted_below|incarnation")
    for name, table in cql_tables().items():
        for column, kind in table.columns.items():
            if wide.fullmatch(column):
                assert kind == "bigint", f"{name}.{column}"


def test_cassandra_expires_logs_and_nothing_else() -> None:
    options = {name: table.options for name, table in cql_tables().items()}
    assert {name for name, text in options.items() if "default_time_to_live" in text} == {"logs"}
    assert {name for name, text in options.items() if "TimeWindow" in text} == {"logs"}
    for name, text in options.items():
        assert ("UnifiedCompactionStrategy" in text) == (name != "logs")
    for name in ("journal", "owners"):
        assert "read_repair = 'BLOCKING'" in options[name]


def test_no_table_has_a_static_column() -> None:
    for table in cql_tables().values():
        assert not any("static" in kind.lower() for kind in table.columns.values())


def test_files_are_numbered_from_one_without_gaps() -> None:
    for folder, suffix in ((CQL, "cql"), (SQL, "sql")):
        names = sorted(path.name for path in folder.iterdir() if path.suffix != ".py")
        assert all(re.fullmatch(rf"\d{{4}}_[a-z_]+\.{suffix}", name) for name in names)
        assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_the_page_for_people_says_the_same() -> None:
    page = (STORE.parents[1] / "docs" / "schema.md").read_text()
    rows = re.findall(r"^\| (\w+) \| (\(.*?) \|", page, re.MULTILINE)
    assert dict(rows) == KEYS


# -- statements


ASKED = {**STATEMENTS, **access.STATEMENTS}


@pytest.mark.parametrize("name", sorted(ASKED.keys() - {"begin", "commit", "rollback"}))
def test_no_statement_scans_a_growing_table_or_sorts(
    database: sqlite3.Connection, name: str
) -> None:
    text = ASKED[name]
    plan = database.execute(f"EXPLAIN QUERY PLAN {text}", [None] * text.count("?")).fetchall()
    for step in plan:
        assert not step[3].startswith("SCAN"), step[3]
        assert "TEMP B-TREE" not in step[3], step[3]


# -- migrations


FIRST = Migration(1, "0001_first.sql", "CREATE TABLE a (x INTEGER) STRICT;")
SECOND = Migration(2, "0002_second.sql", "CREATE TABLE b (x INTEGER) STRICT; DROP TABLE a;")
BROKEN = Migration(2, "0002_broken.sql", "CREATE TABLE b (x INTEGER) STRICT; CREATE TABEL c;")


@pytest.fixture
def empty() -> Iterator[sqlite3.Connection]:
    """A database without any table."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


def version_of(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def test_files_are_applied_once_in_order(empty: sqlite3.Connection) -> None:
    assert migrate(empty, [FIRST]) == 1
    assert migrate(empty, [FIRST]) == 0
    assert migrate(empty, [FIRST, SECOND]) == 1
    assert migrate(empty, [FIRST, SECOND]) == 0
    assert version_of(empty) == 2
    rows = empty.execute("SELECT version, name FROM schema_versions ORDER BY version").fetchall()
    assert rows == [(1, FIRST.name), (2, SECOND.name)]


def test_a_newer_database_is_refused(empty: sqlite3.Connection) -> None:
    migrate(empty, [FIRST, SECOND])
    with pytest.raises(FailedPrecondition, match="schema version 2, this program knows up to 1"):
        migrate(empty, [FIRST])


def test_a_changed_file_is_refused(empty: sqlite3.Connection) -> None:
    migrate(empty, [FIRST])
    changed = replace(FIRST, text=FIRST.text + " ")
    with pytest.raises(FailedPrecondition, match="Schema file 1 was changed"):
        migrate(empty, [changed, SECOND])
    assert version_of(empty) == 1


def test_a_broken_file_leaves_nothing_behind(empty: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError):
        migrate(empty, [FIRST, BROKEN])
    assert version_of(empty) == 1
    tables = {row[0] for row in empty.execute("SELECT name FROM sqlite_schema")}
    assert tables == {"schema_versions", "a"}
    assert migrate(empty, [FIRST, SECOND]) == 1
