"""Many things at one instant, and cancels that race it: what was answered is what happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
import pytest_asyncio
import timeball
from timeball.states import TaskState, state_of
from timeball.v1 import task_pb2

from tests.support import dev_tasks
from tests.support.dev_server import DevServer, dev_server, early, repeated
from tests.support.leads import at_ms, in_good_time
from tests.support.polls import eventually, moment
from tests.support.start_logs import Start

pytestmark = pytest.mark.asyncio
PATIENCE = "30s"
CROWD = 500
LEVELS = 9
"""0 to 8; 9 has a share of its own."""
RACES = 300
CHANGED = 240
WAYS = ("u", "m", "c", "umc")
APART_MS = 10
LEADS_MS = (2_000, 6_000, 18_000)
"""To create everything before its time; the first is far enough for claims ahead of it."""
OFFSETS_MS = (*range(-5, 6), -500, 50)
CERTAIN = 2 * len(WAYS)
"""So many of the first ask before all instants, and of the last when their tasks have ended: they
win and lose whatever becomes of the others."""


class Told(NamedTuple):
    """What an update, a move and a cancel of one task were told; None = too late, or not asked."""

    update: task_pb2.Task | None
    move: task_pb2.Task | None
    cancel: task_pb2.Task | None


async def until_it_is_near(number: int, due: datetime, of_way: int = 1) -> None:
    """Until some milliseconds from the due time of this one."""
    asked = due + timedelta(milliseconds=OFFSETS_MS[number // of_way % len(OFFSETS_MS)])
    await moment(max(0.0, (asked - datetime.now(UTC)).total_seconds()))


async def nothing() -> None:
    """Asks nobody."""


async def told(change: Awaitable[task_pb2.Task]) -> task_pb2.Task | None:
    """What was answered, None if it was too late."""
    try:
        return await change
    except timeball.TooLate:
        return None


async def ask(client: timeball.AsyncClient, number: int, task: str, book: str) -> Told:
    """What an update, a move and a cancel are told, those that this number asks for."""
    way = WAYS[number % len(WAYS)]
    after = dev_tasks.note.prepare(book, "after")
    update = told(client.update(task, after)) if "u" in way else nothing()
    move = told(client.reschedule(task, after="250ms")) if "m" in way else nothing()
    cancel = told(client.cancel(task)) if "c" in way else nothing()
    return Told(*await asyncio.gather(update, move, cancel))


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def dev(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DevServer]:
    """On either loop: whose timers fire when decides what is early."""
    with dev_server(tmp_path_factory.mktemp("dev"), loop=request.param) as server:
        yield server


@pytest_asyncio.fixture
async def client(dev: DevServer) -> AsyncIterator[timeball.AsyncClient]:
    async with timeball.AsyncClient(dev.address) as made:
        yield made


def sent(handles: list[timeball.Handle[str] | timeball.TimeballError]) -> list[str]:
    ids = [handle.id for handle in handles if isinstance(handle, timeball.Handle)]
    assert len(ids) == len(handles)
    return ids


async def test_a_crowd_due_at_one_instant_starts_once_each_the_most_urgent_first(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    async def made(due_ms: int) -> set[str]:
        wishes = [
            dev_tasks.echo.options(run_at=at_ms(due_ms), priority=number % LEVELS).prepare("x")
            for number in range(CROWD)
        ]
        return set(sent(list(await client.batch_submit(wishes))))

    due_ms, crowd = await in_good_time(made, LEADS_MS)

    async def all_started() -> list[Start] | None:
        starts = [start for start in dev.starts() if start.task_id in crowd]
        return starts if len(starts) >= CROWD else None

    starts = await eventually(all_started, "everybody has started")
    assert {start.task_id for start in starts} == crowd
    assert len(starts) == CROWD
    assert early(starts) == []
    assert {start.due_ms for start in starts} == {due_ms}
    priorities = [start.priority for start in starts]
    assert priorities == sorted(priorities, reverse=True)


async def test_changes_that_race_the_instant_tell_the_truth(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    """One of an update, a move and a cancel, or all three at once: what was answered is what the
    handler itself wrote down."""

    async def race(number: int) -> Told:
        """Ask near the instant, or of the last ones when their tasks have ended."""
        if number < CHANGED - CERTAIN:
            await until_it_is_near(number, due[number], len(WAYS))
        else:
            await client.wait(ids[number], timeout=PATIENCE)
        return await ask(client, number, ids[number], book)

    async def begun(first_ms: int) -> tuple[list[str], list[Told]]:
        """All tasks, and what the first that ask were told, all of it before the first instant."""
        book = f"book-{first_ms}"
        wishes = [
            dev_tasks.note.options(run_at=at_ms(first_ms + APART_MS * number)).prepare(
                book, "before"
            )
            for number in range(CHANGED)
        ]
        made = sent(list(await client.batch_submit(wishes)))
        asked = (ask(client, number, made[number], book) for number in range(CERTAIN))
        return made, await asyncio.gather(*asked)

    first_ms, (ids, early_answers) = await in_good_time(begun, LEADS_MS)
    book = f"book-{first_ms}"
    due = [at_ms(first_ms + APART_MS * number) for number in range(CHANGED)]
    answers = [
        *early_answers,
        *await asyncio.gather(*(race(number) for number in range(CERTAIN, CHANGED))),
    ]
    ended = [await client.wait(task, timeout=PATIENCE) for task in ids]
    written = dict[str, list[str]]()
    for line in (dev.work / book).read_text().splitlines():
        task, _, value = line.partition(" ")
        written.setdefault(task, []).append(value)
    starts = {start.task_id: start for start in dev.starts()}
    for number, (task, answer) in enumerate(zip(ids, answers, strict=True)):
        state = state_of(ended[number].state)
        if answer.cancel is not None:
            assert state is TaskState.CANCELLED, answer
            assert task not in written, answer
            continue
        assert state is TaskState.SUCCEEDED, answer
        assert written[task] == ["after" if answer.update else "before"], answer
        due_ms = round(due[number].timestamp() * 1000)
        if answer.move is not None:
            due_ms = answer.move.due_time.ToMilliseconds()
        assert starts[task].due_ms == due_ms, answer
    assert early(dev.starts()) == []
    assert repeated(dev.starts()) == []
    for way, place in (("u", 0), ("m", 1), ("c", 2)):
        of_way = [answer for number, answer in enumerate(answers) if WAYS[number % 4] == way]
        assert {answer[place] is None for answer in of_way} == {True, False}, way


async def test_cancels_that_race_the_instant_tell_the_truth(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    async def cancelled(task: str) -> bool:
        """Whether the cancel was told that it won."""
        try:
            answer = await client.cancel(task)
        except timeball.TooLate:
            return False
        assert state_of(answer.state) is TaskState.CANCELLED
        assert list(answer.unaccounted) == []
        return True

    async def race(number: int) -> bool:
        """Ask near the instant, or of the last ones when their tasks have ended."""
        if number < RACES - CERTAIN:
            await until_it_is_near(number, due[number])
        else:
            await client.wait(ids[number], timeout=PATIENCE)
        return await cancelled(ids[number])

    async def begun(first_ms: int) -> tuple[list[str], list[bool]]:
        """All tasks, and whether the first cancels won, all of it before the first instant."""
        wishes = [
            dev_tasks.echo.options(run_at=at_ms(first_ms + APART_MS * number)).prepare("x")
            for number in range(RACES)
        ]
        made = sent(list(await client.batch_submit(wishes)))
        return made, await asyncio.gather(*(cancelled(task) for task in made[:CERTAIN]))

    first_ms, (ids, early_wins) = await in_good_time(begun, LEADS_MS)
    due = [at_ms(first_ms + APART_MS * number) for number in range(RACES)]
    assert early_wins == [True] * CERTAIN
    won = [
        *early_wins,
        *await asyncio.gather(*(race(number) for number in range(CERTAIN, RACES))),
    ]
    assert won[-CERTAIN:] == [False] * CERTAIN
    ended = [await client.wait(task, timeout=PATIENCE) for task in ids]
    states = [state_of(task.state) for task in ended]
    started = [start.task_id for start in dev.starts() if start.task_id in set(ids)]
    told = [(TaskState.CANCELLED, 0) if each else (TaskState.SUCCEEDED, 1) for each in won]
    happened = [(state, started.count(task)) for task, state in zip(ids, states, strict=True)]
    assert happened == told
    assert early(dev.starts()) == []
