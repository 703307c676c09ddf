"""What makes a calendar unacceptable, said before it is stored.

Owns the list of refusals and their hints. Never changes a calendar: what is unclear is refused.
A refusal costs less than 5 ms, however long the text is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from timeball_server.core.limits import (
    HORIZON_MS,
    MAX_EXCLUDED_DATES,
    MAX_EXCLUSIONS,
    MAX_RULES,
    MAX_SPREAD_MS,
    MIN_INTERVAL_MS,
)
from timeball_server.core.schedules.calendars import next_nominal_ms
from timeball_server.core.schedules.cron import zoned
from timeball_server.core.schedules.cron_text import parse
from timeball_server.core.schedules.excluding import day_number
from timeball_server.core.schedules.problems import Problem, SpecProblem
from timeball_server.core.schedules.spec import (
    Calendar,
    Cron,
    ExcludedCron,
    ExcludedDates,
    Interval,
)
from timeball_server.core.schedules.zones import require_zone

_PATIENCE_S: Final = 8 * 366 * 86_400
"""A rule that names no instant for eight years is taken for a mistake."""


def check(calendar: Calendar, now_ms: int, field: str = "calendar") -> None:
    """Refuse a calendar that can not be evaluated, or whose rules would not fire for eight years.

    Args:
        now_ms: the wall clock; patience counts from it, or from the start if that is later.
        field: the path of the calendar in the caller's request, put before each problem's field.

    Raises:
        SpecProblem: with everything that is wrong, each with field, position and hint.
    """
    found = list(_problems(calendar))
    if not found:
        found = list(_silence(calendar, now_ms))
    if found:
        raise SpecProblem([_under(field, problem) for problem in found])


def _problems(calendar: Calendar) -> Iterator[Problem]:
    """Everything that can be said of a calendar without looking for instants."""
    rules = len(calendar.crons) + len(calendar.intervals)
    if rules == 0:
        yield _problem("", "this names no instant", "give at least one cron or interval")
    yield from _count("crons", rules, MAX_RULES, "crons and intervals")
    for number, cron in enumerate(calendar.crons[:MAX_RULES]):
        yield from _expression(f"crons[{number}]", cron, calendar.seed)
    for number, interval in enumerate(calendar.intervals[:MAX_RULES]):
        yield from _interval(f"intervals[{number}]", interval)
    yield from _exclusions(calendar)
    yield from _bounds(calendar)
    yield from _length("jitter_ms", calendar.jitter_ms, 0, MAX_SPREAD_MS)
    yield from _length("window_ms", calendar.window_ms, 0, MAX_SPREAD_MS)


def _expression(path: str, rule: Cron | ExcludedCron, seed: str) -> Iterator[Problem]:
    yield from _caught(partial(require_zone, rule.zone, f"{path}.zone"))
    yield from _caught(partial(parse, rule.expression, seed, f"{path}.expression"))


def _interval(path: str, rule: Interval) -> Iterator[Problem]:
    yield from _length(f"{path}.every_ms", rule.every_ms, MIN_INTERVAL_MS, HORIZON_MS)
    if not 0 <= rule.phase_ms < max(1, rule.every_ms):
        message = f"a phase of {rule.phase_ms} ms is not inside the interval"
        yield _problem(f"{path}.phase_ms", message, "it is at least 0 and less than the interval")


def _exclusions(calendar: Calendar) -> Iterator[Problem]:
    excluded = calendar.excluded
    parts = len(excluded.dates) + len(excluded.spans) + len(excluded.crons)
    yield from _count("excluded", parts, MAX_EXCLUSIONS, "exclusions")
    dates = sum(len(each.dates) for each in excluded.dates)
    yield from _count("excluded.dates", dates, MAX_EXCLUDED_DATES, "excluded dates")
    if parts > MAX_EXCLUSIONS or dates > MAX_EXCLUDED_DATES:
        return
    for number, each in enumerate(excluded.dates):
        yield from _dates(f"excluded.dates[{number}]", each)
    for number, span in enumerate(excluded.spans):
        if span.from_ms >= span.to_ms:
            path, hint = f"excluded.spans[{number}].to_ms", "the end of a span lies after its start"
            yield _problem(path, "the span is empty", hint)
    for number, cron in enumerate(excluded.crons):
        yield from _expression(f"excluded.crons[{number}]", cron, calendar.seed)


def _dates(path: str, excluded: ExcludedDates) -> Iterator[Problem]:
    yield from _caught(partial(require_zone, excluded.zone, f"{path}.zone"))
    for number, text in enumerate(excluded.dates):
        yield from _caught(partial(day_number, text, f"{path}.dates[{number}]"))


def _bounds(calendar: Calendar) -> Iterator[Problem]:
    start_ms, end_ms = calendar.start_ms, calendar.end_ms
    if start_ms is not None and start_ms < 0:
        yield _problem("start_ms", "the start lies before 1970", "leave it out to start now")
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        yield _problem("end_ms", "the end lies before the start", "both are inclusive instants")


def _silence(calendar: Calendar, now_ms: int) -> Iterator[Problem]:
    """Rules that name nothing for years, and calendars of which nothing is left."""
    from_ms = now_ms if calendar.start_ms is None else max(now_ms, calendar.start_ms - 1)
    if from_ms > now_ms + HORIZON_MS:
        yield _problem("start_ms", "the start is more than five years ahead", "start it earlier")
        return
    for number, cron in enumerate(calendar.crons):
        compiled = zoned(cron, calendar.seed)
        if compiled.after(from_ms, _PATIENCE_S) is None:
            yield _problem(
                f"crons[{number}].expression",
                "this would not fire for eight years",
                "look for a month that has such a day, or for a local time that exists",
                compiled.fields.day_position,
            )
            return
    first_ms = next_nominal_ms(calendar, now_ms)
    if first_ms is None or first_ms > from_ms + _PATIENCE_S * 1_000:
        message = "this would not fire: nothing is left between start, end and exclusions"
        yield _problem("", message, "preview the rules without them to see what they name")


def _length(path: str, length_ms: int, least_ms: int, most_ms: int) -> Iterator[Problem]:
    if not least_ms <= length_ms <= most_ms:
        hint = f"it is from {least_ms} to {most_ms} ms"
        yield _problem(path, f"{length_ms} ms is outside the limits", hint)


def _count(path: str, count: int, most: int, what: str) -> Iterator[Problem]:
    if count > most:
        yield _problem(path, f"there are {count} {what}", f"at most {most} are accepted")


def _caught(attempt: Callable[[], object]) -> tuple[Problem, ...]:
    try:
        attempt()
    except SpecProblem as refused:
        return refused.problems
    return ()


def _problem(field: str, message: str, hint: str, position: int | None = None) -> Problem:
    return Problem(field=field, message=message, hint=hint, position=position)


def _under(path: str, problem: Problem) -> Problem:
    """The problem with the path of the calendar before its own."""
    field = ".".join(part for part in (path, problem.field) if part)
    return _problem(field, problem.message, problem.hint, problem.position)
