"""The journal of a task: its events, the states they lead to, and the fold to a head.

The journal is the truth. It is append-only; the state of a task is its head, the event with
the greatest (epoch, seq) (rule R5). What a state allows is one table, tested for every pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from timeball_server.core.ids import Epoch, Incarnation, NodeId, TaskId
from timeball_server.core.model import (
    Backfill,
    Failure,
    FailureCause,
    PausedBy,
    Payload,
    Progress,
    ScheduleSpec,
    TaskSpec,
)


class State(StrEnum):
    """Where a task or a schedule stands; ABSENT is one without a single event.

    UNREADABLE is never stored: it stands where this version cannot read what is.
    """

    ABSENT = "ABSENT"
    PENDING = "PENDING"
    CLAIMED = "CLAIMED"
    SUCCEEDED = "SUCCEEDED"
    DEAD = "DEAD"
    CANCELLED = "CANCELLED"
    TERMINATED = "TERMINATED"
    LOST = "LOST"
    DELETED = "DELETED"
    VOID = "VOID"
    ACTIVE = "ACTIVE"
    ENDED = "ENDED"
    UNREADABLE = "UNREADABLE"


class EventKind(StrEnum):
    """What can be appended to a journal; UNREADABLE is what a newer version has appended."""

    CREATED = "CREATED"
    BORN_CLAIMED = "BORN_CLAIMED"
    UPDATED = "UPDATED"
    RESCHEDULED = "RESCHEDULED"
    CLAIMED = "CLAIMED"
    RELEASED = "RELEASED"
    RENEWED = "RENEWED"
    RETRY = "RETRY"
    SUCCEEDED = "SUCCEEDED"
    DEAD = "DEAD"
    CANCELLED = "CANCELLED"
    TERMINATED = "TERMINATED"
    LOST = "LOST"
    DELETED = "DELETED"
    VOID = "VOID"
    ADOPTED = "ADOPTED"
    SCHEDULE_CREATED = "SCHEDULE_CREATED"
    TICK = "TICK"
    LAST_TICK = "LAST_TICK"
    SCHEDULE_ENDED = "SCHEDULE_ENDED"
    SCHEDULE_UPDATED = "SCHEDULE_UPDATED"
    SCHEDULE_PAUSED = "SCHEDULE_PAUSED"
    SCHEDULE_RESUMED = "SCHEDULE_RESUMED"
    TRIGGERED = "TRIGGERED"
    BACKFILL_BEGUN = "BACKFILL_BEGUN"
    BACKFILLED = "BACKFILLED"
    BACKFILL_STOPPED = "BACKFILL_STOPPED"
    LOOKED = "LOOKED"
    UNREADABLE = "UNREADABLE"


TERMINAL: Final = frozenset(
    {State.SUCCEEDED, State.DEAD, State.CANCELLED, State.TERMINATED, State.LOST}
)
"""States in which a task's work is over; only ADOPTED and DELETED may follow."""
CLOSED: Final = TERMINAL | {State.DELETED, State.VOID, State.ENDED}
"""States in which no alarm is live."""
CLAIMS: Final = frozenset({EventKind.CLAIMED, EventKind.BORN_CLAIMED})
"""Events that begin an attempt and name its executor."""
NO_EPOCH: Final = Epoch(0)
"""Below every real epoch: written by nobody in particular."""


class IllegalEvent(Exception):
    """The table has no row for this event in this state; nothing was changed."""

    def __init__(self, state: State, kind: EventKind) -> None:
        super().__init__(f"{kind} is not possible in state {state}")
        self.state = state
        self.kind = kind


_KEEPING_ACTIVE: Final = (
    EventKind.SCHEDULE_UPDATED,
    EventKind.SCHEDULE_PAUSED,
    EventKind.SCHEDULE_RESUMED,
    EventKind.TRIGGERED,
    EventKind.BACKFILL_BEGUN,
    EventKind.BACKFILLED,
    EventKind.BACKFILL_STOPPED,
    EventKind.LOOKED,
)


