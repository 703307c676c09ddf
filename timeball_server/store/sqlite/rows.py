"""One record per table of immutable rows: how SQLite writes, finds and reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic

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
from timeball_server.store.records import RowT, Values
from timeball_server.store.sqlite import statements as sql


@dataclass(frozen=True, slots=True)
class Table(Generic[RowT]):
    """How rows of one type are written, found by key and read."""

    insert: str
    find: str
    key_size: int
    to_values: Callable[[RowT], Values]
    from_values: Callable[[Values], RowT]


def _table(
    name: str,
    key: tuple[str, ...],
    columns: tuple[str, ...],
    to_values: Callable[[RowT], Values],
    from_values: Callable[[Values], RowT],
) -> Table[RowT]:
    find = sql.select(name, columns, key)
    return Table(sql.insert(name, columns), find, len(key), to_values, from_values)


# A mapping's type cannot say that each table fits its own row type: Any ends here.
TABLES: Final[Mapping[type[Row], Table[Any]]] = {
    EventRow: _table(
        "journal",
        records.EVENT_KEY,
        records.EVENT_COLUMNS,
        records.event_values,
        records.event_from,
    ),
    DueRow: _table(
        "due", records.DUE_KEY, records.DUE_COLUMNS, records.due_values, records.due_from
    ),
    OwnerListRow: _table(
        "tasks_by_owner",
        records.BY_OWNER_KEY,
        records.BY_OWNER_COLUMNS,
        records.by_owner_values,
        records.by_owner_from,
    ),
    StateListRow: _table(
        "tasks_by_state",
        records.BY_STATE_KEY,
        records.BY_STATE_COLUMNS,
        records.by_state_values,
        records.by_state_from,
    ),
    DeadLetterRow: _table(
        "dead_letters",
        records.DEAD_LETTER_KEY,
        records.DEAD_LETTER_COLUMNS,
        records.dead_letter_values,
        records.dead_letter_from,
    ),
    LedgerRow: _table(
        "ledger",
        records.LEDGER_KEY,
        records.LEDGER_COLUMNS,
        records.ledger_values,
        records.ledger_from,
    ),
    VersionRow: _table(
        "schedule_versions",
        records.VERSION_KEY,
        records.VERSION_COLUMNS,
        records.version_values,
        records.version_from,
    ),
}
