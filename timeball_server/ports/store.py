"""The store port: durable rows of journal, due index, shards, owners, layout and projections.

Every adapter (memory, SQLite, Cassandra) passes tests/conformance/test_store.py unchanged.
Rows are immutable and idempotent by key: the same row may be sent any number of times.

Errors, the same for all methods:
    StoreUnavailable: the call did not reach the store; nothing was written.
    OutcomeUnknown: a write may have happened, may yet happen, or not at all. A plain write is
        resent unchanged (rule R7); a conditional one is resolved by `read_shard`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.ids import Bucket, Epoch, Minute, NodeId, ShardId, TaskId
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

if TYPE_CHECKING:
    from timeball_server.ports.access import AccessStore

RowT = TypeVar("RowT")
NEVER: Final = Minute(0)
"""The deleted_below of a shard whose first home nobody knows: nothing of it is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRow:
    """The fenced row of a shard: changed by conditional writes only (rules R1, R18, R20)."""

    shard: ShardId
    epoch: Epoch
    scan_from: Minute
    deleted_below: Minute


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRow:
    """Plain copy for readers: who owns the shard in this epoch (rules R2, R16)."""

    shard: ShardId
    epoch: Epoch
    owner: NodeId
    address: str
    scan_from: Minute
    deleted_below: Minute
    at_ms: int


@dataclass(frozen=True, slots=True)
class Applied:
    """A conditional write was applied."""


@dataclass(frozen=True, slots=True)
class NotApplied:
    """A conditional write found other values; `row` is what stands there now."""

    row: ShardRow


@dataclass(frozen=True, slots=True)
class DuePage:
    """Hints in order of (due_ms, task_id, seq, epoch). `more` = ask again after the last one."""

    rows: tuple[DueRow, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class ListPage(Generic[RowT]):
    """Rows of a listing, newest first, and the cursor for the next page, None at the end."""

    rows: tuple[RowT, ...]
    cursor: str | None


class Store(Protocol):
    """What the services ask of a database."""

    @property
    def access(self) -> AccessStore:
        """The tables that administrators change; closed with this store."""
        ...

    async def append(self, rows: Sequence[Row]) -> None:
        """Write rows. Those of one bucket partition are atomic, all together are not.

        Safe to repeat with the same rows. When it returns, every row is durable and seen by
        every later read of these tables.
        """
        ...

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        """All events of these tasks, oldest first; tasks without events are left out."""
        ...

    async def read_heads(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, EventRow]:
        """The newest event of each (rule R5); those without events are left out.

        Enough for schedules, whose events each say everything and whose journals grow for ever.
        """
        ...

    async def find_journal(self, home: Bucket, unique: bytes) -> list[EventRow]:
        """Events of the task with this unique number in any part of the home bucket, or [].

        `home.part` is ignored: an owner may have opened further parts (design: hot buckets).
        """
        ...

    async def read_bucket_journals(
        self, minute: Minute, shard: ShardId, after: TaskId | None, limit: int
    ) -> Sequence[EventRow]:
        """Heads of the tasks whose home is this bucket, all parts, ordered by task id.

        Starts after the given id; at most `limit` heads. Used by sweeps and removals.
        """
        ...

    async def read_due(
        self,
        minute: Minute,
        shard: ShardId,
        from_ms: int,
        to_ms: int,
        limit: int,
        after: DueRow | None = None,
    ) -> DuePage:
        """Hints of one bucket, all parts merged, with from_ms <= due_ms < to_ms, in due order."""
        ...

    async def delete_bucket(self, minute: Minute, shard: ShardId) -> None:
        """Remove journal and due rows of a bucket, all parts. Safe to repeat (rule R20)."""
        ...

    async def read_shard(self, shard: ShardId) -> ShardRow | None:
        """The fenced row, read serially: sees every conditional write that can be applied."""
        ...

    async def raise_epoch(
        self, shard: ShardId, epoch: Epoch, scan_from: Minute, deleted_below: Minute = NEVER
    ) -> Applied | NotApplied:
        """Set the epoch if it is lower than this one (rule R1).

        Creates the row with `scan_from` and `deleted_below` if there is none; otherwise they stay
        as they are. NotApplied carries the row with an equal or higher epoch.
        """
        ...

    async def move_scan_from(
        self, shard: ShardId, epoch: Epoch, old: Minute, new: Minute
    ) -> Applied | NotApplied:
        """Set scan_from if epoch and old value are as given (rules R18, R20)."""
        ...

    async def move_deleted_below(
        self, shard: ShardId, epoch: Epoch, old: Minute, new: Minute
    ) -> Applied | NotApplied:
        """Set deleted_below if epoch and old value are as given (rule R20)."""
        ...

    async def write_owner(self, row: OwnerRow) -> None:
        """Publish an ownership. Key (shard, epoch): a lower epoch never hides a higher one."""
        ...

    async def read_owners(self, shards: Collection[ShardId]) -> Mapping[ShardId, OwnerRow]:
        """Of each shard the owner row with the highest epoch; those that had no owner are left out.

        Each row is read after the call, but they are not read at one instant.
        """
        ...

    async def highest_epoch(self) -> Epoch:
        """The highest epoch of any shard, 0 for an empty store: seeds in-process coordination."""
        ...

    async def read_layout(self) -> Layout | None:
        """The cluster's layout rows, None before bootstrap."""
        ...

    async def add_layout(self, row: LayoutRow) -> bool:
        """Add a row unless one with this minute stands; False = it stands already."""
        ...

    async def bind_name(self, namespace: str, name: str, task_id: TaskId) -> TaskId:
        """Give a name to a task unless it has one; returns the task that has it (conditional)."""
        ...

    async def rebind_name(
        self, namespace: str, name: str, holder: TaskId, task_id: TaskId
    ) -> TaskId:
        """Take a name from the task that has it, if that is `holder`; returns who has it then.

        Conditional. A name that nobody has stays so, and the answer is `holder`.
        """
        ...

    async def read_names(self, namespace: str, names: Sequence[str]) -> Mapping[str, TaskId]:
        """The tasks that have these names; names that are free are left out."""
        ...

    async def list_by_owner(
        self, namespace: str, owner: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[OwnerListRow]:
        """Tasks that this user created on this day (days since 1970, UTC), newest first."""
        ...

    async def list_by_state(
        self, namespace: str, state: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[StateListRow]:
        """Hints that tasks entered this state on this day, newest first; verify on read."""
        ...

    async def list_dead_letters(
        self, namespace: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[DeadLetterRow]:
        """Tasks that people must look at, newest first."""
        ...

    async def read_ledger(
        self, schedule_id: TaskId, month: int, from_ms: int, limit: int
    ) -> Sequence[LedgerRow]:
        """Verdicts of a month (UTC, as 202607) at or after a nominal time, in their order.

        Rows of one nominal time come with the highest epoch first: it alone is in force.
        """
        ...

    async def read_versions(
        self, schedule_id: TaskId, after: int, limit: int
    ) -> Sequence[VersionRow]:
        """Versions of a schedule after a number, in their order, highest epoch first."""
        ...

    async def close(self) -> None:
        """Release everything; safe to call twice."""
        ...
