"""Executors as this node sees them: members, streams, fences and what they say.

Session gone = dead: its runs are resolved by mode. Stream gone while the session lives =
unreachable: nothing new is sent, sent runs wait for the next inventory (rules R12-R14).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from timeball_server.core.engine import beating, completing, doubts, placing, revoking, takeover
from timeball_server.core.engine.health import note_result
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.engine.state import Engine, ExecutorState, Fate, Loading, TaskState
from timeball_server.core.engine.writing import give_up
from timeball_server.core.ids import Incarnation, ShardId
from timeball_server.core.journal import State
from timeball_server.core.messages import (
    Beats,
    Capacity,
    Fence,
    Finished,
    FromExecutor,
    Inventory,
    RefusalReason,
    Refused,
    RevokeAnswer,
    RevokeReply,
    Started,
)


def seen(engine: Engine, executors: tuple[ExecutorFacts, ...]) -> None:
    """Take a snapshot of the living executors."""
    living = {facts.incarnation for facts in executors}
    engine.members_known = True
    for incarnation in [known for known in engine.executors if known not in living]:
        _gone(engine, incarnation)
    for facts in executors:
        if facts.incarnation not in engine.executors:
            engine.executors[facts.incarnation] = ExecutorState(facts)
            engine.gates.gone.pop(facts.incarnation, None)
    for incarnation in {name for shard in engine.shards.values() for name in shard.unresolved}:
        if incarnation not in living:
            takeover.gone(engine, incarnation)


def _gone(engine: Engine, incarnation: Incarnation) -> None:
    executor = engine.executors.pop(incarnation)
    executor.ready = executor.stream_open = False
    for run, task in list(executor.runs.items()):
        shard = engine.owned(task)
        if shard is None or task.run_id != run:
            continue
        if doubts.keep(engine, shard, task):
            continue
        task.results.append((incarnation, (run, Fate.VANISHED)))
        placing.free(engine, shard, task)
    takeover.gone(engine, incarnation)
    if engine.gates.runs_at(incarnation):
        # Of some the task is over, or was never in memory here; their doubt ends as well.
        engine.gates.in_doubt(engine, incarnation)
        _ask_successors(engine, executor)


def _ask_successors(engine: Engine, gone: ExecutorState) -> None:
    """Ask who has the name of an executor that vanished with attempts of keys: it may vouch."""
    for executor in engine.executors.values():
        if executor.facts.node == gone.facts.node and executor.stream_open:
            _fence(engine, executor, tuple(engine.shards))


def stream_up(engine: Engine, incarnation: Incarnation) -> None:
    """A fresh stream: fence all our shards on it and ask what became of what was sent."""
    executor = engine.executors.get(incarnation)
    if executor is None:
        return
    executor.stream_open = True
    executor.ready = False
    _fence(engine, executor, tuple(engine.shards))


def stream_down(engine: Engine, incarnation: Incarnation) -> None:
    """The stream broke."""
    executor = engine.executors.get(incarnation)
    if executor is None:
        return
    executor.stream_open = False
    executor.ready = False
    executor.fenced_runs.clear()
    for task in list(executor.runs.values()):
        if task.revokes:
            revoking.unanswered(engine, task)


def fence_new_shards(engine: Engine) -> None:
    """One FENCE per executor for all shards just taken (rule R13)."""
    shards, engine.fences = tuple(engine.fences), []
    if shards:
        for executor in engine.executors.values():
            if executor.stream_open:
                _fence(engine, executor, shards)


def _fence(engine: Engine, executor: ExecutorState, shards: tuple[ShardId, ...]) -> None:
    number = engine.number()
    epochs = tuple((s, engine.shards[s].epoch) for s in shards if s in engine.shards)
    fenced = {shard for shard, _ in epochs}
    sent = {run for run, task in executor.runs.items() if task.shard in fenced}
    runs = frozenset(sent | engine.gates.runs_at(executor.facts.incarnation, fenced))
    executor.fence_number = number
    executor.fenced_runs[number] = (epochs, runs)
    engine.send(executor.facts.incarnation, Fence(number, epochs))


def said(engine: Engine, incarnation: Incarnation, message: FromExecutor) -> None:
    """Take a message of an executor in."""
    executor = engine.executors.get(incarnation)
    if executor is None:
        return
    _LISTENERS[type(message)](engine, executor, message)


def _finished(engine: Engine, executor: ExecutorState, message: Finished) -> None:
    executor.blocked = False
    for result in message.results:
        task = executor.runs.get(result.run)
        if task is not None:
            note_result(executor, task, result)
        completing.arrived(engine, executor.facts.incarnation, result)


def _started(engine: Engine, executor: ExecutorState, message: Started) -> None:
    for run, started_ms in message.runs:
        task = executor.runs.get(run)
        if task is not None and task.run_id == run:
            _begun(engine, task, started_ms)
        elif task is None:
            takeover.began(engine, executor, run, started_ms)


def _begun(engine: Engine, task: TaskState, started_ms: int) -> None:
    task.started_ms = started_ms
    beating.judge_from_now(engine, task)
    shard = engine.owned(task)
    if shard is not None and task.task_id in shard.watchers:
        engine.changed[task.task_id] = task


def _capacity(engine: Engine, executor: ExecutorState, message: Capacity) -> None:
    executor.draining = message.draining
    executor.full = frozenset(message.full)
    executor.told_free = message.free
    executor.blocked = message.free <= 0 and executor.blocked


def _revoke_answered(engine: Engine, executor: ExecutorState, message: RevokeReply) -> None:
    if message.answer in _NEVER_BEGAN:
        engine.gates.over(message.run)
    task = executor.runs.get(message.run)
    shard = engine.owned(task) if task is not None else None
    if task is not None and shard is not None and task.run_id == message.run:
        revoking.answered(engine, shard, task, message)


_NEVER_BEGAN: Final = frozenset({RevokeAnswer.REVOKED, RevokeAnswer.NOT_SEEN})


def _inventory(engine: Engine, executor: ExecutorState, message: Inventory) -> None:
    _yield_to_higher(engine, message.refused)
    fenced = executor.fenced_runs.pop(message.number, None)
    if fenced is None:
        return
    epochs, asked = fenced
    entries = {entry.run: entry for entry in message.entries}
    for run in sorted(asked):
        task = executor.runs.get(run)
        if run not in entries:
            engine.gates.over(run)
        if task is not None and run not in entries:
            _not_seen(engine, task)
    for run, entry in entries.items():
        task = executor.runs.get(run)
        if task is not None and entry.started_ms is not None:
            _begun(engine, task, entry.started_ms)
    doubts.heard(engine, executor, {number for number, _ in epochs}, entries)
    for number, epoch in epochs:
        shard = engine.holding(number, epoch)
        if shard is not None:
            own = {run: entry for run, entry in entries.items() if entry.shard == number}
            takeover.answered(engine, shard, executor, own)
    if message.number == executor.fence_number or not executor.fenced_runs:
        executor.ready = True


def _not_seen(engine: Engine, task: TaskState) -> None:
    """The executor never got the run: the claim is released and made again (rule R14)."""
    shard = engine.owned(task)
    run = task.run_id
    if shard is None or run is None or task.state is not State.CLAIMED:
        return
    task.results.append((task.head.incarnation, (run, Fate.UNSEEN)))
    placing.free(engine, shard, task)


def _refused(engine: Engine, executor: ExecutorState, message: Refused) -> None:
    if message.reason is RefusalReason.LOWER_EPOCH:
        shards = {shard for _, shard in message.runs}
        _yield_to_higher(engine, tuple((shard, message.epoch) for shard in shards))
        return
    if message.reason is RefusalReason.OTHER_INCARNATION:
        executor.ready = False
    if message.reason is RefusalReason.NO_FREE_SLOT:
        executor.blocked = True
    if message.reason is RefusalReason.DRAINING:
        executor.draining = True
    for run, _ in message.runs:
        task = executor.runs.get(run)
        shard = engine.owned(task) if task is not None else None
        if task is None:
            takeover.handed_back(engine, executor, run)
        if task is None or shard is None or task.run_id != run:
            continue
        if message.reason is RefusalReason.HANDLER_FULL:
            executor.full |= {task.spec.handler}
        if message.reason is RefusalReason.UNKNOWN_HANDLER:
            executor.handlers -= {task.spec.handler}
        placing.unsend(engine, task)
        revoking.go_on(task)
        placing.free(engine, shard, task)


def _yield_to_higher(engine: Engine, refused: tuple[tuple[ShardId, int], ...]) -> None:
    """Somebody owns these shards in a higher epoch: stop and rejoin as a new owner (rule R4)."""
    for number, epoch in refused:
        shard = engine.shards.get(number)
        if shard is not None and epoch > shard.epoch:
            give_up(engine, shard, f"an executor has seen epoch {epoch} of shard {number}")


def unresolved_count(engine: Engine) -> int:
    """Claims of earlier owners that wait for their executor's answer."""
    return sum(
        1
        for shard in engine.shards.values()
        for task in shard.tasks.values()
        if task.loading is Loading.UNRESOLVED
    )


_LISTENERS: Final[Mapping[type, Callable[[Engine, ExecutorState, Any], None]]] = MappingProxyType(
    {
        Beats: beating.said,
        Finished: _finished,
        Started: _started,
        Capacity: _capacity,
        Refused: _refused,
        RevokeReply: _revoke_answered,
        Inventory: _inventory,
    }
)
