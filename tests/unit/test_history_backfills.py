"""The judge of backfills, of schedules over months, of keys, and of answers that do not come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from tests.support.checker.days import names
from tests.support.checker.history import History, Line
from tests.support.checker.judge import judge
from tests.support.checker.records import (
    Call,
    Days,
    End,
    Fault,
    Final,
    Kind,
    Left,
    Mode,
    Op,
    Rhythm,
    Seen,
    SeenBackfill,
    SeenPlan,
    Start,
    Terms,
    Try,
    Wish,
)
from tests.support.checker.schedules import nominal_times
from tests.support.checker.verdicts import Promise

S = 1_000_000
DAY = 86_400 * S
ZERO_MS = 1_761_440_280_000
"""2025-10-26T00:58Z."""
TERMS = Terms(calm=False, healed_us=100 * S, recover_us=30 * S, read_us=300 * S)
CALM = Terms(calm=True, late_us=S, healed_us=100 * S, recover_us=30 * S, read_us=300 * S)
DONE = Seen(
    state="SUCCEEDED", ended=True, place=(1, 4), tries=(Try(number=1, outcome="SUCCEEDED"),)
)
NOON_OF_LAST_DAYS = Rhythm(
    every_us=DAY, days=Days(dates="L", times_s=(12 * 3_600,)), zero_ms=ZERO_MS
)
PLAN = "schedule p"


def since_zero_us(year: int, month: int, day: int) -> int:
    """Noon of a day."""
    return round(datetime(year, month, day, 12, tzinfo=UTC).timestamp() * S) - ZERO_MS * 1_000


AUGUST, SEPTEMBER, OCTOBER = (
    since_zero_us(2025, 8, 31),
    since_zero_us(2025, 9, 30),
    since_zero_us(2025, 10, 31),
)


def shown(launched: int = 2, state: str = "DONE", next_us: int | None = OCTOBER) -> SeenPlan:
    """An answer about the schedule, with its one backfill."""
    return SeenPlan(
        next_us=next_us,
        ended=False,
        backfills=(SeenBackfill(name="b", state=state, launched=launched),),
    )


def op(call: Call, inv_us: int, **facts: object) -> Op:
    """What went well."""
    known: dict[str, object] = {"client": "c", "task": "s", "ret_us": inv_us + 1, "kind": Kind.OK}
    record = {"is": "op", "call": call, "inv_us": inv_us, **known, **facts}
    return msgspec.convert(record, Op)


def run(nominal_us: int, task: str, at_us: int = 5 * S) -> list[Line]:
    """A run of a backfill."""
    return [
        Start(
            task=task,
            attempt=1,
            epoch=1,
            process="x",
            at_us=at_us,
            payload=PLAN,
            nominal_us=nominal_us,
        ),
        End(task=task, attempt=1, process="x", at_us=at_us + 1, ok=True),
        Final(task=task, seen=DONE),
    ]


MADE = op(
    Call.CREATE_SCHEDULE,
    S,
    request="s",
    rhythm=NOON_OF_LAST_DAYS,
    wish=Wish(mode=Mode.AT_LEAST_ONCE, max_attempts=3, payload=PLAN),
    plan=SeenPlan(next_us=OCTOBER, ended=False),
)
FILL = op(
    Call.BACKFILL,
    2 * S,
    backfill="b",
    first_us=AUGUST - 1,
    last_us=SEPTEMBER,
    plan=shown(0, "RUNNING"),
)
STOP = op(Call.STOP_BACKFILL, 6 * S, backfill="b", plan=shown(1, "STOPPED"))
LOOK = op(Call.GET_SCHEDULE, 200 * S, plan=shown())
RUNS = [*run(AUGUST, "r1"), *run(SEPTEMBER, "r2")]
STOPPED_LOOK = op(Call.GET_SCHEDULE, 200 * S, plan=shown(1, "STOPPED"))


def broken(lines: Sequence[Line], terms: Terms = TERMS) -> set[Promise]:
    return {violation.promise for violation in judge(History([*lines, terms]))}


@pytest.mark.parametrize("terms", [TERMS, CALM])
@pytest.mark.parametrize(
    "lines",
    [[MADE, FILL, *RUNS, LOOK], [MADE, FILL, *run(AUGUST, "r1"), STOP, STOPPED_LOOK]],
    ids=["done", "stopped"],
)
def test_a_backfill_that_is_right_breaks_nothing(lines: list[Line], terms: Terms) -> None:
    assert broken(lines, terms) == set()


WRONG: dict[str, tuple[Promise, list[Line]]] = {
    "one is not launched": (Promise.LIVE, [MADE, FILL, *run(AUGUST, "r1"), LOOK]),
    "one is launched twice": (Promise.SCHEDULE, [MADE, FILL, *RUNS, *run(AUGUST, "r3"), LOOK]),
    "one is no nominal time": (Promise.SCHEDULE, [MADE, FILL, *RUNS, *run(AUGUST + S, "r3")]),
    "one is beyond the range": (
        Promise.SCHEDULE,
        [MADE, FILL, *RUNS, *run(since_zero_us(2025, 7, 31), "r3")],
    ),
    "one that nobody asked for": (Promise.SCHEDULE, [MADE, *run(AUGUST, "r1")]),
    "one never ends": (
        Promise.LIVE,
        [
            MADE,
            FILL,
            *RUNS[:5],
            Final(task="r2", seen=Seen(state="SCHEDULED", ended=False)),
            LOOK,
        ],
    ),
    "one is launched behind the stop": (Promise.TRUTH, [MADE, FILL, *RUNS, STOP, STOPPED_LOOK]),
    "stopped by nobody": (Promise.TRUTH, [MADE, FILL, *run(AUGUST, "r1"), STOPPED_LOOK]),
    "runs in the answer of the stop": (
        Promise.SCHEDULE,
        [MADE, FILL, op(Call.STOP_BACKFILL, 6 * S, backfill="b", plan=shown(0, "RUNNING"))],
    ),
    "runs for ever": (
        Promise.LIVE,
        [MADE, FILL, *RUNS, op(Call.GET_SCHEDULE, 200 * S, plan=shown(2, "RUNNING"))],
    ),
    "goes on behind its end": (
        Promise.TRUTH,
        [MADE, FILL, STOP, op(Call.GET_SCHEDULE, 9 * S, plan=shown(2, "RUNNING"))],
    ),
    "is forgotten": (
        Promise.DURABLE,
        [MADE, FILL, op(Call.GET_SCHEDULE, 200 * S, plan=SeenPlan(next_us=OCTOBER, ended=False))],
    ),
    "next is no nominal time": (
        Promise.SCHEDULE,
        [MADE, op(Call.GET_SCHEDULE, 9 * S, plan=shown(0, "DONE", OCTOBER + S))],
    ),
    "next is the one after the next": (
        Promise.SCHEDULE,
        [MADE, op(Call.GET_SCHEDULE, 9 * S, plan=shown(0, "DONE", since_zero_us(2025, 11, 30)))],
    ),
    "nothing is next": (
        Promise.SCHEDULE,
        [MADE, op(Call.GET_SCHEDULE, 9 * S, plan=shown(0, "DONE", None))],
    ),
    "nobody answers": (
        Promise.LIVE,
        [MADE, op(Call.GET_SCHEDULE, 190 * S, stalls=((190 * S, 5 * S),), plan=MADE.plan)],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_backfill_that_is_wrong_is_named(name: str) -> None:
    promise, lines = WRONG[name]
    assert promise in broken(lines)


@pytest.mark.parametrize(("ends_us", "is_broken"), [(OCTOBER, True), (8 * S, False)])
def test_a_schedule_may_outlive_its_last_time(ends_us: int, is_broken: bool) -> None:
    """It lives for as long as a run that it waits for."""
    rhythm = msgspec.structs.replace(NOON_OF_LAST_DAYS, end_us=ends_us)
    made = msgspec.structs.replace(MADE, rhythm=rhythm, plan=None)
    look = op(Call.GET_SCHEDULE, 9 * S, plan=SeenPlan(next_us=None, ended=False))
    assert (Promise.SCHEDULE in broken([made, look])) == is_broken


def test_who_asks_while_something_is_broken_may_have_to_wait() -> None:
    look = op(Call.GET_SCHEDULE, 90 * S, stalls=((90 * S, 5 * S),), plan=MADE.plan)
    assert broken([MADE, look]) == set()
    assert broken([MADE, look], CALM) == {Promise.LIVE}


@pytest.mark.parametrize(
    ("days", "wanted"),
    [
        (Days(dates="L"), [31]),
        (Days(dates="LW"), [29]),
        (Days(dates="15W"), [15]),
        (Days(dates="1W"), [1]),
        (Days(dates="9W"), [8]),
        (Days(dates="10W"), [11]),
        (Days(dates="31W"), [29]),
        (Days(dates="3,L"), [3, 31]),
        (Days(weekdays="fri"), [1, 8, 15, 22, 29]),
        (Days(weekdays="sat#5"), [30]),
        (Days(weekdays="monL,mon#1"), [4, 25]),
        (Days(dates="1", weekdays="sat"), []),
        (Days(dates="1", months=(1, 9)), []),
    ],
)
def test_days_of_august_2025(days: Days, wanted: list[int]) -> None:
    """It begins on a Friday and ends on a Sunday."""
    assert [n for n in range(1, 32) if names(days, date(2025, 8, n))] == wanted


def test_times_of_days_go_by_the_zone() -> None:
    days = Days(dates="1", months=(1, 7), times_s=(12 * 3_600, 0))
    rhythm = Rhythm(every_us=DAY, days=days, zone="Europe/Berlin", zero_ms=ZERO_MS)
    from_us = since_zero_us(2024, 12, 30)
    found = nominal_times(rhythm, from_us, since_zero_us(2025, 8, 1))
    shown = [datetime.fromtimestamp(ZERO_MS / 1_000 + at / S, UTC).isoformat() for at in found]
    assert shown == [
        "2024-12-31T23:00:00+00:00",
        "2025-01-01T11:00:00+00:00",
        "2025-06-30T22:00:00+00:00",
        "2025-07-01T10:00:00+00:00",
    ]


@pytest.mark.parametrize(
    ("zone", "day", "times_s", "rules", "wanted"),
    [
        ("Europe/Berlin", (2025, 3, 30), (9_000,), {}, ["01:00"]),
        ("Europe/Berlin", (2025, 3, 30), (7_200, 9_000, 10_800), {}, ["01:00"]),
        ("Europe/Berlin", (2025, 3, 30), (9_000, 10_800), {"gap": "SKIP"}, ["01:00"]),
        ("Europe/Berlin", (2025, 3, 30), (9_000,), {"gap": "SKIP"}, []),
        ("Europe/Berlin", (2024, 10, 27), (9_000,), {}, ["00:30", "01:30"]),
        ("Europe/Berlin", (2024, 10, 27), (9_000,), {"fold": "FIRST"}, ["00:30"]),
        ("Europe/Berlin", (2024, 10, 27), (9_000,), {"fold": "SECOND"}, ["01:30"]),
        ("Africa/Cairo", (2025, 4, 25), (1_800,), {}, ["22:00"]),
        ("Australia/Lord_Howe", (2024, 10, 6), (8_100,), {}, ["15:30"]),
        ("Australia/Lord_Howe", (2024, 4, 7), (6_300,), {}, ["14:45", "15:15"]),
    ],
)
def test_times_that_clocks_leave_out_or_show_twice(
    zone: str,
    day: tuple[int, int, int],
    times_s: tuple[int, ...],
    rules: dict[str, Any],
    wanted: list[str],
) -> None:
    """Berlin jumps at 01:00 UTC, Cairo at its midnight, Lord Howe by half an hour."""
    days = Days(dates=str(day[2]), months=(day[1],), times_s=times_s)
    rhythm = Rhythm(every_us=DAY, days=days, zone=zone, zero_ms=ZERO_MS, **rules)
    middle_us = since_zero_us(*day)
    found = nominal_times(rhythm, middle_us - 2 * DAY, middle_us + 2 * DAY)
    shown = [datetime.fromtimestamp(ZERO_MS / 1_000 + at / S, UTC) for at in found]
    assert [f"{each:%H:%M}" for each in shown] == wanted


# Keys -------------------------------------------------------------------------------------------


def keyed(task: str, most: int = 1) -> Op:
    wish = Wish(mode=Mode.AT_LEAST_ONCE, max_attempts=3, payload=task, key="k", most=most)
    return op(Call.CREATE, 1, task=task, request=task, wish=wish)


def begins(task: str, at_us: int, process: str = "x") -> Start:
    return Start(task=task, attempt=1, epoch=1, process=process, at_us=at_us, payload=task)


def kills(at_us: int, process: str = "x", *, dead: bool = True) -> Fault:
    return Fault(
        name="crash", scope=process, at_us=at_us, until_us=at_us, gives_up=True, kills=dead
    )


@pytest.mark.parametrize(
    ("over", "crowded"),
    [
        (End(task="a", attempt=1, process="x", at_us=20, ok=True), False),
        (End(task="a", attempt=1, process="x", at_us=21, ok=True), True),
        (Left(task="a", attempt=1, process="x", at_us=15), False),
        (Left(task="a", attempt=2, process="x", at_us=15), True),
        (kills(15), False),
        (kills(15, dead=False), True),
        (kills(15, "y"), True),
        (kills(25), True),
    ],
)
def test_an_attempt_holds_its_key_until_it_is_over(over: Line, crowded: bool) -> None:
    lines: list[Line] = [keyed("a"), keyed("b"), begins("a", 10), over, begins("b", 20, "z")]
    assert (Promise.KEYS in broken(lines)) == crowded


def test_as_many_run_of_a_key_as_may() -> None:
    two = [keyed(task, 2) for task in "abc"]
    assert Promise.KEYS not in broken([*two, begins("a", 10), begins("b", 20)])
    assert Promise.KEYS in broken([*two, begins("a", 10), begins("b", 20), begins("c", 30)])
