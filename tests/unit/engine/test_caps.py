"""Caps by handler: how many runs of one handler an executor has at once, whoever sends them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, Node, World
from tests.support.real_executor import RealExecutor
from timeball_server.core.engine import events as ev
from timeball_server.core.ids import ShardId
from timeball_server.core.messages import RefusalReason

CAPS = (("charge", 3),)
BOTH = ("charge", "report")


def create_many(node: Node, count: int, *, shard: ShardId = SHARD, **spec: Any) -> None:
    for _ in range(count):
        node.create(shard=shard, **spec)


@pytest.mark.parametrize("in_ms", [None, 500, 5_000], ids=["now", "soon", "ahead"])
def test_an_owner_sends_no_more_than_the_cap_allows(in_ms: int | None) -> None:
    world = World()
    executor = ScriptedExecutor(world, caps=CAPS)
    node = world.owner()
    create_many(node, 8, in_ms=in_ms)
    world.run(6_000)
    assert len(executor.orders) == 3
    for sent in range(3, 8):
        executor.succeeds(executor.orders[sent - 3])
        assert len(executor.orders) == sent + 1
    world.run(1_000)
    assert len(executor.orders) == 8


def test_other_handlers_use_the_slots_that_are_left() -> None:
    """A crowd before a cap holds nobody else up, and costs the others no second write."""
    world = World()
    executor = ScriptedExecutor(world, handlers=BOTH, caps=CAPS)
    node = world.owner()
    create_many(node, 50)
    call = node.create(handler="report", priority=0)
    assert executor.last.run.task_id == call.task_id
    assert [row.name for row in world.disk.kinds(call.task_id)] == ["BORN_CLAIMED"]


def test_what_the_executor_has_from_others_is_counted_by_its_word() -> None:
    world = World()
    executor = ScriptedExecutor(world, handlers=BOTH, caps=CAPS)
    node = world.owner()
    executor.says_capacity(7, full=("charge",))
    node.create()
    node.create(handler="report")
    assert [order.handler for order in executor.orders] == ["report"]
    executor.says_capacity(8)
    assert [order.handler for order in executor.orders] == ["report", "charge"]


def test_a_refusal_for_the_cap_stops_that_handler_alone() -> None:
    world = World()
    executor = ScriptedExecutor(world, handlers=BOTH, caps=CAPS)
    node = world.owner()
    node.create()
    executor.refuses(executor.last, RefusalReason.HANDLER_FULL)
    world.run(2_000)
    node.create(handler="report")
    assert [order.handler for order in executor.orders] == ["charge", "report"]
    executor.says_capacity(9)
    assert [order.handler for order in executor.orders] == ["charge", "report", "charge"]


def test_a_lost_shard_gives_its_places_back() -> None:
    world = World()
    executor = ScriptedExecutor(world, caps=CAPS)
    node = world.owner()
    create_many(node, 3)
    assert len(executor.orders) == 3
    state = node.engine.executors[executor.facts.incarnation]
    assert state.left_of("charge") == 0
    node.feed(ev.ShardLost(SHARD))
    assert state.left_of("charge") == 3


@pytest.mark.parametrize("seed", range(5))
def test_with_several_owners_the_executor_keeps_the_cap(seed: int) -> None:
    """Each owner knows its own runs and what the executor says; nothing is lost, all are run."""
    chance = random.Random(seed)
    world = World()
    executor = RealExecutor(world, slots=12, handlers=BOTH, caps=CAPS)
    owners = [world.node(f"s{number}") for number in range(3)]
    for number, owner in enumerate(owners):
        owner.acquire(ShardId(number))
    for _ in range(60):
        number = chance.randrange(3)
        handler = chance.choice(BOTH)
        create_many(owners[number], chance.randrange(4), shard=ShardId(number), handler=handler)
        for order in chance.sample(executor.running, len(executor.running) // 2):
            executor.ends(order)
        world.run(chance.randrange(100))
    for _ in range(400):
        if not executor.running:
            break
        executor.ends(executor.running[0])
        world.run(50)
    assert executor.most["charge"] == 3
    assert executor.most["report"] > 3
    for owner in owners:
        assert owner.engine.ready.count() == 0
        assert owner.engine.executors[executor.facts.incarnation].runs == {}
