"""How clerks ask, and what they note of each answer: see `clerks` and `plan_clerks`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from itertools import cycle
from typing import Any

from timeball.errors import TimeballError

from coordinator.node import CoordinatorNode
from coordinator.requests import Caller
from tests.support.checker.dealings import WELL, Corner, Dealt
from tests.support.sim.clients import CALL_S, COORDINATORS
from tests.support.sim.keys import NAMESPACES
from tests.support.sim.world import World
from tests.support.virtual_loop import START_WALL_MS, VirtualClock
from timeball_server.core.minting import fresh_request_id
from timeball_server.core.model import ScheduleView, TaskView

Ask = Callable[[Any], Coroutine[Any, Any, Any]]
Look = Callable[[], Awaitable[str]]


class Teller:
    """Where a clerk asks, and what it notes."""

    def __init__(self, world: World, name: str, part_of: Callable[[CoordinatorNode], Any]) -> None:
        self.name = name
        self.world = world
        self._part_of = part_of
        self.rng = random.Random(f"{world.seed} {name} deals")
        self.caller = Caller(NAMESPACES[0], name)
        self.stranger = Caller(NAMESPACES[1], name)
        self._clock = VirtualClock(world.loop)
        self._addresses: Iterator[str] = cycle(COORDINATORS)

    @property
    def now_ms(self) -> int:
        """What right clocks show."""
        return START_WALL_MS + self.world.loop.now_us // 1_000

    def request_id(self) -> bytes:
        """A fresh one."""
        return fresh_request_id(self.now_ms, self.rng.randbytes(10))

    async def pause(self, seconds: float) -> None:
        """Do nothing for so long."""
        await self._clock.sleep_ms(seconds * 1_000)

    async def ask(self, ask: Ask) -> tuple[str, Any]:
        """How it was answered: well and with what, or why not."""
        try:
            async with asyncio.timeout(CALL_S):
                answer = await self.world.network.call(
                    self.name,
                    next(self._addresses),
                    "deal",
                    lambda service: ask(self._part_of(service)),
                )
        except TimeballError as error:
            return error.reason, None
        except TimeoutError:
            return "TIMEOUT", None
        return (answer.reason, None) if isinstance(answer, TimeballError) else (WELL, answer)

    async def deal(
        self,
        corner: Corner,
        what: str,
        subject: str,
        ask: Ask,
        look: Callable[[], Awaitable[str]],
        wanted: str = "",
    ) -> Any:
        """Look, ask, look again, and write it all down; what was answered."""
        before = await look()
        said, answer = await self.ask(ask)
        self.note(corner, what, subject, said, before, shown(answer), await look(), wanted)
        return answer

    async def deal_twice(
        self,
        corner: Corner,
        what: str,
        subject: str,
        asks: tuple[Ask, Ask],
        look: Callable[[], Awaitable[str]],
    ) -> None:
        """The same for two requests at once."""
        before = await look()
        answers = await asyncio.gather(*(self.ask(ask) for ask in asks))
        said = " and ".join(sorted(said for said, _ in answers))
        self.note(corner, what, subject, said, before, "", await look(), "")

    def note(
        self,
        corner: Corner,
        what: str,
        subject: str,
        said: str,
        before: str,
        shown: str,
        after: str,
        wanted: str,
    ) -> None:
        """Write down how a request was dealt with."""
        if self.world.history.is_open:
            self.world.history.trace(self.name, f"{what} {corner}: {said} {before} -> {after}")
            self.world.history.dealt.append(
                Dealt(
                    client=self.name,
                    corner=corner,
                    what=what,
                    subject=subject,
                    said=said,
                    before=before,
                    shown=shown,
                    after=after,
                    wanted=wanted,
                )
            )


def shown(answer: Any) -> str:
    """A task or a schedule as people see it, but for who owns it."""
    if isinstance(answer, TaskView):
        return (
            f"{answer.task_id} {answer.state} revision {answer.revision} due {answer.due_ms} "
            f"priority {answer.spec.priority} of {answer.spec.handler} attempt {answer.attempt}"
        )
    if isinstance(answer, ScheduleView):
        fills = " ".join(f"{each.backfill_id}:{each.state}" for each in answer.backfills)
        return (
            f"{answer.schedule_id} {answer.state} etag {answer.revision} version {answer.version} "
            f"next {answer.next_ms} every {answer.spec.every_ms} runs {answer.runs} [{fills}]"
        )
    return ""
