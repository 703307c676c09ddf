"""The owner port over gRPC, the scheduler node's end; the other one is owner_transport.

Owns: carrying out groups side by side, packing answers, back-pressure, and the good-bye that
tells how far a stream was read. Decides nothing about tasks.

grpc.aio leaks memory when a read is cancelled, so each stream has one reader that only ends
with its call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from timeball.errors import ResourceExhausted, Unavailable

from timeball_server.core.commands import Command, Outcome, Rejected, RejectionReason
from timeball_server.core.limits import MAX_BATCH_BYTES, MAX_INTERNAL_MESSAGE_BYTES
from timeball_server.internal.v1 import shard_service_pb2 as pb
from timeball_server.internal.v1 import shard_service_pb2_grpc as stubs
from timeball_server.ports.owners import OwnerClient, OwnerInspector
from timeball_server.rpc.inspection import carry_out_drain, carry_out_observe, carry_out_report
from timeball_server.rpc.options import ACCEPTED_KEY
from timeball_server.rpc.owner_convert import read_command, write_outcome
from timeball_server.rpc.watching import Context as WatchContext
from timeball_server.rpc.watching import serve_watch

TAKEN_KEY: Final = "timeball-taken"
"""Trailing metadata of a stream that the node ended: the highest group number that it took."""
MAX_OUTCOME_BYTES: Final = MAX_INTERNAL_MESSAGE_BYTES - MAX_BATCH_BYTES - 64 * 1024
"""An answer that fits behind any message that is still open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicerLimits:
    """Bounds of one stream: over them it is not read on, and its sender feels that.

    Attributes:
        commands: taken and not answered.
        size_bytes: of the messages that they came in.
    """

    commands: int = 20_000
    size_bytes: int = 64 * 1024 * 1024


@dataclass(slots=True)
class _Outgoing:
    """A message that is still open for more answers."""

    message: pb.ExecuteResponse = field(default_factory=pb.ExecuteResponse)
    size_bytes: int = 0


Context = grpc.aio.ServicerContext[pb.ExecuteRequest, pb.ExecuteResponse]
OnBug = Callable[[BaseException], None]


