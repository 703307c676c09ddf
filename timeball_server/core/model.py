"""What a task is: the records that callers describe and that events carry.

Everything here is immutable and knows no wire or storage format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from timeball_server.core.ids import Incarnation, NodeId, TaskId
from timeball_server.core.schedules.spec import Calendar, Interval

DEFAULT_PRIORITY: Final = 4
EVERYBODY: Final = "-"
"""Stands for all users where tasks are listed, so no task belongs to it."""


class DeliveryMode(StrEnum):
    """How often an attempt's effect may happen when something breaks."""

    AT_LEAST_ONCE = "AT_LEAST_ONCE"
    AT_MOST_ONCE = "AT_MOST_ONCE"


class PublicState(StrEnum):
    """The states that people see; UNSPECIFIED = a newer version wrote what this one cannot read."""

    UNSPECIFIED = "UNSPECIFIED"
    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TERMINATED = "TERMINATED"


class FailureCause(StrEnum):
    """Why a FAILED task is FAILED."""

    NON_RETRIABLE = "NON_RETRIABLE"
    EXHAUSTED = "EXHAUSTED"
    LOST = "LOST"
    EXPIRED = "EXPIRED"
    QUARANTINED = "QUARANTINED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Opaque bytes and what they are; parsed only by the handler."""

    content_type: str = "application/json"
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When to try again. `jitter` is the share of the delay drawn at random, 1.0 = full."""

    max_attempts: int = 5
    initial_delay_ms: int = 1_000
    coefficient: float = 2.0
    max_delay_ms: int = 300_000
    max_age_ms: int | None = None
    jitter: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Limits in milliseconds; None = no limit."""

    schedule_to_start_ms: int | None = None
    start_to_close_ms: int | None = None
    schedule_to_close_ms: int | None = None
    heartbeat_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """What the caller asked for. `selector` are labels that the executor must carry.

    `redrive_of` is the task that failed for good and that this one does again. Of tasks with one
    `concurrency_key` no more run at once than the namespace allows; empty = no key.
    """

    namespace: str
    owner: str
    handler: str
    payload: Payload = field(default_factory=Payload)
    priority: int = DEFAULT_PRIORITY
    labels: tuple[tuple[str, str], ...] = ()
    selector: tuple[tuple[str, str], ...] = ()
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    mode: DeliveryMode = DeliveryMode.AT_LEAST_ONCE
    schedule_id: TaskId | None = None
    nominal_ms: int | None = None
    redrive_of: TaskId | None = None
    concurrency_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong in an attempt, in words that a person can use.

    `kind` is the exception's or status's name. `delay_ms` is the handler's own wish.
    """

    kind: str
    message: str
    stack: str = ""
    retriable: bool = True
    delay_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an attempt has come, in its handler's words; `fraction` is 0 to 1, None = not said.

    `heard_ms` is when the owner heard of it, by its wall clock; None = not in this attempt.
    `checkpoint` is where the next attempt could go on; None = nothing, or nothing new.
    """

    fraction: float | None = None
    note: str = ""
    heard_ms: int | None = None
    checkpoint: Payload | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One attempt as people see it. Instants are wall-clock milliseconds of who observed them.

    `lateness_ms` = start - due. `outcome` is SUCCEEDED, FAILED, LOST, RELEASED, CANCELLED,
    RUNNING or CLAIMED.
    """

    number: int
    executor: NodeId
    incarnation: Incarnation
    priority: int
    due_ms: int
    claimed_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None
    outcome: str = "CLAIMED"
    failure: Failure | None = None

    @property
    def lateness_ms(self) -> int | None:
        """How long after its due time the attempt began; None before it began."""
        return None if self.started_ms is None else self.started_ms - self.due_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """One journal entry as people see it."""

    seq: int
    epoch: int
    kind: str
    state: str
    at_ms: int
    actor: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task as a reader sees it, folded from its journal and the owner's memory."""

    task_id: TaskId
    spec: TaskSpec
    state: PublicState
    cause: FailureCause | None
    due_ms: int
    created_ms: int
    updated_ms: int
    revision: int
    attempt: int
    effective_priority: int
    result: Payload | None
    failure: Failure | None
    attempts: tuple[AttemptView, ...] = ()
    journal: tuple[EventView, ...] = ()
    unaccounted: tuple[str, ...] = ()
    terminal: bool = False
    progress: Progress | None = None


