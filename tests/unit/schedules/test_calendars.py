"""Union, exclusion, start and end; strictly later, always; many, how many, the last one."""

from __future__ import annotations

import json
from calendar import isleap
from dataclasses import asdict
from datetime import UTC, date, datetime
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.oracle.comparing import differences, evaluated, judged
from timeball_server.core.limits import MAX_EXCLUDED_IN_A_ROW
from timeball_server.core.schedules.calendars import (
    count_nominal,
    latest_nominal_ms,
    next_nominal_ms,
    nominal_times,
    why_over,
)
from timeball_server.core.schedules.cron import zoned
from timeball_server.core.schedules.spec import (
    Calendar,
    Cron,
    ExcludedCron,
    ExcludedDates,
    ExcludedSpan,
    Exclusions,
    FoldRule,
    GapRule,
    Interval,
)

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
# 00:00Z on 25 October 2026, an hour before Berlin's clock is put back.
FOLD_MS = 1_792_886_400_000
ZONES = ["UTC", "Europe/Berlin", "Asia/Beirut", "Australia/Lord_Howe", "America/New_York"]

instants = st.integers(FOLD_MS - 3 * DAY_MS, FOLD_MS + 10 * DAY_MS)
intervals = st.builds(
    Interval, every_ms=st.integers(7 * 60_000, 3 * HOUR_MS), phase_ms=st.integers(0, 5_000_000)
)
crons = st.builds(
    Cron,
    expression=st.sampled_from(
        ["0 9 * * *", "*/20 * * * *", "30 0-3 * * *", "15 1,2 * * sun", "5 */4 L * *", "0 0 * * *"]
    ),
    zone=st.sampled_from(ZONES),
    gap=st.sampled_from(GapRule),
    fold=st.sampled_from(FoldRule),
)
exclusions = st.builds(
    Exclusions,
    dates=st.lists(
        st.builds(
            ExcludedDates,
            dates=st.just(("2026-10-25", "2026-10-28", "2026-11-01")),
            zone=st.sampled_from(ZONES),
        ),
        max_size=1,
    ).map(tuple),
    spans=st.lists(
        st.tuples(instants, st.integers(1, DAY_MS)).map(
            lambda pair: ExcludedSpan(from_ms=pair[0], to_ms=pair[0] + pair[1])
        ),
        max_size=2,
    ).map(tuple),
    crons=st.lists(
        st.builds(
            ExcludedCron,
            expression=st.sampled_from(
                ["* 9-17 * * *", "* * * * sat,sun", "0-29 * * * *", "* 2 25 10 *", "0-29 * * * * *"]
            ),
            zone=st.sampled_from(ZONES),
        ),
        max_size=2,
    ).map(tuple),
)
calendars = st.builds(
    Calendar,
    crons=st.lists(crons, max_size=3).map(tuple),
    intervals=st.lists(intervals, max_size=2).map(tuple),
    excluded=exclusions,
    start_ms=st.none() | instants,
    end_ms=st.none() | instants,
)


@given(calendars, instants, st.integers(0, 8 * DAY_MS))
def test_a_calendar_names_what_the_oracle_names(
    calendar: Calendar, from_ms: int, length_ms: int
) -> None:
    to_ms = from_ms + length_ms
    found, wanted = evaluated(calendar, from_ms, to_ms), judged(calendar, from_ms, to_ms)
    assert differences(found, wanted) == []


@given(calendars, instants)
def test_s5_next_is_strictly_later_and_nothing_lies_between(
    calendar: Calendar, after_ms: int
) -> None:
    nominal_ms = next_nominal_ms(calendar, after_ms)
    if nominal_ms is None:
        return
    assert nominal_ms > after_ms
    assert next_nominal_ms(calendar, nominal_ms - 1) == nominal_ms
    middle_ms = (after_ms + nominal_ms) // 2
    assert next_nominal_ms(calendar, middle_ms) == nominal_ms


