"""A client whose tasks say how far they are; it looks at them and asks while they run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import msgspec

from tests.support.checker.records import Mode, Wish
from tests.support.sim.askers import Asker
from tests.support.sim.clients import Client, addressed
from tests.support.sim.speakers import SPEAKING, Spell
from tests.support.sim.world import World
from tests.support.virtual_loop import START_WALL_MS
from timeball_server.core.minting import CreateTime, fresh_request_id
from timeball_server.core.model import DeliveryMode, Payload, RetryPolicy, TaskSpec, Timeouts

RETRY: Final = RetryPolicy(max_attempts=6, initial_delay_ms=300, max_delay_ms=1_000)
FAIL: Final = Spell(does="fail")
SILENT: Final = Spell(does="silent")
WORDLESS: Final = Spell(words=1, leaves=0, does="fail")
OK: Final = Spell()
LOOKS: Final = 9
LOOKS_S: Final = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One kind of task."""

    spells: tuple[Spell, ...]
    silent_ms: int | None = 2_000


PLANS: Final = (
    Plan(spells=(FAIL, FAIL, OK)),
    Plan(spells=(SILENT, OK)),
    Plan(spells=(FAIL, WORDLESS, OK)),
    Plan(spells=(WORDLESS, OK), silent_ms=None),
    Plan(spells=(Spell(words=40, leaves=30, does="fail"), OK)),
    Plan(spells=(Spell(words=50, does="fail"), OK), silent_ms=None),
    Plan(spells=(SILENT, WORDLESS, SILENT, OK), silent_ms=1_000),
    Plan(spells=(Spell(words=20, every_ms=900, leaves=3, does="fail"), OK), silent_ms=1_500),
    Plan(spells=(Spell(words=1, does="silent"), OK), silent_ms=3_000),
)
LONG: Final = Plan(
    spells=(Spell(words=130, every_ms=500, leaves=5, does="fail"), OK), silent_ms=4_000
)
"""Longer than it takes until what a handler leaves is written down while it runs."""


class Reporter(Client):
    """Creates one task of each plan in turn."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._asker = Asker(world, f"{name} asks")

    async def report(self, tasks: int, until_us: int) -> None:
        """Create so many tasks, spread over the time."""
        working: list[asyncio.Task[None]] = []
        if tasks and self._world.profile.calm:
            working.append(self._world.loop.create_task(self._one_of(LONG)))
        for number in range(tasks):
            gap_s = max(0.0, (until_us - self._world.loop.now_us) / 1e6) / (tasks - number)
            await self._pause(self._rng.uniform(0, gap_s))
            work = self._one_of(PLANS[number % len(PLANS)])
            working.append(self._world.loop.create_task(work))
        await asyncio.gather(*working)

    async def speaking(self, plan: Plan) -> str | None:
        """Create a task of a plan that is due now."""
        rng, now_ms = self._rng, START_WALL_MS + self._world.loop.now_us // 1_000
        request_id = fresh_request_id(now_ms, rng.randbytes(10))
        mark = request_id.hex()
        spec = TaskSpec(
            namespace=self.namespace,
            owner=self.name,
            handler=SPEAKING,
            payload=Payload(data=msgspec.json.encode({"mark": mark, "spells": plan.spells})),
            mode=DeliveryMode.AT_LEAST_ONCE,
            timeouts=Timeouts(heartbeat_ms=plan.silent_ms),
            retry=RETRY,
        )
        wish = Wish(mode=Mode.AT_LEAST_ONCE, max_attempts=RETRY.max_attempts, payload=mark)
        wanted = addressed(spec, wish, request_id, CreateTime(), now_ms)
        return await self.create(wanted)

    async def _one_of(self, plan: Plan) -> None:
        created = await self.speaking(plan)
        if created is None:
            return
        for _ in range(LOOKS):
            await self._pause(self._rng.uniform(0, 2 * LOOKS_S / LOOKS))
            if self._rng.random() < 0.5:
                await self.get(created)
            else:
                await self._asker.ask(created, self.namespace)
