"""Journal entries in words: what people read when they ask what happened to a task.

Owns the sentences. Must never decide anything: programs read the entry's other fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from timeball_server.core.journal import (
    EventKind,
    EventRow,
    NoteDetail,
    OutcomeDetail,
    ProgressDetail,
    ScheduleDetail,
)
from timeball_server.core.model import EventView

_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


def instant_text(instant_ms: int) -> str:
    """An instant as RFC 3339 in UTC with milliseconds; far ones in plain milliseconds."""
    try:
        instant = _START + timedelta(milliseconds=instant_ms)
    except OverflowError:
        return f"{instant_ms} ms after 1970"
    return f"{instant.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def event_view(row: EventRow, *, accepted: bool) -> EventView:
    """One journal entry as people see it; a row off the chain says that it does not hold."""
    sentence = _SENTENCES[row.kind](row)
    if isinstance(row.detail, NoteDetail):
        sentence = f"{sentence}: {row.detail.text}"
    return EventView(
        seq=row.seq,
        epoch=row.epoch,
        kind=row.kind.value,
        state=row.state.value,
        at_ms=row.at_ms,
        actor=row.actor,
        text=sentence if accepted else f"not accepted: {sentence}",
    )


def _due(row: EventRow) -> str:
    return "now" if row.alarm is None else instant_text(row.alarm.due_ms)


def _failure(row: EventRow) -> str:
    if not isinstance(row.detail, OutcomeDetail) or row.detail.failure is None:
        return ""
    return f" ({row.detail.failure.kind}: {row.detail.failure.message})"


def _kept(row: EventRow) -> str:
    return ", its checkpoint is kept" if isinstance(row.detail, ProgressDetail) else ""


def _again(row: EventRow) -> str:
    """What a checkpoint is kept with says nothing of that, unless it is time to."""
    moved = row.alarm is not None and (row.alarm.seq, row.alarm.epoch) == (row.seq, row.epoch)
    return f"; looked at again at {_due(row)}" if moved else ""


def _cause(row: EventRow) -> str:
    if not isinstance(row.detail, OutcomeDetail) or row.detail.cause is None:
        return ""
    return f", cause {row.detail.cause.value}"


def _why(row: EventRow) -> str:
    known = isinstance(row.detail, ScheduleDetail) and row.detail.ended_cause
    return f": {known}" if known else ""


_SENTENCES: Final[Mapping[EventKind, Callable[[EventRow], str]]] = {
    EventKind.CREATED: lambda row: f"created, due {_due(row)}, priority {row.priority}",
    EventKind.BORN_CLAIMED: lambda row: (
        f"created due at once and claimed for {row.executor}, priority {row.priority}"
    ),
    EventKind.UPDATED: lambda row: f"updated to revision {row.revision}, due {_due(row)}",
    EventKind.RESCHEDULED: lambda row: f"moved to {_due(row)}",
    EventKind.CLAIMED: lambda row: (
        f"attempt {row.attempt} claimed for {row.executor}, priority {row.priority}"
    ),
    EventKind.RELEASED: lambda row: "claim given back; the attempt had not begun",
    EventKind.RENEWED: lambda row: f"still in hand{_kept(row)}{_again(row)}",
    EventKind.RETRY: lambda row: (
        f"attempt {row.attempt} failed{_failure(row)}; "
        f"next one due {_due(row)} with priority {row.priority}"
    ),
    EventKind.SUCCEEDED: lambda row: f"attempt {row.attempt} succeeded",
    EventKind.DEAD: lambda row: f"failed for good{_failure(row)}{_cause(row)}",
    EventKind.CANCELLED: lambda row: "cancelled",
    EventKind.TERMINATED: lambda row: "terminated",
    EventKind.LOST: lambda row: (
        f"executor of attempt {row.attempt} vanished and the task may run at most once"
    ),
    EventKind.DELETED: lambda row: "deleted",
    EventKind.VOID: lambda row: "voided: it never existed for anyone",
    EventKind.SCHEDULE_CREATED: lambda row: f"schedule created, first nominal time {_due(row)}",
    EventKind.TICK: lambda row: f"nominal time decided, next one {_due(row)}",
    EventKind.LAST_TICK: lambda row: f"last nominal time decided; schedule ended{_why(row)}",
    EventKind.SCHEDULE_ENDED: lambda row: f"schedule ended{_why(row)}",
    EventKind.SCHEDULE_UPDATED: lambda row: f"schedule changed, next nominal time {_due(row)}",
    EventKind.SCHEDULE_PAUSED: lambda row: "schedule paused",
    EventKind.SCHEDULE_RESUMED: lambda row: f"schedule resumed, next nominal time {_due(row)}",
    EventKind.TRIGGERED: lambda row: "a run launched by hand",
    EventKind.BACKFILL_BEGUN: lambda row: "backfill begun",
    EventKind.BACKFILLED: lambda row: "a run launched by a backfill",
    EventKind.BACKFILL_STOPPED: lambda row: "backfill stopped",
    EventKind.LOOKED: lambda row: f"looked at, nothing decided; again at {_due(row)}",
    EventKind.UNREADABLE: lambda row: "this version cannot read what was appended here",
    EventKind.ADOPTED: lambda row: f"confirmed by the owner of epoch {row.epoch}",
}
