"""The judge of forecasts: what calendars name, what is refused, and what follows from a name."""

from __future__ import annotations

from datetime import datetime

import pytest
from msgspec.structs import replace

from tests.support.checker.calendars import (
    Every,
    Forecast,
    Foretold,
    Gone,
    Hashed,
    OutDates,
    OutSpan,
    Rule,
    Sheet,
    Wrong,
)
from tests.support.checker.history import History
from tests.support.checker.judge import judge
from tests.support.checker.records import Terms
from tests.support.checker.verdicts import Promise

BERLIN = "Europe/Berlin"
AT = (Wrong(field="schedule.calendar.crons[0].expression", position=5),)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


NOW_MS = ms("2025-10-26T00:58+00:00")
NIGHT = Rule(minutes=(30,), hours=(2,), zone=BERLIN)
"""In the hour that clocks leave out in March and show twice in October."""
SPRING = Forecast(
    client="c",
    inv_us=0,
    now_ms=NOW_MS,
    text="30 2 * * *",
    kind="ok",
    sheet=Sheet(rules=(NIGHT,)),
    after_ms=ms("2026-03-28T00:00+00:00"),
    count=3,
    times=(
        Foretold(at_ms=ms("2026-03-28T02:30+01:00")),
        Foretold(at_ms=ms("2026-03-29T03:00+02:00"), marks=("MOVED",)),
        Foretold(at_ms=ms("2026-03-30T02:30+02:00")),
    ),
)
SKIPPED = replace(
    SPRING,
    sheet=Sheet(rules=(replace(NIGHT, gap="SKIP"),)),
    count=2,
    times=(SPRING.times[0], SPRING.times[2]),
    gone=(Gone(at_ms=ms("2026-03-29T03:00+02:00"), local="2026-03-29T02:30:00", zone=BERLIN),),
)
FIRST = Foretold(at_ms=ms("2026-10-25T02:30+02:00"), marks=("FIRST_PASS",))
SECOND = Foretold(at_ms=ms("2026-10-25T02:30+01:00"), marks=("SECOND_PASS",))
AUTUMN = replace(
    SPRING,
    sheet=Sheet(rules=(replace(NIGHT, fold="BOTH"),)),
    after_ms=ms("2026-10-25T00:00+00:00"),
    count=2,
    times=(FIRST, SECOND),
)
OUTAGE = replace(
    SPRING,
    sheet=Sheet(every=(Every(every_ms=60_000),)),
    since_ms=NOW_MS - NOW_MS % 60_000,
    after_ms=NOW_MS - NOW_MS % 60_000 + 600_000,
    times=(),
    policy="ALL",
    reach_ms=120_000,
    missed=9,
    caught_up=2,
)
REFUSED = replace(SPRING, kind="fail", sheet=None, times=(), wrong=AT, refused=AT)
HASHED = Rule(minutes=(0,), hours=(0,), hashed=(Hashed(field="minute", low=10, high=29),))


def hashed(name: str, minute: int) -> Forecast:
    return replace(
        SPRING,
        sheet=Sheet(rules=(HASHED,), name=name),
        count=1,
        times=(Foretold(at_ms=ms(f"2026-03-28T00:{minute}+00:00")),),
    )


def broken(*told: Forecast, calm: bool = True) -> list[Promise]:
    terms = Terms(calm=calm, late_us=1_000_000)
    return [each.promise for each in judge(History([*told, terms]))]


