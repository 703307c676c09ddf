"""Lives through seeds with something wrong in the product, until a promise is seen to be broken.

    python -m tests.support.sim.farm rule "R11 executor"     one switch of rules.py
    python -m tests.support.sim.farm bug "ignore the lease"  one of bugs.py, put in from outside
    python -m tests.support.sim.farm mutant 3                one mutation of mutants.py
    python -m tests.support.sim.farm clean all               nothing: which runs break promises now
    python -m tests.support.sim.farm unit 3                  that mutation under the unit tests

A process of its own, because product modules are changed as they are imported: nothing of the
product may be imported here before that. Says in one line of JSON what became of it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.support.sim import rewriting
from tests.support.sim.mutants import mutants
from tests.support.sim.rules import NAMED, RULES

if TYPE_CHECKING:
    from tests.support.sim.simulation import Report

MUTANT_SEEDS: Final = 4
UNIT: Final = rewriting.ROOT / "tests" / "unit"
STORIES: Final = tuple(
    rewriting.ROOT / "tests" / "simulation" / f"test_{name}.py"
    for name in ("routing", "races", "limits", "priorities", "executors", "leaders", "outliers")
)
"""Simulations of a part: the engine alone, keys under storms, an executor alone, leaders alone."""
Runs = list[tuple[int, dict[str, Any]]]
Play = Callable[[], set[str]]


def main() -> int:
    """Parse the arguments, change the product, run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kind", choices=("mutant", *_KINDS))
    parser.add_argument("name")
    parser.add_argument("--seeds", type=int, help="at most so many")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--known", type=json.loads, default={}, help="mutant: what `clean` said")
    chosen = parser.parse_args()
    kinds: dict[str, Kind] = {**_KINDS, "mutant": partial(_mutant, known=chosen.known)}
    found = kinds[chosen.kind](chosen.name, chosen.first, chosen.seeds)
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
    breaks = tuple(_word(promise) for promise in bug.breaks)
    count = seeds or bug.within
    return _run([(seed, wanted) for seed in range(first, first + count)], breaks)


def _mutant(
    name: str, first: int, seeds: int | None, *, known: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Play scripts and stories, run like any seed, then once under each directed nemesis.

    Whatever is broken has noticed; if this process falls over, so it has. `known` are promises that
    a run breaks with nothing put in: they prove nothing.
    """
    mutant = mutants()[int(name)]
    rewriting.install_change(mutant.module, mutant.apply)
    began_s, number = time.process_time(), 0
    for number, (run, play) in enumerate(_all_runs(first, seeds), 1):
        broken = play() - set(known.get(run, ()))
        if broken:
            return _said(True, number, sorted(broken), Counter(), began_s) | {"run": run}
    return _said(False, number, [], Counter(), began_s)


def _all_runs(first: int, seeds: int | None) -> Iterator[tuple[str, Play]]:
    """What is played against a mutation: the name of each run, and how; a play says what broke."""
    from tests.support.sim.nemeses import NEMESES
    from tests.support.sim.scripts import SCRIPTED
    from tests.support.sim.simulation import simulate

    def play(seed: int, **wanted: Any) -> Play:
        return lambda: _broken(simulate(seed, **wanted))

    for name, profile in SCRIPTED.items():
        yield f"script {name}", play(first, profile=profile)
    for seed in range(first, first + (seeds or MUTANT_SEEDS)):
        yield f"seed {seed}", play(seed)
    for path in STORIES:
        yield f"story {path.stem}", partial(_told, path)
    for name, profile in NEMESES.items():
        yield f"nemesis {name}", play(first, profile=profile)


def _told(path: Path) -> set[str]:
    """What is broken if a story does not end well."""
    return set(_failures([path]))


def _clean(_: str, first: int, seeds: int | None) -> dict[str, Any]:
    """The same runs with nothing put in. `known` is which promises each of them breaks."""
    began_s, runs = time.process_time(), list(_all_runs(first, seeds))
    said = {run: sorted(play()) for run, play in runs}
    known = {run: broken for run, broken in said.items() if broken}
    return _said(bool(known), len(runs), list(known), Counter(), began_s) | {"known": known}


def _broken(report: Report) -> set[str]:
    return {str(each.promise) for each in report.violations}


def _unit(name: str, _: int, __: int | None) -> dict[str, Any]:
    """Whether a unit test of the module or of its neighbours fails."""
    mutant = mutants()[int(name)]
    rewriting.install_change(mutant.module, mutant.apply)
    began_s, word = time.process_time(), mutant.module.rpartition(".")[2]
    tests = sorted(UNIT.rglob("test_*.py"))
    named = [path for path in tests if word in path.stem]
    using = [path for path in tests if mutant.module in path.read_text(encoding="utf-8")]
    area = sorted((UNIT / mutant.module.split(".")[2]).glob("test_*.py"))
    paths = list(dict.fromkeys(chain(named, using, area)))
    failed = _failures(paths)
    return _said(bool(failed), len(paths), failed, Counter(), began_s)


def _failures(paths: Sequence[Path]) -> list[str]:
    """The first test that fails, in words of pytest's; none if all pass."""
    import pytest

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = pytest.main([*map(str, paths), "-x", "-q", "-p", "no:cacheprovider", "--no-header"])
    if code == pytest.ExitCode.OK:
        return []
    lines = [line for line in said.getvalue().splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[:1] or [f"pytest ends with {code}"]


def _word(promise: str) -> str:
    """I2 of `I2 not early`, which is none of I20's."""
    return promise.partition(" ")[0]


def _run(runs: Runs, breaks: tuple[str, ...]) -> dict[str, Any]:
    from tests.support.sim.simulation import simulate

    began_s = time.process_time()
    others: Counter[str] = Counter()
    for number, (seed, wanted) in enumerate(runs, 1):
        names = sorted(_broken(simulate(seed, **wanted)))
        if any(_word(name) in breaks for name in names):
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


Kind = Callable[[str, int, int | None], dict[str, Any]]
_KINDS: Final[dict[str, Kind]] = {
    "rule": _rule,
    "bug": _bug,
    "clean": _clean,
    "unit": _unit,
}


if __name__ == "__main__":
    sys.exit(main())
