"""Rules S3 and S4: what a new owner makes of a tick that the earlier one may have begun."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import LEASE_MS, SHARD, START_MS, Node, World
from tests.support.schedule_world import (
    ask,
    create_schedule,
    end_schedule,
    lives,
    of_run,
    of_schedule,
    read_schedule,
    run_id,
    shown,
    tear,
    verdicts,
    words,
)
from timeball_server.core.commands import PauseSchedule, RejectionReason, ResumeSchedule
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import DueRow, EventKind, EventRow, LedgerRow, Row
from timeball_server.core.model import Overlap, OverlapPolicy, PublicState

K = EventKind


def at(seconds: int) -> int:
    """A nominal time, as milliseconds."""
    return START_MS + seconds * 1_000


def torn_tick(
    lands: Callable[[Row], bool], *, every_ms: int = 10_000, max_runs: int = 0
) -> tuple[World, TaskId, fx.Write]:
    """An owner froze while it wrote the first tick; part of the write is durable."""
    world = World()
    first = world.owner()
    schedule_id = create_schedule(first, every_ms=every_ms, max_runs=max_runs).task_id
    world.run(every_ms - 500)
    first.hold_writes = True
    world.run(600)
    (write,) = first.writes
    first.frozen = True
    tear(world, write, lands)
    return world, schedule_id, write


def nothing(row: Row) -> bool:
    """No row of the write is durable."""
    return False


def started(executor: ScriptedExecutor) -> list[TaskId]:
    """Tasks in the order in which they were handed out."""
    return [order.run.task_id for order in executor.orders]


# S3: the TICK event is the decision ---------------------------------------------------------------


@pytest.mark.parametrize(("every_ms", "max_runs"), [(10_000, 0), (3_600_000, 0), (10_000, 1)])
def test_s3_a_tick_without_its_run_is_completed_with_the_same_id(
    every_ms: int, max_runs: int
) -> None:
    world, schedule_id, _ = torn_tick(of_schedule, every_ms=every_ms, max_runs=max_runs)
    run = run_id(schedule_id, START_MS + every_ms)
    assert world.disk.rows(run) == []
    node = world.owner()
    executor = ScriptedExecutor(world)
    world.run(1_000)
    assert started(executor) == [run]
    assert verdicts(world, schedule_id)[START_MS + every_ms].task_id == run
    assert shown(read_schedule(node, schedule_id)).runs == 1
    assert world.disk.kinds(schedule_id).count(K.TICK) <= 1


def test_s3_a_run_without_its_tick_is_launched_already() -> None:
    world, schedule_id, _ = torn_tick(of_run)
    run = run_id(schedule_id, at(10))
    node = world.owner()
    executor = ScriptedExecutor(world)
    world.run(1_000)
    assert started(executor) == [run]
    assert words(world, schedule_id) == [(10, "LAUNCHED")]
    assert verdicts(world, schedule_id)[at(10)].cause == "fail-over"
    assert shown(read_schedule(node, schedule_id)).recent == (run,)
    assert [row.epoch for row in world.disk.rows(run)][:1] == [100 + 1]


def test_s3_a_run_without_its_tick_that_waited_long_is_launched_and_the_rest_coalesced() -> None:
    world, schedule_id, _ = torn_tick(of_run)
    world.jump(35_000)
    world.owner()
    executor = ScriptedExecutor(world)
    world.run(1_000)
    expected = [(10, "LAUNCHED"), (20, "COALESCED"), (30, "COALESCED"), (40, "LAUNCHED")]
    assert words(world, schedule_id) == expected
    assert started(executor) == [run_id(schedule_id, at(10)), run_id(schedule_id, at(40))]


def test_s3_with_neither_it_is_decided_anew() -> None:
    world, schedule_id, _ = torn_tick(nothing)
    world.owner()
    executor = ScriptedExecutor(world)
    world.run(1_000)
    assert started(executor) == [run_id(schedule_id, at(10))]
    assert words(world, schedule_id) == [(10, "LAUNCHED")]


def test_s3_a_whole_tick_is_left_as_it_is() -> None:
    world, schedule_id, _ = torn_tick(lambda row: True)
    node = world.owner()
    executor = ScriptedExecutor(world)
    world.run(1_000)
    assert started(executor) == [run_id(schedule_id, at(10))]
    assert shown(read_schedule(node, schedule_id)).runs == 1
    assert world.disk.kinds(run_id(schedule_id, at(10)))[0] is K.CREATED


def test_s3_nothing_else_is_decided_before_a_torn_tick_is_whole() -> None:
    world, schedule_id, _ = torn_tick(of_schedule)
    run = run_id(schedule_id, at(10))
    node = world.node("s2")
    node.hold_writes = True
    node.acquire()
    world.run(15_000)
    ended = end_schedule(node, schedule_id)
    (write,) = node.writes
    runs = (row for row in write.rows if isinstance(row, EventRow | DueRow) and of_run(row))
    assert {row.task_id for row in runs} == {run}
    node.release_writes()
    assert shown(ended).recent == (run,)
    assert words(world, schedule_id) == [(10, "LAUNCHED"), (20, "CANCELLED")]


def looking_for_the_run(world: World) -> Node:
    """A new owner that serves, and whose read of the run is on its way."""
    node = world.node("s2")
    node.hold_reads = True
    node.acquire()
    while not any(isinstance(read, ev.TasksRead) for read in node.reads):
        reads, node.reads = node.reads, []
        node.feed(*reads)
    return node


def test_s3_who_asks_for_the_run_while_it_is_looked_for_is_answered() -> None:
    world, schedule_id, _ = torn_tick(of_schedule)
    node = looking_for_the_run(world)
    run = run_id(schedule_id, at(10))
    cancelled = node.cancel(run)
    node.deliver_reads()
    assert cancelled.view.state is PublicState.CANCELLED
    executor = ScriptedExecutor(world)
    world.run(5_000)
    assert started(executor) == []
    assert words(world, schedule_id) == [(10, "LAUNCHED")]


def test_s3_a_tick_without_its_ledger_row_gets_it_again() -> None:
    world, schedule_id, _ = torn_tick(lambda row: not isinstance(row, LedgerRow))
    assert words(world, schedule_id) == []
    world.owner()
    assert words(world, schedule_id) == [(10, "LAUNCHED")]


def unless_ledger(row: Row) -> bool:
    return not isinstance(row, LedgerRow)


def test_s3_a_verdict_that_is_written_again_says_how_long_nobody_was_there() -> None:
    world = World()
    first = world.owner()
    schedule_id = create_schedule(first).task_id
    world.run(5_000)
    first.frozen = True
    world.jump(8_000)
    second = world.node("s2")
    second.hold_writes = True
    second.acquire()
    world.run(200)
    (write,) = second.writes
    second.frozen = True
    tear(world, write, unless_ledger)
    world.jump(30_000)
    world.owner()
    row = verdicts(world, schedule_id)[at(10)]
    assert (row.verdict, row.cause, row.down_ms) == ("LAUNCHED", "fail-over", 3_000)
    assert row.lateness_ms >= row.down_ms


def test_s3_a_verdict_that_is_written_again_says_how_long_an_earlier_run_held_it_up() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    overlap = Overlap(policy=OverlapPolicy.BUFFER_ONE)
    schedule_id = create_schedule(first, overlap=overlap).task_id
    world.run(25_000)
    first.hold_writes = True
    executor.succeeds(executor.last)
    while not any(isinstance(row, LedgerRow) for write in first.writes for row in write.rows):
        first.settle_one()
    (write,) = first.writes
    first.frozen = True
    tear(world, write, unless_ledger)
    assert at(20) not in verdicts(world, schedule_id)
    world.owner()
    row = verdicts(world, schedule_id)[at(20)]
    assert (row.verdict, row.lateness_ms, row.overlap_ms) == ("LAUNCHED", 5_000, 5_000)


def test_s5_verdicts_on_what_was_passed_over_are_durable_before_the_tick() -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    world.run(5_000)
    node.hold_writes = True
    world.jump(26_000)
    (write,) = node.writes
    assert [type(row) for row in write.rows] == [LedgerRow]
    ended = end_schedule(node, schedule_id)
    node.release_writes()
    assert shown(ended).ended
    assert words(world, schedule_id)[:2] == [(10, "COALESCED"), (20, "COALESCED")]


def is_end(row: Row) -> bool:
    return isinstance(row, EventRow) and row.kind is EventKind.SCHEDULE_ENDED


def test_s6_who_ended_a_schedule_hears_unknown_when_the_shard_is_lost_meanwhile() -> None:
    world = World()
    node = world.owner()
    schedule_id = create_schedule(node).task_id
    world.run(5_000)
    node.frozen = True
    world.jump(27_000)
    node.frozen = False
    node.hold_writes = True
    ended = end_schedule(node, schedule_id)
    while not any(is_end(row) for write in node.writes for row in write.rows):
        node.settle_one()
    node.feed(ev.ShardLost(SHARD))
    assert ended.refusal is RejectionReason.UNKNOWN


# S4: what is not launched is fenced off -----------------------------------------------------------


def test_s4_a_time_that_is_coalesced_after_a_take_over_is_voided() -> None:
    world, schedule_id, write = torn_tick(nothing)
    world.jump(25_000)
    world.owner()
    executor = ScriptedExecutor(world)
    world.run(1_000)
    run = run_id(schedule_id, at(10))
    assert words(world, schedule_id) == [(10, "COALESCED"), (20, "COALESCED"), (30, "LAUNCHED")]
    assert world.disk.kinds(run) == [K.VOID]
    world.disk.append(write.rows)
    world.run(120_000)
    assert run not in started(executor)
    world.nodes[-1].frozen = True
    world.owner()
    world.run(120_000)
    assert run not in started(executor)
    assert words(world, schedule_id)[0] == (10, "COALESCED")


def test_s4_a_single_time_beyond_the_window_is_voided() -> None:
    world, schedule_id, write = torn_tick(nothing, every_ms=3_600_000)
    world.jump(700_000)
    world.owner()
    executor = ScriptedExecutor(world)
    run = run_id(schedule_id, at(3_600))
    assert words(world, schedule_id) == [(3_600, "MISSED_WINDOW")]
    assert world.disk.kinds(run) == [K.VOID]
    world.disk.append(write.rows)
    world.run(60_000)
    assert started(executor) == []


def test_s4_a_schedule_that_was_read_before_its_tick_is_fenced_too() -> None:
    world, schedule_id, _ = torn_tick(nothing)
    world.jump(25_000)
    node = world.node("s2")
    node.hold_reads = True
    node.acquire()
    asked = read_schedule(node, schedule_id)
    node.deliver_reads()
    assert shown(asked).next_ms == at(10)
    world.run(1_000)
    assert K.ADOPTED in world.disk.kinds(schedule_id)
    assert world.disk.kinds(run_id(schedule_id, at(10))) == [K.VOID]


def test_s4_an_end_after_a_take_over_fences_the_time_in_hand() -> None:
    world, schedule_id, write = torn_tick(nothing)
    node = world.node("s2")
    node.hold_reads = True
    node.acquire()
    ended = end_schedule(node, schedule_id)
    node.deliver_reads()
    assert shown(ended).runs == 0
    executor = ScriptedExecutor(world)
    world.disk.append(write.rows)
    world.run(120_000)
    assert started(executor) == []
    assert words(world, schedule_id) == [(10, "CANCELLED")]


def test_s6_an_end_after_a_take_over_counts_the_run_that_is_there() -> None:
    world, schedule_id, _ = torn_tick(of_run)
    node = world.node("s2")
    node.hold_reads = True
    node.acquire()
    ended = end_schedule(node, schedule_id)
    node.deliver_reads()
    assert shown(ended).runs == 1
    executor = ScriptedExecutor(world)
    assert started(executor) == [run_id(schedule_id, at(10))]
    assert words(world, schedule_id) == [(10, "LAUNCHED")]


def test_s4_who_cancels_the_id_while_its_fence_is_written_makes_no_second_first_event() -> None:
    world, schedule_id, _ = torn_tick(nothing)
    world.jump(25_000)
    node = world.node("s2")
    node.hold_writes = True
    node.acquire()
    run = run_id(schedule_id, at(10))
    cancelled = node.cancel(run)
    assert len(node.answers) == 0
    node.release_writes()
    assert cancelled.refusal is RejectionReason.NOT_FOUND
    assert world.disk.kinds(run) == [K.VOID]


def test_s4_a_void_that_a_take_over_finds_is_no_launch() -> None:
    world, schedule_id, _ = torn_tick(nothing)
    world.jump(25_000)
    second = world.node("s2")
    second.hold_writes = True
    second.acquire()
    (write,) = second.writes
    second.frozen = True
    tear(world, write, lambda row: getattr(row, "kind", None) is K.VOID)
    node = world.owner()
    world.run(1_000)
    assert words(world, schedule_id) == [(10, "COALESCED"), (20, "COALESCED"), (30, "LAUNCHED")]
    assert shown(read_schedule(node, schedule_id)).runs == 1


def test_s4_only_the_time_in_hand_is_ever_launched_so_every_zombie_is_known() -> None:
    """The first owner was late itself: it would have launched a later time than the next saw."""
    world = World()
    first = world.owner()
    schedule_id = create_schedule(first).task_id
    world.run(5_000)
    first.hold_writes = True
    world.jump(26_000)
    world.run(1_000)
    first.frozen = True
    zombie = list(first.writes)
    world.jump(10_000)
    world.owner()
    executor = ScriptedExecutor(world)
    world.run(1_000)
    for write in zombie:
        world.disk.append([row for row in write.rows if of_run(row)])
    world.run(5_000)
    world.nodes[-1].frozen = True
    world.owner()
    world.run(3_000)
    launched = [nominal for nominal, word in words(world, schedule_id) if word == "LAUNCHED"]
    assert started(executor) == [run_id(schedule_id, at(seconds)) for seconds in launched]


def test_s4_a_void_of_an_older_epoch_is_no_fence() -> None:
    """Somebody cancelled the id ahead of its time, and an owner that did not see it launched it."""
    world = World()
    first = world.owner()
    schedule_id = create_schedule(first).task_id
    run = run_id(schedule_id, at(10))
    first.hold_writes = True
    first.cancel(run)
    (void,) = first.writes
    first.frozen = True
    second = world.owner()
    world.run(9_500)
    second.hold_writes = True
    world.run(1_000)
    (launch,) = second.writes
    second.frozen = True
    world.disk.append(void.rows)
    node = world.owner()
    assert words(world, schedule_id) == [(10, "CANCELLED")]
    world.disk.append(launch.rows)
    executor = ScriptedExecutor(world)
    world.run(2_000)
    node.frozen = True
    world.owner()
    world.run(2_000)
    assert started(executor) == []


def test_s4_a_tick_that_comes_after_its_run_was_fenced_off_is_taken_back() -> None:
    world, schedule_id, write = torn_tick(nothing)
    world.jump(25_000)
    second = world.node("s2")
    second.hold_writes = True
    second.acquire()
    (fence,) = second.writes
    second.frozen = True
    world.disk.append(write.rows)
    world.disk.append(fence.rows)
    node = world.owner()
    executor = ScriptedExecutor(world)
    world.run(1_000)
    assert words(world, schedule_id) == [(10, "CANCELLED"), (20, "COALESCED"), (30, "LAUNCHED")]
    assert shown(read_schedule(node, schedule_id)).recent == (run_id(schedule_id, at(30)),)
    assert started(executor) == [run_id(schedule_id, at(30))]


def test_s4_what_a_fence_was_made_for_stands_though_the_run_has_ended_meanwhile() -> None:
    """Found by seed 290: it was called cancelled, and nobody had cancelled anything."""
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    schedule_id = create_schedule(first, overlap=Overlap(policy=OverlapPolicy.SKIP)).task_id
    world.run(15_000)
    order = executor.last
    first.frozen, first.renews = True, False
    second = world.owner()
    world.run(4_900)
    second.hold_writes = True
    world.run(300)
    assert [row.kind for row in second.writes[0].rows] == [K.VOID]  # type: ignore[union-attr]
    executor.succeeds(order)
    second.settle_one(1)
    second.release_writes()
    world.run(1_000)
    assert words(world, schedule_id) == [(10, "LAUNCHED"), (20, "SKIPPED_OVERLAP")]


def test_s4_a_time_that_was_in_hand_before_stays_so_through_a_pause() -> None:
    world = World()
    first = world.owner()
    schedule_id = create_schedule(first).task_id
    world.run(9_900)
    first.hold_writes = True
    world.run(200)
    (late,) = first.writes
    first.frozen, first.renews = True, False
    world.jump(-6_000)  # the next owner's clock is behind
    world.mono_ms += LEASE_MS
    second = world.owner()
    assert shown(ask(second, PauseSchedule, schedule_id, "p")).next_ms == at(10)
    world.run(8_000)
    assert shown(ask(second, ResumeSchedule, schedule_id, "q")).next_ms == at(20)
    tear(world, late, of_run)
    assert verdicts(world, schedule_id)[at(10)].verdict == "PAUSED"
    assert not lives(world, run_id(schedule_id, at(10)))


def test_s4_a_fence_is_written_once_however_often_something_else_is_looked_for() -> None:
    world = World()
    first = world.owner()
    ScriptedExecutor(world)
    rule = Overlap(policy=OverlapPolicy.BUFFER, limit=2)
    schedule_id = create_schedule(first, overlap=rule).task_id
    world.run(35_000)
    first.frozen, first.renews = True, False
    world.jump(10_000)
    second = world.owner()
    second.cancel(run_id(schedule_id, at(30)))
    second.hold_writes = True
    ended = end_schedule(second, schedule_id)
    while ended.outcome is None:
        world.run(100)
        second.settle()
    words_of = verdicts(world, schedule_id)
    assert [words_of[at(seconds)].verdict for seconds in (20, 30)] == ["CANCELLED", "CANCELLED"]
    voids = world.disk.rows(run_id(schedule_id, at(20)))
    assert [row.kind for row in voids] == [K.VOID]
