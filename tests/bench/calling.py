"""What callers do beside creating: read, list, cancel, wait for results. An open loop again.

Each call is an `Act`: it answers when it has its answer, and complains to the ledger about what is
wrong in it.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import timeball
from timeball.errors import TaskNotFound, TimeballError
from timeball.states import TaskState, state_of

from tests.bench.apps import work
from tests.bench.creating import Ledger
from tests.bench.judging import Promise

MANY: Final = 50
PAGE: Final = 100
CANCEL_AHEAD: Final = "8s"
RESULT_WITHIN: Final = "30s"


class World:
    """What an act may use."""

    def __init__(self, client: timeball.AsyncClient, ledger: Ledger, rng: random.Random) -> None:
        self.client = client
        self.ledger = ledger
        self.rng = rng
        self.numbers = itertools.count(1_000_000)
        self._known: list[str] = []

    def some(self, count: int) -> list[str]:
        """Ids of tasks that were promised, drawn anew each time; none before the first promise."""
        if len(self._known) < len(self.ledger.promises):
            self._known = list(self.ledger.promises)
        return self.rng.choices(self._known, k=count) if self._known else []


Act = Callable[[World, float, bool], Awaitable[None]]
"""Takes the world, the instant at which the plan asks for it (ms since 1970), and whether it
belongs to the measured window."""


async def result(world: World, asked_ms: float, measured: bool) -> None:
    """An immediate task, from the call to its result in the caller's hands."""
    number = next(world.numbers)
    handle = await world.client.submit(work.prepare(number))
    value = await handle.result(timeout=RESULT_WITHIN)
    world.ledger.promises[handle.id] = Promise(None, asked_ms, measured)
    if value != number:
        world.ledger.wrong.append(f"{handle.id}: {value} instead of {number}")


async def get(world: World, _: float, __: bool) -> None:
    """A task with its journal."""
    for task_id in world.some(1):
        found = await world.client.get(task_id)
        if not found.name.endswith(task_id):
            world.ledger.wrong.append(f"{task_id}: another task was read")


async def get_many(world: World, _: float, __: bool) -> None:
    """Fifty tasks at once. One that is refused refuses the call; one that is not there is wrong."""
    wanted = world.some(MANY)
    if not wanted:
        return
    found = await world.client.get_many(wanted)
    gone = [each for each in found if isinstance(each, TaskNotFound)]
    world.ledger.wrong += [f"{type(each).__name__}: {each}" for each in gone]
    refused = [each for each in found if isinstance(each, TimeballError) and each not in gone]
    if refused:
        raise refused[0]


async def list_page(world: World, _: float, __: bool) -> None:
    """The first page of the newest hundred."""
    async for _task in world.client.list(page_size=PAGE, limit=PAGE):
        pass


async def cancel(world: World, asked_ms: float, measured: bool) -> None:
    """A task that is due in seconds, created and cancelled."""
    number = next(world.numbers)
    handle = await world.client.submit(work.options(delay=CANCEL_AHEAD).prepare(number))
    ended = await world.client.cancel(handle.id)
    if state_of(ended.state) is TaskState.CANCELLED:
        world.ledger.cancelled.add(handle.id)
    else:
        world.ledger.wrong.append(f"{handle.id}: {state_of(ended.state)} after its cancel")


ACTS: Final[dict[str, Act]] = {
    "submit to result": result,
    "get": get,
    "get 50": get_many,
    "list 100": list_page,
    "create and cancel": cancel,
}


async def calling(
    what: str, world: World, rate: float, seconds: float, group: asyncio.TaskGroup
) -> None:
    """Begin `rate` calls a second for so long."""
    began_s, began_ms = time.perf_counter(), time.time() * 1e3
    for number in range(int(rate * seconds)):
        # Anywhere in its turn, so that two loops of one rate never keep step.
        at_s = (number + world.rng.random()) / rate
        wait_s = began_s + at_s - time.perf_counter()
        await asyncio.sleep(max(0.0, wait_s))
        world.ledger.behind(time.perf_counter() - began_s - at_s)
        group.create_task(_one(what, world, began_ms + at_s * 1e3))


async def _one(what: str, world: World, asked_ms: float) -> None:
    measured = world.ledger.measuring
    try:
        await ACTS[what](world, asked_ms, measured)
    except TimeballError as error:
        world.ledger.errors.append(f"{what}: {error.reason}: {error}")
        return
    if measured:
        world.ledger.took(what, asked_ms)


async def one_at_a_time(what: str, world: World, seconds: float) -> None:
    """One caller that goes on as soon as it has its answer: how fast it is when nobody waits."""
    deadline_s = time.perf_counter() + seconds
    while time.perf_counter() < deadline_s:
        asked_ms = time.time() * 1e3
        await ACTS[what](world, asked_ms, False)
        world.ledger.took(f"{what}, one at a time", asked_ms)
