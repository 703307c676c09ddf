"""Appending to journals: one event of a task at a time, durable before anything follows.

Rules R3 (lease before and after a write), R5 (numbers), R7 (sent is the future), R9 (a new
alarm's hint first), R10 (the lock is handed over directly).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import Outcome, Rejected, RejectionReason
from timeball_server.core.engine.effects import GiveUp, Reply, ShardQuiet, Write
from timeball_server.core.engine.state import (
    Engine,
    ExecutorState,
    Mutation,
    Phase,
    ScheduleState,
    ShardState,
    TaskState,
)
from timeball_server.core.ids import Incarnation, Minute, NodeId
from timeball_server.core.journal import (
    CLOSED,
    TERMINAL,
    Alarm,
    DeadLetterRow,
    Detail,
    DueRow,
    EventKind,
    EventRef,
    EventRow,
    OutcomeDetail,
    OwnerListRow,
    Row,
    SpecDetail,
    State,
    StateListRow,
    next_state,
)
from timeball_server.core.model import TaskSpec

Then = Callable[[Engine, Mutation], None]
_SPEC_EVENTS = frozenset({EventKind.CREATED, EventKind.BORN_CLAIMED, EventKind.UPDATED})
_CLAIM_EVENTS = frozenset({EventKind.CLAIMED, EventKind.BORN_CLAIMED})
_UNCLAIM_EVENTS = frozenset({EventKind.RELEASED, EventKind.UPDATED, EventKind.RESCHEDULED})
_LINGER_MS: Mapping[EventKind, int] = MappingProxyType(
    {
        EventKind.CREATED: 20,
        EventKind.CLAIMED: 100,
        EventKind.SUCCEEDED: 100,
        EventKind.RETRY: 20,
        EventKind.DEAD: 20,
    }
)
"""How long an event may wait for company. A caller waits for its creation, but nobody for a start
of it; a claim is made a second ahead; a result stays with its executor until it is durable."""
_RUN_LINGER_MS = 20
"""The same for a run of a schedule: its next one may wait for the end of this one."""
_SOON_MS = 200
"""What is due within this is in a hurry."""
_USER_EVENTS = frozenset(
    {EventKind.UPDATED, EventKind.RESCHEDULED, EventKind.CANCELLED, EventKind.TERMINATED}
)


def following_event(
    engine: Engine,
    shard: ShardState,
    task: TaskState,
    kind: EventKind,
    *,
    actor: str,
    request_id: str = "",
    due_ms: int | None = None,
    executor: tuple[NodeId, Incarnation] | None = None,
    unaccounted: tuple[str, ...] | None = None,
    detail: Detail | None = None,
) -> EventRow:
    """Build the event that follows the head: numbers, links and what carries over.

    Args:
        due_ms: a new alarm; None keeps the head's. A closing event has none in any case.
        executor: named by a claim; other events keep the head's.
        unaccounted: replaces the head's list (rule R15); None keeps it.
    """
    head = task.head
    state = next_state(head.state, kind)
    seq, epoch = head.seq + 1, shard.epoch
    alarm = head.alarm if due_ms is None else Alarm(due_ms, seq, epoch)
    claim = kind in _CLAIM_EVENTS
    return EventRow(
        task_id=task.task_id,
        epoch=epoch,
        seq=seq,
        kind=kind,
        state=state,
        alarm=None if state in CLOSED else alarm,
        attempt=_attempt_after(head, kind),
        run=EventRef(seq, epoch) if claim else (None if state is State.PENDING else head.run),
        executor=executor[0] if executor else head.executor,
        incarnation=executor[1] if executor else head.incarnation,
        prev_epoch=head.epoch,
        spec_at=EventRef(seq, epoch) if kind in _SPEC_EVENTS else head.spec_at,
        revision=head.revision + (kind in _USER_EVENTS),
        priority=task.refresh_priority(engine.now_ms) if claim else head.priority,
        unaccounted=head.unaccounted if unaccounted is None else unaccounted,
        request_id=request_id,
        at_ms=engine.now_ms,
        created_ms=head.created_ms,
        actor=actor,
        detail=detail,
    )


def _attempt_after(head: EventRow, kind: EventKind) -> int:
    if kind is EventKind.CLAIMED:
        return head.attempt + (head.state is not State.CLAIMED)
    if kind in _UNCLAIM_EVENTS and head.state is State.CLAIMED:
        return head.attempt - 1
    return head.attempt


def due_row(shard: ShardState, task: TaskState, row: EventRow, minute: int) -> DueRow:
    """The hint of a new alarm, in the given minute's bucket."""
    if row.alarm is None:
        raise AssertionError("an event without an alarm has no hint")
    home = task.home
    part = home.part if minute == home.minute else open_part(shard, minute)
    return DueRow(
        minute=minute,
        part=part,
        due_ms=row.alarm.due_ms,
        task_id=task.task_id,
        seq=row.alarm.seq,
        epoch=row.alarm.epoch,
        handler=task.spec.handler or _spec_handler(row),
        priority=row.priority,
    )


