"""What is refused, with the field, the character and a hint; and what stands beside it and is not.

The rows are the tables of bad input for cron, interval and time zone.
"""

from __future__ import annotations

import pytest
from timeball.errors import InvalidRequest

from timeball_server.core.limits import (
    HORIZON_MS,
    MAX_CRON_CHARACTERS,
    MAX_EXCLUDED_DATES,
    MAX_EXCLUSIONS,
    MAX_RULES,
    MAX_SPREAD_MS,
    MIN_INTERVAL_MS,
)
from timeball_server.core.schedules.calendars import next_nominal_ms
from timeball_server.core.schedules.checking import check
from timeball_server.core.schedules.problems import Problem, SpecProblem
from timeball_server.core.schedules.spec import (
    Calendar,
    Cron,
    ExcludedCron,
    ExcludedDates,
    ExcludedSpan,
    Exclusions,
    GapRule,
    Interval,
)

NOW_MS = 1_780_000_000_000
YEAR_MS = 365 * 86_400_000
DAILY = Cron(expression="0 9 * * *")


def problems(calendar: Calendar) -> tuple[Problem, ...]:
    with pytest.raises(SpecProblem) as refused:
        check(calendar, NOW_MS, "schedule.calendar")
    error = refused.value
    assert isinstance(error, InvalidRequest)
    assert error.code == "INVALID_ARGUMENT"
    assert [each.field for each in error.violations] == [each.field for each in error.problems]
    assert all(each.hint and each.message for each in error.problems)
    return error.problems


def only(calendar: Calendar) -> Problem:
    (problem,) = problems(calendar)
    return problem


def cron(expression: str, seed: str = "nightly") -> Calendar:
    return Calendar(crons=(Cron(expression=expression),), seed=seed)


