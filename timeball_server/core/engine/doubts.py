"""Attempts of keys whose executor vanished: they count as running until somebody knows better.

A process that is dead to the cluster may be frozen or cut off, and its handlers may go on. So a
task with a key stays claimed, which is durable, and keeps its place until the executor is heard
of again, or its successor of the same name vouches for it, or the doubt has lasted long enough.
Must never drop a task without a key into doubt: those are tried again at once (rule R14).
"""

from __future__ import annotations

from collections.abc import Mapping

from timeball_server.core.engine import placing
from timeball_server.core.engine.gate import Place, Subject
from timeball_server.core.engine.state import (
    Engine,
    ExecutorState,
    Fate,
    Loading,
    Phase,
    ShardState,
    TaskState,
)
from timeball_server.core.ids import Incarnation, NodeId, ShardId
from timeball_server.core.messages import InventoryEntry, RunId, RunPhase


def count(engine: Engine, task: TaskState) -> None:
    """A claim that an earlier owner left: its attempt may run, so it holds a place."""
    run, head = task.run_id, task.head
    if run is not None:
        place = Place(head.executor or NodeId(""), head.incarnation)
        engine.gates.sent(task, run, place, engine.mono_ms)


def hold(engine: Engine, shard: ShardState, task: TaskState) -> bool:
    """Whether a claim whose executor is gone stays in doubt."""
    if not task.spec.concurrency_key or _is_vouched_for(engine, shard, task):
        return False
    return engine.gates.in_doubt(engine, task.head.incarnation)


def _is_vouched_for(engine: Engine, shard: ShardState, task: TaskState) -> bool:
    """Whether a successor has said already that it does not run there."""
    return any(
        executor.facts.node == task.head.executor and task.run_id not in shard.inventories[number]
        for number, executor in engine.executors.items()
        if number in shard.inventories
    )


def keep(engine: Engine, shard: ShardState, task: TaskState) -> bool:
    """Whether a run whose executor has just vanished is in doubt from now on."""
    if not hold(engine, shard, task):
        return False
    task.loading = Loading.UNRESOLVED
    waiting = shard.unresolved.setdefault(task.head.incarnation, [])
    if task not in waiting:
        waiting.append(task)
    return True


def ended(shard: ShardState, task: TaskState, run: RunId) -> None:
    """The result of an attempt in doubt has come after all."""
    in_doubt = task.loading is Loading.UNRESOLVED and bool(task.spec.concurrency_key)
    if in_doubt and task.run_id == run and _waits_no_more(shard, task, task.head.incarnation):
        task.loading = Loading.PRESENT


def _waits_no_more(shard: ShardState, task: TaskState, incarnation: Incarnation) -> bool:
    """Whether a task waited for this executor's word; from now on it does not."""
    waiting = shard.unresolved.get(incarnation, [])
    waits = task in waiting
    if waits:
        waiting.remove(task)
    return waits


def look(engine: Engine) -> None:
    """Let shards' keys go that are settled, and end doubts that have lasted long enough."""
    gates = engine.gates
    for number in list(gates.unsettled):
        shard = engine.shards[number]
        gates.settle(engine, shard, all_read=shard.phase is not Phase.LOADING)
    for incarnation in [each for each, until in gates.gone.items() if until <= engine.mono_ms]:
        del gates.gone[incarnation]
        for run in gates.runs_at(incarnation):
            _give_up(engine, run, incarnation)


def heard(
    engine: Engine,
    executor: ExecutorState,
    shards: set[ShardId],
    entries: Mapping[RunId, InventoryEntry],
) -> None:
    """An executor said what it has: count what was not known, and end doubts that it ends.

    One of the same name as one that vanished vouches for it: it is the same process, which says
    what still runs of its former life, or another one, which is there because that one is not.
    """
    facts = executor.facts
    for run, entry in entries.items():
        if entry.concurrency_key and entry.phase is not RunPhase.FINISHED:
            subject = Subject(entry.shard, entry.namespace, entry.concurrency_key)
            if entry.shard in shards and entry.shard in engine.shards:
                place = Place(facts.node, facts.incarnation)
                engine.gates.found(subject, run, place, engine.mono_ms)
    for run, incarnation in engine.gates.runs_of(facts.node, shards).items():
        vouched = incarnation != facts.incarnation and incarnation not in engine.executors
        if vouched and run not in entries:
            _give_up(engine, run, incarnation)


def _give_up(engine: Engine, run: RunId, incarnation: Incarnation) -> None:
    """The attempt counts as over; its task, if it waits for that, goes on by its mode."""
    for shard in list(engine.shards.values()):
        task = shard.tasks.get(run.task_id)
        if task is None or task.run_id != run or task.loading is not Loading.UNRESOLVED:
            continue
        _waits_no_more(shard, task, incarnation)
        task.loading = Loading.PRESENT
        task.results.append((incarnation, (run, Fate.VANISHED)))
        placing.free(engine, shard, task)
    engine.gates.over(run)
