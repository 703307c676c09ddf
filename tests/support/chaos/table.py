"""`python -m tests.support.chaos.table kills.jsonl`: the kept rounds as tables for people."""

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


def tables(rounds: Sequence[Kept]) -> Iterator[str]:
    """Lines of Markdown."""
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
