"""The checker can fail: with a rule off it says so; the same faults alone break nothing."""

from __future__ import annotations

import pytest

from tests.support.sim.bugs import BUGS
from tests.support.sim.simulation import simulate


@pytest.mark.parametrize("name", BUGS)
def test_bug_is_found(name: str) -> None:
    bug = BUGS[name]
    for seed in range(bug.within):
        report = simulate(seed, seams=bug.seams, profile=bug.profile)
        if bug.breaks & {violation.invariant for violation in report.violations}:
            return
    pytest.fail(f"{bug.within} seeds did not show it by {sorted(bug.breaks)}")


@pytest.mark.parametrize("name", BUGS)
def test_faults_alone_break_nothing(name: str) -> None:
    report = simulate(0, profile=BUGS[name].profile)
    assert not report.violations
