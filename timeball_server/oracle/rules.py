"""The nominal times of a schedule's rules between two instants, by walking every one of them.

Owns the second opinion. Reads rules as the JSON object that the journal keeps, so that it depends
on no record of the evaluator. Its cost grows with the time it walks over: a day of a cron takes
some milliseconds, with seconds a hundred.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from timeball_server.oracle.clock import Shown, shown, walk, zone
from timeball_server.oracle.expressions import Expression, read

Rules = Mapping[str, Any]
"""A calendar as plain JSON: crons, intervals, excluded, start_ms, end_ms, seed."""

_MINUTE_S: Final = 60


def nominal_times(rules: Rules, from_ms: int, to_ms: int) -> list[int]:
    """Every nominal time from one instant to another, both included, in order."""
    low_ms = max(from_ms, rules.get("start_ms") or from_ms)
    end_ms = rules.get("end_ms")
    high_ms = to_ms if end_ms is None else min(to_ms, end_ms)
    seed = rules.get("seed", "")
    found: set[int] = set()
    for cron in rules.get("crons", ()):
        found |= set(cron_times(cron, seed, low_ms, high_ms))
    for interval in rules.get("intervals", ()):
        found |= set(_interval_times(interval, low_ms, high_ms))
    excluded = rules.get("excluded", {})
    return sorted(at_ms for at_ms in found if not _is_excluded(excluded, seed, at_ms))


def cron_times(cron: Rules, seed: str, from_ms: int, to_ms: int) -> Iterator[int]:
    """The instants of one cron between two instants, both included; one may come twice."""
    expression = _read(cron["expression"], seed)
    step_s = 1 if expression.to_the_second else _MINUTE_S
    first_s = from_ms // 1_000 // step_s * step_s - step_s
    readings = list(walk(cron["zone"], first_s, to_ms // 1_000, step_s))
    for at_s in fired(expression, cron["gap"], cron["fold"], readings, step_s):
        if from_ms <= at_s * 1_000 <= to_ms:
            yield at_s * 1_000


def fired(
    expression: Expression, gap: str, fold: str, readings: Sequence[Shown], step_s: int
) -> Iterator[int]:
    """The instants among readings of one clock at which an expression fires.

    `step_s` is the distance of the readings. The first of them is only looked back at.
    """
    days = {reading.day for reading in readings}
    wanted = {day for day in days if expression.wants_date(date.fromordinal(day))}
    hours, minutes, seconds = expression.hours, expression.minutes, expression.seconds
    for now in readings[1:]:
        if (
            now.minute in minutes
            and now.hour in hours
            and now.second in seconds
            and now.day in wanted
            and (expression.every_hour or _is_right_pass(now, fold))
        ):
            yield now.at_s
    if gap == "RUN_AT_END" and not expression.every_hour:
        yield from _after_gaps(expression, readings, step_s)


def _is_right_pass(now: Shown, fold: str) -> bool:
    if fold == "BOTH" or not now.repeats:
        return True
    return now.local.fold == {"FIRST": 0, "SECOND": 1}[fold]


def _after_gaps(expression: Expression, readings: Sequence[Shown], step_s: int) -> Iterator[int]:
    """The ends of gaps in which the clock would have shown a match."""
    for before, now in pairwise(readings):
        missing = range(before.wall_s + step_s, now.wall_s, step_s)
        if any(_matches(expression, wall_s) for wall_s in missing):
            yield now.at_s


def _matches(expression: Expression, wall_s: int) -> bool:
    minutes, second = divmod(wall_s, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return (
        second in expression.seconds
        and minute in expression.minutes
        and hour in expression.hours
        and expression.wants_date(date.fromordinal(day))
    )


def _interval_times(interval: Rules, from_ms: int, to_ms: int) -> Iterator[int]:
    every_ms, phase_ms = interval["every_ms"], interval["phase_ms"]
    at_ms = from_ms
    while (at_ms - phase_ms) % every_ms:
        at_ms += every_ms - (at_ms - phase_ms) % every_ms
    yield from range(at_ms, to_ms + 1, every_ms)


def _is_excluded(excluded: Rules, seed: str, at_ms: int) -> bool:
    for span in excluded.get("spans", ()):
        if span["from_ms"] <= at_ms < span["to_ms"]:
            return True
    for dates in excluded.get("dates", ()):
        day = shown(zone(dates["zone"]), at_ms // 1_000).day
        if date.fromordinal(day).isoformat() in dates["dates"]:
            return True
    return any(_shows(cron, seed, at_ms) for cron in excluded.get("crons", ()))


def _shows(cron: Rules, seed: str, at_ms: int) -> bool:
    """Whether the clock shows a time that the expression matches, to the minute or the second."""
    expression = _read(cron["expression"], seed)
    reading = shown(zone(cron["zone"]), at_ms // 1_000)
    return (
        (not expression.to_the_second or reading.second in expression.seconds)
        and reading.minute in expression.minutes
        and reading.hour in expression.hours
        and expression.wants_date(date.fromordinal(reading.day))
    )


@lru_cache(maxsize=256)
def _read(text: str, seed: str) -> Expression:
    return read(text, seed)
