"""What callers ask of a shard's owner: coordinators build commands, the engine decides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from timeball_server.core.explanation import Explanation
from timeball_server.core.ids import Epoch, Minute, NodeId, ShardId, TaskId, home_of
from timeball_server.core.model import ScheduleSpec, ScheduleView, TaskSpec, TaskView


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTask:
    """Create a task whose home is (minute, shard); the owner chooses the part.

    `due_ms` None = now, judged by the owner's clock (rule R24); `delay_ms` is added to that now.
    `resend` marks every repetition, whoever repeats (rule R8).
    """

    minute: Minute
    shard: ShardId
    unique: bytes
    spec: TaskSpec
    due_ms: int | None
    delay_ms: int = 0
    request_id: str
    actor: str
    resend: bool = False


class CancelScope(StrEnum):
    """Which tasks a cancel is for.

    WAITING = only if no attempt has begun, and no handler is told. UNKNOWN = only if there is no
    such task, so that there never will be; otherwise the answer is the task.
    """

    ANY = "ANY"
    WAITING = "WAITING"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTask:
    """No attempt may start after the answer. `terminate` also fences a running attempt at once."""

    task_id: TaskId
    namespace: str
    request_id: str
    actor: str
    reason: str = ""
    terminate: bool = False
    resend: bool = False
    scope: CancelScope = CancelScope.ANY


UPDATABLE_FIELDS: Final = ("payload", "priority", "labels", "selector", "retry", "timeouts")
"""Fields of a `TaskSpec` that an update may name. The others are the task's for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateTask:
    """Change what is done: no attempt of the old version starts after the answer.

    Only the fields of `spec` that `fields` names change. `revision` None = whatever there is. The
    answer is Done with the new revision, `fresh` False for a repetition or if nothing had to
    change; TOO_LATE if an attempt runs or the task has ended, UNKNOWN if its executor cannot say.
    """

    task_id: TaskId
    namespace: str
    spec: TaskSpec
    fields: tuple[str, ...]
    revision: int | None
    request_id: str
    actor: str
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RescheduleTask:
    """Change when it is done: nothing starts before the new instant. Answers as to an update.

    `due_ms` None = now, judged by the owner's clock (rule R24); `delay_ms` is added to that now.
    Of a task that waits for its next attempt it moves that attempt.
    """

    task_id: TaskId
    namespace: str
    due_ms: int | None
    delay_ms: int = 0
    revision: int | None
    request_id: str
    actor: str
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTask:
    """Hide a task that has ended, at once and for everybody; an open one is PRECONDITION.

    The answer is Done with the task as it was last shown. Whoever keeps ended tasks for later
    readers must let go of it; no owner tells them.
    """

    task_id: TaskId
    namespace: str
    revision: int | None
    request_id: str
    actor: str
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTask:
    """Answer with the task as its owner knows it, pinned to the owner's epoch (rule R17)."""

    task_id: TaskId
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainTask:
    """Answer with what holds the task back, as memory has it, whatever holds the task."""

    task_id: TaskId
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchTask:
    """Answer with every change, the present state first; without `every` with the end alone.

    A terminal task or a rejection is the last answer. Never waits in line with `Command`s: it
    travels on a stream of its own.
    """

    task_id: TaskId
    namespace: str
    every: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSchedule:
    """Create a schedule whose home is (minute, shard, part). Its first nominal time is after now.

    One with a chosen name may exist: then it is refused, unless the request is the same.
    """

    minute: Minute
    shard: ShardId
    unique: bytes
    spec: ScheduleSpec
    request_id: str
    actor: str
    resend: bool = False
    part: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSchedule:
    """Answer with the schedule as its owner knows it. `task_id` is the schedule's id."""

    task_id: TaskId
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSchedule:
    """No nominal time is launched after the answer (rule S6). `task_id` is the schedule's id."""

    task_id: TaskId
    namespace: str
    request_id: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSchedule:
    """Put another specification in force, strictly after what is due by now (rule S6).

    `fields` are those of `spec` that are to change, None = all of them. `revision` None = change
    whatever there is. `allow_missing` creates what is not there.
    """

    task_id: TaskId
    namespace: str
    spec: ScheduleSpec
    fields: tuple[str, ...] | None
    revision: int | None
    allow_missing: bool
    request_id: str
    actor: str
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseSchedule:
    """No nominal time is launched after the answer, until it is resumed."""

    task_id: TaskId
    namespace: str
    request_id: str
    actor: str
    reason: str = ""
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeSchedule:
    """Go on with the first nominal time after the answer."""

    task_id: TaskId
    namespace: str
    request_id: str
    actor: str
    reason: str = ""
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerSchedule:
    """Launch a run now. `minute` and `unique` name it in the schedule's own shard."""

    task_id: TaskId
    namespace: str
    minute: Minute
    unique: bytes
    request_id: str
    actor: str
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillSchedule:
    """Launch the nominal times of a range once more, both ends included."""

    task_id: TaskId
    namespace: str
    backfill_id: str
    from_ms: int
    to_ms: int
    request_id: str
    actor: str
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StopBackfill:
    """The backfill launches nothing after the answer."""

    task_id: TaskId
    namespace: str
    backfill_id: str
    request_id: str
    actor: str
    resend: bool = False


