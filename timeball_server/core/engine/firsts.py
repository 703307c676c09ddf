"""First events of journals: of a task, of a schedule, and of what must never exist."""

from __future__ import annotations

from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.engine.state import Engine, ShardState
from timeball_server.core.ids import Incarnation, TaskId
from timeball_server.core.journal import (
    Alarm,
    Detail,
    EventKind,
    EventRef,
    EventRow,
    NoteDetail,
    State,
    next_state,
)


def first_row(
    engine: Engine,
    shard: ShardState,
    task_id: TaskId,
    kind: EventKind,
    *,
    due_ms: int | None,
    priority: int,
    actor: str,
    request_id: str,
    detail: Detail,
    executor: ExecutorFacts | None = None,
) -> EventRow:
    """Event number 1 of a journal, in the shard's epoch.

    Args:
        due_ms: None = it has no alarm.
        executor: of a task that is claimed as it is created.
    """
    epoch = shard.epoch
    return EventRow(
        task_id=task_id,
        epoch=epoch,
        seq=1,
        kind=kind,
        state=next_state(State.ABSENT, kind),
        alarm=None if due_ms is None else Alarm(due_ms, 1, epoch),
        attempt=0 if executor is None else 1,
        run=None if executor is None else EventRef(1, epoch),
        executor=None if executor is None else executor.node,
        incarnation=Incarnation(0) if executor is None else executor.incarnation,
        prev_epoch=epoch,
        spec_at=EventRef(1, epoch),
        revision=1,
        priority=priority,
        unaccounted=(),
        request_id=request_id,
        at_ms=engine.now_ms,
        created_ms=engine.now_ms,
        actor=actor,
        detail=detail,
    )


def void_row(
    engine: Engine, shard: ShardState, task_id: TaskId, *, actor: str, request_id: str, why: str
) -> EventRow:
    """The fence that keeps a late creation from ever coming to life (rules R8, S4)."""
    engine.counters.voided += 1
    return first_row(
        engine,
        shard,
        task_id,
        EventKind.VOID,
        due_ms=None,
        priority=0,
        actor=actor,
        request_id=request_id,
        detail=NoteDetail(text=why),
    )
