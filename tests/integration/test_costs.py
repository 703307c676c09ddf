"""What a task costs in writes, reads and messages: counts that a careless change would raise.

A coordinator, a scheduler node and an executor from the production classes, joined in process,
on the store in memory. Counts only, never times: batching that no load forces is not asked for.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from timeball.registry import Handler

from coordinator.leadership import leading
from coordinator.node import CoordinatorConfig, CoordinatorNode, CoordinatorPorts
from coordinator.paging import ListQuery
from coordinator.reader import ReadResult
from coordinator.requests import Caller, CreateRequest
from executor_node.membership import SessionMemberships
from executor_node.node import ExecutorNode
from scheduler_node.calls import Calls
from scheduler_node.service import SchedulerNode, SchedulerNodeConfig
from tests.support.polls import eventually
from timeball_server.coordination.local import LocalCoordinator, LocalSession
from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.commands import Command, Outcome
from timeball_server.core.ids import Epoch, Minute, NodeId, ShardId, TaskId
from timeball_server.core.journal import EventKind, EventRow, OwnerListRow, Row, State
from timeball_server.core.messages import FromExecutor, StreamHello, ToExecutor
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import PublicState, TaskSpec, TaskView
from timeball_server.ports.coordination import Member, Role
from timeball_server.ports.executors import ExecutorStream
from timeball_server.ports.owners import OwnerClient, OwnerWatch
from timeball_server.ports.store import NEVER, Applied, ListPage, NotApplied, OwnerRow
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.memory import MemoryDatabase, MemoryStore

pytestmark = pytest.mark.asyncio
ROOT = Path(__file__).resolve().parents[2]
LAYOUT = Layout((LayoutRow(from_minute=Minute(0), shard_count=4),))
TASKS = 500
SLOTS = 1_000
AHEADS_MS = (1_500, 6_000, 24_000)
CLAIMED_AHEAD_MS = 1_000
SPREAD_MS = 1_000
PER_CLUSTER = 30
"""What is written and said whatever the number of tasks: fences, inventories, watermarks."""
CALLER = Caller("bank", "teller")
SPEC = TaskSpec(namespace="bank", owner="teller", handler="work")
MINE = ListQuery(namespace="bank", owner="teller")
DAY_MS = 86_400_000
LIFE = (EventKind.CREATED, EventKind.CLAIMED, EventKind.SUCCEEDED)


class CountingStore(MemoryStore):
    """The store in memory, and what was asked of it."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.appends = 0
        self.conditional = 0
        self.rows: list[Row] = []

    async def append(self, rows: Sequence[Row]) -> None:
        self.appends += 1
        self.rows += rows
        await super().append(rows)

    async def raise_epoch(
        self, shard: ShardId, epoch: Epoch, scan_from: Minute, deleted_below: Minute = NEVER
    ) -> Applied | NotApplied:
        self.conditional += 1
        return await super().raise_epoch(shard, epoch, scan_from, deleted_below)

    async def move_scan_from(
        self, shard: ShardId, epoch: Epoch, old: Minute, new: Minute
    ) -> Applied | NotApplied:
        self.conditional += 1
        return await super().move_scan_from(shard, epoch, old, new)

    async def bind_name(self, namespace: str, name: str, task_id: TaskId) -> TaskId:
        self.conditional += 1
        return await super().bind_name(namespace, name, task_id)

    def events(self) -> Counter[EventKind]:
        """Events by kind."""
        return Counter(row.kind for row in self.rows if isinstance(row, EventRow))

    def ended(self) -> int:
        """Events with which a task ended well."""
        return sum(isinstance(row, EventRow) and row.state is State.SUCCEEDED for row in self.rows)


class ReadingStore(CountingStore):
    """A coordinator's, which reads for callers."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.reads: Counter[str] = Counter()

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        self.reads.update({"journals": 1, "tasks": len(task_ids)})
        return await super().read_journals(task_ids)

    async def read_owners(self, shards: Collection[ShardId]) -> Mapping[ShardId, OwnerRow]:
        self.reads["owner rows"] += 1
        return await super().read_owners(shards)

    async def list_by_owner(
        self, namespace: str, owner: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[OwnerListRow]:
        self.reads["list"] += 1
        return await super().list_by_owner(namespace, owner, day, cursor, limit)


class CountingOwner(OwnerClient):
    """An owner, and how many messages it was sent."""

    def __init__(self, calls: Calls, counts: Counter[str]) -> None:
        self._calls = calls
        self._counts = counts

    async def execute(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        self._counts.update({"messages": 1, "commands": len(commands)})
        return await self._calls.execute(commands)

    def watch(self) -> OwnerWatch:
        return self._calls.watch()


class Pipe:
    """Both ends of a stream between a scheduler node and an executor; counts messages."""

    def __init__(self) -> None:
        self.down: asyncio.Queue[ToExecutor | None] = asyncio.Queue()
        self.up: asyncio.Queue[FromExecutor | None] = asyncio.Queue()
        self.sent_down = 0
        self.sent_up = 0


class OwnerEnd:
    """Implements `ExecutorStream`."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def send(self, message: ToExecutor) -> None:
        self._pipe.sent_down += 1
        self._pipe.down.put_nowait(message)

    async def receive(self) -> FromExecutor | None:
        return await self._pipe.up.get()

    async def close(self) -> None:
        self._pipe.down.put_nowait(None)