@given(calendars, instants, st.integers(0, 5 * DAY_MS), st.integers(0, 50))
def test_many_and_how_many_and_the_last_are_what_steps_find(
    calendar: Calendar, after_ms: int, length_ms: int, limit: int
) -> None:
    until_ms = after_ms + length_ms
    times = []
    nominal_ms = next_nominal_ms(calendar, after_ms)
    while nominal_ms is not None and nominal_ms <= until_ms:
        times.append(nominal_ms)
        nominal_ms = next_nominal_ms(calendar, nominal_ms)
    assert nominal_times(calendar, after_ms, until_ms, limit) == tuple(times[:limit])
    assert count_nominal(calendar, after_ms, until_ms, limit) == min(limit, len(times))
    assert count_nominal(calendar, after_ms, until_ms, 1_000_000) == len(times)
    assert latest_nominal_ms(calendar, after_ms, until_ms) == (times[-1] if times else None)


@given(intervals, instants)
def test_an_interval_is_aligned_to_1970_and_its_phase(interval: Interval, after_ms: int) -> None:
    calendar = Calendar(intervals=(interval,))
    times = nominal_times(calendar, after_ms, after_ms + DAY_MS, 10)
    assert all((at_ms - interval.phase_ms) % interval.every_ms == 0 for at_ms in times)
    assert {later - earlier for earlier, later in pairwise(times)} <= {interval.every_ms}
    assert times[0] - after_ms <= interval.every_ms


def test_a_long_row_of_intervals_is_counted_without_walking() -> None:
    calendar = Calendar(intervals=(Interval(every_ms=100),), end_ms=10**12)
    assert count_nominal(calendar, 0, 10**13, 10**12) == 10**10
    assert count_nominal(calendar, 0, 10**13, 247) == 247
    assert latest_nominal_ms(calendar, 0, 10**13) == 10**12


def test_an_instant_that_several_rules_name_is_one_nominal_time() -> None:
    calendar = Calendar(
        crons=(Cron(expression="0 * * * *"), Cron(expression="0 0 * * *", zone="Europe/Berlin")),
        intervals=(Interval(every_ms=HOUR_MS),),
    )
    times = nominal_times(calendar, FOLD_MS, FOLD_MS + DAY_MS, 1_000)
    assert times == tuple(range(FOLD_MS + HOUR_MS, FOLD_MS + DAY_MS + 1, HOUR_MS))


def test_start_and_end_belong_to_it() -> None:
    calendar = Calendar(
        crons=(Cron(expression="0 * * * *"),), start_ms=FOLD_MS, end_ms=FOLD_MS + HOUR_MS
    )
    assert next_nominal_ms(calendar, 0) == FOLD_MS
    assert next_nominal_ms(calendar, FOLD_MS) == FOLD_MS + HOUR_MS
    assert next_nominal_ms(calendar, FOLD_MS + HOUR_MS) is None


@pytest.mark.parametrize("after_ms", [-(10**18), -1, 0, 2_524_607_999_999, 4_102_444_800_000])
def test_any_instant_may_be_asked_about(after_ms: int) -> None:
    nominal_ms = next_nominal_ms(Calendar(crons=(Cron(expression="* * * * *"),)), after_ms)
    assert nominal_ms == max(0, after_ms // 60_000 * 60_000 + 60_000)


@pytest.mark.parametrize("after_ms", [250_000_000_000_000, 10**17, (1 << 63) - 1, 1 << 70])
def test_nothing_is_named_beyond_the_last_instant(after_ms: int) -> None:
    both = Calendar(
        crons=(Cron(expression="* * * * *", zone="Europe/Berlin"),),
        intervals=(Interval(every_ms=1_000),),
    )
    assert next_nominal_ms(both, after_ms) is None


@pytest.mark.parametrize(
    ("weekday", "name"), list(enumerate(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]))
)
def test_the_rarest_dates_are_found(weekday: int, name: str) -> None:
    """A 29 February on a given day of the week may be 40 years away, as from 2080 to 2120."""
    calendar = Calendar(crons=(Cron(expression=f"0 0 29 2 +{name}"),))
    leap_days = (date(year, 2, 29) for year in range(1972, 2_500, 4) if isleap(year))
    wanted = [day for day in leap_days if day.weekday() == weekday]
    found = nominal_times(calendar, 0, 20_000_000_000_000, len(wanted))
    assert [datetime.fromtimestamp(at_ms / 1_000, UTC).date() for at_ms in found] == wanted
    assert max(later.year - day.year for day, later in pairwise(wanted)) == 40


