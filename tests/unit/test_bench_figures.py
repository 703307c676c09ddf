"""The benchmark's judge must see what it exists to see: lost, doubled and early tasks."""

from __future__ import annotations

import json
import math
from pathlib import Path

from tests.bench.figures import Promise, Spread, Start, judge, percentile, read_starts
from tests.bench.page import BY_HAND, write_cluster
from tests.bench.plot import histogram
from tests.bench.report import Report
from tests.bench.workloads import Result

DUE_MS = 5_000


def promised(due_ms: int | None = DUE_MS, *, measured: bool = True) -> Promise:
    return Promise(due_ms, sent_ms=1_000.0, measured=measured)


def started(task_id: str, started_ms: int, due_ms: int = DUE_MS) -> Start:
    return Start(task_id, 1, due_ms, started_ms)


def test_a_promise_without_a_start_is_lost() -> None:
    verdict = judge({"a": promised(), "b": promised()}, [started("a", DUE_MS)])
    assert (verdict.lost, verdict.doubled, verdict.early) == (["b"], [], [])


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
    assert verdict.lateness_ms == [7]
    assert verdict.immediate_ms == [DUE_MS + 7 - 1_000.0]


def test_starts_that_nobody_was_promised_are_counted() -> None:
    assert judge({}, [started("a", DUE_MS)]).unknown == 1


def test_a_line_that_is_still_being_written_is_left_for_later(tmp_path: Path) -> None:
    line = json.dumps({"task_id": "a", "attempt": 1, "due_ms": 1, "started_ms": 2, "epoch": 3})
    log = tmp_path / "starts.jsonl"
    log.write_text(f"{line}\n{line[:20]}")
    assert read_starts(log) == [Start("a", 1, 1, 2)]
    assert read_starts(tmp_path / "absent") == []


def test_percentiles_are_values_that_occurred() -> None:
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert math.isnan(percentile([], 0.5))
    assert Spread.of([3, 1, 2]) == Spread(1, 2, 3)


def test_the_plot_has_a_bar_for_each_millisecond_that_occurred() -> None:
    drawn = histogram([0, 0, 3, 500], [("p50", 0.0)])
    assert drawn.count("<rect x=") == 3
    assert "60+" in drawn


def cluster_report() -> Report:
    figures = {"lateness p99 ms": 7.0, "immediate, submit to result p50 ms": 16.0}
    runs = [Result(figures=figures, faults={"lost": []})]
    return Report(facts={"machine": "small"}, command="`run`", results={"cluster": runs})


def test_a_new_run_replaces_the_clusters_figures_and_leaves_what_people_wrote(
    tmp_path: Path,
) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\nFigures.\n\n## Notes\n\nOurs.\n")
    write_cluster(tmp_path, cluster_report())
    once = page.read_text()
    assert "| lateness p99 | 50 ms | 7 ms | yes |" in once
    assert "| immediate task, submit to result, p50 | 15 ms | 16 ms | **no** |" in once
    page.write_text(once.replace("## Notes", f"{BY_HAND}\nA table.\n\n## Notes"))
    twice = page.read_text()
    write_cluster(tmp_path, cluster_report())
    assert page.read_text() == twice
    assert twice.startswith("# Benchmarks\n\nFigures.\n")
    assert twice.endswith("Ours.\n")
