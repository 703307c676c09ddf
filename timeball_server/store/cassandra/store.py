"""The store on Cassandra: implements `Store` for a node of a cluster.

Plain writes go in batches over partitions, conditional ones (one for each take-over, none for a
task) by conditions.py. Never migrates a schema, never repeats a request, never reads before it
writes: a second content for one key is not noticed here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from cassandra import Unauthorized
from timeball.errors import FailedPrecondition

from timeball_server.core.buckets import MINUTE_MS, Layout, LayoutRow, end_ms
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
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import (
    NEVER,
    Applied,
    DuePage,
    ListPage,
    NotApplied,
    OwnerRow,
    ShardRow,
)
from timeball_server.store.cassandra import listings, reads
from timeball_server.store.cassandra.access import CassandraAccess
from timeball_server.store.cassandra.conditions import Conditions
from timeball_server.store.cassandra.config import CassandraConfig
from timeball_server.store.cassandra.driver import Say, connect
from timeball_server.store.cassandra.expected import check_expected
from timeball_server.store.cassandra.migrations import check_schema
from timeball_server.store.cassandra.packing import pack
from timeball_server.store.cassandra.rows import MS_US, Write, write_of
from timeball_server.store.cassandra.session import Prepared, Session, prepare
from timeball_server.store.keys import Cursor, decode_cursor
from timeball_server.store.records import ledger_from, version_from

REMOVAL_AHEAD_MS: Final = 5 * MINUTE_MS
"""How far ahead of every row of its bucket a removal is stamped (rule R20)."""


class CassandraStore:
    """One connected keyspace; made by `open`. The session is public for metrics and tests."""

    def __init__(self, session: Session, clock: Clock, keyspace: str) -> None:
        self.session = session
        self.access = CassandraAccess(session)
        self._keyspace = keyspace
        self._clock = clock
        self._conditions = Conditions(session)

    @classmethod
    async def open(cls, config: CassandraConfig, clock: Clock, say: Say) -> CassandraStore:
        """Connect, waiting for the database until the deadline, and check its schema.

        Args:
            config: where the database is.
            clock: for waits, and for the timestamps of removals.
            say: takes the line that names the address while the database is not there.

        Raises:
            StoreUnavailable: no node answered before the deadline, or too few.
            FailedPrecondition: wrong credentials, keyspace, schema version or facts of the
                cluster, or a driver without its compiled parts.
        """
        prepared: dict[str, Prepared] = {}

        def ready(cluster: Any, driver: Any) -> None:
            prepared.update(_prepare(cluster, driver, config))

        cluster, driver = await connect(config, clock, say, config.keyspace, ready)
        return cls(Session(cluster, driver, prepared), clock, config.keyspace)

    @property
    def identity(self) -> str:
        """Names the database and the keyspace; another cluster has another one."""
        return f"{self.session.cluster_name}/{self._keyspace}"

    async def append(self, rows: Sequence[Row]) -> None:
        """Write rows; those of one partition are one mutation."""
        if rows:
            await self.session.write_batches([*pack([write_of(row) for row in rows])])

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        """Events of tasks, oldest first."""
        return await reads.journals(self.session, task_ids)

    async def read_heads(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, EventRow]:
        """The newest event of each."""
        return await reads.heads(self.session, task_ids)

    async def find_journal(self, home: Bucket, unique: bytes) -> list[EventRow]:
        """Events of the task with this unique number in any part."""
        return await reads.find_journal(self.session, home, unique)

    async def read_bucket_journals(
        self, minute: Minute, shard: ShardId, after: TaskId | None, limit: int
    ) -> Sequence[EventRow]:
        """Heads of a bucket's tasks in order of id."""
        return await reads.bucket_heads(self.session, minute, shard, after, limit)

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
        query = reads.DueQuery(
            minute=minute, shard=shard, from_ms=from_ms, to_ms=to_ms, limit=limit, after=after
        )
        return await reads.due(self.session, query)

    async def delete_bucket(self, minute: Minute, shard: ShardId) -> None:
        """Remove journal and due rows of a bucket: two partition tombstones for each part.

        The first part's are always written: a row that a quorum has not seen yet may lie there.
        """
        ahead_ms = max(self._clock.now().wall_ms, end_ms(minute)) + REMOVAL_AHEAD_MS
        parts = {0}
        for name in ("journal_parts", "due_parts"):
            parts.update(await reads.parts_of(self.session, name, minute, shard))
        removals = [
            Write(name, (ahead_ms * MS_US, minute, shard, part), (minute, shard, part), 0)
            for part in range(max(parts) + 1)
            for name in ("delete_journal", "delete_due")
        ]
        await self.session.write_batches([*pack(removals)])

    async def read_shard(self, shard: ShardId) -> ShardRow | None:
        """The fenced row, read serially."""
        return await self._conditions.read_shard(shard)

    async def raise_epoch(
        self, shard: ShardId, epoch: Epoch, scan_from: Minute, deleted_below: Minute = NEVER
    ) -> Applied | NotApplied:
        """Set the epoch if it is lower; create the row if there is none."""
        return await self._conditions.raise_epoch(shard, epoch, (scan_from, deleted_below))

    async def move_scan_from(
        self, shard: ShardId, epoch: Epoch, old: Minute, new: Minute
    ) -> Applied | NotApplied:
        """Compare and set scan_from."""
        return await self._conditions.move("move_scan_from", shard, epoch, old, new)

    async def move_deleted_below(
        self, shard: ShardId, epoch: Epoch, old: Minute, new: Minute
    ) -> Applied | NotApplied:
        """Compare and set deleted_below."""
        return await self._conditions.move("move_deleted_below", shard, epoch, old, new)

    async def write_owner(self, row: OwnerRow) -> None:
        """Publish an ownership; within an epoch the row with the later instant stands."""
        watermarks = (row.scan_from, row.deleted_below, row.at_ms)
        values = (row.shard, row.epoch, row.owner, row.address, *watermarks)
        await self.session.write("write_owner", (*values, row.at_ms * MS_US))

    async def read_owners(self, shards: Collection[ShardId]) -> Mapping[ShardId, OwnerRow]:
        """The owner rows with the highest epochs."""
        return await reads.owners(self.session, shards)

    async def highest_epoch(self) -> Epoch:
        """The highest epoch of any shard that was acknowledged, 0 for an empty store."""
        rows = await self.session.read("highest_epoch", ())
        return Epoch(rows[0][0] or 0)

    async def read_layout(self) -> Layout | None:
        """The layout rows, None before bootstrap."""
        return await self._conditions.read_layout()

    async def add_layout(self, row: LayoutRow) -> bool:
        """Add a row unless its minute has one."""
        return await self._conditions.add_layout(row)

    async def bind_name(self, namespace: str, name: str, task_id: TaskId) -> TaskId:
        """Give a name to a task unless it has one."""
        return await self._conditions.bind_name(namespace, name, task_id)

    async def rebind_name(
        self, namespace: str, name: str, holder: TaskId, task_id: TaskId
    ) -> TaskId:
        """Take a name from the task that has it."""
        return await self._conditions.rebind_name(namespace, name, holder, task_id)

    async def read_names(self, namespace: str, names: Sequence[str]) -> Mapping[str, TaskId]:
        """The tasks that have these names."""
        return await reads.names(self.session, namespace, names)

    async def list_by_owner(
        self, namespace: str, owner: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[OwnerListRow]:
        """A user's tasks of a day, newest first."""
        place = (namespace, owner, day)
        return await listings.by_owner(self.session, place, _place(cursor), limit)

    async def list_by_state(
        self, namespace: str, state: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[StateListRow]:
        """Hints that tasks entered a state on a day, newest first."""
        place = (namespace, state, day)
        return await listings.by_state(self.session, place, _place(cursor), limit)

    async def list_dead_letters(
        self, namespace: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[DeadLetterRow]:
        """Dead letters of a day, newest first."""
        return await listings.dead_letters(self.session, (namespace, day), _place(cursor), limit)

    async def read_ledger(
        self, schedule_id: TaskId, month: int, from_ms: int, limit: int
    ) -> list[LedgerRow]:
        """Verdicts of a month at or after a nominal time."""
        rows = await self.session.read("ledger", (schedule_id, month, from_ms, limit))
        return [ledger_from(row) for row in rows]

    async def read_versions(self, schedule_id: TaskId, after: int, limit: int) -> list[VersionRow]:
        """Versions of a schedule after a number."""
        rows = await self.session.read("schedule_versions", (schedule_id, after, limit))
        return [version_from(row) for row in rows]

    async def close(self) -> None:
        """Finish what was sent, then disconnect; safe to call twice."""
        await self.session.close()


def _prepare(cluster: Any, driver: Any, config: CassandraConfig) -> dict[str, Prepared]:
    try:
        check_schema(driver, config.keyspace)
        check_expected(cluster, driver, config.keyspace, config.expected)
    except Unauthorized as error:
        raise FailedPrecondition(
            f"Cassandra at {config.address} lets {config.username or 'nobody'!r} in, but not read "
            f"the keyspace {config.keyspace}. Grant SELECT and MODIFY on it to this user."
        ) from error
    return prepare(driver)


def _place(cursor: str | None) -> Cursor:
    return listings.START if cursor is None else decode_cursor(cursor)
