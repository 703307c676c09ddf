"""The owners' push stream over gRPC: both ends and the messages between them.

Owns packing and what a broken stream means: nothing is lost that a new stream would not tell, so
its reader follows again. grpc.aio leaks memory when a read is cancelled, so each end has one
reader that only ends with its call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

import grpc
from timeball.errors import TimeballError, Unavailable

from timeball_server.core.commands import Outcome, Rejected, RejectionReason, WatchTask
from timeball_server.core.ids import TaskId
from timeball_server.core.limits import MAX_BATCH_BYTES, MAX_INTERNAL_MESSAGE_BYTES
from timeball_server.internal.v1 import shard_service_pb2 as pb
from timeball_server.ports.owners import Change, OwnerWatch
from timeball_server.rpc.options import ACCEPTED_KEY
from timeball_server.rpc.owner_convert import read_outcome, write_outcome

WISHES_AT_ONCE: Final = 5_000
"""Follows and drops of one message."""
MAX_CHANGE_BYTES: Final = MAX_INTERNAL_MESSAGE_BYTES - MAX_BATCH_BYTES - 64 * 1024
"""A change that fits behind any message that is still open."""
Call = grpc.aio.StreamStreamCall[pb.WatchRequest, pb.WatchResponse]
Context = grpc.aio.ServicerContext[pb.WatchRequest, pb.WatchResponse]


class GrpcOwnerWatch(OwnerWatch):
    """The coordinator's end of one stream, from its opening to its end."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._wishes: list[tuple[int, WatchTask | None]] = []
        self._news: dict[int, Outcome] = {}
        self._to_write = asyncio.Event()
        self._to_read = asyncio.Event()
        self._over = ""
        self._closing = False
        self._tasks = (asyncio.create_task(self._write()), asyncio.create_task(self._read()))

    @property
    def ended(self) -> bool:
        """Whether it tells no more."""
        return bool(self._over)

    def follow(self, number: int, watched: WatchTask) -> None:
        """See the port."""
        self._wishes.append((number, watched))
        self._to_write.set()

    def drop(self, number: int) -> None:
        """See the port."""
        self._news.pop(number, None)
        self._wishes.append((number, None))
        self._to_write.set()

    async def changes(self) -> Sequence[Change]:
        """See the port."""
        while not self._news:
            if self._over:
                raise Unavailable(f"the scheduler node tells no more: {self._over}")
            self._to_read.clear()
            await self._to_read.wait()
        news, self._news = self._news, {}
        return [Change(*each) for each in news.items()]

    async def close(self) -> None:
        """See the port."""
        self._closing = True
        self._to_write.set()
        self._call.cancel()
        await asyncio.wait(self._tasks)

    async def _write(self) -> None:
        """Say what is wished for, what one turn of the loop brought in one message."""
        headers = await self._call.initial_metadata() or ()
        if not any(key == ACCEPTED_KEY for key, _ in headers):
            return  # the reader learns why
        try:
            while not (self._over or self._closing):
                wishes = self._wishes[:WISHES_AT_ONCE]
                del self._wishes[:WISHES_AT_ONCE]
                if wishes:
                    await self._call.write(_request(wishes))
                    continue
                self._to_write.clear()
                await self._to_write.wait()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            self._call.cancel()  # the reader learns why

    async def _read(self) -> None:
        self._over = await self._read_to_end()
        self._to_read.set()
        self._to_write.set()

    async def _read_to_end(self) -> str:
        """Take news until the call ends; say why it did."""
        try:
            while isinstance(response := await self._call.read(), pb.WatchResponse):
                for change in response.changes:
                    self._news[change.number] = _outcome(change)
                self._to_read.set()
        except grpc.aio.AioRpcError as error:
            return error.details() or str(error.code())
        except asyncio.CancelledError:
            if not self._call.cancelled():
                raise
            return "the stream was closed"
        return "it ended the stream"


async def serve_watch(watch: OwnerWatch, context: Context, draining: asyncio.Event) -> None:
    """The node's end: until the coordinator goes, or this node drains and has told the rest."""
    await context.send_initial_metadata(((ACCEPTED_KEY, "1"),))
    reader = asyncio.create_task(_hear(watch, context))
    writer = asyncio.create_task(_tell(watch, context))
    drained = asyncio.create_task(draining.wait())
    try:
        await asyncio.wait((reader, writer, drained), return_when=asyncio.FIRST_COMPLETED)
        await watch.close()
        await writer
    finally:
        await watch.close()
        drained.cancel()
        writer.cancel()


async def _hear(watch: OwnerWatch, context: Context) -> None:
    try:
        while isinstance(request := await context.read(), pb.WatchRequest):
            for each in request.follow:
                watch.follow(each.number, _watched(each))
            for number in request.drop:
                watch.drop(number)
    except (grpc.aio.BaseError, asyncio.InvalidStateError):
        return  # the peer is gone and follows nothing any more


async def _tell(watch: OwnerWatch, context: Context) -> None:
    try:
        while True:
            for message in _responses(await watch.changes()):
                await context.write(message)
    except (TimeballError, grpc.aio.BaseError, asyncio.InvalidStateError):
        return  # the stream is over, or the peer is gone


def _request(wishes: Sequence[tuple[int, WatchTask | None]]) -> pb.WatchRequest:
    request = pb.WatchRequest()
    for number, watched in wishes:
        if watched is None:
            request.drop.append(number)
        else:
            request.follow.add(
                number=number,
                task_id=watched.task_id,
                namespace=watched.namespace,
                every_change=watched.every,
            )
    return request


def _watched(message: pb.Follow) -> WatchTask:
    return WatchTask(
        task_id=TaskId(message.task_id), namespace=message.namespace, every=message.every_change
    )


def _responses(changes: Sequence[Change]) -> Iterator[pb.WatchResponse]:
    """Changes in as many messages as their size needs."""
    response, size_bytes = pb.WatchResponse(), 0
    for each in changes:
        if size_bytes >= MAX_BATCH_BYTES:
            yield response
            response, size_bytes = pb.WatchResponse(), 0
        change = response.changes.add(number=each.number)
        write_outcome(change.outcome, each.outcome)
        if change.ByteSize() > MAX_CHANGE_BYTES:
            sentence = "the task is too large to send as it is now; read it"
            change.outcome.Clear()
            write_outcome(change.outcome, Rejected(RejectionReason.OVERLOADED, sentence))
        size_bytes += change.ByteSize()
    yield response


def _outcome(change: pb.Change) -> Outcome:
    try:
        return read_outcome(change.outcome)
    except (ValueError, LookupError) as error:
        return Rejected(RejectionReason.UNKNOWN, f"the change is of another version: {error}")
