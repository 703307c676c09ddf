"""Builds the API's schedules out of timings and submissions, for both clients.

Pure: no channel, clock or randomness.
"""

from __future__ import annotations

from typing import Any

from timeball._requests import duration, task_of, timestamp
from timeball.errors import refused
from timeball.options import Submission
from timeball.timings import Cron, Dates, Exclusion, Interval, Timing, parse_overlap
from timeball.v1 import schedule_service_pb2 as pb

WHEN_FIELDS = ("interval", "calendar", "delay_after_completion")
TIMING_FIELDS = (
    *WHEN_FIELDS,
    "start_time",
    "end_time",
    "max_runs",
    "overlap",
    "catch_up",
    "max_lateness",
    "jitter",
    "flexible_window",
    "labels",
)
"""Every field of a schedule but its task, as update masks name them."""

_OPTION_FIELDS = {
    "start": "start_time",
    "end": "end_time",
    "max_runs": "max_runs",
    "jitter": "jitter",
    "window": "flexible_window",
    "overlap": "overlap",
    "catch_up": "catch_up",
    "catch_up_window": "catch_up",
    "max_lateness": "max_lateness",
    "labels": "labels",
}


def schedule_of(timing: Timing, submission: Submission[Any], title: str) -> pb.Schedule:
    """The API's schedule: the title becomes the label `schedule` of every task it makes.

    Raises:
        InvalidRequest: the submission has a time of its own, or a value cannot be sent.
    """
    for name in ("run_at", "delay"):
        if name in submission.options:
            raise refused(name, "a schedule's task takes its times from the schedule")
    task = task_of(submission)
    if title:
        task.labels.setdefault("schedule", title)
    schedule = timing_message(timing)
    schedule.task.CopyFrom(task)
    return schedule


def timing_message(timing: Timing) -> pb.Schedule:
    """A schedule without a task, as a preview or an update takes it.

    Raises:
        InvalidRequest: a value cannot be sent.
    """
    message, options = pb.Schedule(), timing.options
    _write_when(message, timing)
    _write_bounds(message, timing)
    if "overlap" in options:
        policy, limit = parse_overlap(options["overlap"])
        message.overlap.policy = pb.OverlapPolicy.Value(f"OVERLAP_POLICY_{policy.upper()}")
        message.overlap.limit = _number(limit, "overlap")
    if "catch_up" in options:
        policy = options["catch_up"].upper()
        message.catch_up.policy = pb.CatchUpPolicy.Value(f"CATCH_UP_POLICY_{policy}")
    if "catch_up_window" in options:
        window = duration(options["catch_up_window"], "catch_up_window")
        message.catch_up.window.CopyFrom(window)
    message.labels.update(options.get("labels", {}))
    return message


def named_fields(timing: Timing) -> list[str]:
    """The fields of a schedule about which a timing says something, for an update mask."""
    named = {_OPTION_FIELDS[name] for name in timing.options if name in _OPTION_FIELDS}
    if not timing.is_empty:
        named.update(WHEN_FIELDS)
    return [name for name in TIMING_FIELDS if name in named]


def _write_bounds(message: pb.Schedule, timing: Timing) -> None:
    options = timing.options
    message.max_runs = _number(options.get("max_runs", 0), "max_runs")
    for name, bound in (("start", timing.start), ("end", timing.end)):
        if bound is not None:
            getattr(message, f"{name}_time").CopyFrom(timestamp(bound, name))
    said: dict[str, Any] = dict(options)
    for name in ("jitter", "window", "max_lateness"):
        if name in said:
            getattr(message, _OPTION_FIELDS[name]).CopyFrom(duration(said[name], name))


def _write_when(message: pb.Schedule, timing: Timing) -> None:
    excluded = tuple(timing.options.get("exclude", ()))
    if timing.after_completion is not None:
        delay = duration(timing.after_completion, "after_completion")
        message.delay_after_completion.CopyFrom(delay)
    if len(timing.intervals) == 1 and not timing.crons and not excluded:
        _write_interval(message.interval, timing.intervals[0])
    elif timing.crons or timing.intervals or excluded:
        _write_calendar(message.calendar, timing, excluded)


def _write_calendar(calendar: pb.Calendar, timing: Timing, excluded: tuple[Exclusion, ...]) -> None:
    for cron in timing.crons:
        calendar.crons.append(_cron(cron))
    for interval in timing.intervals:
        _write_interval(calendar.intervals.add(), interval)
    for each in excluded:
        calendar.exclusions.append(_exclusion(each))
    if timing.gap is not None:
        calendar.gap = pb.GapRule.Value(f"GAP_RULE_{timing.gap.upper()}")
    if timing.fold is not None:
        calendar.fold = pb.FoldRule.Value(f"FOLD_RULE_{timing.fold.upper()}")


def _write_interval(target: pb.Interval, interval: Interval) -> None:
    target.every.CopyFrom(duration(interval.every, "every"))
    target.phase.CopyFrom(duration(interval.phase, "phase"))


def _exclusion(excluded: Exclusion) -> pb.Exclusion:
    if isinstance(excluded, Cron):
        return pb.Exclusion(cron=_cron(excluded))
    if isinstance(excluded, Dates):
        return pb.Exclusion(dates=pb.Dates(dates=excluded.days, time_zone=excluded.tz))
    span = pb.TimeSpan(
        start_time=timestamp(excluded.start, "exclude"), end_time=timestamp(excluded.end, "exclude")
    )
    return pb.Exclusion(span=span)


def _cron(cron: Cron) -> pb.Cron:
    return pb.Cron(expression=cron.expression, time_zone=cron.tz)


def _number(value: object, field: str) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise refused(field, f"{value!r} is not a whole number from 0 to 2147483647")
    return value