ChangeSchedule = (
    UpdateSchedule
    | PauseSchedule
    | ResumeSchedule
    | TriggerSchedule
    | BackfillSchedule
    | StopBackfill
)
"""What changes a schedule that exists."""
ScheduleCommand = CreateSchedule | ReadSchedule | EndSchedule | ChangeSchedule
"""What coordinators send about schedules."""
ReviseTask = UpdateTask | RescheduleTask
"""What gives a task that has not begun another revision."""
ChangeTask = CancelTask | ReviseTask
"""What may have to ask an executor first whether a run has begun (rule R14)."""
ReadCommand = ReadTask | ExplainTask | ReadSchedule
"""What changes nothing: it is repeated without a mark, and not refused while nothing is written."""
Command = (
    CreateTask | CancelTask | ReviseTask | DeleteTask | ReadTask | ExplainTask | ScheduleCommand
)
"""What coordinators send."""


def shard_of(command: Command) -> ShardId:
    """The shard whose owner decides a command."""
    if isinstance(command, CreateTask | CreateSchedule):
        return command.shard
    return home_of(command.task_id).shard


class RejectionReason(StrEnum):
    """Why a command was not carried out; each maps to one error of the family."""

    NOT_FOUND = "TASK_NOT_FOUND"
    EXPIRED = "TASK_EXPIRED"
    TOO_LATE = "TOO_LATE"
    VOIDED = "ALREADY_EXISTS"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    HORIZON = "INVALID_REQUEST"
    NOT_OWNED = "SHARD_NOT_OWNED"
    UNKNOWN = "OUTCOME_UNKNOWN"
    OVERLOADED = "RESOURCE_EXHAUSTED"
    NOT_READY = "UNAVAILABLE"
    STALE_ETAG = "STALE_ETAG"
    PRECONDITION = "FAILED_PRECONDITION"
    NEWER_VERSION = "NEWER_VERSION_NEEDED"


@dataclass(frozen=True, slots=True)
class Done:
    """The command holds. `fresh` tells a creation from the answer to its repetition."""

    task: TaskView
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class OwnerHint:
    """Who owns a shard, by hearsay: worth one try, and less than any newer map."""

    node: NodeId
    address: str
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Rejected:
    """The command does not hold (UNKNOWN: may or may not). `task` shows the state that decided.

    `owner` may come with NOT_OWNED.
    """

    reason: RejectionReason
    message: str
    task: TaskView | None = None
    owner: OwnerHint | None = None


@dataclass(frozen=True, slots=True)
class ScheduleDone:
    """The command on a schedule holds."""

    schedule: ScheduleView
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class Explained:
    """What holds the task back."""

    explanation: Explanation


Outcome = Done | ScheduleDone | Explained | Rejected


def is_last(outcome: Outcome) -> bool:
    """Whether those who follow a task are told nothing after this."""
    return not isinstance(outcome, Done) or outcome.task.terminal
