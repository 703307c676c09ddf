"""The owner port: how a coordinator reaches the scheduler node that owns a shard.

Adapters: gRPC (timeball_server/rpc), in-process for simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from timeball_server.core.commands import Command, Outcome
from timeball_server.core.ids import Epoch, ShardId, TaskId


class OwnerClient(Protocol):
    """One scheduler node, as coordinators see it."""

    async def execute(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        """Carry out commands; outcomes in the same order, each decided by itself.

        Raises:
            Unavailable: the node could not be reached; nothing was received.
            OutcomeUnknown: the connection broke after sending; repeat marked as resend.
        """
        ...

    async def wait(self, task_id: TaskId, namespace: str, timeout_ms: int) -> Outcome:
        """Answer when the task is terminal, or with its state when the time is over.

        Raises:
            Unavailable: the node could not be reached or stopped owning the shard; ask again.
        """
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
    """

    shard: ShardId
    epoch: Epoch
    tasks: int
    waiting: int
    due_now: int
    starts: int
    late_p50_ms: int | None = None
    late_p99_ms: int | None = None


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
