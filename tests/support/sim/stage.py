"""What a script sees and does: one client, one task at a time, owners by name, faults by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from coordinator.requests import Caller
from coordinator.schedules import ScheduleApi
from tests.support.checker.dealings import Corner
from tests.support.checker.records import Claim, Days, Mode, Sent, Start, Wish
from tests.support.sim.archivists import Archivist, expression
from tests.support.sim.clients import COORDINATORS, Client, Wanted, addressed
from tests.support.sim.editors import rhythm_of
from tests.support.sim.gate import Gate
from tests.support.sim.handlers import WORK
from tests.support.sim.keys import KEYS
from tests.support.sim.planners import Planner
from tests.support.sim.reporters import Plan, Reporter
from tests.support.sim.tellers import Teller
from tests.support.sim.world import Process, World
from tests.support.virtual_loop import START_WALL_MS, VirtualClock, since_start_us
from timeball_server.core.ids import TaskId, home_of
from timeball_server.core.minting import CreateTime, fresh_request_id
from timeball_server.core.model import (
    CatchUp,
    CatchUpPolicy,
    DeliveryMode,
    Payload,
    RetryPolicy,
    ScheduleSpec,
    TaskSpec,
)
from timeball_server.core.schedules.spec import Cron

LOOK_MS = 1
LIMIT_S = 60.0
LOOKS = 4


class StaleScript(Exception):
    """What a script waits for does not come: the product works differently now."""


class Stage:
    """The world of one script."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = Client(world, "client-0")
        self.planner = Planner(world, "planner")
        self.archivist = Archivist(world, "archivist")
        self._clock = VirtualClock(world.loop)
        self._made = 0
        self._struck: set[str] = set()

    @property
    def gate(self) -> Gate:
        """What is kept on its way."""
        return self.world.network.gate

    async def sleep(self, seconds: float) -> None:
        """Let the world live."""
        await self._clock.sleep_ms(seconds * 1_000)

    async def until(self, holds: Callable[[], object], limit_s: float = LIMIT_S) -> None:
        """Look every millisecond until something holds.

        Raises:
            StaleScript: it never does.
        """
        until_us = self.world.loop.now_us + limit_s * 1e6
        while not holds():
            if self.world.loop.now_us > until_us:
                raise StaleScript(f"nothing came of {holds.__code__.co_names}")
            await self._clock.sleep_ms(LOOK_MS)

    def later(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """Something beside the script."""
        return self.world.loop.create_task(work)

    # Clients ------------------------------------------------------------------------------------

    def wanted(
        self,
        *,
        due_s: float,
        made_s: float = 0,
        fails: int = 0,
        work_ms: int = 100,
        mode: DeliveryMode = DeliveryMode.AT_LEAST_ONCE,
        unique: bytes = b"",
        key: str = "",
    ) -> Wanted:
        """A task that is due so many seconds from now, requested then or before."""
        now_ms = START_WALL_MS + self.world.loop.now_us // 1_000
        self._made += 1
        noise = unique or self._made.to_bytes(10, "big")
        request_id = fresh_request_id(now_ms + round(made_s * 1_000), noise)
        due_ms = now_ms + round(due_s * 1_000)
        time = CreateTime(run_ms=due_ms, delay_ms=0)
        namespace = self.client.namespace
        facts = {
            "mark": request_id.hex(),
            "fails": fails,
            "work_ms": work_ms,
            "fatal": False,
            "poison": 0,
        }
        spec = TaskSpec(
            namespace=namespace,
            owner=self.client.name,
            handler=WORK,
            payload=Payload(data=msgspec.json.encode(facts)),
            mode=mode,
            concurrency_key=key,
            retry=RetryPolicy(max_attempts=4, initial_delay_ms=500, max_delay_ms=1_000),
        )
        wish = Wish(
            mode=Mode(mode),
            due_us=since_start_us(due_ms),
            max_attempts=4,
            payload=request_id.hex(),
            key=key and f"{namespace}/{key}",
            most=KEYS.get(key, 0),
        )
        return addressed(spec, wish, request_id, time, now_ms)

    async def create(self, **facts: Any) -> TaskId:
        """Create a task.

        Raises:
            StaleScript: nobody takes it.
        """
        created = await self.client.create(self.wanted(**facts))
        if created is None:
            raise StaleScript("a task could not be created")
        return TaskId(created)

    async def create_beside(self, other: TaskId, **facts: Any) -> None:
        """Try once to create a task in the shard of another one, and give up not knowing."""
        wanted = self.wanted(**facts)
        while home_of(wanted.task_id).shard != home_of(other).shard:
            wanted = self.wanted(**facts)
        await self.client.create(wanted, tries=1)

    async def move(self, task: TaskId, delay_ms: int) -> None:
        """Try once to move a task."""
        await self.client.reviser.move_once(task, delay_ms)

    async def look(self, task: TaskId, coordinators: Sequence[str] = COORDINATORS) -> None:
        """Read a task at each of these coordinators."""
        for address in [*coordinators] * LOOKS:
            self.client.coordinators = (address,)
            await self.client.get(task)
        self.client.coordinators = COORDINATORS

    async def speaking(self, plan: Plan) -> TaskId:
        """Create a task that says how far it is.

        Raises:
            StaleScript: nobody takes it.
        """
        created = await Reporter(self.world, "reporter").speaking(plan)
        if created is None:
            raise StaleScript("a task could not be created")
        return TaskId(created)

    async def plan(self, every_s: int) -> TaskId:
        """Create a schedule.

        Raises:
            StaleScript: nobody takes it.
        """
        task = replace(self.wanted(due_s=0).spec, namespace=self.planner.namespace)
        created = await self.planner.create_schedule(
            ScheduleSpec(task=task, every_ms=every_s * 1_000)
        )
        if created is None:
            raise StaleScript("a schedule could not be created")
        self.planner.tasks.append(created)
        return TaskId(created)

    async def plan_to_miss(self, every_s: int) -> TaskId:
        """Create a schedule that makes up for all that it misses.

        Raises:
            StaleScript: nobody takes it.
        """
        task = replace(self.wanted(due_s=0).spec, namespace=self.planner.namespace)
        spec = ScheduleSpec(
            task=task,
            every_ms=every_s * 1_000,
            phase_ms=self._made % 2 * 3_700,
            catch_up=CatchUp(policy=CatchUpPolicy.ALL),
        )
        created = await self.planner.create_schedule(spec, rhythm_of(spec))
        if created is None:
            raise StaleScript("a schedule could not be created")
        self.planner.tasks.append(created)
        return TaskId(created)

    async def archive(self) -> TaskId:
        """Create a schedule of the 13th and of the last day of each month.

        Raises:
            StaleScript: nobody takes it.
        """
        days = Days(dates="13,L", times_s=(12 * 3_600,))
        task = self.wanted(due_s=0).spec
        cron = Cron(expression=expression(days), zone="Europe/Berlin")
        created = await self.archivist.create_dated(days, cron, task)
        if created is None:
            raise StaleScript("a schedule could not be created")
        return TaskId(created)

    async def ask_in_vain(self, schedule: TaskId) -> None:
        """Ask for a schedule that nobody can read; strangers are not even told that."""
        teller = Teller(self.world, "clerk-5", lambda node: ScheduleApi(node.cluster))

        async def look() -> str:
            return ""

        for caller, corner in ((teller.caller, Corner.UNREAD), (teller.stranger, Corner.FOREIGN)):

            async def get(api: ScheduleApi, caller: Caller = caller) -> object:
                return await api.get(caller, schedule, 8_000)

            async def trigger(api: ScheduleApi, caller: Caller = caller) -> object:
                return await api.trigger(caller, schedule, teller.request_id(), 8_000)

            for what, ask in (("get", get), ("trigger", trigger), ("get again", get)):
                await teller.deal(corner, what, str(schedule), ask, look)

    # Owners and executors -----------------------------------------------------------------------

    def owner(self, task: TaskId) -> Process:
        """Who published itself as the owner last."""
        return self.process(self._claim(task).owner)

    def process(self, name: str) -> Process:
        """The life of a node, by its own name or the node's."""
        return self.world.processes[name.partition("#")[0]]

    def other(self, owner: Process) -> Process:
        """The other scheduler node."""
        return self.process("scheduler-2" if owner.node == "scheduler-1" else "scheduler-1")

    async def next_owner(self, task: TaskId) -> Process:
        """Wait for an owner that nothing was done to, and until it has read what is due."""
        await self.until(lambda: self._claim(task).owner not in self._struck)
        await self.sleep(0.5)
        return self.owner(task)

    def _claim(self, task: TaskId) -> Claim:
        shard = home_of(task).shard
        return [claim for claim in self.world.history.claims if claim.shard == shard][-1]

    async def doubt(self, task: TaskId, asking: Coroutine[Any, Any, object]) -> Process:
        """Lose the owner of a task when it has written what a client asks for, on its way still.

        The coordinator is lost too: it would ask the next owner again.
        """
        owner, coordinator = self.owner(task), self.process("coordinator-1")
        self.gate.shut.add(owner.name)
        self.client.coordinators = COORDINATORS[:1]
        asked = self.later(asking)
        await self.until(lambda: self.gate.of(owner.name))
        self.crash(owner)
        self.crash(coordinator)
        await asked
        self.start(coordinator)
        self.client.coordinators = COORDINATORS
        return owner

    def crash(self, process: Process) -> None:
        """End a life."""
        self.strike("crash", process)
        self.world.crash(process)
        process.service = process.executor = None

    def heal(self) -> None:
        """From now on nothing is broken."""
        self.world.history.healed_us = self.world.loop.now_us

    def start(self, process: Process) -> None:
        """Begin the next life of a node."""
        self.world.start(process.node, process.kind)

    def strike(self, name: str, process: Process) -> None:
        """Note what was done to a process."""
        self._struck.add(process.name)
        self.world.history.strike(name, process.name)

    def starts(self, task: TaskId) -> list[Start]:
        """What the sink has seen."""
        return [start for start in self.world.history.starts if start.task == task]

    def runs_again(self) -> int:
        """How many runs of backfills have begun."""
        return sum(start.nominal_us is not None for start in self.world.history.starts)

    def sent(self, task: TaskId) -> list[Sent]:
        """Orders to run it."""
        return [sent for sent in self.world.history.sent if sent.task == task]
