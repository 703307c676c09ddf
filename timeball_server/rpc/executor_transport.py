"""The executor port over gRPC: what scheduler nodes dial and what executors serve.

Owns connections and frames. Never retries, never reconnects and never looks into a message: a
broken stream ends, and who dialled it decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import grpc
import grpc.aio
from timeball.errors import TimeballError, Unavailable

from timeball_server.core.messages import (
    AckResults,
    Capacity,
    Dispatch,
    Finished,
    FromExecutor,
    Started,
    StreamHello,
    ToExecutor,
)
from timeball_server.internal.v1 import executor_service_pb2 as pb
from timeball_server.internal.v1 import executor_service_pb2_grpc as pb_grpc
from timeball_server.ports.coordination import Member
from timeball_server.ports.executors import ExecutorServer
from timeball_server.rpc.executor_convert import (
    executor_messages,
    hello_from_proto,
    hello_to_proto,
    owner_messages,
    read_executor_message,
    read_owner_message,
)
from timeball_server.rpc.message_stream import EASY_PACE_S, PACE_S, MessageStream
from timeball_server.rpc.options import internal_channel_options
from timeball_server.rpc.status import abort_with

OPEN_TIMEOUT_S: Final = 5.0
"""From dialling to the executor's first words."""
_BROKEN: Final = (
    grpc.aio.AioRpcError,
    grpc.aio.BaseError,
    asyncio.InvalidStateError,
)

Call = grpc.aio.StreamStreamCall[pb.DispatchRequest, pb.DispatchResponse]
Context = grpc.aio.ServicerContext[pb.DispatchRequest, pb.DispatchResponse]
OwnerEnd = MessageStream[FromExecutor, ToExecutor, pb.OwnerMessage, pb.DispatchRequest]
ExecutorEnd = MessageStream[ToExecutor, FromExecutor, pb.ExecutorMessage, pb.DispatchResponse]


class GrpcExecutorStream:
    """The owner's end of a stream (an `ExecutorStream`), made by `GrpcExecutorDialer.open`."""

    def __init__(self, channel: grpc.aio.Channel, call: Call, first: pb.DispatchResponse) -> None:
        self._channel = channel
        self._call = call
        self._first: pb.DispatchResponse | None = first
        self._end: OwnerEnd = MessageStream(
            read=self._read,
            write=call.write,
            parts=owner_messages,
            frame=_request,
            broken=_BROKEN,
        )
        self._end.start()

    def send(self, message: ToExecutor) -> None:
        """Queue a message in order, without waiting. After the end it is dropped.

        Acknowledged results travel with the next order: an executor only forgets upon them.
        """
        self._end.send(message, patient=isinstance(message, AckResults))

    async def receive(self) -> FromExecutor | None:
        """The next message, None when the stream has ended."""
        return await self._end.receive()

    async def close(self) -> None:
        """Write what is queued if that is quick, then end the stream."""
        await self._end.finish(self._call.cancel)
        await self._channel.close()

    async def _read(self) -> Iterable[FromExecutor] | None:
        first, self._first = self._first, None
        response = first or await self._call.read()
        if isinstance(response, pb.DispatchResponse):
            return [read_executor_message(message) for message in response.messages]
        return None


class GrpcExecutorDialer:
    """Opens streams to executors (an `ExecutorDialer`).

    Args:
        credentials: for TLS; None = plain text, for loopback.
        open_timeout_s: from dialling to the executor's first words.
    """

    def __init__(
        self,
        credentials: grpc.ChannelCredentials | None = None,
        open_timeout_s: float = OPEN_TIMEOUT_S,
    ) -> None:
        self._credentials = credentials
        self._open_timeout_s = open_timeout_s

    async def open(self, executor: Member, hello: StreamHello) -> GrpcExecutorStream:
        """Connect, introduce ourselves and wait for the executor's first words.

        Raises:
            Unavailable: the executor cannot be reached now, or is another incarnation.
        """
        channel = self._channel(executor.address)
        try:
            async with asyncio.timeout(self._open_timeout_s):
                call = pb_grpc.ExecutorServiceStub(channel).Dispatch()
                await call.write(pb.DispatchRequest(hello=hello_to_proto(hello)))
                # Initial metadata come before a refusal too; only the first words are a yes.
                first = await call.read()
        except (grpc.aio.AioRpcError, TimeoutError, asyncio.InvalidStateError) as error:
            await channel.close()
            raise _unreachable(executor, error) from error
        except BaseException:
            await channel.close()
            raise
        if not isinstance(first, pb.DispatchResponse):
            await channel.close()
            raise Unavailable(f"executor {executor.node} ended the stream without a word")
        return GrpcExecutorStream(channel, call, first)

    def _channel(self, address: str) -> grpc.aio.Channel:
        options = list(internal_channel_options())
        if self._credentials is None:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, self._credentials, options=options)


