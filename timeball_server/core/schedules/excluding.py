"""Exclusions, compiled: whether an instant is left out, and for how long.

Owns dates, spans and exclusion crons. Each exclusion answers with how far it reaches, so that a
year that is left out costs some hundred steps and not half a million.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final

from timeball_server.core.schedules.cron_text import parse
from timeball_server.core.schedules.fields import Fields
from timeball_server.core.schedules.local_times import DAY_S, LocalTimes
from timeball_server.core.schedules.problems import refuse
from timeball_server.core.schedules.spec import Calendar, ExcludedCron, ExcludedDates
from timeball_server.core.schedules.zones import Segment, require_zone, segment_at

Exclusion = Callable[[int], int]
"""An instant up to which everything from a given one on is left out: itself if it is not."""

_EPOCH: Final = date(1970, 1, 1).toordinal()
_ALL_HOURS: Final = (1 << 24) - 1
_ALL_SIXTY: Final = (1 << 60) - 1


def exclusions(calendar: Calendar) -> tuple[Exclusion, ...]:
    """One function for each thing that is subtracted.

    Raises:
        SpecProblem: a date, an expression or a zone is not accepted.
    """
    excluded = calendar.excluded
    return (
        *(_span(span.from_ms, span.to_ms) for span in excluded.spans),
        *(_dates(dates) for dates in excluded.dates),
        *(_cron(cron, calendar) for cron in excluded.crons),
    )


def day_number(text: str, field: str = "dates") -> int:
    """The days from 1970 to a date such as `2026-12-25`.

    Raises:
        SpecProblem: it is no date of the calendar, or not written so.
    """
    try:
        day = date.fromisoformat(text)
        if day.isoformat() != text:  # ISO 8601 has more ways, such as 2026-W09-1
            raise ValueError(text)
        return day.toordinal() - _EPOCH
    except ValueError:
        hint = "write year, month and day, as in 2026-12-25"
        raise refuse(field, f"{text[:40]!a} is no date", hint) from None


def _span(from_ms: int, to_ms: int) -> Exclusion:
    return lambda at_ms: to_ms if from_ms <= at_ms < to_ms else at_ms


def _dates(excluded: ExcludedDates) -> Exclusion:
    require_zone(excluded.zone)
    days = frozenset(day_number(text) for text in excluded.dates)

    def reach_ms(at_ms: int) -> int:
        segment = segment_at(excluded.zone, at_ms // 1_000)
        day, of_day_s = divmod(at_ms // 1_000 + segment.offset_s, DAY_S)
        if day not in days:
            return at_ms
        after = day + 1
        while after in days:
            after += 1
        return _reached(segment, at_ms, of_day_s, (after - day) * DAY_S)

    return reach_ms


def _cron(excluded: ExcludedCron, calendar: Calendar) -> Exclusion:
    require_zone(excluded.zone)
    fields = parse(excluded.expression, calendar.seed)
    on_day = LocalTimes(fields).on_day
    covers = _covers(fields, excluded.zone, calendar)
    seconds = fields.seconds if fields.has_seconds else _ALL_SIXTY

    def reach_ms(at_ms: int) -> int:
        segment = segment_at(excluded.zone, at_ms // 1_000)
        day, of_day_s = divmod(at_ms // 1_000 + segment.offset_s, DAY_S)
        hour, of_hour_s = divmod(of_day_s, 3_600)
        minute, second = divmod(of_hour_s, 60)
        matches = fields.hours >> hour & fields.minutes >> minute & seconds >> second & 1
        if not matches or not on_day(day):
            return at_ms
        if covers:
            return _reached(segment, at_ms, of_day_s, DAY_S)
        return _reached(segment, at_ms, of_day_s, _run_end(fields, seconds, of_day_s))

    return reach_ms


def _reached(segment: Segment, at_ms: int, of_day_s: int, until_s: int) -> int:
    """The instant of a later time, counted from the day's midnight, or a jump that comes first."""
    return min(at_ms - at_ms % 1_000 + (until_s - of_day_s) * 1_000, segment.end_s * 1_000)


def _run_end(fields: Fields, seconds: int, of_day_s: int) -> int:
    """The time of day at which a run of matching seconds, minutes or hours ends."""
    hour, of_hour_s = divmod(of_day_s, 3_600)
    minute, second = divmod(of_hour_s, 60)
    if seconds != _ALL_SIXTY:
        return of_day_s + _run(seconds, second)
    if fields.minutes != _ALL_SIXTY:
        return hour * 3_600 + (minute + _run(fields.minutes, minute)) * 60
    return (hour + _run(fields.hours, hour)) * 3_600


def _run(mask: int, first: int) -> int:
    """How many bits of a mask are set in a row from one on."""
    missing = ~(mask >> first)
    return (missing & -missing).bit_length() - 1


def _covers(fields: Fields, zone: str, calendar: Calendar) -> bool:
    """Whether an excluded day leaves no local time of any rule: then whole days are passed over."""
    if calendar.intervals or any(rule.zone != zone for rule in calendar.crons):
        return False
    rules = [parse(rule.expression, calendar.seed) for rule in calendar.crons]
    return all(
        not rule.hours & ~fields.hours
        and not rule.minutes & ~fields.minutes
        and (not fields.has_seconds or not rule.seconds & ~fields.seconds)
        for rule in rules
    )
