"""Judging: percentiles, and what the executors' start logs say of lateness, loss and doubles."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.support.start_logs import Start

SATURATED_IDLE_PERCENT: Final = 5.0
IDLE: Final = "machine idle %"
LATE_MS: Final = 200
"""Later than this a start counts as held up by a fault."""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass(frozen=True, slots=True)
class Spread:
    """Min, median and max over repetitions."""

    least: float
    median: float
    most: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        return Spread(min(values), statistics.median(values), max(values))


def saturated(figures: Mapping[str, float]) -> bool:
    """Whether the machine had nothing left: latencies say more of it than of the service."""
    return figures.get(IDLE, 100.0) < SATURATED_IDLE_PERCENT


@dataclass(slots=True)
class Result:
    """One run: figures by name, what must never happen by name, and raw material for plots.

    Attributes:
        lateness_ms: how many measured starts were so late.
        course: for each second of the run the greatest lateness of what was due in it, in ms.
        marks: what was done to the service, by second of the run.
    """

    figures: dict[str, float] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    lateness_ms: Counter[int] = field(default_factory=Counter)
    course: dict[int, int] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)

    @property
    def saturated(self) -> bool:
        """Whether the machine had nothing left."""
        return saturated(self.figures)

    def distribution(self, name: str, values: Sequence[float]) -> None:
        """p50, p99 and the greatest value; nothing when there are none."""
        if values:
            self.figures[f"{name} p50 ms"] = percentile(values, 0.50)
            self.figures[f"{name} p99 ms"] = percentile(values, 0.99)
            self.figures[f"{name} max ms"] = max(values)

    def fault(self, name: str, words: str) -> None:
        """Something that must never happen did."""
        self.faults.setdefault(name, []).append(words)


@dataclass(frozen=True, slots=True)
class Promise:
    """An acknowledged task. `due_ms` None = immediate; `sent_ms` = when it was to be asked for."""

    due_ms: int | None
    sent_ms: float
    measured: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of acknowledged tasks, by id.

    Attributes:
        lost: due before `until_ms` and never started.
        lateness_ms: due time and start minus due of measured tasks with a due time, executor's
            clock.
        immediate_ms: start minus the instant of the call, of measured tasks without one.
    """

    acknowledged: int
    lost: list[str]
    doubled: list[str]
    early: list[str]
    unknown: int
    lateness_ms: list[tuple[int, int]]
    immediate_ms: list[float]


def judge(
    promises: Mapping[str, Promise], starts: Sequence[Start], until_ms: float = math.inf
) -> Verdict:
    """Hold what was promised against what was started. Early: before the due time asked for."""
    counts = Counter(start.task_id for start in starts)
    lateness: list[tuple[int, int]] = []
    immediate: list[float] = []
    early: list[str] = []
    for start in starts:
        promise = promises.get(start.task_id)
        if promise is None:
            continue
        due_ms = start.due_ms if promise.due_ms is None else promise.due_ms
        if start.started_ms < due_ms or start.due_ms < (promise.due_ms or 0):
            early.append(start.task_id)
        if promise.measured and start.attempt == 1:
            if promise.due_ms is None:
                immediate.append(start.started_ms - promise.sent_ms)
            else:
                lateness.append((promise.due_ms, start.started_ms - promise.due_ms))
    return Verdict(
        acknowledged=len(promises),
        lost=missing(promises, counts, until_ms),
        doubled=[task_id for task_id, count in counts.items() if count > 1],
        early=early,
        unknown=sum(1 for task_id in counts if task_id not in promises),
        lateness_ms=lateness,
        immediate_ms=immediate,
    )


def missing(
    promises: Mapping[str, Promise], started: Iterable[str], until_ms: float = math.inf
) -> list[str]:
    """Tasks that were due and have not started."""
    begun = set(started)
    return [
        task_id
        for task_id, promise in promises.items()
        if task_id not in begun and (promise.due_ms or 0) < until_ms
    ]


def recovery_ms(lateness_ms: Sequence[tuple[int, int]], fault_ms: float) -> float:
    """From a fault to the last start that came late after it; 0 when none did."""
    late = (due + by - fault_ms for due, by in lateness_ms if by > LATE_MS and due + by > fault_ms)
    return max(late, default=0.0)


def course_of(lateness_ms: Sequence[tuple[int, int]], began_ms: float) -> dict[int, int]:
    """The greatest lateness of what was due in each second since then."""
    found: dict[int, int] = {}
    for due, by in lateness_ms:
        second = int((due - began_ms) // 1_000)
        found[second] = max(by, found.get(second, 0))
    return dict(sorted(found.items()))
