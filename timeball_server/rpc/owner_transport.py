"""The owner port over gRPC, the coordinator's end; the other one is owner_servicer.

Owns: numbering, coalescing, bounds, and what a broken stream means. Commands that were sent
and not answered are OutcomeUnknown, commands that were not sent are Unavailable; a node that
says good-bye tells how far it read, so that planned hand-overs leave nothing unknown.
Never repeats a command by itself: whoever repeats must mark it (rule R8).

grpc.aio leaks memory when a read is cancelled, so each stream has one reader that only ends
with its call.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakSet

import grpc
from timeball.errors import (
    Draining,
    OutcomeUnknown,
    ResourceExhausted,
    TimeballError,
    Unavailable,
)

from timeball_server.core.commands import Command, Outcome
from timeball_server.core.limits import MAX_BATCH_BYTES
from timeball_server.internal.v1 import shard_service_pb2 as pb
from timeball_server.internal.v1 import shard_service_pb2_grpc as stubs
from timeball_server.ports.clock import Clock
from timeball_server.ports.owners import (
    OwnerClient,
    OwnerDialer,
    OwnerInspector,
    OwnerObserver,
    OwnerWatch,
)
from timeball_server.rpc.inspection import GrpcInspector
from timeball_server.rpc.options import ACCEPTED_KEY, internal_channel_options
from timeball_server.rpc.owner_convert import read_outcome, write_command
from timeball_server.rpc.owner_servicer import TAKEN_KEY
from timeball_server.rpc.watching import GrpcOwnerWatch

PACE_S: Final = 0.005
"""How old the last message is when the next one goes: what many callers ask travels together, and
what one asks alone goes at once."""
UNUSED_MS: Final = 600_000
"""A node that nobody asked for so long and that ended its streams has gone: its client is closed.
Longer than any call to it takes."""
_LOOK_EVERY_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerLimits:
    """Bounds of one client.

    Attributes:
        commands: asked and not answered, queued ones included.
        queued_bytes: written and not yet given to gRPC.
        first_backoff_ms: pause after a first failed connection; doubles from then on.
        max_backoff_ms: longest pause.
        close_grace_ms: how long closing waits for answers.
    """

    commands: int = 20_000
    queued_bytes: int = 64 * 1024 * 1024
    first_backoff_ms: int = 50
    max_backoff_ms: int = 2_000
    close_grace_ms: int = 1_000


@dataclass(slots=True, eq=False)
class _Ask:
    """One group in flight. `answer` becomes None when all outcomes are here, or the error."""

    commands: Sequence[Command]
    answer: asyncio.Future[TimeballError | None]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    sent: bool = False


@dataclass(slots=True)
class _Outgoing:
    """A message that is still open for more groups."""

    message: pb.ExecuteRequest = field(default_factory=pb.ExecuteRequest)
    size_bytes: int = 0
    asks: list[_Ask] = field(default_factory=list)


Call = grpc.aio.StreamStreamCall[pb.ExecuteRequest, pb.ExecuteResponse]


class _Stream:
    """One stream to one node, from its opening to its end."""

    def __init__(self, call: Call, limits: OwnerLimits, on_end: Callable[[bool], None]) -> None:
        self._call = call
        self._limits = limits
        self._on_end = on_end
        self._accepted = False
        self._asks: dict[int, _Ask] = {}
        self._queue: deque[_Outgoing] = deque()
        self._queued_bytes = 0
        self._commands = 0
        self._number = 0
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._waking: asyncio.TimerHandle | None = None
        self._written_s = -PACE_S
        self._closing = False
        self.ended = False
        self._tasks = (asyncio.create_task(self._write()), asyncio.create_task(self._read()))

    def ask(self, commands: Sequence[Command]) -> list[_Ask]:
        """Queue commands, in as many groups as their size needs.

        Raises:
            ResourceExhausted: too much is in flight; nothing was queued.
        """
        if self._commands + len(commands) > self._limits.commands or (
            self._queued_bytes > self._limits.queued_bytes
        ):
            raise ResourceExhausted(
                "too many commands wait for this scheduler node; slow down and try again"
            )
        asks: list[_Ask] = []
        remaining = deque(commands)
        while remaining:
            asks.append(self._queue_group(remaining))
        if self._waking is None:
            self._wake_by(self._written_s + PACE_S)
        return asks

    async def close(self) -> None:
        """Send what is queued, wait a little for answers, then end the call."""
        self._closing = True
        self._wake.set()
        await asyncio.wait(self._tasks, timeout=self._limits.close_grace_ms / 1000)
        self._call.cancel()
        await asyncio.wait(self._tasks)

    def _wake_by(self, when_s: float) -> None:
        """Write at this instant of the loop's clock, or now if it has passed."""
        if when_s <= self._loop.time():
            self._wake.set()
        else:
            self._waking = self._loop.call_at(when_s, self._waken)

    def _waken(self) -> None:
        self._waking = None
        self._wake.set()

    def _queue_group(self, remaining: deque[Command]) -> _Ask:
        """Write commands into one group until it is big enough."""
        if not self._queue or self._queue[-1].size_bytes >= MAX_BATCH_BYTES:
            self._queue.append(_Outgoing())
        out = self._queue[-1]
        self._number += 1
        group = out.message.groups.add(number=self._number)
        taken: list[Command] = []
        size_bytes = 0
        while remaining and out.size_bytes + size_bytes < MAX_BATCH_BYTES:
            taken.append(remaining.popleft())
            command = group.commands.add()
            write_command(command, taken[-1])
            size_bytes += command.ByteSize()
        ask = _Ask(taken, self._loop.create_future())
        out.size_bytes += size_bytes
        out.asks.append(ask)
        self._asks[self._number] = ask
        self._queued_bytes += size_bytes
        self._commands += len(taken)
        return ask

    async def _write(self) -> None:
        """Send what was queued in one turn of the loop as one message, until the end."""
        headers = await self._call.initial_metadata() or ()
        self._accepted = any(key == ACCEPTED_KEY for key, _ in headers)
        if not self._accepted:
            return  # the reader learns why
        try:
            while await self._queued():
                out = self._queue.popleft()
                self._queued_bytes -= out.size_bytes
                for ask in out.asks:
                    ask.sent = True
                self._written_s = self._loop.time()
                await self._call.write(out.message)
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            self._call.cancel()  # the reader settles everything

    async def _queued(self) -> bool:
        """Wait for something to send; False = nothing will come any more."""
        while not self._is_ready():
            self._wake.clear()
            await self._wake.wait()
        return bool(self._queue) and not self.ended

    def _is_ready(self) -> bool:
        """Whether to write now, or never again; what is queued waits for its pace."""
        return self._closing or self.ended or bool(self._queue and self._waking is None)

    async def _read(self) -> None:
        """Match answers until the call ends, then settle what is left."""
        why = await self._read_to_end()
        self.ended = True
        self._wake.set()
        self._on_end(self._accepted)
        taken = await self._taken()
        for number, ask in list(self._asks.items()):
            self._finish(number, _fate(ask.sent and (taken is None or number <= taken), why))

    async def _read_to_end(self) -> str:
        """Answer askers until the call ends; say why it did."""
        try:
            while isinstance(reply := await self._call.read(), pb.ExecuteResponse):
                for group in reply.groups:
                    self._answer(group)
        except grpc.aio.AioRpcError as error:
            return error.details() or str(error.code())
        except asyncio.CancelledError:
            if not self._call.cancelled():
                raise
            return "the stream was closed"
        return "the scheduler node ended the stream"

    def _answer(self, group: pb.OutcomeGroup) -> None:
        ask = self._asks.get(group.number)
        if ask is None:
            return
        try:
            for position, message in enumerate(group.outcomes, group.first):
                ask.outcomes[position] = read_outcome(message, ask.commands[position])
        except (ValueError, LookupError) as error:
            self._finish(group.number, _fate(True, f"the answer is of another version: {error}"))
            return
        if len(ask.outcomes) == len(ask.commands):
            self._finish(group.number, None)

    def _finish(self, number: int, error: TimeballError | None) -> None:
        ask = self._asks.pop(number)
        self._commands -= len(ask.commands)
        if not ask.answer.done():  # else the asker has stopped waiting
            ask.answer.set_result(error)

    async def _taken(self) -> int | None:
        for key, value in await self._call.trailing_metadata() or ():
            if key == TAKEN_KEY:
                return int(value)
        return None


