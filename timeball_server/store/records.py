"""Rows as plain tuples and back, the same for every database with columns.

A tuple has the columns listed here in that order, the key's first. Knows no statement and no
database: what a value becomes there is the adapter's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from timeball.errors import NewerVersionNeeded

from timeball_server.core.buckets import month_of
from timeball_server.core.ids import Epoch, Incarnation, NodeId, TaskId
from timeball_server.core.journal import (
    Alarm,
    DeadLetterRow,
    DueRow,
    EventKind,
    EventRef,
    EventRow,
    LedgerRow,
    NoteDetail,
    OwnerListRow,
    Row,
    ScheduleDetail,
    State,
    StateListRow,
    VersionRow,
)
from timeball_server.store.codec import decode_detail, decode_texts, encode_detail, encode_texts
from timeball_server.store.keys import day_of, home_bucket, slice_of

RowT = TypeVar("RowT", bound=Row)
FOREIGN: Final = (NewerVersionNeeded, ValueError, TypeError, msgspec.MsgspecError)
"""What reading an event raises that another version of us wrote, or that is damaged."""
Values = tuple[Any, ...]
"""None, int, str or bytes, one for each column."""

EVENT_KEY: Final = ("minute", "shard", "part", "task_id", "epoch", "seq")
EVENT_COLUMNS: Final = (
    *EVENT_KEY,
    *("kind", "state", "alarm_due_ms", "alarm_seq", "alarm_epoch", "attempt"),
    *("run_seq", "run_epoch", "executor", "incarnation", "prev_epoch", "spec_seq", "spec_epoch"),
    *("revision", "priority", "unaccounted", "request_id", "at_ms", "created_ms"),
    *("actor", "detail"),
)
DUE_KEY: Final = ("minute", "shard", "part", "due_ms", "task_id", "seq", "epoch")
DUE_COLUMNS: Final = (*DUE_KEY, "handler", "priority")
BY_OWNER_KEY: Final = ("namespace", "owner", "day", "created_ms", "task_id", "epoch")
BY_OWNER_COLUMNS: Final = (*BY_OWNER_KEY, "handler")
BY_STATE_KEY: Final = ("namespace", "state", "day", "slice", "at_ms", "task_id", "epoch")
BY_STATE_COLUMNS: Final = BY_STATE_KEY
DEAD_LETTER_KEY: Final = ("namespace", "day", "at_ms", "task_id", "epoch")
DEAD_LETTER_COLUMNS: Final = (*DEAD_LETTER_KEY, "handler", "cause", "message")
LEDGER_KEY: Final = ("schedule_id", "month", "nominal_ms", "epoch")
LEDGER_COLUMNS: Final = (
    *LEDGER_KEY,
    "verdict",
    "task_id",
    "cause",
    "lateness_ms",
    "last_nominal_ms",
    "times",
    "version",
    "down_ms",
    "overlap_ms",
)
VERSION_KEY: Final = ("schedule_id", "version", "epoch")
VERSION_COLUMNS: Final = (*VERSION_KEY, "after_ms", "actor", "detail")


def event_values(row: EventRow) -> Values:
    """The tuple of an event."""
    home = home_bucket(row.task_id)
    return (
        *(home.minute, home.shard, home.part, row.task_id, row.epoch, row.seq),
        *(row.kind.value, row.state.value, *(row.alarm or (None, None, None)), row.attempt),
        *(*(row.run or (None, None)), row.executor, row.incarnation, row.prev_epoch),
        *(*row.spec_at, row.revision, row.priority, encode_texts(row.unaccounted)),
        *(row.request_id, row.at_ms, row.created_ms, row.actor, encode_detail(row.detail)),
    )


def unreadable_from(values: Values, error: Exception) -> EventRow:
    """What stands for an event that this version cannot read: its key, its links, and why.

    It has no alarm, names no run and carries nothing: whatever it says, nothing follows from it.
    """
    (_, _, _, task_id, epoch, seq, kind, state, _, _, _, attempt, _, _, _, _, prev_epoch, spec_seq,
     spec_epoch, revision, priority, _, request_id, at_ms, created_ms, actor,
     _) = values  # fmt: skip
    return EventRow(
        task_id=TaskId(task_id),
        epoch=Epoch(epoch),
        seq=seq,
        kind=EventKind.UNREADABLE,
        state=State.UNREADABLE,
        alarm=None,
        attempt=attempt or 0,
        run=None,
        executor=None,
        incarnation=Incarnation(0),
        prev_epoch=Epoch(prev_epoch or 0),
        spec_at=EventRef(spec_seq or 0, Epoch(spec_epoch or 0)),
        revision=revision or 0,
        priority=priority or 0,
        unaccounted=(),
        request_id=request_id or "",
        at_ms=at_ms or 0,
        created_ms=created_ms or 0,
        actor=actor or "",
        detail=NoteDetail(text=f"{kind} to {state}: {error}"),
    )


def event_from(values: Values, texts: Callable[[Any], tuple[str, ...]] = decode_texts) -> EventRow:
    """The event of a tuple, or what stands for one that this version cannot read.

    Args:
        texts: reads a list of text as the database gives it.
    """
    (_, _, _, task_id, epoch, seq, kind, state, alarm_due_ms, alarm_seq, alarm_epoch, attempt,
     run_seq, run_epoch, executor, incarnation, prev_epoch, spec_seq, spec_epoch, revision,
     priority, unaccounted, request_id, at_ms, created_ms, actor, detail) = values  # fmt: skip
    try:
        return EventRow(
            task_id=TaskId(task_id),
            epoch=Epoch(epoch),
            seq=seq,
            kind=EventKind(kind),
            state=State(state),
            alarm=None if alarm_seq is None else Alarm(alarm_due_ms, alarm_seq, Epoch(alarm_epoch)),
            attempt=attempt,
            run=None if run_seq is None else EventRef(run_seq, Epoch(run_epoch)),
            executor=None if executor is None else NodeId(executor),
            incarnation=Incarnation(incarnation),
            prev_epoch=Epoch(prev_epoch),
            spec_at=EventRef(spec_seq, Epoch(spec_epoch)),
            revision=revision,
            priority=priority,
            unaccounted=texts(unaccounted),
            request_id=request_id,
            at_ms=at_ms,
            created_ms=created_ms,
            actor=actor,
            detail=decode_detail(detail),
        )
    except FOREIGN as error:
        return unreadable_from(values, error)


def due_values(row: DueRow) -> Values:
    """The tuple of a hint; its shard is its task's own (rule R23)."""
    shard = home_bucket(row.task_id).shard
    key = (row.minute, shard, row.part, row.due_ms, row.task_id, row.seq, row.epoch)
    return (*key, row.handler, row.priority)


