"""How fast the stores write: rows/s, CPU per row in this process, latency of an append.

    python tests/bench/store_bench.py [--seconds 2] [--adapter memory --adapter sqlite]
    TIMEBALL_TEST_CASSANDRA=host:port python tests/bench/store_bench.py --adapter cassandra

Three parts for each adapter: appends one after the other (latency of an idle store), four at a time
(what it can take), and an open loop of 200 tasks/s with three appends each. A scheduler node writes
the appends of many tasks together; nothing here does. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support import cassandra_world
from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    Incarnation,
    Minute,
    NodeId,
    ShardId,
    TaskId,
    encode_id,
)
from timeball_server.core.journal import (
    Alarm,
    DueRow,
    EventKind,
    EventRef,
    EventRow,
    OwnerListRow,
    Row,
    SpecDetail,
    State,
)
from timeball_server.core.model import Payload, TaskSpec
from timeball_server.ports.store import Store
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.cassandra.store import CassandraStore
from timeball_server.store.memory import MemoryStore
from timeball_server.store.sqlite.store import SqliteStore

MINUTE = 29_000_000
START_MS = MINUTE * 60_000
TASKS_PER_S = 200
SPEC = TaskSpec(
    namespace="bank", owner="teller", handler="billing.charge", payload=Payload(data=bytes(300))
)
NUMBERS = count()


def task_rows(number: int) -> tuple[list[Row], list[Row], list[Row]]:
    """What a scheduled task writes: create, claim, success."""
    task_id = new_id(number)
    created = event(task_id)
    hint = DueRow(
        minute=MINUTE,
        part=0,
        due_ms=START_MS + number % 60_000,
        task_id=task_id,
        seq=1,
        epoch=Epoch(1),
        handler="billing.charge",
        priority=4,
    )
    listed = OwnerListRow(
        namespace="bank",
        owner="teller",
        created_ms=START_MS,
        task_id=task_id,
        handler="billing.charge",
        epoch=Epoch(1),
    )
    run = EventRef(2, Epoch(1))
    claimed = replace(
        created, seq=2, kind=EventKind.CLAIMED, state=State.CLAIMED, run=run, detail=None
    )
    done = replace(claimed, seq=3, kind=EventKind.SUCCEEDED, state=State.SUCCEEDED, alarm=None)
    return [created, hint, listed], [claimed], [done]


def new_id(number: int) -> TaskId:
    """An id whose unique number says little about order, as hashes do."""
    unique = (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(16, "big")
    return encode_id(IdParts(Bucket(Minute(MINUTE), ShardId(number % 16)), unique))


def event(task_id: TaskId) -> EventRow:
    """A CREATED event with a small payload."""
    return EventRow(
        task_id=task_id,
        epoch=Epoch(1),
        seq=1,
        kind=EventKind.CREATED,
        state=State.PENDING,
        alarm=Alarm(START_MS, 1, Epoch(1)),
        attempt=0,
        run=None,
        executor=NodeId("executor-1"),
        incarnation=Incarnation(7),
        prev_epoch=Epoch(0),
        spec_at=EventRef(1, Epoch(1)),
        revision=1,
        priority=4,
        unaccounted=(),
        request_id="0190163d-8694-739b-aea5-966c26f8ad91",
        at_ms=START_MS,
        created_ms=START_MS,
        actor="user:teller",
        detail=SpecDetail(spec=SPEC),
    )


def percentile(latencies_s: Sequence[float], share: float) -> float:
    """A percentile in milliseconds."""
    ordered = sorted(latencies_s)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


async def timed(call: Awaitable[None], latencies_s: list[float]) -> None:
    """Await a call and note how long it took."""
    begun_s = time.perf_counter()
    await call
    latencies_s.append(time.perf_counter() - begun_s)


async def one_after_the_other(store: Store, size: int, seconds: float) -> str:
    """Appends of so many rows, each after the previous one."""
    latencies_s: list[float] = []
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall_s < seconds:
        rows: list[Row] = [event(new_id(next(NUMBERS))) for _ in range(size)]
        await timed(store.append(rows), latencies_s)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    rows_written = len(latencies_s) * size
    return figures(f"appends of {size}", rows_written, wall_s, cpu_s, latencies_s)


async def four_at_a_time(store: Store, size: int, seconds: float) -> str:
    """Appends of so many rows from four callers."""
    latencies_s: list[float] = []
    wall_s, cpu_s = time.perf_counter(), time.process_time()

    async def caller() -> None:
        while time.perf_counter() - wall_s < seconds:
            rows: list[Row] = [event(new_id(next(NUMBERS))) for _ in range(size)]
            await timed(store.append(rows), latencies_s)

    await asyncio.gather(*(caller() for _ in range(4)))
    taken_s, used_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return figures(f"4 x {size}", len(latencies_s) * size, taken_s, used_s, latencies_s)


async def open_loop(store: Store, seconds: float) -> str:
    """TASKS_PER_S tasks, three appends each, started by the clock whatever the answers."""
    latencies_s: list[float] = []
    total = int(TASKS_PER_S * seconds)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for number in range(total):
            await asyncio.sleep(max(0.0, wall_s + number / TASKS_PER_S - time.perf_counter()))
            group.create_task(life(store, latencies_s))
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return figures(f"{TASKS_PER_S} tasks/s", total * 5, wall_s, cpu_s, latencies_s)


async def life(store: Store, latencies_s: list[float]) -> None:
    """All writes of one task."""
    for rows in task_rows(next(NUMBERS)):
        await timed(store.append(rows), latencies_s)


def figures(name: str, rows: int, wall_s: float, cpu_s: float, latencies_s: Sequence[float]) -> str:
    """One line of the table. CPU includes making the rows."""
    return (
        f"  {name:<14} {rows / wall_s:>9,.0f} rows/s  {cpu_s / rows * 1e6:>6.0f} us CPU/row  "
        f"{cpu_s / wall_s * 100:>4.0f} % of a core  "
        f"p50 {percentile(latencies_s, 0.5):>6.2f} ms  p99 {percentile(latencies_s, 0.99):>6.2f} ms"
    )


async def measure(name: str, connect: Callable[[], Awaitable[Store]], seconds: float) -> None:
    """Print one adapter's figures."""
    print(name)
    async with AsyncExitStack() as stack:
        store = await connect()
        stack.push_async_callback(store.close)
        for size in (1, 8, 50):
            print(await one_after_the_other(store, size, seconds))
        for size in (8, 50):
            print(await four_at_a_time(store, size, seconds))
        print(await open_loop(store, seconds))


