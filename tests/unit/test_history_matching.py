"""Registers and windows: what can be explained, and what must have been missed, found by search."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.checker.base import NEVER_US
from tests.support.checker.records import Call, Kind, Op, Rhythm, Seen
from tests.support.checker.register import is_possible, steps_of
from tests.support.checker.schedules import nominal_times
from tests.support.checker.windows import Window, match

OPEN = Seen(state="SCHEDULED", ended=False)
DONE = Seen(state="SUCCEEDED", ended=True)
CANCELLED = Seen(state="CANCELLED", ended=True)


def op(
    call: Call,
    inv_us: int,
    seen: Seen | None = None,
    *,
    ret_us: int | None = None,
    kind: Kind = Kind.OK,
    reason: str = "",
) -> Op:
    return Op(
        client="clerk",
        call=call,
        task="t",
        inv_us=inv_us,
        ret_us=inv_us + 1 if ret_us is None else ret_us,
        kind=kind,
        reason=reason,
        seen=seen,
    )


DOUBT = op(Call.CREATE, 1, ret_us=NEVER_US, kind=Kind.INFO)
MADE = op(Call.CREATE, 1, OPEN)


def test_a_creation_in_doubt_explains_either_answer_and_no_mixture() -> None:
    missing = op(Call.GET, 10, kind=Kind.FAIL, reason="TASK_NOT_FOUND")
    there = op(Call.GET, 20, OPEN)
    assert is_possible(steps_of([DOUBT, missing], []))
    assert is_possible(steps_of([DOUBT, missing, there], []))
    gone_again = op(Call.GET, 30, kind=Kind.FAIL, reason="TASK_NOT_FOUND")
    assert not is_possible(steps_of([DOUBT, there, gone_again], []))


def test_answers_that_overlap_may_come_in_either_order() -> None:
    slow = op(Call.CANCEL, 10, CANCELLED, ret_us=100)
    before, after = op(Call.GET, 20, OPEN), op(Call.GET, 40, CANCELLED)
    assert is_possible(steps_of([MADE, slow, before, after], []))
    assert not is_possible(steps_of([MADE, slow, op(Call.GET, 20, CANCELLED), _open_at(40)], []))


def _open_at(inv_us: int) -> Op:
    return op(Call.GET, inv_us, OPEN)


@given(st.lists(st.sampled_from([OPEN, CANCELLED, DONE]), max_size=5), st.integers(0, 5))
def test_a_register_agrees_with_trying_every_order(seen: list[Seen], width: int) -> None:
    """All operations overlap by `width`; any order that time allows may explain them."""
    ops = [op(Call.CREATE, 0, OPEN, ret_us=5)]
    ops += [
        op(Call.GET, 10 * n, each, ret_us=10 * (n + width) + 5) for n, each in enumerate(seen, 1)
    ]
    cancel = op(Call.CANCEL, 0, kind=Kind.INFO, ret_us=NEVER_US)
    ends = [("SUCCEEDED", 0)]
    expected = any(_explains(order) for order in permutations(ops) if _in_time(order))
    assert is_possible(steps_of([*ops, cancel], ends)) == expected


def _in_time(order: Sequence[Op]) -> bool:
    return all(
        not later.ret_us < earlier.inv_us
        for number, earlier in enumerate(order)
        for later in order[number + 1 :]
    )


def _explains(order: Sequence[Op]) -> bool:
    """Created first, then open until it is one thing for ever."""
    if order[0].call is not Call.CREATE:
        return False
    states = [each.seen.state for each in order[1:] if each.seen is not None]
    ended = [state for state in states if state != OPEN.state]
    return len(set(ended)) <= 1 and states == [OPEN.state] * (len(states) - len(ended)) + ended


# Windows ------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=5),
    st.lists(st.integers(0, 18), max_size=5),
)
def test_as_few_windows_stay_empty_as_can_be(
    spans: list[tuple[int, int]], starts_us: list[int]
) -> None:
    windows = [Window(opens, opens + length) for opens, length in spans]
    best = max(_filled(order, starts_us) for order in permutations(windows))
    assert len(windows) - len(match(windows, starts_us).empty) == best


def _filled(windows: Sequence[Window], starts_us: Sequence[int]) -> int:
    """Windows in this order, each taking the earliest start that is left for it."""
    left = sorted(starts_us)
    filled = 0
    for window in windows:
        fits = [at for at in left if window.opens_us <= at <= window.closes_us]
        if fits:
            left.remove(fits[0])
            filled += 1
    return filled


@given(st.integers(1, 50), st.integers(0, 200), st.integers(-50, 300), st.integers(0, 300))
def test_nominal_times_are_those_that_counting_finds(
    every: int, phase: int, after: int, until: int
) -> None:
    rhythm = Rhythm(every_us=every, phase_us=phase)
    expected = [t for t in range(phase, until + 1) if (t - phase) % every == 0 and t > after]
    assert list(nominal_times(rhythm, after, until)) == expected