def due_from(values: Values) -> DueRow:
    """The hint of a tuple."""
    minute, _, part, due_ms, task_id, seq, epoch, handler, priority = values
    return DueRow(
        minute=minute,
        part=part,
        due_ms=due_ms,
        task_id=TaskId(task_id),
        seq=seq,
        epoch=Epoch(epoch),
        handler=handler,
        priority=priority,
    )


def by_owner_values(row: OwnerListRow) -> Values:
    """The tuple of a row in a user's list."""
    partition = (row.namespace, row.owner, day_of(row.created_ms))
    return (*partition, row.created_ms, row.task_id, row.epoch, row.handler)


def by_owner_from(values: Values) -> OwnerListRow:
    """The row in a user's list of a tuple."""
    namespace, owner, _, created_ms, task_id, epoch, handler = values
    return OwnerListRow(
        namespace=namespace,
        owner=owner,
        created_ms=created_ms,
        task_id=TaskId(task_id),
        handler=handler,
        epoch=Epoch(epoch),
    )


def by_state_values(row: StateListRow) -> Values:
    """The tuple of a state hint."""
    partition = (row.namespace, row.state, day_of(row.at_ms), slice_of(row.task_id))
    return (*partition, row.at_ms, row.task_id, row.epoch)


def by_state_from(values: Values) -> StateListRow:
    """The state hint of a tuple."""
    namespace, state, _, _, at_ms, task_id, epoch = values
    return StateListRow(
        namespace=namespace, state=state, at_ms=at_ms, task_id=TaskId(task_id), epoch=Epoch(epoch)
    )


def dead_letter_values(row: DeadLetterRow) -> Values:
    """The tuple of a dead letter."""
    key = (row.namespace, day_of(row.at_ms), row.at_ms, row.task_id, row.epoch)
    return (*key, row.handler, row.cause, row.message)


def dead_letter_from(values: Values) -> DeadLetterRow:
    """The dead letter of a tuple."""
    namespace, _, at_ms, task_id, epoch, handler, cause, message = values
    return DeadLetterRow(
        namespace=namespace,
        at_ms=at_ms,
        task_id=TaskId(task_id),
        epoch=Epoch(epoch),
        handler=handler,
        cause=cause,
        message=message,
    )


def ledger_values(row: LedgerRow) -> Values:
    """The tuple of a verdict."""
    key = (row.schedule_id, month_of(row.nominal_ms), row.nominal_ms, row.epoch)
    verdict = (row.verdict, row.task_id, row.cause, row.lateness_ms)
    span = (row.last_nominal_ms, row.times)
    return (*key, *verdict, *span, row.version, row.down_ms, row.overlap_ms)


def ledger_from(values: Values) -> LedgerRow:
    """The verdict of a tuple; rows from before there were versions have no value there."""
    (schedule_id, _, nominal_ms, epoch, verdict, task_id, cause, lateness_ms, last, times, version,
     down_ms, overlap_ms) = values  # fmt: skip
    return LedgerRow(
        schedule_id=TaskId(schedule_id),
        nominal_ms=nominal_ms,
        epoch=Epoch(epoch),
        verdict=verdict,
        task_id=None if task_id is None else TaskId(task_id),
        cause=cause,
        lateness_ms=lateness_ms,
        last_nominal_ms=last,
        times=times,
        version=1 if version is None else version,
        down_ms=down_ms or 0,
        overlap_ms=overlap_ms or 0,
    )


def version_values(row: VersionRow) -> Values:
    """The tuple of a version."""
    key = (row.schedule_id, row.version, row.epoch)
    return (*key, row.after_ms, row.actor, encode_detail(row.detail))


def version_from(values: Values) -> VersionRow:
    """The version of a tuple.

    Raises:
        NewerVersionNeeded: its bytes are of a kind that only a newer version knows, or broken.
    """
    schedule_id, version, epoch, after_ms, actor, detail = values
    found = decode_detail(detail)
    if not isinstance(found, ScheduleDetail):
        raise NewerVersionNeeded(
            "A stored version of a schedule holds what this version does not know. Run the version "
            "that wrote it, or restore the database."
        )
    return VersionRow(
        schedule_id=TaskId(schedule_id),
        version=version,
        epoch=Epoch(epoch),
        after_ms=after_ms,
        actor=actor,
        detail=found,
    )
