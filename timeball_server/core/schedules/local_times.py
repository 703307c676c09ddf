"""The local times that an expression matches, with no zone: seconds on an endless wall clock.

Owns the search for the next one. Steps over months that can not match; never over a match.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from timeball_server.core.schedules.fields import Fields

DAY_S: Final = 86_400
_EPOCH: Final = date(1970, 1, 1).toordinal()
_EPOCH_WEEKDAY: Final = 4
_MONTHS_AHEAD: Final = 41 * 12
"""A 29th of February on a given weekday may be 40 years away (2080 to 2120)."""


class LocalTimes:
    """The matches of one expression. A local time is seconds since 1970-01-01T00:00 as shown."""

    __slots__ = (
        "_days",
        "_first_s",
        "_first_second",
        "_hours",
        "_minutes",
        "_months",
        "_picked",
        "_seconds",
    )

    def __init__(self, fields: Fields) -> None:
        self._seconds, self._minutes, self._hours = fields.seconds, fields.minutes, fields.hours
        self._months, self._days = fields.months, fields.days
        self._picked: dict[tuple[int, int], int] = {}
        self._first_second = _lowest(fields.seconds)
        first_minute_s = _lowest(fields.minutes) * 60 + self._first_second
        self._first_s = first_minute_s
        """What the first match of an hour adds to the hour."""

    def at_or_after(self, local_s: int) -> int | None:
        """The first match at or after a local time; None if there is none for 41 years."""
        day, of_day_s = divmod(local_s, DAY_S)
        today = date.fromordinal(day + _EPOCH)
        year, month, in_month = today.year, today.month, today.day
        if self._months >> month & 1:
            first_weekday = (day + _EPOCH_WEEKDAY - in_month + 1) % 7
            rest = self._picked_days(year, month, first_weekday) >> in_month
            if rest & 1:
                time_s = self._time_at_or_after(of_day_s)
                if time_s >= 0:
                    return day * DAY_S + time_s
                rest ^= 1
            if rest:
                return (day + _lowest(rest)) * DAY_S + self._first_of_day_s()
        return self._in_later_month(year, month)

    def on_day(self, day: int) -> bool:
        """Whether a day, counted from 1970-01-01, has matches."""
        shown = date.fromordinal(day + _EPOCH)
        if not self._months >> shown.month & 1:
            return False
        first_weekday = (day + _EPOCH_WEEKDAY - shown.day + 1) % 7
        picked = self._picked_days(shown.year, shown.month, first_weekday)
        return bool(picked >> shown.day & 1)

    def _in_later_month(self, year: int, month: int) -> int | None:
        for _ in range(_MONTHS_AHEAD):
            month += 1
            if month == 13:
                year, month = year + 1, 1
            if not self._months >> month & 1:
                continue
            first = date(year, month, 1).toordinal() - _EPOCH
            picked = self._picked_days(year, month, (first + _EPOCH_WEEKDAY) % 7)
            if picked:
                return (first + _lowest(picked) - 1) * DAY_S + self._first_of_day_s()
        return None

    def _picked_days(self, year: int, month: int, first_weekday: int) -> int:
        length = _LENGTHS[month]
        if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
            length = 29
        found = self._picked.get((first_weekday, length))
        if found is None:
            found = self._picked[first_weekday, length] = self._days.days(first_weekday, length)
        return found

    def _first_of_day_s(self) -> int:
        return _lowest(self._hours) * 3_600 + self._first_s

    def _time_at_or_after(self, of_day_s: int) -> int:
        """The first matching time of day at or after one, -1 if there is none."""
        hour, of_hour_s = divmod(of_day_s, 3_600)
        if self._hours >> hour & 1:
            minute, second = divmod(of_hour_s, 60)
            if self._minutes >> minute & 1:
                rest = self._seconds >> second
                if rest:
                    return of_day_s + _lowest(rest)
            rest = self._minutes >> minute + 1
            if rest:
                later = minute + 1 + _lowest(rest)
                return hour * 3_600 + later * 60 + self._first_second
        rest = self._hours >> hour + 1
        if rest:
            return (hour + 1 + _lowest(rest)) * 3_600 + self._first_s
        return -1


_LENGTHS: Final = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1
