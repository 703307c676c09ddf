"""Two libraries as judges, wherever they mean the same as we do.

cronsim (2.8) has Debian's semantics: it runs at a gap's end and in the first pass, as our defaults
do. Left out are the texts that the two read differently: a star in the minutes (it then ticks
through), an hour range with a step (we tick through), W, H, ? and +. croniter (7.0) is asked in UTC
only, because it fires twice on the autumn night, and not about a star with a step among the days,
which it takes for a restriction.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

from croniter import croniter
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from tests.support.oracle.expressions import MONTHS, WEEKDAYS
from tests.support.oracle.histories import histories
from timeball_server.core.schedules.calendars import nominal_times
from timeball_server.core.schedules.spec import Calendar, Cron
from timeball_server.oracle.clock import zone as zone_rules

COUNT = 12
DAY_S = 86_400
FAR_MS = 8_000_000_000_000
JUMPS = [(history.zone, jump.at_s) for history in histories() for jump in history.jumps]


def spans(low: int, high: int) -> st.SearchStrategy[str]:
    """Two ends that differ: croniter takes `0-0` for a whole week."""
    ends = st.tuples(st.integers(low, high), st.integers(low, high))
    return ends.filter(lambda pair: pair[0] != pair[1]).map(lambda pair: f"{min(pair)}-{max(pair)}")


def lists(low: int, high: int, *words: str) -> st.SearchStrategy[str]:
    items = st.integers(low, high).map(str) | spans(low, high)
    if words:
        items |= st.sampled_from(words)
    return st.lists(items, min_size=1, max_size=3).map(",".join)


def starred(low: int, high: int, *words: str) -> st.SearchStrategy[str]:
    steps = st.integers(2, (high - low) // 2).map(lambda step: f"*/{step}")
    return st.just("*") | steps | lists(low, high, *words)


hours = starred(0, 23) | st.sampled_from(["0", "1", "2", "3", "0-3", "23"])
common_months = starred(1, 12, *MONTHS)
debian = st.tuples(
    lists(0, 59),
    hours,
    starred(1, 28, "L", "LW"),
    common_months,
    starred(0, 6, *WEEKDAYS, "fri#2", "5L"),
).map(" ".join)
plain = st.tuples(
    starred(0, 59),
    starred(0, 23),
    st.just("*") | lists(1, 28),
    common_months,
    st.just("*") | lists(0, 6, *WEEKDAYS),
).map(" ".join)


def ours(expression: str, zone: str, after_s: int) -> list[int]:
    calendar = Calendar(crons=(Cron(expression=expression, zone=zone),))
    return [at_ms // 1_000 for at_ms in nominal_times(calendar, after_s * 1_000, FAR_MS, COUNT)]


def cronsims(expression: str, zone: str, after_s: int) -> list[int]:
    begin = datetime.fromtimestamp(after_s, zone_rules(zone))
    found = islice(CronSim(expression, begin), COUNT)
    return [int(at.timestamp()) for at in found]


@given(debian, st.sampled_from(JUMPS), st.integers(DAY_S, 3 * DAY_S))
def test_cronsim_names_the_same_instants_near_a_jump(
    expression: str, jump: tuple[str, int], before_s: int
) -> None:
    """From a day or more before the jump: asked inside a second pass, cronsim answers the past."""
    zone, at_s = jump
    found = ours(expression, zone, at_s - before_s)
    assert found == cronsims(expression, zone, at_s - before_s)


@given(plain, st.integers(1_600_000_000, 2_500_000_000))
def test_croniter_names_the_same_instants_in_utc(expression: str, after_s: int) -> None:
    begin = datetime.fromtimestamp(after_s, UTC)
    each = croniter(expression, begin, max_years_between_matches=60)
    wanted = [int(each.get_next(float)) for _ in range(COUNT)]
    assert ours(expression, "UTC", after_s) == wanted
