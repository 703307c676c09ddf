"""Orders ahead of their instant (ADR 19).

An owner that hands out much would take a step, and send a message, for almost every millisecond.
Instead it hands out together what falls due within the next moments, and the executor keeps each
order until its instant. Such an order has not begun: it can be taken back like any other (R14).

Only while nobody waits, to an executor with room to spare that says it keeps orders; everything
else is handed out when it is due. Must never let anything begin before its due time (R24).
"""

from __future__ import annotations

from typing import Final

from timeball_server.core.engine.executor_memory import ExecutorState
from timeball_server.core.engine.state import Engine, TaskState
from timeball_server.core.model import DeliveryMode

GRID_MS: Final = 40
"""Orders leave at multiples of this, from one to two of them ahead."""


def hand_out_ms(engine: Engine, task: TaskState) -> int:
    """When to look at a claimed task that is not due: at its instant, or so much ahead of it."""
    due_ms = task.due_ms
    ahead_ms = due_ms - due_ms % GRID_MS - GRID_MS
    return ahead_ms if ahead_ms > engine.now_ms and is_busy(engine) else due_ms


def is_busy(engine: Engine) -> bool:
    """Whether gathering saves more than it costs whoever waits."""
    return engine.pace.per_s(engine.mono_ms) >= engine.config.busy_from_per_s


def is_near(engine: Engine, task: TaskState) -> bool:
    """Whether the order may leave: it is due, or will be so soon that an executor may keep it."""
    return task.due_ms - engine.now_ms <= 2 * GRID_MS


def keeper(engine: Engine, task: TaskState) -> ExecutorState | None:
    """The executor that may be given a claimed task now, to keep until it is due; or None.

    What may begin once at most is never given away early: the death of an executor would cost it
    its start without need.
    """
    if engine.ready.entries or not is_near(engine, task):
        return None
    spec = task.spec
    if spec.mode is DeliveryMode.AT_MOST_ONCE or engine.gates.concerns(spec):
        return None
    executor = engine.executors.get(task.head.incarnation)
    if executor is None or not executor.keeps_orders or not executor.stream_open:
        return None
    has_ample_room = 2 * executor.free > executor.facts.slots and not executor.left_out
    return executor if has_ample_room and executor.has_room(spec.handler) else None
