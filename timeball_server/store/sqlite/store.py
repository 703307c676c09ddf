"""The store on SQLite: implements `Store` for one process on one file.

Writes and conditional writes go through the writer's lane, in order, many in one commit; plain
reads through the reader's. A read that must not miss a conditional write in flight goes through
the writer's too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from timeball.errors import TimeballError

from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.ids import Bucket, Epoch, Minute, ShardId, TaskId
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
from timeball_server.ports.store import (
    NEVER,
    Applied,
    DuePage,
    ListPage,
    NotApplied,
    OwnerRow,
    ShardRow,
)
from timeball_server.store.keys import Cursor, decode_cursor
from timeball_server.store.sqlite import connect, listings, queries
from timeball_server.store.sqlite.access import SqliteAccess
from timeball_server.store.sqlite.lane import Lane
from timeball_server.store.sqlite.rounds import commit_round, read_round

BUSY_TIMEOUT_MS: Final = 2_000
"""How long a write waits for a person's own tool that has locked the file."""


class SqliteStore:
    """One open file; made by `open`. The lanes are public for tools that look at the file."""

    def __init__(self, writer: Lane, reader: Lane) -> None:
        self.writer = writer
        self.reader = reader
        self.access = SqliteAccess(writer, reader)

    @classmethod
    async def open(cls, path: Path, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> SqliteStore:
        """Open or create a database file and bring its schema up to date.

        Raises:
            FailedPrecondition: the file is in use, or its schema does not fit this version.
            StoreUnavailable: the file cannot be opened.
        """
        writer = Lane("store-writer", partial(connect.writer, path, busy_timeout_ms), commit_round)
        await writer.open()
        reader = Lane("store-reader", partial(connect.reader, path, busy_timeout_ms), read_round)
        try:
            await reader.open()
        except TimeballError:
            await writer.close()
            raise
        return cls(writer, reader)

    async def append(self, rows: Sequence[Row]) -> None:
        """Write rows; all or none."""
        if rows:
            pending = queries.batches(rows)
            await self.writer.submit(lambda connection: queries.write(connection, pending))

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        """Events of tasks, oldest first."""
        return await self.reader.submit(
            lambda connection: queries.read_journals(connection, task_ids)
        )

    async def read_heads(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, EventRow]:
        """The newest event of each."""
        return await self.reader.submit(lambda connection: queries.heads_of(connection, task_ids))

    async def find_journal(self, home: Bucket, unique: bytes) -> list[EventRow]:
        """Events of the task with this unique number in any part."""
        return await self.reader.submit(
            lambda connection: queries.find_journal(connection, home, unique)
        )

    async def read_bucket_journals(
        self, minute: Minute, shard: ShardId, after: TaskId | None, limit: int
    ) -> Sequence[EventRow]:
        """Heads of a bucket's tasks in order of id."""
        place = after or TaskId("")
        return await self.reader.submit(
            lambda connection: queries.read_heads(connection, minute, shard, place, limit)
        )

    async def read_due(
        self,
        minute: Minute,
        shard: ShardId,
        from_ms: int,
        to_ms: int,
        limit: int,
        after: DueRow | None = None,
    ) -> DuePage:
        """Hints of a bucket in due order."""
        query = queries.DueQuery(
            minute=minute, shard=shard, from_ms=from_ms, to_ms=to_ms, limit=limit, after=after
        )
        return await self.reader.submit(lambda connection: queries.read_due(connection, query))

    async def delete_bucket(self, minute: Minute, shard: ShardId) -> None:
        """Remove journal and due rows of a bucket."""
        await self.writer.submit(
            lambda connection: queries.delete_bucket(connection, minute, shard)
        )

    async def read_shard(self, shard: ShardId) -> ShardRow | None:
        """The fenced row, read behind every conditional write that was sent before."""
        return await self.writer.submit(lambda connection: queries.read_shard(connection, shard))

    async def raise_epoch(
        self, shard: ShardId, epoch: Epoch, scan_from: Minute, deleted_below: Minute = NEVER
    ) -> Applied | NotApplied:
        """Set the epoch if it is lower; create the row if there is none."""
        values = (shard, epoch, scan_from, deleted_below)
        return await self._compare_and_set("raise_epoch", shard, values)

    async def move_scan_from(
        self, shard: ShardId, epoch: Epoch, old: Minute, new: Minute
    ) -> Applied | NotApplied:
        """Compare and set scan_from."""
        return await self._compare_and_set("move_scan_from", shard, (new, shard, epoch, old))

    async def move_deleted_below(
        self, shard: ShardId, epoch: Epoch, old: Minute, new: Minute
    ) -> Applied | NotApplied:
        """Compare and set deleted_below."""
        return await self._compare_and_set("move_deleted_below", shard, (new, shard, epoch, old))

    async def write_owner(self, row: OwnerRow) -> None:
        """Publish an ownership; within an epoch the row with the later instant stands."""
        await self.writer.submit(lambda connection: queries.write_owner(connection, row))

    async def read_owners(self, shards: Collection[ShardId]) -> Mapping[ShardId, OwnerRow]:
        """The owner rows with the highest epochs."""
        return await self.reader.submit(lambda connection: queries.read_owners(connection, shards))

    async def highest_epoch(self) -> Epoch:
        """The highest epoch of any shard, 0 for an empty store."""
        return await self.reader.submit(queries.highest_epoch)

    async def read_layout(self) -> Layout | None:
        """The layout rows, None before bootstrap."""
        return await self.reader.submit(queries.read_layout)

    async def add_layout(self, row: LayoutRow) -> bool:
        """Add a row unless its minute has one."""
        return await self.writer.submit(lambda connection: queries.add_layout(connection, row))

    async def bind_name(self, namespace: str, name: str, task_id: TaskId) -> TaskId:
        """Give a name to a task unless it has one."""
        return await self.writer.submit(
            lambda connection: queries.bind_name(connection, namespace, name, task_id)
        )

    async def rebind_name(
        self, namespace: str, name: str, holder: TaskId, task_id: TaskId
    ) -> TaskId:
        """Take a name from the task that has it."""
        return await self.writer.submit(
            lambda connection: queries.rebind_name(connection, namespace, name, holder, task_id)
        )

    async def read_names(self, namespace: str, names: Sequence[str]) -> Mapping[str, TaskId]:
        """The tasks that have these names."""
        return await self.reader.submit(
            lambda connection: queries.read_names(connection, namespace, names)
        )

    async def list_by_owner(
        self, namespace: str, owner: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[OwnerListRow]:
        """A user's tasks of a day, newest first."""
        partition, after = (namespace, owner, day), _place(cursor)
        return await self.reader.submit(
            lambda connection: listings.by_owner(connection, partition, after, limit)
        )

    async def list_by_state(
        self, namespace: str, state: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[StateListRow]:
        """Hints that tasks entered a state on a day, newest first."""
        partition, after = (namespace, state, day), _place(cursor)
        return await self.reader.submit(
            lambda connection: listings.by_state(connection, partition, after, limit)
        )

    async def list_dead_letters(
        self, namespace: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[DeadLetterRow]:
        """Dead letters of a day, newest first."""
        partition, after = (namespace, day), _place(cursor)
        return await self.reader.submit(
            lambda connection: listings.dead_letters(connection, partition, after, limit)
        )

    async def read_ledger(
        self, schedule_id: TaskId, month: int, from_ms: int, limit: int
    ) -> list[LedgerRow]:
        """Verdicts of a month at or after a nominal time."""
        place = (schedule_id, month, from_ms, limit)
        return await self.reader.submit(lambda connection: queries.ledger(connection, place))

    async def read_versions(self, schedule_id: TaskId, after: int, limit: int) -> list[VersionRow]:
        """Versions of a schedule after a number."""
        place = (schedule_id, after, limit)
        return await self.reader.submit(lambda connection: queries.versions(connection, place))

    async def close(self) -> None:
        """Finish what was sent, then close the file; safe to call twice."""
        await self.reader.close()
        await self.writer.close()

    async def _compare_and_set(
        self, name: str, shard: ShardId, values: tuple[int, ...]
    ) -> Applied | NotApplied:
        return await self.writer.submit(
            lambda connection: queries.compare_and_set(connection, name, shard, values)
        )


def _place(cursor: str | None) -> Cursor:
    return listings.START if cursor is None else decode_cursor(cursor)
