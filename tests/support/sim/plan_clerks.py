"""A clerk for schedules: asks at the corners of their API what `clerks` asks of tasks.

Its schedules are of hours, and none of these begins while a run lasts, so that nothing but its
requests changes them; what it has launched by hand is told like anybody's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from coordinator.node import CoordinatorNode
from coordinator.requests import Caller
from coordinator.schedules import CreateScheduleRequest, ScheduleApi, UpdateRequest
from tests.support.checker.dealings import Corner
from tests.support.checker.records import Call, Rhythm
from tests.support.sim.clerks import HOUR_MS
from tests.support.sim.planners import Planner
from tests.support.sim.tellers import Ask, Teller, shown
from tests.support.sim.world import LAYOUT, World
from tests.support.virtual_loop import START_WALL_MS
from timeball_server.core.ids import (
    KIND_SCHEDULE,
    SCHEDULES_MINUTE,
    Bucket,
    IdParts,
    TaskId,
    encode_id,
    home_of_request,
)
from timeball_server.core.model import ScheduleSpec, ScheduleView
from timeball_server.core.schedules.spec import Calendar, Cron

MOST_BACKFILLS: Final = 10
"""Of one schedule at once, as docs/limits.md has it."""
Trigger = Callable[[ScheduleApi, bool], Coroutine[Any, Any, ScheduleView]]
NOWHERE: Final = Calendar(crons=(Cron(expression="0 12 * * *", zone="Nowhere/Else"),))


class PlanClerk:
    """Asks about schedules."""

    def __init__(self, world: World, name: str) -> None:
        self._planner = Planner(world, name)
        self._teller = Teller(world, name, self._part_of)

    @staticmethod
    def _part_of(node: CoordinatorNode) -> ScheduleApi:
        return ScheduleApi(node.cluster)

    async def plan(self, rounds: int) -> None:
        """Go through all corners so often."""
        for number in range(rounds):
            await self._never_was(f"nobody-{number}")
            await self._makes(f"taken-{number}")
            await self._changes()
            await self._fills()
            await self._launches()
            await self._teller.pause(self._teller.rng.uniform(0.2, 3))

    # What is asked ------------------------------------------------------------------------------

    def _spec(self, name: str = "", **facts: Any) -> ScheduleSpec:
        """Every two hours, but not before the run is long over."""
        phase_ms = (self._teller.now_ms + HOUR_MS) % (2 * HOUR_MS)
        task, _ = self._planner.task("", None, 0)
        spec = ScheduleSpec(task=task, every_ms=2 * HOUR_MS, phase_ms=phase_ms, name=name)
        return replace(spec, **facts)

    def _id(self, request_id: bytes) -> TaskId:
        """Where the schedule of a request is."""
        part, unique = home_of_request(self._teller.caller.namespace, request_id)
        shard = LAYOUT.shard_for(SCHEDULES_MINUTE, unique)
        return encode_id(IdParts(Bucket(SCHEDULES_MINUTE, shard, part), unique, KIND_SCHEDULE))

    def _create(self, spec: ScheduleSpec, request_id: bytes, *, resend: bool = False) -> Ask:
        async def ask(api: ScheduleApi) -> Any:
            request = CreateScheduleRequest(spec=spec, request_id=request_id, resend=resend)
            return await api.create(self._teller.caller, request, 8_000)

        return ask

    def _update(
        self,
        schedule: TaskId,
        spec: ScheduleSpec,
        request_id: bytes | None = None,
        *,
        caller: Caller | None = None,
        **facts: Any,
    ) -> Ask:
        request = UpdateRequest(
            spec=spec, request_id=request_id or self._teller.request_id(), **facts
        )

        async def ask(api: ScheduleApi) -> Any:
            return await api.update(caller or self._teller.caller, schedule, request, 8_000)

        return ask

    def _plainly(
        self,
        verb: str,
        schedule: TaskId,
        *words: Any,
        request_id: bytes | None = None,
        caller: Caller | None = None,
        **facts: Any,
    ) -> Ask:
        """Pause, resume, end or trigger it."""
        asked = request_id or self._teller.request_id()

        async def ask(api: ScheduleApi) -> Any:
            does = getattr(api, verb)
            return await does(
                caller or self._teller.caller, schedule, *words, asked, 8_000, **facts
            )

        return ask

    def _backfill(
        self, schedule: TaskId, name: str, hours: tuple[float, float], caller: Caller | None = None
    ) -> Ask:
        """Fill from and to so many hours ago."""
        first_ms, last_ms = (self._hour_ms(each) for each in hours)
        return self._fill(schedule, name, first_ms, last_ms, caller)

    def _fill(
        self,
        schedule: TaskId,
        name: str,
        first_ms: int,
        last_ms: int,
        caller: Caller | None = None,
    ) -> Ask:
        async def ask(api: ScheduleApi) -> Any:
            return await api.backfill(
                caller or self._teller.caller, schedule, name, first_ms, last_ms, 8_000
            )

        return ask

    @staticmethod
    def _hour_ms(hours: float) -> int:
        return START_WALL_MS - round(hours * HOUR_MS)

    def _stop(self, schedule: TaskId, name: str, caller: Caller | None = None) -> Ask:
        async def ask(api: ScheduleApi) -> Any:
            return await api.stop_backfill(caller or self._teller.caller, schedule, name, 8_000)

        return ask

    def _get(self, schedule: TaskId, caller: Caller) -> Ask:
        async def ask(api: ScheduleApi) -> Any:
            return await api.get(caller, schedule, 8_000)

        return ask

    def _look(self, schedule: TaskId) -> Callable[[], Awaitable[str]]:
        async def look() -> str:
            said, answer = await self._teller.ask(self._get(schedule, self._teller.caller))
            return shown(answer) or said

        return look

    def _changing(self, schedule: TaskId, caller: Caller) -> dict[str, Ask]:
        """All that would change a schedule but its end."""
        spec = self._spec(every_ms=3 * HOUR_MS)
        return {
            "update": self._update(schedule, spec, caller=caller),
            "pause": self._plainly("pause", schedule, "why", caller=caller),
            "resume": self._plainly("resume", schedule, "why", caller=caller),
            "trigger": self._plainly("trigger", schedule, caller=caller),
            "trigger again": self._plainly("trigger", schedule, caller=caller, resend=True),
            "backfill": self._backfill(schedule, "b", (50, 40), caller),
            "stop backfill": self._stop(schedule, "b", caller),
        }

    async def _deal(
        self, corner: Corner, what: str, schedule: TaskId, ask: Ask, wanted: str = ""
    ) -> Any:
        return await self._teller.deal(
            corner, what, str(schedule), ask, self._look(schedule), wanted
        )

    async def _made(self, spec: ScheduleSpec) -> tuple[TaskId, bytes]:
        request_id = self._teller.request_id()
        schedule = self._id(request_id)
        await self._deal(Corner.CHANGE, "create", schedule, self._create(spec, request_id))
        return schedule, request_id

    async def _ends(self, schedule: TaskId) -> None:
        await self._deal(Corner.CHANGE, "end", schedule, self._plainly("end", schedule), " ENDED ")

    # The corners --------------------------------------------------------------------------------

    async def _never_was(self, name: str) -> None:
        """Nothing is said of what never was; a creation that comes after its end makes nothing."""
        me, request_id = self._teller.caller, self._teller.request_id()
        schedule = self._id(request_id)
        asks = {"get": self._get(schedule, me), **self._changing(schedule, me)}
        for what, ask in asks.items():
            await self._deal(Corner.NEVER_WAS, what, schedule, ask)
        for _ in range(2):
            ask = self._plainly("end", schedule)
            await self._deal(Corner.NEVER_WAS, "end", schedule, ask)
        for resend in (False, True):
            ask = self._create(self._spec(), request_id, resend=resend)
            await self._deal(Corner.VOID, "create", schedule, ask)
        for what, ask in self._changing(schedule, me).items():
            await self._deal(Corner.NEVER_WAS, what, schedule, ask)
        await self._free_name(name)

    async def _free_name(self, name: str) -> None:
        """A name is free again whatever became of it; an update may be its creation."""
        request_id, spec = self._teller.request_id(), self._spec(name)
        schedule = await self._id_of(name)
        await self._deal(Corner.NEVER_WAS, "end", schedule, self._plainly("end", schedule))
        ask = self._update(schedule, spec, request_id, allow_missing=True)
        await self._deal(Corner.CHANGE, "update", schedule, ask, "version 1 ")
        await self._deal(Corner.AGAIN, "update", schedule, ask)
        spec = replace(spec, every_ms=4 * HOUR_MS)
        ask = self._update(schedule, spec, allow_missing=True)
        await self._deal(Corner.CHANGE, "update", schedule, ask, f"every {4 * HOUR_MS}")
        await self._ends(schedule)
        ask = self._update(schedule, spec, request_id, allow_missing=True, resend=True)
        await self._deal(Corner.AGAIN, "update", schedule, ask)
        ask = self._create(spec, self._teller.request_id())
        await self._deal(Corner.CHANGE, "create", schedule, ask, " version 3 ")
        await self._ends(schedule)

    async def _id_of(self, name: str) -> TaskId:
        async def ask(api: ScheduleApi) -> TaskId:
            return api.id_of(self._teller.caller.namespace, name)

        _, schedule = await self._teller.ask(ask)
        return TaskId(schedule)

    async def _makes(self, name: str) -> None:
        """One request makes one schedule, and a name stands for one."""
        spec = self._spec()
        schedule, request_id = await self._made(spec)
        for resend in (False, True):
            ask = self._create(spec, request_id, resend=resend)
            await self._deal(Corner.AGAIN, "create", schedule, ask)
            ask = self._create(replace(spec, max_runs=9), request_id, resend=resend)
            await self._deal(Corner.OTHER_BODY, "create", schedule, ask)
        stranger = self._teller.stranger
        asks = {"get": self._get(schedule, stranger), **self._changing(schedule, stranger)}
        asks["end"] = self._plainly("end", schedule, caller=stranger)
        for what, ask in asks.items():
            await self._deal(Corner.FOREIGN, what, schedule, ask)
        await self._never_fires(schedule, spec)
        await self._ends(schedule)
        await self._at_once()
        taken, request_id = await self._id_of(name), self._teller.request_id()
        ask = self._create(self._spec(name), request_id)
        await self._deal(Corner.CHANGE, "create", taken, ask)
        await self._deal(Corner.AGAIN, "create", taken, ask)
        for wanted in (self._spec(name), self._spec(name, every_ms=HOUR_MS)):
            ask = self._create(wanted, self._teller.request_id())
            await self._deal(Corner.TAKEN, "create", taken, ask)
        await self._ends(taken)

    async def _at_once(self) -> None:
        """Two that have one id: if they say the same both are told, else one of them."""
        for corner in (Corner.RIVALS, Corner.TWINS):
            request_id, spec = self._teller.request_id(), self._spec()
            other = replace(spec, max_runs=7) if corner is Corner.RIVALS else spec
            asks = (self._create(spec, request_id), self._create(other, request_id))
            schedule = self._id(request_id)
            look = self._look(schedule)
            await self._teller.deal_twice(corner, "create", str(schedule), asks, look)
            await self._ends(schedule)

    async def _never_fires(self, schedule: TaskId, spec: ScheduleSpec) -> None:
        """What has no time to come, or a zone that nobody knows, is refused."""
        over = replace(spec, end_ms=self._teller.now_ms - 1)
        for wanted in (over, replace(spec, every_ms=0, phase_ms=0, calendar=NOWHERE)):
            request_id = self._teller.request_id()
            ask = self._create(wanted, request_id)
            await self._deal(Corner.NO_TIME, "create", self._id(request_id), ask)
            ask = self._update(schedule, wanted)
            await self._deal(Corner.NO_TIME, "update", schedule, ask)

    async def _changes(self) -> None:
        """Each change holds once, and a schedule that has ended is not changed any more."""
        spec = self._spec()
        schedule, made = await self._made(spec)
        updates, pauses, resumes = (self._teller.request_id() for _ in range(3))
        faster = replace(spec, every_ms=4 * HOUR_MS)
        ask = self._update(schedule, faster, updates, revision=1)
        await self._deal(Corner.CHANGE, "update", schedule, ask, f"every {4 * HOUR_MS}")
        pause = self._plainly("pause", schedule, "why", request_id=pauses)
        resume = self._plainly("resume", schedule, "why", request_id=resumes)
        await self._deal(Corner.ALREADY, "resume", schedule, self._plainly("resume", schedule, ""))
        await self._deal(Corner.CHANGE, "pause", schedule, pause, " PAUSED ")
        await self._deal(Corner.ALREADY, "pause", schedule, self._plainly("pause", schedule, ""))
        await self._deal(Corner.CHANGE, "resume", schedule, resume, " ACTIVE ")
        again = {
            "update": self._update(schedule, faster, updates, revision=1, resend=True),
            "pause": pause,
            "create": self._create(spec, made),
            "create again": self._create(spec, made, resend=True),
        }
        for what, ask in again.items():
            await self._deal(Corner.AGAIN, what, schedule, ask)
        await self._deal(Corner.ALREADY, "update", schedule, self._update(schedule, faster))
        for revision in (1, 3, 5):
            ask = self._update(schedule, spec, revision=revision)
            await self._deal(Corner.OLD, "update", schedule, ask)
        await self._deal(Corner.CHANGE, "pause", schedule, self._plainly("pause", schedule, ""))
        await self._deal(Corner.AGAIN, "resume", schedule, resume)
        await self._ends(schedule)
        await self._is_over(schedule, {**again, "resume": resume})

    async def _is_over(self, schedule: TaskId, before: dict[str, Ask]) -> None:
        """What was done before its end was done; nothing else is."""
        await self._deal(Corner.AGAIN, "end", schedule, self._plainly("end", schedule))
        for what, ask in before.items():
            await self._deal(Corner.AGAIN, what, schedule, ask)
        for what, ask in self._changing(schedule, self._teller.caller).items():
            await self._deal(Corner.ENDED, what, schedule, ask)

    async def _fills(self) -> None:
        """Backfills while the schedule is paused: nothing of them runs."""
        schedule, _ = await self._made(self._spec())
        await self._deal(Corner.CHANGE, "pause", schedule, self._plainly("pause", schedule, ""))
        for number in range(MOST_BACKFILLS):
            hours = (60 + number, 20 + number)
            ask = self._backfill(schedule, f"f{number}", hours)
            await self._deal(Corner.CHANGE, "backfill", schedule, ask, f"f{number}:RUNNING")
            await self._deal(Corner.AGAIN, "backfill", schedule, ask)
            for other in ((61 + number, 20 + number), (60 + number, 21 + number)):
                ask = self._backfill(schedule, f"f{number}", other)
                await self._deal(Corner.TAKEN, "backfill", schedule, ask)
        ask = self._backfill(schedule, "one more", (60, 20))
        await self._deal(Corner.FIXED, "backfill", schedule, ask)
        for name in ("f3", "f0"):
            stop = self._stop(schedule, name)
            await self._deal(Corner.CHANGE, "stop backfill", schedule, stop, f"{name}:STOPPED")
            await self._deal(Corner.AGAIN, "stop backfill", schedule, stop)
        ask = self._stop(schedule, "never")
        await self._deal(Corner.NEVER_WAS, "stop backfill", schedule, ask)
        ask = self._backfill(schedule, "ahead", (60, -0.5))
        await self._deal(Corner.FIXED, "backfill", schedule, ask)
        empty = self._backfill(schedule, "empty", (0.2, 0.1))
        await self._deal(Corner.CHANGE, "backfill", schedule, empty, "f9:RUNNING empty:DONE]")
        await self._deal(Corner.AGAIN, "backfill", schedule, empty)
        ask = self._stop(schedule, "empty")
        await self._deal(Corner.ALREADY, "stop backfill", schedule, ask)
        await self._ends(schedule)
        await self._fill_one_instant()
        rests, _ = await self._made(self._spec(every_ms=0, phase_ms=0, delay_ms=2 * HOUR_MS))
        ask = self._backfill(rests, "rest", (60, 20))
        await self._deal(Corner.FIXED, "backfill", rests, ask)
        await self._ends(rests)

    async def _fill_one_instant(self) -> None:
        """Both ends of a range belong to it, to the millisecond."""
        spec = self._spec()
        schedule, _ = await self._made(spec)
        await self._deal(Corner.CHANGE, "pause", schedule, self._plainly("pause", schedule, ""))
        nominal_ms = spec.phase_ms + START_WALL_MS // spec.every_ms * spec.every_ms
        nominal_ms -= 3 * spec.every_ms
        wanted = {0: "RUNNING", -1: "DONE", 1: "DONE"}
        for by_ms, state in wanted.items():
            at_ms, name = nominal_ms + by_ms, f"f{by_ms}"
            ask = self._fill(schedule, name, at_ms, at_ms)
            await self._deal(Corner.CHANGE, "backfill", schedule, ask, f"{name}:{state}")
        await self._ends(schedule)

    async def _launches(self) -> None:
        """One request launches one run, whenever it comes again, also after the end."""
        spec, teller = self._spec(), self._teller
        phase_us = (spec.phase_ms - START_WALL_MS) % spec.every_ms * 1_000
        rhythm = Rhythm(every_us=spec.every_ms * 1_000, phase_us=phase_us, edited=True)
        created = await self._planner.create_schedule(spec, rhythm)
        if created is None:
            return
        schedule, request_id = TaskId(created), teller.request_id()

        async def trigger(api: ScheduleApi, resend: bool) -> ScheduleView:
            return await api.trigger(
                self._planner.caller, schedule, request_id, 8_000, resend=resend
            )

        op = self._planner.begin(Call.TRIGGER_SCHEDULE, created)
        op.request_id = request_id
        await self._planner.insist(op, trigger)
        run = _run(op.view)
        for pause_s in (0.0, 4.0):
            await teller.pause(pause_s)
            await self._again(schedule, run, trigger)
        self._planner.tasks.append(created)
        await self._planner.end_all()
        self._planner.tasks.clear()
        await self._again(schedule, run, trigger)
        await self._is_over(schedule, {})

    async def _again(self, schedule: TaskId, run: str, trigger: Trigger) -> None:
        for resend in (False, True):
            said, answer = await self._teller.ask(_asking(trigger, resend))
            subject = str(schedule)
            self._teller.note(Corner.AGAIN, "trigger", subject, said, run, "", _run(answer), "")


def _asking(trigger: Trigger, resend: bool) -> Ask:
    async def ask(api: ScheduleApi) -> ScheduleView:
        return await trigger(api, resend)

    return ask


def _run(view: Any) -> str:
    """What a trigger says that it has launched."""
    return str(view.run or "") if isinstance(view, ScheduleView) else ""
