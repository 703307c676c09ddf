"""Calendars of all kinds, drawn: what is asked about them, and what the judge must know of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_question
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice

from msgspec.structs import replace
from timeball.v1 import schedule_service_pb2 as pb

from tests.support.checker.calendars import Every, OutDates, OutSpan, Rule, Sheet
from tests.support.checker.nominal import Unsure, named
from tests.support.checker.zones import clocks_of
from tests.support.sim.cron_words import NICKNAMES, Spelled, expression, hashed
from timeball_server.core.schedules.spec import FoldRule, GapRule
from timeball_server.rpc.convert import set_duration, set_timestamp

DAY_MS = 86_400_000
ZONES = ("UTC", "Asia/Kolkata", "Europe/Berlin", "America/New_York", "Pacific/Auckland")
JUMPING = (
    ("Europe/Berlin", 1996, (1, 2, 3)),
    ("America/New_York", 1996, (0, 1, 2, 3)),
    ("Australia/Lord_Howe", 1996, (1, 2)),
    ("Atlantic/Azores", 1996, (23, 0, 1)),
    ("America/Havana", 2006, (23, 0, 1)),
    ("America/Sao_Paulo", 2008, (23, 0, 1)),
    ("Pacific/Apia", 2010, (0, 3, 4, 12)),
)
"""Zones whose clocks jump, from which year on as they do now, and the hours about it."""
ENDS = {"America/Sao_Paulo": 2018, "Pacific/Apia": 2020}
LATEST_YEAR = 2036
NAMES = tuple(f"nightly-{number}" for number in range(8))
NEAR_DAYS = 4
LENGTHS_MS = (100, 1_000, 60_000, 90_000, 3_600_000, 7 * DAY_MS, 5 * 365 * DAY_MS)
COUNTS = (0, 1, 2, 3, 5, 8, 12)
FARTHEST_START_MS = 4 * 365 * DAY_MS
POLICIES = ("ONE", "SKIP", "ALL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked: of which calendar, in the product's words and in the judge's, and from when.

    `since_ms`: what of the time from then to `after_ms` would be caught up, by `policy`, no further
    back than `reach_ms`.
    """

    text: str
    message: pb.Schedule
    sheet: Sheet
    after_ms: int
    count: int = 0
    since_ms: int | None = None
    policy: str = "ONE"
    reach_ms: int = 0


def question(rng: random.Random, now_ms: int) -> Question:
    """One of all kinds."""
    kind = rng.random()
    if kind < 0.1:
        return _hashed(rng)
    if kind < 0.45:
        spelled, after_ms = _near_a_jump(rng)
        sheet = Sheet(rules=(spelled.rule,))
        return ask_about(sheet, [spelled.text], after_ms, rng.choice(COUNTS))
    if kind < 0.7:
        spelled = _plain(rng)
        sheet = Sheet(rules=(spelled.rule,))
        return ask_about(sheet, [spelled.text], _any_time(rng), rng.choice(COUNTS[:5]))
    return _composed(rng, now_ms)


def _hashed(rng: random.Random) -> Question:
    spelled, name = rng.choice(hashed()), rng.choice(NAMES)
    sheet = Sheet(rules=(spelled.rule,), name=name)
    return ask_about(sheet, [spelled.text], _any_time(rng), rng.choice((2, 5, 8)))


def _plain(rng: random.Random) -> Spelled:
    if rng.random() < 0.12:
        text = rng.choice(list(NICKNAMES))
        return Spelled(text, NICKNAMES[text])
    return expression(rng, rng.choice(ZONES), _gap(rng), _fold(rng))


def _near_a_jump(rng: random.Random) -> tuple[Spelled, int]:
    zone, first_year, hours = rng.choice(JUMPING)
    year = rng.randint(first_year, ENDS.get(zone, LATEST_YEAR))
    days = jumps(zone, year)
    if not days:
        return _plain(rng), _any_time(rng)
    after_ms = rng.choice(days) - rng.randint(0, 2 * DAY_MS)
    return expression(rng, zone, _gap(rng), _fold(rng), hours), after_ms


@lru_cache(maxsize=1_000)
def jumps(zone: str, year: int) -> tuple[int, ...]:
    """Noons of UTC, in milliseconds since 1970, before which clocks have jumped within a day."""
    rules = clocks_of(zone)
    noon_s = round(datetime(year, 1, 1, 12, tzinfo=UTC).timestamp())
    noons = range(noon_s, noon_s + 366 * 86_400, 86_400)
    offsets = [datetime.fromtimestamp(each, rules).utcoffset() for each in noons]
    return tuple(
        noon_s * 1_000
        for noon_s, before, after in zip(noons[1:], offsets, offsets[1:], strict=False)
        if before != after
    )


