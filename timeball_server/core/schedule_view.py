"""A schedule as people see it, folded from its head alone: each of its events says everything."""

from __future__ import annotations

from timeball_server.core.journal import NO_EPOCH, EventRow, ScheduleDetail, State
from timeball_server.core.model import ScheduleSpec, ScheduleView
from timeball_server.core.schedules import calendars


def hand_ms(head: EventRow) -> int | None:
    """The nominal time in hand; None = there is none, or it is not known yet."""
    detail, alarm = head.detail, head.alarm
    if isinstance(detail, ScheduleDetail) and detail.hand_epoch != NO_EPOCH:
        return detail.next_ms
    return None if alarm is None else alarm.due_ms


def why_over(spec: ScheduleSpec, last_ms: int, runs: int) -> str:
    """Why no nominal time comes after the last one and so many runs; empty if one does."""
    if spec.max_runs and runs >= spec.max_runs:
        return f"all {spec.max_runs} runs are launched"
    return calendars.why_over(spec.when, last_ms)


def schedule_view(head: EventRow) -> ScheduleView | None:
    """The schedule behind a head, None for what was voided before it existed."""
    detail = head.detail
    if not isinstance(detail, ScheduleDetail):
        return None
    ended = head.state is State.ENDED
    next_ms = None if ended else hand_ms(head)
    waiting = [waiting_ms for waiting_ms, _ in detail.buffered]
    return ScheduleView(
        schedule_id=head.task_id,
        spec=detail.spec,
        next_ms=next_ms,
        runs=detail.runs,
        created_ms=head.created_ms,
        revision=head.revision,
        ended=ended,
        recent=detail.recent,
        version=detail.version,
        updated_ms=detail.updated_ms or head.created_ms,
        paused=detail.paused,
        open=detail.open,
        buffered=tuple(waiting),
        backfills=detail.backfills,
        ended_ms=detail.ended_ms,
        ended_cause=detail.ended_cause,
        undecided_ms=min([*waiting, *([] if next_ms is None else [next_ms])], default=None),
    )