EXPRESSIONS = [
    # expression, character, a word of the message, a word of the hint
    ("", None, "empty", "0 9 * * mon-fri"),
    ("   ", None, "empty", "0 9 * * mon-fri"),
    ("*", 1, "five fields", "minute hour"),
    ("0 9 * *", 7, "has 4", "minute hour day-of-month month day-of-week"),
    ("0 0 9 * * * 2027", 13, "has 7", "start and end"),
    ("@reboot", 1, "no time", "when your program starts"),
    (" @every 5m", 2, "no time", "interval"),
    ("@fortnightly", 1, "no nickname", "@weekly"),
    ("@daily 5", 8, "has 2", "minute hour"),
    ("60 * * * *", 1, "60 is no minute", "0 to 59"),
    ("0 60 * * * *", 3, "60 is no minute", "0 to 59"),
    ("60 0 * * * *", 1, "60 is no second", "0 to 59"),
    ("0 24 * * *", 3, "24 is no hour", "0 to 23"),
    ("0 0 0 * *", 5, "0 is no day of the month", "1 to 31"),
    ("0 0 32 * *", 5, "32 is no day of the month", "1 to 31"),
    ("0 0 1 13 *", 7, "13 is no month", "1 to 12"),
    ("0 0 * * 8", 9, "8 is no day of the week", "0 to 7"),
    ("-1 * * * *", 1, "can not be read", "1-5"),
    ("1.5 * * * *", 2, "can not be read", "1-5"),
    ("999999999999 * * * *", 10, "can not be read", "1-5"),
    ("*/0 * * * *", 3, "never moves on", "at least 1"),
    ("0 */0 * * *", 5, "never moves on", "at least 1"),
    ("0-59/61 * * * *", 6, "leaves the range", "smaller step"),
    ("*/60 * * * *", 3, "leaves the range", "smaller step"),
    ("5/10 * * * *", 2, "needs a range", "5-59/10"),
    ("*/-5 * * * *", 2, "can not be read", "*/5"),
    ("*/5/2 * * * *", 4, "can not be read", "*/5"),
    ("0 22-6 * * *", 3, "backwards", "22-23,0-6"),
    ("0 0 * nov-feb *", 7, "backwards", "nov-dec,1-feb"),
    ("0 0 * * fri-mon", 9, "backwards", "fri-sat,0-mon"),
    ("0 0 * * mom", 9, "'mom' is no day of the week", "sun, mon"),
    ("0 0 * mon *", 7, "'mon' is no month", "jan, feb"),
    ("0 0 * * monday", 12, "can not be read", "1-5"),
    ("1,,2 * * * *", 3, "empty", "both sides"),
    (",1 * * * *", 1, "empty", "both sides"),
    ("1, * * * *", 3, "empty", "both sides"),
    ("0 0 30 2 *", 5, "eight years", "month that has such a day"),
    ("0 0 31 2,4,6,9,11 *", 5, "eight years", "month that has such a day"),
    ("0 0 0 31 4 *", 7, "eight years", "month that has such a day"),
    ("0 0 30W 2 *", 5, "eight years", "month that has such a day"),
    ("0 0 * * 1#6", 11, "6 times", "#1 to #5"),
    ("0 0 * * 1#0", 11, "0 times", "#1 to #5"),
    ("0 0 29 2 +fri#4", 5, "eight years", "month that has such a day"),
    ("L * * * *", 1, "can not be read", "L is for days"),
    ("0 0 * L *", 7, "can not be read", "L is for days"),
    ("0 0 * * L", 9, "can not be read", "5L or friL"),
    ("0 0 L-3 * *", 5, "can not be read", "L is for days"),
    ("0 0 W * *", 5, "can not be read", "15W"),
    ("0 0 1-5W * *", 8, "can not be read", "15W"),
    ("0 0 32W * *", 5, "32 is no day of the month", "1 to 31"),
    ("0 0 * * 1W", 10, "can not be read", "W follows"),
    ("? * * * *", 1, "can not be read", "stands alone"),
    ("0 0 1,? * *", 7, "can not be read", "stands alone"),
    ("0 0 # * *", 5, "can not be read", "fri#2"),
    ("0 0 + * *", 5, "can not be read", "before the day of the week"),
    ("0 0 * * ++1", 10, "can not be read", "before the day of the week"),
    ("0 ~ * * *", 3, "can not be read", "H(low-high)"),
    ("H( * * * *", 2, "can not be read", "1-5"),
    ("H(5) * * * *", 2, "can not be read", "1-5"),
    ("H(0-70) * * * *", 5, "70 is no minute", "0 to 59"),
    ("H(30-10) * * * *", 3, "backwards", "30-59,0-10"),
    ("H/0 * * * *", 3, "never moves on", "at least 1"),
    ("H(0-9)/10 * * * *", 8, "leaves the range", "smaller step"),
    ("CRON_TZ=Europe/Berlin 0 9 * * *", 1, "zone is no part", "zone field"),
    ("TZ=UTC 0 9 * * *", 1, "zone is no part", "zone field"),
    ("0 9 * * *\n", 10, "has no place", "letters"),
    ("0\x00 9 * * *", 2, "has no place", "letters"),
    ("0 9 * * \u202emon", 9, "has no place", "letters"),
    ("0 9 * * m\u043en", 10, "has no place", "letters"),
    ("\uff10 9 * * *", 1, "has no place", "letters"),
    ("0 9 * * \ud800", 9, "has no place", "letters"),
    ("0 9 * * *; rm -rf /", 15, "has 8", "minute hour"),
    ("0 9 * * *;", 10, "can not be read", "1-5"),
    ("${x} 9 * * *", 1, "can not be read", "1-5"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "position", "message", "hint"), EXPRESSIONS)
def test_an_expression_is_refused_at_its_character(
    expression: str, position: int | None, message: str, hint: str
) -> None:
    problem = only(cron(expression))
    assert problem.field == "schedule.calendar.crons[0].expression"
    assert problem.position == position
    assert message in problem.message
    assert hint in problem.hint


def test_the_error_tells_programs_field_and_position_and_people_a_sentence() -> None:
    with pytest.raises(SpecProblem) as refused:
        check(cron("0 22-6 * * *"), NOW_MS)
    error = refused.value
    assert error.metadata == {"field": "calendar.crons[0].expression", "position": "3"}
    assert error.message == (
        "calendar.crons[0].expression: at character 3: the range 22-6 runs backwards; "
        "write 22-23,0-6 to go round the end"
    )


