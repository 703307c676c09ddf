"""Telling those who follow tasks: where a task stands, and every change once it is durable.

Rules R3 (nothing after the lease) and R17 (only events of the own epoch are shown). What one step
changes in a task is told once. Must never hold a task back for those who follow it.
"""

from __future__ import annotations

from timeball_server.core.commands import Done, Outcome, WatchTask
from timeball_server.core.engine import commands
from timeball_server.core.engine.pinning import pinned
from timeball_server.core.engine.state import Engine, ShardState, TaskState
from timeball_server.core.engine.writing import reply
from timeball_server.core.ids import TaskId, home_of
from timeball_server.core.journal import CLOSED, TERMINAL


def follow(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: WatchTask
) -> None:
    """Begin: tell where the task stands, if that is asked for or the end, and remember who asks.

    Nothing is shown of an open task whose end alone is awaited, so nothing is pinned for it.
    """
    is_open = task.state not in CLOSED
    if command.every or not is_open:
        if not pinned(engine, shard, task, token, command):
            return
        reply(engine, token, _told(task))
    if is_open:
        shard.watchers.setdefault(task.task_id, {})[token] = command.every


def tell(engine: Engine) -> None:
    """Tell what this step changed, before shards that are handed over are forgotten."""
    changed, engine.changed = engine.changed, {}
    for task in changed.values():
        shard = engine.shards.get(task.shard)
        if shard is not None and task.head.epoch == shard.epoch:
            _tell(engine, shard, task)


def _tell(engine: Engine, shard: ShardState, task: TaskState) -> None:
    watchers = shard.watchers.get(task.task_id, {})
    closed = task.state in CLOSED
    tokens = [token for token, every in watchers.items() if every or closed]
    if tokens:
        told = _told(task)
        for token in tokens:
            reply(engine, token, told)
    if closed:
        shard.watchers.pop(task.task_id, None)


def _told(task: TaskState) -> Outcome:
    """The task as it stands; a closed one that did not end is hidden."""
    if task.state in CLOSED and task.state not in TERMINAL:
        return commands.not_found()
    return Done(commands.view_of(task), fresh=False)


def ended(engine: Engine, token: int, task_id: TaskId) -> None:
    """Forget somebody who does not follow a task any more, wherever the wish has got to."""
    shard = engine.shards.get(home_of(task_id).shard)
    if shard is None:
        return
    shard.barred = [waiting for waiting in shard.barred if waiting[0] != token]
    task = shard.tasks.get(task_id)
    if task is not None:
        task.waiting = [waiting for waiting in task.waiting if waiting[0] != token]
    watchers = shard.watchers.get(task_id)
    if watchers is not None and watchers.pop(token, None) is not None and not watchers:
        del shard.watchers[task_id]
