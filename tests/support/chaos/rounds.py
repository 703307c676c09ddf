"""One round: load, a fault in the middle of it, recovery, verdict."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import timeball

from tests.support.chaos import tasks, witness
from tests.support.chaos.faults import hit, whole
from tests.support.chaos.load import Load
from tests.support.chaos.witness import Verdict
from tests.support.polls import moment
from tools.local_cluster import LocalCluster, Places, coordinators

APP = Path(tasks.__file__)
BEFORE_S = 2.0
AFTER_S = 8.0


@dataclass(frozen=True, slots=True)
class Arena:
    """A running cluster and where its witnesses lie."""

    cluster: LocalCluster
    sink: Path

    @property
    def address(self) -> str:
        """Of both coordinators."""
        return coordinators(self.cluster.addresses)


@contextlib.contextmanager
def arena(folder: Path) -> Iterator[Arena]:
    """A cluster that ends with the block."""
    places = Places(folder)
    places.make()
    sink = folder / "sink.jsonl"
    cluster = LocalCluster(places, [str(APP)], {tasks.SINK_VARIABLE: str(sink)})
    with cluster.running():
        yield Arena(cluster, sink)


async def play(arena: Arena, fault: str, *, rate: float, random: Random) -> Verdict:
    """Play one round on a whole cluster."""
    async with timeball.AsyncClient(arena.address) as client:
        await whole(arena.cluster, client)
        load = Load(client, rate)
        loading = asyncio.create_task(load.run())
        await moment(BEFORE_S)
        happened = await hit(fault, arena.cluster, client, random)
        await moment(AFTER_S)
        load.stop()
        await loading
        ids = [each.task_id for each in load.told.acknowledged]
        ended = await witness.endings(client, ids)
        await whole(arena.cluster, client)
    mine = set(ids)
    starts = witness.read_starts(arena.cluster.places.folder)
    return witness.judge(
        happened,
        load.told,
        [start for start in starts if start.task_id in mine],
        ended,
        witness.sunk(arena.sink),
    )
