"""`make cluster`, `make demo CLUSTER=1`, `make cluster-down`: as the README says, and then nothing.

Brings servers of its own, like the command, so it belongs to the long setting.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.dev_server import ROOT, environment
from tests.support.polls import until

pytestmark = pytest.mark.timeout(420)
LIMIT_S = 240
OURS = {
    *("scheduler-1", "scheduler-2", "coordinator-1", "coordinator-2"),
    *("executor-1", "executor-2", "executor-3"),
}


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """One command of the Makefile's, to its end."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def cluster(folder: Path, verb: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "tools.cluster", "--folder", str(folder), verb)


def living(folder: Path) -> list[str]:
    """Command lines of every process that was started for this folder and lives."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        is_over = process.info["status"] == psutil.STATUS_ZOMBIE
        if not is_over and any(str(folder) in word for word in words):
            found.append(" ".join(words)[:200])
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the cluster puts its things; whatever happens, it has ended afterwards."""
    place = tmp_path / "cluster"
    yield place
    cluster(place, "down")


def test_the_cluster_comes_up_runs_the_demo_and_leaves_nothing(folder: Path) -> None:
    up = cluster(folder, "up")
    assert up.returncode == 0, up.stdout + up.stderr
    assert all(name in up.stdout for name in OURS)
    assert cluster(folder, "up").returncode == 1  # one at a time
    facts = json.loads((folder / "facts.json").read_text())
    assert set(facts["pids"]) == OURS
    assert all(psutil.pid_exists(pid) for pid in facts["pids"].values())

    demo = run("examples/demo.py", TIMEBALL_DEMO_CLUSTER=str(folder / "facts.json"))
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "All claims hold." in demo.stdout
    assert demo.stdout.count(" yes ") == 9
    assert "ran on a stronger executor" in " ".join(demo.stdout.split()).replace(" │ │ │ ", " ")

    down = cluster(folder, "down")
    assert down.returncode == 0, down.stdout + down.stderr
    until(lambda: not living(folder), "nothing is left")
    assert not any(psutil.pid_exists(pid) for pid in facts["pids"].values())
