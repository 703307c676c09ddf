"""Clients whose tasks wait in lines: of rates, of caps on executors, of namespaces with shares.

Each line is filled at once, so that what is judged is who goes on, and when. Rates are changed
while tasks wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from msgspec.structs import replace as replace_record

from tests.support.checker.bounds import Rate
from tests.support.checker.records import Wish
from tests.support.sim.bounded import BOUNDED, CAPPED, CAPS, RATED, SLOWED, Step
from tests.support.sim.clients import Client
from tests.support.sim.keys import NAMESPACES
from tests.support.sim.timekeepers import Also, Plan, wanted_of
from tests.support.sim.world import World
from tests.support.virtual_loop import START_WALL_MS
from timeball_server.core.limit_rules import LimitKind
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import TaskSpec
from timeball_server.ports.access import LimitRow, limit_name
from timeball_server.store.memory import MemoryStore

SHOP, BANK = NAMESPACES
WEIGHTS: Final[Mapping[str, int]] = {SHOP: 1, BANK: 3}
CROWD: Final = 100
"""Tasks of each namespace: more than all executors' slots, for a while."""
CROWD_PLAN: Final = Plan(steps=(Step(work_ms=400),))
URGENT_S: Final = 10.0
"""From the first crowd to the second one."""
FAILING_MS: Final = 100
"""How long their failures take."""
RAISED: Final = "raised"
URGENT: Final[Mapping[str, tuple[int, int, int]]] = {"9": (9, 5, 40), RAISED: (4, 2, 20)} | {
    "4": (4, 3, 40)
}
"""The second crowd: priority, share of ten starts, and how many. The raised ones failed before."""
BETWEEN_S: Final = 15.0
CHANGE_S: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit as an administrator sets it."""

    namespace: str
    kind: LimitKind
    pattern: str
    starts: int = 0
    per_ms: int = 1_000
    burst: int = 1
    most: int = 0
    weight: int = 1
    enabled: bool = True

    def row(self) -> LimitRow:
        """As it is kept."""
        return LimitRow(
            name=limit_name(self.namespace, self.kind, self.pattern),
            namespace=self.namespace,
            kind=self.kind.value,
            pattern=self.pattern,
            concurrency=self.most,
            starts=self.starts,
            per_ms=self.per_ms,
            burst=self.burst,
            weight=self.weight,
            enabled=self.enabled,
            reason="",
            actor="simulation",
            updated_ms=0,
        )

    def rate(self, name: str, at_us: int) -> Rate:
        """As the judge is told; `name` is that of the line."""
        return Rate(
            name=name,
            at_us=at_us,
            starts=self.starts if self.enabled else 0,
            per_us=self.per_ms * 1_000,
            burst=self.burst,
            of_key=self.kind is LimitKind.KEY,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Tasks that wait together. `lines` are those of all limits that their starts count for."""

    lines: tuple[str, ...]
    handler: str = BOUNDED
    key: str = ""
    most: int = 0
    namespace: str = SHOP
    work_ms: int = 20
    ranks: tuple[int, ...] = (4,)


LIMITS: Final[Mapping[str, Limit]] = {
    "key": Limit(namespace=SHOP, kind=LimitKind.KEY, pattern="rated", starts=5, burst=3),
    "prefix": Limit(namespace=SHOP, kind=LimitKind.KEY, pattern="api.*", starts=8, most=2),
    "longer": Limit(namespace=SHOP, kind=LimitKind.KEY, pattern="api.b*", starts=3, most=3),
    "changed": Limit(namespace=BANK, kind=LimitKind.KEY, pattern="paced", starts=2),
    "freed": Limit(namespace=BANK, kind=LimitKind.KEY, pattern="freed", starts=1, per_ms=2_000),
    "handler": Limit(namespace=SHOP, kind=LimitKind.HANDLER, pattern=RATED, starts=8, burst=4),
    "slowed": Limit(namespace=BANK, kind=LimitKind.HANDLER, pattern="sim.slo*", starts=3),
    "sped": Limit(namespace=SHOP, kind=LimitKind.HANDLER, pattern=SLOWED, starts=3, burst=2),
}
"""By the name of its line."""
OTHERS: Final = (
    *(
        Limit(namespace=namespace, kind=LimitKind.NAMESPACE, pattern="", weight=weight)
        for namespace, weight in WEIGHTS.items()
    ),
)
LINES: Final = (
    Line(lines=("key",), key="rated", ranks=(1, 4, 6, 8)),
    Line(lines=("prefix",), key="api.x", most=2, work_ms=300),
    Line(lines=("longer",), key="api.bank", most=3, work_ms=300),
    Line(lines=("changed",), key="paced", namespace=BANK),
    Line(lines=("freed",), key="freed", namespace=BANK),
    Line(lines=("handler",), handler=RATED, ranks=(4, 5)),
    Line(lines=("slowed",), handler=SLOWED, namespace=BANK),
    Line(lines=("sped",), handler=SLOWED),
    Line(lines=("handler",), handler=RATED, key="both", most=1, work_ms=50),
    Line(lines=(), handler=CAPPED, work_ms=500),
)
CHANGES: Final[Mapping[str, Limit]] = {
    "changed": replace(LIMITS["changed"], starts=10, burst=2),
    "freed": replace(LIMITS["freed"], enabled=False),
    "sped": replace(LIMITS["sped"], starts=9),
}
"""While tasks wait."""


