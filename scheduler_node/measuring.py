"""What a scheduler node knows of its own speed: how late attempts started, and its sums.

Looks at what executors said before the engine takes it in, once per step; decides nothing and
changes nothing. A start is counted by the owner that first hears of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import accumulate
from math import ceil
from typing import Final

from scheduler_node.committer import Committer
from scheduler_node.line import CommandLine
from scheduler_node.recalling import PLACES, LastSeconds
from timeball_server.core.engine.counters import Counters
from timeball_server.core.engine.events import Event, ExecutorSaid
from timeball_server.core.engine.state import Engine, TaskState
from timeball_server.core.ids import ShardId
from timeball_server.core.messages import Finished, FromExecutor, RunId, Started
from timeball_server.ports.clock import Clock
from timeball_server.ports.metrics import Distribution, Family, Figures, Kind, counter, gauge
from timeball_server.ports.owners import LATENESS_BOUNDS_MS

SLOT_MS: Final = 5_000
SLOTS: Final = 12
"""The last minute, forgotten in pieces of SLOT_MS."""


def quantile_ms(counts: Sequence[int], share: float) -> int | None:
    """The bound that this share of the observations does not exceed; None without any.

    Rounded up to a bound; what lies above the last one is shown as the last one.
    """
    rank = ceil(share * sum(counts))
    if rank <= 0:
        return None
    position = bisect_left(list(accumulate(counts)), rank)
    return LATENESS_BOUNDS_MS[min(position, len(LATENESS_BOUNDS_MS) - 1)]


class LastMinute:
    """Lateness of one shard's starts in the last minute."""

    def __init__(self) -> None:
        self._slots: dict[int, list[int]] = {}

    def observe(self, place: int, now_ms: int) -> None:
        """Count a start in this place of the bounds."""
        slot = now_ms // SLOT_MS
        counts = self._slots.get(slot)
        if counts is None:
            self._slots = {old: kept for old, kept in self._slots.items() if old > slot - SLOTS}
            counts = self._slots[slot] = [0] * PLACES
        counts[place] += 1

    def counts(self, now_ms: int) -> list[int]:
        """How many starts fell into each place."""
        slot = now_ms // SLOT_MS
        recent = [counts for old, counts in self._slots.items() if slot - SLOTS < old <= slot]
        return [sum(places) for places in zip(*recent, strict=True)]


class Measures:
    """Lateness of this node's starts: all since it began, each shard's last minute, each second."""

    def __init__(self) -> None:
        self.seconds = LastSeconds()
        self.counts = [0] * PLACES
        self.total_ms = 0
        self._minutes: dict[ShardId, LastMinute] = {}

    def note(self, engine: Engine, happened: Iterable[Event], now_ms: int) -> None:
        """Count the starts that these events tell of; call before the engine takes them in."""
        self.seconds.turn(now_ms, engine.counters)
        seen: set[RunId] = set()
        for event in happened:
            if not isinstance(event, ExecutorSaid):
                continue
            executor = engine.executors.get(event.incarnation)
            if executor is None:
                continue
            for run, started_ms in _starts(event.message):
                task = executor.runs.get(run)
                if task is not None and run not in seen and _is_news(task, run):
                    seen.add(run)
                    self._observe(task, started_ms, now_ms)

    def last_minute(self, shard: ShardId, now_ms: int) -> list[int]:
        """How many starts of a shard fell into each place of the bounds, and one more above."""
        minute = self._minutes.get(shard)
        return [] if minute is None else minute.counts(now_ms)

    def keep(self, shards: Iterable[ShardId]) -> None:
        """Forget every other shard."""
        kept = set(shards)
        self._minutes = {shard: each for shard, each in self._minutes.items() if shard in kept}

    def _observe(self, task: TaskState, started_ms: int, now_ms: int) -> None:
        late_ms = started_ms - task.due_ms
        if late_ms < 0 and task.renewed:
            return  # the alarm is no due time any more: nobody knows how late it was
        place = bisect_left(LATENESS_BOUNDS_MS, max(0, late_ms))
        self.counts[place] += 1
        self.total_ms += max(0, late_ms)
        self.seconds.start(place, late_ms)
        minute = self._minutes.get(task.shard)
        if minute is None:
            minute = self._minutes[task.shard] = LastMinute()
        minute.observe(place, now_ms)


