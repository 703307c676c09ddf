"""How long news may wait for company before the engine takes a step. Pure; decides nothing else.

A step costs many times what one more event in it does, so what nobody waits for waits for a step
that is made anyway. What is due is no news: its own instant makes the step.
"""

from __future__ import annotations

from typing import Final

from timeball_server.core.commands import CreateTask
from timeball_server.core.engine import events
from timeball_server.core.engine.state import Engine
from timeball_server.core.messages import Capacity, Finished, RunResult, Started

PACE_MS: Final = 5
"""Between steps for what may wait: a busy node takes more in at once, an idle one acts at once."""
EASY_MS: Final = 20
"""The same for news that nobody waits for: most often a step for what is due takes them along."""


def patience_ms(engine: Engine, event: events.Event) -> int:
    """How old the last step may become before the one that takes this in: 0 = somebody waits."""
    if isinstance(event, events.CommandArrived):
        command = event.command
        return PACE_MS if isinstance(command, CreateTask) and command.due_ms is not None else 0
    if not isinstance(event, events.ExecutorSaid):
        return 0
    easy_ms = PACE_MS if engine.ready.entries else EASY_MS  # whoever waits, waits for a slot
    if isinstance(event.message, Finished):
        return min((_of_result(engine, each, easy_ms) for each in event.message.results), default=0)
    return easy_ms if isinstance(event.message, Started | Capacity) else 0


def _of_result(engine: Engine, result: RunResult, easy_ms: int) -> int:
    """A result that is awaited is taken in at once, one that lets another run begin soon."""
    shard, task_id = engine.shards.get(result.shard), result.run.task_id
    task = shard.tasks.get(task_id) if shard is not None else None
    if task is None:
        return easy_ms
    if engine.is_awaited(result.shard, task_id):
        return 0
    holds_others_up = bool(task.spec.concurrency_key) or task.spec.nominal_ms is not None
    return PACE_MS if holds_others_up else easy_ms