@pytest.mark.parametrize(
    "expression",
    [
        *("* * * * *", "* * * * * *", "0 0 29 2 *", "0 0 1,L,LW,15W * ?", "0 0 ? * fri#5,2L"),
        *("0-59/59 * * * *", "*/1 * * * *", "5-5/1 * * * *", "0 0 * * sat-sun", "0 0 * * 5-7"),
        *("0 0 * * 0-7", "0 0 * JAN-Dec SUN", "  0\t9   * * *  ", "@Daily", "H H(1-5) H * H"),
        *("0 0 13 * +5", "0 0 */2 * 1", "*/59 * * * *", "0 0 31W 1 *", "H/15 * * * *"),
    ],
)
def test_neighbours_of_what_is_refused_are_accepted(expression: str) -> None:
    check(cron(expression), NOW_MS)


def test_h_needs_a_name() -> None:
    problem = only(cron("0 H * * *", seed=""))
    assert (problem.position, "name the schedule" in problem.hint) == (3, True)


LIST_OF_10_KB = ",".join(str(number % 60) for number in range(3_700)) + " * * * *"


@pytest.mark.parametrize("expression", [LIST_OF_10_KB, "9" * 10_240, "* " * 5_120, "x" * (1 << 20)])
def test_a_long_expression_is_not_even_read(expression: str) -> None:
    problem = only(cron(expression))
    assert problem.position == MAX_CRON_CHARACTERS + 1
    assert str(MAX_CRON_CHARACTERS) in problem.message


def test_the_longest_expression_is_read() -> None:
    tail = "0 * * * *"
    expression = "0," * ((MAX_CRON_CHARACTERS - len(tail)) // 2) + tail
    expression = "0" * (MAX_CRON_CHARACTERS - len(expression)) + expression
    check(cron(expression), NOW_MS)
    assert len(expression) == MAX_CRON_CHARACTERS
    assert only(cron(expression + " ")).position == MAX_CRON_CHARACTERS + 1


ZONES = [
    ("", "is empty", "Europe/Berlin"),
    ("  ", "is empty", "Europe/Berlin"),
    ("Mars/Olympus", "no zone of the IANA", "Europe/Berlin"),
    ("europe/berlin", "not how the zone is written", "write Europe/Berlin"),
    ("berlin", "not how the zone is written", "write Europe/Berlin"),
    ("America/New York", "not how the zone is written", "write America/New_York"),
    (" Europe/Berlin", "not how the zone is written", "write Europe/Berlin"),
    ("utc", "not how the zone is written", "write UTC"),
    ("EST5EDT", "abbreviation", "America/New_York"),
    ("CET", "abbreviation", "Europe/Brussels"),
    ("est", "no zone of the IANA", "Europe/Berlin"),
    ("PST", "no zone of the IANA", "Europe/Berlin"),
    ("Etc/GMT+5", "5 hours behind UTC", "Europe/Berlin"),
    ("Etc/GMT-14", "14 hours ahead of UTC", "Europe/Berlin"),
    ("+02:00", "no zone of the IANA", "Europe/Berlin"),
    ("UTC+2", "no zone of the IANA", "Europe/Berlin"),
    ("../../etc", "no zone of the IANA", "Europe/Berlin"),
    ("../../etc/passwd", "no zone of the IANA", "Europe/Berlin"),
    ("/etc/localtime", "no zone of the IANA", "Europe/Berlin"),
    ("localtime", "no zone of the IANA", "Europe/Berlin"),
    ("posixrules", "no zone of the IANA", "Europe/Berlin"),
    ("Factory", "without a zone", "Europe/Berlin"),
    ("right/Europe/Berlin", "no zone of the IANA", "Europe/Berlin"),
    ("zone.tab", "no zone of the IANA", "Europe/Berlin"),
    ("Europe", "no zone of the IANA", "Europe/Berlin"),
    ("Europe/Berlin\x00", "no zone of the IANA", "Europe/Berlin"),
    ("Europe/\ud800", "no zone of the IANA", "Europe/Berlin"),
    ("US/Pacific-New", "no zone of the IANA", "Europe/Berlin"),
    ("x" * (1 << 20), "no zone of the IANA", "Europe/Berlin"),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "message", "hint"), ZONES, ids=[each[0][:20] for each in ZONES])
