"""One seed, one history: build the world, let it live, heal it, read everything, judge."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, NoReturn

import structlog

from tests.support.sim.checker import Violation, judge, vacuous
from tests.support.sim.clients import Client
from tests.support.sim.history import NEVER_US, History, Kind, Op
from tests.support.sim.nemesis import Nemesis
from tests.support.sim.profile import Profile, draw
from tests.support.sim.world import NodeKind, Seams, World
from tests.support.virtual_loop import START_WALL_MS, VirtualClock, VirtualLoop, run_virtual

SETTLE_S = 3.0
QUIET_MS = 60_000
AT_ONCE = 16


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
    lines: tuple[str, ...]

    @property
    def green(self) -> bool:
        """Whether nothing was violated and enough happened."""
        return not self.violations and not self.vacuous


def simulate(seed: int, *, seams: Seams | None = None, profile: Profile | None = None) -> Report:
    """Run one seed from its beginning to its verdict."""
    _silence()
    drawn = profile or draw(random.Random(f"{seed} profile"))
    kept: list[World] = []

    async def main(loop: VirtualLoop) -> float:
        world = World(loop, seed, drawn, seams or Seams())
        kept.append(world)
        await _live(world)
        world.history.is_open = False
        return loop.time()

    try:
        virtual_s = run_virtual(main, seed, limit_s=3_600)
    except AssertionError as error:
        history = kept[0].history
        history.problems.append(f"the loop: {error}")
        virtual_s = history.now_us() / 1e6
    return _report(seed, drawn, kept[0].history, virtual_s)


def _report(seed: int, profile: Profile, history: History, virtual_s: float) -> Report:
    return Report(
        seed=seed,
        profile=profile,
        violations=tuple(judge(history, profile)),
        vacuous=vacuous(history, profile),
        digest=history.digest(),
        virtual_s=virtual_s,
        tasks=len(history.final),
        starts=len(history.starts),
        ops=len(history.ops),
        faults=history.faults,
        planned=history.planned,
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
    nemesis = Nemesis(world)
    nemesis.start()
    clients = [Client(world, f"client-{number}") for number in range(world.profile.clients)]
    until_us = world.loop.now_us + round(world.profile.work_s * 1e6)
    share = -(-world.profile.tasks // len(clients))
    await asyncio.gather(*(client.run(share, until_us) for client in clients))
    await nemesis.stop()
    world.history.trace("world", "healed")
    await _finish(world)


async def _finish(world: World) -> None:
    """Leave the cluster alone until everything must have ended, then read each task once.

    Nobody asks for a task in between: a question brings a forgotten task back to its owner's mind.
    """
    history, reader = world.history, Client(world, "reader")
    created = dict.fromkeys(
        op.task_id for op in history.ops if op.name == "create" and op.kind is Kind.OK
    )
    last_due_ms = max((_latest_due_ms(op) for op in history.ops), default=0)
    now_ms = START_WALL_MS + world.loop.now_us // 1_000
    await VirtualClock(world.loop).sleep_ms(max(0, last_due_ms - now_ms) + QUIET_MS)
    world.history.trace("world", "reads")
    room = asyncio.Semaphore(AT_ONCE)

    async def one(task_id: str) -> None:
        async with room:
            final = Op(client="reader", name="get", task_id=task_id, inv_us=world.loop.now_us)
            history.final[task_id] = await reader.get(task_id, final)

    await asyncio.gather(*(one(task_id) for task_id in created))


def _latest_due_ms(op: Op) -> int:
    """The latest instant at which a creation may have wanted its task to start."""
    if op.wish is None:
        return 0
    if op.wish.due_ms is not None:
        return op.wish.due_ms
    ended_us = 0 if op.ret_us == NEVER_US else op.ret_us
    return START_WALL_MS + max(op.inv_us, ended_us) // 1_000 + op.wish.delay_ms


def _silence() -> None:
    """Services log as in production; the trace is what a simulation says."""
    structlog.configure(processors=[_drop])


def _drop(_: Any, __: str, ___: MutableMapping[str, Any]) -> NoReturn:
    raise structlog.DropEvent
