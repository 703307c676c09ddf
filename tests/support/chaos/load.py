"""An open-loop client: creates tasks at a rate whatever happens, and keeps what was acknowledged.

Half of the tasks go by unary calls of the SDK, half over a CreateTasks stream that is opened
again when it breaks. What a broken stream left unanswered is sent again with the same request
id and the mark of a resend, as the API asks of callers.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import timeball
from timeball import _requests, errors
from timeball._base import CHANNEL_OPTIONS
from timeball.settings import resolve
from timeball.v1 import task_pb2, task_service_pb2, task_service_pb2_grpc

from tests.support.chaos import tasks
from tests.support.polls import moment, mono_s
from timeball_server.runtime.clock import SystemClock

RETRY = timeball.RetryPolicy(max_attempts=10, initial_delay="50ms", max_delay="200ms")
DELAYS_MS = (0, 50, 300, 800, 2_000)
ONCE_EVERY = 5
REOPEN_S = 0.05
CHUNKS_UNANSWERED = 4
CHUNK_REQUESTS = 500
PATIENCE_S = 15.0
"""As long as the SDK repeats a call by default."""
REPEATED = frozenset({"UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED", "ABORTED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """A task that the service promised to run."""

    task_id: str
    due_ms: int
    at_most_once: bool
    streamed: bool
    took_ms: float
    asked_ms: int


@dataclass(slots=True, kw_only=True)
class Told:
    """What the client was told."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    streams_broken: int = 0
    items_repeated: int = 0


class Load:
    """Creates `rate` tasks a second at the coordinators of `address` until stopped."""

    def __init__(self, client: timeball.AsyncClient, address: str, rate: float) -> None:
        self.told = Told()
        self._client = client
        self._stream = StreamedCreates(address, self.told)
        self._rate = rate
        self._calls: set[asyncio.Task[None]] = set()
        self._going = True

    async def run(self) -> None:
        """Create until `stop`, then wait for the answers of what was begun."""
        streaming = asyncio.create_task(self._stream.run())
        begun_s, number = mono_s(), 0
        while self._going:
            while number < (mono_s() - begun_s) * self._rate:
                self._begin(number)
                number += 1
            await moment(1 / self._rate)
        await asyncio.gather(*self._calls)
        self._stream.finish()
        await streaming

    def stop(self) -> None:
        """Begin no more."""
        self._going = False

    def _begin(self, number: int) -> None:
        once = number % ONCE_EVERY == 0
        delay = f"{DELAYS_MS[(number // 2) % len(DELAYS_MS)]}ms"
        options = tasks.work.options(delay=delay, retry=RETRY, at_most_once=once)
        submission = options.prepare(number)
        if number % 2:
            self._stream.add(_requests.task_of(submission), at_most_once=once)
            return
        call = asyncio.create_task(self._create(_requests.task_of(submission), once))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _create(self, task: task_pb2.Task, once: bool) -> None:
        begun_s = mono_s()
        try:
            made = await self._client.create(task)
        except errors.TimeballError as error:
            self.told.refused.append(f"unary: {error!r}")
            return
        self.told.acknowledged.append(acknowledgement(made, once, streamed=False, begun_s=begun_s))


@dataclass(slots=True)
class _Wish:
    """A request on its way over a stream."""

    request: task_service_pb2.CreateTaskRequest
    at_most_once: bool
    begun_s: float


class StreamedCreates:
    """Requests over one stream at a time; answers come in the order of the chunks."""

    def __init__(self, address: str, told: Told) -> None:
        settings = resolve(address=address)
        self._parent = settings.parent
        self._channel = grpc.aio.insecure_channel(settings.target, CHANNEL_OPTIONS)
        self._stub = task_service_pb2_grpc.TaskServiceStub(self._channel)
        self._told = told
        self._queue: asyncio.Queue[_Wish | None] = asyncio.Queue()
        self._unanswered: list[_Wish] = []
        self._again: list[_Wish] = []
        self._finished = False
        self._chunks = 0
        self._answered = asyncio.Event()

    def add(self, task: task_pb2.Task, *, at_most_once: bool) -> None:
        """Send this one as soon as the stream takes it."""
        request = task_service_pb2.CreateTaskRequest(
            parent=self._parent, task=task, request_id=str(uuid.uuid4())
        )
        self._queue.put_nowait(_Wish(request, at_most_once, mono_s()))

    def finish(self) -> None:
        """Nothing more is added; `run` ends when all is answered."""
        self._queue.put_nowait(None)

    async def run(self) -> None:
        """One stream after another until everything has its answer."""
        while not await self._one_stream():
            self._told.streams_broken += not self._finished
            self._unanswered.extend(self._again)
            self._again.clear()
            for wish in self._unanswered:
                wish.request.resend = True
            await moment(REOPEN_S)
        await self._channel.close()

    async def _one_stream(self) -> bool:
        """Whether all is answered; otherwise the stream broke, or items are to be repeated."""
        self._chunks = 0
        call = self._stub.CreateTasks()
        sending = asyncio.create_task(self._send(call))
        try:
            async for answer in call:
                self._chunks -= 1
                self._answered.set()
                for result in answer.results:
                    self._take(result)
        except grpc.RpcError:
            return False
        finally:
            sending.cancel()
            await asyncio.wait((sending,))
            call.cancel()
        return self._finished and not self._unanswered and not self._again

    async def _send(self, call: Any) -> None:
        """First what an earlier stream left unanswered, then what is new, gathered meanwhile."""
        try:
            await self._write(call, tuple(self._unanswered))
            while not self._finished:
                new = [await self._queue.get()]
                while self._chunks >= CHUNKS_UNANSWERED:
                    self._answered.clear()
                    await self._answered.wait()
                while not self._queue.empty():
                    new.append(self._queue.get_nowait())
                self._finished = None in new
                wishes = [wish for wish in new if wish is not None]
                self._unanswered.extend(wishes)
                await self._write(call, wishes)
            await call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            call.cancel()

    async def _write(self, call: Any, wishes: Sequence[_Wish]) -> None:
        for start in range(0, len(wishes), CHUNK_REQUESTS):
            requests = [wish.request for wish in wishes[start : start + CHUNK_REQUESTS]]
            self._chunks += 1
            await call.write(task_service_pb2.CreateTasksRequest(requests=requests))

    def _take(self, result: task_service_pb2.CreateResult) -> None:
        wish = self._unanswered.pop(0)
        if result.HasField("task"):
            told = acknowledgement(
                result.task, wish.at_most_once, streamed=True, begun_s=wish.begun_s
            )
            self._told.acknowledged.append(told)
        elif result.error.code in REPEATED and mono_s() - wish.begun_s < PATIENCE_S:
            self._told.items_repeated += 1
            wish.request.resend = True
            if self._finished:
                self._again.append(wish)
            else:
                self._queue.put_nowait(wish)
        else:
            self._told.refused.append(f"stream: {result}")


def acknowledgement(
    task: task_pb2.Task, once: bool, *, streamed: bool, begun_s: float
) -> Acknowledged:
    """What an answer promises."""
    took_ms = (mono_s() - begun_s) * 1_000
    return Acknowledged(
        task_id=task.name.rpartition("/")[2],
        due_ms=task.due_time.ToMilliseconds(),
        at_most_once=once,
        streamed=streamed,
        took_ms=took_ms,
        asked_ms=SystemClock().now().wall_ms - round(took_ms),
    )
