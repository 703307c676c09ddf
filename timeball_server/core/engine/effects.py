"""Everything the engine can ask for. A closed set; the shell carries them out in order."""

from __future__ import annotations

from dataclasses import dataclass

from timeball_server.core.commands import Outcome
from timeball_server.core.ids import Bucket, Epoch, Incarnation, Minute, ShardId, TaskId
from timeball_server.core.journal import Row
from timeball_server.core.messages import ToExecutor


@dataclass(frozen=True, slots=True)
class Write:
    """Make rows durable; resend them unchanged until they are, or the shard is lost (rule R7).

    `linger_ms` is how old the last batch may be before this one must begin: 0 = somebody waits
    for every millisecond. Whatever is queued goes along.
    """

    token: int
    shard: ShardId
    epoch: Epoch
    rows: tuple[Row, ...]
    linger_ms: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer the caller with this token."""

    token: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Send:
    """Queue a message on the executor's stream, in this very step (rule R12)."""

    incarnation: Incarnation
    message: ToExecutor


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSlice:
    """Read hints with from_ms <= due_ms < to_ms of a bucket and the journals of their tasks."""

    shard: ShardId
    epoch: Epoch
    number: int
    minute: Minute
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class SweepBucket:
    """Read an ended bucket again (rule R18)."""

    shard: ShardId
    epoch: Epoch
    minute: Minute


@dataclass(frozen=True, slots=True)
class ReadTasks:
    """Read the journals of tasks that are not in memory."""

    shard: ShardId
    epoch: Epoch
    task_ids: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class FindTask:
    """Look in all parts of a bucket for a task whose creation was sent again (rule R8)."""

    shard: ShardId
    epoch: Epoch
    home: Bucket
    unique: bytes


@dataclass(frozen=True, slots=True)
class MoveScanFrom:
    """Raise the watermark below which no alarm is live, conditionally (rules R18, R20)."""

    shard: ShardId
    epoch: Epoch
    old: Minute
    new: Minute


@dataclass(frozen=True, slots=True)
class ReadForRemoval:
    """Read the heads of all tasks whose home is a bucket (rule R19)."""

    shard: ShardId
    epoch: Epoch
    minute: Minute


@dataclass(frozen=True, slots=True)
class MoveDeletedBelow:
    """Raise the watermark below which every id has expired, conditionally (rule R20)."""

    shard: ShardId
    epoch: Epoch
    old: Minute
    new: Minute


@dataclass(frozen=True, slots=True)
class RemoveBuckets:
    """Remove the buckets of [first, below), all below deleted_below, until that is durable."""

    shard: ShardId
    epoch: Epoch
    first: Minute
    below: Minute


@dataclass(frozen=True, slots=True)
class ShardQuiet:
    """Nothing of this shard is in flight: its ownership may be released now.

    It has begun nothing for `took_ms`.
    """

    shard: ShardId
    epoch: Epoch
    took_ms: int = 0


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The shard's epoch has ended for us: release what is still ours (rules R4, R7)."""

    shard: ShardId
    epoch: Epoch
    reason: str


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Note that a task is held back because this version cannot read it; `event` says what of it.

    Told once in an epoch, and of the first few tasks only.
    """

    shard: ShardId
    epoch: Epoch
    task_id: TaskId
    event: str


Effect = (
    Write
    | Reply
    | Send
    | LoadSlice
    | SweepBucket
    | ReadTasks
    | FindTask
    | MoveScanFrom
    | ReadForRemoval
    | MoveDeletedBelow
    | RemoveBuckets
    | ShardQuiet
    | GiveUp
    | HeldBack
)
