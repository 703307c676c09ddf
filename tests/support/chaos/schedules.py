"""Schedules of every kind on a cluster that is broken meanwhile; then each one is audited.

    python -m tests.support.chaos.schedules --schedules 48 --seed 1 --keep rounds.jsonl

48 schedules fire every second to every minute, with every overlap rule, while users edit, pause,
resume and trigger them and the faults are played, one after the other. At the end nothing is
launched any more, everything has ended, and `timeball schedule audit` is asked about each one.
The runs are judged by the ledger, the executors' start logs and the sink.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import timeball
from timeball.v1 import schedule_service_pb2 as pb

from tests.support.chaos import faults, outages, witness
from tests.support.chaos.arena import NEEDS_LITTLE, Arena, arena
from tests.support.chaos.calendar_load import CalendarLoad, Done
from tests.support.chaos.faults import Hit, whole
from tests.support.chaos.helpers import Complaints, Tail
from tests.support.chaos.load import Load
from tests.support.chaos.outages import Scene
from tests.support.chaos.records import losses_in
from tests.support.chaos.runs import Runs, judge_runs
from tests.support.chaos.wired import EXECUTORS, SCHEDULERS
from tests.support.polls import moment, wall_ms
from tests.support.start_logs import all_starts
from timeball_server.core.retention import HOUR_MS

BEFORE_S: Final = 4.0
AFTER_S: Final = 10.0
GONE_S: Final = 20.0
AUDIT_TRIES: Final = 3
AUDITS_AT_ONCE: Final = 3
READS_AT_ONCE: Final = 4
EVERYTHING: Final = 10_000_000


async def _process(scene: Scene, fault: str) -> Hit:
    return await faults.hit(fault, scene.arena.cluster, scene.client, scene.random)


async def _all_gone(scene: Scene, fault: str) -> Hit:
    """No scheduler node is there for a while: what passes meanwhile is missed."""
    over = await faults.noted(fault, ", ".join(SCHEDULERS), scene.client, scene.random)
    cluster = scene.arena.cluster
    for name in SCHEDULERS:
        await asyncio.to_thread(cluster.kill, name)
    await moment(GONE_S)
    for name in SCHEDULERS:
        await asyncio.to_thread(cluster.restart, name)
    return over(GONE_S)


async def _all_set(scene: Scene, fault: str) -> Hit:
    """The clocks of all scheduler nodes are an hour wrong for a while."""
    ahead_ms = HOUR_MS if fault.endswith("ahead") else -HOUR_MS
    return await outages.set_clocks(scene, fault, SCHEDULERS, ahead_ms)


PLAYED: Final[dict[str, Callable[[Scene, str], Awaitable[Hit]]]] = {
    "kill-scheduler": _process,
    "freeze-scheduler": _process,
    "all-schedulers-gone": _all_gone,
    "kill-executor": _process,
    "store-paused": outages.pause_store,
    "expire-scheduler": outages.expire,
    "kill-coordinator": _process,
    "drain-scheduler": _process,
    "clocks-hour-ahead": _all_set,
    "clocks-hour-back": _all_set,
}
USUAL: Final = tuple(PLAYED)[:5]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What `timeball schedule audit` says of one schedule."""

    name: str
    nominal_times: int
    unexplained: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All of it in figures. Everything in `problems` is a broken promise."""

    faults: tuple[str, ...]
    schedules: int
    edits: int
    pauses: int
    triggers: int
    repeats: int
    versions: int
    nominal_times: int
    unexplained: int
    verdicts: dict[str, int]
    runs: int
    started_again_with_cause: int
    started_again_without_cause: int
    problems: tuple[str, ...]


async def play(place: Arena, names: tuple[str, ...], count: int, random: Random) -> Verdict:
    """Schedules, users and faults, then the judgement."""
    complaints = Complaints(place.cluster.places.logs)
    logs = {name: Tail(place.cluster.places.logs / f"{name}.log") for name in EXECUTORS}
    async with timeball.AsyncClient(place.address) as client:
        await whole(place.cluster, client)
        calendar = CalendarLoad(client, count, random)
        await calendar.create()
        users = asyncio.create_task(calendar.run())
        # Faults want somebody to tell of poison and crowds; nobody is told here.
        scene = Scene(arena=place, client=client, load=Load(client, 1.0), random=random)
        hits = [await _strike(scene, name) for name in names]
        calendar.stop()
        await users
        await asyncio.to_thread(place.heal)
        await whole(place.cluster, client)
        await calendar.resume_all()
        await moment(AFTER_S)
        await calendar.pause_all()
        losses = [loss for name, tail in logs.items() for loss in losses_in(tail.lines(), name)]
        last_ms = wall_ms()
        gave_up = [(loss.executor, hits[0].at_ms, loss.at_ms) for loss in losses]
        gave_up += [each for hit in hits for each in hit.abandoned]
        ahead_ms = max(hit.ahead_ms for hit in hits)
        ledgers = await _ledgers(client, calendar.names, last_ms + ahead_ms)
        runs = await _runs(client, place, ledgers, calendar.done, gave_up, ahead_ms)
    print(f"read after {wall_ms() - last_ms} ms", flush=True)
    audits = await asyncio.to_thread(_audited, place.address, calendar.names)
    return _verdict(names, calendar.done, ledgers, audits, runs, complaints.new())


async def _strike(scene: Scene, name: str) -> Hit:
    """One fault, and what is around it."""
    await moment(BEFORE_S)
    print(f"{name} ...", flush=True)
    hit = await PLAYED[name](scene, name)
    print(f"{name}: {hit.victim}, away {hit.away_s} s", flush=True)
    await moment(AFTER_S)
    return hit


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the API says of one schedule."""

    rows: tuple[pb.Occurrence, ...]
    versions: int


