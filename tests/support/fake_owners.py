"""Scheduler nodes reduced to what coordinators see: they own shards, keep journals and misbehave.

A `FakeOwner` writes real journals into a memory store but never runs anything. What it does with
the next calls can be scripted. It keeps rule R8's side: an unmarked create is not looked up, so
that sending one twice shows up in `doubled`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Any, Generic, TypeVar

from timeball.errors import OutcomeUnknown, ResourceExhausted, Unavailable

from coordinator.api import TaskApi
from coordinator.owner_calls import OwnerCalls
from coordinator.requests import Cluster
from coordinator.routing import Router
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.coordination.local import LocalCoordinator, LocalSession
from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.commands import (
    CancelScope,
    CancelTask,
    Command,
    CreateSchedule,
    CreateTask,
    DeleteTask,
    Done,
    EndSchedule,
    Explained,
    ExplainTask,
    Outcome,
    OwnerHint,
    ReadSchedule,
    Rejected,
    RejectionReason,
    RescheduleTask,
    ScheduleDone,
    WatchTask,
    is_last,
    shard_of,
)
from timeball_server.core.explanation import BlockingCause, Explanation, Reason
from timeball_server.core.ids import (
    KIND_SCHEDULE,
    Bucket,
    Epoch,
    IdParts,
    Incarnation,
    Minute,
    NodeId,
    ShardId,
    TaskId,
    encode_id,
    home_of,
)
from timeball_server.core.journal import (
    Alarm,
    EventKind,
    EventRef,
    EventRow,
    OwnerListRow,
    SpecDetail,
    State,
    fold,
    next_state,
)
from timeball_server.core.model import PublicState, ScheduleView
from timeball_server.core.view import HIDDEN, task_view
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Member, Role
from timeball_server.ports.owners import Change, OwnerClient
from timeball_server.ports.store import OwnerRow
from timeball_server.store.memory import MemoryDatabase, MemoryStore

LAYOUT = Layout((LayoutRow(from_minute=Minute(0), shard_count=4),))
LOOK_MS = 50
EXECUTOR = NodeId("executor-red")
ClockT = TypeVar("ClockT", bound=Clock)


class Fault(Enum):
    """What becomes of one call."""

    UNREACHABLE = auto()
    FULL = auto()
    BREAK_BEFORE = auto()
    BREAK_AFTER = auto()
    HANG = auto()
    NOT_OWNED = auto()
    NOT_READY = auto()
    SAYS_UNKNOWN = auto()
    SAYS_UNKNOWN_APPLIED = auto()
    OVERLOADED = auto()


_REFUSALS = {
    Fault.NOT_OWNED: RejectionReason.NOT_OWNED,
    Fault.NOT_READY: RejectionReason.NOT_READY,
    Fault.SAYS_UNKNOWN: RejectionReason.UNKNOWN,
    Fault.SAYS_UNKNOWN_APPLIED: RejectionReason.UNKNOWN,
    Fault.OVERLOADED: RejectionReason.OVERLOADED,
}
FAR_MS = 10**15
_APPLIED = {Fault.BREAK_AFTER, Fault.SAYS_UNKNOWN_APPLIED}


class FakeOwner:
    """One scheduler node; implements `OwnerClient`."""

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        self.epochs: dict[ShardId, Epoch] = {}
        self.faults: deque[Fault] = deque()
        self.calls: list[list[Command]] = []
        self.doubled: list[TaskId] = []
        self.started: dict[TaskId, int] = {}
        self.schedules: dict[TaskId, ScheduleView] = {}
        self.reasons = (Reason(cause=BlockingCause.NO_HANDLER, sentence="no executor serves it"),)
        self.followed = 0
        self.closed: set[TaskId] = set()
        self.is_silent = False
        self.delay_ms = 0
        self.hint: OwnerHint | None = None
        self.watches: list[FakeWatch] = []
        self._store = store
        self._clock = clock

    async def execute(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        """Carry out commands, unless the script says otherwise."""
        fault = self.faults.popleft() if self.faults else None
        if fault is Fault.UNREACHABLE:
            raise Unavailable("not reached")
        if fault is Fault.FULL:
            raise ResourceExhausted("too many commands wait for this node already")
        self.calls.append(list(commands))
        if fault is Fault.HANG:
            await self._clock.sleep_ms(10**9)
        await self._clock.sleep_ms(self.delay_ms)
        outcomes = [] if fault and fault not in _APPLIED else await self._carry_out(commands)
        if fault in _REFUSALS:
            return [Rejected(_REFUSALS[fault], "refused by the script") for _ in commands]
        if fault is not None:
            raise OutcomeUnknown("the connection broke")
        return outcomes

    def watch(self) -> FakeWatch:
        """A push stream."""
        self.watches.append(FakeWatch(self, self._clock))
        return self.watches[-1]

    async def append(self, task_id: TaskId, kind: EventKind, **changes: Any) -> None:
        """Append an event in the owner's epoch."""
        history = fold((await self._store.read_journals([task_id]))[task_id])
        assert history is not None
        head, epoch = history.head, self.epochs[home_of(task_id).shard]
        row = replace(
            head,
            epoch=epoch,
            seq=head.seq + 1,
            kind=kind,
            state=next_state(head.state, kind),
            prev_epoch=head.epoch,
            at_ms=self._clock.now().wall_ms,
            run=EventRef(head.seq + 1, epoch) if kind is EventKind.CLAIMED else head.run,
            detail=None,
        )
        await self._store.append([replace(row, **changes)])

    async def read(self, watched: WatchTask) -> Outcome:
        """How a followed task stands."""
        return await self._read(watched.task_id, watched.namespace)

    async def _carry_out(self, commands: Sequence[Command]) -> list[Outcome]:
        return [await self._one(command) for command in commands]

    async def _one(self, command: Command) -> Outcome:
        if shard_of(command) not in self.epochs:
            return Rejected(RejectionReason.NOT_OWNED, "not mine", owner=self.hint)
        if isinstance(command, CreateTask):
            return await self._create(command)
        if isinstance(command, CreateSchedule | ReadSchedule | EndSchedule):
            return self._schedule(command)
        outcome = await self._read(command.task_id, command.namespace)
        if isinstance(command, CancelTask) and command.scope is CancelScope.UNKNOWN:
            if not isinstance(outcome, Done):
                self.closed.add(command.task_id)
            return outcome
        if isinstance(outcome, Done) and isinstance(command, ExplainTask):
            now_ms, reasons = self._clock.now().wall_ms, self.reasons
            return Explained(Explanation(task_id=command.task_id, at_ms=now_ms, reasons=reasons))
        if isinstance(outcome, Done) and isinstance(command, DeleteTask | RescheduleTask):
            return await self._change(outcome, command)
        if not isinstance(outcome, Done) or not isinstance(command, CancelTask):
            return outcome
        if outcome.task.terminal:
            repeated = command.resend and outcome.task.state == "CANCELLED"
            return outcome if repeated else Rejected(RejectionReason.TOO_LATE, "it has ended")
        await self.append(command.task_id, EventKind.CANCELLED)
        return await self._read(command.task_id, command.namespace)

    async def _change(self, found: Done, command: DeleteTask | RescheduleTask) -> Outcome:
        """Move what waits, to where it is; hide what has ended."""
        if isinstance(command, DeleteTask):
            if not found.task.terminal:
                return Rejected(RejectionReason.PRECONDITION, "it goes on", found.task)
            await self.append(command.task_id, EventKind.DELETED)
            return found
        runs = found.task.state is PublicState.RUNNING
        if runs or found.task.terminal:
            return Rejected(RejectionReason.TOO_LATE, "it has begun", found.task)
        if command.due_ms is not None and command.due_ms > FAR_MS:
            return Rejected(RejectionReason.HORIZON, "too far")
        return found

    async def _read(self, task_id: TaskId, namespace: str) -> Outcome:
        if home_of(task_id).shard not in self.epochs:
            return Rejected(RejectionReason.NOT_OWNED, "not mine")
        history = fold((await self._store.read_journals([task_id])).get(task_id, []))
        if history is None or history.head.state in HIDDEN:
            return Rejected(RejectionReason.NOT_FOUND, "unknown")
        if task_view(history).spec.namespace != namespace:
            return Rejected(RejectionReason.NOT_FOUND, "unknown")
        return Done(task_view(history, self.started.get(task_id)), fresh=False)

    async def _create(self, command: CreateTask) -> Outcome:
        home = Bucket(command.minute, command.shard)
        task_id = encode_id(IdParts(home, command.unique))
        if task_id in self.closed:
            return Rejected(RejectionReason.VOIDED, "closed before it came")
        if await self._store.read_journals([task_id]):
            if not command.resend:
                self.doubled.append(task_id)
            return await self._read(task_id, command.spec.namespace)
        await self._store.append(list(self._rows(task_id, command)))
        return await self._read(task_id, command.spec.namespace)

    def _schedule(self, command: CreateSchedule | ReadSchedule | EndSchedule) -> Outcome:
        if isinstance(command, CreateSchedule):
            home = Bucket(command.minute, command.shard)
            schedule_id = encode_id(IdParts(home, command.unique, KIND_SCHEDULE))
            if schedule_id in self.schedules and not command.resend:
                self.doubled.append(schedule_id)
            view = ScheduleView(
                schedule_id=schedule_id,
                spec=command.spec,
                next_ms=self._clock.now().wall_ms + command.spec.every_ms,
                runs=0,
                created_ms=self._clock.now().wall_ms,
                revision=1,
                ended=False,
            )
            return ScheduleDone(self.schedules.setdefault(schedule_id, view))
        found = self.schedules.get(command.task_id)
        if found is None or found.spec.task.namespace != command.namespace:
            return Rejected(RejectionReason.NOT_FOUND, "unknown")
        if isinstance(command, EndSchedule):
            found = replace(found, next_ms=None, ended=True)
            self.schedules[command.task_id] = found
        return ScheduleDone(found, fresh=False)

    def _rows(self, task_id: TaskId, command: CreateTask) -> tuple[EventRow, OwnerListRow]:
        now_ms, epoch = self._clock.now().wall_ms, self.epochs[command.shard]
        due_ms = command.delay_ms + (now_ms if command.due_ms is None else command.due_ms)
        event = EventRow(
            task_id=task_id,
            epoch=epoch,
            seq=1,
            kind=EventKind.CREATED,
            state=State.PENDING,
            alarm=Alarm(due_ms, 1, epoch),
            attempt=0,
            run=None,
            executor=None,
            incarnation=Incarnation(0),
            prev_epoch=Epoch(0),
            spec_at=EventRef(1, epoch),
            revision=1,
            priority=command.spec.priority,
            unaccounted=(),
            request_id=command.request_id,
            at_ms=now_ms,
            created_ms=now_ms,
            actor=command.actor,
            detail=SpecDetail(spec=command.spec),
        )
        entry = OwnerListRow(
            namespace=command.spec.namespace,
            owner=command.spec.owner,
            created_ms=now_ms,
            task_id=task_id,
            handler=command.spec.handler,
            epoch=epoch,
        )
        return event, entry


