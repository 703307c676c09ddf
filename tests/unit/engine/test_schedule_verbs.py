"""What users do to a living schedule, and runs that have not ended: one owner, one schedule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, START_MS, Call, Node, World
from tests.support.schedule_world import (
    ask,
    at,
    create_schedule,
    end_schedule,
    named,
    read_schedule,
    shown,
    tear,
    update,
    verdicts,
    with_rule,
    words,
)
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import (
    BackfillSchedule,
    EndSchedule,
    PauseSchedule,
    RejectionReason,
    ResumeSchedule,
    StopBackfill,
    TriggerSchedule,
    UpdateSchedule,
)
from timeball_server.core.ids import (
    KIND_SCHEDULE,
    SCHEDULES_MINUTE,
    Bucket,
    IdParts,
    TaskId,
    encode_id,
    home_of_name,
)
from timeball_server.core.journal import VersionRow
from timeball_server.core.model import (
    BackfillState,
    CatchUp,
    CatchUpPolicy,
    OverlapPolicy,
)

P = OverlapPolicy


# Updates ------------------------------------------------------------------------------------------


def test_an_update_creates_nothing_before_itself_and_loses_nothing() -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    world.run(14_000)
    changed = shown(update(node, schedule_id, every_ms=4_000))
    assert (changed.version, changed.revision) == (2, 2)
    world.run(11_000)
    rows = verdicts(world, schedule_id)
    assert [(each - START_MS) // 1_000 for each in sorted(rows)] == [10, 16, 20, 24]
    assert [rows[each].version for each in sorted(rows)] == [1, 2, 2, 2]


def test_an_update_at_the_instant_waits_for_the_tick() -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    world.run(9_990)
    node.hold_writes = True
    world.run(20)
    call = update(node, schedule_id, every_ms=60_000)
    assert call.outcome is None
    node.release_writes()
    assert shown(call).version == 2
    assert words(world, schedule_id) == [(10, "LAUNCHED")]


def test_the_same_update_changes_nothing_and_a_stale_one_is_refused() -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    first = shown(update(node, schedule_id, every_ms=4_000))
    assert shown(update(node, schedule_id, "again", every_ms=4_000)) == first
    spec = replace(first.spec, every_ms=5_000)
    what = {"spec": spec, "fields": None, "allow_missing": False}
    stale = ask(node, UpdateSchedule, schedule_id, "stale", revision=1, **what)
    assert stale.refusal is RejectionReason.STALE_ETAG
    held = ask(node, UpdateSchedule, schedule_id, "held", revision=first.revision, **what)
    assert shown(held).version == 3
    repeated = ask(node, UpdateSchedule, schedule_id, "held", revision=first.revision, **what)
    assert shown(repeated).version == 3, "a repetition is answered, not refused"


def test_a_schedule_replaced_from_inside_its_own_run_goes_on() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node, schedule_id = with_rule(world, P.SKIP)
    world.run(11_000)
    executor.starts(executor.last)
    assert shown(update(node, schedule_id, every_ms=7_000)).version == 2
    executor.succeeds(executor.last)
    world.run(20_000)
    assert not shown(read_schedule(node, schedule_id)).ended
    assert len(executor.orders) >= 3


def test_every_version_is_kept() -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    world.run(5_000)
    update(node, schedule_id, every_ms=4_000)
    rows = [row for row in world.disk.listed if isinstance(row, VersionRow)]
    assert [(row.version, row.after_ms, row.detail.spec.every_ms) for row in rows] == [
        (1, START_MS, 10_000),
        (2, START_MS + 5_000, 4_000),
    ]


# Pauses -------------------------------------------------------------------------------------------


def test_nothing_is_launched_in_a_pause_and_every_time_in_it_says_so() -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    world.run(12_000)
    paused = shown(ask(node, PauseSchedule, schedule_id, "p", reason="stocktaking"))
    assert paused.paused is not None
    assert (paused.paused.reason, paused.paused.actor, paused.paused.at_ms) == (
        "stocktaking",
        "clerk",
        world.wall_ms,
    )
    world.run(33_000)
    resumed = shown(ask(node, ResumeSchedule, schedule_id, "q"))
    assert (resumed.paused, resumed.next_ms) == (None, at(50))
    world.run(6_000)
    found = [word for _, word in words(world, schedule_id)]
    assert found == ["LAUNCHED", *["PAUSED"] * 3, "LAUNCHED"]


def test_a_pause_that_arrives_once_more_after_the_resumption_holds_nothing_up() -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    ask(node, PauseSchedule, schedule_id, "p")
    ask(node, ResumeSchedule, schedule_id, "q")
    again = shown(ask(node, PauseSchedule, schedule_id, "p", resend=True))
    assert (again.paused, again.revision) == (None, 3)
    ask(node, PauseSchedule, schedule_id, "r")
    assert shown(ask(node, ResumeSchedule, schedule_id, "q")).paused is not None


def test_a_long_pause_is_in_the_ledger_an_hour_later_at_most() -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node, every_ms=1_000).task_id
    ask(node, PauseSchedule, schedule_id, "p")
    for _ in range(8):
        world.run(1_000_000)
    behind_ms = world.wall_ms - max(verdicts(world, schedule_id))
    assert behind_ms <= 3_600_000


# Runs by hand -------------------------------------------------------------------------------------


def trigger(node: Node, schedule_id: TaskId, unique: bytes, **fields: Any) -> Call:
    minute = minute_of(START_MS)
    return ask(node, TriggerSchedule, schedule_id, "t", minute=minute, unique=unique, **fields)


def test_a_trigger_launches_beside_the_calendar_once_for_one_request() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node, schedule_id = with_rule(world, P.SKIP)
    unique = world.unique()
    first = shown(trigger(node, schedule_id, unique))
    again = shown(trigger(node, schedule_id, unique, resend=True))
    assert again.run == first.run == executor.last.run.task_id
    world.run(11_000)
    assert words(world, schedule_id) == [(10, "SKIPPED_OVERLAP")], "it counts as a run in hand"
    assert (len(executor.orders), first.runs) == (1, 0)


def test_a_trigger_that_arrives_late_after_its_repetition_launches_nothing_again() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    schedule_id = create_schedule(node, every_ms=3_600_000).task_id
    world.run(10_000)
    unique = world.unique()
    first = shown(trigger(node, schedule_id, unique))
    executor.starts(executor.last)
    executor.succeeds(executor.last)
    world.run(1_000)
    assert shown(trigger(node, schedule_id, unique, resend=True)).run == first.run
    world.run(1_000)
    late = trigger(node, schedule_id, unique)
    world.run(1_000)
    assert (shown(late).run, len(executor.orders)) == (first.run, 1)


def test_a_trigger_that_is_repeated_when_the_schedule_has_ended_tells_of_its_run() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    schedule_id = create_schedule(node, every_ms=3_600_000).task_id
    unique = world.unique()
    first = shown(trigger(node, schedule_id, unique))
    executor.starts(executor.last)
    executor.succeeds(executor.last)
    end_schedule(node, schedule_id)
    world.run(1_000)
    again = shown(trigger(node, schedule_id, unique, resend=True))
    assert (again.run, again.ended, len(executor.orders)) == (first.run, True, 1)
    fresh = trigger(node, schedule_id, world.unique(), resend=True)
    assert fresh.refusal is RejectionReason.PRECONDITION


def test_a_paused_schedule_is_triggered_and_an_ended_one_is_not() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    ask(node, PauseSchedule, schedule_id, "p")
    assert shown(trigger(node, schedule_id, world.unique())).run == executor.last.run.task_id
    end_schedule(node, schedule_id)
    late = trigger(node, schedule_id, world.unique())
    assert late.refusal is RejectionReason.PRECONDITION


def test_a_trigger_whose_run_is_lacking_is_made_whole_by_the_next_owner() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    schedule_id = create_schedule(node, every_ms=3_600_000).task_id
    node.hold_writes = True
    trigger(node, schedule_id, world.unique())
    (write,) = node.writes
    tear(world, write, lambda row: getattr(row, "task_id", None) == schedule_id)
    node.frozen, node.renews = True, False
    world.jump(20_000)
    world.owner()
    world.run(3_000)
    assert len(executor.orders) == 1


def test_a_backfill_launches_its_range_whatever_the_overlap_rule_and_can_be_stopped() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1_000)
    node, schedule_id = with_rule(world, P.SKIP)
    ledger = dict(verdicts(world, schedule_id))
    what = {"backfill_id": "june", "from_ms": at(-100), "to_ms": at(-10)}
    begun = shown(ask(node, BackfillSchedule, schedule_id, "b", **what))
    assert begun.backfills[0].state is BackfillState.RUNNING
    world.run(5_000)
    (done,) = shown(read_schedule(node, schedule_id)).backfills
    assert (done.state, done.launched, done.next_ms) == (BackfillState.DONE, 10, None)
    assert sorted(order.nominal_ms or 0 for order in executor.orders) == [
        at(seconds) for seconds in range(-100, 0, 10)
    ]
    assert verdicts(world, schedule_id) == ledger, "the past keeps its verdicts"
    again = shown(ask(node, BackfillSchedule, schedule_id, "b2", **what))
    assert again.backfills == (done,)
    other = ask(node, BackfillSchedule, schedule_id, "b3", **{**what, "to_ms": at(-20)})
    assert other.refusal is RejectionReason.VOIDED


@pytest.mark.parametrize("end_ms", [None, at(25)], ids=["goes on", "is over"])
def test_a_pause_holds_a_backfill_and_its_end_lets_it_go_on(end_ms: int | None) -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1_000)
    node = world.owner()
    schedule_id = create_schedule(node, end_ms=end_ms).task_id
    world.run(15_000)
    what = {"backfill_id": "june", "from_ms": at(-2_000), "to_ms": at(-10)}
    ask(node, BackfillSchedule, schedule_id, "b", **what)
    world.run(6_000)
    ask(node, PauseSchedule, schedule_id, "p", reason="stocktaking")
    launched = len(executor.orders)
    assert 50 < launched < 150
    world.run(3_700_000)
    assert len(executor.orders) == launched
    ask(node, ResumeSchedule, schedule_id, "r")
    world.run(12_000)
    (done,) = shown(read_schedule(node, schedule_id)).backfills
    assert (done.state, done.launched) == (BackfillState.DONE, 200)


def test_a_stopped_backfill_launches_nothing_more() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1_000)
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    what = {"backfill_id": "june", "from_ms": at(-10_000), "to_ms": at(-10)}
    ask(node, BackfillSchedule, schedule_id, "b", **what)
    world.run(2_000)
    (stopped,) = shown(ask(node, StopBackfill, schedule_id, "s", backfill_id="june")).backfills
    assert stopped.state is BackfillState.STOPPED
    launched = len(executor.orders)
    assert stopped.launched == launched > 1
    world.run(5_000)
    assert len(executor.orders) == launched


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"from_ms": at(0), "to_ms": at(100)}, RejectionReason.PRECONDITION),
        ({"from_ms": at(-100), "to_ms": at(-50)}, None),
    ],
)
def test_a_backfill_lies_in_the_past(
    fields: dict[str, int], reason: RejectionReason | None
) -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    call = ask(node, BackfillSchedule, schedule_id, "b", backfill_id="b", **fields)
    assert (call.refusal if reason else None) is reason


# Names --------------------------------------------------------------------------------------------


def test_a_name_is_one_schedule_until_it_ends_and_then_free_again() -> None:
    world = World()
    node = world.owner()
    first = shown(named(node, "nightly"))
    assert named(node, "nightly", "other").refusal is RejectionReason.VOIDED
    assert shown(named(node, "nightly")) == first, "the same request"
    world.run(11_000)
    end_schedule(node, first.schedule_id)
    again = shown(named(node, "nightly", "third"))
    assert (again.schedule_id, again.version, again.runs) == (first.schedule_id, 2, 0)
    world.run(10_000)
    assert words(world, first.schedule_id) == [(10, "LAUNCHED"), (20, "LAUNCHED")]


def test_what_was_asked_of_a_name_before_does_nothing_when_it_arrives_once_more() -> None:
    world = World()
    node = world.owner()
    schedule_id = shown(named(node, "nightly")).schedule_id
    end_schedule(node, schedule_id)
    again = shown(named(node, "nightly", "second"))
    assert shown(end_schedule(node, schedule_id)) == again, "the end is known"
    ask(node, EndSchedule, schedule_id, "second end")
    assert shown(named(node, "nightly")).ended, "so is the first creation"


def test_a_name_that_was_deleted_before_it_existed_can_be_created() -> None:
    world = World()
    node = world.owner()
    part, unique = home_of_name("shop", "nightly")
    home = Bucket(SCHEDULES_MINUTE, SHARD, part)
    schedule_id = encode_id(IdParts(home, unique, KIND_SCHEDULE))
    assert end_schedule(node, schedule_id).refusal is RejectionReason.NOT_FOUND
    assert shown(named(node, "nightly")).schedule_id == schedule_id


def test_a_new_owner_finds_a_named_schedule_by_its_hints() -> None:
    world = World()
    node = world.owner()
    schedule_id = shown(named(node, "nightly")).schedule_id
    node.frozen, node.renews = True, False
    world.jump(8_000)
    world.owner()
    world.run(5_000)
    assert words(world, schedule_id) == [(10, "LAUNCHED")]


# Catching up --------------------------------------------------------------------------------------


def test_all_within_the_window_are_launched_after_an_outage() -> None:
    world = World()
    node = world.owner()
    rule = CatchUp(policy=CatchUpPolicy.ALL, window_ms=30_000)
    schedule_id = create_schedule(node, catch_up=rule).task_id
    world.run(1_000)
    world.jump(104_000)
    world.run(1_000)
    named_words = [word for _, word in words(world, schedule_id)]
    assert named_words == [*["MISSED_WINDOW"] * 7, *["LAUNCHED"] * 3]


def test_an_outage_of_any_length_stops_no_schedule() -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node, every_ms=1_000).task_id
    world.run(500)
    world.jump(3 * 3_600_000)
    world.run(20_000)
    found = verdicts(world, schedule_id)
    assert len(found) >= 3 * 3_600
    assert sorted(found) == list(range(min(found), max(found) + 1, 1_000))
    assert found[max(found)].verdict == "LAUNCHED"


def test_a_clock_that_was_put_forward_and_back_makes_nothing_missed() -> None:
    world = World()
    node = world.owner()
    world.jump(3_600_000)
    world.jump(-3_600_000)
    schedule_id = create_schedule(node, catch_up=CatchUp(policy=CatchUpPolicy.SKIP)).task_id
    world.run(25_000)
    assert [word for _, word in words(world, schedule_id)] == ["LAUNCHED", "LAUNCHED"]


def test_many_that_were_missed_for_long_take_turns() -> None:
    world = World()
    node = world.owner()
    ScriptedExecutor(world, slots=10_000)
    for _ in range(60):
        create_schedule(node)
    world.run(1_000)
    world.jump(180_000)
    launched: list[int] = []
    for _ in range(20):
        before = node.engine.counters.ticks
        world.run(100)
        launched.append(node.engine.counters.ticks - before)
    turns = 100 * node.engine.config.catch_up_per_s // 1_000
    assert max(launched) <= 2 * turns + 5, "each passes over what it missed, and then launches"
    assert sum(launched) >= 100
