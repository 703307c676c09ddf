"""Forecasts: what answers tell of calendars against an oracle, and what is refused (I21).

What is meant to be wrong is refused at its field and character, what is meant to be right is taken.
Whether a calendar would not fire for eight years, and so must be refused too, the oracle says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, takewhile

from msgspec.structs import replace

from tests.support.checker.calendars import Forecast, Hashed, Rule, Sheet, Wrong
from tests.support.checker.days import WEEKDAYS
from tests.support.checker.history import History
from tests.support.checker.nominal import Unsure, dropped, named
from tests.support.checker.records import Kind
from tests.support.checker.verdicts import Promise, Violation

DAY_MS = 86_400_000
PATIENCE_DAYS = 8 * 366
"""What names nothing for so long is refused."""
UNSURE_DAYS = 10
"""By so much nobody is held to that."""
USUAL_COUNT = 10
MOST_GONE = 100
MOST_MISSED = 10_000
DEAD = "schedule.calendar"
MANY_NAMES = 6


def forecasts(history: History) -> Iterator[Violation]:
    """All that is wrong with what was foretold and refused."""
    hashed: dict[tuple[str, Rule], Rule] = {}
    for each in history.forecasts:
        if each.kind == Kind.INFO:
            if history.terms.calm:
                yield _broken(each, f"no answer without any fault: {each.reason}", Promise.LIVE)
        elif each.wrong:
            yield from _must_refuse(each, each.wrong)
        elif each.sheet is None:
            if each.refused or each.kind == Kind.FAIL:
                yield _broken(each, f"refused though right: {each.reason} {each.refused}")
        else:
            yield from _meant(each, each.sheet, hashed)
    yield from _all_alike(hashed)


def _broken(each: Forecast, text: str, promise: Promise = Promise.FORECAST) -> Violation:
    return Violation(promise, each.text, text)


def _must_refuse(each: Forecast, wrong: tuple[Wrong, ...]) -> Iterator[Violation]:
    if each.kind == Kind.OK:
        yield _broken(each, f"taken though wrong at {wrong}")
    elif [one.field for one in each.refused] != [one.field for one in wrong]:
        yield _broken(each, f"refused at {each.refused} ({each.reason}), wrong is {wrong}")
    elif each.refused[0].position != wrong[0].position:
        yield _broken(each, f"refused at {each.refused[0]}, wrong is {wrong[0]}")


def _meant(
    each: Forecast, sheet: Sheet, hashed: dict[tuple[str, Rule], Rule]
) -> Iterator[Violation]:
    """A calendar that is right, unless it names nothing for years."""
    if any(rule.hashed for rule in sheet.rules):
        if not each.times:
            yield _broken(each, f"refused though right: {each.reason} {each.refused}")
            return
        yield from _stays(each, sheet, hashed)
        sheet = replace(sheet, rules=tuple(_solved(rule, each) for rule in sheet.rules))
    try:
        silence = _silent(sheet, each.now_ms)
        if silence is None:
            return
        if silence:
            yield from _must_refuse(each, silence)
        elif each.kind == Kind.FAIL:
            yield _broken(each, f"refused though right: {each.reason} {each.refused}")
        elif each.since_ms is not None:
            yield from _missed(each, sheet, each.since_ms)
        else:
            yield from _coming(each, sheet)
    except Unsure:
        return


# What is hashed -----------------------------------------------------------------------------------


def _solved(rule: Rule, each: Forecast) -> Rule:
    """The rule with what its hashed fields must be by the first time that was told."""
    shown = datetime.fromtimestamp(each.times[0].at_ms // 1_000, UTC)
    known = {
        "second": shown.second,
        "minute": shown.minute,
        "hour": shown.hour,
        "date": shown.day,
        "month": shown.month,
        "weekday": shown.isoweekday() % 7,
    }
    for one in rule.hashed:
        values = _values(one, known[one.field])
        match one.field:
            case "date":
                rule = replace(rule, dates=tuple(map(str, values)))
            case "weekday":
                rule = replace(rule, weekdays=tuple(WEEKDAYS[(n + 6) % 7] for n in values))
            case _:
                rule = replace(rule, **{f"{one.field}s": values})
    return rule


def _values(one: Hashed, shown: int) -> tuple[int, ...]:
    if not one.low <= shown <= one.high:
        return ()
    if not one.step:
        return (shown,)
    return tuple(range(one.low + (shown - one.low) % one.step, one.high + 1, one.step))


def _stays(
    each: Forecast, sheet: Sheet, hashed: dict[tuple[str, Rule], Rule]
) -> Iterator[Violation]:
    """A hashed value is in range, and the same whenever and whomever somebody asks."""
    for rule in sheet.rules:
        solved = _solved(rule, each)
        known = hashed.setdefault((sheet.name, rule), solved)
        if known != solved:
            yield _broken(each, f"hashed to {solved}, and before to {known}")


def _all_alike(hashed: dict[tuple[str, Rule], Rule]) -> Iterator[Violation]:
    """Schedules of many names do not all get the same."""
    by_rule: dict[Rule, list[Rule]] = defaultdict(list)
    for (_, rule), solved in hashed.items():
        by_rule[rule].append(solved)
    for rule, found in by_rule.items():
        if len(found) >= MANY_NAMES and all(each == found[0] for each in found):
            yield Violation(Promise.FORECAST, str(rule.hashed), f"{len(found)} names, all alike")


# What it names ------------------------------------------------------------------------------------


def _silent(sheet: Sheet, now_ms: int) -> tuple[Wrong, ...] | None:
    """What must be refused because it names nothing for years; None = it is a near thing."""
    from_ms = now_ms if sheet.start_ms is None else max(now_ms, sheet.start_ms - 1)
    parts = [Sheet(rules=(rule,)) for rule in sheet.rules]
    for number, part in enumerate((*parts, sheet)):
        days = PATIENCE_DAYS + UNSURE_DAYS
        first = next((at_ms for at_ms, _ in named(part, from_ms, days)), None)
        late_ms = None if first is None else first - from_ms - PATIENCE_DAYS * DAY_MS
        if late_ms is not None and late_ms < -UNSURE_DAYS * DAY_MS:
            continue
        if late_ms is not None and late_ms < UNSURE_DAYS * DAY_MS:
            return None
        if part is sheet:
            return (Wrong(field=DEAD),)
        position = sheet.rules[number].days_at
        return (Wrong(field=f"{DEAD}.crons[{number}].expression", position=position),)
    return ()


def _coming(each: Forecast, sheet: Sheet) -> Iterator[Violation]:
    wished = each.count or USUAL_COUNT
    coming = islice(named(sheet, each.after_ms), wished)
    times = [(at_ms, tuple(sorted(marks))) for at_ms, marks in coming]
    told = [(one.at_ms, tuple(sorted(one.marks))) for one in each.times]
    if [at_ms for at_ms, _ in told] != [at_ms for at_ms, _ in times]:
        yield _broken(each, f"foretold {_said(told)}, but {_said(times)} are next")
    elif told != times:
        yield _broken(each, f"marked {told}, not {times}")
    if each.is_short != (len(times) < wished):
        yield _broken(each, f"{len(told)} of {wished} times, and a reason: {each.is_short}")
    if times and told:
        gone = dropped(sheet, each.after_ms, times[-1][0])[:MOST_GONE]
        if gone != list(each.gone):
            yield _broken(each, f"dropped {each.gone}, not {gone}")


def _missed(each: Forecast, sheet: Sheet, since_ms: int) -> Iterator[Violation]:
    """What passed from one instant to another, and what of that would be caught up."""
    inside = takewhile(lambda one: one[0] < each.after_ms, named(sheet, since_ms))
    times = [at_ms for at_ms, _ in islice(inside, MOST_MISSED)]
    if each.missed != len(times):
        yield _broken(each, f"{each.missed} missed since {since_ms}, not {len(times)}")
    if len(times) == MOST_MISSED:
        return
    due = sum(at_ms >= each.after_ms - each.reach_ms for at_ms in times)
    most = {"SKIP": 0, "ONE": 1}.get(each.policy, due)
    if each.caught_up != min(due, most):
        yield _broken(each, f"{each.caught_up} caught up, not {min(due, most)} of {due}")


def _said(times: list[tuple[int, tuple[str, ...]]]) -> str:
    shown = (datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat() for at_ms, _ in times)
    return ", ".join(shown) or "nothing"
