"""Everything the engine can be told. A closed set; each event is a fact that already happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from timeball_server.core.commands import Command, WatchTask
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.ids import Epoch, Incarnation, Minute, ShardId, TaskId
from timeball_server.core.journal import DueRow, EventRow
from timeball_server.core.limit_rules import LimitRule
from timeball_server.core.messages import FromExecutor
from timeball_server.core.retention import BucketContents


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardAcquired:
    """The shard is ours: epoch raised, owner row published (rules R1, R2)."""

    shard: ShardId
    epoch: Epoch
    scan_from: Minute
    deleted_below: Minute


@dataclass(frozen=True, slots=True)
class ShardReleasing:
    """Hand the shard over: soon begin nothing more on it, and say when nothing is in flight."""

    shard: ShardId


@dataclass(frozen=True, slots=True)
class ShardLost:
    """The shard is not ours any more, whatever the reason: drop all memory of it (rule R2)."""

    shard: ShardId


@dataclass(frozen=True, slots=True)
class LeaseProven:
    """The session was alive when a request was sent; the lease ends here (rule R3)."""

    until_mono_ms: int


@dataclass(frozen=True, slots=True)
class Suspended:
    """The coordination service is out of sight (True) or back (False): stop or go on starting."""

    suspended: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


@dataclass(frozen=True, slots=True)
class CommandArrived:
    """A caller asks; the answer carries the token."""

    token: int
    command: Command | WatchTask


@dataclass(frozen=True, slots=True)
class WatchEnded:
    """Somebody follows a task no longer; the token gets no answer any more."""

    token: int
    task_id: TaskId


@dataclass(frozen=True, slots=True)
class Written:
    """These writes are durable at a quorum."""

    tokens: Sequence[int]


@dataclass(frozen=True, slots=True)
class TasksRead:
    """Journals that a ReadTasks effect asked for; a task without events is missing."""

    shard: ShardId
    epoch: Epoch
    task_ids: Sequence[TaskId]
    journals: Mapping[TaskId, Sequence[EventRow]]


@dataclass(frozen=True, slots=True)
class TaskFound:
    """What a FindTask effect found for a creation that was sent again; [] = nothing."""

    shard: ShardId
    epoch: Epoch
    unique: bytes
    rows: Sequence[EventRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceLoaded:
    """Hints of a slice with the journals of their tasks; `last` ends the slice.

    `foreign` are hints with ids of a kind that this version does not know: nothing is read of them.
    """

    shard: ShardId
    epoch: Epoch
    number: int
    hints: Sequence[DueRow]
    journals: Mapping[TaskId, Sequence[EventRow]]
    last: bool
    foreign: Sequence[DueRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketSwept:
    """Hints of an ended bucket, read again, with the journals of their tasks (rule R18).

    `last` ends the bucket: however much it holds, a step takes a page of it in. `foreign` as in
    SliceLoaded.
    """

    shard: ShardId
    epoch: Epoch
    minute: Minute
    hints: Sequence[DueRow]
    journals: Mapping[TaskId, Sequence[EventRow]]
    last: bool = True
    foreign: Sequence[DueRow] = ()


@dataclass(frozen=True, slots=True)
class ScanFromMoved:
    """The watermark stands at this minute now; None = the write found another epoch (rule R4)."""

    shard: ShardId
    epoch: Epoch
    scan_from: Minute | None


@dataclass(frozen=True, slots=True)
class BucketRead:
    """What a bucket held when all of it was read for its removal (rule R19)."""

    shard: ShardId
    epoch: Epoch
    minute: Minute
    contents: BucketContents


@dataclass(frozen=True, slots=True)
class DeletedBelowMoved:
    """This watermark stands at this minute now; None = the write found another epoch (rule R4)."""

    shard: ShardId
    epoch: Epoch
    deleted_below: Minute | None


@dataclass(frozen=True, slots=True)
class BucketsRemoved:
    """The buckets of [first, below) are gone, durably."""

    shard: ShardId
    epoch: Epoch
    first: Minute
    below: Minute


@dataclass(frozen=True, slots=True)
class LimitsSet:
    """What namespaces have set, all of it; `shard_count` are all shards of the cluster."""

    rules: tuple[LimitRule, ...]
    shard_count: int


@dataclass(frozen=True, slots=True)
class ExecutorsSeen:
    """All living executors, from one snapshot of the membership."""

    executors: tuple[ExecutorFacts, ...]


@dataclass(frozen=True, slots=True)
class StreamUp:
    """A numbered stream to this incarnation is open."""

    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class StreamDown:
    """The stream broke; whatever was sent and not answered is in doubt."""

    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class ExecutorSaid:
    """A message came over the current stream."""

    incarnation: Incarnation
    message: FromExecutor


Event = (
    ShardAcquired
    | ShardReleasing
    | ShardLost
    | LeaseProven
    | Suspended
    | Tick
    | CommandArrived
    | WatchEnded
    | Written
    | TasksRead
    | TaskFound
    | SliceLoaded
    | BucketSwept
    | ScanFromMoved
    | BucketRead
    | DeletedBelowMoved
    | BucketsRemoved
    | LimitsSet
    | ExecutorsSeen
    | StreamUp
    | StreamDown
    | ExecutorSaid
)
