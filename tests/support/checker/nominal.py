"""The nominal times of a calendar, day by day, with nothing but a clock and a list of days.

Shares nothing with the product: asks every single day which local times it has, and never looks
for the next one. Instants are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from heapq import merge
from typing import NamedTuple

from tests.support.checker.calendars import Every, Gone, OutDates, Rule, Sheet
from tests.support.checker.days import is_date, is_weekday, jump_s
from tests.support.checker.zones import clocks_of

DAY_S = 86_400
_DAY = timedelta(days=1)
_EPOCH = date(1970, 1, 1).toordinal()
_FARTHEST_DAYS = 45 * 366
"""Further than any two days of a calendar lie apart."""
SURE_IN_A_ROW = 900
"""More nominal times in a row are not left out by anything that must go on."""


class Unsure(Exception):
    """So many times in a row are left out that nobody promises what follows."""


class Named(NamedTuple):
    """A nominal time with the marks of what clocks did to it, or a local time that is dropped."""

    at_ms: int
    mark: str = ""
    dropped: str = ""
    zone: str = ""


def named(
    sheet: Sheet, after_ms: int, days: int = _FARTHEST_DAYS
) -> Iterator[tuple[int, frozenset[str]]]:
    """Nominal times strictly after an instant, with their marks, for at least so many days.

    Raises:
        Unsure: too many in a row are left out.
    """
    first_ms = after_ms if sheet.start_ms is None else max(after_ms, sheet.start_ms - 1)
    sources = [_fired(rule, first_ms, days) for rule in sheet.rules]
    sources += [_counted(every, first_ms) for every in sheet.every]
    left_out, at_ms, marks = 0, None, set[str]()
    for each in merge(*sources):
        if sheet.end_ms is not None and each.at_ms > sheet.end_ms:
            break
        if at_ms is not None and each.at_ms != at_ms:
            yield at_ms, frozenset(marks - {""})
            at_ms, marks = None, set()
        if is_left_out(sheet, each.at_ms):
            left_out += 1
            if left_out > SURE_IN_A_ROW:
                raise Unsure
            continue
        left_out, at_ms = 0, each.at_ms
        marks.add(each.mark)
    if at_ms is not None:
        yield at_ms, frozenset(marks - {""})


def dropped(sheet: Sheet, after_ms: int, until_ms: int) -> list[Gone]:
    """Local times of the rules that clocks leave out or show in vain, in order."""
    found: list[Gone] = []
    for rule in sheet.rules:
        for each in _touched(rule, after_ms):
            if each.at_ms > until_ms:
                break
            if each.dropped:
                found.append(Gone(at_ms=each.at_ms, local=each.dropped, zone=each.zone))
    return sorted(found, key=lambda gone: (gone.at_ms, gone.local, gone.zone))


def is_left_out(sheet: Sheet, at_ms: int) -> bool:
    """Whether an instant is taken out of the calendar."""
    if any(span.from_ms <= at_ms < span.to_ms for span in sheet.out_spans):
        return True
    if any(_is_out(dates, at_ms) for dates in sheet.out_dates):
        return True
    return any(_shows(rule, at_ms) for rule in sheet.out_rules)


def _is_out(dates: OutDates, at_ms: int) -> bool:
    return _shown(dates.zone, at_ms).date().isoformat() in dates.dates


def _shows(rule: Rule, at_ms: int) -> bool:
    """Whether clocks show a time of a rule that leaves out."""
    shown = _shown(rule.zone, at_ms)
    in_time = shown.hour in rule.hours and shown.minute in rule.minutes
    in_second = rule.every_second or shown.second in rule.seconds
    return in_time and in_second and is_day(rule, shown.date())


def _shown(zone: str, at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1_000, clocks_of(zone))


def is_day(rule: Rule, day: date) -> bool:
    """Whether a rule names times of a day."""
    if rule.months and day.month not in rule.months:
        return False
    by_date = any(is_date(item, day) for item in rule.dates)
    if not rule.either and not by_date:
        return False
    by_week = any(is_weekday(item, day) for item in rule.weekdays)
    return by_week or by_date if rule.either else by_week


def _counted(every: Every, after_ms: int) -> Iterator[Named]:
    at_ms = every.phase_ms + (after_ms - every.phase_ms) // every.every_ms * every.every_ms
    while True:
        at_ms += every.every_ms
        yield Named(at_ms)


def _fired(rule: Rule, after_ms: int, days: int) -> Iterator[Named]:
    return (each for each in _walk(rule, after_ms, days, every_day=True) if not each.dropped)


def _touched(rule: Rule, after_ms: int) -> Iterator[Named]:
    """What clocks drop; days on which they do not jump are passed over."""
    return _walk(rule, after_ms, _FARTHEST_DAYS, every_day=False)


def _walk(rule: Rule, after_ms: int, days: int, *, every_day: bool) -> Iterator[Named]:
    """All that a rule names or drops, in order."""
    moments = tuple(
        hour * 3_600 + minute * 60 + second
        for hour in sorted(rule.hours)
        for minute in sorted(rule.minutes)
        for second in sorted(rule.seconds)
    )
    day = datetime.fromtimestamp(after_ms // 1_000, UTC).date() - 3 * _DAY
    waiting: list[Named] = []
    for _ in range(days):
        if is_day(rule, day) and (every_day or _offset_s(rule.zone, day) is None):
            waiting += _of_day(rule, day, moments)
            waiting.sort()
        day += _DAY
        sure_ms = (_utc_s(day) - DAY_S) * 1_000
        while waiting and waiting[0].at_ms < sure_ms:
            each = waiting.pop(0)
            if each.at_ms > after_ms:
                yield each
        if not every_day and not waiting:
            yield Named(sure_ms - 1)


def _utc_s(day: date) -> int:
    return (day.toordinal() - _EPOCH) * DAY_S


@lru_cache(maxsize=100_000)
def _offset_s(zone: str, day: date) -> int | None:
    """What clocks of a zone are ahead of UTC by about a day; None = they may jump meanwhile."""
    noon_s = _utc_s(day) + DAY_S // 2
    rules = clocks_of(zone)
    about = (noon_s - 2 * DAY_S, noon_s, noon_s + 2 * DAY_S)
    found = [datetime.fromtimestamp(each, rules).utcoffset() for each in about]
    if found[0] is None or found[0] != found[1] or found[1] != found[2]:
        return None
    return round(found[0].total_seconds())


def _of_day(rule: Rule, day: date, moments: tuple[int, ...]) -> list[Named]:
    offset_s = _offset_s(rule.zone, day)
    if offset_s is not None:
        start_s = _utc_s(day) - offset_s
        return [Named((start_s + moment) * 1_000) for moment in moments]
    return [each for moment in moments for each in _of_moment(rule, day, moment)]


def _of_moment(rule: Rule, day: date, moment_s: int) -> Iterator[Named]:
    """When clocks show a local time: once, twice, or not at all; and what becomes of it."""
    zone = clocks_of(rule.zone)
    shown = datetime(day.year, day.month, day.day) + timedelta(seconds=moment_s)  # noqa: DTZ001 - a local time that may not exist
    first_s, second_s = (
        round(shown.replace(tzinfo=zone, fold=each).timestamp()) for each in (0, 1)
    )
    if first_s == second_s:
        yield Named(first_s * 1_000)
    elif first_s < second_s:
        for fold, at_s in (("FIRST", first_s), ("SECOND", second_s)):
            if rule.through or rule.fold in (fold, "BOTH"):
                yield Named(at_s * 1_000, f"{fold}_PASS")
            else:
                yield Named(at_s * 1_000, "", shown.isoformat(), rule.zone)
    elif not rule.through:
        end_ms = jump_s(zone, second_s, first_s) * 1_000
        if rule.gap == "RUN_AT_END":
            yield Named(end_ms, "MOVED")
        else:
            yield Named(end_ms, "", shown.isoformat(), rule.zone)
