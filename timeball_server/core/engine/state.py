"""The engine's memory: tasks, shards, executors. Mutable on purpose, owned by one engine.

Nothing here decides; the chapters do. Everything of a shard dies with the shard (rule R2).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from timeball_server.core.commands import (
    ChangeSchedule,
    ChangeTask,
    CreateSchedule,
    CreateTask,
    DeleteTask,
    EndSchedule,
    ExplainTask,
    ReadSchedule,
    ReadTask,
    Rejected,
    WatchTask,
)
from timeball_server.core.engine.config import EngineConfig as EngineConfig  # noqa: PLC0414 - users of the state want it
from timeball_server.core.engine.counters import Counters
from timeball_server.core.engine.effects import Effect, Send
from timeball_server.core.engine.executor_memory import ExecutorState as ExecutorState  # noqa: PLC0414 - users of the state want it
from timeball_server.core.engine.gates import Gates
from timeball_server.core.engine.pulse import Pulse
from timeball_server.core.engine.reading import Held, Slice, Standing
from timeball_server.core.engine.removal import Removal, RemovalStage
from timeball_server.core.ids import (
    SCHEDULES_MINUTE,
    Bucket,
    Epoch,
    Incarnation,
    Minute,
    ShardId,
    TaskId,
    home_of,
)
from timeball_server.core.journal import (
    Alarm,
    DueRow,
    EventKind,
    EventRow,
    Row,
    ScheduleDetail,
    SpecDetail,
    State,
)
from timeball_server.core.messages import (
    Beat,
    Dispatch,
    InventoryEntry,
    RunId,
    RunOrder,
    RunResult,
    ToExecutor,
)
from timeball_server.core.model import ScheduleSpec, TaskSpec
from timeball_server.core.priority import effective_priority
from timeball_server.core.retry import Rng

if TYPE_CHECKING:
    from timeball_server.core.engine.ready import ReadyQueue

TaskCommand = ChangeTask | DeleteTask | ReadTask | ExplainTask | WatchTask
ScheduleCommand = ReadSchedule | EndSchedule | ChangeSchedule
AnyCommand = TaskCommand | ScheduleCommand | CreateTask | CreateSchedule
Waiting = tuple[int, AnyCommand]
"""A caller's token and what it asked, held until the task is free."""


class Loading(StrEnum):
    """How much of a task is in memory. UNRESOLVED = an earlier owner's claim, fate unknown.

    UNREADABLE = it was read in vain, and is not in memory any more (`holding`).
    """

    READING = "READING"
    UNRESOLVED = "UNRESOLVED"
    PRESENT = "PRESENT"
    UNREADABLE = "UNREADABLE"


class Fate(StrEnum):
    """What is known of a run without a result: UNSEEN = never got there, VANISHED = nothing."""

    UNSEEN = "UNSEEN"
    VANISHED = "VANISHED"


Reported = tuple[Incarnation, RunResult | tuple[RunId, Fate]]
"""What was said, or concluded, about a run, and the executor that it ran on."""


