"""What an owner's memory holds of tasks stored for the future and of a hot minute, counted.

    python tests/bench/bucket_counts.py --tasks 20000

Counts, no times and no RSS: an engine in a world of its own, one shard, everything in one process.
Prints lines for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, Node, World
from timeball_server.core.engine import effects as fx
from timeball_server.core.ids import decode_id

MINUTE_MS: Final = 60_000
AHEAD_MS: Final = 10 * MINUTE_MS


def in_memory(node: Node) -> str:
    """Everything that could grow with the number of tasks."""
    engine, shard = node.engine, node.engine.shards[SHARD]
    return (
        f"tasks {len(shard.tasks)}, timeline {len(engine.timeline)}, remembered creations"
        f" {len(shard.recent)}, counted minutes {len(shard.parts)}"
    )


def future(tasks: int) -> None:
    """Each in a minute of its own, then as many in one minute."""
    world = World()
    node = world.owner()
    for number in range(tasks):
        node.create(in_ms=AHEAD_MS + number * MINUTE_MS)
        node.log.clear()
    print(f"{tasks:,} tasks in as many minutes: {in_memory(node)}")


def hot(tasks: int) -> None:
    """A minute whose tasks are due in one second, and one in each of its slices."""
    world = World()
    executor = ScriptedExecutor(world, slots=2 * tasks)
    node = world.owner()
    for number in range(tasks):
        node.create(in_ms=AHEAD_MS + 35_000 + number % 1_000)
        node.log.clear()
    parts = {decode_id(task_id).home.part for task_id in world.disk.journal}
    print(f"{tasks:,} tasks in one second, parts {len(parts)}: {in_memory(node)}")
    most, loads = 0, 0
    for second in range(11 * 60):
        world.run(1_000)
        loads += sum(isinstance(each, fx.LoadSlice) for each in node.log)
        node.log.clear()
        held = len(node.engine.shards[SHARD].tasks)
        if held and not most:
            print(f"first held {AHEAD_MS // 1_000 + 35 - second} s ahead")
        most = max(most, held)
    first = [world.disk.history(each.run.task_id).chain[0].alarm for each in executor.orders]
    due_ms = [alarm.due_ms for alarm in first if alarm is not None]
    in_order = due_ms == sorted(due_ms)
    print(f"at most {most:,} held, {len(due_ms):,} started, in due order: {in_order}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=20_000)
    chosen = parser.parse_args()
    future(chosen.tasks)
    hot(chosen.tasks)
