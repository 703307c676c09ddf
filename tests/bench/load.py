"""The load: an open loop that starts calls by the clock, whatever the answers do.

Through the public SDK for single creates and the public API's stream for the rest.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import grpc
import grpc.aio
import timeball
from timeball._identifiers import new_request_id
from timeball.errors import TimeballError
from timeball.v1 import task_pb2
from timeball.v1 import task_service_pb2 as pb
from timeball.v1 import task_service_pb2_grpc as stubs

from tests.bench.apps import work
from tests.bench.figures import Promise

IMMEDIATE_SHARE = 0.1
UNARY_SHARE = 0.2
DUE_MS = (2_000, 10_000)
CHUNKS_UNANSWERED = 4
"""The service reads a few chunks ahead of its answers; more would only wait on the way."""


@dataclass(slots=True)
class Ledger:
    """What was promised, and what was refused."""

    promises: dict[str, Promise] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    create_ms: list[float] = field(default_factory=list)
    behind_ms: float = 0.0

    def acknowledge(self, task: task_pb2.Task, due_ms: int | None, sent: float, ok: bool) -> None:
        """Take an answer; `ok` = it belongs to the measured window."""
        task_id = task.name.rpartition("/")[2]
        self.promises[task_id] = Promise(due_ms, sent, ok)
        if ok:
            self.create_ms.append(time.time() * 1e3 - sent)


async def open_loop(
    rate: float, seconds: float, act: Callable[[int], Awaitable[None]], group: asyncio.TaskGroup
) -> float:
    """Begin `rate` actions per second; answers how far the clock was missed at worst, in ms."""
    began = time.perf_counter()
    behind_s = 0.0
    for number in range(int(rate * seconds)):
        wait_s = began + number / rate - time.perf_counter()
        behind_s = max(behind_s, -wait_s)
        await asyncio.sleep(max(0.0, wait_s))
        group.create_task(_as_coroutine(act(number)))
    return behind_s * 1e3


async def _as_coroutine(action: Awaitable[None]) -> None:
    await action


class CreateStream:
    """One CreateTasks stream. With several chunks unanswered, what comes gathers for the next."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = stubs.TaskServiceStub(channel)
        self._waiting: deque[tuple[pb.CreateTaskRequest, asyncio.Future[pb.CreateResult]]] = deque()
        self._sent: deque[list[asyncio.Future[pb.CreateResult]]] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._answers = asyncio.create_task(self._read())
        self.chunks = 0

    async def create(self, request: pb.CreateTaskRequest) -> pb.CreateResult:
        """The result of one item."""
        answer: asyncio.Future[pb.CreateResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        self._wake.set()
        return await answer

    async def close(self) -> None:
        self._closing = True
        self._wake.set()
        await self._answers

    async def _requests(self) -> AsyncIterator[pb.CreateTasksRequest]:
        while self._waiting or not self._closing:
            if not self._waiting or len(self._sent) >= CHUNKS_UNANSWERED:
                self._wake.clear()
                await self._wake.wait()
                continue
            count = min(len(self._waiting), 1_000)
            taken = [self._waiting.popleft() for _ in range(count)]
            self._sent.append([answer for _, answer in taken])
            self.chunks += 1
            yield pb.CreateTasksRequest(requests=[request for request, _ in taken])

    async def _read(self) -> None:
        call = self._stub.CreateTasks(self._requests())
        async for response in call:
            for answer, result in zip(self._sent.popleft(), response.results, strict=True):
                answer.set_result(result)
            self._wake.set()


class SteadyLoad:
    """Creates tasks as the promise of the service is stated: mixed doors, random due times."""

    def __init__(
        self, client: timeball.AsyncClient, stream: CreateStream, rng: random.Random
    ) -> None:
        self._client = client
        self.stream = stream
        self._rng = rng
        self._ids = random.Random(rng.random())
        self.ledger = Ledger()
        self.measuring = False

    async def create(self, number: int) -> None:
        """One task, through one of the doors."""
        sent_ms = time.time() * 1e3
        due_ms = None
        if self._rng.random() >= IMMEDIATE_SHARE:
            due_ms = int(sent_ms) + self._rng.randint(*DUE_MS)
        door = self._unary if self._rng.random() < UNARY_SHARE else self._streamed
        measured = self.measuring
        try:
            task = await door(number, due_ms)
        except TimeballError as error:
            self.ledger.errors.append(f"{error.reason}: {error}")
        else:
            self.ledger.acknowledge(task, due_ms, sent_ms, measured)

    async def _unary(self, number: int, due_ms: int | None) -> task_pb2.Task:
        prepared = work.prepare(number)
        if due_ms is not None:
            instant = datetime.fromtimestamp(due_ms / 1e3, UTC)
            prepared = work.options(run_at=instant).prepare(number)
        return (await self._client.submit(prepared)).last_seen

    async def _streamed(self, number: int, due_ms: int | None) -> task_pb2.Task:
        request = streamed_request(number, due_ms, self._ids)
        result = await self.stream.create(request)
        if result.HasField("task"):
            return result.task
        raise TimeballError(f"{result.error.reason}: {result.error.message}")


def streamed_request(number: int, due_ms: int | None, ids: random.Random) -> pb.CreateTaskRequest:
    """One item of a stream, with a request id of its own."""
    task = task_pb2.Task(
        handler=work.name,
        payload=task_pb2.Payload(content_type="application/json", data=b'{"number":%d}' % number),
    )
    if due_ms is not None:
        task.run_time.FromMilliseconds(due_ms)
    return pb.CreateTaskRequest(
        task=task, request_id=new_request_id(time.time_ns() // 1_000_000, ids)
    )