async def allow_rates(world: World) -> None:
    """The limits, from before anybody asks for anything."""
    access = MemoryStore(world.database).access
    for each in (*LIMITS.values(), *OTHERS):
        await access.add(each.row())
    world.history.rates += [limit.rate(name, 0) for name, limit in LIMITS.items()]


class Limiter(Client):
    """Fills all lines of one namespace."""

    async def limit(self, tasks: int) -> None:
        """First a crowd, then so many tasks for each line, all at once; then changes."""
        if not tasks:
            return
        when_ms = START_WALL_MS + self._world.loop.now_us // 1_000 + 1_000
        crowd = replace(CROWD_PLAN, retry=replace(CROWD_PLAN.retry, max_attempts=3))
        weight = WEIGHTS[self.namespace]

        def crowded(spec: TaskSpec, wish: Wish) -> tuple[TaskSpec, Wish]:
            told = {"crowd": "all", "tenant": self.namespace, "weight": weight}
            return spec, replace_record(wish, bounds=None, **told)

        await asyncio.gather(
            *(self._one_in_line(crowd, CreateTime(run_ms=when_ms), crowded) for _ in range(CROWD))
        )
        if self.namespace == SHOP:
            await self._urgent(when_ms + round(1_000 * URGENT_S))
        await self._pause(BETWEEN_S)
        mine = [line for line in LINES if line.namespace == self.namespace]
        filling = [self._in_line(line, n) for n in range(tasks) for line in mine]
        await asyncio.gather(*filling)
        await self._pause(CHANGE_S)
        for name, change in CHANGES.items():
            if change.namespace == self.namespace:
                await MemoryStore(self._world.database).access.change(change.row())
                at_us = self._world.loop.now_us
                self._world.history.rates.append(change.rate(name, at_us))
                self._world.history.plan("limit", name)

    async def _urgent(self, when_ms: int) -> None:
        """A crowd of several lanes, each of which has its share of the starts."""
        waits_ms = round(500 * URGENT_S)  # the first crowd is over by then
        failing = (Step(does="fail"), *CROWD_PLAN.steps)
        later = replace(CROWD_PLAN.retry, initial_delay_ms=waits_ms, max_delay_ms=waits_ms)
        asking = []
        for name, (priority, weight, count) in URGENT.items():
            raised = name == RAISED
            plan = replace(CROWD_PLAN, steps=failing, retry=later) if raised else CROWD_PLAN
            time = CreateTime(run_ms=when_ms - waits_ms - FAILING_MS if raised else when_ms)
            also = partial(_of_lane, name, priority, weight)
            asking += [self._one_in_line(plan, time, also) for _ in range(count)]
        await asyncio.gather(*asking)

    async def _in_line(self, line: Line, number: int) -> None:
        rank = line.ranks[number % len(line.ranks)]
        plan = Plan(steps=(Step(work_ms=line.work_ms),), handler=line.handler, key=line.key)
        key = f"{line.namespace}/{line.key}" if line.most else ""
        places = CAPS.get(line.handler, 0)

        def told(spec: TaskSpec, wish: Wish) -> tuple[TaskSpec, Wish]:
            known = {"rates": line.lines, "key": key, "most": line.most, "rank": rank}
            cap = line.handler if places else ""
            told = replace_record(wish, bounds=None, cap=cap, places=places, **known)
            return replace(spec, priority=rank), told

        await self._one_in_line(plan, CreateTime(), told)

    async def _one_in_line(self, plan: Plan, time: CreateTime, also: Also) -> None:
        now_ms = START_WALL_MS + self._world.loop.now_us // 1_000
        entropy = self._rng.randbytes(10)
        await self.create(wanted_of(self, plan, time, now_ms, entropy, also))


def _of_lane(
    name: str, priority: int, weight: int, spec: TaskSpec, wish: Wish
) -> tuple[TaskSpec, Wish]:
    told = replace_record(wish, bounds=None, crowd="urgent", tenant=name, weight=weight)
    return replace(spec, priority=priority), told
