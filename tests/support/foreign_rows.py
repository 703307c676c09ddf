"""Events as a newer version of us would have written them, and what this version reads there."""

from __future__ import annotations

from typing import Final

from tests.support.engine_disk import Disk
from tests.support.store_worlds import Columns, with_columns
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import EventRow, head_of
from timeball_server.store.records import event_from, event_values

NEWER: Final[Columns] = {"kind": "FROZEN", "state": "FROZEN"}
"""A kind of event, and a state, that this version does not know."""


def foreign(row: EventRow, columns: Columns = NEWER) -> EventRow:
    """What this version reads of such an event."""
    return event_from(with_columns(event_values(row), columns))


def spoil(disk: Disk, task_id: TaskId, columns: Columns = NEWER) -> EventRow:
    """Make the head of a journal one of a newer version; returns what stood there."""
    head = head_of(disk.rows(task_id))
    assert head is not None
    disk.journal[task_id][head.epoch, head.seq] = foreign(head, columns)
    return head


def mend(disk: Disk, row: EventRow) -> None:
    """Let an event be readable again."""
    disk.journal[row.task_id][row.epoch, row.seq] = row
