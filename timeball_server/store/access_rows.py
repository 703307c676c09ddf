"""The access tables as every adapter sees them: names, keys, and rows as plain values.

Columns are the fields of a row's record, in their order; the first two are its key.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from timeball_server.ports.access import (
    AccessRow,
    AuditRow,
    KeyRow,
    LimitRow,
    NamespaceRow,
    UserRow,
)
from timeball_server.store.keys import day_of

AUDIT_SLICES: Final = 4
"""Partitions that one day of the audit log is spread over; part of the key, so never changed."""
AUDIT_COLUMNS: Final = (
    *("namespace", "day", "slice", "at_ms", "id"),
    *("actor", "action", "target", "outcome", "request_id", "detail"),
)
# What is bound and comes back: None, int, bool, str, bytes or a tuple of str.
Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class AccessTable:
    """One table of named rows. `index` is a table of names in a partition, if it needs one."""

    name: str
    kind: type[AccessRow]
    index: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, the key first."""
        return tuple(field.name for field in fields(self.kind))

    @property
    def key(self) -> tuple[str, str]:
        """Partition and name."""
        return self.columns[0], self.columns[1]

    def row_of(self, values: Values) -> AccessRow:
        """The row of plain values in the order of the columns."""
        return self.kind(**dict(zip(self.columns, values, strict=True)))


# A mapping's type cannot say that each table fits its own kind of row: Any ends in the adapters.
TABLES: Final[Mapping[type[Any], AccessTable]] = {
    NamespaceRow: AccessTable("namespaces", NamespaceRow),
    # A user is a partition of its own, so that a namespace of many is spread.
    UserRow: AccessTable("users", UserRow, index="users_by_namespace"),
    KeyRow: AccessTable("api_keys", KeyRow),
    LimitRow: AccessTable("limits", LimitRow),
}


def values_of(row: AccessRow) -> Values:
    """A row as plain values."""
    return tuple(getattr(row, field.name) for field in fields(row))


def key_of(row: AccessRow) -> tuple[str, str]:
    """Partition and name of a row."""
    values = values_of(row)
    return values[0], values[1]


def audit_slice(audit_id: str) -> int:
    """The slice in which a row of the audit log lies."""
    return zlib.crc32(audit_id.encode()) % AUDIT_SLICES


def audit_values(row: AuditRow) -> Values:
    """A row of the audit log as plain values in the order of AUDIT_COLUMNS."""
    place = (row.namespace, day_of(row.at_ms), audit_slice(row.id), row.at_ms, row.id)
    said = (row.actor, row.action, row.target, row.outcome, row.request_id)
    return (*place, *said, row.detail.encode())


def audit_from(values: Values) -> AuditRow:
    """The row of the audit log of plain values."""
    namespace, _, _, at_ms, audit_id, actor, action, target, outcome, request_id, detail = values
    return AuditRow(
        namespace=namespace,
        at_ms=at_ms,
        id=audit_id,
        actor=actor,
        action=action,
        target=target,
        outcome=outcome,
        request_id=request_id,
        detail=bytes(detail or b"").decode(),
    )
