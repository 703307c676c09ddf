"""One run of a workload on fresh processes: start, fill, warm up, measure, settle, judge."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc.aio
import timeball
from timeball._base import CHANNEL_OPTIONS
from timeball.errors import TimeballError

from tests.bench import scheduling
from tests.bench.arrivals import DUE_MS, Due
from tests.bench.calling import World, calling, one_at_a_time
from tests.bench.creating import CreateStream, Creating, Ledger
from tests.bench.judging import Result, course_of, judge, missing, recovery_ms
from tests.bench.meter import Meter
from tests.bench.product import Product
from tests.bench.table import CREATE, Workload
from tests.bench.targets import TARGETS, Target
from tests.support.start_logs import Start, read_starts

SETTLE_S: Final = 15.0
SETTLE_AT_MOST_S: Final = 90.0
RAMP: Final = 0.4
"""Share of the rate in the first half of a warm-up: a cold server that is overrun stays behind."""
KILL_AT: Final = 1 / 3
AWAY_S: Final = 2.0
READ_BACK: Final = 500
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long and how much; the rest is the workload's."""

    target: str
    rate: float
    seconds: float
    warm_up_s: float
    seed: int = 1
    stored: int = 0
    dev: tuple[str, ...] = ()
    product: Product = field(default_factory=Product)


async def run(workload: Workload, options: Options, say: Say) -> Result:
    """Measure once."""
    result = Result()
    with tempfile.TemporaryDirectory(prefix="timeball-bench-") as folder:
        say(f"starting {options.target} of {options.product.name}")
        open_target = TARGETS[options.target]
        with open_target(Path(folder), options.product, options.dev, result) as target:
            if workload.schedules:
                how, rate, seconds = workload.schedules, options.rate, options.seconds
                await scheduling.play(how, rate, seconds, target, result, say)
                result.figures["rate"] = rate
            elif workload.seconds:
                await _Run(workload, options, target, result, say).play()
            say("ending it")
    return result


