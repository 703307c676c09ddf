"""`python -m tests.support.chaos.table rounds.jsonl`: the kept rounds as tables for people."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

from tests.support.chaos.points import POINTS, TURNS

Kept = Mapping[str, Any]
BY_POINT: Final = (
    "point",
    "kills that hit",
    "aimed tasks",
    "of them acknowledged before",
    "acknowledged in all",
    "refused",
    "lost",
    "early",
    "started twice, cause named",
    "started twice, no cause",
    "at most once, started twice",
    "at most once, ended LOST, cause named",
)
BY_GROUP: Final = (
    "group",
    "kills",
    "fail-over ms of a kill: median",
    "p99",
    "max",
    "latest start ms: median of rounds",
    "max",
    "slowest acknowledgement ms: median of rounds",
    "max",
)


BY_FAULT: Final = (
    "fault",
    "rounds",
    "acknowledged",
    "refused",
    "lost",
    "early",
    "started twice, with cause",
    "no cause",
    "at most once: twice",
    "LOST",
    "fail-over ms: median, max",
    "latest start ms",
    "slowest unary create ms",
)
SUMS: Final = (
    *("acknowledged", "refused", "lost", "early", "duplicates_with_cause"),
    *("duplicates_without_cause", "once_twice", "once_unknown"),
)


def tables(kept: Sequence[Kept]) -> Iterator[str]:
    """Lines of Markdown: of rounds with a named fault, then of aimed kills."""
    named = [each for each in kept if "fault" in each]
    if named:
        faults = dict.fromkeys(each["fault"] for each in named)
        rows = [_of_fault(fault, [x for x in named if x["fault"] == fault]) for fault in faults]
        yield from _table(BY_FAULT, [*rows, _of_fault("all", named)])
        yield ""
    aimed = [each for each in kept if "point" in each]
    if aimed:
        yield from _aimed(aimed)


def _of_fault(name: str, rounds: Sequence[Kept]) -> list[object]:
    """Sums of the rounds of a fault, and their worst times."""
    failover = [took for each in rounds for took in each["failover_ms"]]
    return [
        name,
        len(rounds),
        *(f"{sum(each[key] for each in rounds):,}" for key in SUMS),
        f"{_share(failover, 50)}, {_share(failover, 100)}" if failover else "-",
        f"{max(each['latest_ms'] for each in rounds):,}",
        f"{max(each['slowest_unary_ms'] for each in rounds):,}",
    ]


def _aimed(rounds: Sequence[Kept]) -> Iterator[str]:
    hit = [each for each in rounds if not each["hit"]]
    by_point = {name: [x for x in hit if x["point"] == name] for name in POINTS}
    played = {name: found for name, found in by_point.items() if found}
    counts = [_counts(name, found) for name, found in played.items()]
    yield from _table(BY_POINT, [*counts, _counts("all", hit)])
    yield ""
    by_group = {group: [x for x in hit if x["point"] in points] for group, points in TURNS.items()}
    yield from _table(BY_GROUP, [_times(name, found) for name, found in by_group.items() if found])
    yield ""
    yield f"Causes: {_causes(hit)}"
    missed = Counter(f"{each['point']}: {each['hit']}" for each in rounds if each["hit"])
    yield f"Missed and repeated: {dict(missed)}"
    yield f"Not calm when aimed: {sum(not each['calm'] for each in hit)} of {len(hit)}"
    yield f"Broken promises: {sum(len(each['problems']) for each in rounds)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|---|" + "---:|" * (len(head) - 1)
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"


def _counts(name: str, rounds: Sequence[Kept]) -> list[object]:
    def total(key: str) -> int:
        values = [each[key] for each in rounds]
        return sum(sum(x.values()) if isinstance(x, dict) else x for x in values)

    keys = ("aimed_tasks", "acknowledged_before", "acknowledged", "refused", "lost", "early")
    twice = ("started_twice", "started_twice_without_cause", "once_twice", "once_lost")
    return [name, len(rounds), *(f"{total(key):,}" for key in (*keys, *twice))]


def _times(name: str, rounds: Sequence[Kept]) -> list[object]:
    failover = [max(each["failover_ms"]) for each in rounds if each["failover_ms"]]
    latest = [each["latest_ms"] for each in rounds]
    slowest = [each["slowest_ack_ms"] for each in rounds]
    return [
        name,
        len(rounds),
        *(_share(failover, share) for share in (50, 99, 100)),
        *(_share(latest, share) for share in (50, 100)),
        *(_share(slowest, share) for share in (50, 100)),
    ]


def _share(values: Sequence[int], percent: int) -> str:
    """The value below which so many lie."""
    if not values:
        return "-"
    if percent == 100 or len(values) == 1:
        return f"{max(values):,}"
    return f"{round(quantiles(values, n=100, method='inclusive')[percent - 1]):,}"


def _causes(rounds: Sequence[Kept]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for each in rounds:
        found.update(each["started_twice"])
        found.update({f"{name} (LOST)": count for name, count in each["once_lost"].items()})
    return dict(found)


if __name__ == "__main__":
    lines = [line for path in sys.argv[1:] for line in Path(path).read_text().splitlines()]
    print("\n".join(tables([json.loads(line) for line in lines])))
