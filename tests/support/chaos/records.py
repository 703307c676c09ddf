"""The records of a campaign, read back: acknowledgements, starts, the sink, journals, logs.

All of them were written by somebody else; nothing here judges.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.support.chaos.helpers import Tail
from tests.support.chaos.wired import EXECUTORS, SINK
from tests.support.servers.addresses import parse
from tests.support.servers.cassandra_nodes import REFUSALS, session
from tests.support.start_logs import SUFFIX, Start, start_of
from timeball_server.core.ids import TaskId, home_of

PAGE_ROWS: Final = 1_000
READS_AT_ONCE: Final = 4
TRIES: Final = 10
Place = tuple[int, int, int]
"""Minute, shard and part of a bucket."""
_LOST_SESSION: Final = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+Z?).*the membership is lost")
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


class Ack(NamedTuple):
    """A task that the service promised to run. `via`: a coordinator's address, or "unary"."""

    task_id: str
    number: int
    due_ms: int
    once: bool
    via: str
    asked_ms: int
    acked_ms: int
    resends: int


class Event(NamedTuple):
    """A row of a journal, as the store has it."""

    task_id: str
    epoch: int
    seq: int
    kind: str
    state: str
    attempt: int
    executor: str | None
    incarnation: int
    at_ms: int


FINAL: Final = frozenset({"SUCCEEDED", "DEAD", "CANCELLED", "TERMINATED", "LOST"})
"""States in which a journal is at its end."""
CLAIMED: Final = frozenset({"CLAIMED", "BORN_CLAIMED"})
"""Events that give an attempt to an executor."""
COLUMNS: Final = ", ".join(Event._fields)


def head_of(events: Iterable[Event]) -> Event | None:
    """The last of some events of one task."""
    return max(events, key=lambda event: (event.epoch, event.seq), default=None)


@dataclass(frozen=True, slots=True)
class SessionLoss:
    """An executor said that its membership was lost, so its runs were given up."""

    executor: str
    at_ms: int


@dataclass(slots=True)
class Evidence:
    """Everything about the tasks of some rounds."""

    acks: list[Ack] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    starts: dict[str, list[Start]] = field(default_factory=dict)
    sunk: Counter[tuple[str, int]] = field(default_factory=Counter)
    numbers: dict[int, set[str]] = field(default_factory=dict)
    journals: dict[str, list[Event]] = field(default_factory=dict)
    losses: list[SessionLoss] = field(default_factory=list)


class Recorder:
    """Gathers what was written since the last evidence, and what was known of the same before.

    Args:
        folder: of the cluster.
        cassandra: host:port of the store.
    """

    def __init__(self, folder: Path, cassandra: str) -> None:
        self._cassandra = cassandra
        self._acks = Tail(folder / "acks.txt")
        self._refused = Tail(folder / "refused.txt")
        self._sink = Tail(folder / SINK)
        self._starts = {name: Tail(folder / f"{name}{SUFFIX}") for name in EXECUTORS}
        self._logs = {name: Tail(folder / "logs" / f"{name}.log") for name in EXECUTORS}
        self._started: dict[str, list[Start]] = defaultdict(list)
        self._sunk: Counter[tuple[str, int]] = Counter()
        self._tasks_of: dict[int, set[str]] = defaultdict(set)

    def read_files(self, evidence: Evidence) -> None:
        """Add what is new in the files; of what had lines before, those too."""
        evidence.acks += map(ack_of, self._acks.lines())
        evidence.refused += self._refused.lines()
        for name, tail in self._starts.items():
            for line in tail.lines():
                start = start_of(line, name)
                self._started[start.task_id].append(start)
                evidence.starts[start.task_id] = self._started[start.task_id]
        for line in self._sink.lines():
            task_id, attempt, number = line.split()
            self._sunk[task_id, int(attempt)] += 1
            evidence.sunk[task_id, int(attempt)] = self._sunk[task_id, int(attempt)]
            self._tasks_of[int(number)].add(task_id)
            evidence.numbers[int(number)] = self._tasks_of[int(number)]
        for name, tail in self._logs.items():
            evidence.losses += losses_in(tail.lines(), name)

    def read_journals(self, evidence: Evidence, task_ids: Iterable[str]) -> None:
        """Add all events of these tasks' home buckets, straight from the store."""
        buckets = {home_of(TaskId(task_id)) for task_id in task_ids}
        places: list[Place] = [
            (bucket.minute, bucket.shard, bucket.part) for bucket in sorted(buckets)
        ]
        with session(*parse(self._cassandra), request_timeout_s=60.0) as driver:
            driver.default_fetch_size = PAGE_ROWS
            text = f"SELECT {COLUMNS} FROM timeball.journal"
            query = driver.prepare(f"{text} WHERE minute = ? AND shard = ? AND part = ?")
            for tries in range(TRIES):
                places = _read_places(driver, query, places, evidence.journals)
                if not places:
                    return
                print(f"{len(places)} buckets were not read in time, try {tries + 1}", flush=True)
            raise AssertionError(f"the store does not answer for {places[:3]}")


def _read_places(
    driver: Any, query: Any, places: Sequence[Place], found: dict[str, list[Event]]
) -> list[Place]:
    """Read buckets; those that a busy store did not give in time are left."""
    left: list[Place] = []
    for start in range(0, len(places), READS_AT_ONCE):
        some = places[start : start + READS_AT_ONCE]
        answers = [(place, driver.execute_async(query, place)) for place in some]
        for place, answer in answers:
            try:
                _add(found, answer.result())
            except REFUSALS:
                left.append(place)
    return left


def _add(journals: dict[str, list[Event]], rows: Iterable[Any]) -> None:
    """Newest event first, as the store gives them; a task read again is read anew."""
    last = ""
    for row in rows:
        event = Event._make(row)
        if event.task_id != last:
            last = event.task_id
            journals[last] = []
        journals[last].append(event)


def ack_of(line: str) -> Ack:
    """A line of acks.txt."""
    task_id, number, due_ms, once, via, asked_ms, acked_ms, resends = line.split()
    return Ack(
        task_id=task_id,
        number=int(number),
        due_ms=int(due_ms),
        once=once == "1",
        via=via,
        asked_ms=int(asked_ms),
        acked_ms=int(acked_ms),
        resends=int(resends),
    )


def losses_in(lines: Sequence[str], executor: str) -> list[SessionLoss]:
    """When the executor said that it had lost its membership."""
    found = []
    for line in lines:
        match = _LOST_SESSION.search(_COLOURS.sub("", line))
        if match is not None:
            at = datetime.fromisoformat(match.group(1))
            found.append(SessionLoss(executor, round(at.timestamp() * 1_000)))
    return found
