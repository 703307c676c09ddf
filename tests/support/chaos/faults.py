"""Processes that are killed, frozen and drained: who is hit, and when it is put right again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

import timeball

from tests.support.polls import eventually, moment, wall_ms
from tools.local_cluster import LocalCluster

AWAY_S: Final = (0.0, 1.0, 6.0)
"""Restarts come at once, within the old session, and after it has expired."""
FROZEN_S: Final = 9.0
"""More than twice a session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A fault that happened."""

    fault: str
    victim: str
    at_ms: int
    back_ms: int
    away_s: float
    shards: Mapping[int, int]
    """Shards that the victim owned, with the epoch of then."""
    abandoned: tuple[tuple[str, int, int], ...] = ()
    """Executors that gave up their runs by this fault, and between which instants."""
    ahead_ms: int = 0
    """How far the clock of an owner was ahead: due is what it says (rule R24)."""

    def with_abandoned(
        self, more: Sequence[tuple[str, int, int]], *, victim: str | None = None
    ) -> Hit:
        """The same, and who else gave up."""
        named = self.victim if victim is None else victim
        return replace(self, victim=named, abandoned=(*self.abandoned, *more))


async def hit(
    fault: str, cluster: LocalCluster, client: timeball.AsyncClient, random: Random
) -> Hit:
    """Let it happen and put it right."""
    victim = victim_of(fault, (await client.cluster()).leader, cluster, random)
    away_s = FROZEN_S if fault.startswith("freeze") else random.choice(AWAY_S)
    over = await noted(fault, victim, client, random)
    await _ACTS[fault.partition("-")[0]](cluster, victim, away_s)
    happened = over(away_s)
    dead = [(victim, happened.at_ms, happened.at_ms)] if fault == "kill-executor" else []
    return happened.with_abandoned(dead)


async def noted(
    fault: str, victim: str, client: timeball.AsyncClient, random: Random
) -> Callable[[float], Hit]:
    """Note the instant and who owns what; the answer says what it came to when it is over."""
    overview = await client.cluster()
    shards = {each.shard: each.epoch for each in overview.shards if each.owner == victim}
    # Anywhere inside what the cluster is doing, not at the beat of the load.
    await moment(random.random())
    at_ms = wall_ms()

    def over(away_s: float) -> Hit:
        return Hit(
            fault=fault, victim=victim, at_ms=at_ms, back_ms=wall_ms(), away_s=away_s, shards=shards
        )

    return over


def victim_of(fault: str, leader: str, cluster: LocalCluster, random: Random) -> str:
    """One of the role that the fault names."""
    role = fault.partition("-")[2]
    if role == "leader":
        return leader
    return random.choice([name for name in cluster.names if name.startswith(role)])


async def _kill(cluster: LocalCluster, victim: str, away_s: float) -> None:
    await asyncio.to_thread(cluster.kill, victim)
    await moment(away_s)
    await asyncio.to_thread(cluster.restart, victim)


async def _freeze(cluster: LocalCluster, victim: str, away_s: float) -> None:
    cluster.send(victim, signal.SIGSTOP)
    await moment(away_s)
    cluster.send(victim, signal.SIGCONT)


async def drain(cluster: LocalCluster, victim: str, away_s: float = 0.0) -> None:
    """Ask it to stop, and start it again some time after it has.

    Raises:
        AssertionError: it did not end as it should.
    """
    cluster.send(victim, signal.SIGTERM)
    code = await asyncio.to_thread(cluster.wait, victim)
    assert code == 0, f"{victim} ended with {code} when asked to stop"
    await moment(away_s)
    await asyncio.to_thread(cluster.restart, victim)


_ACTS: Final[Mapping[str, Callable[[LocalCluster, str, float], Awaitable[None]]]] = {
    "kill": _kill,
    "freeze": _freeze,
    "drain": drain,
}


async def whole(
    cluster: LocalCluster,
    client: timeball.AsyncClient,
    within_s: float = 60.0,
    *,
    balanced: bool = True,
) -> None:
    """Return when everybody is a member and every shard's owner is the wished one.

    Without `balanced` any owner will do: shards may still be on their way to the wished one.
    """

    async def look() -> bool:
        try:
            overview = await client.cluster()
        except timeball.errors.TimeballError:
            return False
        members = {node.name for node in overview.nodes}
        owned = all(each.owner for each in overview.shards)
        settled = all(each.owner == each.assigned for each in overview.shards)
        owners = {each.owner for each in overview.shards}
        right = owned and (not balanced or (settled and len(owners) > 1))
        return members == set(cluster.names) and right

    await eventually(look, "everybody is back and owns what it should", within_s)