def _composed(rng: random.Random, now_ms: int) -> Question:
    """Rules and intervals united, some of it left out, from a start to an end that lie ahead."""
    about_ms = now_ms + rng.randint(-400, 1_500) * DAY_MS
    spelled = [_plain(rng) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    if rng.random() < 0.3:
        near, about_ms = _near_a_jump(rng)
        spelled.append(near)
    every = [_every(rng) for _ in range(rng.choice((0, 0, 1, 2)))]
    if not spelled and not every:
        every = [Every(every_ms=60_000)]
    sheet = Sheet(rules=tuple(each.rule for each in spelled), every=tuple(every))
    texts = [each.text for each in spelled]
    if rng.random() < 0.7:
        sheet, out = _left_out(rng, sheet, about_ms)
        texts += out
    if rng.random() < 0.4 and about_ms > now_ms + 3 * DAY_MS:
        sheet = _bounded(rng, sheet, about_ms, now_ms)
    if rng.random() < 0.25:
        return _of_an_outage(rng, sheet, texts, about_ms)
    return ask_about(sheet, texts, about_ms, rng.choice(COUNTS))


def _every(rng: random.Random) -> Every:
    every_ms = rng.choice(LENGTHS_MS)
    return Every(every_ms=every_ms, phase_ms=rng.choice((0, every_ms - 1, rng.randrange(every_ms))))


def _left_out(rng: random.Random, sheet: Sheet, about_ms: int) -> tuple[Sheet, list[str]]:
    """Some of the times that come, by each way of saying so."""
    times = _some(sheet, about_ms, 12)
    if not times:
        return sheet, []
    dates, spans, rules = list[OutDates](), list[OutSpan](), list[Spelled]()
    if rng.random() < 0.4:
        zone = rng.choice((*ZONES, "Pacific/Apia"))
        picked = {_date(zone, rng.choice(times) + extra * DAY_MS): None for extra in (0, 0, 1, 40)}
        dates.append(OutDates(dates=tuple(picked), zone=zone))
    if rng.random() < 0.4:
        ends = sorted((rng.choice(times), rng.choice(times) + rng.choice((0, 1, 999, DAY_MS))))
        if ends[0] < ends[1]:
            spans.append(OutSpan(from_ms=ends[0], to_ms=ends[1]))
    if rng.random() < 0.5:
        rules.append(_covering(rng, sheet, rng.choice(times)))
    made = replace(
        sheet,
        out_dates=tuple(dates),
        out_spans=tuple(spans),
        out_rules=tuple(each.rule for each in rules),
    )
    return made, [each.text for each in rules]


def _covering(rng: random.Random, sheet: Sheet, at_ms: int) -> Spelled:
    """An expression that leaves out days, hours, minutes or seconds, near one time at least."""
    zones = [rule.zone for rule in sheet.rules]
    zone = rng.choice((*zones, *zones, *ZONES))
    shown = datetime.fromtimestamp(at_ms // 1_000, clocks_of(zone))
    minute, hour, day, month = shown.minute, shown.hour, shown.day, shown.month
    all_hours, all_minutes = tuple(range(24)), tuple(range(60))
    near = (hour, min(23, hour + 2))
    later = (minute, min(59, minute + 3))
    whole = Rule(minutes=all_minutes, hours=all_hours, zone=zone, every_second=True)
    texts: dict[str, Rule] = {
        f"* * {day} {month} *": _on(whole, day, month),
        f"* {near[0]}-{near[1]} * * *": _at(whole, all_minutes, range(near[0], near[1] + 1)),
        f"{later[0]}-{later[1]} {hour} * * *": _at(whole, range(later[0], later[1] + 1), (hour,)),
        f"{minute} * * * *": _at(whole, (minute,), all_hours),
        f"0-{min(58, shown.second)} * {hour} {day} * *": Rule(
            minutes=all_minutes,
            hours=(hour,),
            seconds=tuple(range(min(58, shown.second) + 1)),
            dates=(str(day),),
            zone=zone,
        ),
    }
    text = rng.choice(list(texts))
    return Spelled(text, texts[text])


def _on(whole: Rule, day: int, month: int) -> Rule:
    return replace(whole, dates=(str(day),), months=(month,))


def _at(whole: Rule, minutes: range | tuple[int, ...], hours: range | tuple[int, ...]) -> Rule:
    return replace(whole, minutes=tuple(minutes), hours=tuple(hours))


def _date(zone: str, at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1_000, clocks_of(zone)).date().isoformat()


def _bounded(rng: random.Random, sheet: Sheet, about_ms: int, now_ms: int) -> Sheet:
    """The same from a start or to an end, at one of its times or next to it."""
    times = _some(sheet, about_ms, 6)
    start_ms = rng.choice(times[:3]) + rng.choice((-1, 0, 1)) if times else None
    end_ms = rng.choice(times[3:]) + rng.choice((-1, 0, 1)) if len(times) > 3 else None
    kept = rng.choice(((start_ms, None), (None, end_ms), (start_ms, end_ms)))
    if kept[0] is not None and kept[0] > now_ms + FARTHEST_START_MS:
        return sheet
    return replace(sheet, start_ms=kept[0], end_ms=kept[1])


def _of_an_outage(rng: random.Random, sheet: Sheet, texts: list[str], about_ms: int) -> Question:
    """What would be caught up, of a time that begins or ends at a nominal time, or beside it."""
    times = _some(sheet, about_ms, 20)
    if not times:
        return ask_about(sheet, texts, about_ms, 3)
    ends = sorted((about_ms, rng.choice(times) + rng.choice((0, 0, 1, 2))))
    reach_ms = rng.choice((1, 60_000, 600_000, DAY_MS, ends[1] - times[0], ends[1] - times[0] + 1))
    return of_outage(sheet, texts, ends, rng.choice(POLICIES), max(1, reach_ms))


def of_outage(
    sheet: Sheet, texts: list[str], ends: Sequence[int], policy: str, reach_ms: int
) -> Question:
    """What would be caught up of the time between two instants."""
    since_ms, after_ms = ends
    asked = ask_about(sheet, texts, after_ms, 0)
    asked.message.catch_up.policy = pb.CatchUpPolicy.Value(f"CATCH_UP_POLICY_{policy}")
    set_duration(asked.message.catch_up.window, reach_ms)
    return replace_question(asked, since_ms=since_ms, policy=policy, reach_ms=reach_ms)


def _some(sheet: Sheet, after_ms: int, count: int) -> list[int]:
    """The next nominal times; none if nobody can tell."""
    try:
        return [at_ms for at_ms, _ in islice(named(sheet, after_ms), count)]
    except Unsure:
        return []


def _any_time(rng: random.Random) -> int:
    first_ms = round(datetime(1996, 1, 1, tzinfo=UTC).timestamp()) * 1_000
    return first_ms + rng.randrange(40 * 365 * DAY_MS)


def _gap(rng: random.Random) -> str:
    return str(rng.choice(list(GapRule)))


def _fold(rng: random.Random) -> str:
    return str(rng.choice(list(FoldRule)))


def ask_about(sheet: Sheet, texts: list[str], after_ms: int, count: int) -> Question:
    """The question for the product, too. One calendar has one rule for gaps and folds."""
    if sheet.rules:
        first = sheet.rules[0]
        rules = tuple(replace(rule, gap=first.gap, fold=first.fold) for rule in sheet.rules)
        sheet = replace(sheet, rules=rules)
    message = pb.Schedule()
    calendar = message.calendar
    for rule, text in zip(sheet.rules, texts, strict=False):
        calendar.crons.add(expression=text, time_zone=rule.zone)
        calendar.gap = pb.GapRule.Value(f"GAP_RULE_{rule.gap}")
        calendar.fold = pb.FoldRule.Value(f"FOLD_RULE_{rule.fold}")
    for every in sheet.every:
        made = calendar.intervals.add()
        set_duration(made.every, every.every_ms)
        set_duration(made.phase, every.phase_ms)
    for rule, text in zip(sheet.out_rules, texts[len(sheet.rules) :], strict=True):
        calendar.exclusions.add(cron=pb.Cron(expression=text, time_zone=rule.zone))
    for dates in sheet.out_dates:
        calendar.exclusions.add(dates=pb.Dates(dates=dates.dates, time_zone=dates.zone))
    for span in sheet.out_spans:
        out = calendar.exclusions.add().span
        set_timestamp(out.start_time, span.from_ms)
        set_timestamp(out.end_time, span.to_ms)
    if sheet.start_ms is not None:
        set_timestamp(message.start_time, sheet.start_ms)
    if sheet.end_ms is not None:
        set_timestamp(message.end_time, sheet.end_ms)
    words = " | ".join((*texts, *(f"every {each.every_ms}" for each in sheet.every)))
    zones = ",".join(dict.fromkeys(rule.zone for rule in sheet.rules))
    text = f"{words} in {zones} after {after_ms}"
    return Question(text=text, message=message, sheet=sheet, after_ms=after_ms, count=count)
