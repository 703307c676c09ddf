"""What scheduler nodes and executors say to each other, as values (rules R11-R15).

One numbered stream per (owner process, executor) carries all of it in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId, TaskId
from timeball_server.core.journal import EventRef
from timeball_server.core.model import Failure, Payload


@dataclass(frozen=True, slots=True, order=True)
class RunId:
    """Names one claim of one task: two claims never share it, whoever made them."""

    task_id: TaskId
    run: EventRef


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHello:
    """First words of a stream. A higher number of the same owner process replaces lower ones."""

    owner: NodeId
    owner_incarnation: Incarnation
    number: int
    executor_incarnation: Incarnation


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrder:
    """Start this attempt now. `deadline_ms` is the wall-clock end of start-to-close, or None.

    `due_ms` is the attempt's due time; `nominal_ms` the schedule's, if a schedule made the task.
    `heartbeat_ms` is the handler's longest silence. `checkpoint` is the last one of the attempts
    before.
    """

    run: RunId
    shard: ShardId
    epoch: Epoch
    attempt: int
    handler: str
    payload: Payload
    priority: int
    due_ms: int
    start_to_close_ms: int | None
    namespace: str
    owner: str
    nominal_ms: int | None = None
    heartbeat_ms: int | None = None
    checkpoint: Payload | None = None
    concurrency_key: str = ""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Runs to start, most urgent first. Refused as a whole by another incarnation (rule R11)."""

    incarnation: Incarnation
    orders: tuple[RunOrder, ...]


@dataclass(frozen=True, slots=True)
class Fence:
    """Raise the epoch of these shards and answer with the inventory of their runs (rule R13)."""

    number: int
    epochs: tuple[tuple[ShardId, Epoch], ...]


@dataclass(frozen=True, slots=True)
class Revoke:
    """Give this run back if it has not begun (rule R14)."""

    run: RunId
    shard: ShardId
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class CancelRun:
    """Tell the handler that its cancellation was asked for; `terminate` fences at once.

    `if_silent` is no cancellation: the owner has heard nothing of the run for its heartbeat
    timeout. The executor, who knows when the handler spoke last, gives the run up if that is so.
    """

    run: RunId
    shard: ShardId
    epoch: Epoch
    terminate: bool = False
    if_silent: bool = False


@dataclass(frozen=True, slots=True)
class AckResults:
    """These results are durable; the executor may forget the runs (rule R12)."""

    runs: tuple[tuple[RunId, ShardId, Epoch], ...]


ToExecutor = Dispatch | Fence | Revoke | CancelRun | AckResults


class RunPhase(StrEnum):
    """Where a run stands on its executor."""

    ACCEPTED = "ACCEPTED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"


class RefusalReason(StrEnum):
    """Why an executor did not take a message."""

    OTHER_INCARNATION = "OTHER_INCARNATION"
    LOWER_EPOCH = "LOWER_EPOCH"
    NO_FREE_SLOT = "NO_FREE_SLOT"
    DRAINING = "DRAINING"
    UNKNOWN_HANDLER = "UNKNOWN_HANDLER"
    HANDLER_FULL = "HANDLER_FULL"


class RevokeAnswer(StrEnum):
    """What became of a REVOKE."""

    REVOKED = "REVOKED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    NOT_SEEN = "NOT_SEEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the executor offers: total slots, free ones, and whether it takes new work.

    `full` are handlers of which it has as many runs as their caps allow, whoever sent them.
    """

    slots: int
    free: int
    draining: bool = False
    full: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Started:
    """Handlers that began, with the executor's wall clock."""

    runs: tuple[tuple[RunId, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What a running handler last said of itself: that it lives, how far it is, where to go on.

    `checkpoint` None = the one that this owner was told before, if any.
    """

    run: RunId
    fraction: float | None = None
    note: str = ""
    checkpoint: Payload | None = None


@dataclass(frozen=True, slots=True)
class Beats:
    """Signs of life, the last one of each run; all that one step of the executor has to say."""

    beats: tuple[Beat, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended. Exactly one of result and failure is set; kept until acknowledged.

    `interrupted` = the executor shut down: the attempt does not count (semantics: retry).
    `uncounted` = the handler asked to be called again later (snooze): it does not count either.
    `checkpoint` is the last one of a run that did not succeed.
    """

    run: RunId
    shard: ShardId
    started_ms: int
    ended_ms: int
    result: Payload | None = None
    failure: Failure | None = None
    cancelled: bool = False
    interrupted: bool = False
    uncounted: bool = False
    checkpoint: Payload | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """Results, resent after a broken stream until they are acknowledged."""

    results: tuple[RunResult, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Runs that were not accepted. `epoch` is the highest one seen for the shard."""

    runs: tuple[tuple[RunId, ShardId], ...]
    reason: RefusalReason
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class RevokeReply:
    """The answer to a REVOKE."""

    run: RunId
    answer: RevokeAnswer
    started_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryEntry:
    """One run that the executor knows: accepted, running, or finished and unacknowledged.

    Namespace and key are told of runs with a key only.
    """

    run: RunId
    shard: ShardId
    phase: RunPhase
    started_ms: int | None = None
    namespace: str = ""
    concurrency_key: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The answer to a FENCE. `refused` names shards for which a higher epoch was seen."""

    number: int
    entries: tuple[InventoryEntry, ...]
    refused: tuple[tuple[ShardId, Epoch], ...] = ()


FromExecutor = Capacity | Started | Beats | Finished | Refused | RevokeReply | Inventory
