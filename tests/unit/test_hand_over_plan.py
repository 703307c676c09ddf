"""What a node lets go, takes and prepares for, one shard at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.hand_over import (
    MOVES_IN_AT_ONCE,
    Scene,
    going,
    to_prepare,
    to_release,
    to_take,
)
from timeball_server.core.ids import NodeId, ShardId

A, B, C = NodeId("node-a"), NodeId("node-b"), NodeId("node-c")
ONE, TWO, THREE = ShardId(1), ShardId(2), ShardId(3)
SHARDS = st.integers(0, 9).map(ShardId)
NODES = st.sampled_from([A, B, C])
WHO = st.dictionaries(SHARDS, NODES)


def scene(
    *,
    assignment: dict[ShardId, NodeId] | None = None,
    owners: dict[ShardId, NodeId] | None = None,
    standbys: dict[ShardId, NodeId] | None = None,
    held: list[ShardId] | None = None,
    leaving: bool = False,
) -> Scene:
    """What node A sees."""
    return Scene(
        node=A,
        assignment=assignment or {},
        owners=owners or {},
        standbys=standbys or {},
        held=held or [],
        leaving=leaving,
    )


def test_a_shard_stays_until_the_next_owner_stands_by() -> None:
    moving = {ONE: B, TWO: B}
    waiting = scene(assignment=moving, owners={ONE: A, TWO: A}, held=[ONE, TWO])
    assert going(waiting) == [ONE, TWO]
    assert to_release(waiting) == []
    ready = scene(assignment=moving, standbys={TWO: B}, held=[ONE, TWO])
    assert to_release(ready) == [TWO]


def test_only_the_wished_node_is_waited_for() -> None:
    assert to_release(scene(assignment={ONE: B}, standbys={ONE: C}, held=[ONE])) == []


def test_what_nobody_is_to_have_is_let_go_at_once() -> None:
    assert to_release(scene(assignment={TWO: B}, held=[ONE])) == [ONE]


def test_a_node_that_leaves_lets_everything_go_and_takes_nothing() -> None:
    leaving = scene(assignment={ONE: A, TWO: B, THREE: A}, held=[ONE, TWO], leaving=True)
    assert to_release(leaving) == [ONE, TWO]
    assert to_take(leaving, ()) == []
    assert to_prepare(leaving, (), 0) == []


def test_what_nobody_owns_is_taken_all_at_once() -> None:
    wished = {ONE: A, TWO: A, THREE: A}
    assert to_take(scene(assignment=wished, owners={THREE: B}), ()) == [ONE, TWO]
    assert to_take(scene(assignment=wished, owners={THREE: B}), {ONE}) == [TWO]


def test_an_entry_of_our_own_that_we_do_not_hold_is_taken_again() -> None:
    assert to_take(scene(assignment={ONE: A}, owners={ONE: A}), ()) == [ONE]


def test_one_shard_at_a_time_is_prepared_for() -> None:
    served = scene(assignment={ONE: A, TWO: A}, owners={ONE: B, TWO: C})
    assert to_prepare(served, (), 0) == [ONE]
    assert to_prepare(served, {ONE}, MOVES_IN_AT_ONCE) == []
    assert to_prepare(served, {ONE}, 0) == [TWO]


@given(
    assignment=WHO,
    owners=WHO,
    standbys=WHO,
    held=st.lists(SHARDS, unique=True),
    busy=st.sets(SHARDS),
    under_way=st.integers(0, 2),
)
def test_nothing_is_let_go_that_is_wished_here_or_without_a_next_owner(
    assignment: dict[ShardId, NodeId],
    owners: dict[ShardId, NodeId],
    standbys: dict[ShardId, NodeId],
    held: list[ShardId],
    busy: set[ShardId],
    under_way: int,
) -> None:
    seen = scene(assignment=assignment, owners=owners, standbys=standbys, held=held)
    for shard in to_release(seen):
        assert assignment.get(shard) != A
        assert assignment.get(shard) in (None, standbys.get(shard))
    taken, prepared = to_take(seen, busy), to_prepare(seen, busy, under_way)
    assert not set(taken) & set(prepared)
    for shard in (*taken, *prepared):
        assert assignment[shard] == A
        assert shard not in busy
        assert shard not in held
    assert all(owners.get(shard, A) == A for shard in taken)
    assert all(owners[shard] != A for shard in prepared)
    assert len(prepared) + min(under_way, MOVES_IN_AT_ONCE) <= MOVES_IN_AT_ONCE
