"""What a task is: the records that callers describe and that events carry.

Everything here is immutable and knows no wire or storage format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from timeball_server.core.ids import Incarnation, NodeId, TaskId

DEFAULT_PRIORITY: Final = 4
EVERYBODY: Final = "-"
"""Stands for all users where tasks are listed, so no task belongs to it."""


class DeliveryMode(StrEnum):
    """How often an attempt's effect may happen when something breaks."""

    AT_LEAST_ONCE = "AT_LEAST_ONCE"
    AT_MOST_ONCE = "AT_MOST_ONCE"


class PublicState(StrEnum):
    """The states that people see."""

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

    `redrive_of` is the task that failed for good and that this one does again.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """What a schedule starts, and when: every `every_ms`, aligned to the epoch plus `phase_ms`.

    Start and end are inclusive wall-clock milliseconds; `max_runs` 0 = no limit.
    """

    task: TaskSpec
    every_ms: int
    phase_ms: int = 0
    start_ms: int | None = None
    end_ms: int | None = None
    max_runs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleView:
    """A schedule as a reader sees it. `recent` are its last tasks, newest first."""

    schedule_id: TaskId
    spec: ScheduleSpec
    next_ms: int | None
    runs: int
    created_ms: int
    revision: int
    ended: bool
    recent: tuple[TaskId, ...] = ()
