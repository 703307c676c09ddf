"""One round: load, a fault in the middle of it, recovery, verdict. And the table of all faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final

import timeball

from tests.support.chaos import outages, partitions, witness
from tests.support.chaos.arena import NEEDS_LITTLE, Arena, Needs
from tests.support.chaos.faults import Hit, hit, whole
from tests.support.chaos.helpers import Complaints, Tail
from tests.support.chaos.load import Load
from tests.support.chaos.outages import Scene
from tests.support.chaos.records import losses_in
from tests.support.chaos.wired import EXECUTORS
from tests.support.chaos.witness import Verdict
from tests.support.polls import moment
from tests.support.start_logs import all_starts

BEFORE_S: Final = 2.0
AFTER_S: Final = 8.0
REFUSED: Final = "refused: "
Place = Callable[[Needs], Arena]
"""Gives a running cluster of a kind."""


async def _process(scene: Scene, fault: str) -> Hit:
    """Kill, freeze or drain one of our processes."""
    return await hit(fault, scene.arena.cluster, scene.client, scene.random)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A row of the table.

    Attributes:
        needs: how many servers it takes.
        may_refuse: callers may run out of patience; what they were refused was never promised.
        moves: whether shards certainly change their owner.
    """

    act: Callable[[Scene, str], Awaitable[Hit]] = _process
    needs: Needs = NEEDS_LITTLE
    may_refuse: bool = False
    moves: bool = False


_THREE_ZOOKEEPERS: Final = Needs(zookeepers=3)
_THREE_CASSANDRAS: Final = Needs(cassandras=3)
ROOMS: Final = Needs(rooms=True)
FAULTS: Final[dict[str, Fault]] = {
    "kill-leader": Fault(),
    "kill-coordinator": Fault(),
    "kill-scheduler": Fault(moves=True),
    "kill-executor": Fault(),
    "freeze-scheduler": Fault(moves=True),
    "drain-scheduler": Fault(moves=True),
    "expire-scheduler": Fault(act=outages.expire),
    "expire-executor": Fault(act=outages.expire),
    "cut-zookeeper-both": Fault(act=outages.cut_wire),
    "cut-zookeeper-answer": Fault(act=outages.cut_wire),
    "cut-store-answer": Fault(act=outages.cut_wire),
    "cut-executor-request": Fault(act=outages.cut_wire),
    "cut-executor-both": Fault(act=outages.cut_wire),
    "clock-ahead": Fault(act=outages.set_clock),
    "clock-back": Fault(act=outages.set_clock),
    "limp-executor": Fault(act=outages.limp),
    "poison-executor": Fault(act=outages.poison),
    "thundering-instant": Fault(act=outages.thunder),
    "rolling-restart": Fault(act=outages.roll),
    "store-paused": Fault(act=outages.pause_store, may_refuse=True),
    "zookeeper-leader": Fault(act=outages.lose_zookeeper_leader, needs=_THREE_ZOOKEEPERS),
    "zookeeper-quorum": Fault(
        act=outages.lose_zookeeper_quorum, needs=_THREE_ZOOKEEPERS, may_refuse=True
    ),
    "store-one": Fault(act=outages.lose_stores, needs=_THREE_CASSANDRAS),
    "store-two": Fault(act=outages.lose_stores, needs=_THREE_CASSANDRAS, may_refuse=True),
}
PARTITIONS: Final = {name: Fault(act=partitions.part, needs=ROOMS) for name in partitions.NAMES}
"""Only where the whole campaign is in a network namespace of its own."""


async def play(arena: Arena, fault: str, *, rate: float, random: Random) -> Verdict:
    """Play one round on a whole cluster."""
    row = {**FAULTS, **PARTITIONS}[fault]
    complaints = Complaints(arena.cluster.places.logs)
    logs = {name: Tail(arena.cluster.places.logs / f"{name}.log") for name in EXECUTORS}
    async with timeball.AsyncClient(arena.address, api_key=arena.cluster.api_key) as client:
        await whole(arena.cluster, client)
        for tail in logs.values():
            tail.lines()
        complaints.new()
        load = Load(client, rate)
        loading = asyncio.create_task(load.run())
        try:
            await moment(BEFORE_S)
            scene = Scene(arena=arena, client=client, load=load, random=random)
            happened = await row.act(scene, fault)
            await moment(AFTER_S)
        finally:
            load.stop()
            await loading
            await asyncio.to_thread(arena.heal)
        ids = [each.task_id for each in load.told.acknowledged]
        ended = await witness.endings(client, ids)
        await whole(arena.cluster, client)
    losses = [loss for name, tail in logs.items() for loss in losses_in(tail.lines(), name)]
    happened = happened.with_abandoned(
        [(loss.executor, happened.at_ms, loss.at_ms) for loss in losses]
    )
    mine = set(ids)
    starts = all_starts(arena.cluster.places.folder)
    verdict = witness.judge(
        happened,
        load.told,
        [start for start in starts if start.task_id in mine],
        ended,
        witness.sunk(arena.sink),
    )
    problems = [*verdict.problems, *complaints.new()]
    if row.may_refuse:
        problems = [each for each in problems if not each.startswith(REFUSED)]
    return replace(verdict, problems=tuple(problems))
