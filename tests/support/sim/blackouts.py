"""Blackouts one after the other, each of all of a kind, and questions while they last.

No owner, owners that are silent, owners out of sight, a database that is down, executors out of
reach: of each the judge is told from when to when, and what must be said meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tests.support.checker.records import Fault
from tests.support.sim.askers import Asker
from tests.support.sim.clients import Client, Wanted
from tests.support.sim.held_tasks import Maker
from tests.support.sim.partitions import between
from tests.support.sim.world import NodeKind, Process, World

Blackout = Callable[[], Awaitable[None]]
NO_OWNER_S: Final = 13.0
SHORT_S: Final = 4.8
"""Shorter than a session lasts."""
RECOVERS_S: Final = 6.0
FAR_S: Final = 90.0
"""When tasks are due of which nothing but the blackout says anything."""


class Blackouts:
    """All of them, with tasks that are asked about."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._rng = random.Random(f"{world.seed} {name} blackouts")
        self._client = Client(world, name)
        self._asker = Asker(world, name)
        self._maker = Maker(world, self._client, self._rng)

    async def plan(self) -> None:
        """One after the other."""
        if not self._world.profile.blackouts:
            return
        far = [self._maker.wanted(due_s=FAR_S) for _ in range(4)]
        await self._create(far)
        kinds: tuple[tuple[str, float, Blackout], ...] = (
            ("no owner", NO_OWNER_S, self._no_owner),
            ("silent owners", SHORT_S, self._silent),
            ("owners out of sight", SHORT_S, self._out_of_sight),
            ("store down", SHORT_S, self._store_down),
            ("executors out of reach", SHORT_S, self._out_of_reach),
        )
        for name, seconds, blackout in kinds:
            long = [self._maker.wanted(due_s=0.3, work_ms=8_000) for _ in range(3)]
            soon = [self._maker.wanted(due_s=3.3 + 0.1 * each) for each in range(4)]
            await self._create([*long, *soon])
            await self._asker.pause(1.0)
            at_us = self._world.loop.now_us
            asks = [self._ask(each, seconds) for each in (*far, *long, *soon) for _ in range(3)]
            await asyncio.gather(self._noted(name, at_us, blackout), *asks)
            await self._asker.pause(RECOVERS_S)

    async def _noted(self, name: str, at_us: int, blackout: Blackout) -> None:
        await blackout()
        now_us = self._world.loop.now_us
        fault = Fault(name=name, scope="cluster", at_us=at_us, until_us=now_us)
        self._world.history.struck.append(fault)

    async def _create(self, wanted: Sequence[Wanted]) -> None:
        await asyncio.gather(*map(self._client.create, wanted))

    async def _ask(self, wanted: Wanted, seconds: float) -> None:
        await self._asker.pause(self._rng.uniform(0, seconds))
        await self._asker.ask(wanted.task_id, self._client.namespace)

    # What is broken -----------------------------------------------------------------------------

    def _strike(self, name: str, kind: NodeKind) -> list[Process]:
        struck = [p for p in self._world.processes.values() if p.kind is kind and p.alive]
        for process in struck:
            self._world.history.strike(name, process.name)
        return struck

    async def _no_owner(self) -> None:
        crashed = self._strike("crash", NodeKind.SCHEDULER)
        for process in crashed:
            self._world.crash(process)
        await self._asker.pause(NO_OWNER_S)
        for process in crashed:
            self._world.start(process.node, process.kind)

    async def _silent(self) -> None:
        frozen = self._strike("freeze", NodeKind.SCHEDULER)
        for process in frozen:
            process.frozen = True
            self._world.loop.freeze(process.name)
        await self._asker.pause(SHORT_S)
        for process in frozen:
            process.frozen = False
            self._world.loop.thaw(process.name)

    async def _out_of_sight(self) -> None:
        sessions = [p.sessions[-1] for p in self._strike("session cut", NodeKind.SCHEDULER)]
        for session in sessions:
            session.cut()
        await self._asker.pause(SHORT_S)
        for session in sessions:
            session.heal()

    async def _store_down(self) -> None:
        self._world.history.fault("outage", "store")
        self._world.outage.down = True
        await self._asker.pause(SHORT_S)
        self._world.outage.down = False

    async def _out_of_reach(self) -> None:
        nodes = {kind: [p.node for p in self._strike("link cut", kind)] for kind in _ENDS}
        ways = between(nodes[NodeKind.SCHEDULER], nodes[NodeKind.EXECUTOR])
        self._world.network.cut(ways)
        while self._world.network.snap_one():
            pass
        await self._asker.pause(SHORT_S)
        self._world.network.heal(ways)


_ENDS: Final = (NodeKind.SCHEDULER, NodeKind.EXECUTOR)
