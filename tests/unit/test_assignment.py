"""The leader's wish: everything assigned, weighted shares, fewest moves, stable, explained."""

from collections import Counter
from itertools import combinations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.assignment import FIRST, NOBODY, WISHED, WeighedNode, plan
from timeball_server.core.ids import NodeId, ShardId

A, B, C = NodeId("node-a"), NodeId("node-b"), NodeId("node-c")
NAMES = [NodeId(f"node-{letter}") for letter in "abcdefg"]
EIGHT = [ShardId(number) for number in range(8)]

NODES = st.lists(
    st.builds(
        WeighedNode,
        node=st.sampled_from(NAMES),
        weight=st.integers(1, 100) | st.just(1),
        draining=st.sampled_from([False, False, False, True]),
    ),
    max_size=6,
    unique_by=lambda each: each.node,
)
SHARDS = st.integers(0, 80).map(lambda count: [ShardId(number) for number in range(count)])
CURRENT = st.dictionaries(st.integers(0, 90).map(ShardId), st.sampled_from(NAMES), max_size=80)
WISHES = st.dictionaries(st.integers(0, 90).map(ShardId), st.sampled_from(NAMES), max_size=12)


def living(*nodes: NodeId, draining: NodeId | None = None) -> list[WeighedNode]:
    return [WeighedNode(node=node, draining=node == draining) for node in nodes]


def takers_of(nodes: list[WeighedNode]) -> list[WeighedNode]:
    return [each for each in nodes if not each.draining]


@given(shards=SHARDS, nodes=NODES, current=CURRENT)
def test_every_shard_is_assigned_to_a_taker_exactly_when_there_is_one(
    shards: list[ShardId], nodes: list[WeighedNode], current: dict[ShardId, NodeId]
) -> None:
    result = plan(shards, nodes, current)
    takers = {each.node for each in takers_of(nodes)}
    assert set(result.shards) == (set(shards) if takers else set())
    assert set(result.shards.values()) <= takers


@given(shards=SHARDS, nodes=NODES, current=CURRENT)
def test_loads_are_within_one_of_the_weighted_share(
    shards: list[ShardId], nodes: list[WeighedNode], current: dict[ShardId, NodeId]
) -> None:
    loads = Counter(plan(shards, nodes, current).shards.values())
    total = sum(each.weight for each in takers_of(nodes))
    for each in takers_of(nodes):
        assert abs(loads[each.node] * total - len(shards) * each.weight) < total


@given(shards=SHARDS, nodes=NODES, current=CURRENT)
def test_moves_are_the_fewest_that_fair_shares_allow(
    shards: list[ShardId], nodes: list[WeighedNode], current: dict[ShardId, NodeId]
) -> None:
    takers = takers_of(nodes)
    if not takers:
        return
    result = plan(shards, nodes, current)
    stayed = sum(current.get(shard) == node for shard, node in result.shards.items())
    assert stayed == most_that_can_stay(shards, takers, current)


