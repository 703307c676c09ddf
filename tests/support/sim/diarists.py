"""A client that looks ahead: it asks what calendars of all kinds will name, and sends wrong ones.

It asks at the door that users' requests pass, the service itself. Nothing that it asks for fires:
what it would create is wrong, and must leave nothing behind.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec.structs import replace
from timeball.errors import (
    InvalidRequest,
    OutcomeUnknown,
    ResourceExhausted,
    TaskNotFound,
    TimeballError,
    Unavailable,
)
from timeball.v1 import schedule_service_pb2 as pb

from coordinator.node import CoordinatorNode
from coordinator.schedule_reading import ScheduleReader
from coordinator.schedule_servicer import ScheduleServicer
from coordinator.schedules import ScheduleApi
from tests.support.checker.calendars import Forecast, Foretold, Gone, Wrong
from tests.support.checker.records import Kind
from tests.support.sim.almanacs import Question, question
from tests.support.sim.clients import CALL_S, COORDINATORS
from tests.support.sim.keys import NAMESPACES
from tests.support.sim.known_calendars import known
from tests.support.sim.world import World
from tests.support.sim.wrong_calendars import Case, cases
from tests.support.virtual_loop import START_WALL_MS, VirtualClock
from timeball_server.core.minting import fresh_request_id
from timeball_server.rpc.auth import Principal, Role
from timeball_server.rpc.convert import ms_from_timestamp, set_timestamp
from timeball_server.rpc.interceptors import _CALL, _Call

TRIES = 12
WRONG_SHARE = 0.38
CREATED_SHARE = 0.15
KNOWN_SHARE = 0.6
Answer = pb.PreviewScheduleResponse
Ask = Callable[[ScheduleServicer], Coroutine[Any, Any, Answer]]


class _Context:
    """What the service asks of a call."""

    def time_remaining(self) -> float:
        """Seconds until its caller gives up."""
        return CALL_S


class Diarist:
    """Asks for forecasts, one after another."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self._world = world
        self._rng = random.Random(f"{world.seed} {name}")
        self._clock = VirtualClock(world.loop)
        self._principal = Principal(subject=name, namespace=NAMESPACES[0], roles=frozenset(Role))
        self._cases: list[Case] = []
        self._known: list[Question] | None = None

    async def ask(self, forecasts: int, until_us: int) -> None:
        """Ask for so many, and send wrong ones in between."""
        for left in range(forecasts, 0, -1):
            gap_s = max(0.0, (until_us - self._world.loop.now_us) / 1e6) / left
            await self._clock.sleep_ms(self._rng.uniform(0, 1.6 * gap_s) * 1_000)
            if self._rng.random() < WRONG_SHARE:
                await self._send(self._next_case())
            else:
                await self._look_ahead(self._next_question())

    def _now_ms(self) -> int:
        return START_WALL_MS + self._world.loop.now_us // 1_000

    def _next_question(self) -> Question:
        """What is known comes first, in some order, with others in between."""
        if self._known is None:
            self._known = known(self._rng)
        if self._known and self._rng.random() < KNOWN_SHARE:
            return self._known.pop()
        return question(self._rng, self._now_ms())

    def _next_case(self) -> Case:
        """Each comes once before any comes twice."""
        if not self._cases:
            self._cases = cases(self._now_ms())
            self._rng.shuffle(self._cases)
        return self._cases.pop()

    async def _look_ahead(self, asked: Question) -> None:
        request = pb.PreviewScheduleRequest(
            schedule=asked.message, count=asked.count, schedule_id=asked.sheet.name
        )
        set_timestamp(request.after, asked.after_ms)
        if asked.since_ms is not None:
            set_timestamp(request.missed_since, asked.since_ms)

        async def ask(door: ScheduleServicer) -> Answer:
            return await door.PreviewSchedule(request, _Context())

        told = await self._insist(asked.text, ask)
        self._note(told, asked)

    async def _send(self, case: Case) -> None:
        """A calendar that is wrong, or right beside one; some wrong ones are to be created."""
        text, message, wrong = case
        name = f"wrong-{self._rng.getrandbits(32)}"
        creates = bool(wrong) and self._rng.random() < CREATED_SHARE

        async def ask(door: ScheduleServicer) -> Answer:
            if not creates:
                request = pb.PreviewScheduleRequest(schedule=message, count=1)
                return await door.PreviewSchedule(request, _Context())
            await door.CreateSchedule(_creation(message, name, self._rng), _Context())
            return Answer()

        told = await self._insist(f"{text!a}", ask)
        self._note(told, None, wrong)
        if creates:
            await self._must_be_gone(name)

    async def _must_be_gone(self, name: str) -> None:
        """What was refused has left nothing."""
        request = pb.GetScheduleRequest(name=f"namespaces/-/schedules/{name}")

        async def ask(door: ScheduleServicer) -> Answer:
            try:
                await door.GetSchedule(request, _Context())
            except TaskNotFound:
                return Answer()
            self._world.history.problem(self.name, f"{name} was refused, and is there")
            return Answer()

        await self._insist(f"is {name} there", ask)

    # One question -------------------------------------------------------------------------------

    async def _insist(self, text: str, ask: Ask) -> tuple[Forecast, Answer | None]:
        """Repeat until there is an answer or a refusal."""
        history = self._world.history
        told = Forecast(
            client=self.name,
            inv_us=self._world.loop.now_us,
            now_ms=self._now_ms(),
            text=text,
            kind=Kind.INFO,
        )
        reason = ""
        for _ in range(TRIES):
            try:
                answer = await self._try(text, ask)
            except (OutcomeUnknown, TimeoutError, Unavailable, ResourceExhausted) as error:
                reason = error.reason if isinstance(error, TimeballError) else "TIMEOUT"
            except TimeballError as error:
                history.trace(self.name, f"{text} refused: {error.reason}")
                if not isinstance(error, InvalidRequest):
                    history.problem(self.name, f"{text}: unexpected {error.reason}: {error}")
                return replace(
                    told, kind=Kind.FAIL, reason=error.code, refused=_refused(error)
                ), None
            else:
                history.trace(self.name, f"{text} {len(answer.times)} times")
                return replace(told, kind=Kind.OK), answer
            await self._clock.sleep_ms(self._rng.uniform(50, 2_000))
        return replace(told, reason=reason), None

    async def _try(self, text: str, ask: Ask) -> Answer:
        async def serve(service: CoordinatorNode) -> Answer:
            api = ScheduleApi(service.cluster)
            reader = ScheduleReader(service.cluster, api)
            _CALL.set(_Call(principal=self._principal))
            try:
                return await ask(ScheduleServicer(api, reader, service.cluster.clock))
            except TimeballError:
                raise
            except Exception as bug:
                self._world.history.problem(self.name, f"{text}: {bug!r}")
                raise OutcomeUnknown("the service fell over it") from bug

        address = self._rng.choice(COORDINATORS)
        async with asyncio.timeout(CALL_S):
            return await self._world.network.call(self.name, address, f"foretell {text}", serve)

    def _note(
        self,
        told: tuple[Forecast, Answer | None],
        asked: Question | None,
        wrong: tuple[Wrong, ...] = (),
    ) -> None:
        forecast, answer = told
        forecast = replace(forecast, wrong=wrong)
        if asked is not None:
            forecast = replace(
                forecast,
                sheet=asked.sheet,
                after_ms=asked.after_ms,
                count=asked.count,
                since_ms=asked.since_ms,
                policy=asked.policy,
                reach_ms=asked.reach_ms,
            )
        if answer is not None:
            forecast = replace(forecast, **_shown(answer))
        self._world.history.forecasts.append(forecast)


def _creation(message: pb.Schedule, name: str, rng: random.Random) -> pb.CreateScheduleRequest:
    request = pb.CreateScheduleRequest(schedule=message, schedule_id=name)
    request.request_id = str(fresh_request_id(0, rng.randbytes(10)).hex())
    request.schedule.task.handler = "work"
    return request


def _refused(error: TimeballError) -> tuple[Wrong, ...]:
    """Fields of a refusal; the first one's position is in its metadata."""
    fields = [each.field for each in error.violations]
    position = error.metadata.get("position")
    first = None if position is None else int(position)
    return tuple(
        Wrong(field=field, position=first if number == 0 else None)
        for number, field in enumerate(fields)
    )


def _shown(answer: Answer) -> dict[str, Any]:
    return {
        "times": tuple(
            Foretold(at_ms=ms_from_timestamp(each.nominal_time), marks=tuple(each.marks))
            for each in answer.times
        ),
        "gone": tuple(
            Gone(at_ms=ms_from_timestamp(each.time), local=each.local_time, zone=each.time_zone)
            for each in answer.dropped
        ),
        "is_short": bool(answer.end_cause),
        "missed": answer.missed,
        "caught_up": answer.caught_up,
    }
