"""The long run: every minute of three days around every jump, and a year of each history.

Collected with TIMEBALL_LONG=1 only (tests/conftest.py): 86 histories, 1,266 jumps, eleven million
minutes on the oracle's clock. A year is walked by quarters of an hour, which misses nothing of
expressions whose minutes are quarters, unless a jump comes at another minute.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest

from tests.support.oracle.comparing import cron_differences
from tests.support.oracle.histories import FIRST_S, History, histories
from timeball_server.core.schedules.spec import Cron, FoldRule, GapRule
from timeball_server.oracle.clock import walk

DAY_S, QUARTER_S, MINUTE_S = 86_400, 900, 60
RULES = list(product(GapRule, FoldRule))
JUMPING = [history for history in histories() if history.jumps]
DAYS_AROUND = [
    "7 0 * * *",
    "0,59 0-4,22-23 * * *",
    "*/5 2 * * *",
    "1-59/2 1-3 * * sat,sun",
    "59 23 L,LW,15W * *",
    "30 */2 * * *",
    "13 8-18/3 * * *",
    "0 3 25-31 * +sun",
]
YEARS = [
    "15 2 * * *",
    "0,30 0,1,3,23 * * *",
    "45 */5 * * mon-fri",
    "0 12 LW,1W * fri#3",
    "0 0 1 */3 *",
    "30 1-4 29-31 * +7L",
    "0 0 * * *",
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("history", JUMPING, ids=lambda history: history.zone)
def test_every_minute_of_three_days_around_every_jump(history: History) -> None:
    found: list[str] = []
    for number, jump in enumerate(history.jumps):
        low_s, high_s = jump.at_s - 3 * DAY_S - MINUTE_S, jump.at_s + 3 * DAY_S
        readings = list(walk(history.zone, low_s, high_s, MINUTE_S))
        for shift, expression in enumerate(DAYS_AROUND):
            gap, fold = RULES[(number + shift) % len(RULES)]
            cron = Cron(expression=expression, zone=history.zone, gap=gap, fold=fold)
            found += cron_differences(cron, readings, MINUTE_S)
    assert found == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("number", "history"), list(enumerate(histories())), ids=lambda each: getattr(each, "zone", "")
)
def test_a_year_of_each_history(number: int, history: History) -> None:
    jumps_s = [jump.at_s for jump in history.jumps] or [FIRST_S]
    step_s = QUARTER_S if all(at_s % QUARTER_S == 0 for at_s in jumps_s) else MINUTE_S
    year = datetime.fromtimestamp(jumps_s[number % len(jumps_s)], UTC).year
    new_year_s = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    readings = list(walk(history.zone, new_year_s - step_s, new_year_s + 366 * DAY_S, step_s))
    found: list[str] = []
    for shift, expression in enumerate(YEARS):
        gap, fold = RULES[(number + shift) % len(RULES)]
        cron = Cron(expression=expression, zone=history.zone, gap=gap, fold=fold)
        found += cron_differences(cron, readings, step_s)
    assert found == []
