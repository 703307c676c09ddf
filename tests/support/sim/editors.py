"""A client that changes schedules of one to ten seconds while they fire.

It knows what it has asked for, and asks for one change at a time, but for rivals that change one
etag at once. Half of what it does comes within milliseconds of a nominal time. A request that was
refused, or that changed nothing, is remembered by nobody; where copies come late it would be news
then, so each change is of an etag there, and a name is not used again after a refusal.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from msgspec.structs import replace as replace_record
from timeball.errors import FailedPrecondition, InvalidRequest, TimeballError

from coordinator.schedules import CreateScheduleRequest, ScheduleApi, UpdateRequest
from tests.support.checker.cluster import OF_SCHEDULE
from tests.support.checker.records import OF_SCHEDULES, Call, Kind, Mode, Rhythm, Wish
from tests.support.sim.handlers import WORK
from tests.support.sim.history import Op
from tests.support.sim.planners import FOR_EVER, Planner, near_a_time
from tests.support.sim.world import World
from tests.support.virtual_loop import START_WALL_MS, known_since_start_us
from timeball_server.core.ids import TaskId
from timeball_server.core.minting import fresh_request_id
from timeball_server.core.model import (
    CatchUp,
    CatchUpPolicy,
    DeliveryMode,
    Overlap,
    OverlapPolicy,
    Payload,
    RetryPolicy,
    ScheduleSpec,
    ScheduleView,
    TaskSpec,
)
from timeball_server.core.schedules.spec import Calendar

EVERY_MS: Final = (1_000, 1_000, 2_000, 3_000, 5_000, 10_000)
WORK_MS: Final = (0, 50, 300, 1_500, 2_500)
FREE_WORK_MS: Final = (0, 50, 300)
PAUSES_S: Final = (0.0, 0.02, 0.3, 1.0, 2.5, 4.0)
AIMED_SHARE: Final = 0.5
AIM_S: Final = 0.006
RULES: Final = (
    Overlap(policy=OverlapPolicy.SKIP),
    Overlap(policy=OverlapPolicy.ALLOW, limit=1),
    Overlap(policy=OverlapPolicy.ALLOW, limit=2),
    Overlap(policy=OverlapPolicy.BUFFER_ONE),
    Overlap(policy=OverlapPolicy.BUFFER, limit=2),
    Overlap(policy=OverlapPolicy.CANCEL_OTHER),
    Overlap(policy=OverlapPolicy.CANCEL_OTHER),
    Overlap(policy=OverlapPolicy.TERMINATE_OTHER),
    Overlap(policy=OverlapPolicy.TERMINATE_OTHER),
)
"""Rules that ask how many runs are in hand: a schedule changes from one of these to another."""
FREE_SHARE: Final = 0.35
"""Of schedules whose runs do not concern each other; that does not change."""
MISSES: Final = (
    CatchUp(),
    CatchUp(policy=CatchUpPolicy.SKIP),
    CatchUp(policy=CatchUpPolicy.ALL),
    CatchUp(policy=CatchUpPolicy.ALL, window_ms=8_000),
    CatchUp(policy=CatchUpPolicy.ONE, window_ms=3_000),
    CatchUp(policy=CatchUpPolicy.ALL, max_lateness_ms=6_000),
)
NAMED_SHARE: Final = 0.4
LIVES: Final = 3
"""So often a name is used, at most."""
DELAYED_SHARE: Final = 0.12
"""Of schedules that fire a while after the end of their runs; these are not paused."""
DELAYS_MS: Final = (300, 1_000, 2_500)
LASTING_SHARE: Final = 0.2
"""Of schedules that fire on when the editor has done with them, once in ten seconds."""
LASTING_MS: Final = 10_000


@dataclass(slots=True, kw_only=True)
class Edited:
    """A schedule as its editor knows it; `version` counts the payloads that it was given."""

    mark: str
    spec: ScheduleSpec
    mode: Mode
    version: int = 0
    task_id: str = ""
    view: ScheduleView | None = None
    over: bool = False
    refused: bool = False
    paused: bool = False

    @property
    def etag(self) -> int:
        """What was shown last."""
        return 0 if self.view is None else self.view.revision


Do = Callable[[Edited], Awaitable[None]]


class Editor(Planner):
    """Creates schedules, and changes, pauses, triggers, ends and names them."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._edits = random.Random(f"{world.seed} {name} edits")
        self._until_us = 0

    async def plan(self, schedules: int, until_us: int) -> None:
        """Live through so many schedules, beside each other."""
        self._until_us = until_us
        await asyncio.gather(*(self._live(number) for number in range(schedules)))

    async def _live(self, number: int) -> None:
        await self._pause(self._edits.uniform(0, 3))
        name = f"edited-{number}" if self._edits.random() < NAMED_SHARE else ""
        for _ in range(LIVES if name else 1):
            edited = self._made_up(name)
            await self._make(edited)
            while self._world.loop.now_us < self._until_us and not edited.over:
                await self._soon(edited)
                await self._edits.choices(*self._deeds_for(edited))[0](edited)
            if self._world.loop.now_us >= self._until_us or edited.refused:
                break
        if edited.over:
            return
        if self._edits.random() < LASTING_SHARE and edited.spec.every_ms:
            await self._update(edited, replace(edited.spec, every_ms=LASTING_MS), ("every_ms",))
            self.tasks.append(edited.task_id)
        else:
            await self._end_now(edited)

    @property
    def _deeds(self) -> tuple[Do, ...]:
        return (
            self._change_time,
            self._change_payload,
            self._change_rule,
            self._change_nothing,
            self._change_stale,
            self._compete,
            self._interrupt,
            self._trigger,
            self._read,
            self._limit,
            self._end_and_go,
            self._make_again,
        )

    @property
    def _weights(self) -> tuple[int, ...]:
        return (4, 3, 3, 1, 1, 1, 4, 4, 2, 1, 1, 1)

    def _deeds_for(self, edited: Edited) -> tuple[tuple[Do, ...], tuple[int, ...]]:
        if edited.spec.delay_ms is None:
            return self._deeds, self._weights
        return (self._change_payload, self._trigger, self._read), (1, 2, 2)

    async def _soon(self, edited: Edited) -> None:
        """After a while, half of the time within milliseconds of a nominal time."""
        await self._pause(self._edits.choice(PAUSES_S))
        if self._edits.random() < AIMED_SHARE and edited.spec.every_ms:
            now_ms, spec = self._now_ms(), edited.spec
            wait_ms = spec.every_ms - (now_ms - spec.phase_ms) % spec.every_ms
            await self._pause(wait_ms / 1_000 + self._edits.gauss(0, AIM_S) - AIM_S)

    def _now_ms(self) -> int:
        return START_WALL_MS + self._world.loop.now_us // 1_000

    def _request(self) -> bytes:
        return fresh_request_id(self._now_ms(), self._edits.randbytes(10))

    # What there is to change --------------------------------------------------------------------

    def _made_up(self, name: str) -> Edited:
        drawn = self._edits
        mark = f"{OF_SCHEDULE}{drawn.randbytes(10).hex()}"
        mode = drawn.choice(list(DeliveryMode))
        every_ms = drawn.choice(EVERY_MS)
        free = drawn.random() < FREE_SHARE
        spec = ScheduleSpec(
            task=TaskSpec(
                namespace=self.namespace,
                owner=self.name,
                handler=WORK,
                mode=mode,
                retry=RetryPolicy(max_attempts=5, initial_delay_ms=500, max_delay_ms=2_000),
                payload=Payload(data=b""),
            ),
            every_ms=every_ms,
            phase_ms=drawn.randrange(every_ms),
            overlap=Overlap() if free else drawn.choice(RULES),
            catch_up=drawn.choice(MISSES),
            name=name,
        )
        if drawn.random() < DELAYED_SHARE and not name:
            delay_ms = drawn.choice(DELAYS_MS)
            spec = replace(
                spec,
                every_ms=0,
                phase_ms=0,
                calendar=Calendar(),
                delay_ms=delay_ms,
                overlap=Overlap(policy=OverlapPolicy.SKIP),
            )
        edited = Edited(mark=mark, spec=spec, mode=Mode(mode))
        edited.spec = self._another_payload(edited)
        return edited

    def _another_payload(self, edited: Edited) -> ScheduleSpec:
        edited.version += 1
        alone = edited.spec.overlap != Overlap()
        facts = {
            "mark": edited.mark,
            "fails": 0,
            "work_ms": self._edits.choice(WORK_MS if alone else FREE_WORK_MS),
            "fatal": False,
            "poison": 0,
            "version": f"v{edited.version}",
        }
        payload = Payload(data=msgspec.json.encode(facts))
        return replace(edited.spec, task=replace(edited.spec.task, payload=payload))

    # What is done -------------------------------------------------------------------------------

    async def _make(self, edited: Edited) -> None:
        """Create it, by a request or by its name; one with a name by an update now and then."""
        request_id, spec = self._request(), edited.spec
        wish = Wish(mode=edited.mode, max_attempts=5, payload=edited.mark)
        updates = bool(spec.name) and self._edits.random() < 0.4

        async def ask(api: ScheduleApi, resend: bool) -> ScheduleView:
            if not updates:
                request = CreateScheduleRequest(spec=spec, request_id=request_id, resend=resend)
                return await api.create(self.caller, request, 8_000)
            wished = UpdateRequest(
                spec=spec, allow_missing=True, request_id=request_id, resend=resend
            )
            schedule_id = api.id_of(self.namespace, spec.name)
            return await api.update(self.caller, schedule_id, wished, 8_000)

        op = self._begin(edited, Call.CREATE_SCHEDULE, spec)
        op.request_id, op.wish = request_id, wish
        await self._insist(edited, op, ask)
        edited.task_id = op.task_id

    async def _make_again(self, edited: Edited) -> None:
        """Under a name that is taken nothing is created."""
        if not edited.spec.name or not self._world.profile.calm:
            return
        other = self._made_up(edited.spec.name)
        request_id, spec = self._request(), other.spec

        async def ask(api: ScheduleApi, resend: bool) -> ScheduleView:
            request = CreateScheduleRequest(spec=spec, request_id=request_id, resend=resend)
            return await api.create(self.caller, request, 8_000)

        op = self._begin(edited, Call.CREATE_SCHEDULE, spec)
        op.request_id, op.wish = request_id, Wish(mode=other.mode, payload=other.mark)
        await self.insist(op, ask, tries=FOR_EVER)
        if op.kind is Kind.OK:  # it had ended by itself
            other.task_id = op.task_id
            edited.mark, edited.spec, edited.mode = other.mark, other.spec, other.mode
            edited.version, edited.paused = other.version, False
            self._saw(edited, op)

    async def _update(
        self,
        edited: Edited,
        spec: ScheduleSpec,
        names: tuple[str, ...] | None = None,
        etag: int | None = None,
    ) -> Op:
        """Ask for another specification; `names` None = all of it."""
        request_id, asked = self._request(), spec
        if not self._world.profile.calm:
            etag = etag or edited.etag
        if names is not None and self._edits.random() < 0.5:
            blank = ScheduleSpec(task=spec.task, every_ms=777, name="ignored")
            asked = replace(blank, **{each: getattr(spec, each) for each in _with_time(names)})
        else:
            names = names if names is not None and self._edits.random() < 0.5 else None

        async def ask(api: ScheduleApi, resend: bool) -> ScheduleView:
            request = UpdateRequest(
                spec=asked, fields=names, revision=etag, request_id=request_id, resend=resend
            )
            return await api.update(self.caller, TaskId(edited.task_id), request, 8_000)

        op = self._begin(edited, Call.UPDATE_SCHEDULE, spec)
        op.etag = etag or 0
        await self._insist(edited, op, ask)
        if op.kind is Kind.OK:
            edited.spec = spec
        return op

    async def _change_time(self, edited: Edited) -> None:
        every_ms = self._edits.choice(EVERY_MS)
        spec = replace(edited.spec, every_ms=every_ms, phase_ms=self._edits.randrange(every_ms))
        await self._update(edited, spec, ("every_ms", "phase_ms"))

    async def _change_payload(self, edited: Edited) -> None:
        spec = self._another_payload(edited)
        await self._update(edited, spec, ("task",), edited.etag)

    async def _change_rule(self, edited: Edited) -> None:
        spec = edited.spec
        if spec.overlap == Overlap() or self._edits.random() < 0.3:
            spec = replace(spec, catch_up=self._edits.choice(MISSES))
            await self._update(edited, spec, ("catch_up",))
        else:
            spec = replace(spec, overlap=self._edits.choice(RULES))
            await self._update(edited, spec, ("overlap",))

    async def _change_nothing(self, edited: Edited) -> None:
        await self._update(edited, edited.spec)

    async def _change_stale(self, edited: Edited) -> None:
        if edited.etag > 1:
            spec = self._another_payload(edited)
            await self._update(edited, spec, etag=self._edits.randint(1, edited.etag - 1))

    async def _compete(self, edited: Edited) -> None:
        """Two change one etag at once: one of them is told that it holds."""
        specs = (self._another_payload(edited), self._another_payload(edited))
        etag = edited.etag
        await asyncio.gather(*(self._update(edited, spec, etag=etag) for spec in specs))

    async def _interrupt(self, edited: Edited) -> None:
        """Pause it if it fires, let it go on if it does not; now and then once more."""
        times = 2 if self._world.profile.calm and self._edits.random() < 0.1 else 1
        call = Call.RESUME_SCHEDULE if edited.paused else Call.PAUSE_SCHEDULE
        for _ in range(times):
            op = self._begin(edited, call)
            request_id = self._request()

            async def ask(api: Any, resend: bool, request_id: bytes = request_id) -> ScheduleView:
                does = api.pause if call is Call.PAUSE_SCHEDULE else api.resume
                view: ScheduleView = await does(
                    self.caller, TaskId(edited.task_id), "the editor", request_id, 8_000
                )
                return view

            await self._insist(edited, op, ask)
        edited.paused = call is Call.PAUSE_SCHEDULE

    async def _trigger(self, edited: Edited) -> None:
        """Launch a run by hand; who is not sure asks once more."""
        request_id = self._request()

        async def ask(api: ScheduleApi, resend: bool) -> ScheduleView:
            return await api.trigger(
                self.caller, TaskId(edited.task_id), request_id, 8_000, resend=resend
            )

        for again in range(1 if self._edits.random() < 0.6 else 2):
            op = self._begin(edited, Call.TRIGGER_SCHEDULE)
            op.request_id = request_id
            await self._insist(edited, op, ask, resend=bool(again))

    async def _read(self, edited: Edited) -> None:
        async def ask(api: ScheduleApi, resend: bool) -> ScheduleView:
            return await api.get(self.caller, TaskId(edited.task_id), 8_000)

        await self._insist(edited, self._begin(edited, Call.GET_SCHEDULE), ask)

    async def _limit(self, edited: Edited) -> None:
        """A few runs more, a few seconds more, or none at all: what would never fire is refused."""
        drawn = self._edits.random()
        runs = 0 if edited.view is None else edited.view.runs
        if drawn < 0.4:
            spec = replace(edited.spec, max_runs=runs + self._edits.randint(2, 6))
            await self._update(edited, spec, ("max_runs",))
        elif drawn < 0.7:
            end_ms = self._now_ms() + self._edits.randint(2_000, 9_000)
            end_ms = near_a_time(edited.spec, end_ms) if end_ms % 3 else end_ms
            await self._update(edited, replace(edited.spec, end_ms=end_ms), ("end_ms",))
        else:
            end_ms = self._now_ms() - 10_000
            await self._update(edited, replace(edited.spec, end_ms=end_ms), ("end_ms",))

    async def _end_and_go(self, edited: Edited) -> None:
        """End what has a name: it can be used again."""
        if edited.spec.name and self._edits.random() < 0.5:
            await self._end_now(edited)

    async def _end_now(self, edited: Edited) -> None:
        request_id = self._request()

        async def ask(api: ScheduleApi, resend: bool) -> ScheduleView:
            return await api.end(self.caller, TaskId(edited.task_id), request_id, 8_000)

        await self._insist(edited, self._begin(edited, Call.END_SCHEDULE), ask)
        edited.over = True

    # One operation ------------------------------------------------------------------------------

    def _begin(self, edited: Edited, call: Call, spec: ScheduleSpec | None = None) -> Op:
        op = self.begin(call, edited.task_id)
        if spec is not None:
            facts = msgspec.json.decode(spec.task.payload.data)
            op.rhythm, op.version = rhythm_of(spec), facts["version"]
        return op

    async def _insist(
        self,
        edited: Edited,
        op: Op,
        ask: Callable[[Any, bool], Any],
        *,
        resend: bool = False,
    ) -> None:
        await self.insist(op, ask, resend=resend, tries=FOR_EVER)
        self._saw(edited, op)

    def _saw(self, edited: Edited, op: Op) -> None:
        if isinstance(op.view, ScheduleView):
            edited.view = op.view
            edited.over = op.view.ended
        elif op.reason == FailedPrecondition.reason:
            edited.over = True
            edited.refused = not self._world.profile.calm

    def _end(self, op: Op, kind: Kind, error: TimeballError | None = None) -> None:
        """Whether it has ended, or would never fire, is for the judge to say."""
        if op.call in OF_SCHEDULES and isinstance(error, FailedPrecondition | InvalidRequest):
            op.reason = error.reason
            error = None
        super()._end(op, kind, error)


def _with_time(names: tuple[str, ...]) -> tuple[str, ...]:
    """What says when is changed as a whole."""
    when = ("every_ms", "phase_ms", "end_ms")
    return tuple(dict.fromkeys((*names, *(when if set(names) & set(when) else ()))))


def rhythm_of(spec: ScheduleSpec) -> Rhythm:
    """What it says, for the judge, whose time begins where virtual time does."""
    rule, missed = spec.overlap, spec.catch_up
    late_ms = missed.max_lateness_ms
    plain = Rhythm(
        every_us=spec.every_ms * 1_000,
        phase_us=(spec.phase_ms - START_WALL_MS) % max(1, spec.every_ms) * 1_000,
        delay_us=(spec.delay_ms or 0) * 1_000,
        max_runs=spec.max_runs,
        end_us=known_since_start_us(spec.end_ms),
        edited=True,
    )
    return replace_record(
        plain,
        overlap=str(rule.policy),
        places=rule.limit,
        catch_up=str(missed.policy),
        reach_us=missed.reach_ms * 1_000,
        waits_us=None if late_ms is None else late_ms * 1_000,
    )
