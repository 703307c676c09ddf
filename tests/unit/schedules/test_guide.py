"""The guide's table of examples says what the code answers; its grammar's examples are accepted."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from timeball_server.core.schedules.calendars import nominal_times
from timeball_server.core.schedules.checking import check
from timeball_server.core.schedules.cron_text import parse
from timeball_server.core.schedules.spec import Calendar, Cron, FoldRule, GapRule
from timeball_server.oracle.clock import zone as zone_rules

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "guides" / "schedules.md").read_text()
FROM = datetime(2026, 3, 28, tzinfo=UTC)
FROM_MS = int(FROM.timestamp() * 1_000)
FAR_MS = FROM_MS * 3
SHOWN = 3
EXAMPLE = re.compile(r"^\| `([^`]+)` \| (\S+) \| (.*?) \| (.+) \|$", re.MULTILINE)
ROWS = [match.groups() for match in EXAMPLE.finditer(GUIDE.partition("## Examples")[2])]


def answer(expression: str, zone: str, rules: str) -> str:
    """The last column of a row of the table."""
    words = rules.split(", ")
    gap = next((rule for rule in GapRule if rule in words), GapRule.RUN_AT_END)
    fold = next((rule for rule in FoldRule if rule in words), FoldRule.FIRST)
    cron = Cron(expression=expression, zone=zone, gap=gap, fold=fold)
    calendar = Calendar(crons=(cron,), seed="nightly")
    check(calendar, FROM_MS)
    found = nominal_times(calendar, FROM_MS, FAR_MS, SHOWN)
    local = (datetime.fromtimestamp(at_ms // 1_000, zone_rules(zone)) for at_ms in found)
    spec = "seconds" if len(expression.split()) == 6 else "minutes"
    return ", ".join(each.isoformat(timespec=spec) for each in local)


@pytest.mark.parametrize(("expression", "zone", "rules", "times"), ROWS)
def test_an_example_of_the_guide_is_what_the_code_answers(
    expression: str, zone: str, rules: str, times: str
) -> None:
    assert times == answer(expression, zone, rules)


def test_the_guide_has_examples_of_everything_that_jumps_do() -> None:
    assert len(ROWS) >= 12
    assert {"SKIP", "SECOND", "BOTH"} <= {rules for _, _, rules, _ in ROWS}


def between(start: str, end: str) -> list[str]:
    """The expressions in a part of the guide."""
    part = GUIDE.partition(start)[2].partition(end)[0]
    return [text for text in re.findall(r"`([^`]+)`", part) if " " in text]


TICKING, FIXED = between("**ticks through**", "It fires"), between("**fixed**", "Each")


@pytest.mark.parametrize("text", [*TICKING, *FIXED])
def test_the_guides_words_on_ticking_are_true(text: str) -> None:
    assert parse(text, "nightly").ticks_through is (text in TICKING)


def test_the_guide_names_both_kinds() -> None:
    assert (len(TICKING), len(FIXED)) == (5, 3)
