"""What happened, seen from outside: the executors' start logs, the sink, and the answers.

Judges nothing by the service's tables but the end of each task and the words of its journal.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import timeball
from timeball.states import state_of
from timeball.v1 import task_pb2

from tests.support.chaos.faults import Hit
from tests.support.chaos.load import Told
from tests.support.polls import eventually
from tests.support.start_logs import Start
from timeball_server.core.ids import TaskId, home_of

RECOVERY_S = 45.0
READS_AT_ONCE = 32
CLOCK_GRAIN_MS = 1
STEADY_MS = 200
SLOW_MS = 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A round in figures. Everything in `problems` is a broken promise."""

    fault: str
    victim: str
    at_ms: int
    away_s: float
    acknowledged: int
    refused: int
    slowest_unary_ms: int
    slowest_streamed_ms: int
    lost: int
    early: int
    duplicates_with_cause: int
    duplicates_without_cause: int
    once_twice: int
    once_unknown: int
    failover_ms: tuple[int, ...]
    latest_before_ms: int
    latest_ms: int
    late_over_200_ms: int
    slow_acks: tuple[str, ...]
    problems: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """For a line of JSON."""
        return asdict(self)


def sunk(path: Path) -> set[str]:
    """Tasks whose handler began to work."""
    whole, _, _ = path.read_text().rpartition("\n") if path.exists() else ("", "", "")
    return {line.partition(" ")[0] for line in whole.splitlines()}


async def endings(client: timeball.AsyncClient, ids: Iterable[str]) -> dict[str, task_pb2.Task]:
    """Every task, once it has ended; those that have not within RECOVERY_S as they are then."""
    gate = asyncio.Semaphore(READS_AT_ONCE)
    found: dict[str, task_pb2.Task] = {}

    async def read(task_id: str) -> None:
        async with gate:
            try:
                found[task_id] = await client.get(task_id)
            except timeball.errors.TaskNotFound:
                found[task_id] = task_pb2.Task()

    open_ids = list(ids)

    async def look() -> bool:
        await asyncio.gather(*(read(task_id) for task_id in open_ids))
        open_ids[:] = [each for each in open_ids if not state_of(found[each].state).is_final]
        return not open_ids

    try:
        await eventually(look, "all tasks have ended", RECOVERY_S)
    except AssertionError:
        print(f"{len(open_ids)} tasks have not ended, for example {open_ids[:3]}", flush=True)
    return found


def judge(
    hit: Hit, told: Told, starts: Sequence[Start], ended: dict[str, task_pb2.Task], sink: set[str]
) -> Verdict:
    """Compare what was promised with what happened."""
    by_task: dict[str, list[Start]] = defaultdict(list)
    for start in sorted(starts, key=lambda each: each.started_ms):
        by_task[start.task_id].append(start)
    once = {each.task_id for each in told.acknowledged if each.at_most_once}
    book = _Book(hit, by_task, ended)
    unfinished = [each for each in ended.values() if not state_of(each.state).is_final]
    never = [
        each.task_id
        for each in told.acknowledged
        if each.task_id not in by_task and not book.is_unknown(each.task_id)
    ]
    twice = [task for task in once if len(by_task.get(task, ())) > 1]
    again = {task: runs for task, runs in by_task.items() if len(runs) > 1}
    without = [task for task, runs in again.items() if not book.has_cause(runs)]
    grain_ms = CLOCK_GRAIN_MS + hit.ahead_ms
    early = [each for each in starts if each.started_ms + grain_ms <= each.due_ms]
    unseen = [task for task in by_task if task not in sink and _succeeded(ended.get(task))]
    first = [runs[0] for runs in by_task.values()]
    late = _lateness_ms(first)
    problems = [
        *(f"refused: {each}" for each in told.refused),
        *(f"acknowledged and never started: {book.words(task)}" for task in never),
        *(f"acknowledged and not ended: {each.name}" for each in unfinished),
        *(f"at most once, started twice: {book.words(task)}" for task in twice),
        *(f"started again without cause: {book.words(task)}" for task in without),
        *(f"early: {each}" for each in early),
        *(f"succeeded without a trace in the sink: {task}" for task in unseen),
    ]
    return Verdict(
        fault=hit.fault,
        victim=hit.victim,
        at_ms=hit.at_ms,
        away_s=hit.away_s,
        acknowledged=len(told.acknowledged),
        refused=len(told.refused),
        slowest_unary_ms=_slowest_ms(told, streamed=False),
        slowest_streamed_ms=_slowest_ms(told, streamed=True),
        lost=len(never) + len(unfinished),
        early=len(early),
        duplicates_with_cause=len(again) - len(without),
        duplicates_without_cause=len(without),
        once_twice=len(twice),
        once_unknown=sum(book.is_unknown(task) for task in once),
        failover_ms=book.failover_ms(),
        latest_before_ms=max(_lateness_ms(first, until_ms=hit.at_ms), default=0),
        latest_ms=max(late, default=0),
        late_over_200_ms=sum(each > STEADY_MS for each in late),
        slow_acks=book.slow_acks(told),
        problems=tuple(problems),
    )


