"""Namespaces share the starts of one urgency by their weights, whoever came first."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import Node, World
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.shares import Shares
from timeball_server.core.limit_rules import LimitKind, LimitRule


def weigh(node: Node, **weights: int) -> None:
    rules = tuple(
        LimitRule(namespace=name, kind=LimitKind.NAMESPACE, weight=weight)
        for name, weight in weights.items()
    )
    node.feed(ev.LimitsSet(rules, 1))


def started(executor: ScriptedExecutor, count: int) -> Counter[str]:
    """Whose tasks the next starts are, one ending after the other."""
    before = len(executor.orders)
    for _ in range(count):
        executor.succeeds(executor.orders[-1])
    return Counter(order.namespace for order in executor.orders[before:])


def backlog(node: Node, count: int, **spec: object) -> None:
    for _ in range(count):
        node.create(**spec)  # type: ignore[arg-type] # fields of a specification


def test_starts_follow_the_weights_whoever_waits_longer() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1)
    node = world.owner()
    weigh(node, bank=3)
    backlog(node, 60)
    world.run(1_000)
    backlog(node, 60, namespace="bank")
    assert started(executor, 40) == {"shop": 10, "bank": 30}


def test_without_weights_they_take_turns_and_urgency_goes_before_shares() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1)
    node = world.owner()
    backlog(node, 50)
    backlog(node, 20, namespace="bank", handler="charge")
    backlog(node, 5, namespace="shop", priority=7)
    assert started(executor, 5) == {"shop": 5}
    assert started(executor, 20) == {"shop": 10, "bank": 10}


def test_who_comes_late_gets_its_share_and_no_more() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1)
    node = world.owner()
    backlog(node, 100)
    assert started(executor, 50) == {"shop": 50}
    backlog(node, 30, namespace="bank")
    assert started(executor, 20) == {"shop": 10, "bank": 10}


def test_one_namespace_alone_goes_by_due_time() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1, handlers=("charge", "report"))
    node = world.owner()
    made = [node.create(handler=("charge", "report")[n % 3 == 0]).task_id for n in range(20)]
    started(executor, 19)
    assert [order.run.task_id for order in executor.orders] == made


@given(
    weights=st.lists(st.integers(1, 1_000), min_size=1, max_size=8),
    starts=st.integers(1, 400),
)
def test_nobody_is_ever_a_start_behind_his_share(weights: list[int], starts: int) -> None:
    """With everybody waiting, after any number of starts, each has its share but for one start
    of each of the others."""
    shares = Shares()
    shares.weight = lambda name: weights[int(name)]
    names = [str(number) for number in range(len(weights))]
    got: Counter[str] = Counter()
    for _ in range(starts):
        chosen = min(names, key=lambda name: (shares.turn(name), name))
        shares.started(chosen)
        got[chosen] += 1
    for name, weight in zip(names, weights, strict=True):
        fair = starts * weight / sum(weights)
        assert got[name] > fair - len(names) - 0.01 * starts
