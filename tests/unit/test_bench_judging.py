"""The benchmark's judge must see what it exists to see: lost, doubled and early tasks."""

from __future__ import annotations

import json
import math
from pathlib import Path

from tests.bench.judging import (
    IDLE,
    Promise,
    Result,
    Spread,
    course_of,
    judge,
    percentile,
    recovery_ms,
)
from tests.bench.meter import Odometer
from tests.support.start_logs import Start, read_starts

DUE_MS = 5_000


def promised(due_ms: int | None = DUE_MS, *, measured: bool = True) -> Promise:
    return Promise(due_ms, sent_ms=1_000.0, measured=measured)


def started(task_id: str, started_ms: int, due_ms: int = DUE_MS) -> Start:
    return Start(task_id=task_id, attempt=1, epoch=1, due_ms=due_ms, started_ms=started_ms)


def test_a_promise_without_a_start_is_lost() -> None:
    verdict = judge({"a": promised(), "b": promised()}, [started("a", DUE_MS)])
    assert (verdict.lost, verdict.doubled, verdict.early) == (["b"], [], [])


def test_what_is_due_after_the_run_is_not_lost_yet() -> None:
    assert judge({"a": promised()}, [], until_ms=DUE_MS).lost == []
    assert judge({"a": promised()}, [], until_ms=DUE_MS + 1).lost == ["a"]
    assert judge({"a": promised(None)}, [], until_ms=1).lost == ["a"]


def test_two_starts_of_one_task_are_a_double() -> None:
    verdict = judge({"a": promised()}, [started("a", DUE_MS + 1), started("a", DUE_MS + 9)])
    assert (verdict.lost, verdict.doubled) == ([], ["a"])


def test_early_is_before_what_was_asked_for_whatever_the_executor_was_told() -> None:
    told_less = started("a", DUE_MS - 1, due_ms=DUE_MS - 10)
    assert judge({"a": promised()}, [told_less]).early == ["a"]
    assert judge({"a": promised()}, [started("a", DUE_MS)]).early == []


def test_lateness_is_taken_from_measured_tasks_with_a_due_time() -> None:
    promises = {"a": promised(), "b": promised(None), "c": promised(measured=False)}
    starts = [started(task_id, DUE_MS + 7, due_ms=1_000) for task_id in promises]
    starts[0] = started("a", DUE_MS + 7)
    verdict = judge(promises, starts)
    assert verdict.lateness_ms == [(DUE_MS, 7)]
    assert verdict.immediate_ms == [DUE_MS + 7 - 1_000.0]


def test_starts_that_nobody_was_promised_are_counted() -> None:
    assert judge({}, [started("a", DUE_MS)]).unknown == 1


def test_a_line_that_is_still_being_written_is_left_for_later(tmp_path: Path) -> None:
    line = json.dumps({"task_id": "a", "attempt": 1, "due_ms": 1, "started_ms": 2, "epoch": 3})
    log = tmp_path / "dev.starts.jsonl"
    log.write_text(f"{line}\n{line[:20]}")
    assert read_starts(log) == [
        Start(task_id="a", attempt=1, epoch=3, due_ms=1, started_ms=2, executor="dev")
    ]
    assert read_starts(tmp_path / "absent") == []


def test_percentiles_are_values_that_occurred() -> None:
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert math.isnan(percentile([], 0.5))
    assert Spread.of([3, 1, 2]) == Spread(1, 2, 3)


def test_recovery_lasts_to_the_last_late_start_after_the_fault() -> None:
    late_before, late, in_time = (900, 50), (2_000, 4_000), (9_000, 20)
    assert recovery_ms([late_before, late, in_time], 1_000) == 5_000
    assert recovery_ms([late_before, in_time], 1_000) == 0


def test_the_course_has_the_greatest_lateness_of_each_second() -> None:
    assert course_of([(3_500, 4), (3_900, 9), (1_000, 1)], 1_000) == {0: 1, 2: 9}


def test_a_machine_without_idle_time_saturates_a_run() -> None:
    assert Result(figures={IDLE: 4.9}).saturated
    assert not Result(figures={IDLE: 5.0}).saturated


def test_a_counter_goes_on_where_its_process_ended() -> None:
    odometer = Odometer()
    assert [odometer.read("writes", value) for value in (3, 5, 2, 4)] == [3, 5, 7, 9]
    assert odometer.read("rows", 1) == 1
