"""What limits cost the engine: CPU per start with keys, rates and shares, in-process.

    python -m tests.bench.limits [BACKLOG]

The real engine over executors in virtual time, as in tests/bench/dispatching.py; each case in turns
with the plain one, so that a busy machine slows both.
"""

from __future__ import annotations

import gc
import sys
import time
from statistics import median

from tests.support.crowd import Crowd, Kind, Worker
from timeball_server.core.engine import events as ev
from timeball_server.core.limit_rules import LimitKind, LimitRule, Rate

SLOTS = 100
STARTS = 3_000
TURNS = 3
BACKLOG = 10_000
RULES = (
    LimitRule(namespace="shop", kind=LimitKind.KEY, pattern="wide", concurrency=SLOTS),
    LimitRule(namespace="shop", kind=LimitKind.KEY, pattern="full", concurrency=SLOTS // 2),
    LimitRule(
        namespace="shop",
        kind=LimitKind.HANDLER,
        pattern="report",
        rate=Rate(starts=1_000_000, per_ms=1_000, burst=1_000_000),
    ),
    LimitRule(namespace="bank", kind=LimitKind.NAMESPACE, weight=3),
)
CASES = {
    "no limits": [Kind()],
    "1,000 keys, one place each": [Kind(concurrency_key=f"k{n}") for n in range(1_000)],
    "one key, a place for each slot": [Kind(concurrency_key="wide")],
    "one key, half as many places": [Kind(concurrency_key="full")],
    "a rate of the handler": [Kind(handler="report")],
    "two namespaces, weights 1 and 3": [Kind(), Kind(namespace="bank")],
    "100 namespaces": [Kind(namespace=f"n{n}") for n in range(100)],
}


def us_per_start(kinds: list[Kind], backlog: int) -> float:
    """CPU microseconds per start."""
    stored = [(kinds[number % len(kinds)], -number % 1_000 - 1_000) for number in range(backlog)]
    worker = Worker("x1", slots=SLOTS, spread=0.2, handlers=("charge", "report"))
    crowd = Crowd(worker, stored=stored)
    crowd.feed(ev.LimitsSet(RULES, 1))
    crowd.connect()
    crowd.step(2_000)
    gc.collect()
    gc.freeze()
    begun, before = len(crowd.starts), time.process_time()
    while len(crowd.starts) - begun < STARTS:
        crowd.step(50)
    spent_s = time.process_time() - before
    gc.unfreeze()
    return spent_s * 1_000_000 / (len(crowd.starts) - begun)


def main() -> None:
    """Print a line for each case: the median of its turns, and what that is more than plain."""
    backlog = int(sys.argv[1]) if len(sys.argv) > 1 else BACKLOG
    spent: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(TURNS):
        for name, kinds in CASES.items():
            spent[name].append(us_per_start(kinds, backlog))
    plain = median(spent["no limits"])
    for name, each in spent.items():
        us = median(each)
        print(f"{name:<34} {us:6.0f} us of CPU per start  {us / plain - 1:+6.1%}")


if __name__ == "__main__":
    main()
