"""Lets a database that has just started work for a while, so that its compiler has little left.

    python -m tests.bench.warming HOST:PORT SECONDS

In the first minute of a fresh Cassandra its compiler takes more of the CPU than all that it is
asked to do; a database that has served for an hour has none of that. Rows like those of tasks are
written and read through the store's own adapter, in a keyspace of their own, as fast as it goes.
"""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import count
from typing import Final

from tests.bench.store_bench import new_id, task_rows
from tests.support import cassandra_world
from timeball_server.core.journal import Row
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.cassandra.store import CassandraStore

KEYSPACE: Final = "timeball_warm"
SIZES: Final = (2, 10, 50)
"""Tasks whose rows are one append, in turn: nodes with little to do and with much."""


async def work(store: CassandraStore, seconds: float) -> int:
    """So many seconds of it; how many tasks' rows were written."""
    numbers, until_s = count(), time.monotonic() + seconds
    written = 0
    while time.monotonic() < until_s:
        for size in SIZES:
            mine = [next(numbers) for _ in range(size)]
            stages = zip(*(task_rows(number) for number in mine), strict=True)
            for stage in stages:
                rows: list[Row] = [row for part in stage for row in part]
                await store.append(rows)
            await store.read_journals([new_id(number) for number in mine])
            written += size
    return written


async def main(server: str, seconds: float) -> None:
    """See the module."""
    place = cassandra_world.config(KEYSPACE, server)
    keyspace = await asyncio.to_thread(cassandra_world.Keyspace, place, is_durable=True)
    store = await CassandraStore.open(place, SystemClock(), print)
    try:
        print(f"warm after the rows of {await work(store, seconds):,} tasks")
    finally:
        await store.close()
        await asyncio.to_thread(keyspace.drop)
        await asyncio.to_thread(keyspace.close)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
