"""The judge of schedules that people change while they fire: version by version."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.checker.history import History, Line
from tests.support.checker.judge import judge
from tests.support.checker.records import (
    Away,
    Call,
    Edition,
    End,
    Final,
    Kind,
    Left,
    Mode,
    Op,
    Rhythm,
    Seen,
    SeenPlan,
    Start,
    Terms,
    Verdict,
    Wish,
)
from tests.support.checker.verdicts import Promise

S = 1_000_000
CALM = Terms(calm=True, late_us=S, healed_us=30 * S, recover_us=30 * S, read_us=60 * S)
BROKEN = Terms(calm=False, healed_us=30 * S, recover_us=30 * S, read_us=60 * S)
PLAN = "schedule p"
EVERY = Rhythm(every_us=4 * S, edited=True)
FASTER = Rhythm(every_us=3 * S, edited=True)
DONE = Seen(state="SUCCEEDED", ended=True, place=(1, 4))


def op(call: Call, at_us: int, plan: SeenPlan | None, **fields: Any) -> Op:
    """One that was answered within a millisecond; without a plan it was refused."""
    if call is Call.CREATE_SCHEDULE:
        wish = Wish(mode=Mode.AT_LEAST_ONCE, payload=PLAN)
        fields = {"wish": wish, "version": "v1", "request": "made", **fields}
    return Op(
        client="c",
        call=call,
        task="s",
        inv_us=at_us,
        ret_us=at_us + 1_000,
        kind=Kind.FAIL if plan is None else Kind.OK,
        plan=plan,
        **fields,
    )


def shows(etag: int, number: int, next_s: int | None, **fields: Any) -> SeenPlan:
    next_us = None if next_s is None else next_s * S
    return SeenPlan(next_us=next_us, ended=next_s is None, etag=etag, number=number, **fields)


def ran(at_s: float, number: int = 1, version: str = "v1", **fields: Any) -> list[Line]:
    """A launched nominal time, and its run."""
    at_us = round(at_s * S)
    verdict = Verdict(
        schedule="s",
        nominal_us=at_us,
        verdict="LAUNCHED",
        task=f"run of {at_us}",
        number=number,
        late_us=0,
    )
    return [verdict, *run(f"run of {at_us}", at_us, version, **fields)]


def run(
    task: str, at_us: int, version: str, late_us: int = 5_000, work_us: int = 1_000
) -> list[Line]:
    began_us = at_us + late_us
    start = Start(
        task=task,
        attempt=1,
        epoch=1,
        process="x",
        at_us=began_us,
        payload=PLAN,
        version=version,
        nominal_us=at_us,
    )
    end = End(task=task, attempt=1, process="x", at_us=began_us + work_us, ok=True)
    return [start, end, Final(task=task, seen=DONE)]


def passed(at_s: int, verdict: str, number: int = 1, **fields: Any) -> Line:
    return Verdict(schedule="s", nominal_us=at_s * S, verdict=verdict, number=number, **fields)


MADE: list[Line] = [
    op(Call.CREATE_SCHEDULE, 1 * S, shows(1, 1, 4), rhythm=EVERY),
    Edition(schedule="s", number=1, after_us=1 * S),
]
CHANGED: list[Line] = [
    op(Call.UPDATE_SCHEDULE, 9 * S, shows(2, 2, 12), rhythm=FASTER, version="v2", etag=1),
    Edition(schedule="s", number=2, after_us=9 * S),
]
OVER = op(Call.END_SCHEDULE, 16 * S, shows(3, 2, None, runs=4))
FIRED = [*ran(4), *ran(8), *ran(12, 2, "v2"), *ran(15, 2, "v2")]
WHOLE = [*MADE, *CHANGED, OVER, *FIRED]


def broken(lines: Iterable[Line], terms: Terms = CALM) -> list[str]:
    return [each.promise for each in judge(History([terms, *lines]))]


def without(lines: list[Line], *gone: Line) -> list[Line]:
    return [each for each in lines if each not in gone]


def test_what_is_changed_is_what_fires_afterwards() -> None:
    assert broken(WHOLE) == []
    assert broken(WHOLE, BROKEN) == []


@pytest.mark.parametrize(
    ("lines", "promise"),
    [
        pytest.param(without(WHOLE, FIRED[4]), Promise.LIVE, id="no verdict"),
        pytest.param([*WHOLE, passed(9, "CANCELLED", 2)], Promise.SCHEDULE, id="before the edit"),
        pytest.param([*WHOLE, passed(14, "CANCELLED", 1)], Promise.SCHEDULE, id="by no version"),
        pytest.param([*WHOLE, passed(11, "PAUSED", 3)], Promise.SCHEDULE, id="of no version"),
        pytest.param(
            [*MADE, *CHANGED, OVER, *FIRED[:8], *ran(12, 2, "v1"), *FIRED[12:]],
            Promise.REVISION,
            id="what was replaced",
        ),
        pytest.param(
            [*WHOLE, *run("stray", 10 * S, "v2")], Promise.SCHEDULE, id="launched by none"
        ),
        pytest.param(without(WHOLE, CHANGED[1]), Promise.DURABLE, id="not listed"),
        pytest.param(
            [*without(WHOLE, CHANGED[1]), Edition(schedule="s", number=2, after_us=8 * S)],
            Promise.SCHEDULE,
            id="in force before it was asked for",
        ),
        pytest.param(
            [*MADE, *CHANGED, *FIRED, op(Call.END_SCHEDULE, 16 * S, shows(3, 2, None, runs=3))],
            Promise.TRUTH,
            id="told of fewer",
        ),
        pytest.param(
            [*WHOLE, op(Call.GET_SCHEDULE, 10 * S, shows(2, 2, 15))],
            Promise.SCHEDULE,
            id="next is not next",
        ),
        pytest.param(
            [*WHOLE, op(Call.GET_SCHEDULE, 14 * S, shows(2, 2, 12))],
            Promise.SCHEDULE,
            id="next is over",
        ),
        pytest.param(
            [*WHOLE, op(Call.GET_SCHEDULE, 10 * S, shows(3, 2, 12))],
            Promise.TRUTH,
            id="no such etag",
        ),
    ],
)
def test_versions(lines: list[Line], promise: Promise) -> None:
    assert promise in broken(lines)


def test_a_stale_etag_is_refused_and_one_that_holds_is_not() -> None:
    stale = {"rhythm": EVERY, "version": "v3", "reason": "STALE_ETAG"}
    assert broken([*WHOLE, op(Call.UPDATE_SCHEDULE, 10 * S, None, etag=1, **stale)]) == []
    refused = op(Call.UPDATE_SCHEDULE, 10 * S, None, etag=2, **stale)
    assert broken([*WHOLE, refused]) == [Promise.REVISION]


PAUSED: list[Line] = [
    op(Call.PAUSE_SCHEDULE, 6 * S, shows(2, 1, 8, paused=True)),
    op(Call.RESUME_SCHEDULE, 13 * S, shows(3, 1, 16)),
    op(Call.END_SCHEDULE, 18 * S, shows(4, 1, None, runs=2)),
    *ran(4),
    *ran(16),
]


def test_nothing_is_launched_in_a_pause() -> None:
    whole = [*MADE, *PAUSED, passed(8, "PAUSED"), passed(12, "PAUSED")]
    assert broken(whole) == []
    assert Promise.SCHEDULE in broken([*MADE, *PAUSED, passed(8, "PAUSED"), *ran(12)])
    assert Promise.SCHEDULE in broken([*without(whole, *ran(16)), passed(16, "PAUSED")])


def by_hand(at_us: int, run_id: str, request: str) -> Op:
    return op(Call.TRIGGER_SCHEDULE, at_us, shows(2, 2, 15, run=run_id), request=request)


def test_a_trigger_launches_one_run_however_often_it_is_asked_for() -> None:
    asked = [by_hand(13 * S, "r", "t"), by_hand(13 * S + 9_000, "r", "t")]
    assert broken([*WHOLE, *asked, *run("r", 13 * S, "v2")]) == []
    assert Promise.DURABLE in broken([*WHOLE, *asked])
    twice = [asked[0], by_hand(13 * S + 9_000, "q", "t")]
    runs = [*run("r", 13 * S, "v2"), *run("q", 13 * S, "v2")]
    assert Promise.TRUTH in broken([*WHOLE, *twice, *runs])
    assert Promise.REVISION in broken([*WHOLE, *asked, *run("r", 13 * S, "v1")])


GONE = Away(from_us=5 * S, until_us=17 * S)


def missed(rule: str, reach_s: int, *verdicts: str) -> list[str]:
    """Times 8, 12 and 16 passed while nobody was there."""
    rhythm = Rhythm(every_us=4 * S, edited=True, catch_up=rule, reach_us=reach_s * S)
    late: dict[str, Any] = {"late_us": 13 * S, "down_us": 13 * S}
    lines: list[Line] = [
        op(Call.CREATE_SCHEDULE, 1 * S, shows(1, 1, 4), rhythm=rhythm),
        MADE[1],
        GONE,
        *ran(4),
        op(Call.END_SCHEDULE, 19 * S, shows(2, 1, None, runs=1 + verdicts.count("LAUNCHED"))),
    ]
    for at_s, verdict in zip((8, 12, 16), verdicts, strict=True):
        if verdict == "LAUNCHED":
            task = f"run of {at_s}"
            lines += run(task, at_s * S, "v1", late_us=14 * S)
            lines.append(passed(at_s, verdict, task=task, **late))
        else:
            lines.append(passed(at_s, verdict, **late))
    return broken(lines, BROKEN)


@pytest.mark.parametrize(
    ("rule", "reach_s", "verdicts", "good"),
    [
        ("SKIP", 600, "MISSED_WINDOW MISSED_WINDOW MISSED_WINDOW", True),
        ("SKIP", 600, "MISSED_WINDOW MISSED_WINDOW LAUNCHED", False),
        ("ONE", 600, "COALESCED COALESCED LAUNCHED", True),
        ("ONE", 600, "COALESCED LAUNCHED LAUNCHED", False),
        ("ONE", 600, "COALESCED COALESCED MISSED_WINDOW", False),
        ("ALL", 600, "LAUNCHED LAUNCHED LAUNCHED", True),
        ("ALL", 600, "LAUNCHED COALESCED LAUNCHED", False),
        ("ALL", 600, "MISSED_WINDOW LAUNCHED LAUNCHED", False),
        ("ALL", 6, "MISSED_WINDOW LAUNCHED LAUNCHED", True),
        ("ALL", 6, "LAUNCHED LAUNCHED LAUNCHED", False),
    ],
)
def test_what_was_missed_is_caught_up_by_its_rule(
    rule: str, reach_s: int, verdicts: str, good: bool
) -> None:
    found = missed(rule, reach_s, *verdicts.split())
    assert found == [] if good else Promise.SCHEDULE in found


def overlapping(rule: str, state: str, left_us: int) -> list[str]:
    """The run of 4 is at work when 8 comes, and is told to end."""
    rhythm = Rhythm(every_us=4 * S, edited=True, overlap=rule)
    (verdict, start, _, _), later = ran(4), ran(8, late_us=100_000)
    return broken(
        [
            op(Call.CREATE_SCHEDULE, 1 * S, shows(1, 1, 4), rhythm=rhythm),
            MADE[1],
            op(Call.END_SCHEDULE, 10 * S, shows(2, 1, None, runs=2)),
            verdict,
            start,
            Left(task="run of 4000000", attempt=1, process="x", at_us=left_us),
            Final(task="run of 4000000", seen=Seen(state=state, ended=True, place=(1, 4))),
            *later,
        ]
    )


def test_who_is_told_to_end_has_ended_and_nobody_else_is_told() -> None:
    assert overlapping("CANCEL_OTHER", "CANCELLED", 8 * S + 50_000) == []
    assert overlapping("TERMINATE_OTHER", "TERMINATED", 8 * S + 200_000) == []
    assert overlapping("CANCEL_OTHER", "CANCELLED", 9 * S) == [Promise.NO_OVERLAP]
    assert overlapping("TERMINATE_OTHER", "TERMINATED", 14 * S) == [Promise.NO_OVERLAP]
    assert overlapping("ALLOW", "CANCELLED", 8 * S + 50_000) == [Promise.TRUTH]


def test_a_delay_counts_from_the_end_of_the_run_before() -> None:
    rhythm = Rhythm(every_us=0, edited=True, delay_us=3 * S)
    made = op(Call.CREATE_SCHEDULE, 1 * S, shows(1, 1, 4), rhythm=rhythm)
    over = op(Call.END_SCHEDULE, 11 * S, shows(2, 1, None, runs=2))
    first = ran(4, work_us=2 * S)
    assert broken([made, MADE[1], over, *first, *ran(9.01)]) == []
    assert broken([made, MADE[1], over, *first, *ran(8)]) == [Promise.SCHEDULE]
    assert broken([made, MADE[1], over, *first, *ran(10.5)]) == [Promise.LIVE]


@pytest.mark.parametrize(("at_s", "is_broken"), [(6, True), (14, False)])
def test_a_run_that_never_began_is_of_the_life_in_which_it_was_launched(
    at_s: int, is_broken: bool
) -> None:
    """The name's first schedule runs at least once, its second one at most once."""
    once = Wish(mode=Mode.AT_MOST_ONCE, payload="schedule q")
    lost = Seen(state="FAILED", ended=True, cause="LOST", place=(1, 4))
    lines: list[Line] = [
        op(Call.CREATE_SCHEDULE, S, shows(1, 1, 4), rhythm=EVERY),
        op(Call.END_SCHEDULE, 10 * S, shows(2, 1, None)),
        op(Call.CREATE_SCHEDULE, 11 * S, shows(3, 2, 12), rhythm=EVERY, wish=once),
        op(Call.TRIGGER_SCHEDULE, at_s * S, shows(3, 2, 15, run="r"), request="t"),
        Final(task="r", seen=lost),
    ]
    assert (Promise.AT_LEAST_ONCE in broken(lines, BROKEN)) == is_broken