class FakeWatch:
    """A push stream that looks at the journals every LOOK_MS; implements `OwnerWatch`."""

    def __init__(self, owner: FakeOwner, clock: Clock) -> None:
        self.is_over = False
        self._owner = owner
        self._clock = clock
        self._followed: dict[int, WatchTask] = {}
        self._told: dict[int, Outcome] = {}

    def follow(self, number: int, watched: WatchTask) -> None:
        """Follow a task."""
        assert number not in self._told, "a number is used twice"
        self._owner.followed += 1
        self._followed[number] = watched

    def drop(self, number: int) -> None:
        """Follow it no longer."""
        self._followed.pop(number, None)

    async def changes(self) -> Sequence[Change]:
        """What is new since it was told, unless the owner is silent."""
        while not self.is_over:
            found = [] if self._owner.is_silent else await self._news()
            if found:
                return found
            await self._clock.sleep_ms(LOOK_MS)
        raise Unavailable("the stream has ended")

    async def close(self) -> None:
        """End it."""
        self.is_over = True

    async def _news(self) -> list[Change]:
        found = []
        for number, watched in tuple(self._followed.items()):
            outcome = await self._owner.read(watched)
            if outcome == self._told.get(number) or number not in self._followed:
                continue
            self._told[number] = outcome
            if is_last(outcome):
                del self._followed[number]
            if watched.every or is_last(outcome):
                found.append(Change(number, outcome))
        return found


