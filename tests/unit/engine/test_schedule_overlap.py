"""Runs that have not ended when the next nominal time comes: one owner, one schedule."""

from __future__ import annotations

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import World
from tests.support.schedule_world import (
    at,
    create_schedule,
    read_schedule,
    run_id,
    shown,
    verdicts,
    with_rule,
    words,
)
from timeball_server.core.model import (
    Overlap,
    OverlapPolicy,
)

P = OverlapPolicy


# Overlap ------------------------------------------------------------------------------------------


def test_skip_looks_again_only_when_the_run_has_ended() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    _, schedule_id = with_rule(world, P.SKIP)
    world.run(25_000)
    executor.succeeds(executor.last)
    world.run(10_000)
    assert words(world, schedule_id) == [
        (10, "LAUNCHED"),
        (20, "SKIPPED_OVERLAP"),
        (30, "LAUNCHED"),
    ]


def test_a_run_that_waits_for_its_next_attempt_has_not_ended() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    _, schedule_id = with_rule(world, P.SKIP)
    world.run(11_000)
    executor.fails(executor.last, delay_ms=3_600_000)
    world.run(20_000)
    assert [word for _, word in words(world, schedule_id)] == [
        "LAUNCHED",
        "SKIPPED_OVERLAP",
        "SKIPPED_OVERLAP",
    ]


def test_what_is_buffered_starts_when_the_run_ends_and_says_what_it_waited_for() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    _, schedule_id = with_rule(world, P.BUFFER_ONE)
    world.run(35_000)
    assert [word for _, word in words(world, schedule_id)] == ["LAUNCHED", "SKIPPED_OVERLAP"]
    executor.succeeds(executor.last)
    world.run(1_000)
    row = verdicts(world, schedule_id)[at(20)]
    assert (row.verdict, row.overlap_ms) == ("LAUNCHED", 15_000)
    assert executor.last.run.task_id == run_id(schedule_id, at(20))


def test_a_bounded_buffer_keeps_its_order_and_names_what_it_drops() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node, schedule_id = with_rule(world, P.BUFFER, 2)
    world.run(45_000)
    assert words(world, schedule_id) == [(10, "LAUNCHED"), (40, "DROPPED_LIMIT")]
    assert shown(read_schedule(node, schedule_id)).buffered == (at(20), at(30))
    for seconds in (20, 30):
        executor.succeeds(executor.last)
        world.run(500)
        assert executor.last.run.task_id == run_id(schedule_id, at(seconds))


def test_what_waits_past_the_end_of_its_calendar_is_launched_once_each() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    rule = Overlap(policy=P.BUFFER, limit=3)
    schedule_id = create_schedule(node, overlap=rule, end_ms=at(40)).task_id
    world.run(45_000)
    for _ in range(4):
        executor.succeeds(executor.last)
        world.run(500)
    launched = [order.nominal_ms for order in executor.orders]
    assert launched == [at(10), at(20), at(30), at(40)]
    assert words(world, schedule_id) == [(each, "LAUNCHED") for each in (10, 20, 30, 40)]
    view = shown(read_schedule(node, schedule_id))
    assert (view.runs, view.ended) == (4, True)


def test_a_new_owner_goes_on_with_what_was_buffered() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node, schedule_id = with_rule(world, P.BUFFER_ONE)
    world.run(25_000)
    node.frozen, node.renews = True, False
    world.jump(20_000)
    world.owner()
    world.run(1_000)
    executor.succeeds(executor.last)
    world.run(61_000)
    assert verdicts(world, schedule_id)[at(20)].verdict == "LAUNCHED"


def test_allow_counts_the_runs_in_hand() -> None:
    world = World()
    ScriptedExecutor(world)
    _, schedule_id = with_rule(world, P.ALLOW, 2)
    world.run(35_000)
    assert [word for _, word in words(world, schedule_id)] == [
        "LAUNCHED",
        "LAUNCHED",
        "DROPPED_LIMIT",
    ]


def test_cancel_other_asks_and_waits_for_the_end() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    _, schedule_id = with_rule(world, P.CANCEL_OTHER)
    world.run(11_000)
    first = executor.last
    executor.starts(first)
    world.run(10_000)
    assert [cancel.terminate for cancel in executor.cancels] == [False]
    assert executor.last is first
    executor.stops(first)
    world.run(500)
    assert executor.last.run.task_id == run_id(schedule_id, at(20))


def test_cancel_other_asks_again_whom_it_could_not_reach() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node, _ = with_rule(world, P.CANCEL_OTHER)
    world.run(11_000)
    first = executor.last
    executor.starts(first)
    node.disconnect(executor)
    world.run(10_000)
    node.connect(executor)
    world.run(10_000)
    assert [order.run for order in executor.cancels] == [first.run]
    executor.stops(first)
    assert executor.last.nominal_ms == at(20)


def test_cancel_other_lets_no_further_attempt_of_the_run_start() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    with_rule(world, P.CANCEL_OTHER)
    world.run(11_000)
    executor.starts(executor.last)
    world.run(10_000)
    executor.fails(executor.last, delay_ms=60_000)
    world.run(10_000)
    assert executor.last.nominal_ms == at(20)


def test_terminate_other_fences_and_starts_at_once() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    _, schedule_id = with_rule(world, P.TERMINATE_OTHER)
    world.run(11_000)
    executor.starts(executor.last)
    world.run(10_000)
    assert [cancel.terminate for cancel in executor.cancels] == [True]
    assert executor.last.run.task_id == run_id(schedule_id, at(20))


def test_a_delay_counts_from_the_end_of_the_run() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    schedule_id = create_schedule(node, every_ms=0, delay_ms=5_000, overlap=Overlap()).task_id
    world.run(6_000)
    world.run(70_000)
    assert len(executor.orders) == 1, "it waits for the end, however long it takes"
    ended_ms = world.wall_ms
    executor.succeeds(executor.last)
    world.run(5_000)
    assert len(executor.orders) == 2
    assert max(verdicts(world, schedule_id)) == ended_ms + 5_000
