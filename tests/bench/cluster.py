"""The whole cluster under load: what the promise of lateness costs, process by process.

ZooKeeper, Cassandra, two coordinators, two scheduler nodes and three executors, all on this
machine, and the load generator beside them.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc.aio
import psutil
import timeball
from timeball._base import CHANNEL_OPTIONS

from tests.bench.apps import work
from tests.bench.figures import percentile
from tests.bench.load import CreateStream, SteadyLoad
from tests.bench.processes import APPS, MIB, Meter, Watched
from tests.bench.workloads import Options, Result, Say, judged, offer, sampling, settled
from tests.support.chaos.faults import whole
from tools.local_cluster import LocalCluster, Places, coordinators

PROBES_PER_S = 5.0
"""Immediate tasks whose result is waited for, on top of the rate."""
JAVA = {"QuorumPeerMain": "zookeeper", "CassandraDaemon": "cassandra"}
COUNTS = {
    "timeball_commit_batches_total": "writes per task",
    "timeball_commit_rows_total": "rows per task",
}


class MeasuredCluster(LocalCluster):
    """The cluster of `make cluster`, on which the benchmark's task runs."""

    def __init__(self, places: Places) -> None:
        super().__init__(places, [str(APPS)])

    @property
    def start_logs(self) -> list[Path]:
        """What each executor says that it started."""
        return sorted(self.places.folder.glob("*.starts.jsonl"))

    def watched(self) -> list[Watched]:
        """Every process of it."""
        ours = [Watched(name, self._processes[name].pid) for name in self.names]
        return [*ours, *_java()]

    def counts(self) -> dict[str, float]:
        """Sums of what the scheduler nodes have counted so far."""
        sums = dict.fromkeys(COUNTS, 0.0)
        for name in self.names:
            if name.startswith("scheduler"):
                for metric, value in _scrape(self.pages[name]["metrics"]).items():
                    if metric in sums:
                        sums[metric] += value
        return sums


def _java() -> Iterator[Watched]:
    """The servers that we started, behind the keepers that end them with us."""
    for child in psutil.Process().children(recursive=True):
        for word, name in JAVA.items():
            if child.name() == "java" and any(word in each for each in child.cmdline()):
                yield Watched(name, child.pid)


def _scrape(address: str) -> dict[str, float]:
    with urllib.request.urlopen(address, timeout=5) as page:
        lines = page.read().decode().splitlines()
    pairs = (line.split(" ") for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


async def cluster(options: Options, say: Say) -> Result:
    """The promise on a whole cluster: 500 tasks/s, random due times, both doors."""
    result = Result()
    with tempfile.TemporaryDirectory(prefix="timeball-bench-") as folder:
        places = Places(Path(folder) / "cluster")
        places.make()
        running = MeasuredCluster(places)
        say("starting the cluster")
        with contextlib.redirect_stdout(io.StringIO()), running.running():
            await _measure(running, options, result, say)
            say("ending the cluster")
    return result


async def _measure(running: MeasuredCluster, options: Options, result: Result, say: Say) -> None:
    address = coordinators(running.addresses)
    watched = running.watched()
    meter = Meter(*watched)
    async with timeball.AsyncClient(address) as client, _streams(running) as streams:
        say("waiting until every shard and executor serves")
        await whole(running, client)
        load = SteadyLoad(client, streams, random.Random(options.seed))
        counted = _Counted(running, streams, meter)
        async with sampling(meter), _probing(client, load, result):
            behind_ms = await offer(load, counted, options, say)
        await load.close()
        say("waiting for the last due times")
        await settled(load.ledger, running.start_logs)
    tasks = judged(result, load.ledger, running.start_logs, options.seconds)
    result.cost(meter, tasks)
    result.figures["CPU per task, all processes us"] = sum(meter.cpu_s.values()) * 1e6 / tasks
    result.figures.update({name: value / tasks for name, value in counted.sums.items()})
    for process in watched:
        result.figures[f"{process.name} RSS peak MiB"] = process.rss_peak_bytes / MIB
    result.figures["load generator late by at most ms"] = behind_ms


class _Counted(Meter):
    """Counts writes, chunks and what went over loopback in the same window as the CPU."""

    def __init__(self, running: MeasuredCluster, streams: Sequence[CreateStream], meter: Meter):
        self._running, self._streams, self._meter = running, streams, meter
        self._first: dict[str, float] = {}
        self.sums: dict[str, float] = {}

    def begin(self) -> None:
        self._first = self._now()
        self._meter.begin()

    def end(self) -> None:
        self._meter.end()
        now = self._now()
        self.sums = {name: now[name] - self._first[name] for name in now}

    def _now(self) -> dict[str, float]:
        loopback = psutil.net_io_counters(pernic=True)["lo"]
        counts = {COUNTS[name]: value for name, value in self._running.counts().items()}
        chunks = sum(stream.chunks for stream in self._streams)
        return {
            **counts,
            "create chunks per task": chunks,
            "loopback packets per task": loopback.packets_sent,
            "loopback KiB per task": loopback.bytes_sent / 1024,
        }


@asynccontextmanager
async def _streams(running: MeasuredCluster) -> AsyncIterator[list[CreateStream]]:
    """As many producers as coordinators, one at each."""
    async with AsyncExitStack() as stack:
        streams = []
        for name, address in sorted(running.addresses.items()):
            if name.startswith("coordinator"):
                channel = grpc.aio.insecure_channel(address, CHANNEL_OPTIONS)
                streams.append(CreateStream(await stack.enter_async_context(channel)))
        yield streams


@asynccontextmanager
async def _probing(
    client: timeball.AsyncClient, load: SteadyLoad, result: Result
) -> AsyncIterator[None]:
    """While something runs: immediate tasks from submit to result, some each second."""
    latencies_ms: list[float] = []
    task = asyncio.create_task(_probe(client, load, latencies_ms))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))
        result.distribution("immediate, submit to result", latencies_ms)
        result.figures["immediate, submit to result p90 ms"] = percentile(latencies_ms, 0.90)


async def _probe(client: timeball.AsyncClient, load: SteadyLoad, latencies_ms: list[float]) -> None:
    rng = random.Random(0)
    while True:
        await asyncio.sleep(rng.uniform(0.5, 1.5) / PROBES_PER_S)
        measured, began = load.measuring, time.perf_counter()
        handle = await client.submit(work.prepare(0))
        await handle.result(timeout="20s")
        if measured:
            latencies_ms.append((time.perf_counter() - began) * 1e3)
