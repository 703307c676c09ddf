"""Lives through seeds with something wrong in the product, until a promise is seen to be broken.

    python -m tests.support.sim.farm rule "R11 executor"     one switch of rules.py
    python -m tests.support.sim.farm bug "ignore the lease"  one of bugs.py, put in from outside
    python -m tests.support.sim.farm mutant 3                one mutation of mutants.py

A process of its own, because product modules are changed as they are imported: nothing of the
product may be imported here before that. Says in one line of JSON what became of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from typing import Any, Final

from tests.support.sim import rewriting
from tests.support.sim.mutants import mutants
from tests.support.sim.rules import NAMED, RULES

MUTANT_SEEDS: Final = 4
Runs = list[tuple[int, dict[str, Any]]]


def main() -> int:
    """Parse the arguments, change the product, run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kind", choices=tuple(_KINDS))
    parser.add_argument("name")
    parser.add_argument("--seeds", type=int, help="at most so many")
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args()
    found = _KINDS[chosen.kind](chosen.name, chosen.first, chosen.seeds)
    print(json.dumps({"name": chosen.name, **found}))
    return 0 if found["found"] else 1


def _rule(name: str, first: int, seeds: int | None) -> dict[str, Any]:
    """Run under the switch's nemesis."""
    switch = {**RULES, **NAMED}[name]
    rewriting.install(switch.rewrites)
    from tests.support.sim.nemeses import NEMESES
    from tests.support.sim.scripts import SCRIPTED

    wanted: dict[str, Any] = {"profile": {**NEMESES, **SCRIPTED}[switch.nemesis]}
    if switch.beside:
        from tests.support.sim.bugs import BUGS

        wanted["seams"] = BUGS[switch.beside].seams
    count = seeds or switch.within
    return _run([(seed, wanted) for seed in range(first, first + count)], switch.breaks)


def _bug(name: str, first: int, seeds: int | None) -> dict[str, Any]:
    """Run under the profile that the bug brings."""
    from tests.support.sim.bugs import BUGS

    bug = BUGS[name]
    wanted = {"profile": bug.profile, "seams": bug.seams}
    breaks = tuple(str(promise) for promise in bug.breaks)
    count = seeds or bug.within
    return _run([(seed, wanted) for seed in range(first, first + count)], breaks)


def _mutant(name: str, first: int, seeds: int | None) -> dict[str, Any]:
    """Play the scripts, run like any seed, then once under each directed nemesis.

    Whatever is broken has noticed.
    """
    mutant = mutants()[int(name)]
    rewriting.install_change(mutant.module, mutant.apply)
    from tests.support.sim.nemeses import NEMESES
    from tests.support.sim.scripts import SCRIPTED

    scripts: Runs = [(first, {"profile": each}) for each in SCRIPTED.values()]
    drawn: Runs = [(seed, {}) for seed in range(first, first + (seeds or MUTANT_SEEDS))]
    directed: Runs = [(first, {"profile": each}) for each in NEMESES.values()]
    return _run([*scripts, *drawn, *directed], ("",))


def _run(runs: Runs, breaks: tuple[str, ...]) -> dict[str, Any]:
    from tests.support.sim.simulation import simulate

    began_s = time.process_time()
    others: Counter[str] = Counter()
    for number, (seed, wanted) in enumerate(runs, 1):
        report = simulate(seed, **wanted)
        names = sorted({str(violation.promise) for violation in report.violations})
        if any(name.startswith(breaks) for name in names):
            return _said(True, number, names, others, began_s)
        others.update(names)
    return _said(False, len(runs), [], others, began_s)


def _said(
    found: bool, runs: int, names: list[str], others: Counter[str], began_s: float
) -> dict[str, Any]:
    cpu_s = round(time.process_time() - began_s, 1)
    return {
        "found": found,
        "runs": runs,
        "broken": names,
        "other": dict(others),
        "cpu_s": cpu_s,
    }


_KINDS: Final = {"rule": _rule, "bug": _bug, "mutant": _mutant}


if __name__ == "__main__":
    sys.exit(main())
