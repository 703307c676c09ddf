"""`make bench`: measure a running service from outside and write docs/benchmarks.md.

    python tests/bench/run.py [steady immediate create ready cluster] [--seconds 60] [--repeat 3]

`cluster` starts a whole cluster and takes two minutes. Figures never fail anything; lost, doubled
or early tasks do: the exit code is 1. Results go to .cache/bench/<workload>.json; the page
docs/benchmarks.md is written when all workloads have run, or by --page from the last results of
each, and its section about the cluster whenever that has run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sysconfig
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.bench.cluster import cluster
from tests.bench.page import write_cluster
from tests.bench.report import Report, machine_facts, table, write_page
from tests.bench.workloads import WORKLOADS as OF_DEV_MODE
from tests.bench.workloads import Options, Result

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / ".cache" / "bench"
WORKLOADS = {**OF_DEV_MODE, "cluster": cluster}
DEFAULT_SECONDS = {
    "steady": 60.0,
    "immediate": 20.0,
    "create": 20.0,
    "ready": 0.0,
    "cluster": 60.0,
}
DEFAULT_RATE = {"cluster": 500.0}
DEFAULT_WARM_UP = {"cluster": 24.0}
"""A fresh Java process compiles itself for as long as that."""
OTHER_RATE = 200.0
PIECEWISE = "`make bench`, its workloads one by one (`python tests/bench/run.py steady`, ...)"
DEFAULT_REPEAT = {"steady": 3, "immediate": 3, "create": 3, "ready": 5, "cluster": 1}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", choices=[*WORKLOADS, []], default=[])
    parser.add_argument("--seconds", type=float, help="length of each measured window")
    parser.add_argument("--warm-up", type=float, help="seconds before (10, cluster 24)")
    parser.add_argument("--rate", type=float, help="tasks per second (steady 200, cluster 500)")
    parser.add_argument("--repeat", type=int, help="runs of each workload")
    parser.add_argument("--dev-option", action="append", default=[], help="for `timeball dev`")
    parser.add_argument("--no-write", action="store_true", help="leave docs/ as it is")
    parser.add_argument("--python", help="another interpreter of this version for everything")
    parser.add_argument("--page", action="store_true", help="only write the page of kept results")
    return parser.parse_args()


def run(console: Console, name: str, wanted: argparse.Namespace) -> list[Result]:
    """All repetitions of one workload."""
    repeat = wanted.repeat or DEFAULT_REPEAT[name]
    results: list[Result] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, refresh_per_second=2) as progress:
        line = progress.add_task(name)
        for number in range(repeat):
            prefix = f"{name} {number + 1}/{repeat}"

            def say(text: str, prefix: str = prefix) -> None:
                progress.update(line, description=f"{prefix}: {text}")
                if not console.is_terminal:
                    print(f"{time.strftime('%H:%M:%S')} {prefix}: {text}", flush=True)

            options = Options(
                seconds=DEFAULT_SECONDS[name] if wanted.seconds is None else wanted.seconds,
                warm_up_s=DEFAULT_WARM_UP.get(name, 10.0)
                if wanted.warm_up is None
                else wanted.warm_up,
                rate=wanted.rate or DEFAULT_RATE.get(name, OTHER_RATE),
                seed=number + 1,
                dev=tuple(wanted.dev_option),
            )
            results.append(asyncio.run(WORKLOADS[name](options, say)))
    return results


def main() -> int:
    wanted = arguments()
    if wanted.python:
        return run_with(wanted.python)
    if wanted.page:
        write_page(ROOT / "docs", kept())
        write_cluster(ROOT / "docs", kept(("cluster",)))
        return 0
    console = Console(width=110) if not Console().is_terminal else Console()
    names = wanted.workloads or list(WORKLOADS)
    report = Report(facts=machine_facts(), command=command_of(wanted), results={})
    for name in names:
        results = run(console, name, wanted)
        report.results[name] = results
        console.print(table(name, results))
        keep(name, report, results)
    if not wanted.no_write and not wanted.workloads:
        write_page(ROOT / "docs", report.of(OF_DEV_MODE))
    if not wanted.no_write and "cluster" in report.results:
        write_cluster(ROOT / "docs", report)
    faults = [
        fault for results in report.results.values() for each in results for fault in broken(each)
    ]
    for fault in faults:
        console.print(f"[bold red]{fault}[/]")
    return 1 if faults else 0


def run_with(python: str) -> int:
    """Begin again on another interpreter, with the packages of this one."""
    taken = argparse.ArgumentParser(add_help=False)
    taken.add_argument("--python")
    _, left = taken.parse_known_args()
    paths = [ROOT, ROOT / "clients" / "python", sysconfig.get_path("purelib")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run([python, __file__, *left], env=environment, check=False).returncode


def command_of(wanted: argparse.Namespace) -> str:
    """The command as a reader would type it."""
    words = ["python tests/bench/run.py", *wanted.workloads]
    if wanted.seconds is not None:
        words.append(f"--seconds {wanted.seconds:g}")
    if wanted.rate is not None:
        words.append(f"--rate {wanted.rate:g}")
    if wanted.repeat is not None:
        words.append(f"--repeat {wanted.repeat}")
    words += [f"--dev-option={option}" for option in wanted.dev_option]
    return "`make bench`" if len(words) == 1 else f"`{' '.join(words)}`"


def broken(result: Result) -> list[str]:
    """What must never happen and did."""
    return [
        f"{name}: {len(ids)} ({', '.join(ids[:3])} ...)"
        for name, ids in result.faults.items()
        if ids
    ]


def keep(name: str, report: Report, results: list[Result]) -> None:
    """The raw results, for programs."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    facts = {"facts": report.facts, "command": report.command, "at": time.time()}
    text = json.dumps({**facts, "runs": [asdict(each) for each in results]}, indent=1)
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


def kept(names: Iterable[str] = OF_DEV_MODE) -> Report:
    """What the last run of each workload left."""
    found = {name: RESULTS / f"{name}.json" for name in names}
    read = {name: json.loads(path.read_text()) for name, path in found.items() if path.exists()}
    newest = max(read.values(), key=lambda each: float(each["at"]))
    results = {name: [Result(**run) for run in each["runs"]] for name, each in read.items()}
    command = PIECEWISE if len(results) > 1 else newest["command"]
    return Report(facts=newest["facts"], command=command, results=results)


if __name__ == "__main__":
    raise SystemExit(main())
