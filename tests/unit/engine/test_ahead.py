"""Orders that leave ahead of their instant: when, to whom, and that nothing begins early (R24)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_revisions import reschedule
from tests.support.engine_world import Node, World
from timeball_server.core.engine.ahead import GRID_MS
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.journal import EventKind
from timeball_server.core.messages import Capacity, Dispatch, RevokeAnswer, RunOrder
from timeball_server.core.model import DeliveryMode, PublicState, Timeouts

BUSY = EngineConfig(busy_from_per_s=0)
HOUR_MS = 3_600_000


def busy(slots: int = 40, keeps: bool = True) -> tuple[World, Node, ScriptedExecutor]:
    """An owner that takes itself for busy, and an executor that says what it can."""
    world = World()
    executor = ScriptedExecutor(world, slots=slots)
    node = world.owner(BUSY)
    executor.tell(Capacity(slots=slots, free=slots, keeps_orders=keeps))
    return world, node, executor


def sent(
    world: World, executor: ScriptedExecutor, until_ms: int
) -> dict[str, tuple[int, RunOrder]]:
    """When each order came, millisecond by millisecond, for so long."""
    found: dict[str, tuple[int, RunOrder]] = {}
    for _ in range(until_ms):
        known = len(executor.orders)
        world.run(1)
        for order in executor.orders[known:]:
            assert order.run.task_id not in found, "sent twice"
            found[order.run.task_id] = (world.wall_ms, order)
    return found


def test_what_is_due_within_a_moment_leaves_together_and_says_how_long_to_keep_it() -> None:
    world, node, executor = busy()
    calls = [node.create(in_ms=2_000 + 7 * n) for n in range(20)]
    found = sent(world, executor, 2_200)
    assert set(found) == {call.task_id for call in calls}
    for at_ms, order in found.values():
        assert order.keep_ms == order.due_ms - at_ms
        assert GRID_MS <= order.keep_ms < 2 * GRID_MS
    messages = [each for each in executor.heard if isinstance(each, Dispatch)]
    assert len(messages) <= 133 // GRID_MS + 2, "hardly any travelled together"


def test_an_owner_that_is_not_busy_hands_out_at_the_instant() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=40)
    node = world.owner()
    executor.says_capacity(40)
    for n in range(5):
        node.create(in_ms=2_000 + 7 * n)
    assert {
        (at_ms - order.due_ms, order.keep_ms)
        for at_ms, order in sent(world, executor, 2_100).values()
    } == {(0, 0)}


def test_an_owner_is_busy_by_what_it_handed_out_within_a_second() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=400)
    node = world.owner(EngineConfig(busy_from_per_s=50))
    executor.says_capacity(400)
    for _ in range(50):
        node.create()
    world.run(1)
    busy_one = node.create(in_ms=1_500).task_id
    world.run(1_600)
    assert next(o for o in executor.orders if o.run.task_id == busy_one).keep_ms > 0
    world.run(3_000)
    calm_one = node.create(in_ms=2_000).task_id
    world.run(2_100)
    assert next(o for o in executor.orders if o.run.task_id == calm_one).keep_ms == 0


def test_an_executor_that_does_not_keep_orders_hears_of_them_when_they_are_due() -> None:
    world, node, executor = busy(keeps=False)
    call = node.create(in_ms=2_000)
    at_ms, order = sent(world, executor, 2_100)[call.task_id]
    assert (at_ms, order.keep_ms) == (order.due_ms, 0)


@pytest.mark.parametrize(
    "spec",
    [{"mode": DeliveryMode.AT_MOST_ONCE}, {"concurrency_key": "account-1"}],
    ids=["at most once", "with a key"],
)
def test_some_work_leaves_at_its_instant_only(spec: dict[str, Any]) -> None:
    world, node, executor = busy()
    call = node.create(in_ms=2_000, **spec)
    at_ms, order = sent(world, executor, 2_100)[call.task_id]
    assert (at_ms, order.keep_ms) == (order.due_ms, 0)


def test_slots_are_not_given_away_ahead_when_they_are_scarce() -> None:
    """At most half of them are in use by what runs or is kept."""
    world, node, executor = busy(slots=10)
    for _ in range(10):
        node.create(in_ms=2_000)
    found = sent(world, executor, 2_100)
    kept = [order for _, order in found.values() if order.keep_ms]
    assert len(found) == 10
    assert len(kept) == 5


def test_nobody_is_overtaken_by_what_is_not_due() -> None:
    """Somebody waits, so whatever is not due goes into the line when it is."""
    world, node, executor = busy()
    node.create(in_ms=1_500, handler="refund")  # no executor has it
    call = node.create(in_ms=2_000)
    at_ms, order = sent(world, executor, 2_100)[call.task_id]
    assert (at_ms, order.keep_ms) == (order.due_ms, 0)


def test_a_kept_order_is_taken_back_by_a_cancel_and_by_a_move() -> None:
    world, node, executor = busy()
    cancelled, moved = (node.create(in_ms=2_000).task_id for _ in range(2))
    sent(world, executor, 1_970)
    asked = node.cancel(cancelled), reschedule(node, moved, 5_000)
    assert [call.outcome for call in asked] == [None, None]
    while executor.revokes:
        executor.answers_revoke(RevokeAnswer.REVOKED)
    assert asked[0].view.state is PublicState.CANCELLED
    assert asked[1].view.state is PublicState.SCHEDULED
    world.run(10_000)
    assert [o.run.task_id for o in executor.orders].count(moved) == 2
    assert [o.run.task_id for o in executor.orders].count(cancelled) == 1


def test_whoever_reads_a_claimed_task_makes_no_long_run_of_it() -> None:
    """Each look at a task puts it into the timeline again, and a look at a run renews its alarm."""
    world, node, executor = busy()
    call = node.create(in_ms=2_000)
    world.run(1_500)
    for _ in range(3):
        node.read(call.task_id)
        node.cancel(call.task_id, namespace="others")
    world.run(600)
    assert executor.last.keep_ms > 0
    assert world.disk.kinds(call.task_id) == [EventKind.CREATED, EventKind.CLAIMED]


def test_a_clock_put_back_keeps_what_has_not_left_until_its_instant() -> None:
    world, node, executor = busy()
    call = node.create(in_ms=2_000)
    world.run(1_500)
    world.jump(-HOUR_MS)
    world.run(HOUR_MS)
    assert executor.orders == []
    world.run(1_000)
    assert executor.last.run.task_id == call.task_id


def test_the_time_that_an_attempt_may_take_counts_from_its_instant() -> None:
    world, node, executor = busy()
    limits = Timeouts(schedule_to_close_ms=300)
    call = node.create(in_ms=2_000, timeouts=limits)
    _, order = sent(world, executor, 2_100)[call.task_id]
    assert order.keep_ms > 0
    assert order.start_to_close_ms == 300
