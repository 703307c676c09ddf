"""`python -m tests.support.chaos.goodput`: is a long outage of the database over when it is over?

Cassandra stands still for a minute under a steady load of single creations. Counted are the calls
that coordinators have ended, repetitions included, by their metrics, and what callers were told.
Afterwards nearly everything asked must be answered again within `--within` seconds; from the first
second of the outage until the last call that met it is over coordinators may have seen 1.3 times
what was asked; and what was acknowledged has started once.
Prints a line of JSON; the exit code is 1 when it says no.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import timeball
from timeball import errors

from tests.support.chaos import tasks
from tests.support.chaos.arena import Arena, arena
from tests.support.chaos.faults import whole
from tests.support.chaos.wired import COORDINATORS
from tests.support.polls import eventually, moment, mono_s
from tests.support.start_logs import all_starts

WINDOW_S: Final = 10
WELL: Final = 0.95
MOST_OFFERED: Final = 1.3
WARM_S: Final = 30
DEADLINE_S: Final = 15
"""Of a call with all its repetitions, unless said otherwise."""
SETTLE_S: Final = 90.0
CALLS: Final = re.compile(r'^timeball_calls_total\{.*CreateTask".*\} ([0-9.e+]+)$', re.MULTILINE)


@dataclass(slots=True)
class Book:
    """What was asked, answered and refused, by the second in which it was asked or told."""

    asked: Counter[int] = field(default_factory=Counter)
    answered: Counter[int] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    offered: dict[int, float] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)


class Callers:
    """Single creations, so many a second, whatever becomes of them."""

    def __init__(self, client: timeball.AsyncClient, rate: float) -> None:
        self.book = Book()
        self._client, self._rate = client, rate
        self._calls: set[asyncio.Task[None]] = set()
        self._begun_s = mono_s()

    def second(self) -> int:
        """Since the beginning."""
        return int(mono_s() - self._begun_s)

    async def run(self, seconds: float) -> None:
        """Ask for so long, then wait for the answers."""
        number = 0
        while (passed_s := mono_s() - self._begun_s) < seconds:
            while number < passed_s * self._rate:
                call = asyncio.create_task(self._create(number))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
                number += 1
            await moment(0.01)
        await asyncio.gather(*self._calls)

    async def _create(self, number: int) -> None:
        self.book.asked[self.second()] += 1
        try:
            made = await self._client.submit(tasks.work.options(delay="1s").prepare(number))
        except errors.TimeballError as error:
            self.book.refused[error.reason] += 1
            return
        self.book.answered[self.second()] += 1
        self.book.ids.add(made.id)


async def _watch(place: Arena, callers: Callers) -> None:
    """Note how many calls the coordinators have ended, every second or so."""
    pages = [place.cluster.pages[name]["metrics"] for name in COORDINATORS]
    while True:
        read = [await asyncio.to_thread(_ended, page) for page in pages]
        callers.book.offered[callers.second()] = sum(read)
        await moment(1.0)


def _ended(page: str) -> float:
    with urllib.request.urlopen(page, timeout=5) as answer:
        return sum(float(number) for number in CALLS.findall(answer.read().decode()))


async def play(place: Arena, rate: float, outage_s: float, after_s: float) -> dict[str, Any]:
    """Load, outage, load; then what came of it."""
    async with timeball.AsyncClient(place.address) as client:
        await whole(place.cluster, client)
        callers = Callers(client, rate)
        asking = asyncio.create_task(callers.run(WARM_S + outage_s + after_s))
        watching = asyncio.create_task(_watch(place, callers))
        await moment(WARM_S)
        (node,) = place.cassandra.nodes
        print(f"{node.name} stands still for {outage_s:g} s ...", flush=True)
        node.freeze()
        from_s = callers.second()
        await moment(outage_s)
        node.thaw()
        until_s = callers.second()
        await asking
        watching.cancel()
    again = await _started_again(place, callers.book.ids)
    return told(callers.book, rate, from_s, until_s, again)


def told(book: Book, rate: float, from_s: int, until_s: int, again: int) -> dict[str, Any]:
    """The figures, and whether they are what was promised."""
    last_s = max(book.asked)
    over_s = until_s + DEADLINE_S
    offered = book.offered[_first(book, over_s)] - book.offered[_first(book, from_s)]
    asked = sum(book.asked[second] for second in range(from_s, over_s))
    well = [
        second
        for second in range(until_s, last_s - WINDOW_S)
        if sum(book.answered[second + each] for each in range(WINDOW_S)) >= WELL * rate * WINDOW_S
    ]
    return {
        "rate": rate,
        "outage_s": until_s - from_s,
        "asked": sum(book.asked.values()),
        "answered": len(book.ids),
        "refused": dict(book.refused),
        "answered_in_outage": sum(book.answered[each] for each in range(from_s + 1, until_s)),
        "offered": round(offered / asked, 2),
        "well_again_after_s": min(well) - until_s if well else None,
        "started_again": again,
        "answered_by_second": [book.answered[each] for each in range(last_s + 1)],
    }


def _first(book: Book, second: int) -> int:
    """The first look at the coordinators' figures from then on."""
    return min(at for at in book.offered if at >= second)


async def _started_again(place: Arena, ids: set[str]) -> int:
    """How many started more than once, when all that was acknowledged has started."""
    folder = place.cluster.places.folder

    async def look() -> bool:
        return ids <= {start.task_id for start in all_starts(folder)}

    await eventually(look, "all that was acknowledged has started", SETTLE_S)
    starts = Counter(start.task_id for start in all_starts(folder))
    return sum(starts[task_id] > 1 for task_id in ids)


def held(figures: dict[str, Any], within_s: float) -> bool:
    """Whether the promise was kept."""
    well_s = figures["well_again_after_s"]
    fast = well_s is not None and well_s <= within_s
    return fast and figures["offered"] <= MOST_OFFERED and not figures["started_again"]


def main() -> int:
    """Play once and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=100.0, help="creations a second")
    parser.add_argument("--outage", type=float, default=60.0, help="seconds")
    parser.add_argument("--within", type=float, default=30.0, help="seconds to be well again")
    parser.add_argument("--keep", type=Path, help="append the line to this file")
    parsed = parser.parse_args()
    after_s = parsed.within + 2 * WINDOW_S
    with (
        tempfile.TemporaryDirectory(prefix="timeball-goodput-") as folder,
        arena(Path(folder) / "cluster") as place,
    ):
        figures = asyncio.run(play(place, parsed.rate, parsed.outage, after_s))
    line = json.dumps(figures)
    print(line, flush=True)
    if parsed.keep is not None:
        with parsed.keep.open("a") as kept:
            kept.write(f"{line}\n")
    return 0 if held(figures, parsed.within) else 1


if __name__ == "__main__":
    sys.exit(main())
