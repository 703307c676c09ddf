"""What was measured, kept: docs/benchmarks.json, one entry for each workload on each target."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil

from tests.bench.judging import Result, Spread, saturated
from tests.bench.product import ROOT, Product
from tests.support.loopback import is_own

BOOK: Final = ROOT / "docs" / "benchmarks.json"
GIB: Final = 1024**3
DIGITS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """All repetitions of one workload on one target.

    Attributes:
        faults: what must never happen, summed over the repetitions.
        note: what a reader must know before comparing.
    """

    target: str
    workload: str
    facts: Mapping[str, str]
    command: str
    figures: Sequence[Mapping[str, float]]
    faults: Mapping[str, int]
    lateness_ms: Mapping[int, int] = field(default_factory=dict)
    course: Mapping[int, int] = field(default_factory=dict)
    marks: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def saturated(self) -> int:
        """In how many repetitions the machine had nothing left."""
        return sum(map(saturated, self.figures))

    def spreads(self) -> dict[str, Spread]:
        """Every figure that each repetition has."""
        names = [name for name in self.figures[0] if all(name in each for each in self.figures)]
        return {name: Spread.of([each[name] for each in self.figures]) for name in names}


def entry_of(
    target: str, workload: str, results: Sequence[Result], facts: Mapping[str, str], command: str
) -> Entry:
    """What is kept of some repetitions; the course is the last one's."""
    faults: Counter[str] = Counter()
    lateness_ms: Counter[int] = Counter()
    for each in results:
        faults.update({name: len(found) for name, found in each.faults.items()})
        lateness_ms.update(each.lateness_ms)
    return Entry(
        target=target,
        workload=workload,
        facts=facts,
        command=command,
        figures=[_short(each.figures) for each in results],
        faults=dict(faults),
        lateness_ms=dict(sorted(lateness_ms.items())),
        course=results[-1].course,
        marks=results[-1].marks,
    )


def _short(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.{DIGITS}g}") for name, value in figures.items()}


def read_book(path: Path = BOOK) -> list[Entry]:
    """All entries; none when there is no book yet."""
    if not path.exists():
        return []
    return [_entry(facts) for facts in json.loads(path.read_text(encoding="utf-8"))]


def _entry(facts: dict[str, Any]) -> Entry:
    for name in ("lateness_ms", "course"):
        facts[name] = {int(key): value for key, value in facts[name].items()}
    return Entry(**facts)


def keep(entry: Entry, path: Path = BOOK) -> None:
    """Put an entry in the place of the former one of its workload and target."""
    name = (entry.target, entry.workload)
    others = [each for each in read_book(path) if (each.target, each.workload) != name]
    entries = sorted([*others, entry], key=lambda each: (each.target, each.workload))
    rows = [{name: getattr(each, name) for name in Entry.__slots__} for each in entries]
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


def facts_of(product: Product) -> dict[str, str]:
    """Where and with what it is measured."""
    names = ("grpcio", "protobuf", "uvloop")
    machine = f"{os.cpu_count()} cores, {_processor()}"
    memory = f"{psutil.virtual_memory().total / GIB:.0f} GiB"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{machine}, {memory}, {platform.system()} {platform.release()}",
        "interpreter": product.interpreter(),
        "versions": f"Timeball {version('timeball-server')}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
        + f", SQLite {sqlite3.sqlite_version}",
        "load of others before": f"{os.getloadavg()[0]:.1f} (one-minute load average)",
        "loopback": "of its own" if is_own() else "shared with the machine",
    }


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    for line in facts.read_text().splitlines() if facts.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
