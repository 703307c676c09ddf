"""One seed, one history: build the world, let it live, heal it, read everything, judge."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, NoReturn

import structlog

from tests.support.checker.base import NEVER_US
from tests.support.checker.judge import judge
from tests.support.checker.records import Call, Residue
from tests.support.checker.sometimes import shown
from tests.support.checker.vacuity import Least, vacuous
from tests.support.checker.verdicts import Violation
from tests.support.sim.archivists import Archivist
from tests.support.sim.askers import Asker
from tests.support.sim.blackouts import Blackouts
from tests.support.sim.clerks import Clerk
from tests.support.sim.clients import Client
from tests.support.sim.desks import allow_desks
from tests.support.sim.diarists import Diarist
from tests.support.sim.editors import Editor
from tests.support.sim.history import History, Op
from tests.support.sim.keys import KEYS, NAMESPACES, allow
from tests.support.sim.latecomers import Latecomer
from tests.support.sim.ledger import buckets, editions, verdicts
from tests.support.sim.limiters import Limiter, allow_rates
from tests.support.sim.listers import listed
from tests.support.sim.nemesis import Nemesis
from tests.support.sim.plan_clerks import PlanClerk
from tests.support.sim.planners import Planner
from tests.support.sim.plights import Plights
from tests.support.sim.profile import Profile, draw
from tests.support.sim.reporters import Reporter
from tests.support.sim.rollbacks import Rollback
from tests.support.sim.scripts import SCRIPTS
from tests.support.sim.shifts import Shifts
from tests.support.sim.stage import Stage, StaleScript
from tests.support.sim.testimony import told_by
from tests.support.sim.timekeepers import Timekeeper
from tests.support.sim.world import NodeKind, Seams, World
from tests.support.virtual_loop import START_WALL_MS, VirtualClock, VirtualLoop, run_virtual
from timeball_server.core.model import ScheduleView

SETTLE_S = 3.0
QUIET_MS = 50_000
SCHEDULES_QUIET_MS = 20_000
OF_PLANNERS = NAMESPACES[0]
"""The namespace of all that plan."""
AT_ONCE = 16
MOST_ROUNDS = 4
MADE_UP_US = 100_000
"""For each task that is made up for; as many as in the time before."""
TRIES_OF_LONG = 2
"""A long task may begin once more just before everything is healed."""

Planners = tuple[Planner, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of one seed."""

    seed: int
    profile: Profile
    violations: tuple[Violation, ...]
    vacuous: str
    digest: str
    virtual_s: float
    tasks: int
    starts: int
    ops: int
    faults: Counter[str]
    planned: Counter[str]
    shown: Counter[str]
    lines: tuple[str, ...]

    @property
    def green(self) -> bool:
        """Whether nothing was violated and enough happened."""
        return not self.violations and not self.vacuous


def simulate(
    seed: int,
    *,
    seams: Seams | None = None,
    profile: Profile | None = None,
    least: Least | None = None,
) -> Report:
    """Run one seed from its beginning to its verdict."""
    _silence()
    drawn = profile or draw(random.Random(f"{seed} profile"))
    kept: list[World] = []

    async def main(loop: VirtualLoop) -> float:
        world = World(loop, seed, drawn, seams or Seams())
        kept.append(world)
        await allow(world.database, KEYS)
        await allow_desks(world.database)
        if drawn.rated:
            await allow_rates(world)
        await _live(world)
        world.history.is_open = False
        return loop.time()

    try:
        virtual_s = run_virtual(main, seed, limit_s=3_600)
    except AssertionError as error:
        history = kept[0].history
        history.problems.append(f"the loop: {error}")
        virtual_s = history.now_us() / 1e6
    report = _report(seed, drawn, kept[0].history, virtual_s, least or Least())
    _let_go(kept[0])
    return report


def _let_go(world: World) -> None:
    """Forget what was judged, also where exceptions and callbacks still lead to it.

    What leads back to itself waits for a collector, who takes microseconds for each object.
    """
    world.history.ops.clear()
    world.history.final.clear()
    vars(world.database).clear()


def _report(
    seed: int, profile: Profile, history: History, virtual_s: float, least: Least
) -> Report:
    told = told_by(history, profile)
    return Report(
        seed=seed,
        profile=profile,
        violations=tuple(judge(told)),
        vacuous=vacuous(told, least),
        digest=history.digest(),
        virtual_s=virtual_s,
        tasks=sum(op.call is Call.CREATE for op in history.ops),
        starts=len(history.starts),
        ops=len(history.ops),
        faults=history.faults,
        planned=history.planned,
        shown=shown(told),
        lines=tuple(history.lines),
    )


async def _live(world: World) -> None:
    for number in (1, 2):
        world.start(f"coordinator-{number}", NodeKind.COORDINATOR)
        world.start(f"scheduler-{number}", NodeKind.SCHEDULER)
    for number in (1, 2, 3):
        world.start(f"executor-{number}", NodeKind.EXECUTOR)
    clock = VirtualClock(world.loop)
    await clock.sleep_ms(SETTLE_S * 1_000)
    planners = await (_play(world) if world.profile.script else _draw(world))
    world.history.healed_us = world.history.healed_us or world.loop.now_us
    world.history.trace("world", "healed")
    await _finish(world, planners)


async def _play(world: World) -> Planners:
    """What a script says, step by step."""
    stage = Stage(world)
    try:
        await SCRIPTS[world.profile.script](stage)
    except StaleScript as error:
        world.history.problem("script", str(error))
    world.network.gate.shut.clear()
    return (stage.planner, stage.archivist)