def moved_hint(engine: Engine, shard: ShardState, task: TaskState, row: EventRow) -> DueRow | None:
    """The hint that must be durable before an event; None if the alarm stays or ends (R9)."""
    if row.alarm is None or row.alarm == task.head.alarm:
        return None
    return due_row(shard, task, row, alarm_minute(engine, shard, task, row.alarm.due_ms))


def _spec_handler(row: EventRow) -> str:
    return row.detail.spec.handler if isinstance(row.detail, SpecDetail) else ""


def open_part(shard: ShardState, minute: int) -> int:
    """The part of a bucket that takes new rows now."""
    return shard.parts[minute][0] if minute in shard.parts else 0


def alarm_minute(engine: Engine, shard: ShardState, task: TaskState, due_ms: int) -> int:
    """The bucket that holds an alarm (rules R18, R22).

    What is due already stays in its home bucket if that is still scanned, so that creation is
    one mutation; everything else lies in the minute of its due time, never below scan_from.
    """
    home = task.home.minute
    if due_ms <= engine.now_ms and scan_floor(shard) <= home <= minute_of(engine.now_ms):
        return home
    return max(minute_of(due_ms), scan_floor(shard))


def scan_floor(shard: ShardState) -> Minute:
    """The first bucket that a later take-over is sure to read.

    Buckets that were swept already count as passed: the watermark may be on its way over them.
    """
    return max(shard.scan_from, shard.swept_below)


def begin(
    engine: Engine,
    shard: ShardState,
    task: TaskState,
    row: EventRow,
    *,
    hint: DueRow | None = None,
    token: int | None = None,
    then: Then | None = None,
    reserved: ExecutorState | None = None,
    also: tuple[Row, ...] = (),
) -> None:
    """Send an event on its way. The task is held until it is durable or the epoch ends.

    A hint in another partition than the journal is made durable first (rule R9). `also` are
    rows that become durable together with the event.
    """
    if task.pending is not None:
        raise AssertionError(f"{task.task_id} has an event in flight")
    task.pending = row
    shard.mutations += 1
    rows = (row, *_projections(task, row), *also)
    together = hint is not None and (hint.minute, hint.part) == (task.home.minute, task.home.part)
    if hint is not None and together:
        rows = (hint, *rows)
    mutation = Mutation(
        task=task,
        epoch=shard.epoch,
        row=row,
        rows=rows,
        due_first=None if together else hint,
        token=token,
        then=then,
        reserved=reserved,
        alarm_minute=None if hint is None else hint.minute,
        linger_ms=_linger_ms(shard, task, row, reserved),
    )
    if reserved is not None:
        reserved.reserve(task.spec.handler)
    if hint is not None:  # no sweep passes either bucket meanwhile (rule R18)
        task.alarm_minute = min(task.alarm_minute, hint.minute)
    _send(engine, shard, mutation)


