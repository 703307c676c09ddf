"""What the store suite needs of each adapter, and rows to write.

An adapter joins the suite by adding one world to `WORLDS`; no test changes. One that needs a real
server has its world in a module of its own, and joins in tests/conformance/conftest.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final, Protocol

from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    Incarnation,
    Minute,
    NodeId,
    ShardId,
    TaskId,
    encode_id,
)
from timeball_server.core.journal import (
    Alarm,
    DeadLetterRow,
    DueRow,
    EventKind,
    EventRef,
    EventRow,
    LedgerRow,
    OutcomeDetail,
    OwnerListRow,
    SpecDetail,
    State,
    StateListRow,
)
from timeball_server.core.model import Failure, FailureCause, Payload, TaskSpec
from timeball_server.ports.store import OwnerRow, Store
from timeball_server.store.memory import MemoryDatabase, MemoryStore
from timeball_server.store.records import EVENT_COLUMNS, Values, event_from, event_values
from timeball_server.store.sqlite.rows import TABLES
from timeball_server.store.sqlite.store import SqliteStore

MINUTE: Final = Minute(29_000_000)
SHARD: Final = ShardId(7)
START_MS: Final = MINUTE * 60_000
DAY: Final = START_MS // 86_400_000


Columns = Mapping[str, object]
"""Values of columns of the journal, by name."""


def with_columns(values: Values, columns: Columns) -> Values:
    """The columns of an event with some of them replaced."""
    return tuple({**dict(zip(EVENT_COLUMNS, values, strict=True)), **columns}.values())


class World(Protocol):
    """A database that outlives its clients."""

    detects_other_content: ClassVar[bool]
    """Whether a second content for one key is refused; needs a read, so not every database."""

    async def connect(self) -> Store:
        """A client; the previous one is closed."""
        ...

    async def write_newer(self, store: Store, row: EventRow, columns: Columns) -> None:
        """Write an event as a newer version would, with these columns as they are."""
        ...


class MemoryWorld:
    """Dictionaries."""

    detects_other_content: ClassVar[bool] = True

    def __init__(self, _: Path) -> None:
        self._database = MemoryDatabase()

    async def connect(self) -> Store:
        return MemoryStore(self._database)

    async def write_newer(self, store: Store, row: EventRow, columns: Columns) -> None:
        self._database.journal.add(event_from(with_columns(event_values(row), columns)))


class SqliteWorld:
    """A file in a folder of its own."""

    detects_other_content: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self._path = folder / "timeball.sqlite3"

    async def connect(self) -> Store:
        return await SqliteStore.open(self._path)

    async def write_newer(self, store: Store, row: EventRow, columns: Columns) -> None:
        assert isinstance(store, SqliteStore)
        values = with_columns(event_values(row), columns)
        insert = TABLES[EventRow].insert
        await store.writer.submit(lambda connection: connection.execute(insert, values).rowcount)


MakeWorld = Callable[[Path], World]
"""An empty database that may keep its files in this folder."""
WORLDS: Final[Mapping[str, MakeWorld]] = {
    "memory": MemoryWorld,
    "sqlite": SqliteWorld,
}
DETECTING: Final = ("memory", "sqlite")


@asynccontextmanager
async def connected(world: World) -> AsyncIterator[Store]:
    """A client that is closed at the end."""
    store = await world.connect()
    try:
        yield store
    finally:
        await store.close()


def task(number: int, part: int = 0, minute: int = MINUTE, shard: int = SHARD) -> TaskId:
    """The id with this unique number; ids of one bucket part sort by it."""
    home = Bucket(Minute(minute), ShardId(shard), part)
    return encode_id(IdParts(home, number.to_bytes(16, "big")))


def event(
    task_id: TaskId, seq: int = 1, epoch: int = 1, kind: EventKind = EventKind.CREATED
) -> EventRow:
    """A plain event."""
    return EventRow(
        task_id=task_id,
        epoch=Epoch(epoch),
        seq=seq,
        kind=kind,
        state=State.PENDING,
        alarm=Alarm(START_MS, 1, Epoch(epoch)),
        attempt=0,
        run=None,
        executor=None,
        incarnation=Incarnation(0),
        prev_epoch=Epoch(epoch),
        spec_at=EventRef(1, Epoch(epoch)),
        revision=1,
        priority=4,
        unaccounted=(),
        request_id=f"request-{seq}",
        at_ms=START_MS + seq,
        created_ms=START_MS,
        actor="user:teller",
    )


def rich_events(task_id: TaskId) -> list[EventRow]:
    """Events that between them use every column."""
    failure = Failure(kind="Timeout", message="no answer", stack="…", retriable=True, delay_ms=50)
    spec = TaskSpec(
        namespace="bank",
        owner="teller",
        handler="billing.charge",
        payload=Payload(data=bytes(range(256))),
        labels=(("desk", "7"),),
        nominal_ms=START_MS,
    )
    created = replace(event(task_id), detail=SpecDetail(spec=spec))
    retry = replace(
        event(task_id, 2, 5, EventKind.RETRY),
        alarm=Alarm(START_MS + 700, 2, Epoch(5)),
        attempt=1,
        run=EventRef(1, Epoch(1)),
        executor=NodeId("executor-1"),
        incarnation=Incarnation(2**40),
        prev_epoch=Epoch(1),
        unaccounted=("attempt 1 on executor-1", "é"),
        detail=OutcomeDetail(started_ms=START_MS, failure=failure),
    )
    ended = replace(
        event(task_id, 3, 2**62, EventKind.DEAD),
        state=State.DEAD,
        alarm=None,
        detail=OutcomeDetail(result=Payload(data=b"\0"), cause=FailureCause.EXHAUSTED),
    )
    return [created, retry, ended]


def due(
    task_id: TaskId,
    due_ms: int = START_MS,
    seq: int = 1,
    epoch: int = 1,
    part: int = 0,
    minute: int = MINUTE,
) -> DueRow:
    """A hint."""
    return DueRow(
        minute=minute,
        part=part,
        due_ms=due_ms,
        task_id=task_id,
        seq=seq,
        epoch=Epoch(epoch),
        handler="billing.charge",
        priority=4,
    )


def by_owner(number: int, created_ms: int = START_MS, epoch: int = 1) -> OwnerListRow:
    """A row in the teller's list."""
    return OwnerListRow(
        namespace="bank",
        owner="teller",
        created_ms=created_ms,
        task_id=task(number),
        handler="billing.charge",
        epoch=Epoch(epoch),
    )


