"""The parts of a cron expression as bit masks, and the days that they pick from a month.

Owns the calendar of days: L, W, LW, # and the rule that joins days of the month and of the week.
Knows neither time zones nor the text that the masks came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

SUNDAY: Final = 0
SATURDAY: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRule:
    """Which days of a month match. Bit n of a mask stands for n; Sunday is day 0 of the week.

    Attributes:
        dates: days of the month, 1 to 31.
        nearest: days of the month whose nearest weekday in that month matches (`15W`).
        last: whether the last day of the month matches (`L`).
        last_weekday: whether the last Monday-to-Friday of the month matches (`LW`).
        weekdays: days of the week.
        nth: for n from 1 to 5 and then for the last (`fri#2`, `friL`), days of the week.
        either: whether a day matches by date or by week, instead of by both.
    """

    dates: int
    nearest: int
    last: bool
    last_weekday: bool
    weekdays: int
    nth: tuple[int, int, int, int, int, int]
    either: bool

    def days(self, first_weekday: int, length: int) -> int:
        """The matching days of a month, as a mask, from its first day's weekday and its length."""
        by_date = self._by_date(first_weekday, length)
        by_week = self._by_week(first_weekday, length)
        return by_date | by_week if self.either else by_date & by_week

    def _by_date(self, first_weekday: int, length: int) -> int:
        found = self.dates & _month(length)
        if self.last:
            found |= 1 << length
        if self.last_weekday:
            found |= 1 << _nearest(length, first_weekday, length)
        for day in bits(self.nearest & _month(length)):
            found |= 1 << _nearest(day, first_weekday, length)
        return found

    def _by_week(self, first_weekday: int, length: int) -> int:
        found = 0
        for day in range(1, length + 1):
            weekday = 1 << (first_weekday + day - 1) % 7
            names = self.weekdays | self.nth[(day - 1) // 7]
            if day + 7 > length:
                names |= self.nth[5]
            if names & weekday:
                found |= 1 << day
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """A whole expression. `ticks_through` says which rule the clock's jumps follow (see `Cron`).

    `day_position` is the character at which the day of the month begins, counted from 1.
    """

    seconds: int
    minutes: int
    hours: int
    months: int
    days: DayRule
    ticks_through: bool
    has_seconds: bool
    day_position: int


def bits(mask: int) -> Iterator[int]:
    """The numbers in a mask, ascending."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def _month(length: int) -> int:
    return (1 << length + 1) - 2


def _nearest(day: int, first_weekday: int, length: int) -> int:
    """The weekday nearest to a day without leaving its month."""
    weekday = (first_weekday + day - 1) % 7
    if weekday == SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == SUNDAY:
        return day + 1 if day < length else day - 2
    return day
