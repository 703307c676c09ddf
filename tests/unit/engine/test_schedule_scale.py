"""Many schedules of one shard: all due at one instant, and many that are not due for long."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, START_MS, World
from tests.support.schedule_world import create_schedule, verdicts
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.dispatching import MOST_SCHEDULES_IN_A_STEP
from timeball_server.core.engine.node import next_wake_ms
from timeball_server.core.journal import LedgerRow
from timeball_server.core.model import Overlap, OverlapPolicy

MANY = 2_000
MORE = 12 * MOST_SCHEDULES_IN_A_STEP
MINUTE_MS = 60_000
SLOW_STEP_MS = 5_500
"""So long that the next boundary comes while some have not acted at the one before."""


def test_all_that_are_due_at_one_instant_are_launched_once_and_memory_lets_go_of_them() -> None:
    world = World()
    node = world.owner()
    executor = ScriptedExecutor(world, slots=2 * MANY)
    rule = Overlap(policy=OverlapPolicy.SKIP)
    for _ in range(MANY):
        create_schedule(node, every_ms=MINUTE_MS, overlap=rule)
    world.run(MINUTE_MS - START_MS % MINUTE_MS + 1_000)
    assert len({order.run.task_id for order in executor.orders}) == len(executor.orders) == MANY
    for order in list(executor.orders):
        executor.succeeds(order)
    world.run(1_000)
    assert len(node.engine.shards[SHARD].tasks) == 0, "nothing is due within the horizon"
    world.run(MINUTE_MS)
    assert len(executor.orders) == 2 * MANY
    rows = [row for row in world.disk.listed if isinstance(row, LedgerRow)]
    assert {row.verdict for row in rows} == {"LAUNCHED"}
    assert len({(row.schedule_id, row.nominal_ms) for row in rows}) == len(rows) == 2 * MANY


def test_what_is_stored_costs_no_memory_before_its_minute() -> None:
    world = World()
    node = world.owner()
    calls = [create_schedule(node, every_ms=86_400_000) for _ in range(MANY)]
    shard = node.engine.shards[SHARD]
    world.run(5_000)
    assert (len(shard.tasks), len(shard.parked)) == (0, 0)
    assert len(shard.recent) <= node.engine.config.recent_creations
    assert verdicts(world, calls[0].task_id) == {}


def test_those_that_wait_for_a_run_stay_in_memory_and_no_others() -> None:
    world = World()
    node = world.owner()
    ScriptedExecutor(world, slots=2 * MANY)
    waiting = create_schedule(
        node, every_ms=MINUTE_MS, overlap=Overlap(policy=OverlapPolicy.BUFFER_ONE)
    )
    world.run(2 * MINUTE_MS + 1_000)
    shard = node.engine.shards[SHARD]
    assert waiting.task_id in shard.tasks
    assert len(shard.tasks) == 2


def test_of_those_that_are_due_at_one_instant_some_act_in_a_step_and_others_in_the_next() -> None:
    """A step without end would outlast the lease, and live work would wait for all of them."""
    world = World()
    node = world.owner()
    count = MOST_SCHEDULES_IN_A_STEP + 50
    for _ in range(count):
        create_schedule(node, every_ms=MINUTE_MS)
    world.run(MINUTE_MS - START_MS % MINUTE_MS - 1)
    node.hold_writes = True
    node.hold_reads = True
    decided = [node.engine.counters.ticks]
    world.jump(1)
    while node.engine.counters.ticks > decided[-1]:
        decided.append(node.engine.counters.ticks)
        assert next_wake_ms(node.engine) <= world.wall_ms or decided[-1] == count
        node.feed(ev.Tick())
    steps = [later - earlier for earlier, later in pairwise(decided)]
    assert steps == [MOST_SCHEDULES_IN_A_STEP, 50]


def test_who_has_not_acted_when_the_next_boundary_comes_goes_first_and_is_late_but_not_missed() -> (
    None
):
    world = World()
    node = world.owner()
    for _ in range(MORE):
        create_schedule(node, every_ms=MINUTE_MS)
    world.run(MINUTE_MS - START_MS % MINUTE_MS - 1)
    world.wall_ms += 1
    held: list[int] = []
    seen: list[LedgerRow] = []
    while len(seen) < 2 * MORE:
        node.step()
        world.wall_ms += SLOW_STEP_MS
        world.mono_ms += SLOW_STEP_MS
        held.append(len(node.engine.timeline))
        seen = [row for row in world.disk.listed if isinstance(row, LedgerRow)]
    first_ms = START_MS - START_MS % MINUTE_MS + MINUTE_MS
    assert [row.nominal_ms for row in seen[:MORE]] == [first_ms] * MORE
    assert [row.nominal_ms for row in seen[MORE : 2 * MORE]] == [first_ms + MINUTE_MS] * MORE
    assert seen[MORE - 1].lateness_ms >= MINUTE_MS, "the next boundary had come by then"
    assert {(row.verdict, row.down_ms) for row in seen} == {("LAUNCHED", 0)}
    launched = Counter((row.schedule_id, row.nominal_ms) for row in seen)
    assert set(launched.values()) == {1}
    assert max(held) <= 4 * MORE, "a schedule and its runs have their places, and no others"