class OverlapPolicy(StrEnum):
    """What happens to a nominal time while an earlier run has not ended."""

    SKIP = "SKIP"
    BUFFER_ONE = "BUFFER_ONE"
    BUFFER = "BUFFER"
    ALLOW = "ALLOW"
    CANCEL_OTHER = "CANCEL_OTHER"
    TERMINATE_OTHER = "TERMINATE_OTHER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """The overlap rule. `limit` is for BUFFER and ALLOW; ALLOW 0 = without limit.

    Schedules from before there was a rule have none, so that is what is filled in for them; what
    callers get by default is SKIP.
    """

    policy: OverlapPolicy = OverlapPolicy.ALLOW
    limit: int = 0


class CatchUpPolicy(StrEnum):
    """What happens to nominal times that passed while nobody was there to launch them."""

    ONE = "ONE"
    SKIP = "SKIP"
    ALL = "ALL"


DEFAULT_WINDOW_MS: Final = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """The catch-up rule. What is older than the window, or than `max_lateness_ms`, is missed."""

    policy: CatchUpPolicy = CatchUpPolicy.ONE
    window_ms: int = DEFAULT_WINDOW_MS
    max_lateness_ms: int | None = None

    @property
    def reach_ms(self) -> int:
        """How far back anything is launched."""
        late_ms = self.max_lateness_ms
        return self.window_ms if late_ms is None else min(self.window_ms, late_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """What a schedule starts, and when.

    The nominal times are those of `calendar`, or lie `delay_ms` after the end of the run before.
    A specification from before calendars has neither, but `every_ms` and `phase_ms`, start and end
    in their place; `when` is the calendar of both forms. `max_runs` 0 = no limit. `name` is what
    the creator chose, empty = the schedule is called by its id.
    """

    task: TaskSpec
    every_ms: int = 0
    phase_ms: int = 0
    start_ms: int | None = None
    end_ms: int | None = None
    max_runs: int = 0
    calendar: Calendar | None = None
    delay_ms: int | None = None
    overlap: Overlap = field(default_factory=Overlap)
    catch_up: CatchUp = field(default_factory=CatchUp)
    labels: tuple[tuple[str, str], ...] = ()
    name: str = ""

    @property
    def when(self) -> Calendar:
        """The calendar; a fixed delay has one without rules, for its start, end and jitter."""
        if self.calendar is not None:
            return self.calendar
        rules = (Interval(every_ms=self.every_ms, phase_ms=self.phase_ms),)
        return Calendar(intervals=rules, start_ms=self.start_ms, end_ms=self.end_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class PausedBy:
    """Why a schedule is paused, who did it and when (the owner's wall clock)."""

    reason: str
    actor: str
    at_ms: int


class BackfillState(StrEnum):
    """Where a backfill stands."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """Nominal times of a range, both ends included, that are launched once more.

    `next_ms` is the next one, None when it is over; `hand_epoch` is when it came in hand.
    """

    backfill_id: str
    from_ms: int
    to_ms: int
    next_ms: int | None
    launched: int = 0
    state: BackfillState = BackfillState.RUNNING
    actor: str = ""
    created_ms: int = 0
    hand_epoch: int = 0


class PublicScheduleState(StrEnum):
    """Where a schedule stands, as people see it; UNSPECIFIED as of tasks."""

    UNSPECIFIED = "UNSPECIFIED"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleView:
    """A schedule as a reader sees it. `recent` are its last tasks, newest first.

    `undecided_ms` is the first nominal time that may have no verdict yet; None = all have one.
    `run` is what a trigger has launched. `ended_ms` is when it ended, `ended_cause` what for, in
    words; None and empty for one that lives, and for one that ended before they were noted.
    `unreadable`: a newer version wrote it, and nothing but its id and its head's numbers is true.
    """

    schedule_id: TaskId
    spec: ScheduleSpec
    next_ms: int | None
    runs: int
    created_ms: int
    revision: int
    ended: bool
    recent: tuple[TaskId, ...] = ()
    version: int = 1
    updated_ms: int = 0
    paused: PausedBy | None = None
    open: tuple[TaskId, ...] = ()
    buffered: tuple[int, ...] = ()
    backfills: tuple[Backfill, ...] = ()
    undecided_ms: int | None = None
    run: TaskId | None = None
    ended_ms: int | None = None
    ended_cause: str = ""
    unreadable: bool = False

    @property
    def state(self) -> PublicScheduleState:
        """Where it stands; an end outlasts a pause."""
        if self.unreadable:
            return PublicScheduleState.UNSPECIFIED
        if self.ended:
            return PublicScheduleState.ENDED
        paused = self.paused is not None
        return PublicScheduleState.PAUSED if paused else PublicScheduleState.ACTIVE