def _fate(sent: bool, why: str) -> TimeballError:
    """What a command without an answer is: unknown when the node may have it."""
    if sent:
        sentence = "the commands were sent and not answered; repeat them marked as resend"
        return OutcomeUnknown(f"{sentence} ({why})")
    return Unavailable(f"the scheduler node was not reached: {why}")


class GrpcOwnerClient(OwnerClient):
    """One scheduler node over one connection; opened when first needed, and again when broken."""

    def __init__(
        self, channel: grpc.aio.Channel, clock: Clock, rng: random.Random, limits: OwnerLimits
    ) -> None:
        self._channel = channel
        self.inspector = GrpcInspector(channel)
        self._stub = stubs.ShardServiceStub(channel)
        self._clock = clock
        self._rng = rng
        self._limits = limits
        self._stream: _Stream | None = None
        self._watches: WeakSet[GrpcOwnerWatch] = WeakSet()
        self._failures = 0
        self._not_before_ms = 0
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether a stream to the node stands, or is being opened."""
        if self._stream is not None and not self._stream.ended:
            return True
        return any(not watch.ended for watch in self._watches)

    async def execute(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        """See the port. Also raises ResourceExhausted when too much is in flight."""
        asks = self._current().ask(commands)
        errors = [error for ask in asks if (error := await ask.answer) is not None]
        for error in errors:
            if isinstance(error, OutcomeUnknown):
                raise error
        if errors:
            partly = len(errors) < len(asks)
            raise OutcomeUnknown(errors[0].message) if partly else errors[0]
        return [ask.outcomes[position] for ask in asks for position in range(len(ask.commands))]

    def watch(self) -> OwnerWatch:
        """See the port. Opens its stream at once, and again and again when asked again."""
        if self._closed:
            raise Draining("this client is closed")
        watch = GrpcOwnerWatch(self._stub.Watch())
        self._watches.add(watch)
        return watch

    async def close(self) -> None:
        """End the streams and the connection."""
        self._closed = True
        for watch in self._watches:
            await watch.close()
        if self._stream is not None:
            await self._stream.close()
        await self._channel.close()

    def _current(self) -> _Stream:
        """The living stream, or a new one unless the last ones failed a moment ago."""
        if self._closed:
            raise Draining("this client is closed")
        if self._stream is not None and not self._stream.ended:
            return self._stream
        left_ms = self._not_before_ms - self._clock.now().mono_ms
        if left_ms > 0:
            raise Unavailable(
                "the scheduler node could not be reached a moment ago",
                retry_after_s=left_ms / 1000,
            )
        self._stream = _Stream(self._stub.Execute(), self._limits, self._note_end)
        return self._stream

    def _note_end(self, accepted: bool) -> None:
        """After a stream that never was, pause; the longer the more often."""
        if accepted:
            self._failures = 0
            return
        span_ms = min(self._limits.max_backoff_ms, self._limits.first_backoff_ms << self._failures)
        self._failures = min(self._failures + 1, 16)
        pause_ms = round(span_ms * self._rng.uniform(0.5, 1.0))
        self._not_before_ms = self._clock.now().mono_ms + pause_ms


class GrpcOwnerDialer(OwnerDialer):
    """Clients by address, each with its own connection until its node has gone for good.

    Args:
        clock: measures pauses.
        rng: spreads pauses of many clients.
        credentials: of the channel; None = plain text.
        limits: of each client.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rng: random.Random,
        credentials: grpc.ChannelCredentials | None = None,
        limits: OwnerLimits | None = None,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._credentials = credentials
        self._limits = limits or OwnerLimits()
        self._clients: dict[str, GrpcOwnerClient] = {}
        self._used_ms: dict[str, int] = {}
        self._look_ms = 0
        self._closing: set[asyncio.Task[None]] = set()

    def client(self, address: str) -> OwnerClient:
        """The client for a scheduler node's address; made once, connects when first used."""
        return self._client(address)

    def inspector(self, address: str) -> OwnerInspector:
        """The same scheduler node, for operators; over the same connection."""
        return self._client(address).inspector

    def observer(self, address: str) -> OwnerObserver:
        """The same scheduler node, for consoles; over the same connection."""
        return self._client(address).inspector

    def clients(self) -> Sequence[GrpcOwnerClient]:
        """Those that are kept."""
        return list(self._clients.values())

    def _client(self, address: str) -> GrpcOwnerClient:
        now_ms = self._clock.now().mono_ms
        self._used_ms[address] = now_ms
        if now_ms >= self._look_ms:
            self._look_ms = now_ms + _LOOK_EVERY_MS
            self._close_unused(now_ms - UNUSED_MS)
        found = self._clients.get(address)
        if found is None:
            channel = self._channel(address)
            found = GrpcOwnerClient(channel, self._clock, self._rng, self._limits)
            self._clients[address] = found
        return found

    def _close_unused(self, since_ms: int) -> None:
        """Close what nobody has asked for since an instant, and what no stream of it holds."""
        for address, client in list(self._clients.items()):
            if self._used_ms[address] <= since_ms and not client.is_open:
                del self._clients[address], self._used_ms[address]
                task = asyncio.get_running_loop().create_task(client.close(), name="close")
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        clients = list(self._clients.values())
        self._clients.clear()
        await asyncio.gather(*(client.close() for client in clients), *self._closing)

    def _channel(self, address: str) -> grpc.aio.Channel:
        options = internal_channel_options()
        if self._credentials is None:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, self._credentials, options=options)