class GrpcExecutorServer:
    """The executor's end of a stream (an `ExecutorServer`), made by the servicer."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pace = Pace()
        self._end: ExecutorEnd = MessageStream(
            read=self._read,
            write=context.write,
            parts=executor_messages,
            frame=_response,
            broken=_BROKEN,
            join=joined,
        )
        self._end.start()

    async def receive(self) -> ToExecutor | None:
        """The next message of the owner, None when the stream has ended."""
        message = await self._end.receive()
        self._pace.hear(message)
        return message

    def send(self, message: FromExecutor) -> None:
        """Queue a message in order, without waiting; what runs did travels together."""
        self._end.send(message, pace_s=self._pace.of(message))

    def close(self) -> None:
        """End the stream."""
        self._end.end()

    async def finish(self) -> None:
        """Write what is queued if that is quick; nothing is written afterwards."""
        await self._end.finish()

    async def _read(self) -> Iterable[ToExecutor] | None:
        request: object = await self._context.read()
        if isinstance(request, pb.DispatchRequest):
            return [read_owner_message(message) for message in request.messages]
        return None


class ExecutorServicer(pb_grpc.ExecutorServiceServicer):
    """Serves the executor's streams.

    Args:
        serve: serves one stream from its hello to its end and says something at once when it
            accepts; raises TimeballError to refuse it.
    """

    def __init__(self, serve: Callable[[StreamHello, ExecutorServer], Awaitable[None]]) -> None:
        self._serve = serve

    async def Dispatch(  # type: ignore[override]  # noqa: N802 - the generated base is typed for both kinds of server
        self, request_iterator: object, context: Context
    ) -> None:
        """One stream: the hello, then messages both ways until either side ends it."""
        first: object = await context.read()
        if not isinstance(first, pb.DispatchRequest) or not first.HasField("hello"):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a stream begins with its hello")
        stream = GrpcExecutorServer(context)
        try:
            await self._serve(hello_from_proto(first.hello), stream)
        except TimeballError as refusal:
            await stream.finish()
            await abort_with(context, refusal)
        finally:
            await stream.finish()


class Pace:
    """How long what runs did may wait for company, in seconds.

    An owner is told of slots in time while they are scarce, and always of runs that have a key: it
    may wait for the place. While half of the slots are free, nobody starts anything later for it.
    """

    def __init__(self) -> None:
        self._scarce = True
        self._keyed = False

    def hear(self, message: ToExecutor | None) -> None:
        """Take note of what the owner says."""
        if isinstance(message, Dispatch) and not self._keyed:
            self._keyed = any(order.concurrency_key for order in message.orders)

    def of(self, message: FromExecutor) -> float:
        """How old the last frame must be for this message to begin one; 0 = it goes at once."""
        if isinstance(message, Capacity):
            self._scarce = (
                message.draining or bool(message.full) or 2 * message.free < message.slots
            )
        if not may_wait(message):
            return 0.0
        return PACE_S if self._scarce or self._keyed else EASY_PACE_S


def may_wait(message: FromExecutor) -> bool:
    """Whether nobody minds a few milliseconds: a run that its task was born with is awaited."""
    if isinstance(message, Finished):
        return all(result.run.run.seq > 1 for result in message.results)
    return isinstance(message, Started | Capacity)


def joined(said: Sequence[FromExecutor]) -> Iterable[FromExecutor]:
    """What runs did within one frame: all that began, all that ended, and what is free after it.

    Each message costs both ends more than one more run in it. Anything else said in between leaves
    all as it is: an inventory, for one, must come behind what it was taken after.
    """
    if not all(isinstance(each, Started | Finished | Capacity) for each in said):
        return said
    began = [run for each in said if isinstance(each, Started) for run in each.runs]
    ended = [result for each in said if isinstance(each, Finished) for result in each.results]
    free = [each for each in said if isinstance(each, Capacity)]
    told: list[FromExecutor] = [Started(tuple(began))] if began else []
    if ended:
        told.append(Finished(tuple(ended)))
    return [*told, *free[-1:]]


def _request(messages: list[pb.OwnerMessage]) -> pb.DispatchRequest:
    return pb.DispatchRequest(messages=messages)


def _response(messages: list[pb.ExecutorMessage]) -> pb.DispatchResponse:
    return pb.DispatchResponse(messages=messages)


def _unreachable(executor: Member, error: BaseException) -> Unavailable:
    """One sentence for a person: who, where, and what the connection said."""
    details = error.details() if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
    return Unavailable(
        f"executor {executor.node} at {executor.address} cannot be used now: {details}",
        metadata={"executor": executor.node},
    )
