"""Mains of cluster processes say everything that is wrong with their settings, and exit with 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def run(module: str, *settings: str) -> subprocess.CompletedProcess[str]:
    flags = [flag for each in settings for flag in ("--set", each)]
    return subprocess.run(
        [sys.executable, "-m", module, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("module", ["coordinator", "scheduler_node"])
def test_a_cluster_process_without_a_cluster_says_what_it_needs(module: str) -> None:
    outcome = run(module)
    assert outcome.returncode == 2
    assert "store.kind" in outcome.stderr
    assert "coordination.kind" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_every_wrong_setting_is_said_at_once() -> None:
    outcome = run("coordinator", "store.kindd=cassandra", "listen.port=-1", "node.name=A B")
    assert outcome.returncode == 2
    for word in ("store.kindd", "did you mean store.kind", "listen.port", "node.name"):
        assert word in outcome.stderr


def test_a_coordinator_that_others_can_reach_needs_keys() -> None:
    outcome = run(
        "coordinator",
        "store.kind=cassandra",
        "store.addresses=127.0.0.1:1",
        "coordination.kind=zookeeper",
        "coordination.addresses=127.0.0.1:1",
        "listen.host=0.0.0.0",
    )
    assert outcome.returncode == 2
    assert "access.pepper" in outcome.stderr
