"""Schedules of every kind and users who do not leave them alone, for rounds of faults.

Whatever is asked is asked until it is answered, so that what was launched by hand is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import timeball
from timeball import after_completion, cron, errors, every, union
from timeball.timings import Cron, Timing
from timeball.v1 import schedule_service_pb2 as pb

from tests.support.chaos import tasks
from tests.support.polls import moment

PACE_S: Final = 0.4
BERLIN: Final = "Europe/Berlin"
UNANSWERED: Final = (
    errors.Unavailable,
    errors.OutcomeUnknown,
    errors.ResourceExhausted,
    errors.Aborted,
)
WORK: Final = tasks.work
SLOW: Final = tasks.slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a schedule says at first, and what an edit makes of it; edits go to and fro."""

    first: Timing
    second: Timing
    task: Any = WORK
    once: bool = False


KINDS: Final = (
    Kind(
        first=every("1s", overlap="allow(100)"),
        second=every("1s", phase="500ms", overlap="allow(100)", catch_up="all"),
    ),
    Kind(first=every("1s", overlap="skip"), second=cron("* * * * * *", tz=BERLIN)),
    Kind(first=every("10s", overlap="buffer_one"), second=every("2s", overlap="buffer_one")),
    Kind(first=cron("* * * * *", tz=BERLIN), second=cron("*/2 * * * *", tz="UTC")),
    Kind(
        first=cron("*/5 * * * * *", tz="America/New_York", overlap="allow(5)", catch_up="all"),
        second=cron("*/3 * * * * *", tz="Australia/Lord_Howe", overlap="allow(5)"),
    ),
    Kind(
        first=every("2s", overlap="buffer(3)"),
        second=every("1s", overlap="buffer(3)", max_lateness="5s"),
        task=SLOW,
    ),
    Kind(
        first=every("10s", overlap="cancel_other"),
        second=every("3s", overlap="cancel_other"),
        task=SLOW,
    ),
    Kind(
        first=every("10s", overlap="terminate_other"),
        second=every("3s", overlap="terminate_other"),
        task=SLOW,
    ),
    Kind(
        first=every("2s", phase="500ms", jitter="500ms", catch_up="skip"),
        second=every("2s", window="1s", catch_up="skip"),
    ),
    Kind(first=every("10s", overlap="allow(5)"), second=every("5s"), once=True),
    Kind(
        first=union(
            every("10s"), cron("*/15 * * * * *"), exclude=[Cron(expression="30 * * * * *")]
        ),
        second=union(every("10s", phase="5s"), cron("*/20 * * * * *", tz=BERLIN)),
    ),
    Kind(first=after_completion("2s"), second=after_completion("4s")),
)


@dataclass(slots=True, kw_only=True)
class Done:
    """What users did and were told."""

    edits: int = 0
    pauses: int = 0
    triggers: int = 0
    repeats: int = 0
    by_hand: set[str] = field(default_factory=set)


class CalendarLoad:
    """Some schedules, and users who edit, pause, resume and trigger them until told to stop."""

    def __init__(self, client: timeball.AsyncClient, count: int, random: Random) -> None:
        self.done = Done()
        self.names = tuple(f"s{number:03}" for number in range(count))
        self._schedules = client.schedules
        self._random = random
        self._going = True
        self._edited: set[str] = set()
        self._paused: set[str] = set()

    def kind_of(self, name: str) -> Kind:
        """What a schedule is."""
        return KINDS[self.names.index(name) % len(KINDS)]

    async def create(self) -> None:
        """All of them, as they are at first."""
        for name in self.names:
            await self._put(name)

    async def run(self) -> None:
        """One thing after the other, to schedules drawn by chance."""
        while self._going:
            name = self._random.choice(self.names)
            await self._random.choice((self._edit, self._pause, self._trigger))(name)
            await moment(self._random.random() * 2 * PACE_S)

    def stop(self) -> None:
        """Begin nothing more."""
        self._going = False

    async def resume_all(self) -> None:
        """Nothing is paused any more."""
        for name in sorted(self._paused):
            await self._pause(name)

    async def pause_all(self) -> None:
        """Nothing is launched any more."""
        await asyncio.gather(*(self._insist_on_pause(name) for name in self.names))

    async def _insist_on_pause(self, name: str) -> None:
        await self._insist(lambda: self._schedules.pause(name, reason="the end"))

    async def _put(self, name: str) -> None:
        kind = self.kind_of(name)
        timing = kind.second if name in self._edited else kind.first
        options = kind.task.options(retry=tasks.RETRY, at_most_once=kind.once)
        ready = options.prepare(self.names.index(name))
        await self._insist(lambda: self._schedules.put(name, timing, ready))

    async def _edit(self, name: str) -> None:
        self._edited ^= {name}
        await self._put(name)
        self.done.edits += 1

    async def _pause(self, name: str) -> None:
        if name in self._paused:
            self._paused.discard(name)
            await self._insist(lambda: self._schedules.resume(name))
            return
        self._paused.add(name)
        await self._insist(lambda: self._schedules.pause(name, reason="by chance"))
        self.done.pauses += 1

    async def _trigger(self, name: str) -> None:
        request_id = f"00000000-0000-4000-8000-{self.done.triggers:012x}"
        answer: pb.TriggerScheduleResponse = await self._insist(
            lambda: self._schedules.trigger(name, request_id=request_id)
        )
        self.done.by_hand.add(answer.task.rpartition("/")[2])
        self.done.triggers += 1

    async def _insist(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Ask until there is an answer; what is asked says the same each time."""
        while True:
            try:
                return await ask()
            except UNANSWERED:
                self.done.repeats += 1
                await moment(0.5)
