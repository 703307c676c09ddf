"""The judge can say no: with a rule switched off it says so, within a few seeds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sim.mutants import mutants
from tests.support.sim.nemeses import NEMESES
from tests.support.sim.rewriting import Rewrite, StaleRewrite, parsed
from tests.support.sim.rules import NAMED, RULES
from tests.support.sim.scripts import SCRIPTED

ROOT = Path(__file__).parents[2]
ALL = {**RULES, **NAMED}
FARM_S = 60


@pytest.mark.timeout(FARM_S + 200)
def test_what_is_put_in_or_switched_off_is_found(capfd: pytest.CaptureFixture[str]) -> None:
    """A few in the usual run, all that are sure in the long one, for as long as there is time."""
    command = [sys.executable, "tools/farm.py", "--tier", "--budget", str(FARM_S)]
    with capfd.disabled():
        ended = subprocess.run(command, cwd=ROOT, check=False)
    assert ended.returncode == 0


@pytest.mark.parametrize("name", ALL)
def test_every_switch_still_fits_the_product(name: str) -> None:
    for rewrite in ALL[name].rewrites:
        rewrite.apply(parsed(rewrite.module))
    assert ALL[name].nemesis in {**NEMESES, **SCRIPTED}


def test_a_switch_that_fits_no_more_says_so() -> None:
    stale = Rewrite("timeball_server.core.lease", "lease_holds", "no such text", "")
    with pytest.raises(StaleRewrite):
        stale.apply(parsed(stale.module))


def test_mutations_are_drawn_alike_every_time() -> None:
    assert mutants() == mutants()
