"""`python -m tests.bench.moves`: planned moves on a whole cluster under load, seen from outside.

Fills the past first, so that a new owner has minutes to read. Then a scheduler node is drained and
started again, some times over. Each moved shard has a gap, from the order to let go to the next
owner's first answer, by the nodes' own logs; and tasks that were due around it, by the executors'
start logs. Tasks of other shards that were due in the same moments are the control: what they
are late, the machine is late.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import os
import random
import re
import signal
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import timeball
from timeball import _requests
from timeball.errors import TimeballError

from tests.bench.apps import work
from tests.bench.judging import percentile
from tests.bench.targets import APPS
from tests.support.chaos.faults import whole
from tests.support.start_logs import all_starts
from timeball_server.core.ids import TaskId, home_of
from tools.local_cluster import LocalCluster, Places, coordinators

AHEAD_S = (0.1, 3.0)
"""Tasks are due so long after they were asked for."""
AROUND_MS = (-200, 800)
"""Tasks due from so long before a gap's begin to so long after its end are counted with it."""
LINE = re.compile(r"^(\S+Z) .*?(shard let go|shard taken) .*?\bshard=(\d+)")
TOOK = re.compile(r"\btook_ms=(\d+)|quiet for (\d+) ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One shard's change of hands, in milliseconds since 1970."""

    shard: int
    let_go_ms: float
    quiet_ms: float
    begun_ms: float
    taken_ms: float

    @property
    def gap_ms(self) -> float:
        """How long nobody served it."""
        return self.taken_ms - self.let_go_ms


@dataclass(slots=True)
class Load:
    """An open loop of single creates through the SDK."""

    client: timeball.AsyncClient
    rate: float
    rng: random.Random
    due_ms: dict[str, float] = field(default_factory=dict)
    create_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    going: bool = True

    async def run(self) -> None:
        """Create until told to stop, whatever the answers do."""
        began_s, number = time.perf_counter(), 0
        async with asyncio.TaskGroup() as group:
            while self.going:
                while number < (time.perf_counter() - began_s) * self.rate:
                    group.create_task(self._create(number))
                    number += 1
                await asyncio.sleep(0.01)

    async def _create(self, number: int) -> None:
        sent = time.time()
        due = datetime.fromtimestamp(sent, UTC) + timedelta(seconds=self.rng.uniform(*AHEAD_S))
        submission = work.options(run_at=due).prepare(number)
        try:
            made = await self.client.create(_requests.task_of(submission))
        except TimeballError as error:
            self.errors.append(repr(error))
            return
        self.due_ms[made.name.rpartition("/")[2]] = due.timestamp() * 1e3
        self.create_ms.append((time.time() - sent) * 1e3)


def moves_in(folder: Path, since_ms: float) -> list[Move]:
    """Every shard that was let go and taken since then, by the scheduler nodes' logs."""
    let_go: dict[int, float] = {}
    quiet: dict[int, float] = {}
    found: list[Move] = []
    for at_ms, what, shard, took_ms in sorted(_lines(folder)):
        if at_ms < since_ms:
            continue
        if what == "shard let go":
            let_go[shard], quiet[shard] = at_ms - took_ms, at_ms
        elif shard in let_go:
            found.append(
                Move(
                    shard=shard,
                    let_go_ms=let_go.pop(shard),
                    quiet_ms=quiet.pop(shard),
                    begun_ms=at_ms - took_ms,
                    taken_ms=at_ms,
                )
            )
    return found


def _lines(folder: Path) -> Iterable[tuple[float, str, int, int]]:
    for path in folder.glob("scheduler-*.log"):
        for line in path.read_text(errors="replace").splitlines():
            match = LINE.match(line)
            if match:
                at, took = datetime.fromisoformat(match[1]), TOOK.search(line)
                took_ms = int(took[1] or took[2]) if took else 0
                yield at.timestamp() * 1e3, match[2], int(match[3]), took_ms


def first_starts(folder: Path) -> dict[str, float]:
    """When each task began for the first time."""
    found: dict[str, float] = {}
    for start in all_starts(folder):
        at_ms = float(start.started_ms)
        found[start.task_id] = min(at_ms, found.get(start.task_id, at_ms))
    return found


def lateness(
    moves: Sequence[Move], due_ms: dict[str, float], started_ms: dict[str, float]
) -> tuple[list[float], list[float]]:
    """How late tasks of moved shards were around their gaps, and tasks of others then."""
    moved: list[float] = []
    control: list[float] = []
    for task, due in due_ms.items():
        shard = home_of(TaskId(task)).shard
        near = [each for each in moves if _is_near(each, due)]
        if near and task in started_ms:
            late = started_ms[task] - due
            (moved if any(each.shard == shard for each in near) else control).append(late)
    return moved, control


def _is_near(move: Move, due_ms: float) -> bool:
    return move.let_go_ms + AROUND_MS[0] <= due_ms <= move.taken_ms + AROUND_MS[1]


async def play(parsed: argparse.Namespace, cluster: LocalCluster) -> dict[str, object]:
    """Fill the past, then drain and restart; what came of it."""
    async with timeball.AsyncClient(coordinators(cluster.addresses)) as client:
        await whole(cluster, client)
        load = Load(client, parsed.rate, random.Random(parsed.seed))
        loading = asyncio.create_task(load.run())
        await asyncio.sleep(parsed.history)
        began_ms, drains = time.time() * 1e3, []
        for number in range(parsed.rounds):
            victim = f"scheduler-{number % 2 + 1}"
            began_s = time.perf_counter()
            cluster.send(victim, signal.SIGTERM)
            code = await asyncio.to_thread(cluster.wait, victim)
            drains.append(round(time.perf_counter() - began_s, 2))
            assert code == 0, f"{victim} ended with {code}"
            await asyncio.sleep(5.0)
            await asyncio.to_thread(cluster.restart, victim)
            await whole(cluster, client)
            await asyncio.sleep(8.0)
        load.going = False
        await loading
        await asyncio.sleep(AHEAD_S[1] + 5.0)
    moves = moves_in(cluster.places.logs, began_ms)
    return summary(load, moves, first_starts(cluster.places.folder), began_ms, drains)


def summary(
    load: Load,
    moves: Sequence[Move],
    started: dict[str, float],
    began_ms: float,
    drains: list[float],
) -> dict[str, object]:
    """All figures of a run, in milliseconds unless the name says otherwise."""
    moved, control = lateness(moves, load.due_ms, started)
    gaps = sorted(each.gap_ms for each in moves)
    before = [started[t] - due for t, due in load.due_ms.items() if t in started and due < began_ms]
    return {
        "moves": len(moves),
        "gap median": round(statistics.median(gaps)) if gaps else None,
        "gap max": round(gaps[-1]) if gaps else None,
        "gap: falling quiet": _median(each.quiet_ms - each.let_go_ms for each in moves),
        "gap: release seen": _median(each.begun_ms - each.quiet_ms for each in moves),
        "gap: taking": _median(each.taken_ms - each.begun_ms for each in moves),
        "moved: tasks": len(moved),
        **_spread("moved: late", moved),
        "moved: over 200": sum(each > 200 for each in moved),
        "control: tasks": len(control),
        **_spread("control: late", control),
        "control: over 200": sum(each > 200 for each in control),
        **_spread("before: late", before),
        "create max": round(max(load.create_ms, default=0)),
        "acknowledged": len(load.due_ms),
        "never started": sum(task not in started for task in load.due_ms),
        "refused": len(load.errors),
        "drain s": drains,
        "load average": os.getloadavg()[0],
    }


def _median(values: Iterable[float]) -> int | None:
    found = list(values)
    return round(statistics.median(found)) if found else None


def _spread(name: str, values: Sequence[float]) -> dict[str, object]:
    at = {"p50": 0.5, "p99": 0.99, "max": 1.0} if values else {}
    return {f"{name} {word}": round(percentile(values, share)) for word, share in at.items()}


def main() -> int:
    """See the module; exit code 1 if an acknowledged task never began."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="tasks a second")
    parser.add_argument("--history", type=float, default=130.0, help="seconds before the first")
    parser.add_argument("--rounds", type=int, default=2, help="drains, each with a restart")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep logs there; it must not exist")
    parsed = parser.parse_args()
    with contextlib.ExitStack() as stack:
        kept = parsed.folder
        if kept is None:
            temporary = tempfile.TemporaryDirectory(prefix="timeball-moves-")
            kept = Path(stack.enter_context(temporary)) / "cluster"
        places = Places(kept)
        places.make()
        cluster = LocalCluster(places, [str(APPS)])
        with contextlib.redirect_stdout(io.StringIO()):
            stack.enter_context(cluster.running())
        found = asyncio.run(play(parsed, cluster))
    for name, value in found.items():
        print(f"{name:22} {value}")
    return 1 if found["never started"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
