"""The judge of ledgers: an honest one passes, and each way of lying is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from timeball_server.cli.schedule_judge import Row, Version, judge

MINUTE_MS = 60_000
RULES = {"intervals": [{"every_ms": MINUTE_MS, "phase_ms": 0}]}
VERSION = Version(number=1, rules=RULES, after_ms=0, until_ms=None)
UNTIL_MS = 20 * MINUTE_MS + 1
TIMES = [number * MINUTE_MS for number in range(1, 21)]


def row(first_ms: int, last_ms: int | None = None, *, times: int = 1, version: int = 1) -> Row:
    return Row(
        first_ms=first_ms,
        last_ms=first_ms if last_ms is None else last_ms,
        times=times,
        verdict="LAUNCHED",
        version=version,
    )


def reasons(rows: list[Row], *versions: Version, until_ms: int = UNTIL_MS) -> list[str]:
    return [each.why for each in judge(versions or (VERSION,), rows, until_ms).unexplained]


@given(st.lists(st.booleans(), min_size=len(TIMES), max_size=len(TIMES)))
def test_an_honest_ledger_passes_however_its_rows_are_grouped(joined: list[bool]) -> None:
    groups: list[list[int]] = []
    for at_ms, join in zip(TIMES, joined, strict=True):
        if join and groups:
            groups[-1].append(at_ms)
        else:
            groups.append([at_ms])
    rows = [row(group[0], group[-1], times=len(group)) for group in groups]
    audit = judge([VERSION], rows, UNTIL_MS)
    assert (audit.nominal_times, audit.unexplained) == (20, ())


@given(st.sampled_from(TIMES))
def test_a_time_that_was_lost_or_doubled_is_found(at_ms: int) -> None:
    rest = [row(each) for each in TIMES if each != at_ms]
    assert reasons(rest) == ["no verdict"]
    assert reasons([*rest, row(at_ms), row(at_ms)]) == ["2 verdicts"]


def test_a_verdict_on_no_nominal_time_is_found() -> None:
    honest = [row(each) for each in TIMES]
    assert "no rule names this time" in reasons([*honest, row(90_500)])[0]
    assert reasons([*honest, row(TIMES[0], version=9)]) == [
        "a verdict of a version that there never was"
    ]
    wrong_count = [row(TIMES[0], TIMES[2], times=2), *(row(each) for each in TIMES[3:])]
    assert reasons(wrong_count) == ["LAUNCHED for 2 times, but the rules name 3"]


def test_each_version_answers_for_its_own_time() -> None:
    first = Version(number=1, rules=RULES, after_ms=0, until_ms=5 * MINUTE_MS)
    hourly = {"intervals": [{"every_ms": 60 * MINUTE_MS, "phase_ms": 0}]}
    second = Version(number=2, rules=hourly, after_ms=5 * MINUTE_MS, until_ms=None)
    rows = [row(each) for each in TIMES[:5]]
    assert judge([first, second], rows, UNTIL_MS).nominal_times == 5
    assert reasons(rows, first, second) == []
    assert reasons([*rows, row(TIMES[5])], first, second)
    delay = Version(number=3, rules=None, after_ms=5 * MINUTE_MS, until_ms=None)
    assert reasons([*rows, row(TIMES[7] + 3, version=3)], first, delay) == []


def test_what_is_not_decided_yet_need_not_have_a_verdict_but_may() -> None:
    rows = [row(each) for each in TIMES[:10]]
    until_ms = TIMES[4]
    assert judge([VERSION], rows, until_ms).nominal_times == 4
    assert reasons(rows, until_ms=until_ms) == []
