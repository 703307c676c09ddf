"""Rows and tombstones that the server reads for a slice of a bucket, by its own count.

    TIMEBALL_TEST_CASSANDRA=host:port python tests/bench/bucket_reads.py --ended 20000

The server's traces say how many live rows and how many tombstones each read met. First in an
empty store, then when so many tasks have ended, some of them in the very bucket that is read, and
when other buckets have been removed. Prints lines for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.cassandra_world import Keyspace, config
from tests.support.store_worlds import SHARD, due, event, task
from timeball_server.core.ids import Minute
from timeball_server.core.journal import EventKind, Row
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.cassandra.statements import Level
from timeball_server.store.cassandra.store import CassandraStore

KEYSPACE: Final = "timeball_bucket_reads"
TASKS: Final = 1_000
"""Tasks of each bucket."""
_READ: Final = re.compile(r"Read (\d+) live rows and (\d+) tombstone")
STORY: Final = (EventKind.CREATED, EventKind.CLAIMED, EventKind.SUCCEEDED)


def rows_of(minute: int, tasks: range, events: int) -> list[Row]:
    """Tasks of a bucket with so many events each, and their hints."""
    ids = [task(number, minute=minute) for number in tasks]
    hints = [due(each, minute * 60_000 + n, minute=minute) for n, each in enumerate(ids)]
    told = [
        event(each, seq=seq, kind=kind)
        for each in ids
        for seq, kind in enumerate(STORY[:events], 1)
    ]
    return [*hints, *told]


async def written(store: Any, rows: Sequence[Row]) -> None:
    """All of them, some thousands at a time."""
    for first in range(0, len(rows), 2_000):
        await store.append(rows[first : first + 2_000])


def read(session: Any, minute: int) -> tuple[int, int]:
    """Live rows and tombstones of one look at a bucket's first ten seconds."""
    query = (
        f"SELECT due_ms, task_id, seq, epoch FROM {KEYSPACE}.due"
        " WHERE minute = %s AND shard = %s AND part = 0"
        " AND (due_ms, task_id, seq, epoch) > (0, '', 0, 0) AND (due_ms) < (%s) LIMIT 250"
    )
    place = (minute, SHARD, minute * 60_000 + 10_000)
    answer = session.execute(query, place, trace=True, execution_profile=Level.PLAIN.value)
    told = " ".join(str(each.description) for each in answer.get_query_trace(30).events)
    found = _READ.search(told)
    if found is None:
        raise SystemExit(f"the trace does not say what was read: {told}")
    return int(found[1]), int(found[2])


async def measure(ended: int) -> None:
    """Empty, then with ended tasks, then with buckets removed."""
    keyspace = Keyspace(config(KEYSPACE), is_durable=False)
    store = await CassandraStore.open(keyspace.config, SystemClock(), print)
    session = keyspace.driver
    minute = 29_000_000
    await written(store, rows_of(minute, range(TASKS), 1))
    print(f"nothing ended: rows, tombstones = {read(session, minute)}")
    await written(store, rows_of(minute, range(TASKS), len(STORY)))
    print(f"its own {TASKS:,} tasks ended: rows, tombstones = {read(session, minute)}")
    buckets = max(2, ended // TASKS)
    for number in range(1, buckets):
        await written(store, rows_of(minute - number, range(TASKS), len(STORY)))
    print(f"{buckets * TASKS:,} ended around it: rows, tombstones = {read(session, minute)}")
    for number in range(1, buckets, 2):
        await store.delete_bucket(Minute(minute - number), SHARD)
    print(f"{buckets // 2} buckets removed: rows, tombstones = {read(session, minute)}")
    print(f"a removed one: rows, tombstones = {read(session, minute - 1)}")
    await store.close()
    keyspace.drop()
    keyspace.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ended", type=int, default=20_000, help="tasks that have ended")
    asyncio.run(measure(parser.parse_args().ended))