def test_a_zone_is_refused_with_the_one_that_is_meant(zone: str, message: str, hint: str) -> None:
    problem = only(Calendar(crons=(Cron(expression="0 9 * * *", zone=zone),)))
    assert problem.field == "schedule.calendar.crons[0].zone"
    assert message in problem.message
    assert hint in problem.hint
    assert len(problem.sentence) < 300


@pytest.mark.parametrize(
    "zone", ["UTC", "Etc/UTC", "GMT", "Asia/Calcutta", "US/Eastern", "America/Argentina/Ushuaia"]
)
def test_renamed_zones_and_utc_are_accepted(zone: str) -> None:
    check(Calendar(crons=(Cron(expression="0 9 * * *", zone=zone),)), NOW_MS)


def test_a_zone_that_newer_data_dropped_is_a_problem_and_never_another_zone() -> None:
    stored = Calendar(crons=(Cron(expression="0 9 * * *", zone="US/Pacific-New"),))
    with pytest.raises(SpecProblem, match="no zone of the IANA"):
        next_nominal_ms(stored, NOW_MS)


def interval(every_ms: int, phase_ms: int = 0) -> Calendar:
    return Calendar(intervals=(Interval(every_ms=every_ms, phase_ms=phase_ms),))


@pytest.mark.parametrize("every_ms", [0, -1, 1, MIN_INTERVAL_MS - 1, HORIZON_MS + 1, 1 << 63])
def test_an_interval_is_refused_outside_its_limits(every_ms: int) -> None:
    problem = problems(interval(every_ms))[0]
    assert problem.field == "schedule.calendar.intervals[0].every_ms"
    assert f"{MIN_INTERVAL_MS} to {HORIZON_MS} ms" in problem.hint


@pytest.mark.parametrize("phase_ms", [-1, 60_000, 1 << 63])
def test_a_phase_lies_inside_the_interval(phase_ms: int) -> None:
    problem = only(interval(60_000, phase_ms))
    assert problem.field == "schedule.calendar.intervals[0].phase_ms"


@pytest.mark.parametrize(("every_ms", "phase_ms"), [(MIN_INTERVAL_MS, 0), (HORIZON_MS, 5)])
def test_the_limits_of_an_interval_are_accepted(every_ms: int, phase_ms: int) -> None:
    check(interval(every_ms, phase_ms), NOW_MS)


