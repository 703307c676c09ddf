"""Which days and times a rhythm with dates names: day by day, with nothing but a calendar.

Shares nothing with the product: it asks every single day, and never looks for the next one.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from tests.support.checker.records import Days, Rhythm
from tests.support.checker.zones import clocks_of

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKEND = (5, 6)
_DAY = timedelta(days=1)


def names(days: Days, day: date) -> bool:
    """Whether a day is one of these."""
    if days.months and day.month not in days.months:
        return False
    if not any(is_date(item, day) for item in days.dates.split(",")):
        return False
    return any(is_weekday(item, day) for item in days.weekdays.split(","))


def is_date(item: str, day: date) -> bool:
    """Whether an item of a list of dates names a day."""
    if item == "*":
        return True
    if item == "L":
        return day.day == _length(day)
    if item == "LW":
        return day == max(_working_days(day))
    if item.endswith("W"):
        wanted = int(item[:-1])
        if wanted > _length(day):
            return False
        return day == min(_working_days(day), key=lambda each: abs(each.day - wanted))
    return day.day == int(item)


def is_weekday(item: str, day: date) -> bool:
    """Whether an item of a list of days of the week names a day."""
    if item == "*":
        return True
    if WEEKDAYS[day.weekday()] != item[:3]:
        return False
    if item.endswith("L"):
        return day.day + 7 > _length(day)
    nth = item[3:].removeprefix("#")
    return not nth or (day.day - 1) // 7 + 1 == int(nth)


def _working_days(day: date) -> tuple[date, ...]:
    """Mondays to Fridays of a day's month."""
    return _working_days_of(day.year, day.month)


@lru_cache(maxsize=5_000)
def _working_days_of(year: int, month: int) -> tuple[date, ...]:
    last = monthrange(year, month)[1]
    days = (date(year, month, number) for number in range(1, last + 1))
    return tuple(each for each in days if each.weekday() not in _WEEKEND)


def _length(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def times_between(rhythm: Rhythm, days: Days, after_us: int, until_us: int) -> Iterator[int]:
    """The times that such days have of their own, strictly after one instant, not after another."""
    zone, zero_s = clocks_of(rhythm.zone), rhythm.zero_ms / 1_000
    day = datetime.fromtimestamp(zero_s + after_us / 1e6, zone).date() - _DAY
    last = datetime.fromtimestamp(zero_s + until_us / 1e6, zone).date()
    while day <= last:
        if names(days, day):
            found = {at_s for each in days.times_s for at_s in _instants(rhythm, zone, day, each)}
            for at_us in sorted(round((at_s - zero_s) * 1e6) for at_s in found):
                if after_us < at_us <= until_us:
                    yield at_us
        day += _DAY


def _instants(rhythm: Rhythm, zone: ZoneInfo, day: date, time_s: int) -> list[float]:
    """When clocks show a time on a day: once, twice, or not at all (rules `fold` and `gap`)."""
    shown = datetime(day.year, day.month, day.day) + timedelta(seconds=time_s)  # noqa: DTZ001 - a local time that may not exist
    first, second = (shown.replace(tzinfo=zone, fold=each).timestamp() for each in (0, 1))
    if first == second:
        return [first]
    if first < second:
        return {"FIRST": [first], "SECOND": [second]}.get(rhythm.fold, [first, second])
    return [] if rhythm.gap == "SKIP" else [jump_s(zone, round(second), round(first))]


def jump_s(zone: ZoneInfo, before_s: int, after_s: int) -> int:
    """The first second after one instant at which clocks differ by as much as at another one."""
    wanted = datetime.fromtimestamp(after_s, zone).utcoffset()
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if datetime.fromtimestamp(middle_s, zone).utcoffset() == wanted:
            after_s = middle_s
        else:
            before_s = middle_s
    return after_s
