"""The timeline lets go of what is past: ended tasks are not kept in memory for minutes."""

from __future__ import annotations

import heapq
import random

from timeball_server.core.engine.ready import ReadyQueue
from timeball_server.core.engine.state import Engine, EngineConfig, TaskState
from timeball_server.core.ids import Bucket, IdParts, Minute, ShardId, encode_id

LONG_AHEAD_MS = 300_000


def an_engine() -> Engine:
    return Engine("node-1", 1, EngineConfig(), random.Random(1), ReadyQueue())


def a_task(number: int) -> TaskState:
    home = Bucket(Minute(29_000_000), ShardId(1))
    return TaskState(encode_id(IdParts(home, number.to_bytes(16, "big"))), ShardId(1))


def test_entries_of_ended_tasks_are_dropped() -> None:
    engine = an_engine()
    for number in range(20_000):
        task = a_task(number)
        engine.at(task, LONG_AHEAD_MS + number)
        task.stamp += 1
    assert len(engine.timeline) <= 4_096


def test_entries_that_still_hold_stay_in_order() -> None:
    engine = an_engine()
    living = [a_task(number) for number in range(6_000)]
    for number, task in enumerate(living):
        engine.at(task, LONG_AHEAD_MS - number)
        ended = a_task(10_000 + number)
        engine.at(ended, number)
        ended.stamp += 1
    popped = [heapq.heappop(engine.timeline) for _ in range(len(engine.timeline))]
    current = [entry[3] for entry in popped if entry[2] == entry[3].stamp]
    assert current == living[::-1]


def test_who_walks_along_the_timeline_sees_what_is_added_meanwhile() -> None:
    engine = an_engine()
    walked = engine.timeline
    for number in range(5_000):
        task = a_task(number)
        engine.at(task, number)
        task.stamp += 1
    assert walked is engine.timeline
