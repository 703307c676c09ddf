"""Proof of what `make demo` did, from outside the service's own tables."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path


@dataclass(frozen=True)
class Start:
    """A line of the executor's own file."""

    task_id: str
    attempt: int
    due_ms: int
    started_ms: int
    handler: str
    priority: int


@dataclass(frozen=True)
class Executor:
    """A member of the cluster, and all that it ever started."""

    name: str
    strength: int
    slots: int
    starts: list[Start]


@dataclass(frozen=True)
class Check:
    """One claim and whether the evidence holds it."""

    claim: str
    holds: bool
    evidence: str


def read_starts(path: Path) -> list[Start]:
    names = Start.__dataclass_fields__
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [Start(**{name: line[name] for name in names}) for line in lines]


def starts_since(paths: Sequence[Path], began_ms: int) -> list[Start]:
    """The starts of one run, from the files of all executors, in order."""
    found = [start for path in paths if path.exists() for start in read_starts(path)]
    mine = [start for start in found if start.started_ms >= began_ms]
    return sorted(mine, key=lambda start: start.started_ms)


class _Cells(HTMLParser):
    """Collects the cells of a table, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        self._in_cell = tag in ("td", "th")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell and data.strip():
            self.rows[-1].append(data.strip())


def report_rows(path: Path) -> list[list[str]]:
    """Parse the rendered report again."""
    parser = _Cells()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser.rows


def receipt_arrived(messages: Sequence[Message], occurrence_id: str) -> Check:
    ids = [str(message["Message-ID"]) for message in messages]
    wanted = f"<{occurrence_id}@shop.example>"
    return Check("one receipt arrived, named by its occurrence id", ids == [wanted], str(ids))


def report_is_right(path: Path, first_year: int, last_year: int) -> Check:
    rows = report_rows(path) if path.exists() else []
    years = [row[0] for row in rows[1:]]
    expected = [str(year) for year in range(first_year, last_year + 1)]
    numbers = all(float(cell) > 0 for row in rows[1:] for cell in row[1:])
    holds = years == expected and numbers
    return Check("the report parses again, a row for each year", holds, f"{len(years)} years")


def never_early(starts: Sequence[Start]) -> Check:
    early = [start for start in starts if start.started_ms < start.due_ms]
    return Check("no attempt started early", not early and bool(starts), f"{len(starts)} starts")


def started_once_each(starts: Sequence[Start]) -> Check:
    keys = [(start.task_id, start.attempt) for start in starts]
    return Check("no attempt started twice", len(keys) == len(set(keys)), f"{len(keys)} attempts")


def retried_with_raised_priority(starts: Sequence[Start], task_id: str) -> Check:
    mine = [(start.attempt, start.priority) for start in starts if start.task_id == task_id]
    holds = mine == [(1, 2), (2, 3), (3, 4)]
    return Check("two failures, three attempts, priority raised by each", holds, str(mine))


def moved_to_a_stronger_executor(executors: Sequence[Executor], task_id: str) -> Check:
    """Whoever started less than its slots hold, ever, had one free at that moment."""
    claim = "the third attempt ran on a stronger executor, a weaker one had a free slot"
    where = {
        start.attempt: executor
        for executor in executors
        for start in executor.starts
        if start.task_id == task_id
    }
    first, third = where.get(1), where.get(3)
    if first is None or third is None:
        return Check(claim, False, f"attempts {sorted(where)}")
    holds = third.strength > first.strength and len(first.starts) < first.slots
    used = f"{first.name} had used {len(first.starts)} of {first.slots} slots"
    return Check(claim, holds, f"strength {first.strength}, then {third.strength}; {used}")


def ran_at_its_instant(starts: Sequence[Start], task_id: str, due_ms: int) -> Check:
    mine = [start for start in starts if start.task_id == task_id]
    holds = len(mine) == 1 and mine[0].due_ms == due_ms
    late = f"{mine[0].started_ms - mine[0].due_ms} ms late" if mine else "not started"
    return Check("the typed call was due at the exact millisecond", holds, late)


def recurred(starts: Sequence[Start], every_ms: int) -> Check:
    due = [start.due_ms for start in starts if start.handler == "demo.heartbeat"]
    gaps = {later - earlier for earlier, later in itertools.pairwise(due)}
    holds = len(due) >= 3 and gaps == {every_ms}
    return Check(f"the schedule started every {every_ms} ms", holds, f"{len(due)} runs")


def never_ran(path: Path, starts: Sequence[Start], task_id: str) -> Check:
    count = len(path.read_text().splitlines()) if path.exists() else 0
    holds = count == 0 and all(start.task_id != task_id for start in starts)
    return Check("the cancelled task never ran", holds, f"its counter is {count}")