class FakeDialer:
    """Finds fake owners by address; implements `OwnerDialer`."""

    def __init__(self) -> None:
        self.owners: dict[str, FakeOwner] = {}

    def client(self, address: str) -> OwnerClient:
        """The owner at this address."""
        return self.owners[address]

    async def close(self) -> None:
        """Nothing is open."""


class Surroundings(Generic[ClockT]):
    """A coordinator's insides with in-process coordination and fake owners."""

    def __init__(self, clock: ClockT) -> None:
        self.clock = clock
        self.database = MemoryDatabase()
        self.store = MemoryStore(self.database)
        self.service = LocalCoordinator(100, self.clock)
        self.dialer = FakeDialer()
        self.router = Router(self.dialer, self.clock)
        self.calls = OwnerCalls(self.router, clock)
        self.sessions: dict[str, LocalSession] = {}
        self.cluster = Cluster(
            store=self.store,
            calls=self.calls,
            clock=self.clock,
            layout=LAYOUT,
            entropy=random.Random(7),
            token_key=b"sealing key",
        )
        self.api = TaskApi(self.cluster)

    async def start(self) -> None:
        """Attach the coordinator's own session."""
        self.router.attach(await self.service.connect(10_000))

    async def node(self, name: str, *shards: int) -> FakeOwner:
        """A scheduler node that joins and takes these shards."""
        session = await self.service.connect(10_000)
        address = f"{name}:1"
        await session.join(Member(role=Role.SCHEDULER_NODE, node=NodeId(name), address=address))
        owner = self.dialer.owners[address] = FakeOwner(self.store, self.clock)
        self.sessions[name] = session
        for shard in shards:
            await self.take(name, shard)
        return owner

    async def take(self, name: str, shard: int) -> None:
        """Let a node take a shard and publish that."""
        epoch = await self.sessions[name].take_ownership(ShardId(shard))
        assert epoch is not None
        self.dialer.owners[f"{name}:1"].epochs[ShardId(shard)] = epoch
        await self.publish(shard, epoch, name)

    async def release(self, name: str, shard: int) -> None:
        """Let a node give a shard up."""
        epoch = self.dialer.owners[f"{name}:1"].epochs.pop(ShardId(shard))
        await self.sessions[name].release_ownership(ShardId(shard), epoch)

    async def publish(self, shard: int, epoch: int, name: str, deleted_below: int = 0) -> None:
        """Write an owner row."""
        await self.store.write_owner(
            OwnerRow(
                shard=ShardId(shard),
                epoch=Epoch(epoch),
                owner=NodeId(name),
                address=f"{name}:1",
                scan_from=Minute(0),
                deleted_below=Minute(deleted_below),
                at_ms=self.clock.now().wall_ms,
            )
        )


class Rig(Surroundings[VirtualClock]):
    """The same in virtual time."""


def on_rig(test: Callable[[Rig], Awaitable[None]]) -> Callable[[], None]:
    """Run a test coroutine on a rig in virtual time."""

    async def main(loop: VirtualLoop) -> None:
        rig = Rig(VirtualClock(loop))
        await rig.start()
        try:
            await test(rig)
        finally:
            await rig.calls.close()
            await rig.service.close()

    def run() -> None:
        run_virtual(main)

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run