def _lateness_ms(starts: Iterable[Start], until_ms: int | None = None) -> list[int]:
    return [
        each.started_ms - each.due_ms
        for each in starts
        if until_ms is None or each.started_ms < until_ms
    ]


def _slowest_ms(told: Told, *, streamed: bool) -> int:
    took_ms = [each.took_ms for each in told.acknowledged if each.streamed is streamed]
    return round(max(took_ms, default=0.0))


def _succeeded(task: task_pb2.Task | None) -> bool:
    return task is not None and state_of(task.state) is timeball.states.TaskState.SUCCEEDED


class _Book:
    """What is known of single tasks."""

    def __init__(
        self, hit: Hit, by_task: dict[str, list[Start]], ended: dict[str, task_pb2.Task]
    ) -> None:
        self._hit = hit
        self._by_task = by_task
        self._ended = ended

    def is_unknown(self, task: str) -> bool:
        """At most once, and its executor vanished: the service says that it cannot know."""
        found = self._ended.get(task)
        return found is not None and found.cause == task_pb2.FAILURE_CAUSE_LOST

    def has_cause(self, runs: Sequence[Start]) -> bool:
        """Whether the executor of each earlier run gave it up before the next one began."""
        numbers = {run.attempt for run in runs}
        given_up = [
            any(
                run.executor == executor
                and run.started_ms <= until_ms + STEADY_MS
                and later.started_ms >= from_ms
                for executor, from_ms, until_ms in self._hit.abandoned
            )
            for run, later in pairwise(runs)
        ]
        return all(given_up) and len(numbers) == len(runs)

    def failover_ms(self) -> tuple[int, ...]:
        """From the fault to the next owner's first start, for each shard of the victim."""
        first: dict[int, int] = {}
        for runs in self._by_task.values():
            for run in runs:
                shard = home_of(TaskId(run.task_id)).shard
                if run.epoch > self._hit.shards.get(shard, run.epoch):
                    took_ms = run.started_ms - self._hit.at_ms
                    first[shard] = min(first.get(shard, took_ms), took_ms)
        return tuple(sorted(first.values()))

    def slow_acks(self, told: Told) -> tuple[str, ...]:
        """The slowest answers: asked when, counted from the fault, in which shard."""
        slow = [each for each in told.acknowledged if each.took_ms > SLOW_MS]
        slow.sort(key=lambda each: -each.took_ms)
        return tuple(
            f"{each.asked_ms - self._hit.at_ms:+d} ms took {each.took_ms:.0f} ms"
            f" {'stream' if each.streamed else 'unary'}"
            f" shard {home_of(TaskId(each.task_id)).shard} {each.task_id}"
            for each in slow[:8]
        )

    def words(self, task: str) -> str:
        """Everything about a task, for the report of a problem."""
        found = self._ended.get(task, task_pb2.Task())
        journal = [f"{each.event}@{each.epoch} {each.description}" for each in found.journal]
        runs = [
            f"attempt {run.attempt} on {run.executor} epoch {run.epoch} at {run.started_ms}"
            for run in self._by_task.get(task, ())
        ]
        return f"{task} {state_of(found.state)} {runs} {journal} hit {self._hit}"
