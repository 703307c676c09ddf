"""Schedules in the benchmark: what must start follows from phases; what is wrong is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.bench.judging import Result
from tests.bench.scheduling import MINUTE_MS, judge_minutes, phases
from tests.support.start_logs import Start

FIRST_MS = 30_000_000 * MINUTE_MS
Bend = Callable[[list[Start]], list[Start]]


def honest(wanted: list[int], minutes: int = 2) -> list[Start]:
    due = [FIRST_MS + minute * MINUTE_MS + each for minute in range(minutes) for each in wanted]
    return [
        Start(task_id=f"t{number}", attempt=1, epoch=1, due_ms=at_ms, started_ms=at_ms + 7)
        for number, at_ms in enumerate(due)
    ]


def test_phases_are_even_or_all_the_same() -> None:
    assert phases(6, "spread") == [0, 10_000, 20_000, 30_000, 40_000, 50_000]
    assert phases(3, "instant") == [0, 0, 0]
    assert len(set(phases(50_000, "spread"))) == 50_000


@pytest.mark.parametrize("how", ["spread", "instant"])
def test_an_honest_run_has_no_fault_and_every_lateness(how: str) -> None:
    result, wanted = Result(), phases(5, how)
    late = judge_minutes(result, wanted, honest(wanted), FIRST_MS, 2)
    assert result.faults == {}
    assert [by for _, by in late] == [7] * 10


@pytest.mark.parametrize(
    ("fault", "bend"),
    [
        ("lost", lambda starts: starts[1:]),
        ("doubled", lambda starts: [*starts, replace(starts[0], attempt=2)]),
        ("doubled", lambda starts: [*starts, replace(starts[0], task_id="other")]),
        ("early", lambda starts: [replace(starts[0], started_ms=FIRST_MS - 1), *starts[1:]]),
        ("wrong answer", lambda starts: [*starts, replace(starts[0], due_ms=FIRST_MS + 1)]),
    ],
)
def test_what_is_wrong_is_a_fault(fault: str, bend: Bend) -> None:
    result, wanted = Result(), phases(5, "instant")
    judge_minutes(result, wanted, bend(honest(wanted)), FIRST_MS, 2)
    assert fault in result.faults
