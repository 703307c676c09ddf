"""What every store adapter derives from a row: day, month, slice, sort order and page cursor.

Pure arithmetic, shared so that two adapters can never disagree on where a row lies.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, NoReturn, TypeVar

from timeball.errors import Internal, InvalidRequest, Violation

from timeball_server.core.ids import Bucket, ShardId, TaskId, home_of
from timeball_server.core.journal import DueRow, Row
from timeball_server.ports.store import ListPage

DAY_MS: Final = 86_400_000
STATE_SLICES: Final = 8
"""Partitions that one day of one state is spread over; part of the key, so never changed."""

RowT = TypeVar("RowT")
DueOrder = tuple[int, str, int, int, int]
Cursor = tuple[int, str]


@lru_cache(maxsize=16_384)
def home_bucket(task_id: TaskId) -> Bucket:
    """The home of a task, remembered: one task's rows follow each other within seconds."""
    return home_of(task_id)


def day_of(instant_ms: int) -> int:
    """Days since 1970-01-01, UTC."""
    return instant_ms // DAY_MS


def slice_of(task_id: TaskId) -> int:
    """The slice of tasks_by_state in which the hints of this task lie."""
    return zlib.crc32(task_id.encode()) % STATE_SLICES


def due_order(row: DueRow) -> DueOrder:
    """Sort key of hints; the part comes last, so that a page may end between equal ones."""
    return (row.due_ms, row.task_id, row.seq, row.epoch, row.part)


_CURSOR: Final = re.compile(r"(-?[0-9]{1,16})\.([0-9a-z]+)")


def encode_cursor(at_ms: int, task_id: str) -> str:
    """Name the last row of a page."""
    return f"{at_ms}.{task_id}"


def decode_cursor(cursor: str) -> Cursor:
    """Read a cursor.

    Raises:
        InvalidRequest: the text was not made by `encode_cursor`.
    """
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidRequest(
            "The page token was not issued by this service; list again without it.",
            violations=[Violation("page_token", "a token from the previous page, unchanged")],
        )
    return int(found[1]), found[2]


def take_page(rows: Iterable[RowT], place: Callable[[RowT], Cursor], limit: int) -> ListPage[RowT]:
    """Cut a page off ordered rows; of one place the first row counts, the highest epoch."""
    found: list[RowT] = []
    last: Cursor | None = None
    for row in rows:
        here = place(row)
        if here == last:
            continue
        if last is not None and len(found) >= limit:
            return ListPage(tuple(found), encode_cursor(*last))
        found.append(row)
        last = here
    return ListPage(tuple(found), None)


def refuse_other_content(row: Row) -> NoReturn:
    """Report a second content for one key: a broken rule R7, never a fault of the store.

    Raises:
        Internal: always.
    """
    raise Internal(
        f"A {type(row).__name__} of task {getattr(row, 'task_id', None)} was sent again with "
        "other content; rows are immutable. Nothing was written. Please report this.",
        metadata={"row": type(row).__name__},
    )


def no_fenced_row(shard: ShardId) -> NoReturn:
    """Report a watermark move on a shard that nobody ever owned: a mistake of the caller.

    Raises:
        Internal: always.
    """
    raise Internal(f"Shard {shard} has no fenced row; raise_epoch makes it. Please report this.")
