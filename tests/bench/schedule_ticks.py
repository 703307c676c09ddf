"""What occurrences of schedules cost a scheduler node besides its network, and how late they get.

    python -m tests.bench.schedule_ticks instant --schedules 20000 [--profile]
    python -m tests.bench.schedule_ticks spread --schedules 50000
    python -m tests.bench.schedule_ticks outage --schedules 10000

Minute-schedules of an engine that owns all shards are loaded, decided, launched, started and
ended; what is written is there to be read in the next step. The clock is moved by the CPU that the
engine and the making of rows for Cassandra use, so that lateness is what one core of this machine
would have. Neither a database nor another process takes part. `outage`: nobody is there for six
hours, then catch-up ONE beside 100 live tasks a second. Every nominal time is launched once, or
the run fails.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tests.bench.hot_path import SHARDS, START_MS, Node, encoded
from tests.bench.judging import percentile
from timeball_server.core.commands import CreateSchedule
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.ids import (
    SCHEDULES_MINUTE,
    Epoch,
    Minute,
    ShardId,
    TaskId,
    decode_id,
    home_of_name,
)
from timeball_server.core.journal import CLOSED, DueRow, EventRow, LedgerRow
from timeball_server.core.messages import Dispatch
from timeball_server.core.model import Payload, ScheduleSpec, TaskSpec
from timeball_server.core.schedules.spec import Calendar, Interval
from timeball_server.runtime.collector import settle_collector

MINUTE_MS: Final = 60_000
OUTAGE_MS: Final = 6 * 60 * MINUTE_MS
LIVE_PER_S: Final = 100
STEP_MS: Final = 5
PAGE_ROWS: Final = 250
"""As many as a node reads at a time."""
Page = ev.SliceLoaded | ev.BucketSwept


class ScheduleNode(Node):
    """A node whose store remembers heads and hints."""

    def __post_init__(self) -> None:
        self.heads: dict[TaskId, EventRow] = {}
        self.hints: defaultdict[tuple[int, int], list[DueRow]] = defaultdict(list)
        self.ahead: defaultdict[tuple[int, int], list[DueRow]] = defaultdict(list)
        self.ledger: dict[tuple[TaskId, int], str] = {}
        self.pages: defaultdict[ShardId, deque[Page]] = defaultdict(deque)
        self.owed_ms = 0
        self.forget()
        super().__post_init__()

    def step(self, ms: int) -> None:
        """Time passes; of each shard's reads one page has come meanwhile."""
        self.news += [pages.popleft() for pages in self.pages.values() if pages]
        super().step(ms)

    def forget(self) -> None:
        """Begin to measure."""
        self.late_ms: list[int] = []
        self.live_late_ms: list[int] = []
        self.decided_ms: defaultdict[int, list[int]] = defaultdict(list)
        self.overtaken = self.newest_ms = 0
        self.flushes = []
        self.engine_s = self.rows_s = 0.0
        self.rows = self.batches = self.launched = self.longest_ms = self.most_held = 0

    def declare(self, number: int, phase_ms: int) -> None:
        """A schedule of every minute is asked for."""
        name = f"s{number}"
        part, unique = home_of_name("bank", name)
        task = TaskSpec(
            namespace="bank", owner="teller", handler="bench.work", payload=Payload(data=bytes(100))
        )
        calendar = Calendar(intervals=(Interval(every_ms=MINUTE_MS, phase_ms=phase_ms),))
        command = CreateSchedule(
            minute=SCHEDULES_MINUTE,
            shard=ShardId(number % SHARDS),
            part=part,
            unique=unique,
            spec=ScheduleSpec(task=task, name=name, calendar=calendar),
            request_id=f"create-{number}",
            actor="user:teller",
        )
        self.numbers += 1
        self.news.append(ev.CommandArrived(self.numbers, command))

    def _perform(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Write(_, _, _, rows):
                self._keep(rows)
                super()._perform(effect)
            case fx.Send(_, Dispatch(_, orders)):
                for order in orders:
                    mine = self.live_late_ms if order.nominal_ms is None else self.late_ms
                    mine.append(self.now_ms - order.due_ms)
                super()._perform(effect)
            case fx.LoadSlice():
                self.pages[effect.shard].extend(paged(self._slice(effect)))
            case fx.SweepBucket(shard, epoch, minute):
                self.pages[shard].extend(paged(self._swept(shard, epoch, minute)))
            case fx.MoveScanFrom(shard, epoch, _, minute):
                self.news.append(ev.ScanFromMoved(shard, epoch, minute))
            case fx.ReadTasks(shard, epoch, task_ids):
                found = self._journals(task_ids)
                self.news.append(ev.TasksRead(shard, epoch, task_ids, found))
            case _:
                super()._perform(effect)

    def _keep(self, rows: tuple[object, ...]) -> None:
        for row in rows:
            if isinstance(row, EventRow):
                self.heads[row.task_id] = row
            elif isinstance(row, DueRow):
                home = decode_id(row.task_id).home
                self.hints[home.shard, row.minute].append(row)
                if home.minute == SCHEDULES_MINUTE:
                    self.ahead[home.shard, row.minute].append(row)
            elif isinstance(row, LedgerRow):
                key = (row.schedule_id, row.nominal_ms)
                assert key not in self.ledger, f"{key} has two verdicts"
                self.ledger[key] = row.verdict
                if row.verdict == "LAUNCHED":
                    self.launched += 1
                    self.decided_ms[row.nominal_ms].append(self.now_ms - row.nominal_ms)
                    self.overtaken += row.nominal_ms < self.newest_ms
                    self.newest_ms = max(self.newest_ms, row.nominal_ms)

    def _slice(self, asked: fx.LoadSlice) -> ev.SliceLoaded:
        """Schedules alone: every run is in memory from its first row to its last."""
        rows = self.ahead[asked.shard, asked.minute]
        hints = [row for row in rows if asked.from_ms <= row.due_ms < asked.to_ms]
        return ev.SliceLoaded(
            shard=asked.shard,
            epoch=asked.epoch,
            number=asked.number,
            hints=hints,
            journals=self._journals(tuple(hint.task_id for hint in hints)),
            last=True,
        )

    def _swept(self, shard: ShardId, epoch: Epoch, minute: Minute) -> ev.BucketSwept:
        """A bucket is swept once, so what is in it is let go of."""
        hints = tuple(self.hints.pop((shard, minute), ()))
        self.ahead.pop((shard, minute), None)
        journals = self._journals(tuple(hint.task_id for hint in hints))
        for task_id, (head,) in journals.items():
            if head.state in CLOSED:
                del self.heads[task_id]
        return ev.BucketSwept(
            shard=shard, epoch=epoch, minute=minute, hints=hints, journals=journals
        )

    def _journals(self, task_ids: tuple[TaskId, ...]) -> dict[TaskId, tuple[EventRow, ...]]:
        return {each: (self.heads[each],) for each in task_ids if each in self.heads}


def paged(found: Page) -> Iterator[Page]:
    """What was read, as it comes: page by page."""
    for at in range(0, max(1, len(found.hints)), PAGE_ROWS):
        hints = tuple(found.hints[at : at + PAGE_ROWS])
        journals = {each.task_id: found.journals.get(each.task_id, ()) for each in hints}
        last = at + PAGE_ROWS >= len(found.hints)
        yield replace(found, hints=hints, journals=journals, last=last)


def filled(schedules: int, *, spread: bool) -> ScheduleNode:
    """A node whose schedules have fired once, at the half minute before what is measured."""
    node = ScheduleNode()
    for number in range(schedules):
        node.declare(number, number * MINUTE_MS // schedules if spread else 0)
        if number % 100 == 99:
            node.step(1)
    until_ms = START_MS + MINUTE_MS + MINUTE_MS // 2
    while node.now_ms < until_ms:
        node.step(20)
        node.flushes.clear()
    return node


def lap(node: ScheduleNode) -> None:
    """One step, as long as the one before took the processor, rows included, but 5 ms at least."""
    begun_s = time.process_time()
    flushes = node.flushes
    node.flushes = []
    node.rows += sum(len(each) for each in flushes)
    node.batches += sum(len(each) for each in encoded(flushes))
    rows_s = time.process_time() - begun_s
    node.rows_s += rows_s
    engine_s = node.engine_s
    node.step(max(STEP_MS, node.owed_ms))
    node.owed_ms = round((rows_s + node.engine_s - engine_s) * 1_000)
    node.longest_ms = max(node.longest_ms, node.owed_ms)


def measured(node: ScheduleNode, schedules: int, minutes: int) -> None:
    """So many minutes, and as long as it takes until all that came due in them was launched.

    Where one minute's are not done when the next ones come due, lateness grows from one to the
    next; what is printed for each minute says by how much.
    """
    node.forget()
    until_ms = node.now_ms + minutes * MINUTE_MS
    while node.now_ms < until_ms or node.launched < minutes * schedules:
        lap(node)
        node.most_held = max(node.most_held, len(node.engine.timeline))
    settled_ms = node.now_ms + 2_000
    while node.now_ms < settled_ms:
        lap(node)


def after_outage(node: ScheduleNode, schedules: int) -> None:
    """Six hours with nobody there, then everybody at once, and tasks that come all the while."""
    node.forget()
    node.now_ms += OUTAGE_MS
    node.step(0)
    began_ms, asked = node.now_ms, 0
    while node.launched < schedules and node.now_ms - began_ms < 10 * MINUTE_MS:
        while asked < (node.now_ms - began_ms) * LIVE_PER_S / 1_000:
            node.create()
            asked += 1
        lap(node)
    print(f"caught up in {(node.now_ms - began_ms) / 1e3:.1f} s")


def main() -> None:
    """Print what an occurrence costs, and how late runs began."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("instant", "spread", "outage"))
    parser.add_argument("--schedules", type=int, default=20_000)
    parser.add_argument("--minutes", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    node = filled(asked.schedules, spread=asked.what == "spread")
    settle_collector()
    profile = cProfile.Profile()
    if asked.profile:
        profile.enable()
    if asked.what == "outage":
        after_outage(node, asked.schedules)
    else:
        measured(node, asked.schedules, asked.minutes)
    profile.disable()
    tell(node, asked.what)
    if asked.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(50)


def tell(node: ScheduleNode, what: str) -> None:
    """The figures, one line each."""
    each = 1e6 / node.launched
    print(f"{node.launched:,} launched, the longest step took {node.longest_ms} ms")
    print(f"engine {node.engine_s * each:6.1f} us of CPU an occurrence, its run included")
    rows = f"{node.rows / node.launched:.1f} rows, {node.batches} batches"
    print(f"rows   {node.rows_s * each:6.1f} us, {rows}")
    for name, late_ms in (("schedules", node.late_ms), ("live tasks", node.live_late_ms)):
        if late_ms:
            p50, p99 = (percentile(late_ms, share) for share in (0.5, 0.99))
            print(
                f"{name}: {len(late_ms):,} started, late by {p50} ms p50, {p99} ms p99, "
                f"{max(late_ms)} ms at most"
            )
    if what == "instant":
        tell_minutes(node)


def tell_minutes(node: ScheduleNode) -> None:
    """Minute by minute: how long it took until all were decided, and whether in order."""
    for number, late_ms in enumerate(node.decided_ms.values(), 1):
        took_s = max(max(late_ms), 1) / 1_000
        rate = f"{len(late_ms) / took_s:,.0f} a second"
        print(f"minute {number}: {len(late_ms):,} decided, the last after {took_s:.1f} s: {rate}")
    print(
        f"the last one started after {max(node.late_ms) / 1_000:.1f} s; {node.overtaken} verdicts"
        f" came after one of a later minute; at most {node.most_held:,} entries in the timeline"
    )


if __name__ == "__main__":
    main()