class TaskState:
    """One task in memory. `pending` is the lock: one event in flight at a time (rule R10)."""

    __slots__ = (
        "alarm_minute",
        "chain",
        "effective_priority",
        "failed_attempts",
        "home",
        "loading",
        "looked_stamp",
        "not_accepted",
        "pending",
        "pulse",
        "ready_number",
        "results",
        "revoke_asked_ms",
        "revokes",
        "sent",
        "sent_ms",
        "shard",
        "spec",
        "stamp",
        "started_ms",
        "task_id",
        "waiting",
        "waits",
    )

    def __init__(self, task_id: TaskId, shard: ShardId) -> None:
        self.task_id = task_id
        self.shard = shard
        self.home: Bucket = home_of(task_id)
        self.chain: list[EventRow] = []
        self.not_accepted: tuple[EventRow, ...] = ()
        self.spec: TaskSpec = _NO_SPEC
        self.loading = Loading.PRESENT
        self.pending: EventRow | None = None
        self.pulse: Pulse | None = None
        self.waiting: list[Waiting] = []
        self.results: list[Reported] = []
        self.revokes: list[tuple[int, ChangeTask]] = []
        self.revoke_asked_ms = 0
        self.sent = False
        self.sent_ms = 0
        self.started_ms: int | None = None
        self.waits = False
        self.ready_number = 0
        self.stamp = 0
        self.looked_stamp = -1
        self.alarm_minute = 0
        self.effective_priority = 0
        self.failed_attempts = 0

    @property
    def head(self) -> EventRow:
        """The newest durable event."""
        return self.chain[-1]

    @property
    def state(self) -> State:
        """State of the head, ABSENT without one."""
        return self.chain[-1].state if self.chain else State.ABSENT

    @property
    def due_ms(self) -> int:
        """The due time that the head's alarm names (rule R6); a closed task has none."""
        alarm = self.chain[-1].alarm
        return alarm.due_ms if alarm is not None else 0

    @property
    def renewed(self) -> bool:
        """Whether a long run has moved the alarm ahead: it is not a due time then (rule R18)."""
        alarm = self.head.alarm
        return alarm is not None and any(
            row.kind is EventKind.RENEWED and (row.seq, row.epoch) == (alarm.seq, alarm.epoch)
            for row in reversed(self.chain)
        )

    @property
    def close_by_ms(self) -> int | None:
        """End of schedule-to-close, from the due time that was asked for; None = no such limit."""
        limit_ms = self.spec.timeouts.schedule_to_close_ms
        if limit_ms is None:
            return None
        moved = (row for row in reversed(self.chain) if row.kind is EventKind.RESCHEDULED)
        asked = next(moved, self.chain[0]).alarm
        return None if asked is None else asked.due_ms + limit_ms

    @property
    def run_id(self) -> RunId | None:
        """The run of the claim in hand."""
        run = self.chain[-1].run
        return RunId(self.task_id, run) if run is not None else None

    @property
    def immediate(self) -> bool:
        """Whether it was due as it was created: somebody may wait for its result."""
        return bool(self.chain) and self.chain[0].kind is EventKind.BORN_CLAIMED

    @property
    def idle(self) -> bool:
        """Whether nothing holds the task: no event in flight, no read, no unresolved claim."""
        return self.pending is None and self.loading is Loading.PRESENT

    def foreign_to(self, namespace: str) -> bool:
        """Whether it belongs to another namespace; what was voided at first belongs to nobody."""
        return self.spec is not _NO_SPEC and self.spec.namespace != namespace

    def append(self, row: EventRow) -> None:
        """Take a durable event as the new head."""
        self.chain.append(row)
        self.stamp += 1
        self.waits = False
        if isinstance(row.detail, SpecDetail):
            self.spec = row.detail.spec
        claimed = row.state is State.CLAIMED
        self.failed_attempts = max(0, row.attempt - 1 if claimed else row.attempt)

    def refresh_priority(self, now_ms: int) -> int:
        """Recompute the priority in force from failures and the time waited since due."""
        waited_ms = max(0, now_ms - self.due_ms)
        self.effective_priority = effective_priority(
            self.spec.priority, self.failed_attempts, waited_ms
        )
        return self.effective_priority


_TIMELINE_LEAST = 4_096
"""Entries below which the timeline is not worth tidying."""
_NO_SPEC = TaskSpec(namespace="", owner="", handler="")


class ScheduleState(TaskState):
    """One schedule in memory. Each of its events says everything, so only the head is kept.

    `hinted` is the alarm whose hint is durable already (rule S2). `asked` are occurrences that
    are being looked for before the next tick is decided, `known` what was found (rule S3), `ended`
    which of the runs in hand were found to be over. `turn_ms` is when it may catch up. `looked` is
    a run of an earlier owner's time, looked for once more. `foreseen`: a time, and what follows it.
    `fenced_for`: a time whose id we fence off, with the verdict and its cause.
    """

    __slots__ = (
        "asked",
        "detail",
        "ended",
        "fenced_for",
        "foreseen",
        "hinted",
        "known",
        "looked",
        "turn_ms",
    )

    def __init__(self, task_id: TaskId, shard: ShardId) -> None:
        super().__init__(task_id, shard)
        self.detail: ScheduleDetail | None = None
        self.hinted: Alarm | None = None
        self.asked: set[TaskId] = set()
        self.known: dict[TaskId, Standing] = {}
        self.ended: set[TaskId] = set()
        self.turn_ms: int | None = None
        self.looked: TaskId | None = None
        self.foreseen: tuple[ScheduleSpec, int, int | None] | None = None
        self.fenced_for: tuple[int, str, str] | None = None

    def append(self, row: EventRow) -> None:
        """Take a durable event as the head; what came before is not needed any more."""
        self.chain = [row]
        self.stamp += 1
        if isinstance(row.detail, ScheduleDetail):
            self.detail = row.detail
            self.spec = row.detail.spec.task


