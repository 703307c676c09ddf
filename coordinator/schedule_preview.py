"""What a schedule would do: its next nominal times, and what catch-up would make of an outage.

Computed here, asked of nobody: the calendar is the whole truth about times to come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from timeball_server.core.ids import TaskId
from timeball_server.core.model import CatchUp, CatchUpPolicy, ScheduleSpec
from timeball_server.core.schedule_view import why_over
from timeball_server.core.schedules import spread
from timeball_server.core.schedules.calendars import (
    count_nominal,
    latest_nominal_ms,
    nominal_times,
)
from timeball_server.core.schedules.marking import Dropped, dropped, marks

MOST_MISSED: Final = 10_000
"""Nominal times of an outage that are counted one by one."""
MOST_DROPPED: Final = 100
_EVER: Final = 2**62
DEFAULT_COUNT: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """A nominal time to come; `due_ms` None = it is not shifted."""

    nominal_ms: int
    marks: tuple[str, ...]
    due_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Times to come, local times that clocks drop among them, and what was missed.

    `end_cause`: why there are fewer than wished for, in words.
    """

    times: tuple[Coming, ...]
    end_cause: str = ""
    dropped: tuple[Dropped, ...] = ()
    missed: int = 0
    caught_up: int = 0


def preview(
    spec: ScheduleSpec,
    after_ms: int,
    count: int,
    *,
    schedule_id: TaskId | None = None,
    left: int | None = None,
) -> Preview:
    """The next nominal times strictly after an instant; `left` = so many runs until it ends."""
    calendar, wished = spec.when, count or DEFAULT_COUNT
    times = nominal_times(calendar, after_ms, _EVER, wished if left is None else min(wished, left))
    shifted = schedule_id is not None and bool(calendar.jitter_ms or calendar.window_ms)
    coming = tuple(
        Coming(
            nominal_ms=nominal_ms,
            marks=tuple(mark.value for mark in marks(calendar, nominal_ms)),
            due_ms=spread.due_ms(calendar, schedule_id or "", nominal_ms) if shifted else None,
        )
        for nominal_ms in times
    )
    gone = dropped(calendar, after_ms, times[-1], MOST_DROPPED) if times else ()
    runs = 0 if left is None else spec.max_runs - left + len(times)
    last_ms = times[-1] if times else after_ms
    cause = why_over(spec, last_ms, runs) if len(times) < wished else ""
    return Preview(times=coming, end_cause=cause, dropped=gone)


def missed(spec: ScheduleSpec, since_ms: int, until_ms: int) -> Preview:
    """What catch-up would make of an absence from one instant to another."""
    calendar, rule = spec.when, spec.catch_up
    total = count_nominal(calendar, since_ms, until_ms - 1, MOST_MISSED)
    return Preview(times=(), missed=total, caught_up=_caught_up(spec, rule, since_ms, until_ms))


def _caught_up(spec: ScheduleSpec, rule: CatchUp, since_ms: int, until_ms: int) -> int:
    cutoff_ms = max(since_ms, until_ms - rule.reach_ms - 1)
    if rule.policy is CatchUpPolicy.SKIP:
        return 0
    if rule.policy is CatchUpPolicy.ALL:
        return count_nominal(spec.when, cutoff_ms, until_ms - 1, MOST_MISSED)
    return int(latest_nominal_ms(spec.when, cutoff_ms, until_ms - 1) is not None)