def by_state(number: int, at_ms: int = START_MS, epoch: int = 1) -> StateListRow:
    """A hint that a task succeeded."""
    return StateListRow(
        namespace="bank", state="SUCCEEDED", at_ms=at_ms, task_id=task(number), epoch=Epoch(epoch)
    )


def dead_letter(number: int, at_ms: int = START_MS, epoch: int = 1) -> DeadLetterRow:
    """A dead letter."""
    return DeadLetterRow(
        namespace="bank",
        at_ms=at_ms,
        task_id=task(number),
        epoch=Epoch(epoch),
        handler="billing.charge",
        cause="EXHAUSTED",
        message="no answer",
    )


def verdict(number: int, nominal_ms: int = START_MS, epoch: int = 1) -> LedgerRow:
    """A verdict on a nominal time."""
    return LedgerRow(
        schedule_id=task(number),
        nominal_ms=nominal_ms,
        epoch=Epoch(epoch),
        verdict="LAUNCHED",
        task_id=task(number + 1),
        cause="",
        lateness_ms=3,
    )


def owner(epoch: int, shard: int = SHARD, at_ms: int = START_MS, scan_from: int = 0) -> OwnerRow:
    """An ownership as readers see it."""
    return OwnerRow(
        shard=ShardId(shard),
        epoch=Epoch(epoch),
        owner=NodeId(f"scheduler-{epoch}"),
        address=f"127.0.0.1:{7000 + epoch}",
        scan_from=Minute(scan_from),
        deleted_below=Minute(0),
        at_ms=at_ms,
    )
