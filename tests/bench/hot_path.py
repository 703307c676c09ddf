"""What a task costs a scheduler node besides its network: CPU in the engine and for its rows.

    python -m tests.bench.hot_path [--tasks 5000] [--rate 250] [--step-ms 5] [--profile]

Tasks are created ahead, claimed, started and ended in virtual time, so many steps a second as a
node makes; the store says yes in the next step. The engine's share is counted alone. Then the
same rows are made ready to be sent to Cassandra, in batches as large as the node's would be.
Neither a database nor another process takes part. Asserts nothing.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import CreateTask
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.engine.node import handle
from timeball_server.core.engine.ready import ReadyQueue
from timeball_server.core.engine.state import Engine, EngineConfig
from timeball_server.core.ids import Epoch, Incarnation, Minute, NodeId, ShardId
from timeball_server.core.journal import Row
from timeball_server.core.messages import (
    Capacity,
    Dispatch,
    Fence,
    Finished,
    Inventory,
    RunId,
    RunResult,
    Started,
)
from timeball_server.core.model import Payload, TaskSpec
from timeball_server.runtime.collector import settle_collector
from timeball_server.store.cassandra.packing import pack
from timeball_server.store.cassandra.rows import write_of

START_MS: Final = 1_800_000_000_000
SHARDS: Final = 8
EXECUTORS: Final = 3
AHEAD_MS: Final = (1_500, 6_000)
COMMIT_MS: Final = 20
LEASE_MS: Final = 10**13
RESULT: Final = Payload(data=b"1")


@dataclass
class Node:
    """An engine that owns SHARDS shards, its executors, and a store that answers one step later."""

    chance: random.Random = field(default_factory=lambda: random.Random(1))
    now_ms: int = START_MS
    numbers: int = 0
    ended: int = 0
    engine_s: float = 0.0
    news: list[ev.Event] = field(default_factory=list)
    runs: list[tuple[Incarnation, RunId, ShardId]] = field(default_factory=list)
    queued: list[fx.Write] = field(default_factory=list)
    flushes: list[list[Row]] = field(default_factory=list)
    flushed_ms: int = START_MS

    def __post_init__(self) -> None:
        self.engine = Engine("s1", 1, EngineConfig(), random.Random(1), ReadyQueue())
        facts = tuple(
            ExecutorFacts(
                node=NodeId(f"x{number}"),
                incarnation=Incarnation(100 + number),
                strength=1 + 4 * number,
                slots=100,
                labels=(),
                handlers=("bench.work",),
            )
            for number in range(EXECUTORS)
        )
        self.news.append(ev.ExecutorsSeen(facts))
        self.news += [ev.StreamUp(each.incarnation) for each in facts]
        for number in range(SHARDS):
            self.news.append(
                ev.ShardAcquired(
                    shard=ShardId(number),
                    epoch=Epoch(7),
                    scan_from=minute_of(START_MS),
                    deleted_below=Minute(0),
                )
            )
        for _ in range(20):
            self.step(100)

    def create(self) -> None:
        """A creation arrives, as most do: on a stream, for later."""
        self.numbers += 1
        due_ms = self.now_ms + self.chance.randint(*AHEAD_MS)
        stamp = (self.now_ms + 3_600_000).to_bytes(6, "big")
        spec = TaskSpec(
            namespace="bank", owner="teller", handler="bench.work", payload=Payload(data=bytes(100))
        )
        command = CreateTask(
            minute=minute_of(due_ms),
            shard=ShardId(self.numbers % SHARDS),
            unique=stamp + bytes((0x70, 0)) + self.numbers.to_bytes(8, "big"),
            spec=spec,
            due_ms=due_ms,
            request_id="0190163d-8694-739b-aea5-966c26f8ad91",
            actor="user:teller",
        )
        self.news.append(ev.CommandArrived(self.numbers, command))

    def step(self, ms: int) -> None:
        """Time passes, and everything that happened meanwhile is one step."""
        self.now_ms += ms
        news, self.news = [ev.LeaseProven(LEASE_MS), *self.news], []
        begun_s = time.process_time()
        effects = handle(self.engine, news, wall_ms=self.now_ms, mono_ms=self.now_ms)
        self.engine_s += time.process_time() - begun_s
        self._end_runs()
        for effect in effects:
            self._perform(effect)
        if self.queued and self.now_ms - self.flushed_ms >= COMMIT_MS:
            writes, self.queued, self.flushed_ms = self.queued, [], self.now_ms
            self.flushes.append([row for write in writes for row in write.rows])
            self.news.append(ev.Written([write.token for write in writes]))

    def _end_runs(self) -> None:
        """What was handed out in the last step has begun and ended since, one message each."""
        runs, self.runs = self.runs, []
        for incarnation in {run[0] for run in runs}:
            mine = [(run, shard) for executor, run, shard in runs if executor == incarnation]
            began = Started(tuple((run, self.now_ms) for run, _ in mine))
            results = [
                RunResult(
                    run=run,
                    shard=shard,
                    started_ms=self.now_ms,
                    ended_ms=self.now_ms,
                    result=RESULT,
                )
                for run, shard in mine
            ]
            self.ended += len(mine)
            self.news.append(ev.ExecutorSaid(incarnation, began))
            self.news.append(ev.ExecutorSaid(incarnation, Finished(tuple(results))))

    def _perform(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Write():
                self.queued.append(effect)
            case fx.Send(incarnation, Dispatch(_, orders)):
                self.runs += [(incarnation, order.run, order.shard) for order in orders]
            case fx.Send(incarnation, Fence(number)):
                room = Capacity(slots=100, free=100, draining=False)
                self.news.append(ev.ExecutorSaid(incarnation, Inventory(number, (), ())))
                self.news.append(ev.ExecutorSaid(incarnation, room))
            case fx.LoadSlice():
                self.news.append(
                    ev.SliceLoaded(
                        shard=effect.shard,
                        epoch=effect.epoch,
                        number=effect.number,
                        hints=(),
                        journals={},
                        last=True,
                    )
                )


def live(node: Node, tasks: int, rate: float, step_ms: int) -> None:
    """So many tasks, evenly, until all have ended."""
    due = 0.0
    first = node.numbers
    while node.ended < tasks + first:
        due += rate * step_ms / 1_000
        while due >= 1 and node.numbers - first < tasks:
            node.create()
            due -= 1
        node.step(step_ms)


def encoded(flushes: Sequence[Sequence[Row]]) -> Iterator[Any]:
    """The same work as the store's `append` before anything is sent."""
    for rows in flushes:
        yield [*pack([write_of(row) for row in rows])]


def main() -> None:
    """Print what each part costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5_000)
    parser.add_argument("--rate", type=float, default=250)
    parser.add_argument("--step-ms", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    node = Node()
    live(node, 200, asked.rate, asked.step_ms)
    node.engine_s, node.flushes = 0.0, []
    settle_collector()
    profile = cProfile.Profile()
    if asked.profile:
        profile.enable()
    live(node, asked.tasks, asked.rate, asked.step_ms)
    begun_s = time.process_time()
    batches = sum(len(each) for each in encoded(node.flushes))
    rows_s = time.process_time() - begun_s
    profile.disable()
    rows = sum(map(len, node.flushes))
    each = 1e6 / asked.tasks
    print(f"engine {node.engine_s * each:6.1f} us of CPU, {1_000 / asked.step_ms:.0f} steps/s")
    print(f"rows   {rows_s * each:6.1f} us, {rows / asked.tasks:.1f} rows, {batches} batches")
    if asked.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
