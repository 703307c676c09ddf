"""What reads of many tasks ask of the database and of the owners, counted.

    TIMEBALL_TEST_CASSANDRA=host:port python tests/bench/read_counts.py

A coordinator and a scheduler node from the production classes, joined in process, on a real
Cassandra: 16 shards, tasks of the coming month, and a hundred newer ones of the next two minutes,
of which forty have ended. Counts, no times. Prints lines for docs/benchmarks.md.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from coordinator.leadership import leading
from coordinator.node import CoordinatorConfig, CoordinatorNode, CoordinatorPorts
from coordinator.paging import ListQuery
from coordinator.requests import Caller, CancelRequest, CreateRequest
from scheduler_node.service import SchedulerNode, SchedulerNodeConfig
from tests.support.cassandra_world import Keyspace, config
from timeball_server.coordination.local import LocalCoordinator, LocalSession
from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.commands import Command, Outcome
from timeball_server.core.ids import Minute, NodeId, TaskId
from timeball_server.core.journal import EventRow
from timeball_server.core.messages import StreamHello
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import TaskSpec, TaskView
from timeball_server.ports.coordination import Member
from timeball_server.ports.executors import ExecutorStream
from timeball_server.ports.owners import OwnerClient, OwnerWatch
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.cassandra.store import CassandraStore

KEYSPACE: Final = "timeball_read_counts"
LAYOUT: Final = Layout((LayoutRow(from_minute=Minute(0), shard_count=16),))
FAR: Final = 500
NEW: Final = 100
ENDED: Final = 40
MANY: Final = 50
MINUTE_MS: Final = 60_000
MONTH_MS: Final = 30 * 24 * 60 * MINUTE_MS
CALLER: Final = Caller("bank", "teller")
SPEC: Final = TaskSpec(namespace="bank", owner="teller", handler="work")
READS: Final = ("by_owner_before", "journals", "journals_across", "read_owner", "read_owners")


class CountingStore(CassandraStore):
    """Counts the rows of journals that were read."""

    rows = 0

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        found = await super().read_journals(task_ids)
        self.rows += sum(map(len, found.values()))
        return found


class CountingOwner(OwnerClient):
    """Counts messages to an owner, and what they carry."""

    def __init__(self, owner: OwnerClient, counts: Counter[str]) -> None:
        self._owner = owner
        self._counts = counts

    async def execute(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        self._counts.update({"messages to owners": 1, "tasks in them": len(commands)})
        return await self._owner.execute(commands)

    def watch(self) -> OwnerWatch:
        return self._owner.watch()


class Nodes:
    """One coordinator and one owner of all shards; implements both dialers."""

    def __init__(self, store: CountingStore) -> None:
        self.store = store
        self.counts: Counter[str] = Counter()
        clock = self.clock = SystemClock()
        self.coordination = LocalCoordinator(100, clock)
        self.scheduler = SchedulerNode(
            SchedulerNodeConfig(node=NodeId("scheduler"), address="scheduler"),
            store,
            self.connect,
            self,
            clock,
            random.Random(1),
        )
        ports = CoordinatorPorts(
            store=store,
            connect=self.connect,
            dialer=self,
            clock=clock,
            lead=leading(LAYOUT.all_shards(), clock),
            entropy=random.Random(2),
        )
        place = CoordinatorConfig(node=NodeId("coordinator"), address="coordinator")
        self.coordinator = CoordinatorNode(place, ports, LAYOUT)

    async def connect(self) -> LocalSession:
        return await self.coordination.connect(20_000)

    def client(self, address: str) -> OwnerClient:
        return CountingOwner(self.scheduler.shell.calls, self.counts)

    async def open(self, executor: Member, hello: StreamHello) -> ExecutorStream:
        raise AssertionError("there is no executor")

    async def close(self) -> None:
        """These dialers keep nothing."""

    async def create(self, times: Sequence[CreateTime]) -> list[TaskId]:
        """Create tasks in one call."""
        requests = [CreateRequest(spec=SPEC, time=time) for time in times]
        made = await self.coordinator.api.create(CALLER, requests)
        return [each.task_id for each in made if isinstance(each, TaskView)]

    async def count(self, name: str, act: Callable[[], Awaitable[object]]) -> None:
        """Do it once and say what it cost."""
        before = Counter(self.store.session.requests)
        self.counts.clear()
        self.store.rows = 0
        await act()
        sent = self.store.session.requests - before
        statements = {each: sent[each] for each in READS if sent[each]}
        print(f"{name}: {sum(statements.values())} statements {statements},")
        print(f"    {self.store.rows} rows of journals, {dict(self.counts) or 'no owner asked'}")


async def measure() -> None:
    """A page of the newest, fifty of the coming month, fifty of the newest, and one task."""
    keyspace = Keyspace(config(KEYSPACE), is_durable=False)
    store = await CountingStore.open(keyspace.config, SystemClock(), print)
    assert isinstance(store, CountingStore)
    for row in LAYOUT.rows:
        await store.add_layout(row)
    nodes = Nodes(store)
    await nodes.scheduler.start()
    await nodes.coordinator.start()
    rng, api = random.Random(3), nodes.coordinator.api
    now_ms = nodes.clock.now().wall_ms
    soon_ms = (now_ms // MINUTE_MS + 5) * MINUTE_MS
    far = await nodes.create(
        [CreateTime(run_ms=soon_ms + rng.randrange(MONTH_MS)) for _ in range(FAR)]
    )
    new = await nodes.create(
        [CreateTime(run_ms=soon_ms + rng.randrange(2 * MINUTE_MS)) for _ in range(NEW)]
    )
    for task_id in new[:ENDED]:
        await api.cancel(CALLER, CancelRequest(task_id=task_id))
    query = ListQuery(namespace=CALLER.namespace, owner=CALLER.subject)
    some = rng.sample(far, MANY)
    for again in ("", ", again"):
        await nodes.count(f"the newest {NEW}{again}", lambda: api.list_by_owner(query, NEW))
    await nodes.count(f"{MANY} of a month", lambda: api.get_many(CALLER, some))
    for again in ("", ", again"):
        await nodes.count(f"{MANY} of the newest{again}", lambda: api.get_many(CALLER, new[:MANY]))
    await nodes.count("one of a month", lambda: api.get(CALLER, far[0]))
    await nodes.coordinator.stop()
    await nodes.scheduler.stop()
    await nodes.coordination.close()
    await store.close()
    keyspace.drop()


if __name__ == "__main__":
    asyncio.run(measure())
