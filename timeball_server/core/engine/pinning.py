"""Showing only what is ours: the head is confirmed in our epoch before anyone is told of it.

Rules R8 and R17. A row of an earlier epoch may have been seen on one replica only, and its hint
on none that a scan reads; so a live task's hint is written again with the confirmation.
"""

from __future__ import annotations

from dataclasses import replace

from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import Outcome, Rejected
from timeball_server.core.engine import repeating
from timeball_server.core.engine.state import AnyCommand, Engine, ShardState, TaskState
from timeball_server.core.engine.writing import adopted_event, begin, due_row, reply, scan_floor
from timeball_server.core.journal import DueRow


def pinned(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: AnyCommand
) -> bool:
    """Whether the head is of our epoch; if not, it is adopted first and the command waits."""
    if task.head.epoch == shard.epoch:
        return True
    task.waiting.insert(0, (token, command))
    adopt(engine, shard, task)
    return False


def answer(
    engine: Engine,
    shard: ShardState,
    task: TaskState,
    token: int,
    command: AnyCommand,
    outcome: Outcome,
) -> None:
    """Tell a caller what the head says; the command waits if that must be confirmed first."""
    if pinned(engine, shard, task, token, command):
        repeating.note(shard, task.task_id, command, outcome)
        reply(engine, token, outcome)


def refuse(
    engine: Engine,
    shard: ShardState,
    task: TaskState,
    token: int,
    command: AnyCommand,
    rejected: Rejected,
) -> None:
    """Refuse what follows from the request and not from the head, which need not be confirmed."""
    repeating.note(shard, task.task_id, command, rejected)
    reply(engine, token, rejected)


def adopt(engine: Engine, shard: ShardState, task: TaskState) -> None:
    """Write the head once more in our epoch, its hint first."""
    engine.counters.adopted += 1
    row = adopted_event(engine, shard, task)
    begin(engine, shard, task, row, hint=_hint_again(shard, task))


def _hint_again(shard: ShardState, task: TaskState) -> DueRow | None:
    """The live alarm's hint, where a scan will find it; a closed task has none."""
    alarm = task.head.alarm
    if alarm is None:
        return None
    # As it was written first: under one key there is one content, and an update may lie between.
    said = (row for row in task.chain if (row.seq, row.epoch) == (alarm.seq, alarm.epoch))
    row = replace(next(said, task.head), alarm=alarm)
    return due_row(shard, task, row, max(minute_of(alarm.due_ms), scan_floor(shard)))
