"""Runs simulated clusters, one seed after another, and says which seeds broke a promise.

    tools/sim.py --seed 42          one history, with its verdict
    tools/sim.py --seeds 50         seeds 0 to 49
    tools/sim.py --tier             as many as TIMEBALL_SIM_SEEDS says: what `make test` runs

Exit 1 if any seed broke a promise or proved nothing. A broken one leaves its trace, one line per
event, in .cache/sim/ and the command that runs it again.
"""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import structlog

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.checker.sometimes import SITUATIONS, missing  # noqa: E402 - needs the path above
from tests.support.sim.simulation import Report, simulate  # noqa: E402 - needs the path above

TRACES = ROOT / ".cache" / "sim"
LAST_LINES = 25
PROGRESS_S = 10.0
DEFAULT_SEEDS = 50
TIER_SEEDS = 6
"""About fifteen seconds on two idle cores."""
COLLECT_AFTER = 1_000_000
"""Objects; a run makes few cycles, and looking for them costs a twentieth of its time."""
MEMORY = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Large pages for whoever runs many seeds, where there are any: a fourteenth less time. Python's
own allocator does not ask for them."""
SEEDS_TO_SEE_ALL = 50
"""So many runs together show every situation that a promise is about, or it is a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is worth sending between processes."""

    seed: int
    digest: str
    virtual_s: float
    cpu_s: float
    tasks: int
    starts: int
    faults: Counter[str]
    shown: Counter[str]
    vacuous: str
    violations: tuple[str, ...]

    @property
    def word(self) -> str:
        """GREEN, RED or VACUOUS."""
        if self.violations:
            return "RED"
        return "VACUOUS" if self.vacuous else "GREEN"


@dataclass(slots=True)
class Sum:
    """All verdicts so far."""

    began_s: float
    words: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    shown: Counter[str] = field(default_factory=Counter)
    tasks: int = 0
    starts: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0

    def add(self, verdict: Verdict) -> None:
        """Count one."""
        self.words[verdict.word] += 1
        self.faults += verdict.faults
        self.shown += verdict.shown
        self.tasks += verdict.tasks
        self.starts += verdict.starts
        self.virtual_s += verdict.virtual_s
        self.cpu_s += verdict.cpu_s

    def line(self) -> str:
        """Where we are."""
        return (
            f"{self.words.total()} seeds: {_counted(self.words)}; "
            f"{self.tasks} tasks, {self.starts} starts, "
            f"{self.faults.total()} faults, {self.virtual_s / 3_600:.1f} h of virtual time, "
            f"{_factor(self):.0f} x real time per core, {time.monotonic() - self.began_s:.0f} s"
        )


def _factor(of: Verdict | Sum) -> float:
    """How much faster than real time it was on one core."""
    return of.virtual_s / max(of.cpu_s, 1e-9)


def _counted(names: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(names.items()))


def run(seed: int) -> Verdict:
    """Run one seed; a red one leaves its trace."""
    began_s = time.process_time()
    report = simulate(seed)
    if report.violations:
        keep(report)
    return Verdict(
        seed=seed,
        digest=report.digest,
        virtual_s=report.virtual_s,
        cpu_s=time.process_time() - began_s,
        tasks=report.tasks,
        starts=report.starts,
        faults=report.faults + report.planned,
        shown=report.shown,
        vacuous=report.vacuous,
        violations=tuple(str(violation) for violation in report.violations),
    )


def prepare() -> None:
    """Let the collector look seldom, never at what was imported; take no log apart to drop it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 1, 1)  # what outlived its run goes with the next look
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def trace_of(seed: int) -> Path:
    """Where the trace of a seed is kept."""
    return TRACES / f"{seed}.trace"


def keep(report: Report) -> None:
    """Write a trace down."""
    TRACES.mkdir(parents=True, exist_ok=True)
    verdicts = [f"VIOLATION {violation}" for violation in report.violations]
    trace_of(report.seed).write_text("\n".join([*report.lines, *verdicts]) + "\n")


def explain(verdict: Verdict) -> None:
    """Say what broke, how it ended, and how to see it again."""
    print(f"seed {verdict.seed} {verdict.word} {verdict.vacuous}")
    for violation in verdict.violations:
        print(f"  {violation[:400]}")
    if verdict.violations:
        trace = trace_of(verdict.seed)
        for line in trace.read_text().splitlines()[-LAST_LINES:]:
            print(f"    {line[:200]}")
        print(f"  trace: {trace.relative_to(ROOT)}")
    print(f"  again: make sim SEED={verdict.seed}", flush=True)


def verdicts(seeds: Sequence[int], processes: int, until_s: float) -> Iterator[Verdict]:
    """Verdicts as they come; no new seed is begun after the given instant."""
    left = iter(seeds)
    for name, value in MEMORY.items():
        os.environ.setdefault(name, value)
    fresh = multiprocessing.get_context("spawn")  # a fork would have our allocator
    with ProcessPoolExecutor(processes, fresh, prepare) as pool:
        running: set[Future[Verdict]] = set()
        while True:
            room = 2 * processes - len(running)
            if time.monotonic() < until_s:
                running |= {pool.submit(run, seed) for seed in islice(left, room)}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def run_many(seeds: Sequence[int], processes: int, budget_s: float) -> int:
    """Run seeds and report as they come; the exit code."""
    total = Sum(time.monotonic())
    told_s = total.began_s
    for verdict in verdicts(seeds, processes, total.began_s + budget_s):
        total.add(verdict)
        if verdict.word == "RED":
            explain(verdict)
        elif verdict.word == "VACUOUS":
            print(f"seed {verdict.seed} VACUOUS: {verdict.vacuous}", flush=True)
        if time.monotonic() - told_s > PROGRESS_S:
            told_s = time.monotonic()
            print(total.line(), flush=True)
    print(total.line())
    print(f"faults: {_counted(total.faults)}")
    for name in SITUATIONS:
        print(f"  {total.shown[name]:>7} x {name}")
    if total.words.total() < len(seeds):
        print(f"the time was over: {len(seeds) - total.words.total()} seeds were not run")
    unseen = missing(total.shown) if total.words.total() >= SEEDS_TO_SEE_ALL else []
    for name in unseen:
        print(f"never came up: {name}")
    few = total.words["VACUOUS"] * 10 <= total.words.total()
    good = total.words["RED"] == 0 and few and total.words.total() > 0 and not unseen
    return 0 if good else 1


def run_one(seed: int) -> int:
    """Run one seed and say everything about it; the exit code."""
    verdict = run(seed)
    if verdict.word != "GREEN":
        explain(verdict)
    print(f"seed {seed} {verdict.word}: {verdict.tasks} tasks, {verdict.starts} starts")
    print(f"  {verdict.virtual_s:.0f} s of virtual time, {_factor(verdict):.0f} x real time")
    print(f"  faults: {_counted(verdict.faults) or 'none'}")
    print(f"  trace hash {verdict.digest}")
    return 0 if verdict.word == "GREEN" else 1


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, help="run this seed only")
    parser.add_argument("--seeds", type=int, help="run so many seeds")
    parser.add_argument("--tier", action="store_true", help="the number that the tests run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--budget", type=float, default=1e9, help="seconds to begin new seeds in")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        prepare()
        return run_one(chosen.seed)
    count = chosen.seeds or DEFAULT_SEEDS
    if chosen.tier:
        count = int(os.environ.get("TIMEBALL_SIM_SEEDS", TIER_SEEDS))
    seeds = range(chosen.first, chosen.first + count)
    return run_many(seeds, chosen.processes, chosen.budget)


if __name__ == "__main__":
    sys.exit(main())
