"""The judge of rules for runs of one schedule that overlap: how many at once, and which verdict."""

from __future__ import annotations

import pytest

from tests.support.checker.history import History, Line
from tests.support.checker.judge import judge
from tests.support.checker.records import (
    Call,
    Mode,
    Rhythm,
    Terms,
    Verdict,
    Wish,
)
from tests.support.checker.verdicts import Promise
from tests.support.told_schedules import PLAN, op, ran

S = 1_000_000
TERMS = Terms(calm=False, healed_us=30 * S, recover_us=30 * S, read_us=60 * S)
CALM = Terms(calm=True, late_us=S, healed_us=30 * S, recover_us=30 * S, read_us=60 * S)


def passed(nominal_us: int, verdict: str) -> list[Line]:
    return [Verdict(schedule="s", nominal_us=nominal_us, verdict=verdict)]


def broken(rule: str, places: int, *parts: list[Line], terms: Terms = CALM) -> set[Promise]:
    """What times at 10, 20 and 30 s break; the schedule ends at 35 s."""
    rhythm = Rhythm(every_us=10 * S, overlap=rule, places=places)
    wish = Wish(mode=Mode.AT_LEAST_ONCE, max_attempts=3, payload=PLAN)
    made = op(Call.CREATE_SCHEDULE, 1, rhythm, wish)
    lines = [line for part in parts for line in part]
    history = History([made, *lines, op(Call.END_SCHEDULE, 35 * S), terms])
    return {violation.promise for violation in judge(history)}


LONG = ran(10 * S, 10 * S, 32 * S)
WAITED = ran(20 * S, 32 * S + 9, 34 * S)
BESIDE = ran(20 * S, 20 * S, 21 * S)
LAST = ran(30 * S, 30 * S, 31 * S)
DROPPED, SKIPPED = passed(30 * S, "DROPPED_LIMIT"), passed(30 * S, "SKIPPED_OVERLAP")


@pytest.mark.parametrize(
    ("rule", "places", "parts"),
    [
        ("BUFFER_ONE", 0, [LONG, WAITED, SKIPPED]),
        ("BUFFER", 1, [LONG, WAITED, SKIPPED]),
        ("BUFFER", 2, [LONG, WAITED, passed(30 * S, "CANCELLED")]),
        ("ALLOW", 0, [LONG, BESIDE, LAST]),
        ("ALLOW", 1, [LONG, passed(20 * S, "DROPPED_LIMIT"), DROPPED]),
        ("SKIP", 0, [LONG, passed(20 * S, "SKIPPED_OVERLAP"), SKIPPED]),
    ],
)
def test_a_rule_that_is_kept_breaks_nothing(
    rule: str, places: int, parts: list[list[Line]]
) -> None:
    assert broken(rule, places, *parts) == set()


@pytest.mark.parametrize(
    ("rule", "places", "parts", "promise"),
    [
        ("BUFFER_ONE", 0, [LONG, BESIDE, SKIPPED], Promise.NO_OVERLAP),
        ("ALLOW", 1, [LONG, BESIDE, DROPPED], Promise.NO_OVERLAP),
        ("ALLOW", 2, [LONG, ran(20 * S, 20 * S, 33 * S), LAST], Promise.NO_OVERLAP),
        ("BUFFER_ONE", 0, [LONG, WAITED, DROPPED], Promise.SCHEDULE),
        ("BUFFER", 1, [LONG, WAITED, DROPPED], Promise.SCHEDULE),
        ("BUFFER", 2, [LONG, WAITED, SKIPPED], Promise.SCHEDULE),
        ("ALLOW", 1, [LONG, passed(20 * S, "SKIPPED_OVERLAP"), DROPPED], Promise.SCHEDULE),
        ("ALLOW", 0, [LONG, BESIDE, DROPPED], Promise.SCHEDULE),
        ("ALLOW", 1, [ran(10 * S, 10 * S, 11 * S), BESIDE, DROPPED], Promise.SCHEDULE),
        ("ALLOW", 0, [LONG, ran(20 * S, 25 * S, 26 * S), LAST], Promise.SCHEDULE),
    ],
)
def test_a_rule_that_is_broken_is_named(
    rule: str, places: int, parts: list[list[Line]], promise: Promise
) -> None:
    assert promise in broken(rule, places, *parts)


def test_what_waits_may_be_late_for_a_run_and_not_without_one() -> None:
    early_end = ran(10 * S, 10 * S, 11 * S)
    assert broken("BUFFER_ONE", 0, LONG, WAITED, SKIPPED, terms=TERMS) == set()
    assert Promise.SCHEDULE in broken("BUFFER_ONE", 0, early_end, BESIDE, SKIPPED)