async def _ledgers(
    client: timeball.AsyncClient, names: tuple[str, ...], until_ms: int
) -> dict[str, Ledger]:
    """All verdicts, those of an owner whose clock was ahead as well."""
    end = datetime.fromtimestamp(until_ms / 1_000, UTC)
    gate = asyncio.Semaphore(READS_AT_ONCE)

    async def read(name: str) -> Ledger:
        async with gate:
            rows = await client.schedules.occurrences(name, end=end, limit=EVERYTHING)
            return Ledger(tuple(rows), len(await client.schedules.versions(name)))

    found = await asyncio.gather(*(read(name) for name in names))
    return dict(zip(names, found, strict=True))


async def _runs(
    client: timeball.AsyncClient,
    place: Arena,
    ledgers: dict[str, Ledger],
    done: Done,
    gave_up: list[tuple[str, int, int]],
    ahead_ms: int,
) -> Runs:
    """What became of every run that the ledger names, or that somebody triggered."""
    named: dict[str, list[int]] = defaultdict(list)
    for ledger in ledgers.values():
        for row in ledger.rows:
            if row.task:
                nominal_ms = row.nominal_time.ToMilliseconds()
                named[row.task.rpartition("/")[2]].append(nominal_ms)
    ended = await witness.endings(client, {*named, *done.by_hand})
    starts = all_starts(place.cluster.places.folder)
    sink = witness.sunk(place.sink)
    read_ms = wall_ms() if ahead_ms else None
    return judge_runs(dict(named), done.by_hand, ended, starts, sink, gave_up, ahead_ms, read_ms)


def _audited(address: str, names: tuple[str, ...]) -> list[Told]:
    """Ask the command, as a user does."""

    def ask(name: str) -> Told:
        command = [sys.executable, "-m", "timeball.cli", "--address", address]
        command += ["schedule", "audit", name, "-o", "json"]
        for _ in range(AUDIT_TRIES):  # on a full machine nobody may answer in time
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.stdout:
                break
        else:
            return Told(name=name, nominal_times=0, unexplained=1, words=done.stderr[-500:])
        told: dict[str, Any] = json.loads(done.stdout)
        words = json.dumps(told["first"][:3])
        count = told["unexplained"]
        return Told(name=name, nominal_times=told["nominalTimes"], unexplained=count, words=words)

    with ThreadPoolExecutor(AUDITS_AT_ONCE) as pool:
        return list(pool.map(ask, names))


def _verdict(
    names: tuple[str, ...],
    done: Done,
    ledgers: dict[str, Ledger],
    audits: list[Told],
    runs: Runs,
    complaints: list[str],
) -> Verdict:
    verdicts: Counter[str] = Counter()
    for ledger in ledgers.values():
        for row in ledger.rows:
            verdicts[pb.Verdict.Name(row.verdict).removeprefix("VERDICT_")] += row.times
    bad = [f"{each.name}: {each.words}" for each in audits if each.unexplained]
    return Verdict(
        faults=names,
        schedules=len(ledgers),
        edits=done.edits,
        pauses=done.pauses,
        triggers=done.triggers,
        repeats=done.repeats,
        versions=sum(ledger.versions for ledger in ledgers.values()),
        nominal_times=sum(each.nominal_times for each in audits),
        unexplained=sum(each.unexplained for each in audits),
        verdicts=dict(verdicts),
        runs=runs.count,
        started_again_with_cause=runs.with_cause,
        started_again_without_cause=runs.without_cause,
        problems=(*bad, *runs.problems, *complaints),
    )


def main() -> int:
    """Play, print, keep; the exit code is 1 when a promise was broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--schedules", type=int, default=48)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep everything there; it must not exist")
    parser.add_argument("--keep", type=Path, help="append a JSON line to this file")
    parser.add_argument("faults", nargs="*", metavar="FAULT",
                        help=", ".join(PLAYED))  # fmt: skip
    parsed = parser.parse_args()
    if unknown := [name for name in parsed.faults if name not in PLAYED]:
        parser.error(f"no fault {', '.join(unknown)}; there are: {', '.join(PLAYED)}")
    with tempfile.TemporaryDirectory(prefix="timeball-schedules-") as folder:
        root = parsed.folder or Path(folder) / "cluster"
        with arena(root, NEEDS_LITTLE) as place:
            played = play(
                place, tuple(parsed.faults) or USUAL, parsed.schedules, Random(parsed.seed)
            )
            verdict = asyncio.run(played)
    for name, value in asdict(verdict).items():
        print(f"{name}: {value}")
    if parsed.keep is not None:
        with parsed.keep.open("a") as kept:
            kept.write(json.dumps(asdict(verdict)) + "\n")
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
