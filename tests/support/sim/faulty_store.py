"""A store that is far away and sometimes does not say what became of a write.

A request that has left its process reaches the database whatever happens to the process. Unknown
outcomes: applied, not applied, applied in part, or applied late, when newer rows exist already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, NoReturn, TypeVar

from timeball.errors import Internal, OutcomeUnknown, StoreUnavailable

from tests.support.checker.records import Claim
from tests.support.sim.gate import Kept
from tests.support.sim.network import Network
from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.ids import Bucket, Epoch, Minute, ShardId, TaskId, home_of
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
from timeball_server.store.memory import MemoryStore

T = TypeVar("T")
Parts = Callable[[], Sequence[Callable[[], Coroutine[Any, Any, Any]]]]
"""What a write falls into where it is not carried out as a whole."""


class Fate(Enum):
    """What becomes of a write."""

    DONE = auto()
    UNAVAILABLE = auto()
    NOT_APPLIED = auto()
    APPLIED = auto()
    LATE = auto()
    IN_PART = auto()


_UNKNOWN = (Fate.NOT_APPLIED, Fate.APPLIED, Fate.LATE, Fate.IN_PART)


class Outage:
    """Whether the database answers at all; shared by all clients."""

    def __init__(self) -> None:
        self.down = False


class FaultyStore:
    """One process's client of the database; implements `Store`."""

    def __init__(
        self, inner: MemoryStore, network: Network, node: str, process: str, outage: Outage
    ) -> None:
        self._inner = inner
        self._network = network
        self._node = node
        self._process = process
        self._outage = outage
        self.access = inner.access

    # Writes -------------------------------------------------------------------------------------

    async def append(self, rows: Sequence[Row]) -> None:
        """Write rows; those of one partition together."""
        gate = self._network.gate
        if self._process in gate.shut and not gate.passes(rows):
            await self._keep(_groups(rows))
        await self._write(
            "append",
            lambda: [partial(self._inner.append, part) for part in _groups(rows)],
            lambda: self._inner.append(rows),
        )

    async def raise_epoch(
        self, shard: ShardId, epoch: Epoch, scan_from: Minute, deleted_below: Minute = NEVER
    ) -> Applied | NotApplied:
        """A conditional write."""
        return await self._conditional(
            f"raise_epoch {shard} {epoch}",
            lambda: self._inner.raise_epoch(shard, epoch, scan_from, deleted_below),
        )

    async def move_scan_from(
        self, shard: ShardId, epoch: Epoch, old: Minute, new: Minute
    ) -> Applied | NotApplied:
        """A conditional write."""
        return await self._conditional(
            f"move_scan_from {shard} {epoch} {old} {new}",
            lambda: self._inner.move_scan_from(shard, epoch, old, new),
        )

    async def move_deleted_below(
        self, shard: ShardId, epoch: Epoch, old: Minute, new: Minute
    ) -> Applied | NotApplied:
        """A conditional write."""
        return await self._conditional(
            f"move_deleted_below {shard} {epoch} {old} {new}",
            lambda: self._inner.move_deleted_below(shard, epoch, old, new),
        )

    async def write_owner(self, row: OwnerRow) -> None:
        """A plain write, noted for the checker."""
        claim = Claim(shard=row.shard, epoch=row.epoch, owner=self._process)
        self._network.history.claims.append(claim)
        await self._conditional(
            f"write_owner {row.shard} {row.epoch}", lambda: self._inner.write_owner(row)
        )

    async def delete_bucket(self, minute: Minute, shard: ShardId) -> None:
        """A plain write."""
        await self._conditional(
            f"delete_bucket {minute} {shard}", lambda: self._inner.delete_bucket(minute, shard)
        )

    async def add_layout(self, row: LayoutRow) -> bool:
        """A conditional write."""
        return await self._conditional("add_layout", lambda: self._inner.add_layout(row))

    async def bind_name(self, namespace: str, name: str, task_id: TaskId) -> TaskId:
        """A conditional write."""
        return await self._conditional(
            f"bind_name {name}", lambda: self._inner.bind_name(namespace, name, task_id)
        )

    async def rebind_name(
        self, namespace: str, name: str, holder: TaskId, task_id: TaskId
    ) -> TaskId:
        """A conditional write."""
        return await self._conditional(
            f"rebind_name {name}",
            lambda: self._inner.rebind_name(namespace, name, holder, task_id),
        )

    # Reads --------------------------------------------------------------------------------------

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        """Events of tasks."""
        return await self._read("read_journals", lambda: self._inner.read_journals(task_ids))

    async def read_heads(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, EventRow]:
        """The newest event of each."""
        return await self._read("read_heads", lambda: self._inner.read_heads(task_ids))

    async def read_names(self, namespace: str, names: Sequence[str]) -> Mapping[str, TaskId]:
        """The tasks that have names."""
        return await self._read("read_names", lambda: self._inner.read_names(namespace, names))

    async def find_journal(self, home: Bucket, unique: bytes) -> list[EventRow]:
        """Events of the task with this unique number."""
        return await self._read("find_journal", lambda: self._inner.find_journal(home, unique))

    async def read_bucket_journals(
        self, minute: Minute, shard: ShardId, after: TaskId | None, limit: int
    ) -> Sequence[EventRow]:
        """Heads of a bucket."""
        return await self._read(
            "read_bucket_journals",
            lambda: self._inner.read_bucket_journals(minute, shard, after, limit),
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
        """Hints of a bucket."""
        return await self._read(
            f"read_due {minute} {shard}",
            lambda: self._inner.read_due(minute, shard, from_ms, to_ms, limit, after),
        )

    async def read_shard(self, shard: ShardId) -> ShardRow | None:
        """The fenced row."""
        return await self._read("read_shard", lambda: self._inner.read_shard(shard))

    async def read_owners(self, shards: Collection[ShardId]) -> Mapping[ShardId, OwnerRow]:
        """The owner rows."""
        return await self._read("read_owners", lambda: self._inner.read_owners(shards))

    async def highest_epoch(self) -> Epoch:
        """The highest epoch."""
        return await self._read("highest_epoch", self._inner.highest_epoch)

    async def read_layout(self) -> Layout | None:
        """The layout."""
        return await self._read("read_layout", self._inner.read_layout)

    async def list_by_owner(
        self, namespace: str, owner: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[OwnerListRow]:
        """A listing."""
        return await self._read(
            "list_by_owner",
            lambda: self._inner.list_by_owner(namespace, owner, day, cursor, limit),
        )

    async def list_by_state(
        self, namespace: str, state: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[StateListRow]:
        """A listing."""
        return await self._read(
            "list_by_state",
            lambda: self._inner.list_by_state(namespace, state, day, cursor, limit),
        )

    async def list_dead_letters(
        self, namespace: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[DeadLetterRow]:
        """A listing."""
        return await self._read(
            "list_dead_letters",
            lambda: self._inner.list_dead_letters(namespace, day, cursor, limit),
        )

    async def read_ledger(
        self, schedule_id: TaskId, month: int, from_ms: int, limit: int
    ) -> Sequence[LedgerRow]:
        """Verdicts of a schedule."""
        return await self._read(
            "read_ledger",
            lambda: self._inner.read_ledger(schedule_id, month, from_ms, limit),
        )

    async def read_versions(
        self, schedule_id: TaskId, after: int, limit: int
    ) -> Sequence[VersionRow]:
        """Specifications that a schedule had."""
        return await self._read(
            "read_versions", lambda: self._inner.read_versions(schedule_id, after, limit)
        )

    async def close(self) -> None:
        """Nothing to release."""

    # The way there and back ---------------------------------------------------------------------

    async def _read(self, name: str, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        fate = self._fate()
        if fate in _UNKNOWN:
            fate = Fate.NOT_APPLIED
        return await self._travel(name, fate, ask, tuple)

    async def _conditional(self, name: str, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await self._write(name, lambda: [ask], ask)

    async def _write(
        self,
        name: str,
        parts: Parts,
        ask: Callable[[], Coroutine[Any, Any, T]],
    ) -> T:
        return await self._travel(name, self._fate(), ask, parts)

    async def _keep(self, groups: Sequence[Sequence[Row]]) -> NoReturn:
        """A script keeps what was sent; in part or whole, it lands when the script says so."""
        network = self._network
        for rows in groups:
            ask = partial(self._inner.append, rows)
            land = partial(self._apply_quietly, "append", ask)
            network.gate.kept.append(Kept(self._process, rows, land))
        network.history.fault("store kept", self._process, "append")
        answer: asyncio.Future[NoReturn] = network.loop.create_future()
        network.after(self._patience_s(Fate.LATE), _fail, answer, _error(Fate.LATE, "append"))
        await answer
        raise AssertionError("nobody answers what is kept")

    def _fate(self) -> Fate:
        profile, rng = self._network.profile, self._network.rng
        if self._outage.down or self._network.is_cut(self._node, "store"):
            return rng.choice((Fate.UNAVAILABLE, Fate.NOT_APPLIED))
        if self._network.is_cut("store", self._node):
            return Fate.APPLIED
        if profile.calm:
            return Fate.DONE
        drawn = rng.random()
        if drawn < profile.store_unavailable_share:
            return Fate.UNAVAILABLE
        if drawn < profile.store_unavailable_share + profile.store_unknown_share:
            return rng.choice(_UNKNOWN)
        return Fate.DONE

    async def _travel(
        self,
        name: str,
        fate: Fate,
        ask: Callable[[], Coroutine[Any, Any, T]],
        parts: Parts,
    ) -> T:
        network = self._network
        network.history.spend(name.partition(" ")[0])
        if network.profile.pause_before and name.startswith(network.profile.pause_before):
            await network.pause(self._process)
        if self._process in network.gate.faints and name.startswith("raise_epoch"):
            network.loop.freeze(self._process)
            await asyncio.sleep(0)  # noqa: TID251 - the freeze takes hold here
        answer: asyncio.Future[T] = network.loop.create_future()
        if fate is not Fate.DONE:
            network.history.fault(f"store {fate.name.lower()}", self._process, name)
            network.after(network.delay_s(), self._misbehave, name, fate, parts())
            network.after(self._patience_s(fate), _fail, answer, _error(fate, name))
        else:
            network.after(network.delay_s() + self._linger_s(name), self._obey, name, ask, answer)
        try:
            return await answer
        finally:
            del answer  # its error leads back to this frame, and only a collector undoes that

    def _linger_s(self, name: str) -> float:
        """How long it takes besides, where that is so of what is called like this."""
        profile = self._network.profile
        return profile.linger_s if profile.lingers and name.startswith(profile.lingers) else 0.0

    def _patience_s(self, fate: Fate) -> float:
        """A refusal comes soon, a time-out takes its time."""
        return self._network.rng.uniform(0.005, 0.02 if fate is Fate.UNAVAILABLE else 1.0)

    def _obey(
        self, name: str, ask: Callable[[], Coroutine[Any, Any, T]], answer: asyncio.Future[T]
    ) -> None:
        network = self._network
        try:
            value = self._apply(name, ask)
        except Internal as error:
            network.after(network.delay_s(), _fail, answer, error)
        else:
            network.after(network.delay_s(), _succeed, answer, value)

    def _misbehave(
        self, name: str, fate: Fate, parts: Sequence[Callable[[], Coroutine[Any, Any, Any]]]
    ) -> None:
        rng = self._network.rng
        late_s = self._network.profile.store_late_s
        for part in parts:
            now = fate is Fate.APPLIED or (fate is Fate.IN_PART and rng.random() < 0.5)
            later = fate is Fate.LATE or (fate is Fate.IN_PART and rng.random() < 0.5)
            if now:
                self._apply_quietly(name, part)
            elif later:
                self._network.after(rng.uniform(0, late_s), self._apply_quietly, name, part)

    def _apply_quietly(self, name: str, ask: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        try:
            self._apply(f"{name} (nobody knows)", ask)
        except Internal:
            return  # noted already

    def _apply(self, name: str, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Let the memory store do it; it never waits."""
        self._network.history.trace(f"store for {self._process}", name)
        try:
            ask().send(None)
        except StopIteration as done:
            value: T = done.value
            return value
        except Internal as error:
            self._network.history.problem(self._process, f"{name}: {error.message}")
            raise
        raise AssertionError("the memory store waited")


def _error(fate: Fate, name: str) -> Exception:
    if fate is Fate.UNAVAILABLE:
        return StoreUnavailable(f"{name}: nothing was written")
    return OutcomeUnknown(f"{name}: it may have been written")


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of one partition and task together: a store writes them as one."""
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault((_partition(row), getattr(row, "task_id", None)), []).append(row)
    return list(groups.values())


def _partition(row: Row) -> object:
    if isinstance(row, EventRow):
        return home_of(row.task_id)
    if isinstance(row, DueRow):
        return Bucket(Minute(row.minute), home_of(row.task_id).shard, row.part)
    return row


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


def _succeed(answer: asyncio.Future[T], value: T) -> None:
    if not answer.done():
        answer.set_result(value)
