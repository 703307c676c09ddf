"""A client that plans ahead: schedules of a few seconds, some ended early, all ended at last."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import msgspec
from msgspec.structs import replace as replace_record

from coordinator.node import CoordinatorNode
from coordinator.schedules import CreateScheduleRequest, ScheduleApi
from tests.support.checker.cluster import OF_SCHEDULE
from tests.support.checker.records import Call, Days, Kind, Mode, Rhythm, Wish
from tests.support.sim.clients import Ask, Client
from tests.support.sim.history import Op
from tests.support.sim.world import World
from tests.support.virtual_loop import START_WALL_MS, known_since_start_us
from timeball_server.core.ids import TaskId
from timeball_server.core.minting import fresh_request_id
from timeball_server.core.model import Overlap, OverlapPolicy, Payload, ScheduleSpec, ScheduleView
from timeball_server.core.schedules.spec import Calendar, Cron, FoldRule, Interval

SECONDS = (1, 5, 10)
ZONE = "Europe/Berlin"
"""Where clocks are put back two minutes after virtual time begins."""
ZONED_SHARE = 0.25
DATED_SHARE = 0.4
"""Of these, so many go by days instead, in a zone where one ends when those clocks are put back."""
DAYS_ZONE = "Atlantic/Cape_Verde"
DAYS = (
    Days(dates="25"),
    Days(dates="26", months=(10,)),
    Days(weekdays="satL"),
    Days(weekdays="sun#4", months=(3, 10)),
    Days(dates="25,26"),
    Days(dates="L", months=(2, 10, 12)),
    Days(dates="24W,26"),
)
"""The first day is Saturday the 25th of October 2025, the second one is a Sunday."""
ALONE_SHARE = 0.3
OVERLAPS = (
    Overlap(policy=OverlapPolicy.BUFFER_ONE),
    Overlap(policy=OverlapPolicy.BUFFER, limit=1),
    Overlap(policy=OverlapPolicy.BUFFER, limit=3),
    Overlap(policy=OverlapPolicy.ALLOW, limit=1),
    Overlap(policy=OverlapPolicy.ALLOW, limit=2),
    Overlap(policy=OverlapPolicy.SKIP),
)
EVERY_MS = (1_000, 2_000, 5_000, 10_000, 30_000)
ENDS_SOON_SHARE = 0.3
AGAIN_SHARE = 0.4
LATEST_AGAIN_S = 70.0
FOR_EVER = 1_000
"""A schedule in doubt would fire for ever."""


class Planner(Client):
    """Creates schedules and ends them."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._again = random.Random(f"{world.seed} {name} asks again")
        self._creations: dict[str, tuple[Op, Ask]] = {}
        self._overlaps = random.Random(f"{world.seed} {name} overlaps")
        self._varies = random.Random(f"{world.seed} {name} varies")
        self._spreads = random.Random(f"{world.seed} {name} spreads")

    def part_of(self, service: CoordinatorNode) -> Any:
        """What schedules are asked of."""
        return ScheduleApi(service.cluster)

    async def plan(self, schedules: int, until_us: int) -> None:
        """Create so many schedules, and end some of them before the others."""
        ending: list[asyncio.Task[None]] = []
        for _ in range(schedules):
            gap_s = max(0.0, (until_us - self._world.loop.now_us) / 1e6) / schedules
            await self._pause(self._rng.uniform(0, gap_s))
            created = await self._create_schedule()
            if created is None:
                continue
            self.tasks.append(created)
            if self._again.random() < AGAIN_SHARE:
                ending.append(self._world.loop.create_task(self._create_again(created)))
            if self._rng.random() < ENDS_SOON_SHARE:
                self.tasks.remove(created)
                work = self._end_later(created, self._rng.uniform(0, 60))
                ending.append(self._world.loop.create_task(work))
        await asyncio.gather(*ending)

    async def end_all(self) -> None:
        """End what has not been ended."""
        await asyncio.gather(*(self._end_later(each, 0) for each in self.tasks))

    async def _create_schedule(self) -> str | None:
        rng, now_ms = self._rng, START_WALL_MS + self._world.loop.now_us // 1_000
        every_ms = rng.choice(EVERY_MS)
        task, wish = self.task("", None, 0)
        spec = ScheduleSpec(
            task=task,
            every_ms=every_ms,
            phase_ms=rng.randrange(every_ms),
            end_ms=now_ms + rng.randint(5_000, 90_000) if rng.random() < 0.2 else None,
            max_runs=rng.randint(1, 20) if rng.random() < 0.2 else 0,
        )
        if spec.end_ms is not None:
            spec = replace(spec, end_ms=near_a_time(spec, spec.end_ms))
        spec, rhythm = self._varied(spec)
        return await self.create_schedule(spec, rhythm, wish)

    async def create_schedule(
        self, spec: ScheduleSpec, rhythm: Rhythm | None = None, wish: Wish | None = None
    ) -> str | None:
        """Create a schedule whose runs carry its name; its id if the planner learned it."""
        now_ms = START_WALL_MS + self._world.loop.now_us // 1_000
        request_id = fresh_request_id(now_ms, self._rng.randbytes(10))
        name = f"{OF_SCHEDULE}{request_id.hex()}"
        facts = msgspec.json.decode(spec.task.payload.data) | {"mark": name}
        payload = Payload(data=msgspec.json.encode(facts))
        spec = replace(spec, task=replace(spec.task, payload=payload))
        asked = wish or Wish(mode=Mode(spec.task.mode), max_attempts=spec.task.retry.max_attempts)

        async def ask(api: ScheduleApi, resend: bool) -> ScheduleView:
            request = CreateScheduleRequest(spec=spec, request_id=request_id, resend=resend)
            return await api.create(self.caller, request, 8_000)

        op = self.begin(Call.CREATE_SCHEDULE)
        op.request_id, op.wish = request_id, replace_record(asked, payload=name)
        op.rhythm = rhythm or _rhythm(spec)
        await self.insist(op, ask, tries=FOR_EVER)
        if op.kind is not Kind.OK:
            return None
        self._creations[op.task_id] = (op, ask)
        return op.task_id

    async def _create_again(self, schedule: str) -> None:
        """Repeat a creation when its schedule has fired, or has ended: it is not made anew."""
        first, ask = self._creations[schedule]
        await self._pause(self._again.uniform(0, LATEST_AGAIN_S))
        op = self.begin(Call.CREATE_SCHEDULE, schedule)
        op.request_id, op.wish, op.rhythm = first.request_id, first.wish, first.rhythm
        await self.insist(op, ask, resend=True)

    def _varied(self, spec: ScheduleSpec) -> tuple[ScheduleSpec, Rhythm]:
        """Some allow no overlap, some go by the clocks of a zone instead of an interval."""
        varied = self._varies
        zoned, alone = varied.random() < ZONED_SHARE, varied.random() < ALONE_SHARE
        if alone:
            spec = replace(spec, overlap=Overlap(policy=OverlapPolicy.SKIP))
        if self._overlaps.random() < self._world.profile.overlap_share:
            spec, alone = replace(spec, overlap=self._overlaps.choice(OVERLAPS)), False
        rule = spec.overlap
        at_once = {"overlap": str(rule.policy), "places": rule.limit}
        if not zoned:
            return self._spread(spec, replace_record(_rhythm(spec), alone=alone, **at_once))
        step, fold = varied.choice(SECONDS), varied.choice(list(FoldRule))
        if varied.random() < DATED_SHARE:
            days = varied.choice(DAYS)
            cron = Cron(expression=f"*/{step} * * {day_fields(days)}", zone=DAYS_ZONE)
            rhythm = Rhythm(every_us=step * 1_000_000, days=days, zone=DAYS_ZONE)
        else:
            cron = Cron(expression=f"*/{step} * 2 * * *", zone=ZONE, fold=fold)
            rhythm = Rhythm(every_us=step * 1_000_000, hour=2, zone=ZONE, fold=fold)
        end_us = known_since_start_us(spec.when.end_ms)
        spec = replace(
            spec,
            every_ms=0,
            phase_ms=0,
            end_ms=None,
            calendar=Calendar(crons=(cron,), end_ms=spec.end_ms),
        )
        rhythm = replace_record(
            rhythm,
            max_runs=spec.max_runs,
            end_us=end_us,
            alone=alone,
            zero_ms=START_WALL_MS,
            **at_once,
        )
        return spec, rhythm

    def _spread(self, spec: ScheduleSpec, rhythm: Rhythm) -> tuple[ScheduleSpec, Rhythm]:
        """The same with runs that are due up to half an interval later."""
        if self._spreads.random() >= self._world.profile.spread_share:
            return spec, rhythm
        half_ms, part_ms = spec.every_ms // 2, spec.every_ms // 4
        lengths_ms = ((half_ms, 0), (0, half_ms), (part_ms, part_ms))
        jitter_ms, window_ms = self._spreads.choice(lengths_ms)
        calendar = Calendar(
            intervals=(Interval(every_ms=spec.every_ms, phase_ms=spec.phase_ms),),
            end_ms=spec.end_ms,
            jitter_ms=jitter_ms,
            window_ms=window_ms,
        )
        spec = replace(spec, every_ms=0, phase_ms=0, end_ms=None, calendar=calendar)
        return spec, replace_record(rhythm, spread_us=(jitter_ms + window_ms) * 1_000)

    async def _end_later(self, schedule_id: str, after_s: float) -> None:
        await self._pause(after_s)
        request_id = fresh_request_id(0, self._rng.randbytes(10))

        async def ask(api: ScheduleApi, resend: bool) -> ScheduleView:
            return await api.end(self.caller, TaskId(schedule_id), request_id, 8_000)

        await self.insist(self.begin(Call.END_SCHEDULE, schedule_id), ask, tries=FOR_EVER)


def near_a_time(spec: ScheduleSpec, about_ms: int) -> int:
    """An end at the next nominal time of an interval, or a millisecond before it."""
    waits_ms = (spec.phase_ms - about_ms) % spec.every_ms
    return about_ms + waits_ms - about_ms % 2


def day_fields(days: Days) -> str:
    """The last three fields of an expression that names these days."""
    months = ",".join(map(str, sorted(days.months))) or "*"
    return f"{days.dates} {months} {days.weekdays}"


def _rhythm(spec: ScheduleSpec) -> Rhythm:
    """The same in the judge's time, which begins where virtual time does."""
    return Rhythm(
        every_us=spec.every_ms * 1_000,
        phase_us=(spec.phase_ms - START_WALL_MS) % spec.every_ms * 1_000,
        max_runs=spec.max_runs,
        end_us=known_since_start_us(spec.end_ms),
    )
