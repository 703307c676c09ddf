"""Cron expressions as sets of numbers and questions about a date, read the plain way.

Owns the oracle's own understanding of the grammar. Takes only what is accepted elsewhere: it says
what a text means, not what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Final

DateTest = Callable[[date], bool]

_NAMES: Final = {
    name: str(number)
    for names, first in (
        ("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", 1),
        ("SUN MON TUE WED THU FRI SAT", 0),
    )
    for number, name in enumerate(names.split(), start=first)
}
_SHORTHAND: Final = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}
# Lowest and highest value, highest value that H draws, and the name that H is hashed with.
_SECOND: Final = (0, 59, 59, "second")
_MINUTE: Final = (0, 59, 59, "minute")
_HOUR: Final = (0, 23, 23, "hour")
_DATE: Final = (1, 31, 28, "day of the month")
_MONTH: Final = (1, 12, 12, "month")
_WEEKDAY: Final = (0, 7, 6, "day of the week")

Bounds = tuple[int, int, int, str]


@dataclass(frozen=True, slots=True)
class Expression:
    """What an expression asks for. `every_hour` = it fires whenever the clock shows a match."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    wants_date: DateTest
    every_hour: bool
    to_the_second: bool


def read(text: str, seed: str) -> Expression:
    """The meaning of an accepted expression; `seed` is what H is hashed from."""
    parts = text.upper().split()
    if parts[0] in _SHORTHAND:
        parts = _SHORTHAND[parts[0]].split()
    to_the_second = len(parts) == 6
    second = parts.pop(0) if to_the_second else "0"
    minute, hour, day, month, weekday = parts
    months = _numbers(month, _MONTH, seed)
    wants_day = _joined(day, weekday, seed)
    return Expression(
        seconds=_numbers(second, _SECOND, seed),
        minutes=_numbers(minute, _MINUTE, seed),
        hours=_numbers(hour, _HOUR, seed),
        wants_date=lambda when: when.month in months and wants_day(when),
        every_hour="/" in hour or "*" in hour,
        to_the_second=to_the_second,
    )


def _numbers(text: str, bounds: Bounds, seed: str) -> frozenset[int]:
    return frozenset(number for part in text.split(",") for number in _part(part, bounds, seed))


def _part(text: str, bounds: Bounds, seed: str) -> range:
    lowest, highest, highest_drawn, _ = bounds
    body, _, step = text.partition("/")
    if body == "*":
        return range(lowest, highest + 1, int(step or 1))
    if body.startswith("H"):
        low, high = lowest, highest_drawn
        if body != "H":
            low, high = _ends(body[2:-1])
        count = high - low + 1
        drawn = int.from_bytes(
            blake2b(f"{bounds[3]}:{seed}".encode(), digest_size=8, person=b"cron").digest(), "big"
        )
        if not step:
            return range(low + drawn % count, low + drawn % count + 1)
        return range(low + drawn % min(int(step), count), high + 1, int(step))
    low, high = _ends(body)
    return range(low, high + 1, int(step or 1))


def _ends(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    low, high = _number(first), _number(last or first)
    return (low, 7) if last == "SUN" and low > 0 else (low, high)


def _number(text: str) -> int:
    return int(_NAMES.get(text, text))


def _joined(day: str, weekday: str, seed: str) -> DateTest:
    """Either field is enough, unless one begins with a star or + asks for both."""
    both = weekday.startswith("+")
    fields = (day.replace("?", "*"), weekday.removeprefix("+").replace("?", "*"))
    tests = (
        [_date_test(part, seed) for part in fields[0].split(",")],
        [_weekday_test(part, seed) for part in fields[1].split(",")],
    )
    need_both = both or any(field.startswith("*") for field in fields)

    def wanted(when: date) -> bool:
        by_date, by_weekday = (any(test(when) for test in each) for each in tests)
        return (by_date and by_weekday) if need_both else (by_date or by_weekday)

    return wanted


def _date_test(text: str, seed: str) -> DateTest:
    if text == "L":
        return lambda when: (when + timedelta(days=1)).month != when.month
    if text == "LW":
        return lambda when: when == _working_days(when)[-1]
    if text.endswith("W"):
        return partial(_is_nearest, int(text[:-1]))
    numbers = frozenset(_part(text, _DATE, seed))
    return lambda when: when.day in numbers


def _weekday_test(text: str, seed: str) -> DateTest:
    if text.endswith("L"):
        last = _number(text[:-1]) % 7
        return lambda when: _weekday(when) == last and when == _alike(when)[-1]
    if "#" in text:
        name, _, place = text.partition("#")
        return partial(_is_nth, _number(name) % 7, int(place))
    numbers = frozenset(number % 7 for number in _part(text, _WEEKDAY, seed))
    return lambda when: _weekday(when) in numbers


def _is_nearest(wish: int, when: date) -> bool:
    """Whether a date is the working day nearest to a day of its month."""
    if wish not in {each.day for each in _month(when)}:
        return False
    return when == min(_working_days(when), key=lambda each: abs(each.day - wish))


def _is_nth(weekday: int, place: int, when: date) -> bool:
    alike = _alike(when)
    return _weekday(when) == weekday and place <= len(alike) and when == alike[place - 1]


def _weekday(when: date) -> int:
    return when.isoweekday() % 7


def _month(when: date) -> tuple[date, ...]:
    """All dates of a date's month."""
    return _dates(when.replace(day=1))


@lru_cache(maxsize=512)
def _dates(first: date) -> tuple[date, ...]:
    dates = (first + timedelta(days=number) for number in range(31))
    return tuple(each for each in dates if each.month == first.month)


def _working_days(when: date) -> list[date]:
    return [each for each in _month(when) if each.isoweekday() < 6]


def _alike(when: date) -> list[date]:
    """All dates of a date's month with its weekday."""
    return [each for each in _month(when) if each.weekday() == when.weekday()]
