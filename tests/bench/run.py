"""`make bench`: measure a running service from outside and write docs/benchmarks.md.

    python tests/bench/run.py                          # everything: three quarters of an hour
    python tests/bench/run.py steady --target cluster --rate 300 --seconds 60 --repeat 2
    python tests/bench/run.py --page                   # only write the page again

Figures never fail anything; lost, doubled, early or wrong do: the exit code is 1. What was measured
is kept in docs/benchmarks.json, from which the page is made.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.bench.book import entry_of, facts_of, keep, read_book
from tests.bench.judging import Result
from tests.bench.measure import Options, run
from tests.bench.pages import terminal_table, write_page
from tests.bench.product import ROOT, Product
from tests.bench.table import BY_NAME, Workload
from tests.bench.targets import TARGETS
from tests.support.loopback import take_own


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(BY_NAME))
    parser.add_argument("--target", choices=tuple(TARGETS), help="only on this one")
    parser.add_argument("--rate", type=float, help="tasks or calls a second")
    parser.add_argument("--seconds", type=float, help="length of each measured window")
    parser.add_argument("--warm-up", type=float, help="seconds before it")
    parser.add_argument("--repeat", type=int, help="runs of each workload")
    parser.add_argument("--stored", type=int, help="tasks of the coming month put there before")
    parser.add_argument("--dev-option", action="append", default=[], help="for `timeball dev`")
    python = "another interpreter of this version, for all that is measured"
    parser.add_argument("--python", default=sys.executable, help=python)
    parser.add_argument("--no-write", action="store_true", help="leave docs/ as it is")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    wanted = parser.parse_args()
    if unknown := [name for name in wanted.workloads if name not in BY_NAME]:
        parser.error(f"no workload {', '.join(unknown)}; there are: {', '.join(BY_NAME)}")
    return wanted


def pairs(wanted: argparse.Namespace) -> Iterator[tuple[Workload, str]]:
    """Workloads and targets in turn.

    Raises:
        SystemExit: a workload is not offered to the target that was asked for.
    """
    for name in wanted.workloads or BY_NAME:
        workload = BY_NAME[name]
        targets = [each for each in TARGETS if each in workload.rates]
        if wanted.target:
            if wanted.workloads and wanted.target not in targets:
                raise SystemExit(f"{name} is for {', '.join(targets)} only")
            targets = [each for each in targets if each == wanted.target]
        yield from ((workload, target) for target in targets)


def options_of(
    workload: Workload, target: str, wanted: argparse.Namespace, seed: int, product: Product
) -> Options:
    """What was asked for, or what the table says."""

    def chosen(asked: float | None, usual: float) -> float:
        return usual if asked is None else asked

    return Options(
        target=target,
        rate=chosen(wanted.rate, workload.rates[target]),
        seconds=chosen(wanted.seconds, workload.seconds),
        warm_up_s=chosen(wanted.warm_up, workload.warm_up(target)),
        seed=seed,
        stored=workload.stored if wanted.stored is None else wanted.stored,
        dev=tuple(wanted.dev_option),
        product=product,
    )


def repeated(
    console: Console, workload: Workload, target: str, wanted: argparse.Namespace
) -> list[Result]:
    """All repetitions of one workload on one target."""
    repeat = wanted.repeat or (workload.repeat if target == "dev" else 1)
    product = Product(python=wanted.python)
    results: list[Result] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, refresh_per_second=2) as progress:
        line = progress.add_task(workload.name)
        for seed in range(1, repeat + 1):
            prefix = f"{target}: {workload.name} {seed}/{repeat}"

            def say(text: str, prefix: str = prefix) -> None:
                progress.update(line, description=f"{prefix}: {text}")
                if not console.is_terminal:
                    console.print(f"{time.strftime('%H:%M:%S')} {prefix}: {text}")

            options = options_of(workload, target, wanted, seed, product)
            results.append(asyncio.run(run(workload, options, say)))
    return results


def tell_broken(console: Console, results: list[Result]) -> int:
    """Say what must never happen and did; how much of it."""
    found = [
        f"{name}: {len(each)} ({'; '.join(each[:3])} ...)"
        for result in results
        for name, each in result.faults.items()
        if each
    ]
    for words in found:
        console.print(f"[bold red]{words}[/]")
    return len(found)


def command_of(workload: Workload, target: str) -> str:
    """The command as a reader would type it."""
    words = [each for each in sys.argv[1:] if each not in (*BY_NAME, *TARGETS, "--target")]
    return " ".join(["python tests/bench/run.py", workload.name, "--target", target, *words])


def main() -> int:
    """See the module."""
    wanted = arguments()
    docs = ROOT / "docs"
    if wanted.page:
        write_page(docs, read_book())
        return 0
    take_own()
    console = Console(width=110) if not Console().is_terminal else Console()
    broken = 0
    for workload, target in pairs(wanted):
        facts = facts_of(Product(python=wanted.python))
        results = repeated(console, workload, target, wanted)
        entry = entry_of(target, workload.name, results, facts, command_of(workload, target))
        console.print(terminal_table(entry))
        broken += tell_broken(console, results)
        if not wanted.no_write:
            keep(entry)
            write_page(docs, read_book())
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