class ExecutorEnd:
    """Implements `ExecutorServer`."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def receive(self) -> ToExecutor | None:
        return await self._pipe.down.get()

    def send(self, message: FromExecutor) -> None:
        self._pipe.sent_up += 1
        self._pipe.up.put_nowait(message)

    def close(self) -> None:
        self._pipe.up.put_nowait(None)


class Cluster:
    """One node of each kind; implements both dialers."""

    def __init__(self) -> None:
        clock = self.clock = SystemClock()
        database = MemoryDatabase(LAYOUT)
        self.store = CountingStore(database)
        self.reading = ReadingStore(database)
        self.asked: Counter[str] = Counter()
        self.release = asyncio.Event()
        self.coordination = LocalCoordinator(100, clock)
        self.pipe = Pipe()
        self.serving: list[asyncio.Task[None]] = []
        self.scheduler = SchedulerNode(
            SchedulerNodeConfig(node=NodeId("scheduler"), address="scheduler"),
            self.store,
            self.connect,
            self,
            clock,
            random.Random(1),
        )
        self.executor = ExecutorNode(
            member=Member(role=Role.EXECUTOR, node=NodeId("executor"), address="-", slots=SLOTS),
            handlers={"work": Handler("work", work), "held": Handler("held", self.held)},
            memberships=SessionMemberships(self.connect),
            clock=clock,
        )
        ports = CoordinatorPorts(
            store=self.reading,
            connect=self.connect,
            dialer=self,
            clock=clock,
            lead=leading(LAYOUT.all_shards(), clock),
            entropy=random.Random(2),
        )
        config = CoordinatorConfig(node=NodeId("coordinator"), address="coordinator")
        self.coordinator = CoordinatorNode(config, ports, LAYOUT)

    async def connect(self) -> LocalSession:
        return await self.coordination.connect(20_000)

    def client(self, address: str) -> OwnerClient:
        return CountingOwner(self.scheduler.shell.calls, self.asked)

    async def open(self, executor: Member, hello: StreamHello) -> ExecutorStream:
        serve = self.executor.serve(hello, ExecutorEnd(self.pipe))
        self.serving.append(asyncio.create_task(serve))
        return OwnerEnd(self.pipe)

    async def close(self) -> None:
        """A dialer of this cluster keeps nothing."""

    @property
    def conditional(self) -> int:
        """Conditional writes of all nodes."""
        return self.store.conditional + self.reading.conditional

    async def held(self) -> None:
        """A task that runs until the test lets it go."""
        await self.release.wait()

    async def create(self, times: Sequence[CreateTime], spec: TaskSpec = SPEC) -> None:
        """Create tasks in one call."""
        requests = [CreateRequest(spec=spec, time=time) for time in times]
        made = await self.coordinator.api.create(CALLER, requests)
        assert all(isinstance(each, TaskView) for each in made), made[:3]

    async def all_ended(self, count: int) -> None:
        async def look() -> bool:
            return self.store.ended() >= count

        await eventually(look, f"{count} tasks have ended")


async def work() -> None:
    """The task."""


@asynccontextmanager
async def running() -> AsyncIterator[Cluster]:
    """A cluster that has run its first task; only what comes after that counts."""
    cluster = Cluster()
    await cluster.scheduler.start()
    await cluster.executor.join()
    await cluster.coordinator.start()
    try:
        await cluster.create([CreateTime()])
        await cluster.all_ended(1)
        cluster.store.rows.clear()
        cluster.store.appends = cluster.store.conditional = cluster.reading.conditional = 0
        cluster.pipe.sent_down = cluster.pipe.sent_up = 0
        yield cluster
    finally:
        await cluster.coordinator.stop()
        await cluster.executor.close()
        await cluster.scheduler.stop()
        await asyncio.gather(*cluster.serving)
        await cluster.coordination.close()


@asynccontextmanager
async def running_with(
    times: Callable[[int], Sequence[CreateTime]],
) -> AsyncIterator[Cluster]:
    """A cluster whose tasks were all created before the first of them is claimed.

    On a slow machine it is another one, which had more time.
    """
    for ahead_ms in AHEADS_MS:
        async with running() as cluster:
            first_ms = cluster.clock.now().wall_ms + ahead_ms
            await cluster.create(times(first_ms))
            if cluster.clock.now().wall_ms < first_ms - CLAIMED_AHEAD_MS:
                yield cluster
                return
    raise AssertionError(f"not created within {AHEADS_MS[-1]} ms")


async def test_a_scheduled_task_is_three_events_and_six_rows() -> None:
    def times(first_ms: int) -> list[CreateTime]:
        spread = random.Random(3)
        return [CreateTime(run_ms=first_ms + spread.randrange(SPREAD_MS)) for _ in range(TASKS)]

    async with running_with(times) as cluster:
        await cluster.all_ended(TASKS)
        events = cluster.store.events()
        assert events == dict.fromkeys(LIFE, TASKS)
        # Hint, creation and its line in the list; the claim; the end and its line in the list.
        assert len(cluster.store.rows) == 6 * TASKS
        # Creations come together. Claims and ends lie at random instants of a second, two
        # milliseconds apart, and nobody waits for them: they gather.
        assert cluster.store.appends <= TASKS // 8 + PER_CLUSTER
        assert cluster.conditional <= PER_CLUSTER
        # Orders leave together after their claims' commit; an executor says start and end at once.
        assert cluster.pipe.sent_down <= 3 * TASKS // 5
        assert cluster.pipe.sent_up <= TASKS


async def test_an_immediate_task_is_two_events_and_five_rows() -> None:
    async with running() as cluster:
        for _ in range(TASKS):
            await cluster.create([CreateTime()])
        await cluster.all_ended(TASKS)
        events = cluster.store.events()
        assert events == {EventKind.BORN_CLAIMED: TASKS, EventKind.SUCCEEDED: TASKS}
        assert len(cluster.store.rows) == 5 * TASKS
        # The end of a task goes with the next one's beginning.
        assert cluster.store.appends <= 3 * TASKS // 2
        assert cluster.conditional <= PER_CLUSTER
        assert cluster.pipe.sent_down <= 2 * TASKS + PER_CLUSTER
        assert cluster.pipe.sent_up <= 2 * TASKS + PER_CLUSTER


async def test_a_thousand_tasks_at_one_instant_are_a_few_batches() -> None:
    async with running_with(lambda due_ms: [CreateTime(run_ms=due_ms)] * SLOTS) as cluster:
        await cluster.all_ended(SLOTS)
        assert cluster.store.events() == dict.fromkeys(LIFE, SLOTS)
        assert cluster.store.appends <= PER_CLUSTER
        assert cluster.conditional <= PER_CLUSTER
        assert cluster.pipe.sent_down <= PER_CLUSTER
        assert cluster.pipe.sent_up <= PER_CLUSTER


async def test_a_page_and_a_batch_are_three_reads_and_ask_no_owner_of_what_waits() -> None:
    """Of so many tasks as of one, but for their rows; of those that have ended, none."""
    async with running() as cluster:
        await cluster.create([CreateTime()] * 50)
        await cluster.all_ended(50)
        await cluster.create([CreateTime(delay_ms=DAY_MS)] * 50)
        api, reads = cluster.coordinator.api, cluster.reading.reads
        cluster.asked.clear()
        for tasks in (100, 50):
            reads.clear()
            page = await api.list_by_owner(MINE, 100)
            assert len(page.tasks) == 100
            assert reads["tasks"] == tasks
            assert reads["list"] == reads["journals"] <= 2, "two only at midnight"
            assert reads["owner rows"] == (reads["journals"] if tasks == 100 else 0)
        reads.clear()
        await api.get_many(CALLER, [view.task_id for view in page.tasks], with_journal=False)
        assert reads == {"journals": 1, "tasks": 50, "owner rows": 1}
        assert not cluster.asked


async def test_what_is_in_hand_is_asked_of_its_owner_in_one_message() -> None:
    async with running() as cluster:
        await cluster.create([CreateTime()] * 40, replace(SPEC, handler="held"))
        api, reads = cluster.coordinator.api, cluster.reading.reads

        async def listed() -> Sequence[TaskView]:
            return (await api.list_by_owner(MINE, 40)).tasks

        async def all_run() -> bool:
            return {view.state for view in await listed()} == {PublicState.RUNNING}

        await eventually(all_run, "all of them run")
        reads.clear()
        cluster.asked.clear()
        ids = [view.task_id for view in await listed()]
        assert reads["tasks"] == 40
        assert cluster.asked == {"messages": reads["journals"], "commands": 40}
        reads.clear()
        cluster.asked.clear()
        found = await api.get_many(CALLER, ids)
        assert reads == {"journals": 1, "tasks": 40}
        assert {each.task.state for each in found if isinstance(each, ReadResult)} == {
            PublicState.RUNNING
        }
        assert cluster.asked == {"messages": 1, "commands": 40}
        cluster.release.set()


def imported_by(module: str) -> set[str]:
    """The packages that are loaded when a module has been imported, in a fresh interpreter."""
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(run.stdout.split())


async def test_dev_mode_does_not_load_the_drivers_of_a_cluster() -> None:
    """They would be a third of its start and a sixth of its memory."""
    loaded = await asyncio.to_thread(imported_by, "timeball_server.cli.dev")
    assert {"grpc", "sqlite3"} <= loaded
    assert not loaded & {"cassandra", "kazoo"}
