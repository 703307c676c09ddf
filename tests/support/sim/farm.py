"""Lives through seeds with something wrong in the product, until a promise is seen to be broken.

    python -m tests.support.sim.farm rule "R11 executor"     one switch of rules.py
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
from typing import Any

from tests.support.sim import rewriting
from tests.support.sim.mutants import mutants
from tests.support.sim.rules import NAMED, RULES, Switch


def main() -> int:
    """Parse the arguments, change the product, run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kind", choices=("rule", "mutant"))
    parser.add_argument("name")
    parser.add_argument("--seeds", type=int, help="at most so many")
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.kind == "rule":
        switch = {**RULES, **NAMED}[chosen.name]
        rewriting.install(switch.rewrites)
        found = _until_found(switch, chosen.first, chosen.seeds or switch.within)
    else:
        mutant = mutants()[int(chosen.name)]
        rewriting.install_change(mutant.module, mutant.apply)
        found = _until_any(chosen.first, chosen.seeds or 10)
    print(json.dumps({"name": chosen.name, **found}))
    return 0 if found["found"] else 1


def _until_found(switch: Switch, first: int, seeds: int) -> dict[str, Any]:
    """Run under the switch's nemesis."""
    from tests.support.sim.nemeses import NEMESES

    return _run(NEMESES[switch.nemesis], first, seeds, switch.breaks)


def _until_any(first: int, seeds: int) -> dict[str, Any]:
    return _run(None, first, seeds, ("",))


def _run(profile: Any, first: int, seeds: int, breaks: tuple[str, ...]) -> dict[str, Any]:
    from tests.support.sim.simulation import simulate

    began_s = time.process_time()
    others: Counter[str] = Counter()
    for seed in range(first, first + seeds):
        report = simulate(seed, profile=profile)
        names = sorted({str(violation.promise) for violation in report.violations})
        if any(name.startswith(breaks) for name in names):
            return _said(True, seed, names, others, began_s)
        others.update(names)
    return _said(False, first + seeds - 1, [], others, began_s)


def _said(
    found: bool, seed: int, names: list[str], others: Counter[str], began_s: float
) -> dict[str, Any]:
    cpu_s = round(time.process_time() - began_s, 1)
    return {
        "found": found,
        "seed": seed,
        "broken": names,
        "other": dict(others),
        "cpu_s": cpu_s,
    }


if __name__ == "__main__":
    sys.exit(main())
