"""The executor port: how a scheduler node reaches executors.

Adapters: gRPC (timeball_server/rpc), in-process for simulation. The stream keeps order; a
message is either delivered once, in order, or lost together with all that follow it.
"""

from __future__ import annotations

from typing import Protocol

from timeball_server.core.messages import FromExecutor, StreamHello, ToExecutor
from timeball_server.ports.coordination import Member


class ExecutorStream(Protocol):
    """One numbered stream to one incarnation of an executor."""

    def send(self, message: ToExecutor) -> None:
        """Queue a message in order, without waiting (rule R12). After the end it is dropped."""
        ...

    async def receive(self) -> FromExecutor | None:
        """The next message, None when the stream has ended. Called by one reader only."""
        ...

    async def close(self) -> None:
        """End the stream; safe to call twice."""
        ...


class ExecutorDialer(Protocol):
    """Opens streams."""

    async def open(self, executor: Member, hello: StreamHello) -> ExecutorStream:
        """Connect and introduce ourselves.

        Raises:
            Unavailable: the executor cannot be reached now, or is another incarnation.
        """
        ...


class ExecutorServer(Protocol):
    """The executor's side of a stream, as its shell sees it: same rules, other direction."""

    async def receive(self) -> ToExecutor | None:
        """The next message of the owner, None when the stream has ended."""
        ...

    def send(self, message: FromExecutor) -> None:
        """Queue a message in order, without waiting."""
        ...

    def close(self) -> None:
        """End the stream: `receive` answers None, later sends are dropped. Safe to call twice."""
        ...
