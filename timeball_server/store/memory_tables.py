"""The tables of the memory store: dictionaries for keys, sorted lists for order.

Synchronous and deterministic; knows nothing of clients, faults or asyncio.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

from timeball_server.core.buckets import month_of
from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    Minute,
    ShardId,
    TaskId,
    encode_id,
)
from timeball_server.core.journal import (
    DueRow,
    EventRow,
    LedgerRow,
    Row,
    VersionRow,
)
from timeball_server.ports.store import DuePage, ListPage
from timeball_server.store.keys import (
    Cursor,
    DueOrder,
    decode_cursor,
    due_order,
    home_bucket,
    take_page,
)

ListRowT = TypeVar("ListRowT", bound=Row)
RowT_contra = TypeVar("RowT_contra", bound=Row, contravariant=True)
BucketKey = tuple[Minute, ShardId]


class Table(Protocol[RowT_contra]):
    """What `append` needs of a table of immutable rows."""

    def key(self, row: RowT_contra) -> Hashable:
        """The row's full key."""
        ...

    def find(self, row: RowT_contra) -> Row | None:
        """The row that stands under this row's key."""
        ...

    def add(self, row: RowT_contra) -> None:
        """Store a row whose key is free."""
        ...


@dataclass(slots=True)
class _Home:
    """The tasks whose home is one bucket: their ids in order, and the parts seen."""

    ids: list[TaskId] = field(default_factory=list)
    parts: set[int] = field(default_factory=set)


class JournalTable:
    """Events by task, and the tasks of each home bucket."""

    def __init__(self) -> None:
        self._tasks: dict[TaskId, dict[tuple[Epoch, int], EventRow]] = {}
        self._homes: dict[BucketKey, _Home] = {}

    def key(self, row: EventRow) -> Hashable:
        """Task, epoch and seq; the task names its bucket."""
        return (row.task_id, row.epoch, row.seq)

    def find(self, row: EventRow) -> EventRow | None:
        """The event that stands under this key."""
        return self._tasks.get(row.task_id, {}).get((row.epoch, row.seq))

    def add(self, row: EventRow) -> None:
        """Store an event."""
        events = self._tasks.get(row.task_id)
        if events is None:
            bucket = home_bucket(row.task_id)
            home = self._homes.setdefault((bucket.minute, bucket.shard), _Home())
            home.parts.add(bucket.part)
            insort(home.ids, row.task_id)
            events = self._tasks[row.task_id] = {}
        events[row.epoch, row.seq] = row

    def events(self, task_id: TaskId) -> list[EventRow]:
        """Events of a task, oldest first."""
        return [row for _, row in sorted(self._tasks.get(task_id, {}).items())]

    def head(self, task_id: TaskId) -> EventRow | None:
        """The newest event of a task, None without events."""
        events = self._tasks.get(task_id)
        return events[max(events)] if events else None

    def find_unique(self, minute: Minute, shard: ShardId, unique: bytes) -> list[EventRow]:
        """Events of the task with this unique number in any part of a bucket."""
        home = self._homes.get((minute, shard), _Home())
        for part in sorted(home.parts):
            if rows := self.events(encode_id(IdParts(Bucket(minute, shard, part), unique))):
                return rows
        return []

    def heads(self, bucket: BucketKey, after: TaskId | None, limit: int) -> list[EventRow]:
        """Heads of a bucket's tasks in order of id."""
        ids = self._homes.get(bucket, _Home()).ids
        start = 0 if after is None else bisect_right(ids, after)
        heads = (self.head(task_id) for task_id in ids[start : start + limit])
        return [head for head in heads if head is not None]

    def delete(self, bucket: BucketKey) -> None:
        """Forget a bucket's tasks."""
        for task_id in self._homes.pop(bucket, _Home()).ids:
            del self._tasks[task_id]


@dataclass(slots=True)
class _Hints:
    """The hints of one bucket, all parts."""

    order: list[DueOrder] = field(default_factory=list)
    rows: dict[DueOrder, DueRow] = field(default_factory=dict)


class DueTable:
    """Hints by the bucket of their alarm."""

    def __init__(self) -> None:
        self._buckets: dict[BucketKey, _Hints] = {}

    def key(self, row: DueRow) -> Hashable:
        """The alarm's bucket and the order within it."""
        return (self._bucket(row), due_order(row))

    def find(self, row: DueRow) -> DueRow | None:
        """The hint that stands under this key."""
        hints = self._buckets.get(self._bucket(row))
        return None if hints is None else hints.rows.get(due_order(row))

    def add(self, row: DueRow) -> None:
        """Store a hint."""
        hints = self._buckets.setdefault(self._bucket(row), _Hints())
        order = due_order(row)
        insort(hints.order, order)
        hints.rows[order] = row

    def page(
        self, bucket: BucketKey, from_ms: int, to_ms: int, limit: int, after: DueRow | None
    ) -> DuePage:
        """Hints of [from_ms, to_ms) in order, after the given one."""
        hints = self._buckets.get(bucket, _Hints())
        start = bisect_left(hints.order, (from_ms,))
        if after is not None:
            start = max(start, bisect_right(hints.order, due_order(after)))
        end = bisect_left(hints.order, (to_ms,))
        stop = max(start, min(start + limit, end))
        return DuePage(tuple(hints.rows[key] for key in hints.order[start:stop]), stop < end)

    def delete(self, bucket: BucketKey) -> None:
        """Forget a bucket's hints."""
        self._buckets.pop(bucket, None)

    def _bucket(self, row: DueRow) -> BucketKey:
        return Minute(row.minute), home_bucket(row.task_id).shard


