"""Streams of the synchronous client: opened again when they break, for as long as that may help."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import grpc

from timeball._clock import Clock
from timeball._flow import Method
from timeball._streaming import CREATE_TASKS, Creations, Decided
from timeball._watching import WATCH_TASKS, Watching
from timeball.changes import Change
from timeball.errors import TimeballError
from timeball.v1 import task_service_pb2 as tasks

Metadata = tuple[tuple[str, str], ...]


class Opener:
    """Opens streams on a client's channel.

    Args:
        to_error: the family's error for a broken call.
    """

    def __init__(
        self,
        channel: grpc.Channel,
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

    def create(self, requests: Iterator[tasks.CreateTasksRequest]) -> Any:
        """A CreateTasks call."""
        open_call = self._call(CREATE_TASKS, self._channel.stream_stream)
        return open_call(requests, metadata=self._metadata)

    def _call(self, method: Method[Any, Any], kind: Callable[..., Any]) -> Any:
        return kind(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString,
        )


def watched(opener: Opener, clock: Clock, watching: Watching) -> Iterator[Change]:
    """Changes until everything has ended; raises what Watching.pause_s raises."""
    while not watching.has_ended():
        error: TimeballError | None = None
        call = opener.watch(watching.request(), watching.timeout_s)
        try:
            for response in call:
                yield from watching.take(response)
                if watching.has_ended():
                    return
        except grpc.RpcError as broken:
            error = opener.to_error(broken)
        finally:
            call.cancel()
        clock.sleep(watching.pause_s(error))


def created(
    opener: Opener,
    clock: Clock,
    creations: Creations,
    requests: Iterable[tasks.CreateTaskRequest],
) -> Iterator[Decided]:
    """What becomes of each request, as it is decided; raises what Creations.broke raises."""
    source = enumerate(requests)
    more = True

    def fill() -> bool:
        """Take what there is room for; whether more may come."""
        while creations.has_room:
            taken = next(source, None)
            if taken is None:
                return False
            creations.add(*taken)
        return True

    while more or not creations.is_idle:
        more = more and fill()
        if not more and creations.is_idle:
            return
        with _Stream(opener) as stream:
            error = None
            while error is None and (more or not creations.is_idle):
                stream.send_all(creations.chunk)
                told = creations.given_up()
                yield from told
                if told or _slept(creations, clock):
                    more = more and fill()
                    continue
                response, error = stream.read()
                if response is None:
                    break
                yield from creations.take(response)
                more = more and fill()
        if more or not creations.is_idle:
            decided, pause_s = creations.broke(error)
            yield from decided
            clock.sleep(pause_s)


def _slept(creations: Creations, clock: Clock) -> bool:
    """Whether no answer is owed, only something to be sent again; then it is time for that."""
    wake_in_s = creations.wake_in_s()
    if creations.is_asked or wake_in_s is None:
        return False
    clock.sleep(wake_in_s)
    return True


class _Stream:
    """One CreateTasks call, from its opening to its end."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._outbox: queue.SimpleQueue[tasks.CreateTasksRequest | None] = queue.SimpleQueue()
        self._call = opener.create(iter(self._outbox.get, None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._outbox.put(None)
        self._call.cancel()

    def send_all(self, chunk: Callable[[], tasks.CreateTasksRequest | None]) -> None:
        """Queue every chunk that is ready."""
        while (ready := chunk()) is not None:
            self._outbox.put(ready)

    def read(self) -> tuple[tasks.CreateTasksResponse | None, TimeballError | None]:
        """The next answer; None and why at the end, without a reason if the server just ended."""
        try:
            return next(self._call, None), None
        except grpc.RpcError as broken:
            return None, self._opener.to_error(broken)
