"""The section of docs/benchmarks.md about a whole cluster; what people wrote below it stays."""

from __future__ import annotations

from pathlib import Path

from tests.bench.report import CLUSTER, NOTES, Report, counts, number, spreads, title

BY_HAND = "### What was cut\n"
INTRODUCTION = """\
Everything on one machine: ZooKeeper, Cassandra (one node, every commit synced), two coordinators,
two scheduler nodes, three executors and the load generator. Measured by {command}: an open loop at
both coordinators, due = create + 2 to 10 s at random milliseconds, one in ten immediate; one in
five by a call of its own, the rest on streams, gathered for 10 ms. Lateness is start minus due in
the executors' start logs; lost and doubled are counted by id; CPU is user and system time of each
process in the measured window. *submit to result* are immediate tasks beside the load, five each
second, from the call to the result in the caller's hands. Packets and bytes are those of the whole
loopback interface. A run with less than 5 % idle is marked SATURATED."""
GOALS = (
    ("lateness p99", "lateness p99 ms", 50, "ms"),
    ("immediate task, submit to result, p50", "immediate, submit to result p50 ms", 15, "ms"),
)


def write_cluster(docs: Path, report: Report) -> None:
    """Replace the section, or add it before the notes; the table of steps in it stays."""
    page = docs / "benchmarks.md"
    text = page.read_text(encoding="utf-8")
    before, head, rest = text.partition(CLUSTER)
    if not head:
        before, notes, rest = text.partition(NOTES)
        rest = notes + rest
    else:
        rest = _kept(rest)
    page.write_text(before + CLUSTER + "\n" + _generated(report) + "\n" + rest, encoding="utf-8")


def _kept(rest: str) -> str:
    """What follows the generated part: the part by hand, or the next section."""
    own, heading, others = rest.partition("\n## ")
    by_hand = own.partition(BY_HAND)
    return by_hand[1] + by_hand[2].rstrip() + "\n\n" * bool(by_hand[1]) + heading[1:] + others


def _generated(report: Report) -> str:
    results = report.results["cluster"]
    lines = [*INTRODUCTION.format(command=report.command).splitlines(), ""]
    lines += [f"- {name}: {fact}" for name, fact in report.facts.items()]
    found = spreads(results)
    lines += ["", "| goal | at most | median of runs | held |", "|---|---:|---:|---|"]
    for words, figure, limit, unit in GOALS:
        median = found[figure].median
        held = "yes" if median <= limit else "**no**"
        if median > limit and any(each.saturated for each in results):
            held += ", machine saturated"
        lines.append(f"| {words} | {limit} {unit} | {number(median)} {unit} | {held} |")
    for fault, count in counts(results).items():
        held = "yes" if count == 0 else "**no**"
        lines.append(f"| {fault} | 0 | {count} | {held} |")
    lines += ["", f"### {title('cluster', results)}", "", "| figure | min | median | max |"]
    lines.append("|---|---:|---:|---:|")
    for figure, spread in found.items():
        cells = (number(spread.least), number(spread.median), number(spread.most))
        lines.append(f"| {figure} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
