"""Whole clusters in virtual time: seeds that must stay green, and one history per seed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.checker.vacuity import Least
from tests.support.sim.profile import STORMS, Profile, draw
from tests.support.sim.scripts import SCRIPTED, SCRIPTS
from tests.support.sim.simulation import simulate

ROOT = Path(__file__).parents[2]
# Seeds that found a bug in the world of their day; the bug itself has a test beside its rule.
FIXED = {
    3: "a node that had handed its last shard over waited for that without a pause, for ever",
    4: "claims made ahead and released at a take-over began before their due time",
    439: "a schedule that its repetition had created was created again by the first send",
    580: "a session was ended before its time, and its client could not hear of it",
    1041: "a search for a repeated creation brought a task's past back to memory",
    5020: "what had connected to a node that could not start stayed with it for ever",
}
STORMY = {
    ("late requests", 5): "a first send that its repetition overtook ran a finished task again",
    ("everything", 0): "",
    ("moves", 0): "",
}
MANY_S = 120
FEW = Least(tasks=60)


@pytest.mark.parametrize("seed", FIXED)
def test_seed_stays_green(seed: int) -> None:
    profile = replace(draw(random.Random(f"{seed} profile")), tasks=200)
    report = simulate(seed, profile=profile, least=FEW)
    assert not report.violations, FIXED[seed]
    assert not report.vacuous


@pytest.mark.parametrize(("storm", "seed"), STORMY)
def test_storm_breaks_nothing(storm: str, seed: int) -> None:
    report = simulate(seed, profile=replace(STORMS[storm], tasks=300), least=FEW)
    assert not report.violations, STORMY[storm, seed]
    assert not report.vacuous


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_is_played_to_its_end_and_breaks_nothing(script: str) -> None:
    assert not simulate(0, profile=SCRIPTED[script]).violations


def test_silent_handlers_and_those_that_speak_break_nothing() -> None:
    """Runs that are given up for silence, while owners and executors come and go."""
    profile = replace(STORMS["everything"], tasks=120, beating_share=0.5)
    report = simulate(2, profile=profile, least=FEW)
    assert not report.violations
    assert not report.vacuous
    assert report.planned["given up"] > 3
    assert report.planned["gone on"] > 3


def test_calm_world_loses_and_doubles_nothing() -> None:
    report = simulate(0, profile=Profile(tasks=100, schedules=2), least=FEW)
    assert not report.violations
    assert not report.vacuous
    assert not report.faults


def test_planned_moves_in_a_calm_world_lose_double_and_delay_nothing() -> None:
    """No fault, so no excuse: no attempt begins twice, and none later than in any calm world."""
    profile = Profile(tasks=150, schedules=2, moves=20.0, drains=3.0)
    report = simulate(0, profile=profile, least=FEW)
    assert not report.violations
    assert not report.vacuous
    assert not report.faults
    assert report.planned["move"] > 10
    assert report.planned["drain"] > 1


def test_run_without_work_is_vacuous() -> None:
    report = simulate(0, profile=Profile(tasks=10))
    assert not report.violations
    assert report.vacuous
    assert not report.green


def test_one_seed_is_one_history_whatever_the_hash_seed() -> None:
    digests = {_digest(hash_seed) for hash_seed in ("0", "4711")}
    assert len(digests) == 1


def test_two_seeds_are_two_histories() -> None:
    calm = Profile(tasks=10)
    assert simulate(7, profile=calm).digest != simulate(9, profile=calm).digest


@pytest.mark.timeout(MANY_S + 120)
def test_many_seeds_stay_green(capfd: pytest.CaptureFixture[str]) -> None:
    """As many as TIMEBALL_SIM_SEEDS says, for as long as there is time; progress as it goes."""
    command = [sys.executable, "tools/sim.py", "--first", "100", "--budget", str(MANY_S)]
    with capfd.disabled():
        ended = subprocess.run([*command, "--tier"], cwd=ROOT, check=False)
    assert ended.returncode == 0


PROGRAM = """
from dataclasses import replace
from tests.support.sim.profile import STORMS
from tests.support.sim.simulation import simulate
print(simulate(7, profile=replace(STORMS["everything"], tasks=80)).digest)
"""


def _digest(hash_seed: str) -> str:
    """The trace hash of a seed in a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout
