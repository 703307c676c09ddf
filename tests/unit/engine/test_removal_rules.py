"""Rules R19, R20, R21: which buckets are removed, when, in which order, and what is said then."""

from __future__ import annotations

from typing import Final

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, Call, Node, World
from tests.support.schedule_world import named, read_schedule, shown, words
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import RejectionReason
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.removing import MOST_AT_ONCE, MOST_BARRED
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.ids import Minute, decode_id
from timeball_server.core.journal import DueRow
from timeball_server.core.model import CatchUp, CatchUpPolicy, PublicState

MINUTE_MS: Final = 60_000
RETENTION_MS: Final = 5 * MINUTE_MS
CONFIG: Final = EngineConfig(retention_ms=RETENTION_MS, removal_every_ms=10_000)
LONG_MS: Final = RETENTION_MS + 3 * MINUTE_MS
"""After this whatever ended at the beginning is gone."""


EVERYTHING: Final = CatchUp(policy=CatchUpPolicy.ALL, window_ms=60 * MINUTE_MS)
REMOVALS: Final = (fx.ReadForRemoval, fx.MoveDeletedBelow, fx.RemoveBuckets)

ANSWERS: Final = (ev.BucketRead, ev.DeletedBelowMoved, ev.BucketsRemoved)


def made(world: World) -> Node:
    """An owner of a shard that knows where its homes begin."""
    world.disk.deleted_below[SHARD] = minute_of(world.wall_ms)
    return world.owner(CONFIG)


def done(world: World, node: Node, executor: ScriptedExecutor) -> Call:
    """A task that has succeeded."""
    call = node.create()
    executor.succeeds(executor.last)
    return call


def below(world: World) -> Minute:
    return world.disk.deleted_below[SHARD]


def home(call: Call) -> Minute:
    return decode_id(call.task_id).home.minute


def test_r19_a_bucket_goes_when_its_tasks_have_ended_and_the_retention_is_over() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = made(world)
    call = done(world, node, executor)
    world.run(RETENTION_MS - 1_000)
    assert node.read(call.task_id).view.state is PublicState.SUCCEEDED
    world.run(LONG_MS - RETENTION_MS)
    assert world.disk.rows(call.task_id) == []
    assert world.disk.hints(home(call), SHARD, 0, 2**62) == []
    assert node.read(call.task_id).refusal is RejectionReason.EXPIRED
    assert node.repeat(call).refusal is RejectionReason.EXPIRED
    assert node.cancel(call.task_id).refusal is RejectionReason.EXPIRED


def test_r19_the_retention_counts_from_the_end_of_the_last_task() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = made(world)
    call = node.create()
    executor.starts(executor.last)
    world.run(RETENTION_MS)
    executor.succeeds(executor.last)
    world.run(RETENTION_MS - 1_000)
    assert node.read(call.task_id).view.state is PublicState.SUCCEEDED
    world.run(2 * MINUTE_MS)
    assert node.read(call.task_id).refusal is RejectionReason.EXPIRED


def test_r19_a_task_that_is_open_keeps_its_bucket_and_all_later_ones() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = made(world)
    held = node.create()
    executor.snoozes(executor.last, 3 * LONG_MS)
    world.run(MINUTE_MS)
    later = done(world, node, executor)
    world.run(2 * LONG_MS)
    assert node.task(held.task_id) is None, "it waits in the store, not in memory"
    assert below(world) == home(held)
    assert node.read(later.task_id).view.state is PublicState.SUCCEEDED


def test_r19_what_is_asked_while_the_bar_is_up_waits_for_the_verdict() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = made(world)
    call = done(world, node, executor)
    world.run(RETENTION_MS)
    node.hold_reads = True
    world.run(2 * MINUTE_MS)
    asked, repeated = node.read(call.task_id), node.repeat(call)
    assert asked.outcome is None
    assert repeated.outcome is None
    node.deliver_reads()
    world.run(1_000)
    assert asked.refusal is RejectionReason.EXPIRED
    assert repeated.refusal is RejectionReason.EXPIRED


