"""docs/benchmarks.md and its pictures from the book; what people wrote below the line stays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.table import Table

from tests.bench.book import Entry
from tests.bench.judging import percentile
from tests.bench.table import BY_NAME, TABLE
from tests.support.drawing import course, histogram

BY_HAND: Final = "<!-- Below this line people write; above it the benchmark does. -->\n"
IMAGES: Final = "images"
INTRODUCTION: Final = """\
# Benchmarks

`make bench` measures from outside and writes this page; `python tests/bench/run.py steady --target
dev` does one part of it. *dev* is `timeball dev` on an SQLite file, every commit synced, and one
executor beside it. *cluster* is ZooKeeper, Cassandra (one node, every commit synced), two
coordinators, two scheduler nodes and three executors. All of it and the load generator share one
machine.

- An open loop asks by the clock, never by answers. Latencies count from the instant that the plan
  names, also when the load generator is behind.
- Due = asked + 2 to 10 s at random milliseconds, one in ten at once; one in five created by a call
  of its own, the rest on streams, gathered for 10 ms. Executors are processes of their own.
- Lateness is start minus due in the executors' own start logs. Lost, doubled and early are counted
  by id; what is due after the run is read back instead.
- CPU is user and system time of each process in the measured window; a read counts as a task there.
  *Kept waiting* is how long its main thread was ready to run and something else ran. Writes and
  rows are what the store acknowledged; packets and bytes are those of the loopback interface, which
  is the benchmark's own where the system allows it.
- Schedules of every minute are judged by their phases: so many runs must start at each millisecond.
- A run with less than 5 % of the machine idle is marked SATURATED: its latencies say more about the
  machine than about the service.
- Time is measured here and held nowhere; what a task costs in writes and messages is held by
  tests/integration/test_costs.py. `make bench-compare BASE=<commit>` sets two states of the code
  against each other, in turns.
"""
GOALS: Final = (
    ("dev", "steady", "lateness p99 ms", 20),
    ("dev", "immediate", "submit to result, one at a time p50 ms", 10),
    ("dev", "ready", "ready ms", 1_500),
    ("dev", "steady", "timeball dev RSS peak MiB", 150),
    ("dev", "schedules-spread", "lateness p99 ms", 1_000),
    ("cluster", "steady", "lateness p99 ms", 50),
    ("cluster", "schedules-spread", "lateness p99 ms", 1_000),
    ("cluster", "immediate", "submit to result p50 ms", 15),
)


def number(value: float) -> str:
    """As few digits as carry meaning."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def title(entry: Entry) -> str:
    """Workload, repetitions, and whether the machine was full."""
    runs = len(entry.figures)
    words = f"{entry.target}: {entry.workload}, {runs} run{'s' if runs > 1 else ''}"
    return words + (f", SATURATED in {entry.saturated}" if entry.saturated else "")


def terminal_table(entry: Entry) -> Table:
    """For the terminal."""
    made = Table(title=title(entry))
    made.add_column("figure")
    for head in ("min", "median", "max"):
        made.add_column(head, justify="right")
    for figure, spread in entry.spreads().items():
        made.add_row(figure, number(spread.least), number(spread.median), number(spread.most))
    for fault, count in entry.faults.items():
        made.add_row(f"{fault} (all runs)", "", f"[{'red' if count else 'green'}]{count}[/]", "")
    return made


def write_page(docs: Path, entries: Sequence[Entry]) -> None:
    """The page and a picture for each entry that has something to show."""
    page = docs / "benchmarks.md"
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    _, _, by_hand = old.partition(BY_HAND)
    order = {workload.name: place for place, workload in enumerate(TABLE)}
    ordered = sorted(entries, key=lambda each: (each.target != "dev", order[each.workload]))
    (docs / IMAGES).mkdir(parents=True, exist_ok=True)
    parts = [INTRODUCTION, *_goals({(each.target, each.workload): each for each in entries})]
    for entry in ordered:
        parts += _section(docs, entry)
    page.write_text("\n".join(parts) + f"\n{BY_HAND}{by_hand}", encoding="utf-8")


def _goals(entries: Mapping[tuple[str, str], Entry]) -> Iterator[str]:
    yield "## Goals\n\n| goal | at most | median of runs | held |\n|---|---:|---:|---|"
    for target, workload, figure, limit in GOALS:
        entry = entries.get((target, workload))
        spread = entry.spreads().get(figure) if entry else None
        if entry is None or spread is None:
            yield f"| {target}: {workload}, {figure} | {limit:,} | not measured | |"
            continue
        held = "yes" if spread.median <= limit else "**no**"
        if spread.median > limit and entry.saturated:
            held += ", machine saturated"
        words = f"{target}: {workload}, {figure}"
        yield f"| {words} | {limit:,} | {number(spread.median)} | {held} |"
    never = {fault for entry in entries.values() for fault in entry.faults}
    for fault in sorted(never):
        count = sum(entry.faults.get(fault, 0) for entry in entries.values())
        yield f"| {fault}, all runs | 0 | {count} | {'yes' if not count else '**no**'} |"
    yield ""


def _section(docs: Path, entry: Entry) -> Iterator[str]:
    yield f"## {title(entry)}\n"
    yield f"{BY_NAME[entry.workload].words}{' ' + entry.note if entry.note else ''}\n"
    yield f"- command: `{entry.command}`"
    yield from (f"- {name}: {fact}" for name, fact in entry.facts.items())
    yield ""
    yield from _pictures(docs, entry)
    yield "| figure | min | median | max |\n|---|---:|---:|---:|"
    for figure, spread in entry.spreads().items():
        cells = (number(spread.least), number(spread.median), number(spread.most))
        yield f"| {figure} | {' | '.join(cells)} |"
    yield from (f"| {fault}, all runs | | {count} | |" for fault, count in entry.faults.items())
    yield ""


def _pictures(docs: Path, entry: Entry) -> Iterator[str]:
    name = f"{entry.target}-{entry.workload}"
    drawn = {}
    if entry.lateness_ms and entry.workload != "fail-over":
        values = [ms for ms, count in entry.lateness_ms.items() for _ in range(count)]
        marks = [(f"p{share}", percentile(values, share / 100)) for share in (50, 99)]
        words = f"{name}: lateness of {len(values):,} starts, 1 ms bars"
        drawn["lateness"] = histogram(entry.lateness_ms, marks, words)
    if entry.course and entry.workload in ("fail-over", "burst"):
        words = f"{name}: greatest lateness in ms of what was due in each second"
        drawn["course"] = course(
            entry.course, list(entry.marks.items()), words, "second of the last run"
        )
    for what, svg in drawn.items():
        path = Path(IMAGES) / f"bench-{name}-{what}.svg"
        (docs / path).write_text(svg, encoding="utf-8")
        yield f"![{what} of {name}]({path.as_posix()})\n"
