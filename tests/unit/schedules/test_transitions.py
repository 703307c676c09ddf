"""Evaluator against oracle around every jump of every distinct offset history, 2020 to 2037.

Usual run: three days to either side by quarters of an hour, which misses nothing of expressions
whose minutes are quarters, because all these offsets are; and three hours to either side minute by
minute. The long run (test_long_transitions.py) walks all minutes, and a year of each history.
"""

from __future__ import annotations

from itertools import product

import pytest

from tests.support.oracle.comparing import cron_differences
from tests.support.oracle.histories import History, Jump, histories
from timeball_server.core.schedules.spec import Cron, FoldRule, GapRule
from timeball_server.oracle.clock import Shown, walk

HOUR_S, DAY_S, QUARTER_S, MINUTE_S = 3_600, 86_400, 900, 60
JUMPING = [history for history in histories() if history.jumps]
RULES = list(product(GapRule, FoldRule))

# Each with its own rules, so that all six combinations meet all jumps.
DAYS_AROUND = [
    ("0 0 * * *", 0),
    ("30 0,1,23 * * *", 1),
    ("30 2 * * *", 2),
    ("15 1-3 * * sun", 3),
    ("45 23 L,LW,15W * *", 4),
    ("0 3 25-31 * +sun", 5),
    ("0 12 * * *", 0),
    ("0 */6 * * *", 1),
    ("0 1 1,31 * fri#5,satL", 2),
]
# Fixed, though it names every quarter of an hour: gaps and folds at whatever time of day.
EVERY_QUARTER = "0,15,30,45 0-23 * * *"
EVERY_MINUTE = ["* * * * *", "7,59 0-23 * * *", "*/7 */2 * * *", "* 0-3 * * *"]


def around(zone: str, jump: Jump, reach_s: int, step_s: int) -> list[Shown]:
    """What the clock shows around a jump, with one reading more at the front."""
    return list(walk(zone, jump.at_s - reach_s - step_s, jump.at_s + reach_s, step_s))


def test_there_are_as_many_histories_and_jumps_as_the_zone_data_hold() -> None:
    assert len(histories()) >= 80
    assert sum(len(history.jumps) for history in histories()) >= 1_100


def test_offsets_are_quarters_of_an_hour_and_jumps_whole_minutes() -> None:
    jumps = [jump for history in histories() for jump in history.jumps]
    offsets = {jump.after_s for jump in jumps} | {history.offset_s for history in histories()}
    assert {offset_s % QUARTER_S for offset_s in offsets} == {0}
    assert {jump.at_s % MINUTE_S for jump in jumps} == {0}


def step(jump: Jump) -> int:
    """Quarters of an hour, unless the jump itself comes at another minute (Gaza, 00:01)."""
    return QUARTER_S if jump.at_s % QUARTER_S == 0 else MINUTE_S


@pytest.mark.parametrize("history", JUMPING, ids=lambda history: history.zone)
def test_evaluator_and_oracle_agree_around_every_jump(history: History) -> None:
    found: list[str] = []
    for number, jump in enumerate(history.jumps):
        readings = around(history.zone, jump, 3 * DAY_S, step(jump))
        for expression, shift in DAYS_AROUND:
            gap, fold = RULES[(number + shift) % len(RULES)]
            cron = Cron(expression=expression, zone=history.zone, gap=gap, fold=fold)
            found += cron_differences(cron, readings, step(jump))
    assert found == []


@pytest.mark.parametrize("history", JUMPING, ids=lambda history: history.zone)
def test_every_local_time_near_a_jump_follows_the_rules(history: History) -> None:
    found: list[str] = []
    for number, jump in enumerate(history.jumps):
        readings = around(history.zone, jump, 6 * HOUR_S, step(jump))
        for gap, fold in RULES:
            cron = Cron(expression=EVERY_QUARTER, zone=history.zone, gap=gap, fold=fold)
            found += cron_differences(cron, readings, step(jump))
        minutes = around(history.zone, jump, 3 * HOUR_S, MINUTE_S)
        gap, fold = RULES[number % len(RULES)]
        expression = EVERY_MINUTE[number % len(EVERY_MINUTE)]
        cron = Cron(expression=expression, zone=history.zone, gap=gap, fold=fold)
        found += cron_differences(cron, minutes, MINUTE_S)
    assert found == []
