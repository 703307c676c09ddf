"""What a scheduler node remembers of its last seconds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler_node.recalling import PLACES, SECONDS, STEP_S, LastSeconds
from timeball_server.core.engine.counters import Counters

NOW_S = 1_800_000_000


def at(second: int) -> int:
    return (NOW_S + second) * 1_000 + 500


def test_a_second_is_told_when_it_is_over_and_an_idle_one_never() -> None:
    seconds, counters = LastSeconds(), Counters()
    seconds.turn(at(0), counters)
    seconds.start(3, 4)
    seconds.start(PLACES - 1, 400_000)
    counters.created, counters.dead, counters.lost = 5, 2, 1
    assert seconds.recall(0) == ()
    seconds.turn(at(1), counters)
    counters.created = 6
    seconds.turn(at(4), counters)
    first, second = seconds.recall(0)
    assert (first.second, first.created, first.failed) == (NOW_S, 5, 3)
    assert (first.late_max_ms, sum(first.late_counts)) == (400_000, 2)
    assert (second.second, second.created, second.failed) == (NOW_S + 1, 1, 0)
    assert (seconds.since_s, seconds.until_s) == (NOW_S, NOW_S + 4)
    assert seconds.recall(NOW_S + 1) == (second,)


def test_ten_minutes_are_remembered_and_no_more() -> None:
    seconds, counters = LastSeconds(), Counters()
    for second in range(SECONDS + 50):
        seconds.turn(at(second), counters)
        counters.created += 1
    seconds.turn(at(SECONDS + 50), counters)
    assert [each.second - NOW_S for each in seconds.recall(0)] == list(range(50, SECONDS + 50))
    seconds.turn(at(2 * SECONDS), counters)
    assert seconds.since_s == NOW_S + SECONDS
    assert [each.second - NOW_S for each in seconds.recall(0)] == list(range(SECONDS, SECONDS + 50))


def test_a_clock_that_steps_back_stretches_a_second_or_forgets_wrong_times() -> None:
    seconds, counters = LastSeconds(), Counters()
    seconds.turn(at(100), counters)
    seconds.start(0, 0)
    seconds.turn(at(99), counters)
    seconds.start(0, 0)
    seconds.turn(at(101), counters)
    assert [sum(each.late_counts) for each in seconds.recall(0)] == [2]
    seconds.turn(at(100 - STEP_S), counters)
    assert seconds.recall(0) == ()
    assert seconds.since_s == NOW_S + 100 - STEP_S


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=200))
def test_nothing_is_counted_twice_or_dropped(steps: list[tuple[int, int]]) -> None:
    seconds, counters, now, started = LastSeconds(), Counters(), 0, 0
    for pause, made in steps:
        now += pause
        seconds.turn(at(now), counters)
        counters.created += made
        seconds.start(made, made)
        started += 1
    seconds.turn(at(now + 1), counters)
    told = seconds.recall(0)
    assert sum(each.created for each in told) == counters.created
    assert sum(sum(each.late_counts) for each in told) == started
    assert [each.second for each in told] == sorted({each.second for each in told})
