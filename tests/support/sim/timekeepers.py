"""Clients whose tasks have timeouts of every kind, and retries that come exactly when they say.

Their draws are their own, and each task's handler is told by its payload what to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from tests.support.checker.bounds import Backoff, Bounds
from tests.support.checker.records import Mode, Wish
from tests.support.sim.bounded import BOUNDED, NOBODY, Step
from tests.support.sim.clients import Client, Wanted, addressed
from tests.support.sim.world import World
from tests.support.virtual_loop import START_WALL_MS, known_since_start_us
from timeball_server.core.minting import CreateTime, fresh_request_id
from timeball_server.core.model import DeliveryMode, Payload, RetryPolicy, TaskSpec, Timeouts

AHEAD_MS: Final = 4_000
SOON_MS: Final = 100
EXACT: Final = RetryPolicy(max_attempts=4, initial_delay_ms=300, max_delay_ms=1_000, jitter=0.0)
FAIL: Final = Step(does="fail", work_ms=50)
OK: Final = Step()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One kind of task. `key`: it waits for others of the same one."""

    steps: tuple[Step, ...]
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: RetryPolicy = EXACT
    handler: str = BOUNDED
    mode: DeliveryMode = DeliveryMode.AT_LEAST_ONCE
    key: str = ""


def _ms(at_ms: int | None) -> int | None:
    return None if at_ms is None else at_ms * 1_000


def _times(**limits: int) -> Timeouts:
    return Timeouts(**limits)


Also = Callable[[TaskSpec, Wish], tuple[TaskSpec, Wish]]
LONG: Final = Step(work_ms=5_000)
PLANS: Final[tuple[Plan, ...]] = (
    Plan(steps=(FAIL,)),
    Plan(steps=(FAIL, FAIL, FAIL, OK), retry=replace(EXACT, coefficient=1.5)),
    Plan(steps=(FAIL, FAIL, OK), retry=replace(EXACT, coefficient=1.0, max_attempts=3)),
    Plan(
        steps=(FAIL,),
        retry=replace(EXACT, coefficient=3.0, max_attempts=6, max_delay_ms=2_000),
    ),
    Plan(steps=(FAIL,), retry=replace(EXACT, jitter=1.0, max_attempts=6)),
    Plan(steps=(FAIL,), retry=replace(EXACT, jitter=0.4, max_attempts=6)),
    Plan(steps=(FAIL,), mode=DeliveryMode.AT_MOST_ONCE),
    Plan(steps=(Step(does="after", wait_ms=1_700), FAIL, Step(does="after", wait_ms=0), OK)),
    Plan(steps=(Step(does="final"),)),
    Plan(steps=(FAIL, Step(does="refused"), OK)),
    Plan(steps=(FAIL,), retry=replace(EXACT, max_age_ms=1_600, max_attempts=9)),
    Plan(steps=(FAIL,), retry=replace(EXACT, max_age_ms=60_000, max_attempts=2)),
    Plan(steps=(LONG, OK), timeouts=_times(start_to_close_ms=1_200)),
    Plan(steps=(Step(work_ms=1_500),), timeouts=_times(start_to_close_ms=2_000)),
    Plan(
        steps=(LONG, LONG, OK),
        timeouts=_times(start_to_close_ms=1_000, schedule_to_close_ms=20_000),
    ),
    Plan(steps=(LONG,), timeouts=_times(schedule_to_close_ms=2_000)),
    Plan(steps=(FAIL, LONG), timeouts=_times(start_to_close_ms=4_000, schedule_to_close_ms=2_500)),
    Plan(
        steps=(FAIL,),
        timeouts=_times(schedule_to_close_ms=2_500),
        retry=replace(EXACT, max_attempts=30),
    ),
    Plan(steps=(OK,), timeouts=_times(schedule_to_start_ms=1_000, schedule_to_close_ms=3_000)),
    Plan(steps=(OK,), handler=NOBODY, timeouts=_times(schedule_to_start_ms=1_500)),
    Plan(steps=(OK,), handler=NOBODY, timeouts=_times(schedule_to_close_ms=1_500)),
    Plan(
        steps=(OK,),
        handler=NOBODY,
        timeouts=_times(schedule_to_start_ms=3_000, schedule_to_close_ms=2_000),
    ),
    Plan(
        steps=(OK,),
        handler=NOBODY,
        timeouts=_times(schedule_to_start_ms=1_000, schedule_to_close_ms=9_000),
    ),
    Plan(
        steps=(Step(work_ms=1_000),),
        timeouts=_times(schedule_to_start_ms=1_300),
        key="crowded",
    ),
    Plan(steps=(Step(does="silent"), OK), timeouts=_times(heartbeat_ms=2_000)),
    Plan(steps=(Step(does="silent"), OK), timeouts=_times(heartbeat_ms=1_000)),
    Plan(
        steps=(Step(does="silent"), OK),
        timeouts=_times(heartbeat_ms=3_000, start_to_close_ms=1_000),
    ),
)

