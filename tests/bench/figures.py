"""Judging: percentiles, and what the executor's start log says about lateness, loss, doubles."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


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


@dataclass(frozen=True, slots=True)
class Promise:
    """An acknowledged task. `due_ms` None = immediate; `sent_ms` = when its call began."""

    due_ms: int | None
    sent_ms: float
    measured: bool


@dataclass(frozen=True, slots=True)
class Start:
    """A line of the executor's own file."""

    task_id: str
    attempt: int
    due_ms: int
    started_ms: int


def read_starts(path: Path) -> list[Start]:
    """Whole lines only: the last one may be under way."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    names = Start.__dataclass_fields__
    return [Start(**{name: fact[name] for name in names}) for fact in map(json.loads, lines)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of acknowledged tasks, by id.

    Attributes:
        lateness_ms: start minus due of measured tasks with a due time, executor's clock.
        immediate_ms: start minus the instant of the call, of measured tasks without one.
    """

    acknowledged: int
    lost: list[str]
    doubled: list[str]
    early: list[str]
    unknown: int
    lateness_ms: list[int]
    immediate_ms: list[float]


def judge(promises: Mapping[str, Promise], starts: Sequence[Start]) -> Verdict:
    """Hold what was promised against what was started. Early: before the due time asked for."""
    counts = Counter(start.task_id for start in starts)
    lateness: list[int] = []
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
                lateness.append(start.started_ms - promise.due_ms)
    return Verdict(
        acknowledged=len(promises),
        lost=[task_id for task_id in promises if task_id not in counts],
        doubled=[task_id for task_id, count in counts.items() if count > 1],
        early=early,
        unknown=sum(1 for task_id in counts if task_id not in promises),
        lateness_ms=lateness,
        immediate_ms=immediate,
    )
