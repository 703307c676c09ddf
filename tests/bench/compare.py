"""`make bench-compare BASE=<commit>`: two states of the code against each other, in turns.

    python tests/bench/compare.py HEAD~3 steady --target dev --pairs 4 --seconds 20

Both run on this machine, in one session, under this harness and this environment: base, here, base,
here. What the weather of the machine does to one it does to the other, so the ratios of pairs say
more than any figure. A ratio whose spread holds 1 in it has shown nothing; that all of five pairs
point one way by luck happens to one figure in sixteen.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.judging import Result, Spread
from tests.bench.measure import Options, run
from tests.bench.pages import number
from tests.bench.product import Product, unpacked
from tests.bench.run import tell_broken
from tests.bench.table import BY_NAME
from tests.bench.targets import TARGETS
from tests.support.loopback import take_own


def ratios(base: Sequence[Mapping[str, float]], here: Sequence[Mapping[str, float]]
) -> dict[str, Spread]:  # fmt: skip
    """Here divided by base, pair by pair, of each figure that all runs have and that is not 0."""
    names = [name for name in base[0] if all(name in each for each in (*base, *here))]
    found = {}
    for name in names:
        pairs = [(one[name], other[name]) for one, other in zip(base, here, strict=True)]
        if all(one for one, _ in pairs):
            found[name] = Spread.of([other / one for one, other in pairs])
    return found


def shows(spread: Spread) -> str:
    """What a ratio has shown: all pairs point one way, or nothing."""
    if spread.least > 1:
        return "more"
    return "less" if spread.most < 1 else ""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="a commit")
    parser.add_argument("workload", nargs="?", default="steady", choices=tuple(BY_NAME))
    parser.add_argument("--target", choices=tuple(TARGETS), default="dev")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--warm-up", type=float)
    parser.add_argument("--python", default=sys.executable)
    return parser.parse_args()


def measured(wanted: argparse.Namespace, product: Product, seed: int) -> Result:
    """One run of one of the two."""
    workload = BY_NAME[wanted.workload]
    if wanted.target not in workload.rates:
        raise SystemExit(f"{workload.name} is for {', '.join(workload.rates)} only")
    options = Options(
        target=wanted.target,
        rate=wanted.rate or workload.rates[wanted.target],
        seconds=min(wanted.seconds, workload.seconds),
        warm_up_s=workload.warm_up(wanted.target) if wanted.warm_up is None else wanted.warm_up,
        seed=seed,
        stored=workload.stored,
        product=product,
    )

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} pair {seed}, {product.name}: {text}", flush=True)

    return asyncio.run(run(workload, options, say))


def table(wanted: argparse.Namespace, base: Sequence[Result], here: Sequence[Result]) -> Table:
    """Medians of both and the spread of their ratios."""
    left, right = [each.figures for each in base], [each.figures for each in here]
    full = sum(each.saturated for each in (*base, *here))
    words = f", SATURATED in {full} of {2 * len(base)}" if full else ""
    luck = f"by luck, all pairs point one way in one figure of {2 ** (wanted.pairs - 1)}"
    title = f"{wanted.target}: {wanted.workload}, {wanted.pairs} pairs{words}"
    made = Table(title=title, caption=luck)
    for head in ("figure", wanted.base, "here", "ratio min", "median", "max", "all pairs"):
        made.add_column(head, justify="left" if head in ("figure", "all pairs") else "right")
    for name, spread in ratios(left, right).items():
        medians = (Spread.of([each[name] for each in some]).median for some in (left, right))
        thirds = (spread.least, spread.median, spread.most)
        made.add_row(
            name, *map(number, medians), *(f"{each:.2f}" for each in thirds), shows(spread)
        )
    return made


def main() -> int:
    """See the module; exit code 1 when either lost, doubled or answered wrongly."""
    wanted = arguments()
    take_own()
    base: list[Result] = []
    here: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="timeball-base-") as folder:
        former = unpacked(wanted.base, Path(folder), wanted.python)
        now = Product(python=wanted.python)
        for seed in range(1, wanted.pairs + 1):
            base.append(measured(wanted, former, seed))
            here.append(measured(wanted, now, seed))
    console = Console(width=130) if not Console().is_terminal else Console()
    console.print(table(wanted, base, here))
    return 1 if tell_broken(console, [*base, *here]) else 0


if __name__ == "__main__":
    raise SystemExit(main())
