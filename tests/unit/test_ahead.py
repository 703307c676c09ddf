"""Heads read ahead of a hand-over: only what is final by the reader's rule (R16) is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from scheduler_node.ahead import MINUTES_AT_MOST, PAGE_ROWS, ended_heads
from tests.support.store_worlds import MINUTE, SHARD, START_MS, due, event, owner, task
from timeball_server.core.ids import (
    KIND_SCHEDULE,
    Bucket,
    Epoch,
    IdParts,
    Minute,
    TaskId,
    encode_id,
)
from timeball_server.core.journal import EventKind, EventRow, Row, State
from timeball_server.store.memory import MemoryDatabase, MemoryStore

OWNERS_EPOCH = 5
NOW_MS = START_MS + 30_000


def ended(task_id: TaskId, epoch: int, state: State = State.SUCCEEDED) -> EventRow:
    return replace(event(task_id, 2, epoch, EventKind.SUCCEEDED), state=state, alarm=None)


def story(number: int, *heads: EventRow, due_ms: int = START_MS) -> list[Row]:
    """A task created in epoch 1 with a hint, and what came after."""
    return [due(task(number), due_ms), event(task(number)), *heads]


def found(rows: Sequence[Row], *, now_ms: int = NOW_MS, epoch: int = OWNERS_EPOCH) -> set[TaskId]:
    async def read() -> set[TaskId]:
        store = MemoryStore(MemoryDatabase())
        await store.raise_epoch(SHARD, Epoch(epoch), Minute(MINUTE - 1))
        await store.write_owner(owner(epoch))
        await store.append(rows)
        return set(await ended_heads(store, SHARD, now_ms))

    return asyncio.run(read())


def test_what_the_present_owner_ended_is_final() -> None:
    states = (State.SUCCEEDED, State.DEAD, State.CANCELLED, State.LOST, State.VOID, State.DELETED)
    for state in states:
        rows = story(1, ended(task(1), OWNERS_EPOCH, state))
        assert found(rows) == {task(1)}, state


def test_what_an_earlier_owner_ended_may_have_been_overtaken() -> None:
    """Its row may have landed after the present owner had read the task as it was before."""
    assert found(story(1, ended(task(1), OWNERS_EPOCH - 1))) == set()


def test_what_a_later_owner_ended_is_left_to_it() -> None:
    assert found(story(1, ended(task(1), OWNERS_EPOCH + 1))) == set()


def test_what_has_not_ended_is_not_kept() -> None:
    assert found(story(1)) == set()


def test_what_is_due_later_is_not_read() -> None:
    rows = story(1, ended(task(1), OWNERS_EPOCH), due_ms=NOW_MS + 1)
    assert found(rows) == set()


def test_all_pages_are_read() -> None:
    count = 2 * PAGE_ROWS + 1
    rows = [row for number in range(count) for row in story(number, ended(task(number), 5))]
    assert len(found(rows)) == count


def test_a_far_past_is_left_to_the_owner() -> None:
    rows = story(1, ended(task(1), OWNERS_EPOCH))
    assert found(rows, now_ms=START_MS + (MINUTES_AT_MOST - 1) * 60_000) == {task(1)}
    assert found(rows, now_ms=START_MS + MINUTES_AT_MOST * 60_000) == set()


def test_schedules_are_left_to_the_owner() -> None:
    home = Bucket(Minute(MINUTE), SHARD, 0)
    schedule = encode_id(IdParts(home, bytes(16), KIND_SCHEDULE))
    rows: list[Row] = [due(schedule), ended(schedule, OWNERS_EPOCH, State.ENDED)]
    assert found(rows) == set()


def test_a_shard_that_nobody_has_owned_has_no_past() -> None:
    async def read() -> int:
        return len(await ended_heads(MemoryStore(MemoryDatabase()), SHARD, NOW_MS))

    assert asyncio.run(read()) == 0