def _table() -> Mapping[tuple[State, EventKind], State]:
    rows: dict[tuple[State, EventKind], State] = {
        (State.ABSENT, EventKind.CREATED): State.PENDING,
        (State.ABSENT, EventKind.BORN_CLAIMED): State.CLAIMED,
        (State.ABSENT, EventKind.VOID): State.VOID,
        (State.PENDING, EventKind.UPDATED): State.PENDING,
        (State.PENDING, EventKind.RESCHEDULED): State.PENDING,
        (State.PENDING, EventKind.CLAIMED): State.CLAIMED,
        (State.PENDING, EventKind.RENEWED): State.PENDING,
        (State.PENDING, EventKind.DEAD): State.DEAD,
        (State.PENDING, EventKind.CANCELLED): State.CANCELLED,
        (State.PENDING, EventKind.TERMINATED): State.TERMINATED,
        (State.PENDING, EventKind.VOID): State.VOID,
        (State.CLAIMED, EventKind.UPDATED): State.PENDING,
        (State.CLAIMED, EventKind.RESCHEDULED): State.PENDING,
        (State.CLAIMED, EventKind.CLAIMED): State.CLAIMED,
        (State.CLAIMED, EventKind.RELEASED): State.PENDING,
        (State.CLAIMED, EventKind.RENEWED): State.CLAIMED,
        (State.CLAIMED, EventKind.RETRY): State.PENDING,
        (State.CLAIMED, EventKind.SUCCEEDED): State.SUCCEEDED,
        (State.CLAIMED, EventKind.DEAD): State.DEAD,
        (State.CLAIMED, EventKind.CANCELLED): State.CANCELLED,
        (State.CLAIMED, EventKind.TERMINATED): State.TERMINATED,
        (State.CLAIMED, EventKind.LOST): State.LOST,
        (State.CLAIMED, EventKind.VOID): State.VOID,
        (State.ABSENT, EventKind.SCHEDULE_CREATED): State.ACTIVE,
        (State.ACTIVE, EventKind.TICK): State.ACTIVE,
        (State.ACTIVE, EventKind.LAST_TICK): State.ENDED,
        (State.ACTIVE, EventKind.SCHEDULE_ENDED): State.ENDED,
        (State.ACTIVE, EventKind.VOID): State.VOID,
        (State.ENDED, EventKind.SCHEDULE_CREATED): State.ACTIVE,
        (State.VOID, EventKind.SCHEDULE_CREATED): State.ACTIVE,
    }
    for kind in _KEEPING_ACTIVE:
        rows[State.ACTIVE, kind] = State.ACTIVE
    for state in State:
        if state not in (State.ABSENT, State.UNREADABLE):
            rows[state, EventKind.ADOPTED] = state
        if state in TERMINAL:
            rows[state, EventKind.DELETED] = State.DELETED
    return MappingProxyType(rows)


TRANSITIONS: Final = _table()
"""Every legal move. A pair without a row is refused."""


def next_state(state: State, kind: EventKind) -> State:
    """The state after an event.

    Raises:
        IllegalEvent: the table has no row for the pair.
    """
    target = TRANSITIONS.get((state, kind))
    if target is None:
        raise IllegalEvent(state, kind)
    return target


class Alarm(NamedTuple):
    """The hint that is live: the due row with exactly these numbers (rule R6)."""

    due_ms: int
    seq: int
    epoch: Epoch


