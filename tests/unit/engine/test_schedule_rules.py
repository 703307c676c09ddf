"""Rules S1, S2, S5 and S6 and what a schedule answers: one owner, no take-over in the middle."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, START_MS, World
from tests.support.schedule_world import (
    create_schedule,
    end_schedule,
    read_schedule,
    run_id,
    shown,
    verdicts,
    words,
)
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import EndSchedule, ReadSchedule, RejectionReason
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.ids import decode_id
from timeball_server.core.journal import (
    DueRow,
    EventKind,
    EventRow,
    LedgerRow,
    OwnerListRow,
    State,
    hint_is_live,
)
from timeball_server.core.journal_text import event_view
from timeball_server.core.model import PublicState
from timeball_server.core.schedules.spec import Calendar, ExcludedCron, Exclusions, Interval

K = EventKind


def at(seconds: int) -> int:
    """A nominal time, as milliseconds."""
    return START_MS + seconds * 1_000


# S1: one shard, derived ids -----------------------------------------------------------------------


def test_s1_a_schedule_and_its_runs_live_in_one_shard_under_derived_ids() -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node)
    world.run(30_000)
    expected = [run_id(call.task_id, at(seconds)) for seconds in (30, 20, 10)]
    assert list(shown(read_schedule(node, call.task_id)).recent) == expected
    for run in (call.task_id, *expected):
        assert decode_id(run).home.shard == SHARD
        assert world.disk.rows(run)


def test_s1_a_run_is_read_and_cancelled_like_any_task() -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node)
    world.run(10_000)
    run = run_id(call.task_id, at(10))
    view = node.read(run).view
    assert (view.state, view.spec.schedule_id) == (PublicState.SCHEDULED, call.task_id)
    assert view.spec.nominal_ms == at(10)
    assert node.cancel(run).view.state is PublicState.CANCELLED
    world.run(10_000)
    assert words(world, call.task_id) == [(10, "LAUNCHED"), (20, "LAUNCHED")]


def test_s1_who_asks_for_a_run_before_its_time_is_answered_and_the_run_is_launched_once() -> None:
    world = World()
    node = world.owner()
    executor = ScriptedExecutor(world)
    call = create_schedule(node)
    run = run_id(call.task_id, at(10))
    assert node.read(run).refusal is RejectionReason.NOT_FOUND
    node.hold_reads = True
    asked = node.read(run)
    world.run(12_000)
    node.deliver_reads()
    assert asked.outcome is not None
    world.run(1_000)
    assert [order.run.task_id for order in executor.orders] == [run]
    assert words(world, call.task_id) == [(10, "LAUNCHED")]


@pytest.mark.parametrize("in_flight", [False, True])
def test_s1_a_run_that_was_cancelled_before_its_time_is_not_launched(in_flight: bool) -> None:
    world = World()
    node = world.owner()
    executor = ScriptedExecutor(world)
    call = create_schedule(node)
    run = run_id(call.task_id, at(10))
    world.run(9_990)
    node.hold_writes = in_flight
    cancelled = node.cancel(run)
    world.run(10)
    node.release_writes()
    assert cancelled.refusal is RejectionReason.NOT_FOUND
    world.run(10_000)
    assert words(world, call.task_id) == [(10, "CANCELLED"), (20, "LAUNCHED")]
    assert world.disk.kinds(run) == [K.VOID]
    assert [order.run.task_id for order in executor.orders] == [run_id(call.task_id, at(20))]


# S2: the hint before the instant, one write at it -------------------------------------------------


def test_s2_the_next_hint_is_durable_before_the_instant_and_the_tick_is_one_write() -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node)
    world.run(8_900)
    assert next_hints(world, at(20)) == []
    world.run(200)
    (hint,) = next_hints(world, at(20))
    node.log.clear()
    world.run(901)
    writes = [effect for effect in node.log if isinstance(effect, fx.Write)]
    assert len(writes) == 1
    kinds = sorted(type(row).__name__ for row in writes[0].rows)
    expected = (EventRow, EventRow, DueRow, LedgerRow, OwnerListRow)
    assert kinds == sorted(kind.__name__ for kind in expected)
    head = world.disk.history(call.task_id).head
    assert head.kind is K.TICK
    assert hint_is_live(hint, head)


def next_hints(world: World, due_ms: int) -> list[DueRow]:
    """Hints of one instant."""
    return [row for rows in world.disk.due.values() for row in rows if row.due_ms == due_ms]


def test_s2_nothing_is_handed_out_before_the_whole_tick_is_durable() -> None:
    world = World()
    node = world.owner()
    executor = ScriptedExecutor(world)
    call = create_schedule(node)
    world.run(9_500)
    node.hold_writes = True
    world.run(2_000)
    assert executor.orders == []
    assert world.disk.rows(run_id(call.task_id, at(10))) == []
    node.release_writes()
    assert executor.last.run.task_id == run_id(call.task_id, at(10))


def test_s2_an_event_between_hint_and_tick_makes_another_hint() -> None:
    world = World()
    first = world.owner()
    call = create_schedule(first)
    first.frozen = True
    node = world.owner()
    world.run(9_500)
    before = next_hints(world, at(20))
    assert shown(read_schedule(node, call.task_id)).next_ms == at(10)
    assert [row.kind for row in world.disk.history(call.task_id).chain][-1] is K.ADOPTED
    world.run(100)
    (hint,) = set(next_hints(world, at(20))) - set(before)
    world.run(400)
    assert hint_is_live(hint, world.disk.history(call.task_id).head)
    assert not any(hint_is_live(row, world.disk.history(call.task_id).head) for row in before)


def test_s2_a_hint_that_is_not_durable_at_the_instant_goes_before_the_tick() -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node, every_ms=60_000)
    world.run(58_900)
    node.hold_writes = True
    world.run(1_200)
    assert [[type(row) for row in write.rows] for write in node.writes] == [[DueRow], [DueRow]]
    node.settle_one()
    node.settle_one()
    assert len(next_hints(world, at(120))) == 1
    assert world.disk.kinds(call.task_id) == [K.SCHEDULE_CREATED]
    node.release_writes()
    assert world.disk.kinds(call.task_id) == [K.SCHEDULE_CREATED, K.TICK]


# S5: every nominal time has one verdict -----------------------------------------------------------


def test_s5_missed_times_are_coalesced_and_the_latest_one_runs() -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node)
    world.run(15_000)
    world.jump(40_000)
    world.run(1_000)
    expected = ["LAUNCHED", "COALESCED", "COALESCED", "COALESCED", "LAUNCHED"]
    assert [word for _, word in words(world, call.task_id)] == expected
    row = verdicts(world, call.task_id)[at(30)]
    assert (row.nominal_ms, row.last_nominal_ms, row.times) == (at(20), at(40), 3)
    assert verdicts(world, call.task_id)[at(50)].lateness_ms == 5_000
    assert shown(read_schedule(node, call.task_id)).runs == 2


def test_s5_beyond_the_window_nothing_runs() -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node, every_ms=3_600_000)
    world.run(1_000)
    world.jump(2 * 3_600_000 + 601_000)
    world.run(1_000)
    assert words(world, call.task_id) == [(3_600, "MISSED_WINDOW"), (7_200, "MISSED_WINDOW")]
    assert shown(read_schedule(node, call.task_id)).runs == 0
    world.run(3_600_000 - 602_000)
    assert words(world, call.task_id)[-1] == (10_800, "LAUNCHED")


def test_s5_a_store_slower_than_the_interval_does_not_keep_a_schedule_from_running() -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node, every_ms=1_000)
    node.hold_writes = True
    for _ in range(40):
        world.run(1_500)
        for _ in range(len(node.writes)):
            node.settle_one()
    named = [word for _, word in words(world, call.task_id)]
    assert len(named) >= 15
    assert set(named) == {"LAUNCHED"}, "a busy cluster is late, it misses nothing"


def test_s5_a_schedule_does_not_hold_back_scan_from() -> None:
    world = World()
    node = world.owner()
    ScriptedExecutor(world, handlers=())
    call = create_schedule(node, every_ms=5_000)
    for _ in range(60):
        world.run(5_000)
        run = shown(read_schedule(node, call.task_id)).recent[0]
        assert node.cancel(run).view.state is PublicState.CANCELLED
    assert world.disk.scan_from[SHARD] >= minute_of(world.wall_ms) - 2


def test_s5_a_clock_that_steps_back_fires_no_time_twice() -> None:
    world = World()
    node = world.owner()
    executor = ScriptedExecutor(world)
    call = create_schedule(node)
    world.run(20_000)
    world.jump(-15_000)
    world.run(14_000)
    assert len(executor.orders) == 2
    world.run(11_000)
    assert words(world, call.task_id) == [(10, "LAUNCHED"), (20, "LAUNCHED"), (30, "LAUNCHED")]
    assert len(executor.orders) == len({order.run for order in executor.orders}) == 3


# S6: ends -----------------------------------------------------------------------------------------


def test_s6_nothing_is_launched_after_the_acknowledgement_of_an_end() -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node)
    world.run(15_000)
    ended = shown(end_schedule(node, call.task_id))
    assert (ended.ended, ended.next_ms, ended.runs) == (True, None, 1)
    world.run(60_000)
    assert words(world, call.task_id) == [(10, "LAUNCHED")]
    assert shown(end_schedule(node, call.task_id)).ended
    assert node.task(call.task_id) is None


def test_s6_an_end_waits_for_the_tick_in_flight_which_stays_launched() -> None:
    world = World()
    node = world.owner()
    executor = ScriptedExecutor(world)
    call = create_schedule(node)
    world.run(9_500)
    node.hold_writes = True
    world.run(600)
    ended = end_schedule(node, call.task_id)
    node.settle_one()
    assert ended.outcome is None
    assert executor.last.run.task_id == run_id(call.task_id, at(10))
    node.release_writes()
    assert shown(ended).recent == (run_id(call.task_id, at(10)),)
    world.run(30_000)
    assert words(world, call.task_id) == [(10, "LAUNCHED")]
    assert world.disk.kinds(call.task_id)[-2:] == [K.TICK, K.SCHEDULE_ENDED]


def test_s6_what_is_due_when_the_end_comes_first_is_cancelled() -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node)
    world.run(5_000)
    node.frozen = True
    world.jump(27_000)
    node.frozen = False
    ended = end_schedule(node, call.task_id)
    assert shown(ended).runs == 0
    named = [(10, "CANCELLED"), (20, "CANCELLED"), (30, "CANCELLED")]
    assert words(world, call.task_id) == named
    world.run(30_000)
    assert words(world, call.task_id) == named


def test_s6_ending_an_unknown_schedule_voids_it_and_refuses_a_later_creation() -> None:
    world = World()
    node = world.owner()
    lost = create_schedule(world.node("s9"))
    assert lost.refusal is RejectionReason.NOT_OWNED
    assert end_schedule(node, lost.task_id).refusal is RejectionReason.NOT_FOUND
    again = create_schedule(node, unique=decode_id(lost.task_id).unique, resend=True)
    assert again.refusal is RejectionReason.VOIDED
    assert read_schedule(node, lost.task_id).refusal is RejectionReason.NOT_FOUND
    world.run(20_000)
    assert words(world, lost.task_id) == []


def test_a_release_is_not_held_up_by_the_hint_of_a_schedule_that_ended_meanwhile() -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node)
    world.run(8_900)
    node.hold_writes = True
    world.run(200)
    ended = end_schedule(node, call.task_id)
    node.settle_one(1)
    assert shown(ended).ended
    node.release_writes()
    node.log.clear()
    node.feed(ev.ShardReleasing(SHARD))
    assert any(isinstance(effect, fx.ShardQuiet) for effect in node.log)


# Limits, repetitions, ids, memory -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ({"max_runs": 2}, "all 2 runs are launched"),
        ({"end_ms": at(20)}, "no nominal time is left before its end"),
        ({"end_ms": at(29)}, "no nominal time is left before its end"),
    ],
)
def test_a_schedule_ends_with_its_last_run(limit: dict[str, Any], why: str) -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node, **limit)
    world.run(60_000)
    assert words(world, call.task_id) == [(10, "LAUNCHED"), (20, "LAUNCHED")]
    view = shown(read_schedule(node, call.task_id))
    assert (view.ended, view.runs, view.next_ms) == (True, 2, None)
    assert (view.ended_ms, view.ended_cause) == (at(20), why)
    assert world.disk.kinds(call.task_id)[-1] is K.LAST_TICK


def test_a_schedule_whose_exclusions_end_it_says_so() -> None:
    """Outside of the present hour, each time is excluded for itself: more in a row than allowed."""
    world = World()
    node = world.owner()
    hour = datetime.fromtimestamp(START_MS / 1_000, UTC).hour
    others = ",".join(str(other) for other in range(24) if other != hour)
    calendar = Calendar(
        intervals=(Interval(every_ms=60_000),),
        excluded=Exclusions(crons=(ExcludedCron(expression=f"0 * {others} * * *"),)),
    )
    schedule_id = create_schedule(node, calendar=calendar).task_id
    world.run(3_600_000)
    view = shown(read_schedule(node, schedule_id))
    assert (view.ended, view.ended_cause) == (True, "1,000 nominal times in a row are excluded")
    (*_, last) = world.disk.rows(schedule_id)
    assert event_view(last, accepted=True).text == (
        "last nominal time decided; schedule ended: 1,000 nominal times in a row are excluded"
    )


def test_when_and_why_it_ended_outlast_its_owner() -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    world.run(5_000)
    ended = shown(end_schedule(node, schedule_id))
    assert (ended.ended_ms, ended.ended_cause) == (at(5), "deleted by clerk")
    world.run(60_000)
    again = shown(read_schedule(world.owner(), schedule_id))
    assert (again.ended_ms, again.ended_cause) == (at(5), "deleted by clerk")


def test_a_schedule_that_lives_has_no_end() -> None:
    world = World()
    node = world.owner()
    view = shown(read_schedule(node, create_schedule(node).task_id))
    assert (view.ended_ms, view.ended_cause) == (None, "")


def test_a_schedule_that_would_never_fire_is_refused() -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node, end_ms=at(9))
    assert call.refusal is RejectionReason.HORIZON
    assert node.task(call.task_id) is None


def test_a_repeated_creation_answers_the_same_schedule_and_another_body_is_refused() -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node)
    unique = decode_id(call.task_id).unique
    world.run(15_000)
    world.jump(-15_000)
    again = create_schedule(node, unique=unique, resend=True)
    assert (shown(again).schedule_id, shown(again).runs) == (call.task_id, 1)
    unmarked = create_schedule(node, unique=unique)
    assert shown(unmarked).runs == 1
    other = create_schedule(node, unique=unique, every_ms=20_000, resend=True)
    assert other.refusal is RejectionReason.REQUEST_ID_REUSED
    assert world.disk.kinds(call.task_id).count(K.SCHEDULE_CREATED) == 1


def test_a_first_send_that_its_repetition_overtook_does_not_reset_a_schedule() -> None:
    world = World()
    first = world.owner()
    unique = world.wall_ms.to_bytes(6, "big") + b"\x70" + bytes(9)
    call = create_schedule(first, unique=unique, resend=True)
    shown(end_schedule(first, call.task_id))
    first.frozen = True
    node = world.owner()
    late = create_schedule(node, unique=unique)
    assert shown(late).ended


def test_a_schedule_is_no_task_and_a_task_no_schedule() -> None:
    world = World()
    node = world.owner()
    schedule = create_schedule(node).task_id
    task = node.create(in_ms=60_000).task_id
    for call in (node.read(schedule), node.wait(schedule), node.cancel(schedule)):
        assert call.refusal is RejectionReason.NOT_FOUND
    for call in (read_schedule(node, task), end_schedule(node, task)):
        assert call.refusal is RejectionReason.NOT_FOUND
    assert shown(read_schedule(node, schedule)).next_ms == at(10)
    assert node.read(task).view.state is PublicState.SCHEDULED


def test_another_namespace_sees_no_schedule() -> None:
    world = World()
    node = world.owner()
    schedule = create_schedule(node).task_id
    read = ReadSchedule(task_id=schedule, namespace="bank")
    end = EndSchedule(task_id=schedule, namespace="bank", request_id="end", actor="clerk")
    for command in (read, end):
        assert node.ask(command, schedule).refusal is RejectionReason.NOT_FOUND
    world.run(10_000)
    assert words(world, schedule) == [(10, "LAUNCHED")]


def test_a_schedule_that_is_due_in_an_hour_is_not_in_memory() -> None:
    world = World()
    node = world.owner()
    call = create_schedule(node, every_ms=3_600_000)
    assert shown(call).next_ms == at(3_600)
    assert node.task(call.task_id) is None
    world.run(3_600_000)
    assert words(world, call.task_id) == [(3_600, "LAUNCHED")]
    assert node.task(call.task_id) is None


def test_an_owner_without_its_lease_fires_nothing() -> None:
    world = World()
    node = world.owner()
    executor = ScriptedExecutor(world)
    call = create_schedule(node)
    world.run(9_500)
    node.hold_writes = True
    node.renews = False
    world.run(2_000)
    assert len(node.writes) == 1
    world.run(3_000)
    node.settle()
    world.run(20_000)
    assert executor.orders == []
    assert node.engine.shards == {}
    assert [row.state for row in world.disk.rows(call.task_id)].count(State.ACTIVE) <= 2
