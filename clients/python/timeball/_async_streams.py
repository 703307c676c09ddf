"""Streams of the asynchronous client: opened again when they break, as long as that may help."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any, TypeVar

import grpc

from timeball._clock import Clock
from timeball._flow import Method
from timeball._status import DETAILS_KEY
from timeball._streaming import CREATE_TASKS, Creations, Decided
from timeball._watching import WATCH_TASKS, Watching
from timeball.changes import Change
from timeball.errors import Internal, TimeballError, Unavailable
from timeball.v1 import task_service_pb2 as tasks

Metadata = tuple[tuple[str, str], ...]
Requests = AsyncIterable[tasks.CreateTaskRequest]
T = TypeVar("T")


class Opener:
    """Opens streams on a client's channel.

    Args:
        to_error: the family's error for a broken call.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        metadata: Metadata,
        to_error: Callable[[grpc.RpcError], TimeballError],
    ) -> None:
        self.to_error = to_error
        self._channel = channel
        self._metadata = metadata

    def watch(self, request: tasks.WatchTasksRequest, timeout_s: float | None) -> Any:
        """A WatchTasks call."""
        open_call = self._call(WATCH_TASKS, self._channel.unary_stream)
        return open_call(request, timeout=timeout_s, metadata=self._metadata)

    def create(self) -> Any:
        """A CreateTasks call."""
        return self._call(CREATE_TASKS, self._channel.stream_stream)(metadata=self._metadata)

    def _call(self, method: Method[Any, Any], kind: Callable[..., Any]) -> Any:
        return kind(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString,
        )


async def watched(opener: Opener, clock: Clock, watching: Watching) -> AsyncIterator[Change]:
    """Changes until everything has ended; raises what Watching.pause_s raises."""
    while not watching.has_ended():
        error: TimeballError | None = None
        call = opener.watch(watching.request(), watching.timeout_s)
        try:
            async for response in call:
                for change in watching.take(response):
                    yield change
                if watching.has_ended():
                    return
        except grpc.RpcError as broken:
            error = opener.to_error(broken)
        finally:
            call.cancel()
        await clock.sleep_async(watching.pause_s(error))


async def created(
    opener: Opener, clock: Clock, creations: Creations, requests: Requests
) -> AsyncIterator[Decided]:
    """What becomes of each request, as it is decided; raises what Creations.broke raises."""
    feed = _Feed(creations, clock)
    feeding = asyncio.ensure_future(feed.fill(requests))
    try:
        while not feed.is_over:
            error: TimeballError | None = None
            call = opener.create()
            writing = asyncio.ensure_future(feed.write(call))
            try:
                async for response in call:
                    for decided in creations.take(response):
                        yield decided
                    feed.look_again()
            except grpc.RpcError as broken:
                error = _why(opener, broken)
            finally:
                writing.cancel()
                call.cancel()
                await asyncio.wait((writing,))
            if feed.failure is not None:
                raise feed.failure
            if creations.has_given_up or not feed.is_over:
                decided_now, pause_s = creations.broke(error)
                for decided in decided_now:
                    yield decided
                feed.look_again()
                await clock.sleep_async(pause_s)
    finally:
        feeding.cancel()
        await asyncio.wait((feeding,))


def _why(opener: Opener, broken: Any) -> TimeballError:
    """What a broken stream means. grpc.aio calls a write that found no connection internal.

    Of our services' own errors each names its reason.
    """
    error = opener.to_error(broken)
    is_theirs = any(key == DETAILS_KEY for key, _ in broken.trailing_metadata() or ())
    if isinstance(error, Internal) and not is_theirs:
        return Unavailable(f"the connection broke: {error.message}")
    return error


class _Feed:
    """Brings requests to the stream in hand, a bounded number at a time."""

    def __init__(self, creations: Creations, clock: Clock) -> None:
        self.failure: Exception | None = None
        self._creations = creations
        self._clock = clock
        self._is_filled = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes and everything is decided."""
        return self._is_filled and self._creations.is_idle

    def look_again(self) -> None:
        """Something was decided: there may be room, something to repeat, or the end."""
        self._news.set()
        if self._creations.has_room:
            self._room.set()

    async def fill(self, requests: Requests) -> None:
        """Take requests as they come, and as there is room for them."""
        index = 0
        try:
            async for request in requests:
                while not self._creations.has_room:
                    self._room.clear()
                    await self._room.wait()
                self._creations.add(index, request)
                index += 1
                self._news.set()
        except Exception as failure:  # noqa: BLE001 - raised by the reader, in its turn
            self._note(failure)
        self._is_filled = True
        self._news.set()

    def _note(self, failure: Exception) -> None:
        self.failure = failure

    async def write(self, call: Any) -> None:
        """Send what is ready until nothing more will be, then end our side of the stream."""
        try:
            while not self._has_nothing_to_send():
                self._news.clear()
                while (chunk := self._creations.chunk()) is not None:
                    await call.write(chunk)
                if not self._has_nothing_to_send():
                    await self._wait_for_news()
            await call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            call.cancel()  # the reader learns why

    def _has_nothing_to_send(self) -> bool:
        """Whether nothing will be sent any more, or the reader has to look without an answer."""
        return self.is_over or self.failure is not None or self._creations.has_given_up

    async def _wait_for_news(self) -> None:
        wake_in_s = self._creations.wake_in_s()
        if wake_in_s is None:
            await self._news.wait()
            return
        sleeping = asyncio.ensure_future(self._clock.sleep_async(wake_in_s))
        waiting = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait((sleeping, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waiting.cancel()


async def each_of(source: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """Items one by one, from either kind of source."""
    if isinstance(source, AsyncIterable):
        async for item in source:
            yield item
        return
    for item in source:
        yield item