HONEST = {
    "a gap": SPRING,
    "a skipped gap": SKIPPED,
    "both passes": AUTUMN,
    "an outage": OUTAGE,
    "an outage that nobody makes up for": replace(OUTAGE, policy="SKIP", caught_up=0),
    "the latest of an outage": replace(OUTAGE, policy="ONE", caught_up=1),
    "a refusal": REFUSED,
    "an end": replace(
        SPRING,
        sheet=replace(SPRING.sheet or Sheet(), end_ms=SPRING.times[0].at_ms),
        times=SPRING.times[:1],
        is_short=True,
    ),
    "dates left out": replace(
        SPRING,
        sheet=Sheet(
            rules=(NIGHT,), out_dates=(OutDates(dates=("2026-03-28", "2026-03-29"), zone=BERLIN),)
        ),
        count=1,
        times=SPRING.times[2:],
    ),
    "a span left out": replace(
        SPRING,
        sheet=Sheet(
            rules=(NIGHT,),
            out_spans=(OutSpan(from_ms=SPRING.times[0].at_ms, to_ms=SPRING.times[1].at_ms),),
        ),
        count=2,
        times=SPRING.times[1:],
    ),
    "an expression left out": replace(
        SPRING,
        sheet=Sheet(
            rules=(NIGHT,),
            out_rules=(replace(NIGHT, hours=(3,), minutes=(0,), every_second=True),),
        ),
        count=2,
        times=(SPRING.times[0], SPRING.times[2]),
    ),
    "a leap day": replace(
        SPRING,
        sheet=Sheet(rules=(Rule(minutes=(0,), hours=(12,), dates=("29",), months=(2,)),)),
        count=2,
        times=(
            Foretold(at_ms=ms("2028-02-29T12:00+00:00")),
            Foretold(at_ms=ms("2032-02-29T12:00+00:00")),
        ),
    ),
    "either day": replace(
        SPRING,
        sheet=Sheet(
            rules=(
                Rule(minutes=(0,), hours=(0,), dates=("31W",), weekdays=("sun#5",), either=True),
            )
        ),
        times=(
            Foretold(at_ms=ms("2026-03-29T00:00+00:00")),
            Foretold(at_ms=ms("2026-03-31T00:00+00:00")),
            Foretold(at_ms=ms("2026-05-29T00:00+00:00")),
        ),
    ),
    "what names nothing": replace(
        REFUSED,
        wrong=(),
        sheet=Sheet(rules=(Rule(minutes=(0,), hours=(0,), dates=("30",), months=(2,)),)),
    ),
    "a name": hashed("nightly", 17),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_answer_breaks_nothing(name: str) -> None:
    assert broken(HONEST[name]) == []


LIES = {
    "a time left out": replace(SPRING, count=2, times=(SPRING.times[0], SPRING.times[2])),
    "a time too early": replace(
        SPRING, times=(Foretold(at_ms=SPRING.after_ms + 1), *SPRING.times[:2])
    ),
    "no mark": replace(SPRING, times=tuple(replace(one, marks=()) for one in SPRING.times)),
    "nothing dropped": replace(SKIPPED, gone=()),
    "something dropped": replace(SPRING, gone=SKIPPED.gone),
    "one pass": replace(AUTUMN, times=(FIRST, Foretold(at_ms=ms("2026-10-26T02:30+01:00")))),
    "short without a reason": replace(SPRING, times=SPRING.times[:2]),
    "a reason without being short": replace(SPRING, is_short=True),
    "too few missed": replace(OUTAGE, missed=8),
    "too many caught up": replace(OUTAGE, caught_up=3),
    "one too many caught up": replace(OUTAGE, policy="SKIP", caught_up=1),
    "right and refused": replace(SPRING, kind="fail", refused=AT, times=()),
    "a neighbour refused": replace(REFUSED, wrong=()),
    "wrong and taken": replace(SPRING, wrong=AT),
    "another field": replace(REFUSED, refused=(Wrong(field="schedule.calendar", position=5),)),
    "another character": replace(REFUSED, refused=(replace(AT[0], position=6),)),
    "half of what is wrong": replace(REFUSED, wrong=(*AT, Wrong(field="schedule.jitter"))),
    "what names nothing": replace(
        SPRING,
        times=(),
        is_short=True,
        sheet=Sheet(rules=(Rule(minutes=(0,), hours=(0,), dates=("30",), months=(2,)),)),
    ),
    "out of range": hashed("nightly", 35),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found(name: str) -> None:
    assert Promise.FORECAST in broken(LIES[name])


def test_a_name_means_the_same_whenever_somebody_asks() -> None:
    assert broken(hashed("nightly", 17), hashed("nightly", 17), hashed("weekly", 21)) == []
    assert broken(hashed("nightly", 17), hashed("nightly", 18)) == [Promise.FORECAST]


def test_many_names_do_not_mean_the_same() -> None:
    names = [f"name-{number}" for number in range(6)]
    assert broken(*(hashed(name, 17) for name in names)) == [Promise.FORECAST]
    assert broken(*(hashed(name, 17 + (name == "name-3")) for name in names)) == []


def test_who_asks_when_nothing_is_broken_has_an_answer() -> None:
    silent = replace(SPRING, kind="info", times=())
    assert broken(silent) == [Promise.LIVE]
    assert broken(silent, calm=False) == []