def test_a_year_that_is_left_out_is_passed_over() -> None:
    calendar = Calendar(
        crons=(Cron(expression="* * * * * *", zone="Europe/Berlin"),),
        excluded=Exclusions(
            crons=(ExcludedCron(expression="* * * 1-11 *", zone="Europe/Berlin"),),
            spans=(ExcludedSpan(from_ms=0, to_ms=FOLD_MS),),
        ),
    )
    first_of_december_ms = 1_796_079_600_000
    assert next_nominal_ms(calendar, 0) == first_of_december_ms


def test_a_covered_rule_is_passed_over_by_days_but_not_what_a_jump_moves() -> None:
    """01:30 is excluded, and 02:30 too; but 02:30 was moved to 03:00, which is not."""
    calendar = Calendar(
        crons=(Cron(expression="30 1,2 * 3 *", zone="Europe/Berlin"),),
        excluded=Exclusions(crons=(ExcludedCron(expression="30 1-2 * * *", zone="Europe/Berlin"),)),
    )
    moved_ms = 1_774_746_000_000
    assert nominal_times(calendar, moved_ms - 30 * DAY_MS, moved_ms + 30 * DAY_MS, 9) == (moved_ms,)


def test_more_exclusions_in_a_row_than_the_limit_end_a_calendar() -> None:
    """Minutes whose second 0 is left out, up to an instant: one fewer than the limit is no end."""
    stepping = Calendar(
        intervals=(Interval(every_ms=60_000),),
        excluded=Exclusions(crons=(ExcludedCron(expression="0 * * * 10-12 *"),)),
    )
    new_year_ms = FOLD_MS + 68 * DAY_MS
    near_ms = new_year_ms - (MAX_EXCLUDED_IN_A_ROW - 1) * 60_000
    assert next_nominal_ms(stepping, near_ms - 1) == new_year_ms
    assert next_nominal_ms(stepping, near_ms - 60_001) is None
    assert why_over(stepping, near_ms - 60_001) == "1,000 nominal times in a row are excluded"
    assert why_over(stepping, near_ms - 1) == ""


def test_a_calendar_says_why_nothing_is_left_of_it() -> None:
    never = Cron(expression="0 0 30 2 *")
    assert why_over(Calendar(crons=(never,)), FOLD_MS) == "its rules name no time any more"
    bounded = Calendar(intervals=(Interval(every_ms=60_000),), end_ms=FOLD_MS)
    assert why_over(bounded, FOLD_MS) == "no nominal time is left before its end"
    assert why_over(bounded, FOLD_MS - 1) == ""


@given(calendars)
def test_a_calendar_is_plain_text_for_a_journal(calendar: Calendar) -> None:
    text = json.dumps(asdict(calendar))
    assert msgspec.json.decode(text.encode(), type=Calendar) == calendar
    stored = msgspec.msgpack.encode(calendar)
    assert msgspec.msgpack.decode(stored, type=Calendar) == calendar


def test_schedules_share_what_is_compiled_unless_their_names_matter() -> None:
    plain, hashed = Cron(expression="0 9 * * thu", zone="Asia/Tokyo"), Cron(expression="h 9 * * *")
    assert zoned(plain, "nightly") is zoned(plain, "weekly")
    assert zoned(Cron(expression="@hourly"), "nightly") is zoned(Cron(expression="@hourly"), "")
    assert zoned(hashed, "nightly") is not zoned(hashed, "weekly")
    names = [f"name-{number}" for number in range(50)]
    first = {next_nominal_ms(Calendar(crons=(hashed,), seed=name), FOLD_MS) for name in names}
    assert len(first) > 20
