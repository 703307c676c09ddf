"""Schedules that an earlier release wrote, or whose zone is gone: read, taken over, held."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from tests.support.engine_world import START_MS, Node, World
from tests.support.schedule_world import (
    at,
    create_schedule,
    end_schedule,
    read_schedule,
    run_id,
    shown,
    update,
    words,
)
from timeball_server.core.commands import RejectionReason
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import EventRow, ScheduleDetail
from timeball_server.core.model import ScheduleSpec
from timeball_server.core.schedules.calendars import next_nominal_ms
from timeball_server.core.schedules.spec import Calendar, Cron
from timeball_server.store.codec import decode_detail

TASK = {"namespace": "shop", "owner": "clerk", "handler": "charge"}
OLD = {
    "spec": {"task": TASK, "every_ms": 10_000, "phase_ms": 0, "max_runs": 0},
    "runs": 1,
    "nominal_ms": START_MS + 10_000,
    "launched": True,
    "recent": ["0" * 40],
}


def aged(world: World, schedule_id: TaskId) -> None:
    """Rewrite the journal as the release before calendars would have written it."""
    journal = world.disk.journal[schedule_id]
    for key, row in journal.items():
        journal[key] = replace(row, detail=_old_detail(row))


def _old_detail(row: EventRow) -> ScheduleDetail:
    detail = row.detail
    assert isinstance(detail, ScheduleDetail)
    spec = ScheduleSpec(task=detail.spec.task, every_ms=detail.spec.every_ms)
    return ScheduleDetail(
        spec=spec,
        runs=detail.runs,
        nominal_ms=detail.nominal_ms,
        launched=detail.launched,
        recent=detail.recent,
    )


def test_the_bytes_of_an_older_release_are_read() -> None:
    found = decode_detail(msgspec.msgpack.encode(("schedule", OLD)))
    assert isinstance(found, ScheduleDetail)
    assert (found.runs, found.launched, found.run, found.hand_epoch) == (1, True, None, 0)
    assert next_nominal_ms(found.spec.when, START_MS) == START_MS + 10_000


@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
def test_a_schedule_of_an_older_release_is_taken_over_and_goes_on(torn: bool) -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    world.run(12_000)
    aged(world, schedule_id)
    run = run_id(schedule_id, at(10))
    if torn:
        del world.disk.journal[run]
    node.frozen, node.renews = True, False
    world.jump(6_000)
    successor = world.owner()
    world.run(3_000)
    assert world.disk.rows(run), "its last run is there, or was written again"
    assert words(world, schedule_id) == [(10, "LAUNCHED"), (20, "LAUNCHED")]
    assert shown(update(successor, schedule_id, every_ms=5_000)).version == 2
    world.run(10_000)
    assert [word for _, word in words(world, schedule_id)] == ["LAUNCHED"] * 4
    assert shown(read_schedule(successor, schedule_id)).runs == 4


def test_what_an_older_release_had_in_hand_is_fenced_before_an_end() -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    world.run(12_000)
    aged(world, schedule_id)
    node.frozen, node.renews = True, False
    world.jump(6_000)
    successor = world.owner()
    assert shown(end_schedule(successor, schedule_id)).ended
    assert world.disk.history(run_id(schedule_id, at(20))).head.state == "VOID"


# A zone that newer zone data do not have ----------------------------------------------------------


def without_zone(world: World, schedule_id: TaskId) -> None:
    gone = Calendar(crons=(Cron(expression="* * * * *", zone="Gone/Away"),))
    journal = world.disk.journal[schedule_id]
    for key, row in journal.items():
        assert isinstance(row.detail, ScheduleDetail)
        spec = replace(row.detail.spec, calendar=gone)
        journal[key] = replace(row, detail=replace(row.detail, spec=spec))


def held() -> tuple[World, Node, TaskId]:
    """A schedule whose zone is gone, at an owner who was there when its time came."""
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    world.run(5_000)
    without_zone(world, schedule_id)
    node.frozen, node.renews = True, False
    world.jump(20_000)
    successor = world.owner()
    world.run(130_000)
    return world, successor, schedule_id


def test_a_schedule_that_cannot_be_evaluated_is_held_and_shown() -> None:
    world, node, schedule_id = held()
    assert node.engine.counters.schedules_held >= 2
    assert words(world, schedule_id) == []
    assert shown(read_schedule(node, schedule_id)).next_ms == at(10)


def test_an_update_gives_it_another_zone_and_it_goes_on() -> None:
    world, node, schedule_id = held()
    assert shown(update(node, schedule_id, every_ms=10_000)).version == 2
    world.run(15_000)
    assert [word for _, word in words(world, schedule_id)][-1] == "LAUNCHED"


def test_an_end_ends_it() -> None:
    _, node, schedule_id = held()
    assert shown(end_schedule(node, schedule_id)).ended


def test_a_creation_that_only_this_node_cannot_evaluate_is_refused() -> None:
    world = World()
    node = world.owner()
    gone = Calendar(crons=(Cron(expression="* * * * *", zone="Gone/Away"),))
    call = create_schedule(node, calendar=gone)
    assert call.refusal is RejectionReason.HORIZON
    assert world.disk.rows(call.task_id) == []
