"""The load: an open loop that starts calls by the clock, whatever the answers do.

Through the public SDK for single creates and the public API's stream for the rest.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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
TICK_S = 0.01
CHUNK_REQUESTS = 1_000
CHUNKS_UNANSWERED = 4
"""The service reads a few chunks ahead of its answers; more would only wait on the way."""

Results = Sequence[pb.CreateResult]
_Group = tuple[Sequence[pb.CreateTaskRequest], asyncio.Future[Results]]


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


async def ticking(
    rate: float, seconds: float, tick: Callable[[int, asyncio.TaskGroup], None],
    group: asyncio.TaskGroup,
) -> float:  # fmt: skip
    """Begin `rate` tasks per second, those of TICK_S together; how late a tick was, in ms."""
    began = time.perf_counter()
    behind_s = 0.0
    begun = 0
    for number in range(1, int(seconds / TICK_S) + 1):
        wait_s = began + number * TICK_S - time.perf_counter()
        behind_s = max(behind_s, -wait_s)
        await asyncio.sleep(max(0.0, wait_s))
        wanted = int(rate * number * TICK_S)
        tick(wanted - begun, group)
        begun = wanted
    return behind_s * 1e3


class CreateStream:
    """One CreateTasks stream. With several chunks unanswered, what comes gathers for the next."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = stubs.TaskServiceStub(channel)
        self._waiting: deque[_Group] = deque()
        self._sent: deque[list[_Group]] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._answers = asyncio.create_task(self._read())
        self.chunks = 0

    def send(self, requests: Sequence[pb.CreateTaskRequest]) -> asyncio.Future[Results]:
        """Send requests that belong together; their results, in the same order."""
        answer: asyncio.Future[Results] = asyncio.get_running_loop().create_future()
        self._waiting.append((requests, answer))
        self._wake.set()
        return answer

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
            groups = self._take()
            self._sent.append(groups)
            self.chunks += 1
            requests = [request for requests, _ in groups for request in requests]
            yield pb.CreateTasksRequest(requests=requests)

    def _take(self) -> list[_Group]:
        """Whole groups, as many as a chunk may carry."""
        taken = [self._waiting.popleft()]
        count = len(taken[0][0])
        while self._waiting and count + len(self._waiting[0][0]) <= CHUNK_REQUESTS:
            taken.append(self._waiting.popleft())
            count += len(taken[-1][0])
        return taken

    async def _read(self) -> None:
        async for response in self._stub.CreateTasks(self._requests()):
            results, start = list(response.results), 0
            for requests, answer in self._sent.popleft():
                answer.set_result(results[start : start + len(requests)])
                start += len(requests)
            self._wake.set()


class SteadyLoad:
    """Creates tasks as the promise of the service is stated: mixed doors, random due times.

    What goes by stream is gathered for a tick of the clock, as a producer with much to say does.
    """

    def __init__(
        self, client: timeball.AsyncClient, streams: Sequence[CreateStream], rng: random.Random
    ) -> None:
        self._client = client
        self._streams = streams
        self._rng = rng
        self._ids = random.Random(rng.random())
        self._numbers = itertools.count()
        self._ticks = itertools.count()
        self.ledger = Ledger()
        self.measuring = False

    async def close(self) -> None:
        """Say on every stream that there is no more; returns when all is answered."""
        for stream in self._streams:
            await stream.close()

    def tick(self, count: int, group: asyncio.TaskGroup) -> None:
        """Begin with so many tasks, each through one of the doors."""
        now_ms = time.time() * 1e3
        dues: list[int | None] = []
        requests: list[pb.CreateTaskRequest] = []
        for number in itertools.islice(self._numbers, count):
            due_ms = None
            if self._rng.random() >= IMMEDIATE_SHARE:
                due_ms = int(now_ms) + self._rng.randint(*DUE_MS)
            if self._rng.random() < UNARY_SHARE:
                group.create_task(self._unary(number, due_ms, now_ms, self.measuring))
            else:
                dues.append(due_ms)
                requests.append(streamed_request(number, due_ms, self._ids))
        if requests:
            stream = self._streams[next(self._ticks) % len(self._streams)]
            sent, measured = stream.send(requests), self.measuring
            sent.add_done_callback(lambda done: self._answered(done, dues, now_ms, measured))

    async def _unary(self, number: int, due_ms: int | None, sent_ms: float, measured: bool) -> None:
        prepared = work.prepare(number)
        if due_ms is not None:
            instant = datetime.fromtimestamp(due_ms / 1e3, UTC)
            prepared = work.options(run_at=instant).prepare(number)
        try:
            task = (await self._client.submit(prepared)).last_seen
        except TimeballError as error:
            self.ledger.errors.append(f"{error.reason}: {error}")
        else:
            self.ledger.acknowledge(task, due_ms, sent_ms, measured)

    def _answered(
        self,
        done: asyncio.Future[Results],
        dues: Sequence[int | None],
        sent_ms: float,
        measured: bool,
    ) -> None:
        for due_ms, result in zip(dues, done.result(), strict=True):
            if result.HasField("task"):
                self.ledger.acknowledge(result.task, due_ms, sent_ms, measured)
            else:
                self.ledger.errors.append(f"{result.error.reason}: {result.error.message}")


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
