"""Schedules in rows: lists, everything about one, nominal times to come, the ledger."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from timeball.cli.output import counted, instant, print_table, short, time_of, word
from timeball.durations import format_duration

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

    from timeball.v1 import schedule_service_pb2 as pb

SCHEDULES = ("name", "handler", "when", "state", "next", "runs")
BACKFILLS = ("backfill", "from", "to", "state", "launched", "next")
OCCURRENCES = ("nominal", "last", "times", "verdict", "late", "version", "task", "cause")
PREVIEW = ("nominal", "local", "due", "marks")
DROPPED = ("does not fire", "zone", "would have fired")


def schedule_row(schedule: pb.Schedule) -> tuple[str, ...]:
    """One line of a list."""
    return (
        short(schedule.name),
        schedule.task.handler,
        when(schedule),
        state(schedule),
        time_of(schedule, "next_time"),
        str(schedule.runs),
    )


def describe(schedule: pb.Schedule) -> None:
    """Everything about one schedule."""
    rows = [("name", schedule.name), ("id", schedule.uid), *_facts(schedule)]
    print_table(("field", "value"), [each for each in rows if each[1]])


def _facts(schedule: pb.Schedule) -> list[tuple[str, str]]:
    has, task, pause = schedule.HasField, schedule.task, schedule.pause
    return [
        ("handler", task.handler),
        ("arguments", task.payload.data.decode(errors="replace")),
        ("when", when(schedule)),
        ("start", time_of(schedule, "start_time")),
        ("end", time_of(schedule, "end_time")),
        ("max runs", str(schedule.max_runs or "")),
        ("overlap", overlap(schedule)),
        ("catch-up", _catch_up(schedule)),
        ("max lateness", _length(schedule.max_lateness)),
        ("jitter", _length(schedule.jitter)),
        ("window", _length(schedule.flexible_window)),
        ("labels", ", ".join(f"{k}={v}" for k, v in sorted(schedule.labels.items()))),
        ("state", state(schedule)),
        ("ended", time_of(schedule, "ended_time")),
        ("ended because", schedule.ended_cause),
        ("paused", f"{instant(pause.time)} by {pause.actor}" if has("pause") else ""),
        ("pause reason", pause.reason),
        ("next", time_of(schedule, "next_time")),
        ("runs", str(schedule.runs)),
        ("in hand", " ".join(map(short, schedule.open_tasks))),
        ("waiting", " ".join(instant(each) for each in schedule.buffered_times)),
        ("recent tasks", " ".join(map(short, schedule.recent_tasks))),
        ("version", f"{schedule.version} (etag {schedule.etag})"),
        ("created", time_of(schedule, "create_time")),
        ("updated", time_of(schedule, "update_time")),
    ]


def when(schedule: pb.Schedule) -> str:
    """When it fires, in few words."""
    if schedule.HasField("delay_after_completion"):
        return f"{_length(schedule.delay_after_completion)} after completion"
    if schedule.HasField("interval"):
        return _interval(schedule.interval)
    calendar = schedule.calendar
    parts = [f"{each.expression} {each.time_zone or 'UTC'}" for each in calendar.crons]
    parts += [_interval(each) for each in calendar.intervals]
    if calendar.exclusions:
        parts.append(f"without {counted(len(calendar.exclusions), 'exclusion')}")
    jumps = [word(calendar.DESCRIPTOR, name, getattr(calendar, name)) for name in ("gap", "fold")]
    if any(each not in {"", "RUN_AT_END", "FIRST"} for each in jumps):
        parts.append("/".join(jumps))
    return "; ".join(parts)


def _interval(interval: pb.Interval) -> str:
    phase = _length(interval.phase)
    return f"every {_length(interval.every)}" + (f" phase {phase}" if phase else "")


def state(schedule: pb.Schedule) -> str:
    """Where it stands."""
    return word(schedule.DESCRIPTOR, "state", schedule.state)


def overlap(schedule: pb.Schedule) -> str:
    """Its overlap rule, as options say it."""
    rule = schedule.overlap
    policy = word(rule.DESCRIPTOR, "policy", rule.policy).lower()
    return f"{policy}({rule.limit})" if rule.limit else policy


def _catch_up(schedule: pb.Schedule) -> str:
    rule = schedule.catch_up
    policy = word(rule.DESCRIPTOR, "policy", rule.policy).lower()
    return f"{policy} within {_length(rule.window)}" if policy else ""


def print_preview(answer: pb.PreviewScheduleResponse, zone: str) -> None:
    """Nominal times to come, what does not fire, what catch-up would do."""
    if answer.catch_up:
        click.echo(answer.catch_up)
        return
    rows = [
        (
            instant(each.nominal_time),
            local(each.nominal_time, zone),
            time_of(each, "due_time"),
            " ".join(each.marks),
        )
        for each in answer.times
    ]
    print_table(PREVIEW, rows)
    if answer.end_cause:
        click.echo(f"no more: {answer.end_cause}", err=True)
    if answer.dropped:
        click.echo()
        found = [(each.local_time, each.time_zone, instant(each.time)) for each in answer.dropped]
        print_table(DROPPED, found)


def zone_of(schedule: pb.Schedule) -> str:
    """The zone in which its nominal times are best shown; empty if there is not exactly one."""
    zones = {each.time_zone or "UTC" for each in schedule.calendar.crons}
    return zones.pop() if len(zones) == 1 else ""


def local(stamp: Timestamp, zone: str) -> str:
    """An instant as a zone's clocks show it; nothing where this machine does not know the zone."""
    if not zone:
        return ""
    try:
        rules = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        return ""
    when_ = stamp.ToDatetime(tzinfo=UTC).astimezone(rules)
    return when_.isoformat(timespec="seconds")


def occurrence_row(row: pb.Occurrence) -> tuple[str, ...]:
    """One row of the ledger."""
    return (
        instant(row.nominal_time),
        time_of(row, "last_nominal_time"),
        str(row.times),
        word(row.DESCRIPTOR, "verdict", row.verdict),
        _lateness(row),
        str(row.version),
        short(row.task),
        row.cause,
    )


def _lateness(row: pb.Occurrence) -> str:
    parts = [
        f"{name} {_length(getattr(row, f'lateness_{name}'))}"
        for name in ("down", "capacity", "overlap")
        if _length(getattr(row, f"lateness_{name}"))
    ]
    total = _length(row.lateness)
    return f"{total} ({', '.join(parts)})" if parts else total


def backfill_row(backfill: pb.Backfill) -> tuple[str, ...]:
    """One backfill."""
    return (
        short(backfill.name),
        instant(backfill.start_time),
        instant(backfill.end_time),
        word(backfill.DESCRIPTOR, "state", backfill.state),
        str(backfill.launched),
        time_of(backfill, "next_time"),
    )


def _length(duration: Duration) -> str:
    length = duration.ToTimedelta()
    return format_duration(length) if length else ""
