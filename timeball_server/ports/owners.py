"""The owner port: how a coordinator reaches the scheduler node that owns a shard.

Adapters: gRPC (timeball_server/rpc), in-process for simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from timeball_server.core.commands import Command, Outcome, WatchTask
from timeball_server.core.ids import Epoch, Incarnation, ShardId

LATENESS_BOUNDS_MS: Final = (
    *(1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 2_000, 3_000),
    *(5_000, 10_000, 30_000, 60_000, 300_000),
)
"""Upper bounds by which lateness is counted, fine where the promise lies."""


@dataclass(frozen=True, slots=True)
class Change:
    """How a followed task stands; `commands.is_last` tells whether more will come."""

    number: int
    outcome: Outcome


class OwnerWatch(Protocol):
    """A push stream: tasks that one coordinator follows at one scheduler node.

    Numbers are the coordinator's, from 1, never used twice on a stream.
    """

    def follow(self, number: int, watched: WatchTask) -> None:
        """Follow a task from now on. Never blocks; on a stream that has ended it does nothing."""
        ...

    def drop(self, number: int) -> None:
        """Follow it no longer; unknown numbers are fine."""
        ...

    async def changes(self) -> Sequence[Change]:
        """What has changed since the last call: at least one, at most one of each number.

        A slow reader is told the newest state alone. One reader at a time.

        Raises:
            Unavailable: the stream has ended, and everything that came before was read.
        """
        ...

    async def close(self) -> None:
        """End the stream. Safe to call twice."""
        ...


class OwnerClient(Protocol):
    """One scheduler node, as coordinators see it."""

    async def execute(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        """Carry out commands; outcomes in the same order, each decided by itself.

        Raises:
            Unavailable: the node could not be reached; nothing was received.
            OutcomeUnknown: the connection broke after sending; repeat marked as resend.
        """
        ...

    def watch(self) -> OwnerWatch:
        """A new push stream; that the node cannot be reached shows in its `changes`."""
        ...


class OwnerDialer(Protocol):
    """Finds clients by address; keeps connections."""

    def client(self, address: str) -> OwnerClient:
        """The client for a scheduler node's address."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFigures:
    """How a shard fares at its owner, for operators.

    Attributes:
        tasks: tasks and schedules in memory.
        waiting: tasks whose next attempt has not been claimed.
        due_now: waiting tasks whose due time has come.
        starts: attempts that started in the last minute.
        late_p50_ms: median of their lateness, rounded up; None without any. p99 likewise.
        oldest_due_ms: due time of the waiting task that is due for longest; None without any.
        unserved: waiting tasks that are due and whose handler no executor serves.
        acquired_ms: when this epoch began, by the owner's wall clock.
        phase: what the owner does with it: LOADING, SERVING or RELEASING.
    """

    shard: ShardId
    epoch: Epoch
    tasks: int
    waiting: int
    due_now: int
    starts: int
    late_p50_ms: int | None = None
    late_p99_ms: int | None = None
    oldest_due_ms: int | None = None
    unserved: int = 0
    acquired_ms: int = 0
    phase: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorFigures:
    """An executor as one scheduler node sees it.

    Attributes:
        ready: whether it takes orders from this node.
        left_out_ms: how long this node still gives it no work, because it does far worse than its
            peers; 0 = it is given work.
        left_out_reason: why, in a sentence; kept while it is let back slowly.
    """

    incarnation: Incarnation
    runs: int
    stream_open: bool
    ready: bool
    left_out_ms: int = 0
    left_out_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondFigures:
    """What a node did in one second that is over, by its own wall clock.

    Attributes:
        second: seconds since 1970.
        created: tasks.
        failed: tasks that failed for good or were lost.
        late_counts: starts by lateness: one count for each of LATENESS_BOUNDS_MS, one more above.
        late_max_ms: the greatest lateness among them.
    """

    second: int
    created: int
    failed: int
    late_counts: tuple[int, ...]
    late_max_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFigures:
    """How a scheduler node fares and what it did.

    Attributes:
        shards: every shard in its memory.
        executors: those that it knows.
        seconds: those in [since_s, until_s) that were asked for and not idle, ascending.
        since_s: the first second that it remembers.
        until_s: the first second that is not over.
        lease_left_ms: how long it may still act.
    """

    shards: tuple[ShardFigures, ...]
    executors: tuple[ExecutorFigures, ...]
    seconds: tuple[SecondFigures, ...]
    since_s: int
    until_s: int
    lease_left_ms: int


class OwnerInspector(Protocol):
    """One scheduler node, as operators see it through a coordinator."""

    async def report(self) -> Sequence[ShardFigures]:
        """Every shard in its memory.

        Raises:
            Unavailable: it did not answer.
        """
        ...

    async def drain(self) -> None:
        """Take no more shards and hand over those it has; it keeps running. Safe to repeat.

        Raises:
            Unavailable: it did not answer, or cannot say so to the others now; repeat the call.
        """
        ...


@runtime_checkable
class OwnerObserver(Protocol):
    """One scheduler node, as a console sees it."""

    async def observe(self, from_s: int) -> NodeFigures:
        """How it fares, and what it did in each second from this one on (since 1970).

        Raises:
            Unavailable: it did not answer.
        """
        ...
