"""The judge of runs that are due some time after their nominal times."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.checker.history import History, Line
from tests.support.checker.judge import judge
from tests.support.checker.records import (
    Call,
    End,
    Final,
    Kind,
    Mode,
    Op,
    Rhythm,
    Seen,
    Start,
    Terms,
    Verdict,
    Wish,
)
from tests.support.checker.verdicts import Promise

S = 1_000_000
MS = 1_000
COUNT = 14
EVERY_US = 10 * S
SPREAD_US = 4 * S
LATE_US = 200 * MS
PLAN = "schedule p"


def broken(shift_us: Callable[[int], int]) -> set[Promise]:
    """What a schedule breaks whose runs begin so long after their times."""
    rhythm = Rhythm(every_us=EVERY_US, spread_us=SPREAD_US)
    wish = Wish(mode=Mode.AT_LEAST_ONCE, payload=PLAN)
    lines: list[Line] = [_op(Call.CREATE_SCHEDULE, 1, rhythm, wish)]
    for number in range(1, COUNT + 1):
        nominal_us, task = number * EVERY_US, f"run {number}"
        at_us = nominal_us + shift_us(number)
        lines += [
            Verdict(schedule="s", nominal_us=nominal_us, verdict="LAUNCHED", task=task),
            Start(task=task, attempt=1, epoch=1, process="x", at_us=at_us, payload=PLAN),
            End(task=task, attempt=1, process="x", at_us=at_us + 1, ok=True),
            Final(task=task, seen=Seen(state="SUCCEEDED", ended=True, place=(1, 4))),
        ]
    over_us = COUNT * EVERY_US + EVERY_US // 2
    lines.append(_op(Call.END_SCHEDULE, over_us))
    terms = Terms(
        calm=True, late_us=LATE_US, healed_us=over_us, recover_us=30 * S, read_us=2 * over_us
    )
    return {each.promise for each in judge(History([*lines, terms]))}


def _op(call: Call, at_us: int, rhythm: Rhythm | None = None, wish: Wish | None = None) -> Op:
    return Op(
        client="c",
        call=call,
        task="s",
        inv_us=at_us,
        ret_us=at_us + 1,
        kind=Kind.OK,
        request="s",
        rhythm=rhythm,
        wish=wish,
    )


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