def test_r19_who_waited_behind_a_bar_that_is_lifted_is_answered() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = made(world)
    held = node.create()
    executor.snoozes(executor.last, 3 * LONG_MS)
    while below(world) < home(held):
        world.run(10_000)
    node.hold_reads = True
    world.run(MINUTE_MS)
    asked = node.read(held.task_id)
    assert asked.outcome is None
    node.deliver_reads()
    assert asked.view.state is PublicState.RETRYING


def test_r19_nobody_waits_behind_a_bar_without_bound() -> None:
    world = World()
    node = made(world)
    call = node.create(in_ms=1_000)
    node.cancel(call.task_id)
    world.run(RETENTION_MS)
    node.hold_reads = True
    world.run(2 * MINUTE_MS)
    calls = [node.read(call.task_id) for _ in range(MOST_BARRED + 1)]
    assert calls[-2].outcome is None
    assert calls[-1].refusal is RejectionReason.OVERLOADED


def test_r19_whoever_waits_behind_a_bar_is_sent_away_when_the_shard_is_lost() -> None:
    world = World()
    node = made(world)
    call = node.create(in_ms=1_000)
    node.cancel(call.task_id)
    world.run(RETENTION_MS)
    node.hold_reads = True
    world.run(2 * MINUTE_MS)
    asked = node.read(call.task_id)
    node.renews = False
    world.run(10_000)
    assert asked.refusal is RejectionReason.NOT_OWNED


def test_r19_what_is_in_use_when_the_round_begins_keeps_its_bucket() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = made(world)
    call = done(world, node, executor)
    world.run(RETENTION_MS - MINUTE_MS)
    second = world.owner(CONFIG)
    node.frozen = True
    second.hold_writes = True
    asked = second.read(call.task_id)
    world.run(4 * MINUTE_MS)
    assert asked.outcome is None, "its pin is on its way to the store"
    assert below(world) <= home(call)
    second.release_writes()
    assert asked.view.state is PublicState.SUCCEEDED


def test_r20_the_watermark_moves_before_anything_is_deleted() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = made(world)
    done(world, node, executor)
    world.run(RETENTION_MS)
    node.log.clear()
    node.hold_reads = True
    world.run(2 * MINUTE_MS)
    for _ in range(3):
        held, node.reads = node.reads, []
        node.feed(*(each for each in held if isinstance(each, ANSWERS)))
    order = [type(each) for each in node.log if isinstance(each, REMOVALS)]
    assert order[:3] == list(REMOVALS)


def test_r20_nothing_is_deleted_before_the_watermark_is_known_to_stand() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = made(world)
    call = done(world, node, executor)
    world.run(RETENTION_MS)
    node.hold_reads = True
    world.run(2 * MINUTE_MS)
    held, node.reads = node.reads, []
    node.feed(*(each for each in held if isinstance(each, ANSWERS)))
    assert below(world) > home(call), "the write was carried out, and nobody has said so"
    asked = node.read(call.task_id)
    world.run(MINUTE_MS)
    assert asked.outcome is None
    assert world.disk.rows(call.task_id) != []
    node.deliver_reads()
    assert asked.refusal is RejectionReason.EXPIRED
    assert world.disk.rows(call.task_id) == []


def test_r20_an_owner_whose_watermark_write_is_refused_gives_the_shard_up() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = made(world)
    call = done(world, node, executor)
    world.run(RETENTION_MS)
    world.next_epoch(SHARD)
    world.disk.scan_from[SHARD] = Minute(world.disk.scan_from[SHARD])
    world.run(3 * MINUTE_MS)
    assert SHARD not in node.engine.shards
    assert world.disk.rows(call.task_id) != []


