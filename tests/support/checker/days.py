"""Which days and times a rhythm with dates names: day by day, with nothing but a calendar.

Shares nothing with the product: it asks every single day, and never looks for the next one.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.support.checker.history import Days, Rhythm

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKEND = (5, 6)
_DAY = timedelta(days=1)


def names(days: Days, day: date) -> bool:
    """Whether a day is one of these."""
    if days.months and day.month not in days.months:
        return False
    if not any(_is_date(item, day) for item in days.dates.split(",")):
        return False
    return any(_is_weekday(item, day) for item in days.weekdays.split(","))


def _is_date(item: str, day: date) -> bool:
    if item == "*":
        return True
    if item == "L":
        return day.day == _length(day)
    if item == "LW":
        return day == max(_working_days(day))
    if item.endswith("W"):
        wanted = int(item[:-1])
        return day == min(_working_days(day), key=lambda each: abs(each.day - wanted))
    return day.day == int(item)


def _is_weekday(item: str, day: date) -> bool:
    if item == "*":
        return True
    if WEEKDAYS[day.weekday()] != item[:3]:
        return False
    if item.endswith("L"):
        return day.day + 7 > _length(day)
    nth = item[3:].removeprefix("#")
    return not nth or (day.day - 1) // 7 + 1 == int(nth)


def _working_days(day: date) -> list[date]:
    """Mondays to Fridays of a day's month."""
    month = (day.replace(day=number) for number in range(1, _length(day) + 1))
    return [each for each in month if each.weekday() not in _WEEKEND]


def _length(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def times_between(rhythm: Rhythm, days: Days, after_us: int, until_us: int) -> Iterator[int]:
    """The times that such days have of their own, strictly after one instant, not after another.

    They must be times that clocks of the zone show once on each day.
    """
    zone, zero_s = ZoneInfo(rhythm.zone), rhythm.zero_ms / 1_000
    day = datetime.fromtimestamp(zero_s + after_us / 1e6, zone).date()
    last = datetime.fromtimestamp(zero_s + until_us / 1e6, zone).date()
    while day <= last:
        if names(days, day):
            for time_s in sorted(days.times_s):
                hour, minute, second = time_s // 3_600, time_s // 60 % 60, time_s % 60
                shown = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=zone)
                at_us = round((shown.timestamp() - zero_s) * 1e6)
                if after_us < at_us <= until_us:
                    yield at_us
        day += _DAY
