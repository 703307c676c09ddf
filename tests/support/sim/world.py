"""A whole cluster from the production classes, with memory adapters swapped in.

Owns processes: starts them, crashes them, starts them anew as new processes.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from msgspec import structs
from timeball.errors import CoordinationUnavailable, TimeballError

from coordinator.leadership import leading
from coordinator.node import CoordinatorConfig, CoordinatorNode, CoordinatorPorts
from executor_node.membership import SessionMemberships
from executor_node.node import ExecutorNode
from scheduler_node.service import SchedulerNode, SchedulerNodeConfig
from tests.support.checker.base import NEVER_US
from tests.support.checker.questions import Serving
from tests.support.sim.bounded import CAPS
from tests.support.sim.desks import DESKS, TEAMS, Desk
from tests.support.sim.faulty_store import FaultyStore, Outage
from tests.support.sim.handlers import handlers
from tests.support.sim.history import History
from tests.support.sim.network import Listener, Network
from tests.support.sim.profile import SLOTS, Profile
from tests.support.sim.transports import SimExecutorDialer, SimOwnerDialer
from tests.support.virtual_loop import START_WALL_MS, VirtualClock, VirtualLoop
from timeball_server.coordination.local import Leg, LocalCoordinator, LocalSession
from timeball_server.core.buckets import Layout, LayoutRow, minute_of
from timeball_server.core.commands import Command
from timeball_server.core.engine.state import Engine, EngineConfig
from timeball_server.core.ids import Epoch, Minute, NodeId
from timeball_server.ports.coordination import CoordinationSession, Member, Role
from timeball_server.ports.store import ShardRow, Store
from timeball_server.store.memory import MemoryDatabase, MemoryStore

LAYOUT = Layout((LayoutRow(from_minute=Minute(0), shard_count=4),))
SESSION_MS = 6_000
RESTART_MS = 500
REMOVE_MS = 5_000
RENEW_MS = 100_000
"""Sooner than in earnest: a long run holds its bucket by its alarm until it moves it ahead."""
SWEEP_MS = 1_500
"""Sooner than in earnest: what could not be read is looked for at every tenth sweep."""
POISONED_S = 1.5
"""How long an executor stays away that its own task has killed."""
NOTICEABLE_SHARE = 0.2
"""Of the ways to and from the coordination service this share takes any time: most of a run's
events would be these."""


class NodeKind(StrEnum):
    """What runs on a node."""

    COORDINATOR = "coordinator"
    SCHEDULER = "scheduler"
    EXECUTOR = "executor"


@dataclass(slots=True, eq=False)
class Process:
    """One life of a node."""

    node: str
    kind: NodeKind
    name: str
    clock: VirtualClock
    sessions: list[LocalSession] = field(default_factory=list)
    alive: bool = True
    frozen: bool = False
    unreachable: int = 0
    service: SchedulerNode | None = None
    executor: ExecutorNode | None = None

    @property
    def address(self) -> str:
        """Where the node is reached, in all its lives."""
        return f"{self.node}:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """Where a test may put something in between to switch a rule off; nothing otherwise.

    Attributes:
        store: wraps the store of a scheduler process.
        session: wraps the sessions of a scheduler process.
        wall_ms: added to the wall clock of a scheduler process.
        executor: the executor's class.
        command: changes what coordinators send to owners.
        engine: the engines' numbers.
    """

    store: Callable[[FaultyStore, VirtualClock], Store] = lambda store, _: store
    session: Callable[[LocalSession, VirtualClock], CoordinationSession] = lambda each, _: each
    wall_ms: int = 0
    executor: type[ExecutorNode] = ExecutorNode
    command: Callable[[Command], Command] = lambda command: command
    engine: EngineConfig = field(default_factory=EngineConfig)


def _database(profile: Profile) -> MemoryDatabase:
    """Empty, or with shards that begin a few minutes ago: removals soon come to what is made."""
    database = MemoryDatabase(LAYOUT)
    for shard in LAYOUT.all_shards() if profile.retention_s else ():
        first = Minute(minute_of(START_WALL_MS) - 2)
        database.shards[shard] = ShardRow(
            shard=shard, epoch=Epoch(1), scan_from=first, deleted_below=first
        )
    return database


def _remembered(name: str, engine: Engine) -> Iterator[str]:
    """What an owner keeps of tasks that have ended: who asks for them, and their places."""
    for shard in engine.shards.values():
        for what in (
            "watchers",
            "asking",
            "finding",
            "unresolved",
            "barred",
            "beats",
            "unreadable",
        ):
            kept = getattr(shard, what)
            if kept:
                yield f"{name} still has {len(kept)} {what} of shard {shard.shard}"
    if engine.gates.places or engine.gates.count():
        counts = f"{engine.gates.places} places of keys, {engine.gates.count()} who wait for one"
        yield f"{name} still has {counts}"


class World:
    """The cluster and everything around it."""

    def __init__(self, loop: VirtualLoop, seed: int, profile: Profile, seams: Seams) -> None:
        self.loop = loop
        self.seed = seed
        self.profile = profile
        self.history = History(lambda: loop.now_us)
        self.network = Network(loop, random.Random(f"{seed} network"), profile, self.history)
        self.outage = Outage()
        self.database = _database(profile)
        self.coordination = LocalCoordinator(100, VirtualClock(loop))
        self.processes: dict[str, Process] = {}
        self._seams = seams
        self._lives: dict[str, int] = {}
        self._rng = random.Random(f"{seed} world")

    def start(self, node: str, kind: NodeKind) -> Process:
        """Begin a new life of a node."""
        life = self._lives[node] = self._lives.get(node, 0) + 1
        skew_ms = round(self._rng.uniform(-1, 1) * self.profile.skew_ms)
        skew_ms += self._seams.wall_ms if kind is NodeKind.SCHEDULER else 0
        clock = VirtualClock(self.loop, skew_ms, self._rng.randint(0, 10**9))
        process = Process(node, kind, f"{node}#{life}", clock)
        self.processes[node] = process
        mains = {
            NodeKind.COORDINATOR: self._coordinator,
            NodeKind.SCHEDULER: self._scheduler,
            NodeKind.EXECUTOR: self._executor,
        }
        self.loop.start_in(process.name, self._supervise(process, mains[kind]))
        self.history.trace(process.name, "begins")
        return process

    def crash(self, process: Process) -> None:
        """End a life at whatever it waits for."""
        process.alive = False
        self.loop.kill(process.name)
        self.network.died(process.name)

    def drain(self, process: Process) -> None:
        """Ask a scheduler node to stop, as an operator does; nobody waits for it."""
        if process.service is not None:
            self.loop.start_in(process.name, process.service.stop())

    def leftovers(self) -> Iterator[str]:
        """What should be gone when all work is over: in memories, and of those who have died."""
        for process in self.processes.values():
            node = process.executor
            state = None if node is None else node._state
            if state is not None and (state.running or state.unacknowledged):
                counts = f"{state.running} runs, {state.unacknowledged} results"
                yield f"{process.name} still has {counts}"
            shards = {} if process.service is None else process.service.shell.engine.shards
            held = [task for shard in shards.values() for task in shard.tasks]
            if held:
                yield f"{process.name} still has {len(held)} tasks in memory: {held[:3]}"
            if process.service is not None and process.alive:
                yield from _remembered(process.name, process.service.shell.engine)
        for role in Role:
            nodes = [member.node for member in self.coordination.entries.members(role)]
            if len(nodes) != len(set(nodes)):
                yield f"{role} members more than once: {nodes}"

    async def _supervise(
        self, process: Process, main: Callable[[Process], Awaitable[None]]
    ) -> None:
        """Start the service again when it could not start; a crash of its own is a problem."""
        while True:
            try:
                await main(process)
            except TimeballError as error:
                self.history.trace(process.name, f"could not start: {error}")
            except Exception as error:
                self.history.problem(process.name, f"crashed by itself: {error!r}")
                raise
            self.network.died(process.name)
            await process.clock.sleep_ms(RESTART_MS)

    async def _coordinator(self, process: Process) -> None:
        ports = CoordinatorPorts(
            store=self._store(process),
            connect=self._connect(process),
            dialer=SimOwnerDialer(self.network, (process.node, process.name), self._seams.command),
            clock=process.clock,
            lead=leading(LAYOUT.all_shards(), process.clock),
            entropy=random.Random(f"{self.seed} {process.name}"),
        )
        config = CoordinatorConfig(node=NodeId(process.node), address=process.address)
        service = CoordinatorNode(config, ports, LAYOUT)
        await service.start()
        self._listen(process, service)
        await service.wait_stopped()

    async def _scheduler(self, process: Process) -> None:
        connect = self._connect(process)

        async def connect_through_seam() -> CoordinationSession:
            return self._seams.session(await connect(), process.clock)

        service = SchedulerNode(
            SchedulerNodeConfig(
                node=NodeId(process.node), address=process.address, engine=self._engine()
            ),
            self._seams.store(self._store(process), process.clock),
            connect_through_seam,
            SimExecutorDialer(self.network, process.node, process.name),
            process.clock,
            random.Random(f"{self.seed} {process.name}"),
        )
        self._listen(process, service.shell.calls)
        await service.start()
        process.service = service
        await service.wait_stopped()
        process.service = None
        self.history.trace(process.name, "has stopped")

    def _engine(self) -> EngineConfig:
        """The engines' numbers: removals at once and often, where there are any."""
        retention_ms = round(self.profile.retention_s * 1_000)
        if self.profile.catch_up_per_s:
            return replace(self._seams.engine, catch_up_per_s=self.profile.catch_up_per_s)
        if self.profile.part_rows:
            rows, minutes = self.profile.part_rows, self.profile.counted
            counted = minutes or self._seams.engine.counted_minutes
            return replace(self._seams.engine, part_rows=rows, counted_minutes=counted)
        if self.profile.foreign_rows:
            return replace(self._seams.engine, sweep_every_ms=SWEEP_MS)
        if not retention_ms:
            return self._seams.engine
        return replace(
            self._seams.engine,
            retention_ms=retention_ms,
            removal_every_ms=REMOVE_MS,
            renew_after_ms=RENEW_MS,
            renew_ahead_ms=RENEW_MS,
        )

    async def _executor(self, process: Process) -> None:
        desk = {**DESKS, **TEAMS}.get(process.node) or Desk(
            strength=max(1, int(process.node[-1]) - 1), slots=SLOTS
        )
        member = Member(
            role=Role.EXECUTOR,
            node=NodeId(process.node),
            address=process.address,
            strength=desk.strength,
            slots=desk.slots,
            labels=desk.labels,
            caps=(*CAPS.items(), *desk.caps),
        )

        def die() -> None:
            self.crash(process)
            self.network.after(POISONED_S, self.start, process.node, process.kind)

        service = self._seams.executor(
            member=member,
            handlers=handlers(self.history, process.name, process.clock, die, desk.handlers),
            memberships=SessionMemberships(self._connect(process)),
            clock=process.clock,
        )
        self._listen(process, service)
        process.executor = service
        await service.join()
        self._note_serving(process, desk)
        await service.stay()

    def leaves(self, process: Process) -> None:
        """Note that an executor is asked to leave: no fault, and it may come back."""
        self.history.plan("leave", process.name)
        self.history.leaving.add(process.name)
        last = self.history.serving
        for number, each in enumerate(last):
            if each.process == process.name and each.until_us == NEVER_US:
                last[number] = structs.replace(each, until_us=self.loop.now_us)

    def _note_serving(self, process: Process, desk: Desk) -> None:
        serving = Serving(
            process=process.name,
            node=process.node,
            handlers=desk.handlers,
            labels=desk.labels,
            slots=desk.slots,
            strength=desk.strength,
            caps=desk.caps,
            from_us=self.loop.now_us,
        )
        self.history.serving.append(serving)

    def _listen(self, process: Process, service: object) -> None:
        self.network.listen(process.address, Listener(process.node, process.name, service))

    def _store(self, process: Process) -> FaultyStore:
        inner = MemoryStore(self.database)
        return FaultyStore(inner, self.network, process.node, process.name, self.outage)

    def _connect(self, process: Process) -> Callable[[], Awaitable[LocalSession]]:
        clock = VirtualClock(self.loop)

        async def delay(name: str, leg: Leg) -> None:
            if self._rng.random() < NOTICEABLE_SHARE:
                await clock.sleep_ms(self.network.delay_s() * 1_000)

        async def connect() -> LocalSession:
            await delay("connect", Leg.REQUEST)
            if process.unreachable:
                raise CoordinationUnavailable("no route to the coordination service")
            session = await self.coordination.connect(SESSION_MS, clock=process.clock, delay=delay)
            process.sessions.append(session)
            return session

        return connect
