"""Keys: never more of one at once than allowed, whatever becomes of owners and executors (ADR 16).

What runs is judged at the executors: from the order until the handler is known to have returned.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, World
from tests.support.limits import KEY, allow, create_many, key_rule
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.journal import EventKind, State
from timeball_server.core.messages import InventoryEntry, RefusalReason, RunId, RunPhase
from timeball_server.core.model import DeliveryMode, Timeouts


def test_of_a_key_that_no_rule_names_one_runs_at_a_time() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    create_many(node, 3)
    for number in (1, 2, 3):
        assert len(executor.orders) == number
        executor.succeeds(executor.last)
    assert len(executor.orders) == 3


@pytest.mark.parametrize("in_ms", [None, 300, 5_000], ids=["now", "soon", "ahead"])
def test_as_many_run_as_the_rule_allows_and_never_fewer_while_others_wait(
    in_ms: int | None,
) -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=50)
    node = world.owner()
    allow(node, key_rule("customer/*", concurrency=4))
    create_many(node, 20, in_ms=in_ms)
    world.run(6_000)
    while executor.known:
        left = 20 - len(executor.orders) + len(executor.known)
        assert len(executor.known) == min(4, left)
        first = next(iter(executor.known))
        executor.succeeds(next(o for o in executor.orders if str(o.run) == first))
    assert len(executor.orders) == 20


def test_a_full_key_holds_nobody_else_up() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    create_many(node, 50, priority=8)
    plain = node.create(priority=0)
    other = node.create(concurrency_key="customer/8", priority=0)
    started = [order.run.task_id for order in executor.orders]
    assert started[1:] == [plain.task_id, other.task_id]
    assert world.disk.kinds(plain.task_id) == [EventKind.BORN_CLAIMED]


def test_a_handler_without_an_executor_does_not_take_the_places_of_its_key() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    create_many(node, 3, handler="nobody", in_ms=50)
    create_many(node, 2, in_ms=60)
    world.run(200)
    assert len(executor.orders) == 1
    executor.succeeds(executor.last)
    assert len(executor.orders) == 2


def test_the_most_urgent_of_a_key_goes_first() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    create_many(node, 1)
    low = create_many(node, 3, priority=1)
    high = create_many(node, 1, priority=7)
    executor.succeeds(executor.last)
    assert executor.last.run.task_id == high[0].task_id
    executor.succeeds(executor.last)
    assert executor.last.run.task_id == low[0].task_id


def test_the_urgent_one_goes_first_even_if_others_wait_for_an_executor_already() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1)
    node = world.owner()
    node.create()
    create_many(node, 3, priority=1)
    world.run(20)
    high = create_many(node, 1, priority=7)
    executor.succeeds(executor.last)
    assert executor.last.run.task_id == high[0].task_id


def test_a_retry_gives_its_place_to_others_during_its_backoff() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    first, second = create_many(node, 2)
    executor.fails(executor.last, delay_ms=1_000)
    assert executor.last.run.task_id == second.task_id
    world.run(3_000)
    assert len(executor.orders) == 2
    executor.succeeds(executor.last)
    assert executor.last.run.task_id == first.task_id
    assert len(executor.orders) == 3


def test_places_come_back_from_cancels_refusals_and_expired_tasks() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    create_many(node, 1)
    timeouts = Timeouts(schedule_to_start_ms=500)
    waiting = create_many(node, 2, timeouts=timeouts)
    cancelled = create_many(node, 1)
    last = create_many(node, 1)
    node.cancel(cancelled[0].task_id)
    world.run(1_000)
    for each in waiting:
        assert world.disk.history(each.task_id).head.state is State.DEAD
    executor.refuses(executor.last, RefusalReason.NO_FREE_SLOT)
    executor.says_capacity(10)
    assert len(executor.known) == 1
    executor.succeeds(executor.last)
    assert len(executor.known) == 1
    assert last[0].task_id in {order.run.task_id for order in executor.orders}


def test_a_posted_task_that_is_cancelled_lets_the_next_one_go_on() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1)
    node = world.owner()
    node.create()
    first, second = create_many(node, 2)
    world.run(20)
    node.cancel(first.task_id)
    executor.succeeds(executor.last)
    assert executor.last.run.task_id == second.task_id


def test_another_limit_holds_at_once_and_what_runs_goes_on() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    allow(node, key_rule(concurrency=3))
    create_many(node, 9)
    assert len(executor.known) == 3
    allow(node, key_rule(concurrency=5))
    assert len(executor.known) == 5
    allow(node, key_rule(concurrency=2))
    assert len(executor.known) == 5
    for _ in range(4):
        executor.succeeds(executor.orders[executor.orders.index(_oldest(executor))])
    assert len(executor.known) == 2


def _oldest(executor: ScriptedExecutor) -> Any:
    return next(order for order in executor.orders if str(order.run) in executor.known)


def test_terminate_ends_the_task_at_once_and_its_place_with_its_handler() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    first, second = create_many(node, 2)
    executor.starts(executor.last)
    assert node.terminate(first.task_id).view.state == "TERMINATED"
    world.run(5_000)
    assert len(executor.orders) == 1
    executor.stops(executor.orders[0])
    assert executor.last.run.task_id == second.task_id


def test_a_terminated_attempt_that_nobody_knows_any_more_gives_its_place_back() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    create_many(node, 2)
    executor.starts(executor.last)
    node.terminate(executor.last.run.task_id)
    node.disconnect(executor)
    executor.known.clear()
    node.connect(executor)
    world.run(100)
    assert len(executor.orders) == 2


def test_a_terminated_attempt_that_vanishes_with_its_executor_holds_its_place_for_a_time() -> None:
    world = World()
    gone = ScriptedExecutor(world, "x1")
    node = world.owner(EngineConfig(key_doubt_ms=60_000))
    first, second = create_many(node, 2)
    gone.starts(gone.last)
    node.terminate(first.task_id)
    gone.vanishes()
    executor = ScriptedExecutor(world, "x2")
    world.run(59_000)
    assert executor.orders == []
    world.run(2_000)
    assert executor.last.run.task_id == second.task_id


# Owners come and go -----------------------------------------------------------------------------


def test_a_new_owner_starts_nothing_of_a_key_before_it_has_read_what_may_run() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    create_many(first, 1, in_ms=-90_000)
    world.run(100)
    assert len(executor.orders) == 1
    first.frozen = True
    second = world.node("s2")
    second.hold_reads = True
    second.acquire()
    late = second.create(concurrency_key=KEY)
    plain = second.create()
    assert executor.last.run.task_id == plain.task_id
    second.deliver_reads()
    world.run(2_000)
    assert len(executor.orders) == 2
    executor.succeeds(executor.orders[0])
    assert executor.last.run.task_id == late.task_id


def test_a_claim_of_an_earlier_owner_counts_until_its_executor_has_answered() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    (old,) = create_many(first, 1)
    first.frozen = True
    executor.answers_fences = False
    second = world.owner()
    (new,) = create_many(second, 1)
    world.run(2_000)
    assert len(executor.orders) == 1
    executor.forget(executor.orders[0])
    executor.answer_fences()
    assert [order.run.task_id for order in executor.orders] in ([old.task_id], [new.task_id])


def test_what_is_found_running_counts_though_nobody_remembers_the_task() -> None:
    """A run of an earlier owner, terminated or renewed far ahead: no read leads to it."""
    world = World()
    executor = ScriptedExecutor(world)
    gone = world.owner().create()
    run = RunId(gone.task_id, executor.last.run.run)
    executor.known = {
        "run": InventoryEntry(
            run=run,
            shard=SHARD,
            phase=RunPhase.RUNNING,
            namespace="shop",
            concurrency_key=KEY,
        )
    }
    world.nodes[0].frozen = True
    second = world.owner()
    (mine,) = create_many(second, 1)
    world.run(2_000)
    assert len(executor.orders) == 1
    executor.known.pop("run")
    second.disconnect(executor)
    second.connect(executor)
    world.run(100)
    assert mine.task_id in {order.run.task_id for order in executor.orders}


def test_a_silent_executor_holds_the_keys_of_a_taken_shard_for_a_bounded_time() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    silent = ScriptedExecutor(world, "x2", answers_fences=False)
    node = world.owner(EngineConfig(key_doubt_ms=60_000))
    create_many(node, 1)
    node.create()
    world.run(59_000)
    assert len(executor.orders) == 1
    world.run(2_000)
    assert len(executor.orders) == 2
    assert not silent.orders


def test_a_lost_shard_takes_its_counts_along() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    create_many(node, 2)
    node.feed(ev.ShardLost(SHARD))
    assert not node.engine.gates.counts
    node.acquire()
    world.run(100)
    assert len(executor.orders) == 1
    executor.succeeds(executor.orders[0])
    assert len(executor.orders) == 2


# Executors come and go --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(DeliveryMode))
def test_a_vanished_executor_keeps_its_place_until_its_successor_vouches(
    mode: DeliveryMode,
) -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    other = ScriptedExecutor(world, "x2", handlers=("charge",), slots=0)
    node = world.owner()
    first, second = create_many(node, 2, mode=mode)
    executor.starts(executor.last)
    executor.vanishes()
    spare = ScriptedExecutor(world, "x3")
    world.run(60_000)
    assert not spare.orders
    assert node.task(first.task_id) is not None
    ScriptedExecutor(world, "x1", slots=0)
    world.run(100)
    assert len(spare.orders) == 1
    wanted = EventKind.RETRY if mode is DeliveryMode.AT_LEAST_ONCE else EventKind.LOST
    assert wanted in world.disk.kinds(first.task_id)
    assert not other.orders
    spare.succeeds(spare.last)
    world.run(10_000)
    assert second.task_id in {order.run.task_id for order in spare.orders}


def test_a_successor_that_still_runs_the_attempt_does_not_vouch_for_its_end() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    node = world.owner()
    create_many(node, 2)
    executor.starts(executor.last)
    run = executor.last.run
    executor.vanishes()
    again = ScriptedExecutor(world, "x1", answers_fences=False)
    entry = InventoryEntry(
        run=run,
        shard=SHARD,
        phase=RunPhase.RUNNING,
        namespace="shop",
        concurrency_key=KEY,
    )
    again.known["old"] = entry
    again.answer_fences()
    world.run(30_000)
    assert not again.orders
    del again.known["old"]
    again.interrupts(executor.last)
    world.run(100)
    assert len(again.orders) == 1


def test_a_doubt_ends_by_itself_after_a_time() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    node = world.owner(EngineConfig(key_doubt_ms=60_000))
    create_many(node, 2)
    executor.starts(executor.last)
    executor.vanishes()
    spare = ScriptedExecutor(world, "x2")
    world.run(59_000)
    assert not spare.orders
    world.run(2_000)
    assert len(spare.orders) == 1


def test_a_doubt_outlives_its_owner() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    first = world.owner()
    create_many(first, 2)
    executor.starts(executor.last)
    executor.vanishes()
    spare = ScriptedExecutor(world, "x2")
    world.run(1_000)
    first.frozen = True
    world.owner()
    world.run(60_000)
    assert not spare.orders
    ScriptedExecutor(world, "x1", slots=0)
    world.run(5_000)
    assert len(spare.orders) == 1


def test_a_claim_whose_successor_has_vouched_before_it_was_read_is_not_in_doubt() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    first = world.owner()
    create_many(first, 1)
    executor.starts(executor.last)
    first.frozen = True
    executor.vanishes()
    again = ScriptedExecutor(world, "x1")
    second = world.node("s2")
    second.hold_reads = True
    second.acquire()
    second.deliver_reads()
    world.run(5_000)
    assert len(again.orders) == 1


def test_an_executor_that_was_thought_gone_is_believed_when_it_is_seen_again() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    node = world.owner()
    create_many(node, 2)
    executor.starts(executor.last)
    executor.vanishes()
    world.joined(executor)
    world.run(1_000)
    assert len(executor.orders) == 1
    executor.succeeds(executor.last)
    assert len(executor.orders) == 2


def test_a_task_without_a_key_is_tried_again_at_once() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    node = world.owner()
    node.create()
    executor.starts(executor.last)
    executor.vanishes()
    spare = ScriptedExecutor(world, "x2")
    world.run(5_000)
    assert len(spare.orders) == 1
