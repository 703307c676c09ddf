"""Random expressions near random jumps: evaluator and oracle must name the same instants."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from tests.support.oracle.comparing import differences, evaluated, judged
from tests.support.oracle.expressions import five_fields, six_fields
from tests.support.oracle.histories import histories
from timeball_server.core.schedules.spec import Calendar, Cron, FoldRule, GapRule
from timeball_server.oracle.expressions import read

EPOCH = date(1970, 1, 1).toordinal()
MINUTES_MS, HOUR_MS, DAY_MS = 15 * 60_000, 3_600_000, 86_400_000
JUMPS = [(history.zone, jump.at_s * 1_000) for history in histories() for jump in history.jumps]
# Instants by the millisecond: borders of a question need not be whole seconds.
near = st.tuples(st.sampled_from(JUMPS), st.integers(0, 999))


def calendar(expression: str, zone: str, gap: GapRule, fold: FoldRule) -> Calendar:
    cron = Cron(expression=expression, zone=zone, gap=gap, fold=fold)
    return Calendar(crons=(cron,), seed="nightly")


@given(five_fields, near, st.sampled_from(GapRule), st.sampled_from(FoldRule))
def test_five_fields_for_two_days_near_a_jump(
    expression: str, place: tuple[tuple[str, int], int], gap: GapRule, fold: FoldRule
) -> None:
    (zone, at_ms), odd_ms = place
    asked = calendar(expression, zone, gap, fold)
    from_ms, to_ms = at_ms - DAY_MS + odd_ms, at_ms + DAY_MS + odd_ms
    found, wanted = evaluated(asked, from_ms, to_ms), judged(asked, from_ms, to_ms)
    assert differences(found, wanted) == []


@given(six_fields, near, st.sampled_from(GapRule), st.sampled_from(FoldRule))
def test_six_fields_for_half_an_hour_near_a_jump(
    expression: str, place: tuple[tuple[str, int], int], gap: GapRule, fold: FoldRule
) -> None:
    (zone, at_ms), odd_ms = place
    asked = calendar(expression, zone, gap, fold)
    from_ms, to_ms = at_ms - MINUTES_MS + odd_ms, at_ms + MINUTES_MS + odd_ms
    found, wanted = evaluated(asked, from_ms, to_ms), judged(asked, from_ms, to_ms)
    assert differences(found, wanted) == []


@given(five_fields, st.integers(1_971, 2_400))
def test_days_of_every_month_of_a_year(expression: str, year: int) -> None:
    day_fields = " ".join(expression.split()[2:])
    cron = Cron(expression=f"0 12 {day_fields}")
    first = date(year, 1, 1).toordinal()
    wants_date = read(f"0 12 {day_fields}", "nightly").wants_date
    days = [day for day in range(first, first + 366) if wants_date(date.fromordinal(day))]
    wanted = [((day - EPOCH) * 24 + 12) * HOUR_MS for day in days]
    from_ms = (first - EPOCH) * DAY_MS
    asked = Calendar(crons=(cron,), seed="nightly")
    assert differences(evaluated(asked, from_ms, from_ms + 366 * DAY_MS - 1), wanted) == []
