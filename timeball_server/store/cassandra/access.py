"""The access tables on Cassandra: conditional adds and changes, plain reads at LOCAL_QUORUM.

A conditional write of a partition finishes those begun before it, so a plain read after one of our
own sees whatever came first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from heapq import merge
from typing import Any, Final

from timeball_server.ports.access import AccessRow, AuditRow, RowT
from timeball_server.ports.store import ListPage
from timeball_server.store.access_rows import (
    AUDIT_SLICES,
    TABLES,
    AccessTable,
    Values,
    audit_from,
    audit_values,
    values_of,
)
from timeball_server.store.cassandra.packing import pack
from timeball_server.store.cassandra.rows import MS_US, Write
from timeball_server.store.cassandra.session import Session
from timeball_server.store.keys import Cursor, decode_cursor, take_page

_NEWEST: Final[Cursor] = (2**63 - 1, "")
_AUDIT_ROW_BYTES: Final = 1_024


class CassandraAccess:
    """Implements `AccessStore` on a connected keyspace."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, row: RowT) -> RowT:
        """Write a row unless its key has one; the name goes into the index first, as a hint."""
        table, values = TABLES[type(row)], values_of(row)
        if table.index:
            await self._session.write(f"index_{table.name}", (*values[:2], 0))
        standing = await self._session.conditional(f"add_{table.name}", _bound(values))
        if standing is None:
            return row
        found: RowT = _row(table, tuple(standing[column] for column in table.columns))
        return found

    async def change(self, row: AccessRow) -> bool:
        """Replace a row that is there."""
        table, values = TABLES[type(row)], values_of(row)
        bound = (*_bound(values)[2:], *values[:2])
        return await self._session.conditional(f"change_{table.name}", bound) is None

    async def read(self, kind: type[RowT], partition: str, name: str) -> RowT | None:
        """The row of one key."""
        table = TABLES[kind]
        rows = await self._session.read(f"read_{table.name}", (partition, name))
        found: RowT | None = _row(table, rows[0]) if rows else None
        return found

    async def list_rows(
        self, kind: type[RowT], partition: str, after: str, limit: int
    ) -> Sequence[RowT]:
        """Rows of a partition in the order of their names; an index is read first."""
        table = TABLES[kind]
        rows = await self._session.read(f"list_{table.name}", (partition, after, limit))
        if not table.index:
            return [_row(table, values) for values in rows]
        named = await asyncio.gather(*(self.read(kind, partition, name) for (name,) in rows))
        kept = [row for row in named if row is not None]
        if rows and len(kept) < len(rows):
            # Names whose rows were never made take places: look on behind the last of them.
            last = rows[-1][0]
            return [*kept, *await self.list_rows(kind, partition, last, limit - len(kept))]
        return kept

    async def append_audit(self, rows: Sequence[AuditRow]) -> None:
        """Write rows of the audit log."""
        writes = []
        for row in rows:
            values = audit_values(row)
            size_bytes = _AUDIT_ROW_BYTES + len(values[-1])
            bound = (*values, row.at_ms * MS_US)
            writes.append(Write("add_audit", bound, ("audit", *values[:3]), size_bytes))
        if writes:
            await self._session.write_batches([*pack(writes)])

    async def list_audit(
        self, namespace: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[AuditRow]:
        """What was noted on a day, newest first."""
        before = _NEWEST if cursor is None else decode_cursor(cursor)
        slices = await asyncio.gather(
            *(
                self._session.read("audit", (namespace, day, number, *before, limit + 1))
                for number in range(AUDIT_SLICES)
            )
        )
        rows = merge(*(map(audit_from, each) for each in slices), key=_place, reverse=True)
        return take_page(rows, _place, limit)


def _bound(values: Values) -> Values:
    """Plain values as the driver takes them."""
    return tuple(list(value) if isinstance(value, tuple) else value for value in values)


def _row(table: AccessTable, values: Values) -> Any:
    """The row of the driver's values, of the table's kind; an empty list comes as nothing."""
    lists = {"channels", "roles"}
    plain = (
        tuple(value or ()) if name in lists else value
        for name, value in zip(table.columns, values, strict=True)
    )
    return table.row_of(tuple(plain))


def _place(row: AuditRow) -> Cursor:
    return row.at_ms, row.id