class _Session:
    """One stream of one coordinator."""

    def __init__(
        self, handler: OwnerClient, context: Context, limits: ServicerLimits, on_bug: OnBug
    ) -> None:
        self._handler = handler
        self._context = context
        self._limits = limits
        self._on_bug = on_bug
        self._queue: deque[_Outgoing] = deque()
        self._commands = 0
        self._bytes = 0
        self._taken = 0
        self._stopping = False
        self._over = False
        self._changed = asyncio.Event()
        self._freed = asyncio.Event()
        self.groups: set[asyncio.Task[None]] = set()

    async def run(self, draining: asyncio.Event) -> None:
        """Serve until the peer has ended its side, or we drain; then answer what was taken."""
        await self._context.send_initial_metadata(((ACCEPTED_KEY, "1"),))
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        drained = asyncio.create_task(draining.wait())
        try:
            await asyncio.wait((reader, drained), return_when=asyncio.FIRST_COMPLETED)
            self._stopping = True
            self._freed.set()
            if self.groups:
                await asyncio.wait(self.groups)
            self._finish()
            await writer
            self._context.set_trailing_metadata(((TAKEN_KEY, str(self._taken)),))
        finally:
            drained.cancel()
            self._finish()

    def _finish(self) -> None:
        self._stopping = self._over = True
        self._changed.set()
        self._freed.set()

    async def _read(self) -> None:
        """Take groups until the end of the stream; pause while too much is in hand."""
        try:
            while isinstance(request := await self._context.read(), pb.ExecuteRequest):
                if self._stopping:
                    return
                for group in request.groups:
                    self._take(group)
                await self._room()
        except (grpc.aio.BaseError, asyncio.InvalidStateError):
            self._stopping = True  # the peer is gone; what was taken goes on

    async def _room(self) -> None:
        """Wait until what is in hand is within the limits, or nothing is taken any more."""
        limits = self._limits
        while self._commands > limits.commands or self._bytes > limits.size_bytes:
            if self._stopping:
                return
            self._freed.clear()
            await self._freed.wait()

    def _take(self, group: pb.CommandGroup) -> None:
        size_bytes = group.ByteSize()
        self._taken = group.number
        self._commands += len(group.commands)
        self._bytes += size_bytes
        task = asyncio.create_task(self._carry_out(group, size_bytes))
        self.groups.add(task)
        task.add_done_callback(self.groups.discard)

    async def _carry_out(self, group: pb.CommandGroup, size_bytes: int) -> None:
        try:
            commands = [read_command(command) for command in group.commands]
            outcomes = await self._outcomes(commands)
        except ValueError as error:
            commands = []
            outcomes = [Rejected(RejectionReason.UNKNOWN, str(error))] * len(group.commands)
        finally:
            self._commands -= len(group.commands)
            self._bytes -= size_bytes
            self._freed.set()
        self._pack(group.number, commands, outcomes)
        self._changed.set()

    async def _outcomes(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        """What the handler says; its failure is an answer too."""
        try:
            outcomes = await self._handler.execute(commands)
            if len(outcomes) == len(commands):
                return outcomes
            raise RuntimeError(f"{len(outcomes)} outcomes for {len(commands)} commands")
        except Unavailable as error:
            return [Rejected(RejectionReason.NOT_READY, error.message)] * len(commands)
        except ResourceExhausted as error:
            return [Rejected(RejectionReason.OVERLOADED, error.message)] * len(commands)
        except Exception as bug:  # noqa: BLE001 - counted, and answered as unknown
            self._on_bug(bug)
            sentence = "the scheduler node failed at this; repeat marked as resend, or read"
            return [Rejected(RejectionReason.UNKNOWN, sentence)] * len(commands)

    def _pack(self, number: int, commands: Sequence[Command], outcomes: Sequence[Outcome]) -> None:
        """Queue answers in as many pieces as their size needs."""
        position = 0
        while position < len(outcomes) and not self._over:
            if not self._queue or self._queue[-1].size_bytes >= MAX_BATCH_BYTES:
                self._queue.append(_Outgoing())
            out = self._queue[-1]
            piece = out.message.groups.add(number=number, first=position)
            while position < len(outcomes) and out.size_bytes < MAX_BATCH_BYTES:
                command = commands[position] if commands else None
                out.size_bytes += _add(piece, outcomes[position], command)
                position += 1

    async def _write(self) -> None:
        """Send what was packed in one turn of the loop as one message, until the end."""
        try:
            while True:
                while self._queue:
                    await self._context.write(self._queue.popleft().message)
                if self._over:
                    return
                self._changed.clear()
                await self._changed.wait()
        except (grpc.aio.BaseError, asyncio.InvalidStateError):
            self._over = True  # the peer is gone and takes the rest for unknown


class ShardServicer(stubs.ShardServiceServicer):
    """Serves an owner to coordinators.

    Args:
        handler: carries commands out; `execute` goes on to its end although the asker is gone.
        on_bug: counts and logs exceptions that are no errors of the family.
        limits: of each stream.
        inspector: answers operators; without one they are told that nobody does.
    """

    def __init__(
        self,
        handler: OwnerClient,
        on_bug: OnBug,
        limits: ServicerLimits | None = None,
        inspector: OwnerInspector | None = None,
    ) -> None:
        self._inspector = inspector
        self._handler = handler
        self._on_bug = on_bug
        self._limits = limits or ServicerLimits()
        self._draining = asyncio.Event()
        self._sessions: set[_Session] = set()
        self._orphans: set[asyncio.Task[None]] = set()

    async def Execute(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ExecuteRequest], context: Context
    ) -> None:
        """Serve one stream; see the proto."""
        session = _Session(self._handler, context, self._limits, self._on_bug)
        self._sessions.add(session)
        try:
            await session.run(self._draining)
        finally:
            self._sessions.discard(session)
            self._orphans |= session.groups
            for group in session.groups:
                group.add_done_callback(self._orphans.discard)

    async def Wait(  # noqa: N802
        self, request: pb.WaitRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.WaitResponse:
        """Not served any more; see the proto."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "follow the task on a Watch stream")

    async def Watch(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[pb.WatchRequest], context: WatchContext
    ) -> None:
        """Serve one push stream; see the proto."""
        await serve_watch(self._handler.watch(), context, self._draining)

    async def Report(  # noqa: N802
        self, request: pb.ReportRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ReportResponse:
        """How this node fares; see the proto."""
        return await carry_out_report(self._inspector, context)

    async def Observe(  # noqa: N802
        self, request: pb.ObserveRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ObserveResponse:
        """How this node fares and what it did; see the proto."""
        return await carry_out_observe(self._inspector, request, context)

    async def Drain(  # noqa: N802
        self, request: pb.DrainRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DrainResponse:
        """Take no more shards; see the proto."""
        return await carry_out_drain(self._inspector, context)

    def drain(self) -> None:
        """Take nothing more; streams end when what they took is answered. Safe to call twice."""
        self._draining.set()

    async def close(self) -> None:
        """Give up commands that are still in hand; call after the server has stopped."""
        self.drain()
        left = list(self._orphans)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


def _add(piece: pb.OutcomeGroup, outcome: Outcome, command: Command | None) -> int:
    """Append one answer and say its size; one that no message can hold is replaced."""
    message = piece.outcomes.add()
    write_outcome(message, outcome, command)
    if message.ByteSize() > MAX_OUTCOME_BYTES:
        message.Clear()
        sentence = "the answer is too large to send; the command may or may not hold"
        write_outcome(message, Rejected(RejectionReason.UNKNOWN, sentence))
    return message.ByteSize()
