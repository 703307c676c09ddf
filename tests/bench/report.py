"""What the benchmark says: tables for the terminal, a page and a plot for docs/."""

from __future__ import annotations

import math
import os
import platform
import sqlite3
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.table import Table

from tests.bench.figures import Spread, percentile
from tests.bench.plot import histogram
from tests.bench.workloads import Result

PLOT = Path("images") / "lateness.svg"
GIB = 1024**3
NOTES = "## Notes\n"
CLUSTER = "## Cluster\n"
INTRODUCTION = """\
Dev mode (`timeball dev` on an SQLite file, every commit synced), measured from outside by
{command}, which writes this page. An open loop starts calls by the clock, never by answers;
lateness is start minus due time in the executor's own start log; lost and doubled are counted by
id. The machine was shared with other work while this was taken: *busy with other programs* says
how much of it they had, *kept waiting for a CPU* for how much of the time the main thread was ready
to run and something else ran. CPU per task is the steadier figure. A run with less than 5 % idle is
marked SATURATED: its latencies say more about the machine than about the service.
Writes and messages of a task are counted, and held, by tests/integration/test_costs.py."""


@dataclass(slots=True)
class Report:
    """Everything of one call of the benchmark."""

    facts: dict[str, str]
    command: str
    results: dict[str, list[Result]]

    def of(self, names: Iterable[str]) -> Report:
        """The part of it about these workloads."""
        results = {name: self.results[name] for name in names}
        return Report(facts=self.facts, command=self.command, results=results)


def machine_facts() -> dict[str, str]:
    """Where and with what it was measured."""
    names = ("grpcio", "protobuf", "uvloop")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {_processor()}, "
        f"{psutil.virtual_memory().total / GIB:.0f} GiB, {platform.system()} {platform.release()}",
        "versions": f"Timeball {version('timeball-server')}, {_python()}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
        + f", SQLite {sqlite3.sqlite_version}",
        "load of others before": f"{os.getloadavg()[0]:.1f} (one-minute load average)",
    }


def _python() -> str:
    """Its version, and whether it was built with optimizations: a fifth of all CPU."""
    options = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    built = "" if "--enable-optimizations" in options else " (built without optimizations)"
    return f"Python {platform.python_version()}{built}"


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    for line in facts.read_text().splitlines() if facts.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def spreads(results: Sequence[Result]) -> dict[str, Spread]:
    """Every figure over the repetitions."""
    return {
        name: Spread.of([each.figures[name] for each in results]) for name in results[0].figures
    }


def counts(results: Sequence[Result]) -> dict[str, int]:
    """What must be zero, summed over the repetitions."""
    names = {name for each in results for name in each.faults}
    return {name: sum(len(each.faults.get(name, [])) for each in results) for name in sorted(names)}


def number(value: float) -> str:
    """As few digits as carry meaning."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def title(name: str, results: Sequence[Result]) -> str:
    saturated = sum(each.saturated for each in results)
    runs = f"{len(results)} run{'s' if len(results) > 1 else ''}"
    return f"{name}, {runs}" + (f", SATURATED in {saturated}" if saturated else "")


def table(name: str, results: Sequence[Result]) -> Table:
    """For the terminal."""
    made = Table(title=title(name, results))
    made.add_column("figure")
    for head in ("min", "median", "max"):
        made.add_column(head, justify="right")
    for figure, spread in spreads(results).items():
        made.add_row(figure, number(spread.least), number(spread.median), number(spread.most))
    for fault, count in counts(results).items():
        made.add_row(f"{fault} (all runs)", "", f"[{'red' if count else 'green'}]{count}[/]", "")
    return made


def section_of(text: str) -> str:
    """The section about a whole cluster as it stands, empty when there is none."""
    _, head, rest = text.partition(CLUSTER)
    return head + rest.partition("\n## ")[0].rstrip() + "\n" if head else ""


def write_page(docs: Path, report: Report) -> None:
    """docs/benchmarks.md and its plot; the cluster's section and the notes at its end stay."""
    (docs / PLOT.parent).mkdir(parents=True, exist_ok=True)
    lateness = [value for each in report.results.get("steady", []) for value in each.lateness_ms]
    if lateness:
        marks = [(f"p{share}", percentile(lateness, share / 100)) for share in (50, 99)]
        (docs / PLOT).write_text(histogram(lateness, marks), encoding="utf-8")
    page = docs / "benchmarks.md"
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    notes = old.partition(NOTES)[2]
    lines = [*_head(report), *_goals(report), *_plot(report), *_tables(report)]
    text = "\n".join([*lines, section_of(old)]).rstrip()
    text += f"\n\n{NOTES}{notes.rstrip()}" if notes else ""
    page.write_text(text + "\n", encoding="utf-8")


def _head(report: Report) -> list[str]:
    facts = [f"- {name}: {fact}" for name, fact in report.facts.items()]
    return [
        "# Benchmarks",
        "",
        *(line.format(command=report.command) for line in INTRODUCTION.splitlines()),
        "",
        *facts,
        "",
    ]


GOALS = (
    ("200 tasks/s, lateness p99", "steady", "lateness p99 ms", 20, "ms"),
    ("immediate task, submit to result, p50", "immediate", "one at a time p50 ms", 10, "ms"),
    ("ready", "ready", "ready ms", 1_500, "ms"),
    ("memory, greatest", "steady", "RSS peak MiB", 150, "MiB"),
)


def _goals(report: Report) -> list[str]:
    lines = ["## Goals", "", "| goal | at most | median of runs | held |", "|---|---:|---:|---|"]
    for words, workload, figure, limit, unit in GOALS:
        if workload not in report.results:
            continue
        results = report.results[workload]
        median = spreads(results)[figure].median
        held = "yes" if median <= limit else "**no**"
        if median > limit and any(each.saturated for each in results):
            held += ", machine saturated"
        lines.append(f"| {words} | {limit:,} {unit} | {number(median)} {unit} | {held} |")
    return [*lines, ""]


def _plot(report: Report) -> list[str]:
    if "steady" not in report.results:
        return []
    return [f"![Lateness of starts at 200 tasks/s]({PLOT.as_posix()})", ""]


def _tables(report: Report) -> list[str]:
    lines: list[str] = []
    for name, results in report.results.items():
        lines += [f"## {title(name, results)}", "", "| figure | min | median | max |"]
        lines.append("|---|---:|---:|---:|")
        for figure, spread in spreads(results).items():
            cells = (number(spread.least), number(spread.median), number(spread.most))
            lines.append(f"| {figure} | {' | '.join(cells)} |")
        lines += [
            f"| {fault}, all runs | | {count} | |" for fault, count in counts(results).items()
        ]
        lines.append("")
    return lines