def test_r20_a_new_owner_finishes_what_its_predecessor_may_have_left() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = made(world)
    call = done(world, node, executor)
    world.run(MINUTE_MS)
    node.frozen = True
    world.disk.deleted_below[SHARD] = Minute(home(call) + 1)
    assert world.disk.rows(call.task_id) != []
    second = world.owner(CONFIG)
    world.run(MINUTE_MS)
    assert world.disk.rows(call.task_id) == []
    first = next(each for each in second.log if isinstance(each, REMOVALS))
    assert isinstance(first, fx.RemoveBuckets)
    assert first.below - first.first == MOST_AT_ONCE


def test_r20_a_round_is_bounded_and_a_long_stop_is_caught_up_round_by_round() -> None:
    world = World()
    node = made(world)
    node.frozen = True
    world.run(60 * MINUTE_MS)
    second = world.owner(CONFIG)
    world.run(3 * MINUTE_MS)
    rounds = [each for each in second.log if isinstance(each, fx.RemoveBuckets)]
    assert len(rounds) > 3
    assert all(each.below - each.first <= MOST_AT_ONCE for each in rounds)
    assert below(world) >= minute_of(world.wall_ms - RETENTION_MS) - 4


def test_r21_a_late_row_of_a_removed_task_comes_to_nothing() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = made(world)
    call = done(world, node, executor)
    rows = world.disk.rows(call.task_id)
    world.run(LONG_MS)
    created = rows[0]
    world.disk.journal[call.task_id] = {(created.epoch, created.seq): created}
    alarm = created.alarm
    assert alarm is not None
    minute = minute_of(world.wall_ms) + 1
    hint = DueRow(
        minute=minute,
        part=0,
        due_ms=alarm.due_ms,
        task_id=call.task_id,
        seq=alarm.seq,
        epoch=alarm.epoch,
        handler="charge",
        priority=5,
    )
    world.disk.due.setdefault((minute, SHARD), set()).add(hint)
    orders = len(executor.orders)
    node.frozen = True
    second = world.owner(CONFIG)
    world.run(3 * MINUTE_MS)
    assert len(executor.orders) == orders
    assert second.task(call.task_id) is None


def test_r19_a_shard_whose_first_home_nobody_knows_keeps_everything() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner(CONFIG)
    call = done(world, node, executor)
    world.run(LONG_MS)
    assert not [each for each in node.log if isinstance(each, REMOVALS)]
    assert node.read(call.task_id).view.state is PublicState.SUCCEEDED


# Schedules whose runs are gone --------------------------------------------------------------------


def test_r21_a_run_that_was_removed_is_not_launched_again_by_a_new_owner() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = made(world)
    every_ms = 2 * LONG_MS
    schedule_id = named(node, "nightly", every_ms=every_ms).task_id
    world.run(every_ms + 1_000)
    executor.succeeds(executor.last)
    run = executor.last.run.task_id
    world.run(LONG_MS)
    assert world.disk.rows(run) == [], "the run's bucket is gone, its schedule goes on"
    node.frozen = True
    second = world.owner(CONFIG)
    assert shown(read_schedule(second, schedule_id)).runs == 1
    world.run(10_000)
    assert [order.run.task_id for order in executor.orders].count(run) == 1
    world.run(every_ms)
    assert len(executor.orders) == 2


def test_r21_times_that_are_older_than_what_is_kept_are_missed_and_not_launched() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = made(world)
    schedule_id = named(node, "often", every_ms=MINUTE_MS, catch_up=EVERYTHING).task_id
    world.run(MINUTE_MS + 1_000)
    executor.succeeds(executor.last)
    node.frozen = True
    world.run(10 * MINUTE_MS)
    world.disk.deleted_below[SHARD] = minute_of(world.wall_ms - RETENTION_MS)
    world.owner(CONFIG)
    world.run(1_000)
    kept = world.disk.deleted_below[SHARD]
    launched = {order.run.task_id for order in executor.orders[1:]}
    assert launched
    assert all(decode_id(run).home.minute >= kept for run in launched)
    told = [word for _, word in words(world, schedule_id)]
    assert told[0] == "LAUNCHED"
    assert told[1] == "MISSED_WINDOW"
    assert "LAUNCHED" in told[2:]
