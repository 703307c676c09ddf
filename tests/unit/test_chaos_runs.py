"""The judge of schedules' runs: each kind of broken promise is seen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from timeball.v1 import task_pb2

from tests.support.chaos.runs import Runs, judge_runs
from tests.support.start_logs import Start

NOMINAL_MS = 1_000_000
FIRST = Start(
    task_id="a", attempt=1, epoch=1, due_ms=0, started_ms=NOMINAL_MS + 5, executor="executor-1"
)
AGAIN = replace(FIRST, attempt=2, started_ms=NOMINAL_MS + 900, executor="executor-2")


def ended(state: str = "SUCCEEDED", *, lost: bool = False) -> task_pb2.Task:
    task = task_pb2.Task(state=task_pb2.TaskState.Value(f"TASK_STATE_{state}"))
    if lost:
        task.cause = task_pb2.FAILURE_CAUSE_LOST
    return task


@dataclass
class Evidence:
    """One run in order; a test bends one of its records."""

    named: dict[str, list[int]] = field(default_factory=lambda: {"a": [NOMINAL_MS]})
    by_hand: set[str] = field(default_factory=set)
    ended: dict[str, task_pb2.Task] = field(default_factory=lambda: {"a": ended()})
    starts: list[Start] = field(default_factory=lambda: [FIRST])
    sink: set[str] = field(default_factory=lambda: {"a"})
    gave_up: list[tuple[str, int, int]] = field(default_factory=list)
    ahead_ms: int = 0
    read_ms: int | None = None

    def judged(self) -> Runs:
        return judge_runs(
            self.named,
            self.by_hand,
            self.ended,
            self.starts,
            self.sink,
            self.gave_up,
            self.ahead_ms,
            self.read_ms,
        )


def test_a_run_in_order_is_no_problem() -> None:
    assert Evidence().judged() == Runs(count=1, with_cause=0, without_cause=0, problems=())


@pytest.mark.parametrize(
    ("bent", "said"),
    [
        (Evidence(named={"a": [NOMINAL_MS, NOMINAL_MS + 1]}), "named 2 times"),
        (Evidence(named={}), "nothing names it"),
        (Evidence(starts=[]), "never started"),
        (Evidence(ended={}), "has not ended"),
        (Evidence(sink=set()), "its handler knows nothing"),
        (Evidence(starts=[FIRST, AGAIN]), "without a cause"),
        (Evidence(starts=[replace(FIRST, started_ms=NOMINAL_MS - 5)]), "before its nominal time"),
    ],
)
def test_a_broken_promise_is_told(bent: Evidence, said: str) -> None:
    (problem,) = bent.judged().problems
    assert said in problem


def test_an_owner_s_clock_that_is_ahead_excuses_so_much_and_no_more() -> None:
    soon = replace(FIRST, started_ms=NOMINAL_MS - 900)
    assert Evidence(starts=[soon], ahead_ms=900).judged().problems == ()
    assert len(Evidence(starts=[soon], ahead_ms=800).judged().problems) == 1


@pytest.mark.parametrize(("read_ms", "problems"), [(None, 1), (NOMINAL_MS, 1), (NOMINAL_MS - 1, 0)])
def test_what_a_clock_that_was_ahead_launched_may_be_due_later(
    read_ms: int | None, problems: int
) -> None:
    waits = Evidence(ended={"a": ended("SCHEDULED")}, starts=[], sink=set(), read_ms=read_ms)
    assert len(waits.judged().problems) == problems


def test_what_has_a_cause_is_no_problem() -> None:
    at_ms = NOMINAL_MS + 500
    killed = Evidence(starts=[FIRST, AGAIN], gave_up=[("executor-1", at_ms, at_ms)])
    assert killed.judged() == Runs(count=1, with_cause=1, without_cause=0, problems=())
    other = Evidence(starts=[FIRST, AGAIN], gave_up=[("executor-3", at_ms, at_ms)])
    assert other.judged().without_cause == 1
    stopped = Evidence(starts=[], ended={"a": ended("CANCELLED")}, sink=set())
    assert stopped.judged().problems == ()
    unknown = Evidence(starts=[], ended={"a": ended("FAILED", lost=True)}, sink=set())
    assert unknown.judged().problems == ()
    by_hand = Evidence(named={}, by_hand={"a"})
    assert by_hand.judged().problems == ()