@dataclass(slots=True, kw_only=True)
class Mutation:
    """An event on its way to the store, and what follows when it is durable.

    Without an event it only makes other rows durable and holds nothing.
    """

    task: TaskState
    epoch: Epoch
    row: EventRow | None
    rows: tuple[Row, ...]
    due_first: DueRow | None
    token: int | None
    then: Callable[[Engine, Mutation], None] | None
    reserved: ExecutorState | None = None
    alarm_minute: int | None = None
    linger_ms: int = 0


class Phase(StrEnum):
    """Where an owned shard stands.

    LOADING answers callers too, but what an earlier owner left is not all in memory yet.
    """

    LOADING = "LOADING"
    SERVING = "SERVING"
    RELEASING = "RELEASING"


@dataclass(slots=True, kw_only=True)
class ShardState:
    """An owned shard.

    Hints with a due time below `issued_until_ms` have been read or are being read: what becomes
    durable from now on with such a due time enters memory directly (rule R9). What lies between
    `unread_from_ms` and `unread_until_ms` is still to be read: hints of what was due before this
    epoch began, at `acquired_ms` by the owner's wall clock. `beats` are signs of life of runs in an
    inventory whose tasks are not in memory yet. `leave_at_mono_ms` is when the shard falls quiet at
    the latest, or did, to be handed over. `watchers` are tokens by task, and whether they want all
    changes or the end. `parked` are open runs of schedules that are not in memory, because their
    next attempt is far ahead. `voided` are unique numbers of ids that this epoch closed unused.
    `unreadable` are held back (`holding`), `told` refusals that left no event (`repeating`).
    """

    shard: ShardId
    epoch: Epoch
    scan_from: Minute
    deleted_below: Minute
    phase: Phase = Phase.LOADING
    acquired_ms: int = 0
    leave_at_mono_ms: int | None = None
    issued_until_ms: int = 0
    unread_from_ms: int = 0
    unread_until_ms: int = 0
    slices: dict[int, Slice] = field(default_factory=dict)
    tasks: dict[TaskId, TaskState] = field(default_factory=dict)
    unreadable: dict[TaskId, Held] = field(default_factory=dict)
    touched: set[TaskId] = field(default_factory=set)
    recent: dict[bytes, TaskId] = field(default_factory=dict)
    voided: dict[bytes, TaskId] = field(default_factory=dict)
    told: dict[tuple[TaskId, str], Rejected | None] = field(default_factory=dict)
    asking: dict[TaskId, list[ScheduleState]] = field(default_factory=dict)
    finding: dict[bytes, list[tuple[int, CreateTask]]] = field(default_factory=dict)
    watchers: dict[TaskId, dict[int, bool]] = field(default_factory=dict)
    parked: set[TaskId] = field(default_factory=set)
    inventories: dict[Incarnation, dict[RunId, InventoryEntry]] = field(default_factory=dict)
    beats: dict[RunId, Beat] = field(default_factory=dict)
    unresolved: dict[Incarnation, list[TaskState]] = field(default_factory=dict)
    parts: dict[int, list[int]] = field(default_factory=dict)
    mutations: int = 0
    sweeping: Minute | None = None
    swept_below: Minute
    moving_scan_from: bool = False
    next_sweep_mono_ms: int = 0
    removal: Removal | None = None
    removals_finished: bool = False
    barred: list[Waiting] = field(default_factory=list)
    next_removal_mono_ms: int = 0

    def follows(self, due_ms: int, now_ms: int) -> bool:
        """Whether memory holds a live task that is due then: what is overdue it always does.

        The hint of an overdue task may lie in an earlier bucket than its due time, its home,
        so nobody can wait for the slice of its due time (rule R22).
        """
        return due_ms < self.issued_until_ms or due_ms <= now_ms

    def has_expired(self, minute: Minute) -> bool:
        """Whether ids with this home have expired, or surely will: nothing is written there (R21).

        Schedules with names live at minute 0, which is no time.
        """
        return SCHEDULES_MINUTE < minute < self.expired_below

    @property
    def expired_below(self) -> Minute:
        """Homes below this have expired, or surely will: their bucket is being removed."""
        removal = self.removal
        if removal is not None and removal.stage is RemovalStage.MOVING:
            return removal.below
        return self.deleted_below

    @property
    def has_unread(self) -> bool:
        """Whether a take-over has not asked for all of the past yet."""
        return self.unread_from_ms < self.unread_until_ms

    def touch(self, task_id: TaskId) -> None:
        """A task changed: reads of several tasks that are under way may show its past (R9)."""
        if self.slices or self.sweeping is not None or self.finding:
            self.touched.add(task_id)

    def read_ended(self) -> None:
        """A read of several tasks is over; with the last one nothing can be stale any more."""
        if not self.slices and self.sweeping is None and not self.finding:
            self.touched.clear()


