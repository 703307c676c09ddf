"""What is measured. Each workload runs once on fresh processes and answers its figures."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
import timeball

from tests.bench.apps import work
from tests.bench.figures import Start, judge, percentile, read_starts
from tests.bench.load import (
    CreateStream,
    Ledger,
    SteadyLoad,
    open_loop,
    streamed_request,
    ticking,
)
from tests.bench.processes import MIB, DevServer, ExecutorProcess, Meter, Process

SETTLE_S = 15.0
SETTLE_AT_MOST_S = 90.0
SATURATED_IDLE_PERCENT = 5.0
RAMP = 0.4
"""Share of the rate in the first half of a warm-up: a cold server that is overrun stays behind."""
Say = Callable[[str], None]


@dataclass(slots=True)
class Result:
    """Figures of one run by name, counts that must be zero, and raw lateness for the plot."""

    figures: dict[str, float] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    lateness_ms: list[int] = field(default_factory=list)
    saturated: bool = False

    def distribution(self, name: str, values: list[float] | list[int]) -> None:
        """p50, p99 and the greatest value."""
        self.figures[f"{name} p50 ms"] = percentile(values, 0.50)
        self.figures[f"{name} p99 ms"] = percentile(values, 0.99)
        self.figures[f"{name} max ms"] = max(values, default=float("nan"))

    def cost(self, meter: Meter, tasks: int) -> None:
        """CPU per task by process, and how busy the machine was."""
        for name, cpu_s in meter.cpu_s.items():
            self.figures[f"CPU per task, {name} us"] = cpu_s * 1e6 / max(1, tasks)
        for name, percent in meter.queued_percent.items():
            self.figures[f"{name} kept waiting for a CPU %"] = percent
        self.figures["machine idle %"] = meter.idle_percent
        self.figures["machine busy with other programs %"] = meter.foreign_percent
        self.saturated = meter.idle_percent < SATURATED_IDLE_PERCENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long and how much."""

    seconds: float = 60.0
    warm_up_s: float = 10.0
    rate: float = 200.0
    seed: int = 1
    dev: tuple[str, ...] = ()


@contextmanager
def stopping(process: Process, result: Result) -> Iterator[Process]:
    """Stop it at the end; a bad exit is a fault."""
    try:
        yield process
    finally:
        code = process.stop()
        if code != 0:
            result.faults.setdefault("bad exit", []).append(f"{process.name}: {code}")


@asynccontextmanager
async def sampling(meter: Meter) -> AsyncIterator[None]:
    """Keep peaks of memory while something runs."""

    async def sample() -> None:
        while True:
            meter.sample()
            await asyncio.sleep(0.5)

    task = asyncio.create_task(sample())
    try:
        yield
    finally:
        task.cancel()


async def executor_joined(client: timeball.AsyncClient) -> None:
    """Wait until the executor serves: its first task has a result."""
    handle = await client.submit(work.prepare(0))
    await handle.result(timeout="20s")


async def steady(options: Options, say: Say) -> Result:
    """The promise: constant arrival, random due times, the executor in a process of its own."""
    result = Result()
    with tempfile.TemporaryDirectory(prefix="timeball-bench-") as folder:
        server = DevServer(Path(folder), with_app=False, options=options.dev)
        with stopping(server, result):
            result.figures["RSS after start MiB"] = server.usage().rss_bytes / MIB
            executor = ExecutorProcess(Path(folder), server.address)
            with stopping(executor, result):
                await _steady_with(server, executor, options, result, say)
    return result