class ListPlace(NamedTuple):
    """Where a row of a listing lies: its partition and its place, newest first."""

    partition: tuple[str, str, int]
    at_ms: int
    task_id: TaskId
    epoch: int

    @property
    def order(self) -> tuple[int, str, int]:
        """Sort key: newest first, then by task, then the highest epoch first."""
        return (-self.at_ms, self.task_id, -self.epoch)


class ListTable(Generic[ListRowT]):
    """A listing: rows by partition and place."""

    def __init__(self, place: Callable[[ListRowT], ListPlace]) -> None:
        self._place = place
        self._rows: dict[ListPlace, ListRowT] = {}
        self._order: dict[tuple[str, str, int], list[tuple[int, str, int]]] = {}

    def key(self, row: ListRowT) -> Hashable:
        """The row's place."""
        return self._place(row)

    def find(self, row: ListRowT) -> ListRowT | None:
        """The row that stands in this place."""
        return self._rows.get(self._place(row))

    def add(self, row: ListRowT) -> None:
        """Store a row."""
        place = self._place(row)
        self._rows[place] = row
        insort(self._order.setdefault(place.partition, []), place.order)

    def page(
        self, partition: tuple[str, str, int], cursor: str | None, limit: int
    ) -> ListPage[ListRowT]:
        """Up to `limit` rows after the cursor."""
        order = self._order.get(partition, [])
        start = 0
        if cursor is not None:
            at_ms, task_id = decode_cursor(cursor)
            start = bisect_right(order, (-at_ms, task_id, 0))
        rows = (
            self._rows[ListPlace(partition, -negative_at, TaskId(task_id), -negative_epoch)]
            for negative_at, task_id, negative_epoch in islice(order, start, None)
        )
        return take_page(rows, self._cursor, limit)

    def _cursor(self, row: ListRowT) -> Cursor:
        place = self._place(row)
        return place.at_ms, place.task_id


class LedgerTable:
    """Verdicts of schedules."""

    def __init__(self) -> None:
        self._rows: dict[Hashable, LedgerRow] = {}
        self._months: dict[tuple[TaskId, int], list[tuple[int, int]]] = {}

    def key(self, row: LedgerRow) -> Hashable:
        """Schedule, month, nominal time and epoch."""
        return (row.schedule_id, month_of(row.nominal_ms), row.nominal_ms, row.epoch)

    def find(self, row: LedgerRow) -> LedgerRow | None:
        """The verdict that stands under this key."""
        return self._rows.get(self.key(row))

    def add(self, row: LedgerRow) -> None:
        """Store a verdict."""
        self._rows[self.key(row)] = row
        month = (row.schedule_id, month_of(row.nominal_ms))
        insort(self._months.setdefault(month, []), (row.nominal_ms, -row.epoch))

    def of_month(self, schedule_id: TaskId, month: int, from_ms: int) -> list[LedgerRow]:
        """Verdicts of a month from a nominal time on, of each the highest epoch first."""
        order = self._months.get((schedule_id, month), [])
        places = order[bisect_left(order, (from_ms,)) :]
        return [self._rows[schedule_id, month, at_ms, -epoch] for at_ms, epoch in places]


class VersionTable:
    """Specifications that schedules had."""

    def __init__(self) -> None:
        self._rows: dict[TaskId, dict[tuple[int, int], VersionRow]] = {}

    def key(self, row: VersionRow) -> Hashable:
        """Schedule, version and epoch."""
        return (row.schedule_id, row.version, row.epoch)

    def find(self, row: VersionRow) -> VersionRow | None:
        """The version that stands under this key."""
        return self._rows.get(row.schedule_id, {}).get((row.version, -row.epoch))

    def add(self, row: VersionRow) -> None:
        """Store a version."""
        self._rows.setdefault(row.schedule_id, {})[row.version, -row.epoch] = row

    def of(self, schedule_id: TaskId, after: int) -> list[VersionRow]:
        """Versions after a number, of each the highest epoch first."""
        found = sorted(self._rows.get(schedule_id, {}).items())
        return [row for (version, _), row in found if version > after]
