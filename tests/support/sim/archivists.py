"""A client whose schedules are of days and months: it has their past launched once more.

None of their times comes while a run lasts, so all that runs of them is a backfill's. It looks at
how far a backfill has come, pauses the schedule in its middle, and stops some.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from coordinator.schedules import ScheduleApi
from tests.support.checker.days import WEEKDAYS
from tests.support.checker.records import Call, Days, Rhythm, Wish
from tests.support.checker.schedules import nominal_times
from tests.support.sim.planners import FOR_EVER, Planner, day_fields
from tests.support.virtual_loop import START_WALL_MS
from timeball_server.core.ids import TaskId
from timeball_server.core.minting import fresh_request_id
from timeball_server.core.model import ScheduleSpec, ScheduleView, TaskSpec
from timeball_server.core.schedules.spec import Calendar, Cron, FoldRule, GapRule

DAY_US = 86_400_000_000
FARTHEST_DAYS = 1_000
SOONEST_US = 60_000_000
"""A range ends so long before its schedule is made, or earlier: no clock is as wrong as that."""
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland")
HOURS = (4, 22)
"""Clocks of these zones show the hours between them once a day. None of them is soon."""
DATES = ("1", "15", "28", "29", "31", "L", "LW", "15W", "1W", "28W", "1,L", "3,17")
MONTHS = ((), (), (), (1,), (2,), (12,), (1, 12), (2, 8), (3, 6, 9, 12), (11, 2))
JUMPS = (
    ("Europe/Berlin", 3, "sunL", (1, 2, 3)),
    ("America/New_York", 3, "sun#2", (1, 2, 3)),
    ("America/New_York", 11, "sun#1", (0, 1, 2)),
    ("Pacific/Auckland", 4, "sun#1", (1, 2, 3)),
    ("Pacific/Auckland", 9, "sunL", (1, 2, 3)),
    ("Australia/Lord_Howe", 4, "sun#1", (1, 2)),
    ("Australia/Lord_Howe", 10, "sun#1", (1, 2, 3)),
    ("Africa/Cairo", 4, "friL", (0, 1)),
)
"""When clocks are put forward or back: zone, month, day, and hours about it. None is soon."""
JUMPS_SHARE = 0.35
PAUSES_SHARE = 0.4
STOPS_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Range:
    """What a backfill is asked for: both ends, in microseconds of the run."""

    first_us: int
    last_us: int


class Archivist(Planner):
    """Creates schedules, has their past launched, and ends them."""

    async def plan(self, schedules: int, until_us: int) -> None:
        """Create so many schedules, and fill ranges of each one's past, one after another."""
        filling: list[asyncio.Task[None]] = []
        for _ in range(schedules):
            gap_s = max(0.0, (until_us - self._world.loop.now_us) / 1e6) / schedules
            await self._pause(self._varies.uniform(0, gap_s))
            days, zone = self._days_and_zone()
            cron = Cron(
                expression=expression(days),
                zone=zone,
                gap=self._varies.choice(list(GapRule)),
                fold=self._varies.choice(list(FoldRule)),
            )
            created = await self.create_dated(days, cron, *self.task("", None, 0))
            if created is not None:
                work = self._fill(created, dated(days, cron))
                filling.append(self._world.loop.create_task(work, name=f"{self.name} fills"))
        await asyncio.gather(*filling)

    def _days_and_zone(self) -> tuple[Days, str]:
        """Days of some months, or those on which clocks jump."""
        varied = self._varies
        if varied.random() >= JUMPS_SHARE:
            return self._days(), varied.choice(ZONES)
        zone, month, weekday, hours = varied.choice(JUMPS)
        minute = varied.choice((0, 15, 30, 59))
        chosen = sorted(varied.sample(hours, varied.randint(1, len(hours))))
        times_s = tuple(hour * 3_600 + minute * 60 for hour in chosen)
        return Days(weekdays=weekday, months=(month,), times_s=times_s), zone

    def _days(self) -> Days:
        varied = self._varies
        kind = varied.random()
        dates = varied.choice(DATES) if kind < 0.6 else "*"
        day = varied.choice(WEEKDAYS)
        which = ("L", "#1", "#2", "#3", "#4", "#5", "")
        weekdays = f"{day}{varied.choice(which)}" if kind > 0.6 else "*"
        minute = varied.randint(0, 59)
        hours = varied.sample(range(HOURS[0], HOURS[1] + 1), varied.choice((1, 1, 2)))
        return Days(
            dates=dates,
            weekdays=weekdays,
            months=varied.choice(MONTHS),
            times_s=tuple(sorted(hour * 3_600 + minute * 60 for hour in hours)),
        )

    async def _fill(self, schedule: str, rhythm: Rhythm) -> None:
        for number in range(self._varies.choice((1, 1, 2))):
            wanted = self._range(rhythm)
            name = f"fill-{number}"
            if self._varies.random() < PAUSES_SHARE:
                await self.ask_plainly(Call.PAUSE_SCHEDULE, schedule)
            await self.backfill(schedule, name, wanted)
            await self._pause(self._varies.choice((0.0, 0.1, 0.5, 3.0, 15.0)))
            if self._varies.random() < STOPS_SHARE:
                await self.stop(schedule, name)
            await self.look(schedule)
            await self.ask_plainly(Call.RESUME_SCHEDULE, schedule)
            await self._pause(self._varies.choice((0.0, 0.2, 2.0)))

    def _range(self, rhythm: Rhythm) -> Range:
        """A range of a few nominal times, or of none."""
        varied, latest_us = self._varies, self._world.loop.now_us - SOONEST_US
        first_us = -varied.randint(1, FARTHEST_DAYS) * DAY_US
        most = varied.randint(0, self._world.profile.filled)
        times = nominal_times(rhythm, first_us, latest_us)
        inside = [at_us for _, at_us in takewhile(lambda each: each[0] < most, enumerate(times))]
        ends_us = inside[-1] if inside else first_us
        return Range(first_us, min(ends_us + varied.choice((0, 0, 1_000_000)), latest_us))

    async def create_dated(
        self, days: Days, cron: Cron, task: TaskSpec, wish: Wish | None = None
    ) -> str | None:
        """Create a schedule of such days; its id if the archivist learned it."""
        calendar = Calendar(crons=(cron,))
        spec = ScheduleSpec(task=replace(task, namespace=self.namespace), calendar=calendar)
        created = await self.create_schedule(spec, dated(days, cron), wish)
        if created is not None:
            self.tasks.append(created)
        return created

    # What is asked ------------------------------------------------------------------------------

    async def backfill(self, schedule: str, name: str, wanted: Range) -> None:
        """Have a range launched once more, and insist."""
        op = self.begin(Call.BACKFILL, schedule)
        op.backfill = name
        op.first_ms = START_WALL_MS + wanted.first_us // 1_000
        op.last_ms = START_WALL_MS + wanted.last_us // 1_000

        async def ask(api: ScheduleApi, resend: bool) -> ScheduleView:
            return await api.backfill(
                self.caller, TaskId(schedule), name, op.first_ms, op.last_ms, 8_000
            )

        await self.insist(op, ask, tries=FOR_EVER)

    async def stop(self, schedule: str, name: str) -> None:
        """Stop a backfill, and insist."""
        op = self.begin(Call.STOP_BACKFILL, schedule)
        op.backfill = name

        async def ask(api: ScheduleApi, resend: bool) -> ScheduleView:
            return await api.stop_backfill(self.caller, TaskId(schedule), name, 8_000)

        await self.insist(op, ask, tries=FOR_EVER)

    async def look(self, schedule: str) -> None:
        """Read a schedule."""

        async def ask(api: ScheduleApi, resend: bool) -> ScheduleView:
            return await api.get(self.caller, TaskId(schedule), 8_000)

        await self.insist(self.begin(Call.GET_SCHEDULE, schedule), ask)

    async def ask_plainly(self, call: Call, schedule: str) -> None:
        """Pause it or let it go on, and insist."""
        request_id = fresh_request_id(0, self._varies.randbytes(10))

        async def ask(api: Any, resend: bool) -> ScheduleView:
            does = api.pause if call is Call.PAUSE_SCHEDULE else api.resume
            view: ScheduleView = await does(
                self.caller, TaskId(schedule), "the archivist", request_id, 8_000
            )
            return view

        await self.insist(self.begin(call, schedule), ask, tries=FOR_EVER)

    async def end_all(self) -> None:
        """Look at each once more, and end it."""
        for schedule in self.tasks:
            await self.look(schedule)
        await super().end_all()


def dated(days: Days, cron: Cron) -> Rhythm:
    """The rhythm of such days, for the judge."""
    return Rhythm(
        every_us=DAY_US,
        zone=cron.zone,
        fold=cron.fold,
        gap=cron.gap,
        days=days,
        zero_ms=START_WALL_MS,
    )


def expression(days: Days) -> str:
    """The same days and times, for the product."""
    seconds = days.times_s or (0,)
    hours = ",".join(str(each // 3_600) for each in seconds)
    return f"{seconds[0] // 60 % 60} {hours} {day_fields(days)}"
