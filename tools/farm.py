"""Puts something wrong into the product, one thing at a time, and sees whether simulation notices.

    tools/farm.py                   every rule switched off, every named bug
    tools/farm.py "R11 executor"    this one
    tools/farm.py --mutants 10      the first ten mutations that were drawn, but for those that
                                    neither simulation nor any unit test notices
    tools/farm.py --tier            what `make test` runs: a few of them, with TIMEBALL_LONG=1 all
                                    that show within few seeds

Exit 1 if something was not noticed within its seeds (mutations: more than one in ten).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.sim.bugs import BUGS  # noqa: E402 - needs the path above
from tests.support.sim.mutants import Mutant, mutants  # noqa: E402 - as above
from tests.support.sim.rules import NAMED, RULES  # noqa: E402 - as above

SWITCHES = {**RULES, **NAMED}
ALL = {
    **{name: ("bug", name) for name in BUGS},
    **{name: ("rule", switch.says) for name, switch in SWITCHES.items()},
}
"""Everything that can be wrong: how it is put in, and what it is."""
MASKED = {name for name, switch in SWITCHES.items() if switch.masked}
"""What nobody can notice, because another rule catches it; played if it is named."""
SURE_WITHIN = 2
"""What may need more seeds comes and goes with every change of the code: no test of it."""
A_FEW = ("acknowledge before durable", "dispatch one second early", "R9", "R14 inventory")
"""Found within few seeds each: enough to see that the judge can say no at all."""


def run(kind: str, name: str, seeds: int | None, left_s: float, *more: str) -> dict[str, Any]:
    """One switch or mutation, in a process of its own; a process that falls over has noticed.

    When the time is over before anything was seen, nobody knows.
    """
    unknown = {"name": name, "found": None}
    if left_s <= 0:
        return unknown
    command = [sys.executable, "-m", "tests.support.sim.farm", kind, name]
    command += [*more, *([] if seeds is None else ["--seeds", str(seeds)])]
    try:
        ended = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=left_s
        )
    except subprocess.TimeoutExpired:
        return unknown
    lines = ended.stdout.splitlines()
    if not lines:
        why = ended.stderr.strip().splitlines()[-1:] or ["no word"]
        return {"name": name, "found": True, "runs": 1, "broken": [f"fell over: {why[0]}"[:120]]}
    said: dict[str, Any] = json.loads(lines[-1])
    return said


def play(
    what: Sequence[tuple[str, str]], seeds: int | None, processes: int, until_s: float
) -> Iterator[dict[str, Any]]:
    """What became of each kind and name, in their order; nothing goes on after that instant."""

    def one(each: tuple[str, str]) -> dict[str, Any]:
        return run(*each, seeds, until_s - time.monotonic())

    with ThreadPoolExecutor(processes) as pool:
        yield from pool.map(one, what)


def tell(said: dict[str, Any], what: str) -> None:
    """One line for each."""
    word = {True: "found", False: "NOT FOUND", None: "not run"}[said["found"]]
    by = ", ".join(said.get("broken", [])) or ", ".join(said.get("other", {}))
    print(
        f"{said['name']}: {word}, {said.get('runs')} runs, by {by or 'nothing'} ({what})",
        flush=True,
    )


def play_rules(names: Sequence[str], seeds: int | None, processes: int, until_s: float) -> int:
    """Rules and bugs by name; how many were not found."""
    unseen = 0
    what = [(ALL[name][0], name) for name in names]
    for said in play(what, seeds, processes, until_s):
        tell(said, ALL[said["name"]][1])
        unseen += said["found"] is False
    return unseen


def of_tier() -> list[str]:
    """What the tests play."""
    if os.environ.get("TIMEBALL_LONG") != "1":
        return list(A_FEW)
    within = {name: bug.within for name, bug in BUGS.items()}
    within |= {name: switch.within for name, switch in SWITCHES.items()}
    return [name for name in ALL if name not in MASKED and within[name] <= SURE_WITHIN]


def play_mutants(count: int, seeds: int | None, processes: int, until_s: float) -> int:
    """Drawn mutations in their order; how many were missed beyond one in ten.

    A mutation counts if simulation notices it or a unit test does: what neither sees is as good as
    the original, or nobody has written down what it is good for.
    """
    known = json.dumps(run("clean", "all", seeds, until_s - time.monotonic()).get("known", {}))
    drawn = list(enumerate(mutants()))
    noticed = counted = 0

    def one(each: tuple[int, Mutant]) -> tuple[bool, bool]:
        number, mutant = each
        what = f"{mutant.module}:{mutant.line} {mutant.says}"
        said = run("mutant", str(number), seeds, until_s - time.monotonic(), "--known", known)
        tell(said, what)
        if said["found"]:
            return True, True
        tested = run("unit", str(number), None, until_s - time.monotonic())
        tell(tested | {"name": f"{number} by unit tests"}, what)
        return False, bool(tested["found"])

    with ThreadPoolExecutor(processes) as pool:
        while drawn and counted < count:
            next_ones, drawn = drawn[: count - counted], drawn[count - counted :]
            for is_noticed, counts in pool.map(one, next_ones):
                noticed += is_noticed
                counted += counts
    print(f"{noticed} of {counted} mutations were noticed")
    return max(0, count - noticed - count // 10)


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="rules and bugs; all by default")
    parser.add_argument("--mutants", type=int, help="so many mutations instead")
    parser.add_argument("--seeds", type=int, help="at most so many each")
    parser.add_argument("--tier", action="store_true", help="what the tests run")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--budget", type=float, default=1e6, help="seconds for all of it")
    chosen = parser.parse_args()
    until_s = time.monotonic() + chosen.budget
    if chosen.mutants:
        unseen = play_mutants(chosen.mutants, chosen.seeds, chosen.processes, until_s)
    else:
        seen = [name for name in ALL if name not in MASKED]
        names = chosen.names or (of_tier() if chosen.tier else seen)
        unseen = play_rules(names, chosen.seeds, chosen.processes, until_s)
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