def _starts(message: FromExecutor) -> Iterator[tuple[RunId, int]]:
    """Runs that have started, and when; a short one says so only with its result."""
    if isinstance(message, Started):
        yield from message.runs
    elif isinstance(message, Finished):
        yield from ((each.run, each.started_ms) for each in message.results if each.started_ms)


def _is_news(task: TaskState, run: RunId) -> bool:
    """Whether this is the first word of the run in hand."""
    return task.started_ms is None and task.run_id == run


def families(
    engine: Engine, measures: Measures, committer: Committer, line: CommandLine, clock: Clock
) -> Iterator[Family]:
    """Everything that a scheduler node shows, as it is now."""
    yield Distribution(
        name="timeball_start_lateness_seconds",
        text="How long after their due time attempts started, by their executors' clocks.",
        bounds=[bound / 1_000 for bound in LATENESS_BOUNDS_MS],
        counts=measures.counts,
        total=measures.total_ms / 1_000,
    )
    yield Figures(
        name="timeball_engine_events",
        text="What the engine did, by event.",
        kind=Kind.COUNTER,
        labels=("event",),
        samples=[((each.name,), getattr(engine.counters, each.name)) for each in fields(Counters)],
    )
    yield from _memory(engine)
    yield from _commits(committer)
    yield gauge("timeball_commands_in_line", "What callers asked and the engine has not seen yet.",
                len(line))  # fmt: skip
    yield counter("timeball_commands_too_old", "Creations refused because they waited too long.",
                  line.refused)  # fmt: skip
    left_ms = max(0, engine.lease_until_mono_ms - clock.now().mono_ms)
    yield gauge("timeball_lease_left_seconds", "How long this node may still act.", left_ms / 1_000)


def _memory(engine: Engine) -> Iterator[Family]:
    """What is in memory now."""
    shards = engine.shards.values()
    ready = sum(1 for each in engine.executors.values() if each.ready)
    left_out = sum(1 for each in engine.executors.values() if each.left_out)
    tasks = sum(len(shard.tasks) for shard in shards)
    yield gauge("timeball_ready_tasks", "Due tasks that wait for an executor.",
                engine.ready.count())  # fmt: skip
    yield gauge("timeball_gated_tasks", "Due tasks that wait for a limit of a key or handler.",
                engine.gates.count())  # fmt: skip
    yield gauge("timeball_key_attempts", "Attempts that hold a place of a key, doubtful ones too.",
                engine.gates.places)  # fmt: skip
    yield gauge("timeball_memory_tasks", "Tasks and schedules in memory.", tasks)
    unreadable = sum(len(shard.unreadable) for shard in shards)
    yield gauge("timeball_unreadable_tasks",
                "Tasks and schedules held back: this version cannot read their journals.",
                unreadable)  # fmt: skip
    yield gauge("timeball_executors_ready", "Executors that take orders from this node.", ready)
    yield gauge("timeball_executors_left_out",
                "Executors that get no work from this node because they do far worse than others.",
                left_out)  # fmt: skip
    yield gauge("timeball_shards_owned", "Shards that this node owns.", len(shards))
    yield Figures(
        name="timeball_shard_epoch",
        text="Fencing number of each owned shard.",
        kind=Kind.GAUGE,
        labels=("shard",),
        samples=[((str(shard.shard),), shard.epoch) for shard in shards],
    )
    yield Figures(
        name="timeball_shard_deleted_below_minutes",
        text="The minute, since 1970, below which each owned shard has been removed.",
        kind=Kind.GAUGE,
        labels=("shard",),
        samples=[((str(shard.shard),), shard.deleted_below) for shard in shards],
    )


def _commits(committer: Committer) -> Iterator[Family]:
    """What went to the store."""
    yield counter("timeball_commit_batches", "Writes that the store has acknowledged.",
                  committer.batches)  # fmt: skip
    yield counter("timeball_commit_rows", "Rows in them.", committer.rows)
    yield counter("timeball_commit_resends", "Writes repeated because no answer came.",
                  committer.resends)  # fmt: skip
