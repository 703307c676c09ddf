"""Partitions that the kernel makes: a node in a room of its own, and who can still hear whom.

A fault is `partition-ROLE-WAY`. It lasts less than a session or more than one, drawn by chance, and
proves itself: a wall that lets through what it should not, or keeps back what it should not, is no
evidence of anything.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from tests.support.chaos.arena import RoomyCluster
from tests.support.chaos.faults import Hit, noted, victim_of
from tests.support.chaos.outages import Scene
from tests.support.chaos.rooms import Parted, prove
from tests.support.polls import moment

PARTED_S: Final = (2.0, 7.0)
"""A session is 4 s, and callers are patient for 30 s."""
ROLES: Final = ("scheduler", "executor", "coordinator")
NAMES: Final = tuple(f"partition-{role}-{way}" for role in ROLES for way in Parted)


async def part(scene: Scene, fault: str) -> Hit:
    """`partition-ROLE-WAY`: one node is parted from everybody, and joined again."""
    _, role, way = fault.split("-")
    cluster = cast("RoomyCluster", scene.arena.cluster)
    victim = victim_of(f"partition-{role}", "", cluster, scene.random)
    away_s, room = scene.random.choice(PARTED_S), cluster.rooms[victim]
    over = await noted(fault, victim, scene.client, scene.random)
    await asyncio.to_thread(room.part, Parted(way))
    await asyncio.gather(moment(away_s), asyncio.to_thread(prove, room, Parted(way)))
    await asyncio.to_thread(room.rejoin)
    return over(away_s)