async def _steady_with(
    server: DevServer, executor: ExecutorProcess, options: Options, result: Result, say: Say
) -> None:
    meter = Meter(server, executor)
    async with timeball.AsyncClient(server.address) as client:
        await executor_joined(client)
        async with grpc.aio.insecure_channel(server.address) as channel:
            load = SteadyLoad(client, [CreateStream(channel)], random.Random(options.seed))
            async with sampling(meter):
                behind_ms = await offer(load, meter, options, say)
                await load.close()
                say("waiting for the last due times")
                await settled(load.ledger, [executor.start_log])
    tasks = judged(result, load.ledger, [executor.start_log], options.seconds)
    result.cost(meter, tasks)
    result.figures["RSS peak MiB"] = server.rss_peak_bytes / MIB
    result.figures["RSS after the run MiB"] = server.usage().rss_bytes / MIB
    result.figures["executor RSS peak MiB"] = executor.rss_peak_bytes / MIB
    result.figures["load generator late by at most ms"] = behind_ms


async def offer(load: SteadyLoad, meter: Meter, options: Options, say: Say) -> float:
    """Warm up, then the measured window; how late the load itself was at worst, in ms."""
    async with asyncio.TaskGroup() as group:
        if options.warm_up_s:
            say(f"warming up for {options.warm_up_s:.0f} s")
            for share in (RAMP, 1.0):
                await ticking(share * options.rate, options.warm_up_s / 2, load.tick, group)
        say(f"{options.rate:.0f} tasks/s for {options.seconds:.0f} s")
        load.measuring = True
        meter.begin()
        behind_ms = await ticking(options.rate, options.seconds, load.tick, group)
        meter.end()
    return behind_ms


def judged(result: Result, ledger: Ledger, start_logs: Sequence[Path], seconds: float) -> int:
    """Put into the result what the start logs say of the promises; how many were measured."""
    tasks = len([p for p in ledger.promises.values() if p.measured])
    verdict = judge(ledger.promises, _starts(start_logs))
    result.figures["tasks measured"] = tasks
    result.figures["acknowledged per s"] = tasks / seconds
    result.distribution("lateness", verdict.lateness_ms)
    result.distribution("immediate, call to start", verdict.immediate_ms)
    result.distribution("create", ledger.create_ms)
    result.lateness_ms = verdict.lateness_ms
    result.faults.update(
        {
            "lost": verdict.lost,
            "doubled": verdict.doubled,
            "early": verdict.early,
            "refused": ledger.errors,
        }
    )
    return tasks


def _starts(start_logs: Sequence[Path]) -> list[Start]:
    return [start for path in start_logs for start in read_starts(path)]


async def settled(ledger: Ledger, start_logs: Sequence[Path]) -> None:
    """Until everything promised has started, or nothing more does: what is late is not lost."""
    last_s = time.monotonic() + SETTLE_AT_MOST_S
    deadline, fewest = time.monotonic() + SETTLE_S, len(ledger.promises)
    while time.monotonic() < min(deadline, last_s):
        missing = len(ledger.promises.keys() - {start.task_id for start in _starts(start_logs)})
        if not missing:
            # A double would come after its first start: wait a little for those.
            await asyncio.sleep(1.0)
            return
        if missing < fewest:
            deadline, fewest = time.monotonic() + SETTLE_S, missing
        await asyncio.sleep(0.5)


@asynccontextmanager
async def embedded(options: Options, result: Result) -> AsyncIterator[tuple[DevServer, Meter]]:
    """`timeball dev` with its own executor."""
    with tempfile.TemporaryDirectory(prefix="timeball-bench-") as folder:
        server = DevServer(Path(folder), with_app=True, options=options.dev)
        with stopping(server, result):
            yield server, Meter(server)


async def immediate(options: Options, say: Say) -> Result:
    """Submit and result through the SDK: one at a time, then 50 per second."""
    result = Result()
    half_s = options.seconds / 2
    async with embedded(options, result) as (server, _), timeball.AsyncClient(server.address) as to:
        latencies_ms: list[float] = []

        async def one(number: int) -> None:
            began = time.perf_counter()
            value = await (await to.submit(work.prepare(number))).result()
            latencies_ms.append((time.perf_counter() - began) * 1e3)
            if value != number:
                result.faults.setdefault("wrong result", []).append(f"{number}: {value}")

        await _for(2.0, one)
        latencies_ms.clear()
        say("one at a time")
        await _for(half_s, one)
        result.distribution("one at a time", latencies_ms)
        result.figures["one at a time per s"] = len(latencies_ms) / half_s
        latencies_ms.clear()
        say("50 per second")
        async with asyncio.TaskGroup() as group:
            await open_loop(50, half_s, one, group)
        result.distribution("at 50/s", latencies_ms)
    return result