async def _draw(world: World) -> Planners:
    """Clients, faults and operators, all drawn from the seed."""
    nemesis = Nemesis(world)
    nemesis.start()
    clients = [Client(world, f"client-{number}") for number in range(world.profile.clients)]
    until_us = world.loop.now_us + round(world.profile.work_s * 1e6)
    share = -(-world.profile.tasks // len(clients))
    planner, archivist = Planner(world, "planner"), Archivist(world, "archivist")
    timekeeper = Timekeeper(world, "timekeeper")
    limiters = [Limiter(world, f"limiter-{number}") for number in (0, 1)]
    editor = Editor(world, "editor")
    asking = Asker(world, "asker-0").plan(world.profile.asks, until_us)
    await asyncio.gather(
        asking,
        Plights(world, "asker-1").plan(),
        Blackouts(world, "asker-5").plan(),
        Shifts(world, "shifts").plan(),
        Rollback(world, "asker-4").plan(world.profile.foreign_rows),
        Clerk(world, "clerk-0").plan(world.profile.clerks),
        PlanClerk(world, "clerk-2").plan(world.profile.clerks),
        *(
            Latecomer(world, f"late-{number}").come(until_us)
            for number in range(world.profile.latecomers)
        ),
        timekeeper.keep(world.profile.timed, until_us),
        Reporter(world, "reporter").report(world.profile.reports, until_us),
        *(limiter.limit(world.profile.rated) for limiter in limiters),
        *(client.run(share, until_us) for client in clients),
        planner.plan(world.profile.schedules, until_us),
        archivist.plan(world.profile.archives, until_us),
        editor.plan(world.profile.edits, until_us),
        Diarist(world, "diarist").ask(world.profile.forecasts, until_us),
    )
    await _make_up(world, clients)
    await nemesis.stop()
    return (planner, archivist, editor)


async def _make_up(world: World, clients: list[Client]) -> None:
    """Create once more what was not acknowledged; a few times, as faults go on."""
    for _ in range(MOST_ROUNDS):
        missing = world.profile.tasks - sum(len(client.tasks) for client in clients)
        if missing <= 0:
            return
        until_us = world.loop.now_us + missing * MADE_UP_US
        share = -(-missing // len(clients))
        await asyncio.gather(*(client.run(share, until_us) for client in clients))


async def _finish(world: World, planners: Planners) -> None:
    """Leave the cluster alone until everything must have ended, then read each task once.

    Nobody asks for a task in between: a question brings a forgotten task back to its owner's mind.
    """
    history, clock = world.history, VirtualClock(world.loop)
    last_due_ms = max((_latest_due_ms(op) for op in history.ops), default=0)
    now_ms = START_WALL_MS + world.loop.now_us // 1_000
    profile = world.profile
    long_ms = profile.long_s * 1_000 * TRIES_OF_LONG if profile.long_share else 0
    quiet_ms = QUIET_MS + long_ms
    await clock.sleep_ms(max(0, last_due_ms - now_ms) + quiet_ms)
    if any(planner.tasks for planner in planners):
        await asyncio.gather(*(planner.end_all() for planner in planners))
        await clock.sleep_ms(SCHEDULES_QUIET_MS)
    history.read_us = world.loop.now_us
    history.residues = [Residue(what=each) for each in world.leftovers()]
    history.trace("world", "reads")
    history.verdicts = list(verdicts(world.database))
    history.editions = list(editions(world.database))
    if profile.retention_s or profile.part_rows:
        history.stored = list(buckets(world.database))
    room = asyncio.Semaphore(AT_ONCE)

    async def one(reader: Client, task_id: str) -> None:
        async with room:
            inv_us = world.loop.now_us
            final = Op(client="reader", call=Call.GET, task_id=task_id, inv_us=inv_us)
            history.final[task_id] = await reader.get(task_id, final)

    readers = (Client(world, "reader-0"), Client(world, "reader-1"))
    for_namespace = {reader.namespace: reader for reader in readers}
    wanted = _to_read(world)
    await asyncio.gather(*(one(for_namespace[who], task) for task, who in wanted.items()))
    if profile.calm:
        history.listed = await listed(world)


def _to_read(world: World) -> dict[str, str]:
    """Every task that anybody tried to create and every run of a schedule, with its namespace."""
    history = world.history
    made = {op.task_id: op.namespace for op in history.ops if op.call is Call.CREATE}
    runs = {verdict.task: OF_PLANNERS for verdict in history.verdicts if verdict.task}
    again = {start.task: OF_PLANNERS for start in history.starts if start.nominal_us is not None}
    by_hand = {run: OF_PLANNERS for run in map(_run_of, history.ops) if run}
    return made | runs | again | by_hand


def _run_of(op: Op) -> str:
    """What was launched by hand."""
    return str(op.view.run or "") if isinstance(op.view, ScheduleView) else ""


def _latest_due_ms(op: Op) -> int:
    """The latest instant at which a creation or a move may have wanted its task to start."""
    if op.call not in (Call.CREATE, Call.RESCHEDULE):
        return 0
    if op.due_ms is not None:
        return op.due_ms
    ended_us = 0 if op.ret_us == NEVER_US else op.ret_us
    delay_us = op.delay_ms * 1_000 if op.wish is None else op.wish.delay_us
    return START_WALL_MS + (max(op.inv_us, ended_us) + delay_us) // 1_000


def _silence() -> None:
    """Services log as in production; the trace is what a simulation says."""
    structlog.configure(processors=[_drop])


def _drop(_: Any, __: str, ___: MutableMapping[str, Any]) -> NoReturn:
    raise structlog.DropEvent
