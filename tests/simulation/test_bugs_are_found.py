"""The checker can fail: with a rule switched off it says so, within a few seeds."""

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