class _Run:
    """One workload on one running target."""

    def __init__(
        self, workload: Workload, options: Options, target: Target, result: Result, say: Say
    ) -> None:
        self._workload, self._options, self._target = workload, options, target
        self._result, self._say = result, say
        self._ledger = Ledger()
        self._began_ms = self._killed_ms = 0.0

    async def play(self) -> None:
        """From the first call to the verdict."""
        workload, options, rng = self._workload, self._options, random.Random(self._options.seed)
        async with (
            timeball.AsyncClient(self._target.address) as client,
            _streams(self._target.doors) as streams,
        ):
            self._say("waiting until everybody serves")
            await self._target.serves(client)
            world = World(client, self._ledger, rng)
            creating = Creating(client, streams, self._ledger, rng)
            await self._fill(creating)
            meter = Meter(self._target.watched(), lambda: self._counted(streams), time.perf_counter)
            async with _sampling(meter):
                await self._offer(creating, world, meter)
            for stream in streams:
                await stream.close()
            self._say("waiting for the last due times")
            horizon_ms = time.time() * 1e3 + DUE_MS[1] + 1_000
            await self._settled(horizon_ms)
            await self._read_back(client, horizon_ms)
        self._judge(meter, horizon_ms)
        self._result.figures["rate"] = options.rate
        if workload.kills:
            self._result.marks = {"killed": (self._killed_ms - self._began_ms) / 1e3}

    def _counted(self, streams: Sequence[CreateStream]) -> dict[str, float]:
        chunks = float(sum(stream.chunks for stream in streams))
        return {**self._target.counted(), "create chunks per task": chunks}

    async def _fill(self, creating: Creating) -> None:
        """What is there before anybody looks."""
        if count := self._options.stored:
            self._say(f"storing {count:,} tasks of the coming month")
            began_s = time.perf_counter()
            await creating.store(count, Due.LATER)
            self._result.figures["stored before, tasks"] = count
            self._result.figures["stored before, tasks/s"] = count / (time.perf_counter() - began_s)

    async def _offer(self, creating: Creating, world: World, meter: Meter) -> None:
        """Warm up, the one caller, then the measured window."""
        workload, options = self._workload, self._options
        async with asyncio.TaskGroup() as group:
            if options.warm_up_s:
                self._say(f"warming up for {options.warm_up_s:.0f} s")
                for share in (RAMP, 1.0):
                    half_s = options.warm_up_s / 2
                    await self._window(creating, world, share * options.rate, half_s, group)
            if workload.alone:
                self._say("one caller alone")
                await one_at_a_time(workload.alone, world, workload.alone_s)
            self._say(f"{options.rate:g} a second for {options.seconds:g} s")
            self._ledger.measuring, self._ledger.behind_ms = True, 0.0
            self._began_ms = time.time() * 1e3
            meter.begin()
            breaking = group.create_task(self._break()) if workload.kills else None
            await self._window(creating, world, options.rate, options.seconds, group)
            meter.end()
            if breaking is not None:
                await breaking

    async def _window(
        self,
        creating: Creating,
        world: World,
        rate: float,
        seconds: float,
        group: asyncio.TaskGroup,
    ) -> None:
        """All parts side by side; what they begin goes on in the group."""
        workload = self._workload
        async with asyncio.TaskGroup() as loops:
            for what, share in workload.parts.items():
                if what == CREATE:
                    plan, due = workload.plan, workload.due
                    loops.create_task(creating.run(plan, share * rate, seconds, due, group))
                else:
                    loops.create_task(calling(what, world, share * rate, seconds, group))

    async def _break(self) -> None:
        await asyncio.sleep(self._options.seconds * KILL_AT)
        self._say("killing an owner")
        self._killed_ms = time.time() * 1e3
        await asyncio.to_thread(self._target.kill_owner)
        await asyncio.sleep(AWAY_S)
        await asyncio.to_thread(self._target.restart_owner)

    def _starts(self) -> list[Start]:
        return [start for path in self._target.start_logs for start in read_starts(path)]

    async def _settled(self, horizon_ms: float) -> None:
        """Until everything due has started, or nothing more does: what is late is not lost."""
        last_s = time.monotonic() + SETTLE_AT_MOST_S
        deadline_s, fewest = time.monotonic() + SETTLE_S, len(self._ledger.promises)
        while time.monotonic() < min(deadline_s, last_s):
            started = (start.task_id for start in self._starts())
            left = len(missing(self._ledger.promises, started, horizon_ms))
            if not left:
                # A double would come after its first start: wait a little for those.
                await asyncio.sleep(1.0)
                return
            if left < fewest:
                deadline_s, fewest = time.monotonic() + SETTLE_S, left
            await asyncio.sleep(0.5)

    async def _read_back(self, client: timeball.AsyncClient, horizon_ms: float) -> None:
        """What is due later has not started; it is there, or it is lost."""
        promises = self._ledger.promises.items()
        later = [task for task, each in promises if (each.due_ms or 0) >= horizon_ms]
        for first in range(0, len(later), READ_BACK):
            some = later[first : first + READ_BACK]
            found = await client.get_many(some)
            for task_id, each in zip(some, found, strict=True):
                if isinstance(each, TimeballError):
                    self._result.fault("lost", f"{task_id}: {each.reason}")
        if later:
            self._result.figures["read back at the end, tasks"] = len(later)

    def _judge(self, meter: Meter, horizon_ms: float) -> None:
        """Put into the result what the start logs and the answers say."""
        ledger, result, starts = self._ledger, self._result, self._starts()
        verdict = judge(ledger.promises, starts, horizon_ms)
        promised = sum(each.measured for each in ledger.promises.values())
        reads = ("get", "get 50", "list 100", "create and cancel")
        asked = promised + sum(len(ledger.took_ms.get(each, ())) for each in reads)
        result.figures["tasks measured"] = promised
        result.figures["answered per s"] = asked / self._options.seconds
        result.distribution("lateness", [by for _, by in verdict.lateness_ms])
        result.distribution("immediate, call to start", verdict.immediate_ms)
        for what, took_ms in ledger.took_ms.items():
            result.distribution(what, took_ms)
        if self._killed_ms:
            recovered_ms = recovery_ms(verdict.lateness_ms, self._killed_ms)
            result.figures["kill to the last late start ms"] = recovered_ms
        meter.into(result, asked)
        result.figures["load generator late by at most ms"] = ledger.behind_ms
        result.lateness_ms = Counter(by for _, by in verdict.lateness_ms)
        result.course = course_of(verdict.lateness_ms, self._began_ms)
        begun = {start.task_id for start in starts}
        for name, found in {
            "lost": verdict.lost,
            "doubled": verdict.doubled,
            "early": verdict.early,
            "refused": ledger.errors,
            "wrong answer": ledger.wrong,
            "started after its cancel": sorted(ledger.cancelled & begun),
        }.items():
            result.faults.setdefault(name, []).extend(found)


@asynccontextmanager
async def _streams(doors: Sequence[str]) -> AsyncIterator[list[CreateStream]]:
    """As many producers as there are doors, one at each."""
    async with AsyncExitStack() as stack:
        streams = []
        for address in doors:
            channel = grpc.aio.insecure_channel(address, CHANNEL_OPTIONS)
            streams.append(CreateStream(await stack.enter_async_context(channel)))
        yield streams


@asynccontextmanager
async def _sampling(meter: Meter) -> AsyncIterator[None]:
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
