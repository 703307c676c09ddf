"""What it costs the engine to choose who goes next from a backlog: CPU per start, in-process.

    python -m tests.bench.dispatching [TASKS ...]

The real engine over executors in virtual time, so everything but waiting is counted: claims,
starts, results. The store says yes at once and costs nothing.
"""

from __future__ import annotations

import gc
import sys
import time

from tests.support.crowd import Crowd, Kind, Worker

SLOTS = 100
STARTS = 10_000
SIZES = (1_000, 10_000, 100_000)


def us_per_start(backlog: int) -> float:
    """CPU microseconds per start with so many tasks waiting, one in ten of them a retry later."""
    kinds = [Kind(fails=1 if number % 10 == 0 else 0) for number in range(10)]
    stored = [(kinds[number % 10], -number % 1_000 - 1_000) for number in range(backlog)]
    crowd = Crowd(Worker("x1", slots=SLOTS, spread=0.2), stored=stored)
    crowd.connect()
    gc.collect()
    gc.freeze()
    begun, before = len(crowd.starts), time.process_time()
    while len(crowd.starts) - begun < min(STARTS, backlog - SLOTS):
        crowd.step(50)
    spent_s = time.process_time() - before
    gc.unfreeze()
    return spent_s * 1_000_000 / (len(crowd.starts) - begun)


def main() -> None:
    """Print a line for each size of the backlog."""
    for backlog in [int(text) for text in sys.argv[1:]] or SIZES:
        print(f"backlog {backlog:>7,}: {us_per_start(backlog):6.0f} us of CPU per start")


if __name__ == "__main__":
    main()
