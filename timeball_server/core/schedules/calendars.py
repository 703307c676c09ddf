"""The instants that a calendar names: the next one, many, how many, the last one.

Owns union, exclusion, start and end. Every answer follows from the calendar and the given instants
alone, and is the same on every node with the same zone data. The next nominal time is strictly
later than the instant asked about, always (rule S5).

Calendars are compiled once and kept in a bounded cache; nothing else is remembered. All functions
raise `SpecProblem` for a calendar that `checking.check` refuses as malformed: a stored schedule
meets it only if a newer release of the zone data has dropped its zone. Hold such a schedule and
show the problem; never guess another zone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final

from timeball_server.core.limits import MAX_EXCLUDED_IN_A_ROW
from timeball_server.core.schedules import cron, excluding
from timeball_server.core.schedules.problems import refuse
from timeball_server.core.schedules.spec import Calendar, Interval
from timeball_server.core.schedules.zones import LAST_S

_LAST_MS: Final = LAST_S * 1_000
_COMPILED_KEPT: Final = 4_096

Source = Callable[[int], int | None]
"""The first nominal time of one rule strictly after an instant, None = no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compiled:
    sources: tuple[Source, ...]
    exclusions: tuple[excluding.Exclusion, ...]
    start_ms: int
    end_ms: int

    def after(self, after_ms: int) -> int | None:
        """The first nominal time strictly after an instant."""
        return self.search(after_ms)[0]

    def search(self, after_ms: int) -> tuple[int | None, bool]:
        """The same, and whether it was given up because too many in a row are excluded."""
        at_ms = max(after_ms, self.start_ms - 1)
        for _ in range(MAX_EXCLUDED_IN_A_ROW):
            nominal_ms = self._united(at_ms)
            if nominal_ms is None or nominal_ms > self.end_ms:
                return None, False
            if nominal_ms <= at_ms:
                raise AssertionError("the next nominal time is strictly later")
            free_ms = nominal_ms
            for exclusion in self.exclusions:
                free_ms = max(free_ms, exclusion(nominal_ms))
            if free_ms == nominal_ms:
                return nominal_ms, False
            at_ms = free_ms - 1
        return None, True

    def _united(self, after_ms: int) -> int | None:
        if len(self.sources) == 1:
            return self.sources[0](after_ms)
        found = (source(after_ms) for source in self.sources)
        return min((nominal_ms for nominal_ms in found if nominal_ms is not None), default=None)


def next_nominal_ms(calendar: Calendar, after_ms: int) -> int | None:
    """The first nominal time strictly after an instant.

    Returns:
        None when there is no more: the end has passed, the rules name no time within the next 41
        years (the longest pause that the Gregorian calendar can put between two matching dates is
        40), or `MAX_EXCLUDED_IN_A_ROW` times one after the other are excluded.
    """
    return _compiled(calendar).after(after_ms)


def why_over(calendar: Calendar, after_ms: int) -> str:
    """Why there is no nominal time after an instant, in words; empty if there is one."""
    nominal_ms, given_up = _compiled(calendar).search(after_ms)
    if nominal_ms is not None:
        return ""
    if given_up:
        return f"{MAX_EXCLUDED_IN_A_ROW:,} nominal times in a row are excluded"
    if calendar.end_ms is not None:
        return "no nominal time is left before its end"
    return "its rules name no time any more"


def nominal_times(calendar: Calendar, after_ms: int, until_ms: int, limit: int) -> tuple[int, ...]:
    """Nominal times after an instant, up to another one (included), in order, at most `limit`."""
    return tuple(islice(_walk(calendar, after_ms, until_ms), limit))


def count_nominal(calendar: Calendar, after_ms: int, until_ms: int, at_most: int) -> int:
    """How many nominal times lie after an instant and not after another, counted to `at_most`.

    A calendar that is one interval and nothing else is counted by arithmetic, any other one time
    by time, at some microseconds each.
    """
    if calendar.crons or len(calendar.intervals) != 1 or _compiled(calendar).exclusions:
        return sum(1 for _ in islice(_walk(calendar, after_ms, until_ms), at_most))
    first_ms = next_nominal_ms(calendar, after_ms)
    if first_ms is None or first_ms > until_ms:
        return 0
    bound_ms = min(until_ms, _compiled(calendar).end_ms)
    return min(at_most, (bound_ms - first_ms) // calendar.intervals[0].every_ms + 1)


def latest_nominal_ms(calendar: Calendar, after_ms: int, until_ms: int) -> int | None:
    """The last nominal time after an instant and not after another; None when there is none.

    Costs some tens of evaluations, however many nominal times lie between.
    """
    compiled = _compiled(calendar)
    latest_ms = compiled.after(after_ms)
    if latest_ms is None or latest_ms > until_ms:
        return None
    bound_ms = until_ms
    while latest_ms < bound_ms:
        middle_ms = (latest_ms + bound_ms) // 2
        later_ms = compiled.after(middle_ms)
        if later_ms is not None and later_ms <= until_ms:
            latest_ms = later_ms
        else:
            bound_ms = middle_ms
    return latest_ms


def _walk(calendar: Calendar, after_ms: int, until_ms: int) -> Iterator[int]:
    compiled = _compiled(calendar)
    nominal_ms = compiled.after(after_ms)
    while nominal_ms is not None and nominal_ms <= until_ms:
        yield nominal_ms
        nominal_ms = compiled.after(nominal_ms)


@lru_cache(maxsize=_COMPILED_KEPT)
def _compiled(calendar: Calendar) -> _Compiled:
    crons = (cron.zoned(rule, calendar.seed).after for rule in calendar.crons)
    intervals = (_interval(rule) for rule in calendar.intervals)
    end_ms = _LAST_MS if calendar.end_ms is None else calendar.end_ms
    return _Compiled(
        sources=(*crons, *intervals),
        exclusions=excluding.exclusions(calendar),
        start_ms=-_LAST_MS if calendar.start_ms is None else calendar.start_ms,
        end_ms=min(end_ms, _LAST_MS),
    )


def _interval(rule: Interval) -> Source:
    every_ms, phase_ms = rule.every_ms, rule.phase_ms
    if every_ms < 1:
        raise refuse("every_ms", "an interval is at least one millisecond", "give a longer one")
    return lambda after_ms: after_ms + every_ms - (after_ms - phase_ms) % every_ms
