"""Rates of keys and handlers: never more starts than allowed, nearly as many (ADR 16)."""

from __future__ import annotations

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import World
from tests.support.limits import allow, create_many, key_rule
from timeball_server.core.engine import events as ev
from timeball_server.core.limit_rules import LimitKind, LimitRule, Rate


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
