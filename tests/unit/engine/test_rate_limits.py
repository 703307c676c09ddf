"""Rates of keys and handlers: never more starts than allowed, nearly as many (ADR 16)."""

from __future__ import annotations

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, World
from tests.support.limits import allow, create_many, key_rule
from timeball_server.core.engine import events as ev
from timeball_server.core.ids import ShardId
from timeball_server.core.limit_rules import LimitKind, LimitRule, Rate
from timeball_server.core.messages import RevokeAnswer


def starts_in(world: World, executor: ScriptedExecutor, ms: int) -> int:
    before = len(executor.orders)
    for _ in range(ms // 10):
        world.run(10)
        for order in list(executor.orders[before:]):
            if str(order.run) in executor.known:
                executor.succeeds(order)
    return len(executor.orders) - before


def test_a_key_starts_no_more_than_its_rate_and_nearly_as_many() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=100)
    node = world.owner()
    allow(node, key_rule(rate=Rate(starts=10, per_ms=1_000, burst=2)))
    create_many(node, 100, in_ms=10)
    assert starts_in(world, executor, 5_000) in range(48, 53)
    plain = node.create()
    assert executor.last.run.task_id == plain.task_id


def test_a_handler_s_rate_is_split_by_shards_and_holds_for_immediate_tasks_too() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=100, handlers=("charge", "report"))
    node = world.owner()
    limit = LimitRule(
        namespace="shop",
        kind=LimitKind.HANDLER,
        pattern="charge",
        rate=Rate(starts=40, per_ms=1_000),
    )
    node.feed(ev.LimitsSet((limit,), 4))
    world.run(1_000)
    for _ in range(100):
        node.create()
    node.create(handler="report")
    assert executor.last.handler == "report"
    assert starts_in(world, executor, 3_000) in range(29, 32)


def test_a_rate_that_is_not_used_is_not_saved_up_beyond_the_burst() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=100)
    node = world.owner()
    allow(node, key_rule(rate=Rate(starts=1, per_ms=1_000, burst=3)))
    world.run(60_000)
    create_many(node, 20)
    assert len(executor.orders) == 3
    world.run(2_050)
    assert len(executor.orders) == 5


def test_a_new_owner_begins_with_an_empty_bucket() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=100)
    first = world.owner()
    limit = key_rule(rate=Rate(starts=1, per_ms=10_000, burst=5))
    allow(first, limit)
    world.run(100_000)
    create_many(first, 5)
    assert len(executor.orders) == 5
    first.frozen = True
    second = world.node("s2")
    allow(second, limit)
    second.acquire()
    create_many(second, 5)
    assert len(executor.orders) == 5
    world.run(10_100)
    assert len(executor.orders) == 6


def handler_rule(rate: Rate) -> LimitRule:
    return LimitRule(namespace="shop", kind=LimitKind.HANDLER, pattern="charge", rate=rate)


def test_what_waited_on_a_shard_that_was_lost_does_not_take_the_turns_of_other_shards() -> None:
    world = World()
    ScriptedExecutor(world, "idle", handlers=("report",))
    node = world.owner()
    node.acquire(ShardId(SHARD + 1))
    node.feed(ev.LimitsSet((handler_rule(Rate(starts=10, per_ms=1_000, burst=2)),), 2))
    world.run(10_000)
    for _ in range(10):
        node.create()
    world.run(1_000)
    node.feed(ev.ShardLost(SHARD))
    left = [node.create(shard=ShardId(SHARD + 1)).task_id for _ in range(3)]
    executor = ScriptedExecutor(world, "x2")
    world.run(1_000)
    assert [order.run.task_id for order in executor.orders] == left


def test_a_rate_that_is_set_again_counts_nobody_who_went_while_there_was_none() -> None:
    world = World()
    ScriptedExecutor(world, "idle", handlers=("report",))
    node = world.owner()
    limit = handler_rule(Rate(starts=1, per_ms=1_000, burst=2))
    allow(node, limit)
    for _ in range(5):
        node.create()
    world.run(10_000)
    allow(node)
    executor = ScriptedExecutor(world, "x2", slots=100)
    world.run(1_000)
    assert len(executor.orders) == 5
    allow(node, limit)
    world.run(10_000)
    node.create()
    assert len(executor.orders) == 6


def test_a_key_that_was_used_once_leaves_nothing_behind() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=100)
    node = world.owner()
    for number in range(10):
        ended, stopped, refused = (
            node.create(concurrency_key=f"{name}{number}", in_ms=in_ms)
            for name, in_ms in (("a", None), ("b", 5_000), ("c", None))
        )
        node.hold_writes = True  # the store takes its time, so each step is one of its own
        executor.succeeds(executor.orders[-2])
        node.settle()
        world.run(10)
        node.cancel(stopped.task_id)
        node.cancel(refused.task_id)
        executor.answers_revoke(RevokeAnswer.REVOKED)
        world.run(10)
        nobody = node.create(concurrency_key=f"d{number}", handler="nobody")
        node.cancel(nobody.task_id)
        node.release_writes()
        assert (ended.task_id, refused.task_id) == tuple(
            order.run.task_id for order in executor.orders[-2:]
        )
    world.run(1_000)
    assert node.engine.gates.size == 0


def test_idle_gates_are_forgotten() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=100)
    node = world.owner()
    allow(node, key_rule("*", concurrency=1, rate=Rate(starts=10, per_ms=1_000)))
    world.run(1_000)
    for number in range(50):
        node.create(concurrency_key=f"k{number}")
        executor.succeeds(executor.last)
    world.run(3_000)
    assert len(executor.orders) == 50
    assert node.engine.gates.size == 0
