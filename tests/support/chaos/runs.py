"""What schedules launched against what was started: pure, and falsified by a test of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from timeball.states import TaskState, state_of
from timeball.v1 import task_pb2

from tests.support.chaos.witness import CLOCK_GRAIN_MS, STEADY_MS
from tests.support.start_logs import Start

STOPPED: Final = frozenset({TaskState.CANCELLED, TaskState.TERMINATED})
"""An overlap rule may end a run before it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Runs in figures. Everything in `problems` is a broken promise."""

    count: int
    with_cause: int
    without_cause: int
    problems: tuple[str, ...]


def judge_runs(
    named: Mapping[str, Sequence[int]],
    by_hand: AbstractSet[str],
    ended: Mapping[str, task_pb2.Task],
    starts: Sequence[Start],
    sink: AbstractSet[str],
    gave_up: Sequence[tuple[str, int, int]],
    ahead_ms: int = 0,
    read_ms: int | None = None,
) -> Runs:
    """Set the ledger's runs against the executors' logs and the handlers' own lines.

    Args:
        named: the nominal times of the ledger rows that name a run; one each.
        by_hand: runs that somebody triggered.
        ended: every one of these runs as it is now.
        gave_up: executors that gave up their runs, and between which instants.
        ahead_ms: how far an owner's clock was ahead at most: due is what it says (rule R24).
        read_ms: when `ended` was read; what was launched while a clock was ahead may be due later.
    """
    by_run: dict[str, list[Start]] = defaultdict(list)
    for start in sorted(starts, key=lambda each: each.started_ms):
        by_run[start.task_id].append(start)
    known = {*named, *by_hand}
    problems = [f"{run} is named {len(each)} times" for run, each in named.items() if len(each) > 1]
    problems += [f"{run} started, and nothing names it" for run in by_run if run not in known]
    later = {
        run
        for run, (nominal_ms, *_) in named.items()
        if read_ms is not None and read_ms < nominal_ms and run not in by_run
    }
    judged = sorted(known - later)
    problems += [each for run in judged for each in _wrong(run, ended, by_run, sink)]
    again = [runs for runs in by_run.values() if len(runs) > 1]
    without = [runs for runs in again if not _has_cause(runs, gave_up)]
    problems += [f"{runs[0].task_id} began again without a cause: {runs}" for runs in without]
    for run, (nominal_ms, *_) in named.items():
        first = next(iter(by_run.get(run, ())), None)
        if first is not None and first.started_ms + CLOCK_GRAIN_MS + ahead_ms <= nominal_ms:
            problems.append(f"{run} began before its nominal time")
    return Runs(
        count=len(known),
        with_cause=len(again) - len(without),
        without_cause=len(without),
        problems=tuple(problems),
    )


def _wrong(
    run: str,
    ended: Mapping[str, task_pb2.Task],
    by_run: Mapping[str, Sequence[Start]],
    sink: AbstractSet[str],
) -> list[str]:
    """What is wrong with the end of a run."""
    task = ended.get(run, task_pb2.Task())
    state = state_of(task.state)
    if not state.is_final:
        return [f"{run} has not ended: {state}"]
    lost = task.cause == task_pb2.FAILURE_CAUSE_LOST
    found = []
    if run not in by_run and state not in STOPPED and not lost:
        found.append(f"{run} was launched and never started: {state}")
    if state is TaskState.SUCCEEDED and run not in sink:
        found.append(f"{run} has succeeded, and its handler knows nothing of it")
    return found


def _has_cause(runs: Sequence[Start], gave_up: Sequence[tuple[str, int, int]]) -> bool:
    """Whether the executor of each earlier start gave it up before the next one began."""
    caused = [
        any(
            run.executor == executor
            and run.started_ms <= until_ms + STEADY_MS
            and later.started_ms >= from_ms
            for executor, from_ms, until_ms in gave_up
        )
        for run, later in pairwise(runs)
    ]
    return all(caused) and len({run.attempt for run in runs}) == len(runs)
