"""Claims that an earlier owner left behind, resolved by the executor they name (rules R13, R14).

In the inventory = adopted; not in it = released and claimed again; executor still a member but
silent = wait for its answer; executor gone = RETRY or LOST by delivery mode.
"""

from __future__ import annotations

from dataclasses import replace

from timeball_server.core.engine import beating, completing, doubts, placing
from timeball_server.core.engine.state import (
    Engine,
    ExecutorState,
    Loading,
    Phase,
    ShardState,
    TaskState,
)
from timeball_server.core.ids import Incarnation, home_of
from timeball_server.core.messages import InventoryEntry, RunId, RunPhase, RunResult


def resolve(engine: Engine, shard: ShardState, task: TaskState) -> None:
    """Find out what became of a claim that we did not make in this memory."""
    incarnation = task.head.incarnation
    if task.spec.concurrency_key:
        doubts.count(engine, task)
    executor = engine.executors.get(incarnation)
    if any(isinstance(said, RunResult) and said.run == task.run_id for _, said in task.results):
        task.loading = Loading.PRESENT
    elif executor is None and engine.members_known and not doubts.hold(engine, shard, task):
        task.loading = Loading.PRESENT
        row = completing.vanished_event(engine, shard, task)
        completing.append_outcome(engine, shard, task, row)
    elif executor is not None and incarnation in shard.inventories:
        _settle(engine, shard, task, executor, shard.inventories[incarnation])
    else:
        task.loading = Loading.UNRESOLVED
        waiting = shard.unresolved.setdefault(incarnation, [])
        if task not in waiting:
            waiting.append(task)


def _settle(
    engine: Engine,
    shard: ShardState,
    task: TaskState,
    executor: ExecutorState,
    inventory: dict[RunId, InventoryEntry],
) -> None:
    task.loading = Loading.PRESENT
    run = task.run_id
    entry = inventory.get(run) if run is not None else None
    if run is not None and entry is not None:
        task.sent = True
        task.started_ms = entry.started_ms
        executor.runs[run] = task
        beating.adopt(engine, shard, task, run)
        return
    row = completing.released_event(engine, shard, task)
    completing.append_outcome(engine, shard, task, row)


def answered(
    engine: Engine,
    shard: ShardState,
    executor: ExecutorState,
    entries: dict[RunId, InventoryEntry],
) -> None:
    """An executor said what it has of a shard: settle every claim that waited for it."""
    incarnation = executor.facts.incarnation
    shard.inventories[incarnation] = entries
    for task in shard.unresolved.pop(incarnation, []):
        if engine.owned(task) is shard:
            resolve(engine, shard, task)
            placing.free(engine, shard, task)


def began(engine: Engine, executor: ExecutorState, run: RunId, started_ms: int) -> None:
    """A run has begun whose task is not in memory yet: the inventory says so from now on."""
    inventory = _inventory_with(engine, executor, run)
    if inventory is not None:
        inventory[run] = replace(inventory[run], phase=RunPhase.RUNNING, started_ms=started_ms)


def handed_back(engine: Engine, executor: ExecutorState, run: RunId) -> None:
    """A run of an inventory never began and never will: its claim is released when it is read."""
    inventory = _inventory_with(engine, executor, run)
    if inventory is not None:
        del inventory[run]


def _inventory_with(
    engine: Engine, executor: ExecutorState, run: RunId
) -> dict[RunId, InventoryEntry] | None:
    shard = engine.shards.get(home_of(run.task_id).shard)
    found = None if shard is None else shard.inventories.get(executor.facts.incarnation)
    return found if found is not None and run in found else None


def gone(engine: Engine, incarnation: Incarnation) -> None:
    """An executor's session ended: nothing more will be heard of its runs."""
    for shard in list(engine.shards.values()):
        if shard.phase is Phase.RELEASING:
            continue
        for run in shard.inventories.pop(incarnation, ()):
            shard.beats.pop(run, None)
        for task in shard.unresolved.pop(incarnation, []):
            if engine.owned(task) is shard:
                resolve(engine, shard, task)
                placing.free(engine, shard, task)