DATE = ExcludedDates(dates=("2026-02-30",), zone="Europe/Berlin")
CALENDARS = [
    ("", Calendar(), "names no instant"),
    (".end_ms", Calendar(crons=(DAILY,), start_ms=NOW_MS, end_ms=NOW_MS - 1), "before the start"),
    ("", Calendar(crons=(DAILY,), start_ms=NOW_MS + 1, end_ms=NOW_MS + 1), "nothing is left"),
    ("", Calendar(crons=(DAILY,), end_ms=NOW_MS - YEAR_MS), "nothing is left"),
    (".start_ms", Calendar(crons=(DAILY,), start_ms=-1), "before 1970"),
    (".start_ms", Calendar(crons=(DAILY,), start_ms=NOW_MS + 6 * YEAR_MS), "five years"),
    (".start_ms", Calendar(crons=(DAILY,), start_ms=(1 << 63) - 1), "five years"),
    (".jitter_ms", Calendar(crons=(DAILY,), jitter_ms=-1), "outside"),
    (".jitter_ms", Calendar(crons=(DAILY,), jitter_ms=MAX_SPREAD_MS + 1), "outside"),
    (".window_ms", Calendar(crons=(DAILY,), window_ms=MAX_SPREAD_MS + 1), "outside"),
    (".crons", Calendar(crons=(DAILY,) * (MAX_RULES + 1)), "17 crons and intervals"),
    (".crons[1].expression", Calendar(crons=(DAILY, Cron(expression="0 0 30 2 *"))), "eight"),
    (
        ".crons[0].expression",
        # Cairo's clock is put forward at midnight of the last Friday of April, every year.
        Calendar(crons=(Cron(expression="0 0 * 4 friL", zone="Africa/Cairo", gap=GapRule.SKIP),)),
        "eight years",
    ),
    (
        ".excluded.dates[0].dates[0]",
        Calendar(crons=(DAILY,), excluded=Exclusions(dates=(DATE,))),
        "'2026-02-30' is no date",
    ),
    (
        ".excluded.dates[0].zone",
        Calendar(
            crons=(DAILY,), excluded=Exclusions(dates=(ExcludedDates(dates=(), zone="Berlin"),))
        ),
        "not how",
    ),
    (
        ".excluded.dates",
        Calendar(
            crons=(DAILY,),
            excluded=Exclusions(
                dates=(ExcludedDates(dates=("2026-12-25",) * (MAX_EXCLUDED_DATES + 1)),)
            ),
        ),
        "1001 excluded dates",
    ),
    (
        ".excluded",
        Calendar(
            crons=(DAILY,),
            excluded=Exclusions(spans=(ExcludedSpan(from_ms=0, to_ms=1),) * (MAX_EXCLUSIONS + 1)),
        ),
        "65 exclusions",
    ),
    (
        ".excluded.spans[0].to_ms",
        Calendar(crons=(DAILY,), excluded=Exclusions(spans=(ExcludedSpan(from_ms=5, to_ms=5),))),
        "empty",
    ),
    (
        ".excluded.crons[0].expression",
        Calendar(
            crons=(DAILY,), excluded=Exclusions(crons=(ExcludedCron(expression="* 25 * * *"),))
        ),
        "25 is no hour",
    ),
    (
        "",
        Calendar(
            crons=(DAILY,), excluded=Exclusions(crons=(ExcludedCron(expression="* 9 * * *"),))
        ),
        "nothing is left",
    ),
    (
        "",
        Calendar(
            intervals=(Interval(every_ms=60_000),),
            excluded=Exclusions(crons=(ExcludedCron(expression="0 * * * * *"),)),
        ),
        "nothing is left",
    ),
]


@pytest.mark.parametrize(("field", "calendar", "message"), CALENDARS)
def test_a_calendar_is_refused_at_its_field(field: str, calendar: Calendar, message: str) -> None:
    problem = only(calendar)
    assert problem.field == f"schedule.calendar{field}"
    assert message in problem.message


def test_start_and_end_may_be_one_nominal_time() -> None:
    nine_ms = next_nominal_ms(Calendar(crons=(DAILY,)), NOW_MS)
    check(Calendar(crons=(DAILY,), start_ms=nine_ms, end_ms=nine_ms), NOW_MS)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    calendar = Calendar(
        crons=(Cron(expression="60 * * * *", zone="Berlin"),),
        intervals=(Interval(every_ms=1, phase_ms=-1),),
        jitter_ms=-1,
    )
    assert [each.field for each in problems(calendar)] == [
        "schedule.calendar.crons[0].zone",
        "schedule.calendar.crons[0].expression",
        "schedule.calendar.intervals[0].every_ms",
        "schedule.calendar.intervals[0].phase_ms",
        "schedule.calendar.jitter_ms",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "2026-W09-1",  # a Monday, in a calendar of weeks
        *("20261225", "2026-12-5", "2026-13-01", "26-12-25", " 2026-12-25", "2026-12-25\n"),
        *("\uff12026-12-25", "2026/12/25", "2026-12-25T00", ""),
    ],
)
def test_a_date_is_written_one_way_only(text: str) -> None:
    dates = ExcludedDates(dates=(text,))
    problem = only(Calendar(crons=(DAILY,), excluded=Exclusions(dates=(dates,))))
    assert problem.field == "schedule.calendar.excluded.dates[0].dates[0]"
    assert "is no date" in problem.message
    assert "2026-12-25" in problem.hint
