"""The access tables in memory: the reference for the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timeball_server.ports.access import AccessRow, AuditRow, RowT
from timeball_server.ports.store import ListPage
from timeball_server.store.access_rows import key_of, values_of
from timeball_server.store.keys import Cursor, day_of, decode_cursor, take_page


class AccessTables:
    """All rows; outlives clients."""

    def __init__(self) -> None:
        # A mapping's type cannot say that each kind's rows are of that kind: Any ends in `read`.
        self.rows: dict[type[Any], dict[tuple[str, str], Any]] = {}
        self.audit: dict[tuple[str, int, str], AuditRow] = {}


class MemoryAccess:
    """One client; implements `AccessStore`."""

    def __init__(self, tables: AccessTables) -> None:
        self._tables = tables

    async def add(self, row: RowT) -> RowT:
        """Write a row unless its key has one."""
        standing: RowT = self._of(type(row)).setdefault(key_of(row), row)
        return standing

    async def change(self, row: AccessRow) -> bool:
        """Replace a row that is there."""
        rows, key = self._of(type(row)), key_of(row)
        if key not in rows:
            return False
        merged = (
            old if new is None else new
            for old, new in zip(values_of(rows[key]), values_of(row), strict=True)
        )
        rows[key] = type(row)(**dict(zip(type(row).__slots__, merged, strict=True)))
        return True

    async def read(self, kind: type[RowT], partition: str, name: str) -> RowT | None:
        """The row of one key."""
        return self._of(kind).get((partition, name))

    async def list_rows(
        self, kind: type[RowT], partition: str, after: str, limit: int
    ) -> Sequence[RowT]:
        """Rows of a partition in the order of their names."""
        rows = self._of(kind)
        keys = sorted(key for key in rows if key[0] == partition and key[1] > after)
        return [rows[key] for key in keys[:limit]]

    async def append_audit(self, rows: Sequence[AuditRow]) -> None:
        """Write rows of the audit log."""
        for row in rows:
            self._tables.audit[row.namespace, row.at_ms, row.id] = row

    async def list_audit(
        self, namespace: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[AuditRow]:
        """What was noted on a day, newest first."""
        before = decode_cursor(cursor) if cursor is not None else None
        rows = [
            row
            for row in self._tables.audit.values()
            if row.namespace == namespace and day_of(row.at_ms) == day
        ]
        rows = [row for row in rows if before is None or _place(row) < before]
        return take_page(sorted(rows, key=_place, reverse=True), _place, limit)

    def _of(self, kind: type[Any]) -> dict[tuple[str, str], Any]:
        return self._tables.rows.setdefault(kind, {})


def _place(row: AuditRow) -> Cursor:
    return row.at_ms, row.id
