"""Where a task belongs once nothing holds it: the due timeline, an executor, or out of memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from timeball_server.core.commands import CreateSchedule, CreateTask
from timeball_server.core.engine import (
    beating,
    commands,
    completing,
    creating,
    holding,
    overlapping,
    schedules,
    settling,
    takeover,
    ticking,
)
from timeball_server.core.engine.state import (
    Engine,
    Loading,
    Phase,
    ScheduleState,
    ShardState,
    TaskState,
)
from timeball_server.core.ids import KIND_SCHEDULE, ShardId, TaskId, decode_id
from timeball_server.core.journal import CLOSED, EventRow, State, fold, unreadable_event

CLAIM_GRID_MS: Final = 25
"""Claims ahead of time are made at multiples of this."""


def memory_for(task_id: TaskId, shard: ShardId) -> TaskState:
    """An empty record for a task or a schedule, whichever the id names."""
    kind = decode_id(task_id).kind
    return ScheduleState(task_id, shard) if kind == KIND_SCHEDULE else TaskState(task_id, shard)


def fill(engine: Engine, shard: ShardState, task: TaskState, rows: Iterable[EventRow]) -> bool:
    """Take a journal that was read as the task's memory; False = this version cannot read it."""
    task.loading = Loading.PRESENT
    history = fold(rows)
    if history is None:
        return True
    unreadable = unreadable_event(history)
    if unreadable is not None:
        holding.instead(engine, shard, task, history, unreadable)
        return False
    for row in history.chain:
        task.append(row)
    task.not_accepted = history.not_accepted
    task.alarm_minute = task.alarm_minute or shard.scan_from
    if isinstance(task, ScheduleState):
        settling.settle(engine, shard, task)
    elif task.state is State.CLAIMED and task.head.run is not None:
        takeover.resolve(engine, shard, task)
    return True


def free(engine: Engine, shard: ShardState, task: TaskState) -> None:
    """Hand the task to the next in line; with nobody in line, put it where it belongs (R10)."""
    while task.idle and engine.owned(task) is shard and shard.phase is not Phase.RELEASING:
        if task.results:
            completing.take(engine, shard, task, task.results.pop(0))
        elif task.waiting:
            token, command = task.waiting.pop(0)
            if isinstance(command, CreateTask):
                creating.answer_again(engine, shard, task, token, command)
            elif isinstance(command, CreateSchedule):
                schedules.answer_again(engine, shard, task, token, command)
            else:
                commands.decide(engine, shard, task, token, command)
        else:
            place(engine, shard, task)
            return
    if task.loading is Loading.UNREADABLE:
        holding.refuse(engine, task)


def place(engine: Engine, shard: ShardState, task: TaskState) -> None:
    """Put a task that nothing holds where its state belongs."""
    if task.state in CLOSED or task.state is State.ABSENT:
        forget(shard, task)
        overlapping.left_memory(engine, shard, task)
    elif task.state in (State.PENDING, State.ACTIVE):
        if not shard.follows(task.due_ms, engine.now_ms) and not _waits_in_memory(task):
            forget(shard, task)
            overlapping.left_memory(engine, shard, task)
        elif isinstance(task, ScheduleState):
            engine.at(task, ticking.look_ms(engine, shard, task))
        elif not task.waits:
            engine.at(task, max(engine.now_ms, _claim_ms(engine, task)))
    elif task.sent:
        _look_again_at_run(engine, task)
    elif not task.waits:
        engine.at(task, task.due_ms)


def _waits_in_memory(task: TaskState) -> bool:
    """Whether it is a schedule that waits for a run to end, and must hear of it."""
    return isinstance(task, ScheduleState) and overlapping.waits_for_runs(task)


def _claim_ms(engine: Engine, task: TaskState) -> int:
    """When to claim ahead: a little earlier than need be, together with its neighbours.

    Claims of one instant are one step and one write; nobody waits for them.
    """
    latest_ms = task.due_ms - engine.config.preclaim_ms
    return latest_ms - latest_ms % CLAIM_GRID_MS


def _look_again_at_run(engine: Engine, task: TaskState) -> None:
    """Once per claim: whoever reads a running task must not pile up looks at it."""
    if task.looked_stamp != task.stamp:
        task.looked_stamp = task.stamp
        engine.at(task, engine.now_ms + engine.config.renew_after_ms)
        beating.watch(engine, task)


def forget(shard: ShardState, task: TaskState) -> None:
    """Drop a task from memory: closed, or due later than what memory follows."""
    task.waits = False
    task.stamp += 1
    del shard.tasks[task.task_id]


def unsend(engine: Engine, task: TaskState, *, over: bool = True) -> None:
    """The run is proven not to have begun on its executor: the claim is unsent again.

    Without `over` it may still run there, and holds the place of its key.
    """
    executor = engine.executors.get(task.head.incarnation)
    run = task.run_id
    if executor is not None and run is not None:
        executor.runs.pop(run, None)
    if over and run is not None:
        engine.gates.over(run)
    task.sent = False
    task.started_ms = None
    task.pulse = None