async def _for(seconds: float, act: Callable[[int], Awaitable[None]]) -> None:
    """One after the other for so long."""
    deadline, number = time.perf_counter() + seconds, 0
    while time.perf_counter() < deadline:
        await act(number)
        number += 1


async def create(options: Options, say: Say) -> Result:
    """Creates alone, for tomorrow: 50 callers of the unary door, then chunks on a stream."""
    result = Result()
    async with embedded(options, result) as (server, meter):
        async with timeball.AsyncClient(server.address) as client:
            await executor_joined(client)
            say("unary, 50 callers")
            await _measured(result, meter, "unary", 50, 1, _unary(client), options.seconds / 2)
        async with grpc.aio.insecure_channel(server.address) as channel:
            say("stream, chunks of 50, 4 under way")
            chunk = _Chunks(channel, options.seed)
            await _measured(result, meter, "stream", 4, 50, chunk.send, options.seconds / 2)
            await chunk.close()
    return result


async def _measured(
    result: Result,
    meter: Meter,
    name: str,
    callers: int,
    size: int,
    act: Callable[[int], Awaitable[None]],
    seconds: float,
) -> None:
    """Callers that go on as soon as they have an answer; `size` tasks in each action."""
    latencies_ms: list[float] = []

    async def one(number: int) -> None:
        began = time.perf_counter()
        await act(number)
        latencies_ms.append((time.perf_counter() - began) * 1e3)

    await _for(1.0, act)
    meter.begin()
    began = time.perf_counter()
    await asyncio.gather(*(_for(seconds, one) for _ in range(callers)))
    wall_s = time.perf_counter() - began
    meter.end()
    tasks = len(latencies_ms) * size
    result.figures[f"{name} tasks/s"] = tasks / wall_s
    result.distribution(name, latencies_ms)
    for process, cpu_s in meter.cpu_s.items():
        result.figures[f"{name} CPU per task, {process} us"] = cpu_s * 1e6 / max(1, tasks)


def _tomorrow_ms() -> int:
    return time.time_ns() // 1_000_000 + 86_400_000


def _unary(client: timeball.AsyncClient) -> Callable[[int], Awaitable[None]]:
    async def one(number: int) -> None:
        await client.submit(work.options(delay="1d").prepare(number))

    return one


class _Chunks:
    """Sends whole chunks; each item must succeed."""

    def __init__(self, channel: grpc.aio.Channel, seed: int) -> None:
        self._ids = random.Random(seed)
        self._stream = CreateStream(channel)

    async def send(self, number: int) -> None:
        requests = [streamed_request(number, _tomorrow_ms(), self._ids) for _ in range(50)]
        results = await self._stream.send(requests)
        if not all(result.HasField("task") for result in results):
            raise SystemExit(f"a create was refused: {results}")

    async def close(self) -> None:
        await self._stream.close()


async def ready(options: Options, say: Say) -> Result:
    """From exec to the ready file; once with the page cache warm, as the second start of a day."""
    result = Result()
    async with embedded(options, result) as (server, _):
        result.figures["ready ms"] = server.ready_ms
        result.figures["CPU until ready ms"] = server.usage().cpu_s * 1e3
        result.figures["RSS after start MiB"] = server.usage().rss_bytes / MIB
        say(f"{server.ready_ms:.0f} ms")
    return result


Workload = Callable[[Options, Say], Coroutine[None, None, Result]]
WORKLOADS: dict[str, Workload] = {
    "ready": ready,
    "steady": steady,
    "immediate": immediate,
    "create": create,
}
