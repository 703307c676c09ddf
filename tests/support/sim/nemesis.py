"""Draws faults and lets them happen: crashes, freezes, sessions, links, streams, outages.

Draws what operators plan, too: shards that are moved, scheduler nodes that are stopped and started.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from tests.support.sim.profile import Profile
from tests.support.sim.world import LAYOUT, NodeKind, Process, World
from tests.support.virtual_loop import VirtualClock
from timeball_server.core.ids import NodeId

MINUTE_S = 60.0


class Nemesis:
    """All faults that are not drawn per message. `stop` heals everything."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = random.Random(f"{world.seed} nemesis")
        self._clock = VirtualClock(world.loop)
        self._over = False
        self._loops: list[asyncio.Task[None]] = []
        self._running: dict[asyncio.Task[None], None] = {}

    def start(self) -> None:
        """Begin."""
        profile = self._world.profile
        rates: tuple[tuple[str, float, Callable[[], Coroutine[Any, Any, None]]], ...] = (
            ("crash", profile.crashes, self._crash),
            ("freeze", profile.freezes, self._freeze),
            ("expiry", profile.expiries, self._expire),
            ("session cut", profile.session_cuts, self._cut_session),
            ("link cut", profile.link_cuts, self._cut_link),
            ("snap", profile.snaps, self._snap),
            ("outage", profile.outages, self._outage),
            ("move", profile.moves, self._move),
            ("drain", profile.drains, self._drain),
        )
        for name, rate, strike in rates:
            if rate > 0:
                loop = self._again(rate, strike)
                self._loops.append(self._world.loop.create_task(loop, name=f"nemesis {name}"))

    async def stop(self) -> None:
        """No more faults; wait until all that happened has healed."""
        self._over = True
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        while self._running:
            await asyncio.gather(*self._running)
        self._world.profile = self._world.network.profile = _quiet(self._world)

    async def _again(self, rate: float, strike: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while not self._over:
            await self._pause(self._rng.expovariate(rate / MINUTE_S))
            task = self._world.loop.create_task(strike())
            self._running[task] = None
            task.add_done_callback(lambda done: self._running.pop(done, None))

    def _victim(self) -> Process | None:
        living = [p for p in self._world.processes.values() if p.alive and not p.frozen]
        # Scheduler nodes are where the protocol lives: they get half of all strikes.
        nodes = [p for p in living if p.node.startswith("scheduler")]
        pool = nodes if nodes and self._rng.random() < 0.5 else living
        return self._rng.choice(pool) if pool else None

    async def _crash(self) -> None:
        victim = self._victim()
        if victim is None:
            return
        self._world.history.strike("crash", victim.name)
        self._world.crash(victim)
        await self._pause(self._rng.uniform(0.01, 10.0))
        self._world.start(victim.node, victim.kind)

    async def _freeze(self) -> None:
        victim = self._victim()
        if victim is None:
            return
        self._world.history.strike("freeze", victim.name)
        victim.frozen = True
        self._world.loop.freeze(victim.name)
        await self._pause(self._rng.uniform(0.05, self._world.profile.freeze_s))
        victim.frozen = False
        self._world.loop.thaw(victim.name)
        self._world.history.trace(victim.name, "thaws")

    async def _expire(self) -> None:
        """End a session before its time, as an operator can, and let its client hear of it.

        One that is cut off could not hear, and a lease is proven by the time that the service
        promises a session (rule R3): it ends by that time alone.
        """
        victim = self._victim()
        if victim is None or not victim.sessions or victim.unreachable:
            return
        self._world.history.strike("expiry", victim.name)
        self._world.coordination.expire(victim.sessions[-1])

    async def _cut_session(self) -> None:
        victim = self._victim()
        if victim is None or not victim.sessions:
            return
        self._world.history.strike("session cut", victim.name)
        session = victim.sessions[-1]
        victim.unreachable += 1
        session.cut()
        await self._pause(self._rng.uniform(0.05, 12.0))
        victim.unreachable -= 1
        session.heal()
        self._world.history.trace(victim.name, "session healed")

    async def _cut_link(self) -> None:
        nodes = [*self._world.processes, "store"]
        one, other = self._rng.sample(nodes, 2)
        self._world.history.fault("link cut", f"{one} {other}")
        self._world.network.cut(one, other)
        await self._pause(self._rng.uniform(0.1, 12.0))
        self._world.network.heal(one, other)
        self._world.history.trace("network", f"link healed {one} {other}")

    async def _snap(self) -> None:
        if self._world.network.snap_one():
            self._world.history.fault("snap", "network")

    async def _outage(self) -> None:
        if self._world.outage.down:
            return
        self._world.history.fault("outage", "store")
        self._world.outage.down = True
        await self._pause(self._rng.uniform(0.1, 8.0))
        self._world.outage.down = False

    async def _move(self) -> None:
        """An operator's wish for a shard, by any name that a scheduler node has; or no wish."""
        shard = self._rng.choice(LAYOUT.all_shards())
        names = [p.node for p in self._world.processes.values() if p.kind is NodeKind.SCHEDULER]
        node = self._rng.choice([*names, None])
        self._world.history.plan("move", f"shard {shard} to {node}")
        self._world.coordination.wish(shard, None if node is None else NodeId(node))

    async def _drain(self) -> None:
        """A scheduler node hands over and stops; its supervisor starts it again."""
        nodes = [p for p in self._world.processes.values() if p.alive and p.service is not None]
        if nodes:
            process = self._rng.choice(nodes)
            self._world.history.plan("drain", process.name)
            self._world.drain(process)

    def _pause(self, seconds: float) -> Awaitable[None]:
        return self._clock.sleep_ms(seconds * 1_000)


def _quiet(world: World) -> Profile:
    return replace(
        world.profile,
        slow_share=0.0,
        loss_share=0.0,
        store_unknown_share=0.0,
        store_unavailable_share=0.0,
    )
