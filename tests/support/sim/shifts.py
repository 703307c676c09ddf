"""Executors that are restarted one after the other under load, and others of whom one is slow.

Bursts come when an executor is just about to leave, so that orders wait there which it hands back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from typing import Any, Final

from tests.support.sim.clients import Client
from tests.support.sim.desks import PACE, SLOW, TEAM, TEAMS
from tests.support.sim.held_tasks import Maker
from tests.support.sim.world import NodeKind, World
from tests.support.virtual_loop import VirtualClock
from timeball_server.core.model import DeliveryMode

ROUNDS: Final = 9
BURST: Final = 9
ROUND_S: Final = 2.8
GRACES_MS: Final = (2_000, 2_000, 60)
"""The last one is over before handlers are: they are interrupted."""
ACKNOWLEDGE_MS: Final = 1_000
BURSTS: Final = 4
BURST_S: Final = 1.7
CROWD: Final = 26
"""More than all of them have slots: the slow one gets its share too."""
STEADY: Final = 120
CROWDS: Final = 5
LARGER: Final = 48
"""As large as the others' slots in the eyes of each owner, and more: one who is back gets some."""
STEADY_S: Final = 0.1
WORK_MS, SLOW_MS = 60, 1_350
MODES: Final = (*[DeliveryMode.AT_LEAST_ONCE] * 3, DeliveryMode.AT_MOST_ONCE)


class Shifts:
    """An operator of executors, and a client of each team."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._rng = random.Random(f"{world.seed} {name}")
        self._clock = VirtualClock(world.loop)
        self._client = Client(world, name)
        self._maker = Maker(world, self._client, self._rng)

    async def plan(self) -> None:
        """Both teams beside each other, for half a minute."""
        if not self._world.profile.shifts:
            return
        for name in TEAMS:
            self._world.start(name, NodeKind.EXECUTOR)
        await self._pause(1.5)
        await asyncio.gather(self._restarts(), self._steady())

    async def _restarts(self) -> None:
        team = [name for name, desk in TEAMS.items() if TEAM in desk.handlers]
        for number in range(ROUNDS):
            await asyncio.gather(*(self._one_of_team() for _ in range(BURST)))
            await self._pause(0.5 + self._rng.uniform(0.002, 0.05))
            leaving = self._leave(team[number % len(team)], GRACES_MS[number % len(GRACES_MS)])
            await asyncio.gather(leaving, self._pause(ROUND_S - 0.5))

    async def _one_of_team(self) -> None:
        mode = self._rng.choice(MODES)
        await self._create(TEAM, work_ms=self._rng.randint(200, 900), mode=mode)

    async def _leave(self, name: str, grace_ms: int) -> None:
        """It is asked to leave, and a new process takes its place."""
        world, process = self._world, self._world.processes[name]
        executor = process.executor
        if executor is None:
            return
        gone = asyncio.Event()

        async def leave() -> None:
            await executor.drain(grace_ms=grace_ms, acknowledge_ms=ACKNOWLEDGE_MS)
            gone.set()

        world.leaves(process)
        world.loop.start_in(process.name, leave())
        await gone.wait()
        world.crash(process)
        process.executor = None
        await self._pause(0.2)
        world.start(name, NodeKind.EXECUTOR)

    async def _steady(self) -> None:
        """Some crowds and then one task after the other, for a team of whom one is slow."""
        for _ in range(BURSTS):
            await asyncio.gather(*(self._one_of_pace() for _ in range(CROWD)))
            await self._pause(BURST_S)
        for _ in range(STEADY):
            self._later(self._one_of_pace())
            await self._pause(STEADY_S)
        for _ in range(CROWDS):
            await asyncio.gather(*(self._one_of_pace() for _ in range(LARGER)))
            await self._pause(BURST_S)

    async def _one_of_pace(self) -> None:
        await self._create(PACE, work_ms=WORK_MS, slow=SLOW, slow_ms=SLOW_MS)

    async def _create(self, handler: str, **how: Any) -> None:
        await self._client.create(self._maker.wanted(handler=handler, due_s=0.5, **how))

    def _later(self, work: Any) -> None:
        self._world.loop.create_task(work)

    def _pause(self, seconds: float) -> Awaitable[None]:
        return self._clock.sleep_ms(seconds * 1_000)