class Engine:
    """All memory of one scheduler node and the effects of the events in hand."""

    def __init__(
        self, node: str, incarnation: int, config: EngineConfig, rng: Rng, ready: ReadyQueue
    ) -> None:
        self.node = node
        self.incarnation = incarnation
        self.config = config
        self.rng = rng
        self.ready = ready
        self.now_ms = 0
        self.mono_ms = 0
        self.lease_until_mono_ms = 0
        self.suspended = False
        self.suspended_since_ms = 0
        self.resumed_ms = 0
        self.next_turn_ms = 0
        self.next_health_ms = 0
        self.next_removal_mono_ms = 0
        self.shards: dict[ShardId, ShardState] = {}
        self.executors: dict[Incarnation, ExecutorState] = {}
        self.members_known = False
        self.inflight: dict[int, Mutation] = {}
        self.out: list[Effect] = []
        self.outbox: dict[Incarnation, list[RunOrder]] = {}
        self.fences: list[ShardId] = []
        self.changed: dict[TaskId, TaskState] = {}
        self.acks: dict[Incarnation, list[tuple[RunId, ShardId, Epoch]]] = {}
        self.timeline: list[tuple[int, int, int, TaskState]] = []
        self.spill_at_ms: int | None = None
        self.gates = Gates()
        self.counters = Counters()
        self._numbers = 0
        self._timeline_limit = _TIMELINE_LEAST

    def number(self) -> int:
        """A fresh number for tokens, slices, fences and ties."""
        self._numbers += 1
        return self._numbers

    @property
    def lease_holds(self) -> bool:
        """Rule R3: whether this node may still act as an owner."""
        return self.mono_ms < self.lease_until_mono_ms

    def reached(self, task: TaskState) -> ExecutorState | None:
        """The executor that a claimed task was given to, None if it cannot be spoken to now."""
        executor = self.executors.get(task.head.incarnation)
        return executor if executor is not None and executor.stream_open else None

    def send(self, incarnation: Incarnation, message: ToExecutor) -> None:
        """Queue a message behind the orders that this step has already handed out (rule R12)."""
        orders = self.outbox.pop(incarnation, None)
        if orders:
            self.out.append(Send(incarnation, Dispatch(incarnation, tuple(orders))))
        self.out.append(Send(incarnation, message))

    def send_orders(self) -> None:
        """Queue all orders that this step has handed out, one message per executor."""
        for incarnation, orders in self.outbox.items():
            if orders:
                self.out.append(Send(incarnation, Dispatch(incarnation, tuple(orders))))
        self.outbox.clear()

    def at(self, task: TaskState, when_ms: int) -> None:
        """Look at the task at this instant, unless it changes before."""
        heapq.heappush(self.timeline, (when_ms, self.number(), task.stamp, task))
        if len(self.timeline) > self._timeline_limit:
            self._drop_stale()

    def _drop_stale(self) -> None:
        """Let go of entries that changed tasks have left behind: they hold ended tasks in memory.

        Done when the timeline has doubled, so that it costs little; in place, because `advance`
        may be walking along it.
        """
        self.timeline[:] = [entry for entry in self.timeline if entry[2] == entry[3].stamp]
        heapq.heapify(self.timeline)
        self._timeline_limit = max(_TIMELINE_LEAST, 2 * len(self.timeline))

    def holding(self, number: ShardId, epoch: Epoch) -> ShardState | None:
        """The shard in this epoch; None if it was lost, taken again or is being handed over."""
        shard = self.shards.get(number)
        if shard is None or shard.epoch != epoch or shard.phase is Phase.RELEASING:
            return None
        return shard

    def is_awaited(self, number: ShardId, task_id: TaskId) -> bool:
        """Whether somebody may look out for the task's end."""
        shard = self.shards.get(number)
        task = shard.tasks.get(task_id) if shard is not None else None
        return task is not None and (task.immediate or task_id in self.shards[number].watchers)

    def owned(self, task: TaskState) -> ShardState | None:
        """The shard of a task, None if it was lost or taken again since."""
        shard = self.shards.get(task.shard)
        return shard if shard is not None and shard.tasks.get(task.task_id) is task else None
