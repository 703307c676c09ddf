"""A wall clock that was put back: what is due waits for it (rule R24), our own waits do not.

What an owner only means to look at again in a while is kept as an instant of the wall clock. Such
instants come back with the clock; else a silent handler, an executor that was left out, or a
schedule that catches up would wait longer by as much as the clock was wrong.
"""

from __future__ import annotations

from typing import Final

from timeball_server.core.engine.state import Engine, ScheduleState, TaskState

LEAST_MS: Final = 1_000
"""Less is how clocks are kept right all the time."""


def look(engine: Engine, wall_ms: int, mono_ms: int) -> None:
    """Notice a clock that was put back; call before the engine takes the instants over."""
    by_ms = engine.now_ms + (mono_ms - engine.mono_ms) - wall_ms
    if by_ms < LEAST_MS:
        return
    engine.next_turn_ms -= by_ms
    engine.next_health_ms -= by_ms
    for executor in engine.executors.values():
        executor.health.put_back(by_ms)
    for shard in engine.shards.values():
        for task in shard.tasks.values():
            _look_sooner(engine, task, by_ms, wall_ms)


def _look_sooner(engine: Engine, task: TaskState, by_ms: int, wall_ms: int) -> None:
    if isinstance(task, ScheduleState):
        if task.turn_ms is not None:
            task.turn_ms -= by_ms
            engine.at(task, task.turn_ms)
    elif task.sent:
        engine.at(task, wall_ms + engine.config.renew_after_ms)
        if task.pulse is not None:
            task.pulse.look_ms -= by_ms
            engine.at(task, task.pulse.look_ms)
