"""Events as a newer version of us would have written them, what is read there, and lost rows."""

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


def lose(disk: Disk, task_id: TaskId) -> EventRow:
    """Drop the first event of a journal; returns what stood there."""
    first = disk.rows(task_id)[0]
    del disk.journal[task_id][first.epoch, first.seq]
    return first


def mend(disk: Disk, row: EventRow) -> None:
    """Let an event be there, and readable, again."""
    disk.journal[row.task_id][row.epoch, row.seq] = row
