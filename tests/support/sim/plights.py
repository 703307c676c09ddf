"""Tasks that are made to be held back, one way each, and questions at the telling moments.

What holds each of them is known to whoever made it, so each answer can be judged.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from tests.support.sim.askers import Asker
from tests.support.sim.clients import Client, Wanted
from tests.support.sim.desks import (
    ALONE,
    CAPPED,
    FRAIL,
    FROM_THE_BEGINNING,
    LATE,
    LATECOMER,
    NOBODY,
    PACED,
    PAIR,
    QUEUE,
    SICK,
    Labels,
)
from tests.support.sim.handlers import WORK
from tests.support.sim.held_tasks import BACKOFF_MS, Maker
from tests.support.sim.world import NodeKind, World
from tests.support.virtual_loop import START_WALL_MS

LEAVES_MS: Final = 3_000
CLOSE_MS: Final = (-1_001, -999, -997, -6, -2, -1, 0, 1, 2, 3, 5, 9)
"""Around the due instant: what is claimed, sent and begun follows within milliseconds."""


class Plights:
    """Makes tasks to be held back, and asks about them."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._rng = random.Random(f"{world.seed} {name} plights")
        self._client = Client(world, name)
        self._asker = Asker(world, name)
        self._maker = Maker(world, self._client, self._rng)

    async def plan(self) -> None:
        """All of them beside each other, in half a minute."""
        if not self._world.profile.desks:
            return
        for name in FROM_THE_BEGINNING:
            self._world.start(name, NodeKind.EXECUTOR)
        await self._sleep(1.5)
        lives = [self._life(1.0 + 0.3 * each, fails=each % 3) for each in range(6)]
        cancels = [self._cancelled(1.0 + 0.05 * each) for each in range(16)]
        plights = (
            self._moved(),
            self._nobody(),
            self._latecomer(),
            self._labels(),
            self._hurried(),
        )
        crowds = (self._queue(), self._capped(), self._keys(), self._paced(), self._frail())
        await asyncio.gather(*lives, *cancels, *plights, *crowds)

    # One task -----------------------------------------------------------------------------------

    async def _life(self, due_s: float, fails: int) -> None:
        """From before it is due until after its end, through its failures."""
        wanted = self._maker.wanted(due_s=due_s, fails=fails, work_ms=400)
        await self._create(wanted)
        around = [self._ask_at(wanted, each) for each in CLOSE_MS]
        length_ms = 400 + fails * (400 + BACKOFF_MS)
        later = [self._ask_at(wanted, self._rng.uniform(-700, length_ms + 300)) for _ in range(20)]
        await asyncio.gather(*around, *later)

    async def _cancelled(self, due_s: float) -> None:
        """Somebody cancels it as it begins: its executor is asked whether it has begun."""
        wanted = self._maker.wanted(due_s=due_s, work_ms=50)
        await self._create(wanted)
        at_ms = self._rng.uniform(-2, 5)
        asks = [self._ask_at(wanted, at_ms + self._rng.uniform(0, 4)) for _ in range(5)]
        await asyncio.gather(*asks, self._cancel_at(wanted, at_ms))
        await self._sleep(0.5)
        await self._ask(wanted)

    async def _moved(self) -> None:
        """Somebody moves it while it is not due."""
        wanted = self._maker.wanted(due_s=60.0)
        await self._create(wanted)
        for _ in range(4):
            at_ms = self._rng.uniform(0, 5)
            asks = [self._ask_soon(wanted, at_ms + self._rng.uniform(0, 4)) for _ in range(5)]
            await asyncio.gather(self._move_soon(wanted, at_ms), *asks)
        await self._client.cancel(wanted.task_id)

    async def _nobody(self) -> None:
        """Nobody has its handler, ever."""
        wanted = self._maker.wanted(handler=NOBODY, due_s=1.5)
        await self._create(wanted)
        await self._ask_now_and_then(wanted, seconds=4.0, times=8)
        await self._client.cancel(wanted.task_id)
        await self._ask(wanted)

    async def _hurried(self) -> None:
        """Nobody has its handler, and it would be given up for that."""
        wanted = self._maker.wanted(handler=NOBODY, due_s=0.5, start_by_ms=9_000)
        await self._create(wanted)
        await self._ask_now_and_then(wanted, seconds=2.0, times=4)
        await self._client.cancel(wanted.task_id)

    async def _latecomer(self) -> None:
        """Somebody comes to have its handler, is asked to leave, and comes back."""
        first = self._maker.wanted(handler=LATE, due_s=1.0, work_ms=300)
        await self._create(first)
        await self._ask_now_and_then(first, seconds=2.5, times=4)
        process = self._world.start(LATECOMER, NodeKind.EXECUTOR)
        await self._ask_now_and_then(first, seconds=3.0, times=6)
        long = self._maker.wanted(handler=LATE, due_s=0.0, work_ms=1_000)
        await self._create(long)
        await self._sleep(0.3)
        executor = process.executor
        if executor is not None:
            self._world.leaves(process)
            leave = executor.drain(grace_ms=LEAVES_MS, acknowledge_ms=LEAVES_MS)
            self._world.loop.start_in(process.name, leave)
        last = self._maker.wanted(handler=LATE, due_s=0.1)
        await self._create(last)
        await self._ask_now_and_then(last, seconds=3.0, times=12)

    async def _labels(self) -> None:
        """Labels that nobody carries, and labels that nobody carries all of."""
        wishes: Sequence[tuple[str, Labels]] = (
            (WORK, (("zone", "mars"),)),
            (QUEUE, (("air", "thin"), ("zone", "north"))),
            (QUEUE, (("air", "warm"), ("zone", "north"))),
        )
        for handler, labels in wishes:
            wanted = self._maker.wanted(handler=handler, due_s=1.0, labels=labels)
            await self._create(wanted)
            await self._ask_now_and_then(wanted, seconds=2.0, times=4)
            await self._client.cancel(wanted.task_id)

    # Crowds -------------------------------------------------------------------------------------

    async def _queue(self) -> None:
        """More tasks than slots; then such that want the first place, and retries."""
        await self._crowd("queue", QUEUE, 14, work_ms=400)
        await self._sleep(4.0)
        urgent = self._crowd("", QUEUE, 8, work_ms=300, priority=9)
        others = self._crowd("", QUEUE, 6, work_ms=300)
        again = self._crowd("", QUEUE, 6, work_ms=300, fails=1, priority=5)
        await asyncio.gather(urgent, others, again)

    async def _capped(self) -> None:
        """Slots, and no more of this handler at once."""
        await self._crowd("capped", CAPPED, 7, work_ms=500)

    async def _keys(self) -> None:
        """More of a key than may run at once."""
        both = [self._crowd("", WORK, 4, work_ms=700, key=key) for key in (ALONE, PAIR)]
        await asyncio.gather(*both)

    async def _paced(self) -> None:
        """A key of which one starts in so many seconds."""
        await self._crowd("", WORK, 4, work_ms=100, key=PACED)

    async def _frail(self) -> None:
        """Two executors of which one fails all it is given, until it is given no more."""
        first = [
            self._create(
                self._maker.wanted(handler=FRAIL, due_s=0.5 + 0.08 * each, work_ms=60, ill=SICK)
            )
            for each in range(80)
        ]
        await asyncio.gather(*first)
        await self._sleep(8.5)
        await self._crowd("", FRAIL, 12, work_ms=500, ill=SICK)

    async def _crowd(self, crowd: str, handler: str, count: int, **how: Any) -> None:
        """So many of a kind within some milliseconds; some of them are asked about."""
        wanted = [
            self._maker.wanted(handler=handler, due_s=0.5 + 0.003 * each, crowd=crowd, **how)
            for each in range(count)
        ]
        await asyncio.gather(*map(self._create, wanted))
        at_once = [self._ask_at(each, self._rng.uniform(3, 48)) for each in wanted]
        await asyncio.gather(*at_once)
        seconds = count * how["work_ms"] / 2_000
        await asyncio.gather(
            *(self._ask_now_and_then(each, seconds=seconds, times=7) for each in wanted)
        )

    # Questions ----------------------------------------------------------------------------------

    async def _create(self, wanted: Wanted) -> None:
        await self._client.create(wanted)

    async def _ask(self, wanted: Wanted) -> None:
        await self._asker.ask(wanted.task_id, self._client.namespace)

    async def _ask_at(self, wanted: Wanted, after_due_ms: float) -> None:
        await self._sleep_until(wanted, after_due_ms)
        await self._ask(wanted)

    async def _ask_soon(self, wanted: Wanted, after_ms: float) -> None:
        await self._sleep(after_ms / 1_000)
        await self._ask(wanted)

    async def _move_soon(self, wanted: Wanted, after_ms: float) -> None:
        await self._sleep(after_ms / 1_000)
        await self._client.reviser.move_once(wanted.task_id, 60_000)

    async def _cancel_at(self, wanted: Wanted, after_due_ms: float) -> None:
        await self._sleep_until(wanted, after_due_ms)
        await self._client.cancel(wanted.task_id)

    async def _ask_now_and_then(self, wanted: Wanted, *, seconds: float, times: int) -> None:
        for _ in range(times):
            await self._sleep(self._rng.uniform(0, 2 * seconds / times))
            await self._ask(wanted)

    def _sleep_until(self, wanted: Wanted, after_due_ms: float) -> Coroutine[Any, Any, None]:
        now_ms = START_WALL_MS + self._world.loop.now_us / 1_000
        due_ms = now_ms if wanted.due_ms is None else wanted.due_ms
        return self._sleep((due_ms + after_due_ms - now_ms) / 1_000)

    async def _sleep(self, seconds: float) -> None:
        await self._asker.pause(seconds)
