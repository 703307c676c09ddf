"""The page of causes lists those that there are, in their order, and each has its tests."""

from __future__ import annotations

import re
from pathlib import Path

from timeball_server.core.explanation import BlockingCause

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "explain.md").read_text()
TOLD = [cause.value for cause in BlockingCause if cause is not BlockingCause.UNKNOWN]


def rows() -> list[list[str]]:
    """The cells of the table of causes."""
    lines = re.findall(r"^\| [A-Z_]+ \|.*$", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def named_in(*tests: str) -> set[str]:
    """Causes that these test files name."""
    text = "".join((ROOT / "tests" / test).read_text() for test in tests)
    return set(re.findall(r"BlockingCause\.([A-Z_]+)", text))


def test_the_table_is_the_list_of_causes_in_the_order_in_which_they_hold() -> None:
    assert [cells[0] for cells in rows()] == [cause.value for cause in BlockingCause]


def test_every_cause_has_an_advice() -> None:
    assert [cells[0] for cells in rows() if len(cells) != 5 or not cells[4]] == []


def test_every_cause_is_made_in_a_unit_test_and_through_the_public_api() -> None:
    units = named_in(
        "unit/engine/test_explaining.py",
        "unit/engine/test_explaining_executors.py",
        "unit/engine/test_held_back.py",
        "unit/coordinator/test_explaining.py",
    )
    assert set(TOLD) - units == set()
    public = named_in("integration/test_explain.py", "integration/test_newer_rows.py")
    assert set(TOLD) - public == set()
