"""The order in which a take-over reads: what is due now first, the past last, then sweeps."""

from __future__ import annotations

from itertools import pairwise

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, START_MS, Node, World
from timeball_server.core.buckets import MINUTE_MS, SLICE_MS, end_ms, minute_of, start_ms
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.state import Phase
from timeball_server.core.ids import Minute


def loads(node: Node) -> list[fx.LoadSlice]:
    return [effect for effect in node.log if isinstance(effect, fx.LoadSlice)]


def taking_over(world: World, *, behind_minutes: int, into_minute_ms: int) -> Node:
    """A node that has just acquired a shard whose past nobody has swept; its reads are held."""
    world.owner().frozen = True
    world.jump(behind_minutes * MINUTE_MS + into_minute_ms)
    node = world.node()
    node.hold_reads = True
    node.acquire()
    return node


def deliver_one_wave(node: Node) -> list[fx.LoadSlice]:
    """Answer what was asked; what is asked for next."""
    known = len(loads(node))
    reads, node.reads = node.reads, []
    node.feed(*reads)
    return loads(node)[known:]


def test_what_is_due_now_is_read_before_the_slices_ahead_and_these_before_the_past() -> None:
    world = World()
    node = taking_over(world, behind_minutes=3, into_minute_ms=25_000)
    now_ms = world.wall_ms
    (urgent,) = loads(node)
    assert urgent.from_ms <= now_ms - 2_000 < now_ms + 2_000 < urgent.to_ms
    ahead = deliver_one_wave(node)
    assert [part.from_ms for part in ahead] == [urgent.to_ms, urgent.to_ms + SLICE_MS]
    past = deliver_one_wave(node)
    this_minute = minute_of(now_ms)
    assert [part.minute for part in past] == [this_minute, this_minute - 1]
    assert past[0].to_ms == urgent.from_ms
    assert [part.minute for part in deliver_one_wave(node)] == [this_minute - 2, this_minute - 3]
    assert node.engine.shards[SHARD].phase is Phase.LOADING
    assert deliver_one_wave(node) == []
    assert node.engine.shards[SHARD].phase is Phase.SERVING


def test_just_after_a_full_minute_the_end_of_the_last_one_is_urgent() -> None:
    world = World()
    node = taking_over(world, behind_minutes=2, into_minute_ms=500)
    last, present = loads(node)
    this_minute = minute_of(world.wall_ms)
    assert (last.minute, last.from_ms) == (this_minute - 1, start_ms(this_minute) - SLICE_MS)
    assert last.to_ms > start_ms(this_minute)
    assert (present.minute, present.from_ms) == (this_minute, 0)


def test_every_instant_from_scan_from_on_is_read_exactly_once() -> None:
    for into_minute_ms in (0, 500, 9_999, 10_000, 31_000, 59_000):
        world = World()
        node = taking_over(world, behind_minutes=4, into_minute_ms=into_minute_ms)
        while deliver_one_wave(node):
            pass
        for minute in map(Minute, range(minute_of(START_MS), minute_of(world.wall_ms) + 1)):
            parts = sorted(
                (part.from_ms, part.to_ms) for part in loads(node) if part.minute == minute
            )
            assert parts[0][0] == 0
            assert all(one[1] == other[0] for one, other in pairwise(parts))
            if minute < minute_of(world.wall_ms):
                assert parts[-1][1] > end_ms(minute)


def test_due_work_starts_while_the_past_is_still_read() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    old, due = first.create(in_ms=30_000), first.create(in_ms=3 * MINUTE_MS + 25_000)
    first.frozen = True
    world.jump(3 * MINUTE_MS + 25_000)
    second = world.node()
    second.hold_reads = True
    second.acquire()
    assert executor.orders == []
    deliver_one_wave(second)
    assert [order.run.task_id for order in executor.orders] == [due.task_id]
    second.deliver_reads()
    second.hold_reads = False
    second.deliver_reads()
    world.run(1_000)
    assert {order.run.task_id for order in executor.orders} == {due.task_id, old.task_id}


def test_r18_nothing_is_swept_before_all_is_read() -> None:
    """What was not read yet was acknowledged: a sweep would take it for a late row and void it."""
    world = World()
    node = taking_over(world, behind_minutes=3, into_minute_ms=0)
    world.run(2 * node.engine.config.sweep_every_ms)
    assert not any(isinstance(effect, fx.SweepBucket) for effect in node.log)
    node.hold_reads = False
    node.deliver_reads()
    world.run(2 * node.engine.config.sweep_every_ms)
    assert any(isinstance(effect, fx.SweepBucket) for effect in node.log)


def test_a_slice_that_becomes_urgent_is_read_although_the_past_takes_long() -> None:
    world = World()
    node = taking_over(world, behind_minutes=3, into_minute_ms=25_000)
    deliver_one_wave(node)
    deliver_one_wave(node)
    known = {part.number for part in loads(node)}
    world.run(24_000)
    assert [part.from_ms for part in loads(node) if part.number not in known] == [
        start_ms(minute_of(world.wall_ms)) + 50_000
    ]
    assert isinstance(node.reads[0], ev.SliceLoaded)
