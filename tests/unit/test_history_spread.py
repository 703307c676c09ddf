"""The judge of runs that are due some time after their nominal times."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.checker.history import History, Line
from tests.support.checker.judge import judge
from tests.support.checker.records import (
    Call,
    Mode,
    Rhythm,
    Terms,
    Wish,
)
from tests.support.checker.verdicts import Promise
from tests.support.told_schedules import PLAN, op, ran

S = 1_000_000
MS = 1_000
COUNT = 14
EVERY_US = 10 * S
SPREAD_US = 4 * S
LATE_US = 200 * MS


def broken(shift_us: Callable[[int], int]) -> set[Promise]:
    """What a schedule breaks whose runs begin so long after their times."""
    rhythm = Rhythm(every_us=EVERY_US, spread_us=SPREAD_US)
    wish = Wish(mode=Mode.AT_LEAST_ONCE, payload=PLAN)
    lines: list[Line] = [op(Call.CREATE_SCHEDULE, 1, rhythm, wish)]
    for number in range(1, COUNT + 1):
        at_us = number * EVERY_US + shift_us(number)
        lines += ran(number * EVERY_US, at_us, at_us + 1)
    over_us = COUNT * EVERY_US + EVERY_US // 2
    lines.append(op(Call.END_SCHEDULE, over_us))
    terms = Terms(
        calm=True, late_us=LATE_US, healed_us=over_us, recover_us=30 * S, read_us=2 * over_us
    )
    return {each.promise for each in judge(History([*lines, terms]))}


def test_runs_that_are_spread_within_their_bounds_break_nothing() -> None:
    assert broken(lambda number: number * 271 * MS % SPREAD_US) == set()
    assert broken(lambda number: (0, SPREAD_US + LATE_US)[number % 2]) == set()


@pytest.mark.parametrize(
    "shift_us",
    [
        lambda number: SPREAD_US + LATE_US + 1 if number == 3 else number * 271 * MS,
        lambda number: -1 if number == 3 else number * 271 * MS,
        lambda number: 0,
        lambda number: SPREAD_US - number * MS,
    ],
)
def test_a_run_out_of_bounds_is_found_and_so_are_runs_that_all_begin_alike(
    shift_us: Callable[[int], int],
) -> None:
    assert Promise.SCHEDULE in broken(shift_us)
