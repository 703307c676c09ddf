"""Clocks that are set by an hour: each nominal time still has one verdict, by the oracle's count.

The wall clock alone is set, as a person or a bad server of time does; leases go by the other one.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import LEASE_MS, Node, World
from tests.support.schedule_world import create_schedule, read_schedule, shown, update, verdicts
from timeball_server.cli.schedule_judge import Audit, Row, Version, judge
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import VersionRow
from timeball_server.core.model import CatchUp, CatchUpPolicy, Overlap, OverlapPolicy
from timeball_server.core.schedules.spec import Calendar, Cron, Interval

HOUR_MS = 3_600_000
MINUTELY = Calendar(crons=(Cron(expression="* * * * *", zone="Europe/Berlin"),))
OFTEN = Calendar(intervals=(Interval(every_ms=10_000, phase_ms=3_000),))
SKIP = Overlap(policy=OverlapPolicy.SKIP)
BUFFER = Overlap(policy=OverlapPolicy.BUFFER, limit=5)


def set_clock(world: World, by_ms: int) -> None:
    """The wall clock of everybody is set; no time passes."""
    world.wall_ms += by_ms
    for node in world.nodes:
        node.feed(ev.Tick())


def audited(world: World, node: Node, schedule_id: TaskId) -> Audit:
    """What the audit says of a ledger, up to where it goes."""
    view = shown(read_schedule(node, schedule_id))
    rows: dict[int, VersionRow] = {}
    for row in world.disk.listed:
        if isinstance(row, VersionRow) and row.schedule_id == schedule_id:
            rows[row.version] = row
    ends = [rows[number + 1].after_ms if number + 1 in rows else None for number in sorted(rows)]
    versions = [
        Version(
            number=number,
            rules=json.loads(json.dumps(asdict(rows[number].detail.spec.when))),
            after_ms=rows[number].after_ms,
            until_ms=until_ms,
        )
        for number, until_ms in zip(sorted(rows), ends, strict=True)
    ]
    found = [
        Row(first_ms=at_ms, last_ms=at_ms, times=1, verdict=row.verdict, version=row.version)
        for at_ms, row in verdicts(world, schedule_id).items()
    ]
    return judge(versions, found, view.undecided_ms or world.wall_ms)


@pytest.mark.parametrize("calendar", [MINUTELY, OFTEN], ids=["cron", "interval"])
@pytest.mark.parametrize("policy", [CatchUpPolicy.ONE, CatchUpPolicy.ALL, CatchUpPolicy.SKIP])
def test_an_hour_ahead_and_back_again_leaves_nothing_unexplained(
    calendar: Calendar, policy: CatchUpPolicy
) -> None:
    world = World()
    node = world.owner()
    executor = ScriptedExecutor(world, slots=10_000)
    rule = CatchUp(policy=policy)
    made = create_schedule(node, calendar=calendar, overlap=SKIP, catch_up=rule)
    world.run(125_000)
    set_clock(world, HOUR_MS)
    world.run(125_000)
    set_clock(world, -HOUR_MS)
    shown(update(node, made.task_id, calendar=calendar, max_runs=10_000, overlap=SKIP))
    world.run(HOUR_MS + 125_000)
    audit = audited(world, node, made.task_id)
    assert audit.unexplained == ()
    assert audit.nominal_times >= 60
    starts = [order.run.task_id for order in executor.orders]
    assert len(starts) == len(set(starts)), "no run begins twice"


def four_wait(world: World, node: Node) -> TaskId:
    """A schedule of which one run goes on and four nominal times wait for it."""
    made = create_schedule(node, calendar=OFTEN, overlap=BUFFER)
    world.run(45_000)
    assert len(shown(read_schedule(node, made.task_id)).buffered) == 4
    return made.task_id


def test_what_waits_while_the_clock_is_put_back_and_edited_is_of_the_version_before() -> None:
    world = World()
    node = world.owner()
    executor = ScriptedExecutor(world)
    schedule_id = four_wait(world, node)
    set_clock(world, -HOUR_MS)
    shown(update(node, schedule_id, calendar=MINUTELY, overlap=BUFFER))
    executor.succeeds(executor.last)
    world.run(HOUR_MS)
    for _ in range(6):
        executor.succeeds(executor.last)
        world.run(10_000)
    audit = audited(world, node, schedule_id)
    assert audit.unexplained == ()
    assert {row.version for row in verdicts(world, schedule_id).values()} == {1, 2}
    starts = [order.run.task_id for order in executor.orders]
    assert len(starts) == len(set(starts)) >= 6, "five of the first version, then the second's"


@pytest.mark.parametrize("set_back_ms", [0, HOUR_MS])
def test_what_waits_through_two_edits_is_of_the_version_that_named_it(set_back_ms: int) -> None:
    world = World()
    node = world.owner()
    executor = ScriptedExecutor(world)
    schedule_id = four_wait(world, node)
    set_clock(world, -set_back_ms)
    shown(update(node, schedule_id, calendar=MINUTELY, overlap=BUFFER))
    shown(update(node, schedule_id, "again", calendar=OFTEN, overlap=BUFFER))
    world.run(set_back_ms)
    for _ in range(7):
        executor.succeeds(executor.last)
        world.run(10_000)
    assert audited(world, node, schedule_id).unexplained == ()


@pytest.mark.parametrize("calendar", [MINUTELY, OFTEN], ids=["cron", "interval"])
def test_an_edit_under_a_clock_put_back_names_no_time_before_the_schedule_was_made(
    calendar: Calendar,
) -> None:
    world = World()
    node = world.owner()
    ScriptedExecutor(world, slots=10_000)
    world.run(65_000)
    made = create_schedule(node, calendar=calendar, overlap=SKIP)
    made_ms = world.wall_ms
    set_clock(world, -HOUR_MS)
    shown(update(node, made.task_id, calendar=calendar, max_runs=10_000, overlap=SKIP))
    world.run(25_000)
    set_clock(world, HOUR_MS)
    world.run(185_000)
    audit = audited(world, node, made.task_id)
    assert audit.unexplained == ()
    assert audit.nominal_times >= 3
    assert min(verdicts(world, made.task_id)) > made_ms


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS])
def test_a_next_owner_whose_clock_is_an_hour_off_leaves_nothing_unexplained(by_ms: int) -> None:
    world = World()
    node = world.owner()
    executor = ScriptedExecutor(world, slots=10_000)
    made = create_schedule(node, calendar=MINUTELY)
    world.run(125_000)
    node.frozen = True
    world.wall_ms += by_ms
    world.mono_ms += LEASE_MS
    other = world.owner()
    world.run(HOUR_MS + 185_000)
    assert audited(world, other, made.task_id).unexplained == ()
    starts = [order.run.task_id for order in executor.orders]
    assert len(starts) == len(set(starts)) >= 3


def test_what_was_missed_is_caught_up_in_its_turn_though_the_clock_is_put_back() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=100)
    first = world.owner()
    for _ in range(60):
        create_schedule(first, every_ms=HOUR_MS)
    first.frozen = True
    world.jump(HOUR_MS + 180_000)
    world.owner(EngineConfig(catch_up_per_s=1))
    world.run(40_000)
    assert 30 <= len(executor.orders) <= 50
    set_clock(world, -30_000)
    world.run(25_000)
    assert len(executor.orders) == 60