class EventRef(NamedTuple):
    """Names an event of a task: a CLAIMED event is a run, a spec event holds the payload."""

    seq: int
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecDetail:
    """The whole specification, carried by CREATED, BORN_CLAIMED and UPDATED."""

    spec: TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeDetail:
    """How an attempt ended. Instants are the executor's wall clock; None = it never said.

    `progress` is how far one that did not succeed had come; its checkpoint is there if no event
    before has it.
    """

    started_ms: int | None = None
    ended_ms: int | None = None
    result: Payload | None = None
    failure: Failure | None = None
    cause: FailureCause | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressDetail:
    """How far an attempt that goes on has come, with a checkpoint that no event before has."""

    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteDetail:
    """A sentence for people: why an event was written."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDetail:
    """All of a schedule, carried by each of its events: its head alone tells everything.

    `nominal_ms` is the last nominal time that was decided, `launched` whether it was launched;
    `recent` are the ids of the last tasks, newest first. `run` is the run that this very event
    launches, due at `run_due_ms`; `run_down_ms` and `run_overlap_ms` are what its verdict says of
    its lateness, so that it can be written again. An event from before there was such a field
    launches the run of `nominal_ms` if `launched`.

    `next_ms` is the nominal time in hand, `hand_epoch` the epoch in which it came in hand; epoch 0
    = both are the alarm's, as in events from before there were such fields. `buffered` are nominal
    times that wait for runs to end, with the epochs in which they began to wait. `open` are runs
    whose end was not seen; `seen_epoch` is the epoch whose owner has looked at all of them.

    `version` counts specifications, each in force for nominal times after `version_after_ms`;
    `elder` are those before it that named what still waited when it was replaced, each with the
    instant after which it was in force, newest first. `requests` are the last requests that changed
    the schedule. `ended_ms` is when it ended, on the clock of the owner that wrote so,
    `ended_cause` what for, in words.
    """

    spec: ScheduleSpec
    runs: int = 0
    nominal_ms: int | None = None
    launched: bool = False
    recent: tuple[TaskId, ...] = ()
    next_ms: int | None = None
    hand_epoch: Epoch = NO_EPOCH
    run: TaskId | None = None
    run_due_ms: int = 0
    run_nominal_ms: int = 0
    run_down_ms: int = 0
    run_overlap_ms: int = 0
    buffered: tuple[tuple[int, Epoch], ...] = ()
    open: tuple[TaskId, ...] = ()
    seen_epoch: Epoch = NO_EPOCH
    version: int = 1
    version_after_ms: int = 0
    updated_ms: int = 0
    paused: PausedBy | None = None
    requests: tuple[str, ...] = ()
    backfills: tuple[Backfill, ...] = ()
    ended_ms: int | None = None
    ended_cause: str = ""
    elder: tuple[tuple[int, int], ...] = ()


Detail = SpecDetail | OutcomeDetail | ProgressDetail | NoteDetail | ScheduleDetail


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One event. Key: (home bucket, task_id, epoch, seq); written once, resent unchanged.

    `seq` numbers the journal's events, `revision` counts what users change (the etag).
    `attempt` counts attempts so far, the claimed one included. `run` names the CLAIMED event of
    the attempt in hand. `prev_epoch` with seq - 1 links to the predecessor. `spec_at` names the
    event that holds the specification. `unaccounted` lists attempts whose executor vanished and
    that may still start (rule R15). `created_ms` is copied from the first event.
    """

    task_id: TaskId
    epoch: Epoch
    seq: int
    kind: EventKind
    state: State
    alarm: Alarm | None
    attempt: int
    run: EventRef | None
    executor: NodeId | None
    incarnation: Incarnation
    prev_epoch: Epoch
    spec_at: EventRef
    revision: int
    priority: int
    unaccounted: tuple[str, ...]
    request_id: str
    at_ms: int
    created_ms: int
    actor: str
    detail: Detail | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRow:
    """A hint: this task wants attention at this millisecond.

    Key: (bucket, due_ms, task_id, seq, epoch). `minute` and `part` name the bucket of the
    alarm, not the task's home; the shard is the task's own (rule R23).
    """

    minute: int
    part: int
    due_ms: int
    task_id: TaskId
    seq: int
    epoch: Epoch
    handler: str
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerListRow:
    """A task in its user's list. Key: ((namespace, owner, day), created_ms desc, task_id, epoch).

    `epoch` is that of the CREATED event: two owners that create one task in the same
    millisecond must not write one key (protocol.md section 1, projections).
    """

    namespace: str
    owner: str
    created_ms: int
    task_id: TaskId
    handler: str
    epoch: Epoch = NO_EPOCH


