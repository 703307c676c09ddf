"""The command of the benchmark, on dev mode, for a second: what it says is whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
BOOK: Final = ROOT / "docs" / "benchmarks.json"
SHORT: Final = ("--seconds", "1", "--warm-up", "0", "--repeat", "1", "--rate", "20", "--no-write")


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tests/bench/run.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.timeout(120)
def test_a_workload_is_measured_and_judged_by_itself() -> None:
    before = BOOK.read_bytes()
    ran = bench("create", "--target", "dev", "--stored", "100", *SHORT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for figure in (
        "create, streamed p99 ms",
        "writes per task",
        "packets per task",
        "machine idle %",
    ):
        assert figure in ran.stdout
    for fault in ("lost", "doubled", "early", "refused", "wrong answer"):
        assert f"{fault} (all runs)" in ran.stdout
    assert "read back at the end, tasks" in ran.stdout
    assert BOOK.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fast",), "no workload fast"),
        (("fail-over", "--target", "dev"), "fail-over is for cluster only"),
    ],
)
def test_what_is_not_offered_is_refused_with_what_is(words: tuple[str, ...], said: str) -> None:
    ran = bench(*words)
    assert ran.returncode != 0
    assert said in ran.stderr
