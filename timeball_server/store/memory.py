"""The store in memory: the reference for the contract, the base of simulation and of tests.

`MemoryDatabase` is what outlives clients; each `MemoryStore` is one node's connection to it.
Calls take effect at once and never yield to the loop, so the order of calls is the order of
effects. Injects no faults: simulation wraps a Store for that.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from timeball.errors import StoreUnavailable

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
from timeball_server.store.keys import day_of, no_fenced_row, refuse_other_content
from timeball_server.store.memory_access import AccessTables, MemoryAccess
from timeball_server.store.memory_tables import (
    DueTable,
    JournalTable,
    LedgerTable,
    ListPlace,
    ListTable,
    Table,
    VersionTable,
)


def _owner_place(row: OwnerListRow) -> ListPlace:
    partition = (row.namespace, row.owner, day_of(row.created_ms))
    return ListPlace(partition, row.created_ms, row.task_id, row.epoch)


def _state_place(row: StateListRow) -> ListPlace:
    partition = (row.namespace, row.state, day_of(row.at_ms))
    return ListPlace(partition, row.at_ms, row.task_id, row.epoch)


def _dead_letter_place(row: DeadLetterRow) -> ListPlace:
    return ListPlace((row.namespace, "", day_of(row.at_ms)), row.at_ms, row.task_id, row.epoch)


class MemoryDatabase:
    """All tables. Shared by the stores of several nodes; survives their crashes.

    Args:
        layout: what bootstrap has written; None = that is still to come.
    """

    def __init__(self, layout: Layout | None = None) -> None:
        self.journal = JournalTable()
        self.due = DueTable()
        self.by_owner = ListTable(_owner_place)
        self.by_state = ListTable(_state_place)
        self.dead_letters = ListTable(_dead_letter_place)
        self.ledger = LedgerTable()
        self.versions = VersionTable()
        self.access = AccessTables()
        self.shards: dict[ShardId, ShardRow] = {}
        self.owners: dict[ShardId, dict[Epoch, OwnerRow]] = {}
        rows = () if layout is None else layout.rows
        self.layout: dict[Minute, LayoutRow] = {row.from_minute: row for row in rows}
        self.names: dict[tuple[str, str], TaskId] = {}
        # The union of row types cannot be told apart by a mapping's type: Any ends here.
        self.tables: Final[Mapping[type[Row], Table[Any]]] = {
            EventRow: self.journal,
            DueRow: self.due,
            OwnerListRow: self.by_owner,
            StateListRow: self.by_state,
            DeadLetterRow: self.dead_letters,
            LedgerRow: self.ledger,
            VersionRow: self.versions,
        }


class MemoryStore:
    """One client of a memory database; implements `Store`."""

    def __init__(self, database: MemoryDatabase | None = None) -> None:
        self._database = database if database is not None else MemoryDatabase()
        self.access = MemoryAccess(self._database.access)
        self._closed = False

    async def append(self, rows: Sequence[Row]) -> None:
        """Write rows; all or none."""
        tables = self._open().tables
        fresh: dict[tuple[type[Row], Hashable], Row] = {}
        for row in rows:
            table = tables[type(row)]
            key = (type(row), table.key(row))
            standing = table.find(row) or fresh.setdefault(key, row)
            if standing is not row and standing != row:
                refuse_other_content(row)
        for row in fresh.values():
            tables[type(row)].add(row)

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        """Events of tasks, oldest first."""
        journal = self._open().journal
        found = {task_id: journal.events(task_id) for task_id in task_ids}
        return {task_id: events for task_id, events in found.items() if events}

    async def read_heads(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, EventRow]:
        """The newest event of each."""
        journal = self._open().journal
        heads = {task_id: journal.head(task_id) for task_id in task_ids}
        return {task_id: head for task_id, head in heads.items() if head is not None}

    async def find_journal(self, home: Bucket, unique: bytes) -> list[EventRow]:
        """Events of the task with this unique number in any part."""
        return self._open().journal.find_unique(home.minute, home.shard, unique)

    async def read_bucket_journals(
        self, minute: Minute, shard: ShardId, after: TaskId | None, limit: int
    ) -> Sequence[EventRow]:
        """Heads of a bucket's tasks in order of id."""
        return self._open().journal.heads((minute, shard), after, limit)

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
        return self._open().due.page((minute, shard), from_ms, to_ms, limit, after)

    async def delete_bucket(self, minute: Minute, shard: ShardId) -> None:
        """Remove journal and due rows of a bucket."""
        database = self._open()
        database.journal.delete((minute, shard))
        database.due.delete((minute, shard))

    async def read_shard(self, shard: ShardId) -> ShardRow | None:
        """The fenced row."""
        return self._open().shards.get(shard)

    async def raise_epoch(
        self, shard: ShardId, epoch: Epoch, scan_from: Minute, deleted_below: Minute = NEVER
    ) -> Applied | NotApplied:
        """Set the epoch if it is lower; create the row if there is none."""
        shards = self._open().shards
        row = shards.get(shard)
        if row is not None and row.epoch >= epoch:
            return NotApplied(row)
        if row is None:
            row = ShardRow(
                shard=shard, epoch=epoch, scan_from=scan_from, deleted_below=deleted_below
            )
        shards[shard] = replace(row, epoch=epoch)
        return Applied()

    async def move_scan_from(
        self, shard: ShardId, epoch: Epoch, old: Minute, new: Minute
    ) -> Applied | NotApplied:
        """Compare and set scan_from."""
        row = self._fenced(shard)
        if (row.epoch, row.scan_from) != (epoch, old):
            return NotApplied(row)
        self._database.shards[shard] = replace(row, scan_from=new)
        return Applied()

    async def move_deleted_below(
        self, shard: ShardId, epoch: Epoch, old: Minute, new: Minute
    ) -> Applied | NotApplied:
        """Compare and set deleted_below."""
        row = self._fenced(shard)
        if (row.epoch, row.deleted_below) != (epoch, old):
            return NotApplied(row)
        self._database.shards[shard] = replace(row, deleted_below=new)
        return Applied()

    async def write_owner(self, row: OwnerRow) -> None:
        """Publish an ownership; within an epoch the row with the later instant stands."""
        rows = self._open().owners.setdefault(row.shard, {})
        standing = rows.get(row.epoch)
        if standing is None or standing.at_ms <= row.at_ms:
            rows[row.epoch] = row

    async def read_owners(self, shards: Collection[ShardId]) -> Mapping[ShardId, OwnerRow]:
        """The owner rows with the highest epochs."""
        owners = self._open().owners
        return {shard: rows[max(rows)] for shard in shards if (rows := owners.get(shard))}

    async def highest_epoch(self) -> Epoch:
        """The highest epoch of any shard, 0 for an empty store."""
        return max((row.epoch for row in self._open().shards.values()), default=Epoch(0))

    async def read_layout(self) -> Layout | None:
        """The layout rows, None before bootstrap."""
        rows = self._open().layout
        return Layout(tuple(rows[minute] for minute in sorted(rows))) if rows else None

    async def add_layout(self, row: LayoutRow) -> bool:
        """Add a row unless its minute has one."""
        layout = self._open().layout
        if row.from_minute in layout:
            return False
        layout[row.from_minute] = row
        return True

    async def bind_name(self, namespace: str, name: str, task_id: TaskId) -> TaskId:
        """Give a name to a task unless it has one."""
        return self._open().names.setdefault((namespace, name), task_id)

    async def rebind_name(
        self, namespace: str, name: str, holder: TaskId, task_id: TaskId
    ) -> TaskId:
        """Take a name from the task that has it."""
        names, key = self._open().names, (namespace, name)
        if names.get(key) == holder:
            names[key] = task_id
        return names.get(key, holder)

    async def read_names(self, namespace: str, names: Sequence[str]) -> Mapping[str, TaskId]:
        """The tasks that have these names."""
        known = self._open().names
        return {name: known[namespace, name] for name in names if (namespace, name) in known}

    async def list_by_owner(
        self, namespace: str, owner: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[OwnerListRow]:
        """A user's tasks of a day, newest first."""
        return self._open().by_owner.page((namespace, owner, day), cursor, limit)

    async def list_by_state(
        self, namespace: str, state: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[StateListRow]:
        """Hints that tasks entered a state on a day, newest first."""
        return self._open().by_state.page((namespace, state, day), cursor, limit)

    async def list_dead_letters(
        self, namespace: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[DeadLetterRow]:
        """Dead letters of a day, newest first."""
        return self._open().dead_letters.page((namespace, "", day), cursor, limit)

    async def read_ledger(
        self, schedule_id: TaskId, month: int, from_ms: int, limit: int
    ) -> list[LedgerRow]:
        """Verdicts of a month at or after a nominal time."""
        return self._open().ledger.of_month(schedule_id, month, from_ms)[:limit]

    async def read_versions(self, schedule_id: TaskId, after: int, limit: int) -> list[VersionRow]:
        """Versions of a schedule after a number."""
        return self._open().versions.of(schedule_id, after)[:limit]

    async def close(self) -> None:
        """Disconnect this client; the database stays."""
        self._closed = True

    def _open(self) -> MemoryDatabase:
        if self._closed:
            raise StoreUnavailable("This store is closed; nothing was written.")
        return self._database

    def _fenced(self, shard: ShardId) -> ShardRow:
        return self._open().shards.get(shard) or no_fenced_row(shard)