def most_that_can_stay(
    shards: list[ShardId], takers: list[WeighedNode], current: dict[ShardId, NodeId]
) -> int:
    """By trying every way of handing out the shares' broken parts."""
    total = sum(each.weight for each in takers)
    held = Counter(current[shard] for shard in shards if shard in current)
    floors = {each.node: len(shards) * each.weight // total for each in takers}
    broken = [each.node for each in takers if len(shards) * each.weight % total]
    left = len(shards) - sum(floors.values())
    return max(
        sum(min(held[node], floors[node] + (node in extra)) for node in floors)
        for extra in combinations(broken, left)
    )


@given(shards=SHARDS, nodes=NODES, current=CURRENT)
def test_a_plan_of_its_own_result_moves_nothing(
    shards: list[ShardId], nodes: list[WeighedNode], current: dict[ShardId, NodeId]
) -> None:
    once = plan(shards, nodes, current)
    again = plan(shards, nodes, once.shards)
    assert again.shards == once.shards
    if takers_of(nodes):
        assert not again.reasons


@given(shards=SHARDS, nodes=NODES, current=CURRENT, order=st.randoms(use_true_random=False))
def test_the_order_of_the_arguments_does_not_matter(
    shards: list[ShardId],
    nodes: list[WeighedNode],
    current: dict[ShardId, NodeId],
    order: Random,
) -> None:
    expected = plan(shards, nodes, current)
    items = list(current.items())
    for each in (shards, nodes, items):
        order.shuffle(each)
    assert plan(shards, nodes, dict(items)) == expected


@given(shards=SHARDS, nodes=NODES, current=CURRENT)
def test_exactly_the_moved_shards_have_a_reason(
    shards: list[ShardId], nodes: list[WeighedNode], current: dict[ShardId, NodeId]
) -> None:
    result = plan(shards, nodes, current)
    moved = {shard for shard in shards if result.shards.get(shard) != current.get(shard)}
    assert set(result.reasons) == (moved if takers_of(nodes) else set(shards))


def test_reasons_name_what_happened() -> None:
    both = plan(EIGHT, living(A, B), {})
    assert set(both.reasons.values()) == {FIRST}
    assert set(plan(EIGHT, living(B), both.shards).reasons.values()) == {"node-a left"}
    drained = plan(EIGHT, living(A, B, draining=A), both.shards)
    assert set(drained.reasons.values()) == {"drain of node-a"}
    joined = plan(EIGHT, living(A, B, C), both.shards)
    assert set(joined.reasons.values()) == {"balance: node-c joined"}
    lopsided = dict.fromkeys(EIGHT[:7], A) | {EIGHT[7]: B}
    balanced = plan(EIGHT, living(A, B), lopsided)
    assert set(balanced.reasons.values()) == {"balance: node-a had more than its share"}
    assert set(plan(EIGHT, [], both.shards).reasons.values()) == {NOBODY}


def test_a_joining_node_takes_only_its_share() -> None:
    before = plan(EIGHT, living(A, B), {})
    after = plan(EIGHT, living(A, B, C), before.shards)
    assert len(after.reasons) == 2


def test_a_strong_node_gets_more() -> None:
    nodes = [WeighedNode(node=A, weight=3), WeighedNode(node=B, weight=1)]
    assert Counter(plan(EIGHT, nodes, {}).shards.values()) == {A: 6, B: 2}


def test_the_one_more_goes_to_the_largest_broken_part() -> None:
    nodes = [WeighedNode(node=A, weight=1), WeighedNode(node=B, weight=3)]
    assert plan(EIGHT[:1], nodes, {}).shards == {EIGHT[0]: B}


def test_a_dead_nodes_neighbouring_shards_are_spread() -> None:
    current = {shard: (A, B, C)[shard // 4] for shard in [ShardId(number) for number in range(12)]}
    after = plan(list(current), living(B, C), current)
    assert [after.shards[ShardId(number)] for number in range(4)] == [B, C, B, C]


def test_only_draining_nodes_are_nobody() -> None:
    assert plan(EIGHT, living(A, draining=A), dict.fromkeys(EIGHT, A)).shards == {}


def test_a_weight_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        WeighedNode(node=A, weight=0)


# -- wishes of an operator


@given(shards=SHARDS, nodes=NODES, current=CURRENT, wishes=WISHES)
def test_a_wish_holds_exactly_while_its_node_can_take_shards(
    shards: list[ShardId],
    nodes: list[WeighedNode],
    current: dict[ShardId, NodeId],
    wishes: dict[ShardId, NodeId],
) -> None:
    result = plan(shards, nodes, current, wishes)
    takers = {each.node for each in takers_of(nodes)}
    for shard in set(shards) & set(wishes) if takers else ():
        moved = current.get(shard) != wishes[shard]
        if wishes[shard] in takers:
            assert result.shards[shard] == wishes[shard]
            assert (result.reasons.get(shard) == WISHED) == moved
        else:
            assert result.reasons.get(shard) != WISHED
    assert set(result.shards) == (set(shards) if takers else set())


@given(shards=SHARDS, nodes=NODES, current=CURRENT, wishes=WISHES)
def test_a_plan_of_its_own_result_moves_nothing_with_wishes_either(
    shards: list[ShardId],
    nodes: list[WeighedNode],
    current: dict[ShardId, NodeId],
    wishes: dict[ShardId, NodeId],
) -> None:
    once = plan(shards, nodes, current, wishes)
    assert plan(shards, nodes, once.shards, wishes).shards == once.shards


@given(shards=SHARDS, nodes=NODES, current=CURRENT, wishes=WISHES)
def test_nobody_has_more_than_a_share_but_by_wishes(
    shards: list[ShardId],
    nodes: list[WeighedNode],
    current: dict[ShardId, NodeId],
    wishes: dict[ShardId, NodeId],
) -> None:
    loads = Counter(plan(shards, nodes, current, wishes).shards.values())
    pinned = Counter(node for shard, node in wishes.items() if shard in set(shards))
    total = sum(each.weight for each in takers_of(nodes))
    for each in takers_of(nodes):
        over = loads[each.node] * total - len(shards) * each.weight
        assert over < total or loads[each.node] == pinned[each.node]


def test_a_wish_moves_one_shard_and_balance_gives_another_back() -> None:
    before = plan(EIGHT, living(A, B), {})
    wished = next(shard for shard in EIGHT if before.shards[shard] == A)
    after = plan(EIGHT, living(A, B), before.shards, {wished: B})
    assert after.shards[wished] == B
    assert after.reasons[wished] == WISHED
    assert Counter(after.shards.values()) == {A: 4, B: 4}
    assert len(after.reasons) == 2


def test_wishes_beyond_a_share_are_kept_as_stated() -> None:
    before = plan(EIGHT, living(A, B), {})
    wishes = dict.fromkeys(EIGHT[:6], B)
    after = plan(EIGHT, living(A, B), before.shards, wishes)
    assert Counter(after.shards.values()) == {A: 2, B: 6}


def test_a_wish_waits_for_its_node() -> None:
    before = plan(EIGHT, living(A, B), {}).shards
    for nodes in (living(A, B, draining=B), living(A)):
        assert plan(EIGHT, nodes, before, {EIGHT[0]: B}).shards == dict.fromkeys(EIGHT, A)
    assert plan(EIGHT, living(A, B), dict.fromkeys(EIGHT, A), {EIGHT[0]: B}).shards[EIGHT[0]] == B
