"""Marks of a preview: moved, first pass, second pass; and what jumps dropped."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.oracle.expressions import five_fields
from tests.support.oracle.histories import histories
from timeball_server.core.schedules.calendars import nominal_times
from timeball_server.core.schedules.marking import Dropped, Mark, dropped, marks
from timeball_server.core.schedules.spec import Calendar, Cron, FoldRule, GapRule, Interval

DAY_MS = 86_400_000
JUMPS = [(history.zone, jump.at_s * 1_000) for history in histories() for jump in history.jumps]
BERLIN = "Europe/Berlin"
RUN, SKIP = GapRule.RUN_AT_END, GapRule.SKIP
FIRST, SECOND, BOTH = FoldRule.FIRST, FoldRule.SECOND, FoldRule.BOTH


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000)


def berlin(expression: str, gap: GapRule = RUN, fold: FoldRule = FIRST) -> Calendar:
    return Calendar(crons=(Cron(expression=expression, zone=BERLIN, gap=gap, fold=fold),))


@pytest.mark.parametrize(
    ("calendar", "nominal", "wanted"),
    [
        (berlin("30 2 * * *"), "2026-03-29T03:00+02:00", (Mark.MOVED,)),
        (berlin("30 2 * * *"), "2026-03-30T02:30+02:00", ()),
        (berlin("0 3 * * *"), "2026-03-29T03:00+02:00", ()),
        (berlin("0 2,3 * * *"), "2026-03-29T03:00+02:00", (Mark.MOVED,)),
        (berlin("0 * * * *"), "2026-03-29T03:00+02:00", ()),
        (berlin("30 2 * * *"), "2026-10-25T02:30+02:00", (Mark.FIRST_PASS,)),
        (berlin("30 2 * * *", fold=SECOND), "2026-10-25T02:30+01:00", (Mark.SECOND_PASS,)),
        (berlin("30 2 * * *", fold=BOTH), "2026-10-25T02:30+01:00", (Mark.SECOND_PASS,)),
        (berlin("30 * * * *"), "2026-10-25T02:30+01:00", (Mark.SECOND_PASS,)),
        (berlin("0 2,3 * * *"), "2026-10-25T03:00+01:00", ()),
        (Calendar(intervals=(Interval(every_ms=60_000),)), "2026-10-25T02:30+01:00", ()),
    ],
)
def test_marks(calendar: Calendar, nominal: str, wanted: tuple[Mark, ...]) -> None:
    assert at(nominal) in nominal_times(calendar, at(nominal) - 1, at(nominal), 1)
    assert marks(calendar, at(nominal)) == wanted


def test_a_mark_belongs_to_the_rule_that_names_the_instant() -> None:
    """The cron is moved to 03:00; the interval's 02:30 in the second pass is none of its doing."""
    calendar = Calendar(
        crons=berlin("30 2 * * *").crons, intervals=(Interval(every_ms=30 * 60_000),)
    )
    assert marks(calendar, at("2026-03-29T03:00+02:00")) == (Mark.MOVED,)
    assert marks(calendar, at("2026-10-25T02:30+01:00")) == ()


@pytest.mark.parametrize(
    ("calendar", "day", "wanted"),
    [
        (berlin("0,30 2 * * *"), "2026-03-29T00:00+01:00", []),
        (
            berlin("0,30 2,3 * * *", gap=SKIP),
            "2026-03-29T00:00+01:00",
            [
                ("2026-03-29T02:00:00", "2026-03-29T03:00+02:00"),
                ("2026-03-29T02:30:00", "2026-03-29T03:00+02:00"),
            ],
        ),
        (
            berlin("30 2 * * *"),
            "2026-10-25T00:00+02:00",
            [("2026-10-25T02:30:00", "2026-10-25T02:30+01:00")],
        ),
        (
            berlin("30 2 * * *", fold=SECOND),
            "2026-10-25T00:00+02:00",
            [("2026-10-25T02:30:00", "2026-10-25T02:30+02:00")],
        ),
        (berlin("30 2 * * *", fold=BOTH), "2026-10-25T00:00+02:00", []),
        (berlin("30 * * * *", fold=SECOND), "2026-10-25T00:00+02:00", []),
        (berlin("30 4 * * *", gap=SKIP, fold=SECOND), "2026-10-25T00:00+02:00", []),
    ],
)
def test_what_jumps_dropped(calendar: Calendar, day: str, wanted: list[tuple[str, str]]) -> None:
    found = dropped(calendar, at(day), at(day) + DAY_MS, 100)
    assert found == tuple(
        Dropped(local=local, zone=BERLIN, at_ms=at(instant)) for local, instant in wanted
    )
    assert dropped(calendar, at(day), at(day) + DAY_MS, 1) == found[:1]


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        (None, None, ["2026-03-29", "2027-03-28"]),
        ("2026-03-29T03:00+02:00", None, ["2026-03-29", "2027-03-28"]),
        ("2026-03-29T03:00:01+02:00", None, ["2027-03-28"]),
        (None, "2027-03-28T03:00+02:00", ["2026-03-29", "2027-03-28"]),
        (None, "2027-03-28T02:59:59.999+02:00", ["2026-03-29"]),
    ],
)
def test_nothing_is_dropped_before_the_start_or_after_the_end(
    start: str | None, end: str | None, days: list[str]
) -> None:
    calendar = replace(
        berlin("30 2 * * *", gap=SKIP, fold=BOTH),
        start_ms=None if start is None else at(start),
        end_ms=None if end is None else at(end),
    )
    found = dropped(calendar, at("2026-01-01T00:00+01:00"), at("2028-01-01T00:00+01:00"), 100)
    assert [each.local for each in found] == [f"{day}T02:30:00" for day in days]


@given(five_fields, st.sampled_from(JUMPS), st.sampled_from(GapRule), st.sampled_from(FoldRule))
def test_with_the_other_rules_everything_dropped_would_have_fired(
    expression: str, place: tuple[str, int], gap: GapRule, fold: FoldRule
) -> None:
    """Fired plus dropped is what fires when nothing is skipped and both passes count."""
    zone, at_ms = place

    def calendar(gap: GapRule, fold: FoldRule) -> Calendar:
        cron = Cron(expression=expression, zone=zone, gap=gap, fold=fold)
        return Calendar(crons=(cron,), seed="nightly")

    span = (at_ms - DAY_MS, at_ms + DAY_MS, 100_000)
    everything = set(nominal_times(calendar(GapRule.RUN_AT_END, FoldRule.BOTH), *span))
    fired = set(nominal_times(calendar(gap, fold), *span))
    left_out = {each.at_ms for each in dropped(calendar(gap, fold), *span)}
    assert fired | left_out == everything
