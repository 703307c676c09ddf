"""Faults that hit what the cluster stands on: sessions, ZooKeeper, Cassandra, wires; and crowds.

Each is a coroutine that lets it happen on a scene and puts it right again.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Final

import timeball

from tests.support.chaos.arena import Arena
from tests.support.chaos.faults import Hit, drain, noted, victim_of, whole
from tests.support.chaos.load import Load
from tests.support.chaos.sessions import end_session, session_of
from tests.support.polls import eventually, moment, wall_ms
from timeball_server.ports.coordination import Role

OUTAGE_S: Final = 7.0
"""Longer than a session of 4 s, shorter than the patience of callers."""
CLOCK_STEP_MS: Final = 5_000
"""More than tasks here are due ahead, less than what an id may be off (`trusted_skew_ms`)."""
LIMPS: Final = 8
LIMP_S: Final = 0.5
CROWD: Final = 1_500
CROWD_AHEAD_MS: Final = 4_000
BOTH: Final = ("request", "answer")
ROLES: Final = {"scheduler": Role.SCHEDULER_NODE, "executor": Role.EXECUTOR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a fault may use."""

    arena: Arena
    client: timeball.AsyncClient
    load: Load
    random: Random


async def _hit(scene: Scene, fault: str, victim: str) -> Callable[[float], Hit]:
    """Note the instant and who owns what; the rest is filled in when it is over."""
    return await noted(fault, victim, scene.client, scene.random)


async def expire(scene: Scene, fault: str) -> Hit:
    """A member's session ends although its process lives and reaches everybody."""
    cluster, role = scene.arena.cluster, fault.partition("-")[2]
    victim = victim_of(fault, (await scene.client.cluster()).leader, cluster, scene.random)
    endpoints = scene.arena.zookeeper.endpoints
    number = await asyncio.to_thread(session_of, endpoints, cluster.shape.root, ROLES[role], victim)
    over = await _hit(scene, fault, victim)
    await asyncio.to_thread(end_session, endpoints, number)
    return over(0.0)


async def lose_zookeeper_leader(scene: Scene, fault: str) -> Hit:
    """The ensemble's leader is killed; the others elect."""
    leader = await asyncio.to_thread(scene.arena.zookeeper.leader)
    over = await _hit(scene, fault, leader.name)
    await asyncio.to_thread(leader.kill)
    await moment(OUTAGE_S)
    await asyncio.to_thread(scene.arena.zookeeper.heal)
    return over(OUTAGE_S)


async def lose_zookeeper_quorum(scene: Scene, fault: str) -> Hit:
    """Two of three do not answer for longer than a session."""
    frozen = scene.random.sample(scene.arena.zookeeper.nodes, 2)
    over = await _hit(scene, fault, ", ".join(node.name for node in frozen))
    for node in frozen:
        await asyncio.to_thread(node.freeze)
    await moment(OUTAGE_S)
    await asyncio.to_thread(scene.arena.zookeeper.heal)
    return over(OUTAGE_S)


async def pause_store(scene: Scene, fault: str) -> Hit:
    """Cassandra does not answer for some seconds: every write under way has an unknown outcome."""
    (node,) = scene.arena.cassandra.nodes
    over = await _hit(scene, fault, node.name)
    await asyncio.to_thread(node.freeze)
    await moment(OUTAGE_S)
    await asyncio.to_thread(node.thaw)
    return over(OUTAGE_S)


async def lose_stores(scene: Scene, fault: str) -> Hit:
    """One or two Cassandras of three are killed and come back."""
    count = {"one": 1, "two": 2}[fault.rpartition("-")[2]]
    killed = scene.random.sample(scene.arena.cassandra.nodes, count)
    over = await _hit(scene, fault, ", ".join(node.name for node in killed))
    for node in killed:
        await asyncio.to_thread(node.kill)
    await moment(OUTAGE_S)
    await asyncio.to_thread(scene.arena.cassandra.heal)
    return over(OUTAGE_S)


async def set_clock(scene: Scene, fault: str) -> Hit:
    """`clock-ahead`, `clock-back`: a scheduler node's clock is set, and set right again."""
    victim = victim_of("clock-scheduler", "", scene.arena.cluster, scene.random)
    ahead_ms = {"ahead": CLOCK_STEP_MS, "back": -CLOCK_STEP_MS}[fault.rpartition("-")[2]]
    return await set_clocks(scene, fault, (victim,), ahead_ms)


async def set_clocks(scene: Scene, fault: str, victims: Sequence[str], ahead_ms: int) -> Hit:
    """The clocks of these scheduler nodes are so far wrong for a while."""
    over = await _hit(scene, fault, ", ".join(victims))
    for name in victims:
        scene.arena.cluster.set_clock(name, ahead_ms)
    await moment(OUTAGE_S)
    for name in victims:
        scene.arena.cluster.set_clock(name, 0)
    return replace(over(OUTAGE_S), ahead_ms=max(0, ahead_ms))


async def cut_wire(scene: Scene, fault: str) -> Hit:
    """`cut-WHAT-WAY`: a scheduler node or an executor cannot be reached, or cannot be heard."""
    _, what, way = fault.split("-")
    cluster = scene.arena.cluster
    role = "executor" if what == "executor" else "scheduler"
    victim = victim_of(f"cut-{role}", "", cluster, scene.random)
    over = await _hit(scene, fault, victim)
    wires = cluster.wires[victim if what == "executor" else f"{what} of {victim}"]
    cluster.cut(wires, BOTH if way == "both" else (way,))
    await moment(OUTAGE_S)
    cluster.mend()
    return over(OUTAGE_S)


async def limp(scene: Scene, fault: str) -> Hit:
    """An executor stands still half of the time, never for as long as a session."""
    cluster = scene.arena.cluster
    victim = victim_of(fault, "", cluster, scene.random)
    over = await _hit(scene, fault, victim)
    for _ in range(LIMPS):
        cluster.send(victim, signal.SIGSTOP)
        await moment(LIMP_S)
        cluster.send(victim, signal.SIGCONT)
        await moment(LIMP_S)
    return over(LIMPS * LIMP_S)


async def poison(scene: Scene, fault: str) -> Hit:
    """A task kills the process that runs it; its next attempt does not."""
    cluster = scene.arena.cluster
    executors = [name for name in cluster.names if name.startswith("executor")]
    over = await _hit(scene, fault, "")
    await scene.load.poison()

    async def dead() -> str | None:
        return next((name for name in executors if not cluster.is_alive(name)), None)

    victim = await eventually(dead, "an executor has died of the poison")
    over_ms = wall_ms()
    await asyncio.to_thread(cluster.restart, victim)
    hit = over(0.0)
    return hit.with_abandoned([(victim, hit.at_ms, over_ms)], victim=victim)


async def thunder(scene: Scene, fault: str) -> Hit:
    """Many tasks are due at one instant."""
    over = await _hit(scene, fault, "")
    due_ms = wall_ms() // 1_000 * 1_000 + CROWD_AHEAD_MS
    scene.load.crowd(CROWD, datetime.fromtimestamp(due_ms / 1e3, UTC))
    await moment(CROWD_AHEAD_MS / 1e3 + 1.0)
    return over(0.0)


async def roll(scene: Scene, fault: str) -> Hit:
    """Every process of ours is asked to stop and started again, one after the other."""
    cluster = scene.arena.cluster
    over = await _hit(scene, fault, "")
    for name in cluster.names:
        await drain(cluster, name)
        with contextlib.suppress(timeball.TimeballError):  # asked again by the next look
            await whole(cluster, scene.client, balanced=False)
    return over(0.0)
