"""Under which key a store keeps a row: of one key, every store refuses a second content."""

from __future__ import annotations

from timeball_server.core.journal import DueRow, EventRow, LedgerRow, Row, VersionRow


def key_of(row: Row) -> tuple[object, ...]:
    """The row's key; rows of listings are their own."""
    match row:
        case EventRow():
            return (EventRow, row.task_id, row.epoch, row.seq)
        case DueRow():
            return (DueRow, row.minute, row.part, row.due_ms, row.task_id, row.seq, row.epoch)
        case LedgerRow():
            return (LedgerRow, row.schedule_id, row.nominal_ms, row.epoch)
        case VersionRow():
            return (VersionRow, row.schedule_id, row.version, row.epoch)
        case _:
            return (type(row), row)