MANY_STEPS: Final = 20.0
"""Clocks that are set all the time: what shows it is who is silent, and nobody may notice."""
SILENT: Final = tuple(plan for plan in PLANS if plan.timeouts.heartbeat_ms == 1_000)


class Timekeeper(Client):
    """Creates one task of each plan in turn."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._plans = list(PLANS if world.profile.clock_steps < MANY_STEPS else SILENT)
        self._rng.shuffle(self._plans)

    async def keep(self, tasks: int, until_us: int) -> None:
        """Create so many tasks, spread over the time."""
        creating: list[asyncio.Task[str | None]] = []
        for number in range(tasks):
            gap_s = max(0.0, (until_us - self._world.loop.now_us) / 1e6) / (tasks - number)
            await self._pause(self._rng.uniform(0, gap_s))
            work = self._one_of(self._plans[number % len(self._plans)])
            creating.append(self._world.loop.create_task(work))
        await asyncio.gather(*creating)

    async def _one_of(self, plan: Plan) -> str | None:
        rng, now_ms = self._rng, START_WALL_MS + self._world.loop.now_us // 1_000
        drawn = rng.random()
        due_ms = now_ms + rng.randint(SOON_MS, AHEAD_MS) if drawn < 0.4 else None
        delay_ms = rng.randint(1, AHEAD_MS) if drawn > 0.8 else 0
        wanted = wanted_of(
            self, plan, CreateTime(run_ms=due_ms, delay_ms=delay_ms), now_ms, rng.randbytes(10)
        )
        return await self.create(wanted)


def wanted_of(
    client: Client,
    plan: Plan,
    time: CreateTime,
    now_ms: int,
    entropy: bytes,
    also: Also = lambda spec, wish: (spec, wish),
) -> Wanted:
    """A task of a plan, as its client asks for it and as the judge is told."""
    request_id = fresh_request_id(now_ms, entropy)
    spec, wish = also(*_asked(client, plan, time, request_id.hex()))
    return addressed(spec, wish, request_id, time, now_ms)


def _asked(client: Client, plan: Plan, time: CreateTime, mark: str) -> tuple[TaskSpec, Wish]:
    limits, retry = plan.timeouts, plan.retry
    spec = TaskSpec(
        namespace=client.namespace,
        owner=client.name,
        handler=plan.handler,
        payload=Payload(data=msgspec.json.encode({"mark": mark, "steps": plan.steps})),
        mode=plan.mode,
        timeouts=limits,
        retry=retry,
        concurrency_key=plan.key,
    )
    wish = Wish(
        mode=Mode(plan.mode),
        due_us=known_since_start_us(time.run_ms),
        delay_us=time.delay_ms * 1_000,
        max_attempts=retry.max_attempts,
        payload=mark,
        key=f"{client.namespace}/{plan.key}" if plan.key else "",
        most=1 if plan.key else 0,
        bounds=Bounds(
            start_us=_ms(limits.schedule_to_start_ms),
            run_us=_ms(limits.start_to_close_ms),
            close_us=_ms(limits.schedule_to_close_ms),
            silent_us=_ms(limits.heartbeat_ms),
        ),
        backoff=Backoff(
            first_us=retry.initial_delay_ms * 1_000,
            factor=retry.coefficient,
            most_us=retry.max_delay_ms * 1_000,
            jitter=retry.jitter,
            age_us=_ms(retry.max_age_ms),
            priority=spec.priority,
        ),
    )
    return spec, wish