def _linger_ms(
    shard: ShardState, task: TaskState, row: EventRow, reserved: ExecutorState | None
) -> int:
    """How long this event may wait for others; not at all where a start or a person waits."""
    if reserved is not None or task.immediate or task.task_id in shard.watchers:
        return 0
    if row.alarm is not None and row.alarm.due_ms < row.at_ms + _SOON_MS:
        return 0
    linger_ms = _LINGER_MS.get(row.kind, 0)
    return linger_ms if task.spec.nominal_ms is None else min(linger_ms, _RUN_LINGER_MS)


def write_rows(
    engine: Engine,
    shard: ShardState,
    task: TaskState,
    rows: tuple[Row, ...],
    then: Then,
    *,
    token: int | None = None,
) -> None:
    """Make rows durable that change nothing by themselves; the task is not held.

    Args:
        token: of a caller who is to hear "unknown" if the shard is lost meanwhile.
    """
    shard.mutations += 1
    mutation = Mutation(
        task=task, epoch=shard.epoch, row=None, rows=rows, due_first=None, token=token, then=then
    )
    _send(engine, shard, mutation)


def _send(engine: Engine, shard: ShardState, mutation: Mutation) -> None:
    number = engine.number()
    engine.inflight[number] = mutation
    first = mutation.due_first
    rows: tuple[Row, ...] = mutation.rows if first is None else (first,)
    engine.out.append(Write(number, shard.shard, shard.epoch, rows, mutation.linger_ms))


def _projections(task: TaskState, row: EventRow) -> tuple[Row, ...]:
    """Rows of listings that follow from an event; each carries the epoch or is idempotent."""
    if row.seq == 1 and isinstance(row.detail, SpecDetail):
        return (listing(row, row.detail.spec),)
    if row.kind is not EventKind.RETRY and row.state not in TERMINAL:
        return ()
    if row.kind is EventKind.ADOPTED:
        return ()
    spec = task.spec
    state = "RETRYING" if row.kind is EventKind.RETRY else str(row.state)
    listed = StateListRow(
        namespace=spec.namespace,
        state=state,
        at_ms=row.at_ms,
        task_id=task.task_id,
        epoch=row.epoch,
    )
    if row.state not in (State.DEAD, State.LOST):
        return (listed,)
    outcome = row.detail if isinstance(row.detail, OutcomeDetail) else OutcomeDetail()
    letter = DeadLetterRow(
        namespace=spec.namespace,
        at_ms=row.at_ms,
        task_id=task.task_id,
        epoch=row.epoch,
        handler=spec.handler,
        cause=str(outcome.cause or ""),
        message=outcome.failure.message if outcome.failure else "",
    )
    return (listed, letter)


def listing(row: EventRow, spec: TaskSpec) -> OwnerListRow:
    """The task's line in its user's list."""
    return OwnerListRow(
        namespace=spec.namespace,
        owner=spec.owner,
        created_ms=row.created_ms,
        task_id=row.task_id,
        handler=spec.handler,
        epoch=row.epoch,
    )


def written(engine: Engine, number: int) -> Mutation | None:
    """A write is durable: go on with its second half, or take the event as the head.

    Returns the finished mutation whose task is free now, None when there is nothing to do
    (the shard was lost meanwhile, or only the hint is durable so far).
    """
    mutation = engine.inflight.pop(number, None)
    if mutation is None:
        return None
    shard = engine.shards.get(mutation.task.shard)
    if shard is None or mutation.epoch != shard.epoch:
        return None
    if mutation.due_first is not None:
        _send_second_half(engine, shard, mutation)
        return None
    task = mutation.task
    shard.mutations -= 1
    if mutation.row is None:
        if mutation.then is not None:
            mutation.then(engine, mutation)
        return None
    task.append(mutation.row)
    task.pending = None
    if mutation.alarm_minute is not None:
        task.alarm_minute = mutation.alarm_minute
    if mutation.reserved is not None:
        mutation.reserved.unreserve(task.spec.handler)
    _tell(engine, shard, task)
    if mutation.then is not None:
        mutation.then(engine, mutation)
    return mutation


