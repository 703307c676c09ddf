"""Draws faults and lets them happen: crashes, freezes, sessions, links, streams, outages.

Draws what operators plan, too: shards that are moved, scheduler nodes that are stopped and started.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from tests.support.checker.records import Away
from tests.support.sim.partitions import SHAPES, Ways, between
from tests.support.sim.profile import Profile
from tests.support.sim.world import LAYOUT, NodeKind, Process, World
from tests.support.virtual_loop import VirtualClock
from timeball_server.core.ids import NodeId

MINUTE_S = 60.0
SLOW_STEP_S = 0.5
AWAKE_SHARE = 0.1
DRIFT_STEPS = 20
Strike = Callable[[], Coroutine[Any, Any, None]]


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
        rates: tuple[tuple[str, float, Strike], ...] = (
            ("crash", profile.crashes, self._crash),
            ("freeze", profile.freezes, self._freeze),
            ("expiry", profile.expiries, self._expire),
            ("session cut", profile.session_cuts, self._cut_session),
            ("link cut", profile.link_cuts, self._cut_link),
            ("snap", profile.snaps, self._snap),
            ("outage", profile.outages, self._outage),
            ("partition", profile.partitions, self._partition),
            ("quorum loss", profile.quorum_losses, self._lose_quorum),
            ("slowdown", profile.slowdowns, self._slow_down),
            ("clock step", profile.clock_steps, self._step_clock),
            ("move", profile.moves, self._move),
            ("drain", profile.drains, self._drain),
            ("absence", profile.absences, self._leave),
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

    async def _again(self, rate: float, strike: Strike) -> None:
        while not self._over:
            await self._pause(self._rng.expovariate(rate / MINUTE_S))
            task = self._world.loop.create_task(strike())
            self._running[task] = None
            task.add_done_callback(lambda done: self._running.pop(done, None))

    def _victim(self) -> Process | None:
        living = [p for p in self._world.processes.values() if p.alive and not p.frozen]
        # Scheduler nodes are where the protocol lives: they get half of all strikes.
        nodes = [p for p in living if p.kind is NodeKind.SCHEDULER]
        pool = nodes if nodes and self._rng.random() < 0.5 else living
        return self._rng.choice(pool) if pool else None

    # Processes ----------------------------------------------------------------------------------

    async def _crash(self) -> None:
        victim = self._victim()
        if victim is None:
            return
        self._world.history.strike("crash", victim.name)
        self._world.crash(victim)
        await self._pause(self._rng.uniform(0.01, 10.0))
        self._world.start(victim.node, victim.kind)

    async def _leave(self) -> None:
        """All scheduler nodes crash and stay away for a while: what passes meanwhile is missed."""
        world = self._world
        gone = [p for p in world.processes.values() if p.kind is NodeKind.SCHEDULER]
        if not all(each.alive and not each.frozen for each in gone):
            return
        from_us = world.loop.now_us
        for each in gone:
            world.history.strike("crash", each.name)
            world.crash(each)
        await self._pause(self._rng.uniform(2.0, 12.0))
        if gone == [world.processes[each.node] for each in gone]:
            world.history.away.append(Away(from_us=from_us, until_us=world.loop.now_us))
            for each in gone:
                world.start(each.node, each.kind)

    async def _freeze(self) -> None:
        victim = self._victim()
        if victim is None:
            return
        self._world.history.strike("freeze", victim.name)
        victim.frozen = True
        self._world.loop.freeze(victim.name)
        await self._pause(self._rng.uniform(0.05, self._world.profile.freeze_s))
        self._thaw(victim)

    async def _slow_down(self) -> None:
        """A process that runs only now and then: alive to everybody, and ten times too slow."""
        victim = self._victim()
        if victim is None:
            return
        self._world.history.strike("slowdown", victim.name)
        victim.frozen = True
        for _ in range(self._rng.randint(4, 20)):
            self._world.loop.freeze(victim.name)
            await self._pause(SLOW_STEP_S * (1 - AWAKE_SHARE))
            self._world.loop.thaw(victim.name)
            await self._pause(SLOW_STEP_S * AWAKE_SHARE)
        self._thaw(victim)

    def _thaw(self, victim: Process) -> None:
        victim.frozen = False
        self._world.loop.thaw(victim.name)
        self._world.history.trace(victim.name, "thaws")

    async def _step_clock(self) -> None:
        """A wall clock is set anew, at once or little by little, within the declared bound."""
        victim = self._victim()
        bound_ms = self._world.profile.skew_ms
        if victim is None or not bound_ms:
            return
        target_ms = self._rng.randint(-bound_ms, bound_ms)
        self._world.history.fault("clock step", victim.name, f"to {target_ms} ms")
        steps = self._rng.choice((1, DRIFT_STEPS))
        from_ms = victim.clock.skew_ms
        for step in range(1, steps + 1):
            victim.clock.skew_ms = from_ms + (target_ms - from_ms) * step // steps
            await self._pause(SLOW_STEP_S)

    # Sessions -----------------------------------------------------------------------------------

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
        if victim is not None:
            self._world.history.strike("session cut", victim.name)
            await self._out_of_sight([victim], self._rng.uniform(0.05, 12.0))

    async def _lose_quorum(self) -> None:
        """The coordination service answers nobody; afterwards it finds who was silent too long."""
        everybody = [each for each in self._world.processes.values() if each.alive]
        for each in everybody:
            self._world.history.fault("quorum loss", each.name, gives_up=True)
        await self._out_of_sight(everybody, self._rng.uniform(0.5, 15.0))

    async def _out_of_sight(self, victims: list[Process], seconds: float) -> None:
        """Cut processes off from the coordination service for a while."""
        cut = [(victim, victim.sessions[-1]) for victim in victims if victim.sessions]
        for victim, session in cut:
            victim.unreachable += 1
            session.cut()
        await self._pause(seconds)
        for victim, session in cut:
            victim.unreachable -= 1
            if not victim.unreachable:
                session.heal()
                self._world.history.trace(victim.name, "session healed")

    # Links --------------------------------------------------------------------------------------

    async def _cut_link(self) -> None:
        one, other = self._rng.sample([*self._world.processes, "store"], 2)
        self._world.history.fault("link cut", f"{one} {other}")
        await self._apart(between([one], [other]), self._rng.uniform(0.1, 12.0))

    async def _partition(self) -> None:
        """One of the shapes; it stands, flaps, or comes and goes link by link."""
        shape = self._rng.choice(list(SHAPES))
        ways = SHAPES[shape]([*self._world.processes, "store"], self._rng)
        manner = self._rng.choice(("stands", "flaps", "clogs"))
        self._world.history.fault("partition", f"{shape}", manner)
        if manner == "stands":
            await self._apart(ways, self._rng.uniform(0.5, 15.0))
        elif manner == "flaps":
            for _ in range(self._rng.randint(3, 10)):
                await self._apart(ways, self._rng.uniform(0.05, 0.5))
                await self._pause(self._rng.uniform(0.05, 0.5))
        else:
            each = [self._swing([way]) for way in ways]
            await asyncio.gather(*each)

    async def _swing(self, ways: Ways) -> None:
        """Cut after a while, heal after another: every way in its own time."""
        await self._pause(self._rng.uniform(0, 5.0))
        await self._apart(ways, self._rng.uniform(0.5, 8.0))

    async def _apart(self, ways: Ways, seconds: float) -> None:
        self._world.network.cut(ways)
        await self._pause(seconds)
        self._world.network.heal(ways)
        self._world.history.trace("network", f"{len(ways)} ways healed")

    async def _snap(self) -> None:
        if self._world.network.snap_one():
            self._world.history.fault("snap", "network")

    async def _outage(self) -> None:
        if self._world.outage.down:
            return
        self._world.history.fault("outage", "store")
        self._world.outage.down = True
        await self._pause(self._rng.uniform(0.1, self._world.profile.outage_s))
        self._world.outage.down = False

    # Operators ----------------------------------------------------------------------------------

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
        twice_share=0.0,
        poison_share=0.0,
        store_unknown_share=0.0,
        store_unavailable_share=0.0,
        pause_before="",
    )