async def measure_memory(seconds: float) -> None:
    """Dictionaries: what making the rows costs."""

    async def connect() -> Store:
        return MemoryStore()

    await measure("memory", connect, seconds)


async def measure_sqlite(seconds: float) -> None:
    """A file in a folder of its own."""
    with TemporaryDirectory() as folder:

        async def connect() -> Store:
            return await SqliteStore.open(Path(folder) / "bench.sqlite3")

        await measure("sqlite (WAL, synchronous=FULL)", connect, seconds)


async def measure_cassandra(seconds: float) -> None:
    """A keyspace with a commit log on the servers that TIMEBALL_TEST_CASSANDRA names."""
    place = cassandra_world.config("timeball_bench")
    keyspace = await asyncio.to_thread(cassandra_world.Keyspace, place, is_durable=True)

    async def connect() -> Store:
        return await CassandraStore.open(place, SystemClock(), print)

    await measure("cassandra (one copy; CPU of the client alone)", connect, seconds)
    await asyncio.to_thread(keyspace.drop)
    await asyncio.to_thread(keyspace.close)


ADAPTERS = {
    "memory": measure_memory,
    "sqlite": measure_sqlite,
    "cassandra": measure_cassandra,
}


async def main(names: Sequence[str], seconds: float) -> None:
    """Measure these adapters."""
    for name in names:
        await ADAPTERS[name](seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--adapter", action="append", choices=ADAPTERS)
    asked = parser.parse_args()
    asyncio.run(main(asked.adapter or ("memory", "sqlite"), asked.seconds))