LISTED_SCHEDULE: Final = "SCHEDULE"
"""The state under which a namespace's schedules are listed, all at instant 0 and in no epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateListRow:
    """An append-only hint that a task entered a state, verified on read; also lists schedules.

    Key: ((namespace, state, day, slice), at_ms desc, task_id, epoch); readers take the highest.
    """

    namespace: str
    state: str
    at_ms: int
    task_id: TaskId
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRow:
    """A task that people must look at. Key: ((namespace, day), at_ms desc, task_id, epoch)."""

    namespace: str
    at_ms: int
    task_id: TaskId
    epoch: Epoch
    handler: str
    cause: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One verdict on nominal times. Key: ((schedule_id, month), nominal_ms, epoch).

    Consecutive equal verdicts that launched nothing are one row: first, last and how many; it
    speaks for every nominal time of its version between the two. `down_ms` and `overlap_ms` are
    parts of the lateness: nobody was there, an earlier run had not ended.
    """

    schedule_id: TaskId
    nominal_ms: int
    epoch: Epoch
    verdict: str
    task_id: TaskId | None
    cause: str
    lateness_ms: int
    last_nominal_ms: int | None = None
    times: int | None = None
    version: int = 1
    down_ms: int = 0
    overlap_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A specification that a schedule had. Key: (schedule_id, version, epoch); the highest counts.

    Its nominal times lie strictly after `after_ms`, up to and including the next one's.
    """

    schedule_id: TaskId
    version: int
    epoch: Epoch
    after_ms: int
    actor: str
    detail: ScheduleDetail


Row = EventRow | DueRow | OwnerListRow | StateListRow | DeadLetterRow | LedgerRow | VersionRow


@dataclass(frozen=True, slots=True)
class History:
    """A journal read back: the accepted chain, oldest first, and rows that lie off it."""

    chain: tuple[EventRow, ...]
    not_accepted: tuple[EventRow, ...]

    @property
    def head(self) -> EventRow:
        """The event that says what is true."""
        return self.chain[-1]


def head_of(rows: Iterable[EventRow]) -> EventRow | None:
    """The event with the greatest (epoch, seq), None for an empty journal (rule R5)."""
    return max(rows, key=lambda row: (row.epoch, row.seq), default=None)


def fold(rows: Iterable[EventRow]) -> History | None:
    """Follow the links from the head backwards; None for an empty journal."""
    rows = tuple(rows)
    if len(rows) == 1:  # a head that was read alone, or a task that has just been created
        return History(rows, ())
    by_key = {(row.epoch, row.seq): row for row in rows}
    head = head_of(by_key.values())
    if head is None:
        return None
    chain = [head]
    while (previous := by_key.get((chain[-1].prev_epoch, chain[-1].seq - 1))) is not None:
        chain.append(previous)
    accepted = {(row.epoch, row.seq) for row in chain}
    rest = tuple(row for key, row in sorted(by_key.items()) if key not in accepted)
    return History(tuple(reversed(chain)), rest)


def unreadable_event(history: History) -> EventRow | None:
    """The first event of the accepted chain that this version cannot read, None if it reads all.

    Nothing may be concluded from such a journal, and nothing can be appended to it: no move leads
    from UNREADABLE. Where only the head was read and it closes the task, that settles it (R5).
    A head without what it stands on is unreadable too: rows were lost, or are kept elsewhere now.
    """
    for row in history.chain:
        if row.state is State.UNREADABLE:
            return row
    head, lacking = history.head, _lacking(history)
    if lacking is None:
        return None
    note = NoteDetail(text=f"{head.kind} to {head.state}: {lacking}")
    unknown = replace(head, kind=EventKind.UNREADABLE, state=State.UNREADABLE, detail=note)
    return replace(unknown, alarm=None, run=None)


def _lacking(history: History) -> str | None:
    """What a head that shows something needs and its journal has not, in words."""
    head, wanted = history.head, history.head.spec_at
    if head.state in (State.VOID, State.DELETED):
        return None
    if head.state in (State.ACTIVE, State.ENDED):
        whole = isinstance(head.detail, ScheduleDetail)
        return None if whole else "it does not hold the schedule"
    for row in history.chain:
        if row.kind in CLAIMS and row.executor is None:
            return f"event {row.seq} of epoch {row.epoch} claims and names no executor"
    if head.state is State.CLAIMED and head.run is None:
        return "it names no run"
    named = (row for row in history.chain if (row.seq, row.epoch) == wanted)
    if any(isinstance(row.detail, SpecDetail) for row in named):
        return None
    return f"the specification, event {wanted.seq} of epoch {wanted.epoch}, is not there"


def hint_is_live(hint: DueRow, head: EventRow | None) -> bool:
    """Whether a due row is the alarm that the head names (rule R6)."""
    return (
        head is not None
        and head.state not in CLOSED
        and head.alarm == Alarm(hint.due_ms, hint.seq, hint.epoch)
    )
