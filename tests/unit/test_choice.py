"""Which executor: filter, tier by urgency, spill, two random choices."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.engine.choice import (
    SPILL_UP_MS,
    URGENT_FROM,
    choose,
    pick_of_two,
    preferred_strength,
    serves,
)
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.engine.state import ExecutorState
from timeball_server.core.ids import Incarnation, NodeId
from timeball_server.core.model import TaskSpec

SPEC = TaskSpec(namespace="shop", owner="clerk", handler="charge")
CHANCE = random.Random(5)


def executor(
    strength: int = 1,
    *,
    slots: int = 4,
    busy: int = 0,
    handlers: tuple[str, ...] = ("charge",),
    labels: tuple[tuple[str, str], ...] = (),
    number: int = 1,
) -> ExecutorState:
    facts = ExecutorFacts(
        node=NodeId(f"x{number}"),
        incarnation=Incarnation(number),
        strength=strength,
        slots=slots,
        labels=labels,
        handlers=handlers,
    )
    state = ExecutorState(facts)
    state.ready = state.stream_open = True
    state.reserved = busy
    return state


def chosen(
    eligible: list[ExecutorState], priority: int, *, waited_ms: int = 0, need_free: bool = True
) -> int | None:
    found = choose(
        eligible,
        handler="charge",
        effective_priority=priority,
        waited_ms=waited_ms,
        need_free=need_free,
        rng=CHANCE,
    )
    return None if found is None else found.facts.strength


def test_only_ready_executors_with_handler_and_labels_serve() -> None:
    gpu = TaskSpec(namespace="shop", owner="clerk", handler="charge", selector=(("gpu", "yes"),))
    plain, fitted = executor(), executor(labels=(("gpu", "yes"), ("zone", "a")))
    assert serves(plain, SPEC)
    assert not serves(plain, gpu)
    assert serves(fitted, gpu)
    assert not serves(executor(handlers=("other",)), SPEC)
    plain.draining = True
    assert not serves(plain, SPEC)
    fitted.ready = False
    assert not serves(fitted, SPEC)


@pytest.mark.parametrize(
    ("strengths", "expected"),
    [
        ([7], [7] * 10),
        ([1, 9], [1] * 5 + [9] * 5),
        ([1, 5, 9], [1, 1, 1, 1, 5, 5, 5, 9, 9, 9]),
        ([1, 3, 5, 9], [1, 1, 1, 3, 3, 5, 5, 9, 9, 9]),
        (list(range(1, 11)), [1, 2, 3, 4, 5, 6, 7, 10, 10, 10]),
    ],
)
def test_levels_are_spread_over_the_tiers_that_are_there(
    strengths: list[int], expected: list[int]
) -> None:
    eligible = [executor(strength) for strength in strengths]
    assert [preferred_strength(eligible, level) for level in range(10)] == expected


@given(st.lists(st.integers(1, 100), min_size=1, max_size=12), st.integers(URGENT_FROM, 9))
def test_the_urgent_want_the_strongest_however_many_tiers_there_are(
    strengths: list[int], priority: int
) -> None:
    assert preferred_strength([executor(each) for each in strengths], priority) == max(strengths)


def test_weaker_tiers_help_at_once_the_strongest_of_them_first() -> None:
    full, middle, weak = executor(9, busy=4), executor(5), executor(1)
    assert chosen([full, middle, weak], 9) == 5
    middle.reserved = 4
    assert chosen([full, middle, weak], 9) == 1


def test_stronger_tiers_help_after_a_moment_the_weakest_of_them_first() -> None:
    full, middle, strong = executor(1, busy=4), executor(5), executor(9)
    assert chosen([full, middle, strong], 0, waited_ms=SPILL_UP_MS - 1) is None
    assert chosen([full, middle, strong], 0, waited_ms=SPILL_UP_MS) == 5
    middle.reserved = 4
    assert chosen([full, middle, strong], 0, waited_ms=SPILL_UP_MS) == 9


def test_a_claim_ahead_of_time_takes_its_own_tier_full_or_not() -> None:
    assert chosen([executor(9, busy=4), executor(1)], 9, need_free=False) == 9


def test_nobody_eligible_nobody_chosen() -> None:
    assert chosen([], 5) is None
    assert chosen([executor(busy=4)], 5, waited_ms=SPILL_UP_MS) is None


def test_of_two_the_one_with_more_free_strength() -> None:
    idle, loaded = executor(2, slots=8, number=1), executor(2, slots=8, busy=7, number=2)
    assert all(pick_of_two([idle, loaded], CHANCE) is idle for _ in range(50))


def test_two_random_choices_spread_the_load() -> None:
    chance = random.Random(3)
    executors = [executor(slots=200, number=number) for number in range(10)]
    for _ in range(1_000):
        pick_of_two(executors, chance).reserved += 1
    loads = [one.reserved for one in executors]
    assert max(loads) - min(loads) <= 10


def test_every_executor_is_drawn() -> None:
    chance = random.Random(3)
    executors = [executor(number=number) for number in range(5)]
    drawn = Counter(pick_of_two(executors, chance).facts.node for _ in range(500))
    assert len(drawn) >= 4


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(0, 4)), min_size=1, max_size=8),
    st.integers(0, 9),
    st.integers(0, 200),
)
def test_no_executor_idles_while_work_waits_beyond_a_moment(
    tiers: list[tuple[int, int]], priority: int, waited_ms: int
) -> None:
    eligible = [executor(strength, busy=busy) for strength, busy in tiers]
    found = chosen(eligible, priority, waited_ms=waited_ms)
    free = {one.facts.strength for one in eligible if one.free > 0}
    if found is not None:
        assert found in free
    elif waited_ms >= SPILL_UP_MS:
        assert free == set()
    else:
        assert all(strength > preferred_strength(eligible, priority) for strength in free)
