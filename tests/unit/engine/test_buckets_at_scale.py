"""Hot minutes and far futures: order, slices, parts, and what memory holds of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, World
from timeball_server.core.buckets import MINUTE_MS, SLICE_MS, minute_of
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.loading import SLICES_AHEAD
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.ids import decode_id

TASKS = 300
PART_ROWS = 75
AHEAD_MS = 5 * MINUTE_MS
MEMORY_MS = (SLICES_AHEAD + 1) * SLICE_MS
"""Memory holds what is due within this, and no more."""


@pytest.fixture(scope="module")
def hot() -> tuple[World, ScriptedExecutor, list[int]]:
    """A minute with much in one second and a little in each slice; it has passed by."""
    world = World()
    executor = ScriptedExecutor(world, slots=2 * TASKS)
    node = world.owner(EngineConfig(part_rows=PART_ROWS))
    within_ms = [30_000 + (number * 617) % 1_000 for number in range(TASKS)]
    within_ms += [5_000 + SLICE_MS * number for number in range(6)]
    start_ms = world.wall_ms
    for offset_ms in within_ms:
        node.create(in_ms=AHEAD_MS + offset_ms)
    counts: list[int] = []
    while world.wall_ms < start_ms + AHEAD_MS + MINUTE_MS:
        world.run(1_000)
        now_ms = world.wall_ms
        known = node.engine.shards[SHARD].tasks.values()
        due_ms = [start_ms + AHEAD_MS + each for each in within_ms]
        soon = sum(now_ms - MINUTE_MS < each < now_ms + MEMORY_MS for each in due_ms)
        counts.append(len(known))
        assert len(known) <= soon, f"{len(known)} tasks in memory, {soon} due soon"
    return world, executor, counts


def test_a_hot_minute_is_split_into_parts(hot: tuple[World, ScriptedExecutor, list[int]]) -> None:
    world, _, _ = hot
    parts = [decode_id(task_id).home.part for task_id in world.disk.journal]
    assert sorted(set(parts)) == list(range(-(-(TASKS + 6) // PART_ROWS)))
    assert max(parts.count(part) for part in set(parts)) == PART_ROWS


def test_a_hot_minute_starts_in_due_order(hot: tuple[World, ScriptedExecutor, list[int]]) -> None:
    world, executor, _ = hot
    alarms = [world.disk.history(each.run.task_id).chain[0].alarm for each in executor.orders]
    due_ms = [alarm.due_ms for alarm in alarms if alarm is not None]
    assert len(due_ms) == TASKS + 6
    assert due_ms == sorted(due_ms)


def test_a_hot_minute_is_read_in_slices_of_ten_seconds(
    hot: tuple[World, ScriptedExecutor, list[int]],
) -> None:
    world, _, counts = hot
    minute = minute_of(world.wall_ms - MINUTE_MS)
    node = world.nodes[0]
    loads = [each for each in node.log if isinstance(each, fx.LoadSlice) and each.minute == minute]
    borders = [each.to_ms - each.from_ms for each in loads[1:-1]]
    assert borders == [SLICE_MS] * 4
    assert counts[0] == 0, "nothing is in memory five minutes before"


def test_memory_does_not_grow_with_what_is_stored_for_the_future() -> None:
    """However many tasks, and however many minutes they are due in."""
    world = World()
    node = world.owner(EngineConfig(counted_minutes=100, recent_creations=50))
    engine, shard = node.engine, node.engine.shards[SHARD]
    for number in range(400):
        node.create(in_ms=(number + 5) * MINUTE_MS)
    assert len(world.disk.journal) == 400
    assert (shard.tasks, engine.timeline, engine.inflight) == ({}, [], {})
    assert len(shard.recent) <= 50
    assert len(shard.parts) <= 101


def test_a_minute_that_is_hot_goes_on_being_counted_when_others_are_forgotten() -> None:
    world = World()
    node = world.owner(EngineConfig(part_rows=3, counted_minutes=100))
    for _ in range(4):
        node.create(in_ms=AHEAD_MS)
    for number in range(101):
        node.create(in_ms=AHEAD_MS + (number + 1) * MINUTE_MS)
    last = node.create(in_ms=AHEAD_MS)
    assert decode_id(last.view.task_id).home.part == 1
    assert len(node.engine.shards[SHARD].parts) < 100


def test_a_sweep_of_a_hot_minute_is_taken_in_page_by_page() -> None:
    world = World()
    node = world.owner()
    shard = node.engine.shards[SHARD]
    minute = shard.swept_below
    calls = [node.create(in_ms=1_000) for _ in range(2)]
    for call in calls:
        node.cancel(call.task_id)
    world.run(MINUTE_MS)
    node.hold_reads = True
    world.run(MINUTE_MS)
    (swept,) = [each for each in node.reads if isinstance(each, ev.BucketSwept)]
    assert (swept.minute, len(swept.hints)) == (minute, 2)
    node.feed(replace(swept, hints=swept.hints[:1], last=False))
    assert (shard.sweeping, shard.swept_below) == (minute, minute)
    node.feed(replace(swept, hints=swept.hints[1:]))
    assert shard.swept_below == minute + 1