def _tell(engine: Engine, shard: ShardState, task: TaskState) -> None:
    """A task has changed: tell those who would work with what it was, or wait for it."""
    shard.touch(task.task_id)
    if engine.gates.concerns(task.spec):
        engine.gates.touched(task)
    if task.task_id in shard.watchers:
        engine.changed[task.task_id] = task


def _send_second_half(engine: Engine, shard: ShardState, mutation: Mutation) -> None:
    mutation.due_first = None
    _send(engine, shard, mutation)


def adopted_event(engine: Engine, shard: ShardState, task: TaskState) -> EventRow:
    """The same state once more, in our own epoch: now it may be shown (rule R17)."""
    detail = task.detail if isinstance(task, ScheduleState) else None
    return following_event(engine, shard, task, EventKind.ADOPTED, actor=engine.node, detail=detail)


def reply(engine: Engine, token: int | None, outcome: Outcome) -> None:
    """Answer a caller; without the lease nothing but "unknown" may be said (rule R3)."""
    if token is None:
        return
    if not engine.lease_holds:
        outcome = unknown("this node may have lost the shard before it could answer")
    engine.out.append(Reply(token, outcome))


def unknown(why: str) -> Rejected:
    """The outcome of what may or may not have happened."""
    return Rejected(
        RejectionReason.UNKNOWN,
        f"{why}; repeat the call with the same request_id to learn the outcome",
    )


def not_owned(shard: int) -> Rejected:
    """The outcome for callers who came to the wrong node; nothing was done."""
    return Rejected(RejectionReason.NOT_OWNED, f"shard {shard} is not owned by this node")


def drop_shard(engine: Engine, shard: ShardState) -> None:
    """Forget everything of a shard and answer those who wait (rules R2, R7)."""
    del engine.shards[shard.shard]
    engine.gates.dropped(shard.shard, engine.mono_ms)
    for number in [n for n, m in engine.inflight.items() if m.task.shard == shard.shard]:
        mutation = engine.inflight.pop(number)
        if mutation.reserved is not None:
            mutation.reserved.unreserve(mutation.task.spec.handler)
        if mutation.token is not None:
            why = "the shard changed hands while the write was under way"
            engine.out.append(Reply(mutation.token, unknown(why)))
    for token in _waiting_tokens(shard):
        engine.out.append(Reply(token, not_owned(shard.shard)))
    for executor in engine.executors.values():
        for run in [r for r, t in executor.runs.items() if t.shard == shard.shard]:
            del executor.runs[run]
    for incarnation, orders in engine.outbox.items():
        engine.outbox[incarnation] = [o for o in orders if o.shard != shard.shard]
    for task in shard.tasks.values():
        task.waits = False
        task.stamp += 1


def _waiting_tokens(shard: ShardState) -> list[int]:
    tokens: list[int] = []
    for found in shard.finding.values():
        tokens += [token for token, _ in found]
    for task in shard.tasks.values():
        tokens += [token for token, _ in task.waiting]
        tokens += [token for token, _ in task.revokes]
    for watchers in shard.watchers.values():
        tokens += watchers
    tokens += [token for token, _ in shard.barred]
    return tokens


def give_up(engine: Engine, shard: ShardState, reason: str) -> None:
    """End our epoch of a shard: forget it and have its ownership released (rules R4, R7)."""
    engine.counters.given_up += 1
    drop_shard(engine, shard)
    engine.out.append(GiveUp(shard.shard, shard.epoch, reason))


def settle_release(engine: Engine, shard: ShardState) -> None:
    """Say when a shard that is handed over has nothing in flight any more.

    What this step has handed out goes out before: it is marked as sent.
    """
    if shard.phase is Phase.RELEASING and shard.mutations == 0:
        engine.send_orders()
        took_ms = engine.mono_ms - (shard.leave_at_mono_ms or engine.mono_ms)
        engine.out.append(ShardQuiet(shard.shard, shard.epoch, took_ms))
        drop_shard(engine, shard)
