"""The owner port: how a coordinator reaches the scheduler node that owns a shard.

Adapters: gRPC (timeball_server/rpc), in-process for simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from timeball_server.core.commands import Command, Outcome
from timeball_server.core.ids import TaskId


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
