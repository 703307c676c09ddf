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
LEAD_S = 3
OFFSETS_MS = (*range(-5, 6), -500, 50)
CERTAIN = 2 * len(WAYS)
"""So many of the first ask at once, and of the last when all have ended: whoever has no time for
the others wins and loses those."""


class Told(NamedTuple):
    """What an update, a move and a cancel of one task were told; None = too late, or not asked."""

    update: task_pb2.Task | None
    move: task_pb2.Task | None
    cancel: task_pb2.Task | None


def asked_at(number: int, count: int, due: datetime, of_way: int = 1) -> datetime:
    """When to ask for this one of so many, some milliseconds from its due time."""
    if number < CERTAIN:
        return due - timedelta(seconds=LEAD_S)
    if number >= count - CERTAIN:
        return due + timedelta(seconds=LEAD_S)
    return due + timedelta(milliseconds=OFFSETS_MS[number // of_way % len(OFFSETS_MS)])


async def nothing() -> None:
    """Asks nobody."""


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


def soon() -> datetime:
    """An instant far enough away to create everything before it."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=LEAD_S)


def sent(handles: list[timeball.Handle[str] | timeball.TimeballError]) -> list[str]:
    ids = [handle.id for handle in handles if isinstance(handle, timeball.Handle)]
    assert len(ids) == len(handles)
    return ids


async def test_a_crowd_due_at_one_instant_starts_once_each_the_most_urgent_first(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    run_at = soon()
    wishes = [
        dev_tasks.echo.options(run_at=run_at, priority=number % LEVELS).prepare(f"{number}")
        for number in range(CROWD)
    ]
    crowd = set(sent(list(await client.batch_submit(wishes))))

    async def all_started() -> list[Start] | None:
        starts = [start for start in dev.starts() if start.task_id in crowd]
        return starts if len(starts) >= CROWD else None

    starts = await eventually(all_started, "everybody has started")
    assert {start.task_id for start in starts} == crowd
    assert len(starts) == CROWD
    assert early(starts) == []
    assert {start.due_ms for start in starts} == {round(run_at.timestamp() * 1000)}
    priorities = [start.priority for start in starts]
    assert priorities == sorted(priorities, reverse=True)


async def test_changes_that_race_the_instant_tell_the_truth(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    """One of an update, a move and a cancel, or all three at once: what was answered is what the
    handler itself wrote down."""
    first = soon()
    due = [first + timedelta(milliseconds=APART_MS * number) for number in range(CHANGED)]
    book = f"book-{first.timestamp()}"
    wishes = [dev_tasks.note.options(run_at=instant).prepare(book, "before") for instant in due]
    ids = sent(list(await client.batch_submit(wishes)))

    async def told(change: Awaitable[task_pb2.Task]) -> task_pb2.Task | None:
        """What was answered, None if it was too late."""
        try:
            return await change
        except timeball.TooLate:
            return None

    async def race(number: int) -> Told:
        """The answers to an update, a move and a cancel."""
        task, way = ids[number], number % len(WAYS)
        asked = asked_at(number, CHANGED, due[number], len(WAYS))
        left_s = (asked - datetime.now(UTC)).total_seconds()
        await moment(max(0.0, left_s))
        after = dev_tasks.note.prepare(book, "after")
        update = told(client.update(task, after)) if "u" in WAYS[way] else nothing()
        move = told(client.reschedule(task, after="250ms")) if "m" in WAYS[way] else nothing()
        cancel = told(client.cancel(task)) if "c" in WAYS[way] else nothing()
        return Told(*await asyncio.gather(update, move, cancel))

    answers = await asyncio.gather(*(race(number) for number in range(CHANGED)))
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
    first = soon()
    due = [first + timedelta(milliseconds=APART_MS * number) for number in range(RACES)]
    wishes = [dev_tasks.echo.options(run_at=instant).prepare("x") for instant in due]
    ids = sent(list(await client.batch_submit(wishes)))

    async def race(number: int) -> bool:
        """Whether the cancel was told that it won."""
        left_s = (asked_at(number, RACES, due[number]) - datetime.now(UTC)).total_seconds()
        await moment(max(0.0, left_s))
        try:
            answer = await client.cancel(ids[number])
        except timeball.TooLate:
            return False
        assert state_of(answer.state) is TaskState.CANCELLED
        assert list(answer.unaccounted) == []
        return True

    won = await asyncio.gather(*(race(number) for number in range(RACES)))
    ended = [await client.wait(task, timeout=PATIENCE) for task in ids]
    states = [state_of(task.state) for task in ended]
    started = [start.task_id for start in dev.starts() if start.task_id in set(ids)]
    told = [
        (TaskState.CANCELLED, 0) if cancelled else (TaskState.SUCCEEDED, 1) for cancelled in won
    ]
    happened = [(state, started.count(task)) for task, state in zip(ids, states, strict=True)]
    assert happened == told
    assert True in won
    assert False in won
    assert early(dev.starts()) == []
