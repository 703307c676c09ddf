"""The load: an open loop that asks for tasks by the clock, whatever the answers do.

Through the public SDK for single creates and the public API's stream for the rest. Every latency
is counted from the instant that the plan names, so that a load which falls behind flatters nobody.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import grpc.aio
import timeball
from timeball._identifiers import new_request_id
from timeball.errors import TimeballError
from timeball.v1 import task_pb2
from timeball.v1 import task_service_pb2 as pb
from timeball.v1 import task_service_pb2_grpc as stubs

from tests.bench.apps import work
from tests.bench.arrivals import Due, Plan, due_ms, ticks
from tests.bench.judging import Promise

UNARY_SHARE: Final = 0.2
CHUNK_REQUESTS: Final = 1_000
CHUNKS_UNANSWERED: Final = 4
"""The service reads a few chunks ahead of its answers; more would only wait on the way."""

Results = Sequence[pb.CreateResult]
_Group = tuple[Sequence[pb.CreateTaskRequest], asyncio.Future[Results]]


@dataclass(slots=True)
class Ledger:
    """What was promised, what was refused, and how long answers took.

    Attributes:
        cancelled: tasks that must not start, by the service's own answer.
        took_ms: measured calls by what was asked for.
        behind_ms: how late the load itself was at worst.
    """

    promises: dict[str, Promise] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    took_ms: dict[str, list[float]] = field(default_factory=dict)
    chunks: int = 0
    behind_ms: float = 0.0
    measuring: bool = False

    def promise(self, task: task_pb2.Task, due: int | None, asked_ms: float, ok: bool) -> str:
        """Take an answer; `ok` = it belongs to the measured window. The task's id."""
        task_id = task.name.rpartition("/")[2]
        self.promises[task_id] = Promise(due, asked_ms, ok)
        return task_id

    def behind(self, late_s: float) -> None:
        """The load itself asked so late."""
        self.behind_ms = max(self.behind_ms, late_s * 1e3)

    def took(self, what: str, asked_ms: float) -> None:
        """A measured call has its answer."""
        self.took_ms.setdefault(what, []).append(time.time() * 1e3 - asked_ms)


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


class Creating:
    """Asks for tasks through both doors: one in five by a call of its own, the rest on streams.

    What goes by stream is gathered for a tick of the clock, as a producer with much to say does.
    """

    def __init__(
        self,
        client: timeball.AsyncClient,
        streams: Sequence[CreateStream],
        ledger: Ledger,
        rng: random.Random,
    ) -> None:
        self._client = client
        self._streams = streams
        self._ledger = ledger
        self._rng = rng
        self._ids = random.Random(rng.random())
        self._numbers = itertools.count()
        self._turns = itertools.count()

    async def run(
        self, plan: Plan, rate: float, seconds: float, due: Due, group: asyncio.TaskGroup
    ) -> None:
        """Follow a plan."""
        began_s, began_ms = time.perf_counter(), time.time() * 1e3
        for tick in ticks(plan, rate, seconds):
            wait_s = began_s + tick.at_s - time.perf_counter()
            await asyncio.sleep(max(0.0, wait_s))
            self._ledger.behind(time.perf_counter() - began_s - tick.at_s)
            self._ask(tick.tasks, began_ms + tick.at_s * 1e3, due, group)

    async def store(self, count: int, due: Due) -> None:
        """Put so many tasks there as fast as they are taken, over the streams."""
        begun = 0
        while begun < count:
            some = min(count - begun, CHUNK_REQUESTS)
            begun += some
            asked_ms = time.time() * 1e3
            dues = [due_ms(due, asked_ms, self._rng) for _ in range(some)]
            answers = await self._turn().send([self._request(each) for each in dues])
            self._answered(answers, dues, asked_ms, measured=False)

    def _ask(self, count: int, asked_ms: float, due: Due, group: asyncio.TaskGroup) -> None:
        dues: list[int | None] = []
        for _ in range(count):
            when = due_ms(due, asked_ms, self._rng)
            if self._rng.random() < UNARY_SHARE:
                group.create_task(self._unary(when, asked_ms, self._ledger.measuring))
            else:
                dues.append(when)
        if dues:
            sent = self._turn().send([self._request(each) for each in dues])
            measured = self._ledger.measuring
            sent.add_done_callback(
                lambda done: self._answered(done.result(), dues, asked_ms, measured=measured)
            )

    def _turn(self) -> CreateStream:
        return self._streams[next(self._turns) % len(self._streams)]

    async def _unary(self, when: int | None, asked_ms: float, measured: bool) -> None:
        prepared = work.prepare(next(self._numbers))
        if when is not None:
            prepared = work.options(run_at=instant(when)).prepare(next(self._numbers))
        try:
            task = (await self._client.submit(prepared)).last_seen
        except TimeballError as error:
            self._ledger.errors.append(f"{error.reason}: {error}")
            return
        self._ledger.promise(task, when, asked_ms, measured)
        if measured:
            self._ledger.took("create, unary", asked_ms)

    def _answered(
        self, results: Results, dues: Iterable[int | None], asked_ms: float, *, measured: bool
    ) -> None:
        for when, result in zip(dues, results, strict=True):
            if not result.HasField("task"):
                self._ledger.errors.append(f"{result.error.reason}: {result.error.message}")
                continue
            self._ledger.promise(result.task, when, asked_ms, measured)
            if measured:
                self._ledger.took("create, streamed", asked_ms)

    def _request(self, when: int | None) -> pb.CreateTaskRequest:
        """One item of a stream, with a request id of its own."""
        data = b'{"number":%d}' % next(self._numbers)
        payload = task_pb2.Payload(content_type="application/json", data=data)
        task = task_pb2.Task(handler=work.name, payload=payload)
        if when is not None:
            task.run_time.FromMilliseconds(when)
        request_id = new_request_id(time.time_ns() // 1_000_000, self._ids)
        return pb.CreateTaskRequest(task=task, request_id=request_id)


def instant(at_ms: int) -> datetime:
    """Milliseconds since 1970 as the SDK takes them."""
    return datetime.fromtimestamp(at_ms / 1e3, UTC)
