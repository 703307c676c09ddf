"""The access tables on SQLite: conditional writes on the writer's lane, reads on the reader's."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from heapq import merge
from typing import Any, Final

from timeball_server.ports.access import AccessRow, AuditRow, RowT
from timeball_server.ports.store import ListPage
from timeball_server.store.access_rows import (
    AUDIT_COLUMNS,
    AUDIT_SLICES,
    TABLES,
    AccessTable,
    Values,
    audit_from,
    audit_values,
    values_of,
)
from timeball_server.store.codec import decode_texts, encode_texts
from timeball_server.store.keys import Cursor, decode_cursor, take_page
from timeball_server.store.sqlite.lane import Lane
from timeball_server.store.sqlite.statements import insert, select

_NEWEST: Final[Cursor] = (2**63 - 1, "")
_BOOLEANS: Final = frozenset({"enabled"})
_LISTS: Final = frozenset({"channels", "roles"})


def _update(table: AccessTable) -> str:
    changes = ", ".join(f"{name} = coalesce(?, {name})" for name in table.columns[2:])
    partition, name = table.key
    return f"UPDATE {table.name} SET {changes} WHERE {partition} = ? AND {name} = ?"


def _list(table: AccessTable) -> str:
    partition, name = table.key
    return (
        f"SELECT {', '.join(table.columns)} FROM {table.name}"
        f" WHERE {partition} = ? AND {name} > ? ORDER BY {name} LIMIT ?"
    )


STATEMENTS: Final[dict[str, str]] = {
    "add_audit": insert("audit", AUDIT_COLUMNS),
    "audit": f"SELECT {', '.join(AUDIT_COLUMNS)} FROM audit"
    " WHERE namespace = ? AND day = ? AND slice = ? AND (at_ms, id) < (?, ?)"
    " ORDER BY at_ms DESC, id DESC LIMIT ?",
    **{f"add_{each.name}": insert(each.name, each.columns) for each in TABLES.values()},
    **{f"read_{each.name}": select(each.name, each.columns, each.key) for each in TABLES.values()},
    **{f"change_{each.name}": _update(each) for each in TABLES.values()},
    **{f"list_{each.name}": _list(each) for each in TABLES.values()},
    **{
        f"index_{each.name}": insert(each.index, each.key) for each in TABLES.values() if each.index
    },
}
"""Every statement on these tables, by name."""


class SqliteAccess:
    """Implements `AccessStore` on the lanes of an open file."""

    def __init__(self, writer: Lane, reader: Lane) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, row: RowT) -> RowT:
        """Write a row unless its key has one."""
        table, values = TABLES[type(row)], values_of(row)

        def work(connection: sqlite3.Connection) -> Any:
            if table.index:
                connection.execute(STATEMENTS[f"index_{table.name}"], values[:2])
            connection.execute(STATEMENTS[f"add_{table.name}"], _bound(table, values))
            return _read(connection, table, *values[:2])

        standing: RowT = await self._writer.submit(work)
        return standing

    async def change(self, row: AccessRow) -> bool:
        """Replace a row that is there."""
        table, values = TABLES[type(row)], values_of(row)
        bound = (*_bound(table, values)[2:], *values[:2])
        statement = STATEMENTS[f"change_{table.name}"]
        return await self._writer.submit(
            lambda connection: connection.execute(statement, bound).rowcount == 1
        )

    async def read(self, kind: type[RowT], partition: str, name: str) -> RowT | None:
        """The row of one key."""
        table = TABLES[kind]
        found: RowT | None = await self._reader.submit(
            lambda connection: _read(connection, table, partition, name)
        )
        return found

    async def list_rows(
        self, kind: type[RowT], partition: str, after: str, limit: int
    ) -> Sequence[RowT]:
        """Rows of a partition in the order of their names."""
        table = TABLES[kind]

        def work(connection: sqlite3.Connection) -> list[Any]:
            rows = connection.execute(STATEMENTS[f"list_{table.name}"], (partition, after, limit))
            return [_row(table, values) for values in rows]

        return await self._reader.submit(work)

    async def append_audit(self, rows: Sequence[AuditRow]) -> None:
        """Write rows of the audit log."""
        values = [audit_values(row) for row in rows]
        await self._writer.submit(
            lambda connection: connection.executemany(STATEMENTS["add_audit"], values)
        )

    async def list_audit(
        self, namespace: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[AuditRow]:
        """What was noted on a day, newest first."""
        before = _NEWEST if cursor is None else decode_cursor(cursor)

        def work(connection: sqlite3.Connection) -> ListPage[AuditRow]:
            slices = [
                connection.execute(
                    STATEMENTS["audit"], (namespace, day, number, *before, limit + 1)
                ).fetchall()
                for number in range(AUDIT_SLICES)
            ]
            rows = merge(*(map(audit_from, each) for each in slices), key=_place, reverse=True)
            return take_page(rows, _place, limit)

        return await self._reader.submit(work)


def _read(connection: sqlite3.Connection, table: AccessTable, partition: str, name: str) -> Any:
    values = connection.execute(STATEMENTS[f"read_{table.name}"], (partition, name)).fetchone()
    return None if values is None else _row(table, values)


def _bound(table: AccessTable, values: Values) -> Values:
    """Plain values as SQLite takes them."""
    return tuple(
        encode_texts(value) or "[]" if name in _LISTS else value
        for name, value in zip(table.columns, values, strict=True)
    )


def _row(table: AccessTable, values: Values) -> Any:
    """The row of SQLite's values, of the table's kind."""
    plain = (
        bool(value) if name in _BOOLEANS else decode_texts(value) if name in _LISTS else value
        for name, value in zip(table.columns, values, strict=True)
    )
    return table.row_of(tuple(plain))


def _place(row: AuditRow) -> Cursor:
    return row.at_ms, row.id
