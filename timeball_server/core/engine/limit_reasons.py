"""What limits keep a task waiting: its key's places, its key's rate, its handler's rate.

Only looks. Must never take a place or count a start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from timeball_server.core.engine.gate import Gate
from timeball_server.core.engine.state import Engine, TaskState
from timeball_server.core.explanation import BlockingCause, Reason

_NAMED_MAX: Final = 5


def limit_reasons(engine: Engine, task: TaskState) -> Iterator[Reason]:
    """The limits that let nobody through now; nothing = none of them holds the task back."""
    key = engine.gates.key_gate(task, engine.mono_ms)
    if key is not None:
        if task.shard in engine.gates.unsettled:
            yield _not_known_yet(engine, task)
        elif key.places_left <= 0:
            yield _full(engine, task, key)
        if key.bucket is not None and key.bucket.free(engine.mono_ms) <= 0:
            yield _too_many(engine, task, key, f"key {key.subject.name}")
    handler = engine.gates.handler_gate(task.spec, engine.mono_ms)
    if handler is not None and handler.free(engine.mono_ms) <= 0:
        yield _too_many(engine, task, handler, f"handler {handler.subject.name}")


def _not_known_yet(engine: Engine, task: TaskState) -> Reason:
    key = task.spec.concurrency_key
    return Reason(
        cause=BlockingCause.KEY_LIMIT,
        sentence=f"{engine.node} has taken shard {task.shard} and does not know yet what runs of "
        f"key {key}",
        since_ms=task.due_ms,
        next_check="it has read the shard, and executors have said what they run",
        details=(("key", key), ("shard", str(task.shard))),
    )


def _full(engine: Engine, task: TaskState, gate: Gate) -> Reason:
    running = len(gate.runs) + len(gate.reserved)
    nodes = sorted({str(place.node) for place in gate.runs.values()})
    more = ["..."] if len(nodes) > _NAMED_MAX else []
    return Reason(
        cause=BlockingCause.KEY_LIMIT,
        sentence=f"{running} tasks of key {gate.subject.name} run, and {gate.most} may at once",
        since_ms=task.due_ms,
        next_check="one of them ends",
        details=(
            *(("key", gate.subject.name), ("concurrency", str(gate.most))),
            *(("running", str(running)), ("executors", ", ".join(nodes[:_NAMED_MAX] + more))),
        ),
    )


def _too_many(engine: Engine, task: TaskState, gate: Gate, what: str) -> Reason:
    wait_ms = None if gate.bucket is None else gate.bucket.wait_ms(engine.mono_ms)
    return Reason(
        cause=BlockingCause.RATE_LIMIT,
        sentence=f"as many tasks of {what} have started as its rate allows",
        since_ms=task.due_ms,
        next_check_ms=None if wait_ms is None else engine.now_ms + max(1, wait_ms),
        next_check="the next one may start" if wait_ms is not None else "this node owns shards",
        details=(("limited", what),),
    )
