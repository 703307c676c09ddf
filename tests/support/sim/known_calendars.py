"""Calendars that are asked about in each world that asks at all: every word, and every jump, once.

What is drawn meets the rare ones too rarely: leap years, months that begin on a Sunday, the day
that Samoa left out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime

from msgspec.structs import replace

from tests.support.checker.calendars import Every, OutDates, OutSpan, Rule, Sheet
from tests.support.checker.days import WEEKDAYS
from tests.support.sim.almanacs import NAMES, POLICIES, Question, ask_about, of_outage
from tests.support.sim.cron_words import NICKNAMES, hashed

MIDNIGHT = Rule(minutes=(0,), hours=(0,))
ALL_SIXTY, ALL_HOURS = tuple(range(60)), tuple(range(24))
LEAP_YEARS = (1995, 1999, 2001, 2023, 2095, 2099)
"""After each of these a February comes that is easily counted wrong."""
DAYS = (
    ("0 0 1W,2W,15W,16W * *", ("1W", "2W", "15W", "16W"), ("*",)),
    ("0 0 27W,28W,29W,30W,31W * ?", ("27W", "28W", "29W", "30W", "31W"), ("*",)),
    ("0 0 L,LW * *", ("L", "LW"), ("*",)),
    ("0 0 ? * sun#1,mon#5,wed#2,2#4", ("*",), ("sun#1", "mon#5", "wed#2", "tue#4")),
    ("0 0 ? * sat#3,0#1,7#5", ("*",), ("sat#3", "sun#1", "sun#5")),
    ("0 0 * * 0L,3l", ("*",), ("sunL", "wedL")),
    ("0 0 * * fri-sun", ("*",), ("fri", "sat", "sun")),
    ("0 0 * * 4-7/3", ("*",), ("thu", "sun")),
    ("0 0 * * 0-6", ("*",), WEEKDAYS),
    ("0 0 * * 0", ("*",), ("sun",)),
    ("0 0 13 * +fri", ("13",), ("fri",)),
    ("0 0 */5 * tue,7", ("1", "6", "11", "16", "21", "26", "31"), ("tue", "sun")),
)  # fmt: skip
EITHER = (
    ("0 0 13 * fri", ("13",), ("fri",)),
    ("0 0 L 2,12 mon#1", ("L",), ("mon#1",)),
    ("0 0 31,30W * sat", ("31", "30W"), ("sat",)),
    ("0 0 13 2,12 0", ("13",), ("sun",)),
    ("0 0 13 * sun#5,6#5", ("13",), ("sun#5", "sat#5")),
)
JUMPS = (
    ("Europe/Berlin", "2026-03-28T12:00", "1,2,3", (1, 2, 3)),
    ("Europe/Berlin", "2026-10-24T12:00", "1,2,3", (1, 2, 3)),
    ("America/New_York", "2024-03-09T12:00", "1,2,3", (1, 2, 3)),
    ("America/New_York", "2024-11-02T12:00", "0,1,2", (0, 1, 2)),
    ("Australia/Lord_Howe", "2026-04-04T00:00", "1,2", (1, 2)),
    ("Australia/Lord_Howe", "2026-10-03T00:00", "1,2", (1, 2)),
    ("Atlantic/Azores", "2024-03-30T12:00", "0,1,23", (0, 1, 23)),
    ("Atlantic/Azores", "2024-10-26T12:00", "0,1,23", (0, 1, 23)),
    ("America/Sao_Paulo", "2017-10-14T12:00", "0,23", (0, 23)),
    ("America/Sao_Paulo", "2018-02-17T12:00", "0,23", (0, 23)),
    ("Pacific/Apia", "2011-12-29T00:00", "0,12", (0, 12)),
)
"""A zone, when to look, and hours about the jump that follows."""
EDGES = (
    ("2026-03-29T01:00:00", (30,), (2,)),
    ("2026-10-25T00:30:00", (30,), (2,)),
    ("2026-10-25T01:30:00", (30,), (2,)),
)
"""Instants at which Berlin's clocks drop a local time, by one rule or another."""
EDGES_OF_OUTAGES = ((1, 0, 0), (3_600_000, 1, 1), (7_200_001, 0, 1), (3_600_000, 1, 0))
"""How far back is caught up, and milliseconds before and after nominal times."""
MINUTES = (
    ("0,29,30,59", (0, 29, 30, 59)),
    ("30", (30,)),
)
COUNT = 14


def known(rng: random.Random) -> list[Question]:
    """All of them, in some order."""
    found = [*_days(), *_jumps(), *_edges(), *_outages(), *_words(rng), *_left_out()]
    rng.shuffle(found)
    return found


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1_000)


def _ask(text: str, rule: Rule, after_ms: int, count: int = COUNT, name: str = "") -> Question:
    return ask_about(Sheet(rules=(rule,), name=name), [text], after_ms, count)


def _days() -> Iterator[Question]:
    for text, dates, weekdays in DAYS:
        rule = Rule(minutes=(0,), hours=(0,), dates=dates, weekdays=weekdays)
        yield _ask(text, rule, _ms("2021-12-31T23:59"), 40)
    for text, dates, weekdays in EITHER:
        months = (2, 12) if "2,12" in text else ()
        rule = Rule(
            minutes=(0,), hours=(0,), dates=dates, weekdays=weekdays, months=months, either=True
        )
        yield _ask(text, rule, _ms("2024-01-13T00:00"), 40)
    for year in LEAP_YEARS:
        leap = Rule(minutes=(59,), hours=(23,), dates=("29",), months=(2,))
        yield _ask("59 23 29 feb *", leap, _ms(f"{year}-06-01T00:00"), 2)
        last = Rule(minutes=(0,), hours=(0,), dates=("L", "LW"), weekdays=("*",), months=(2, 3))
        yield _ask("0 0 L,LW 2,3 *", last, _ms(f"{year}-02-03T00:00"), 8)


def _jumps() -> Iterator[Question]:
    """Each jump by each rule, and once by what ticks through it."""
    for zone, after, hours_text, hours in JUMPS:
        for gap, fold in (("RUN_AT_END", "FIRST"), ("SKIP", "SECOND"), ("SKIP", "BOTH")):
            for text, minutes in MINUTES:
                rule = Rule(minutes=minutes, hours=hours, zone=zone, gap=gap, fold=fold, days_at=0)
                yield _ask(f"{text} {hours_text} * * *", rule, _ms(after))
        rule = Rule(minutes=(0, 30), hours=ALL_HOURS, zone=zone, through=True, days_at=0)
        yield _ask("*/30 * * * *", rule, _ms(after), 60)


def _edges() -> Iterator[Question]:
    """Right after and right before what is dropped, to the second and to the millisecond."""
    for at, minutes, hours in EDGES:
        for fold in ("FIRST", "SECOND"):
            rule = Rule(
                minutes=minutes, hours=hours, zone="Europe/Berlin", gap="SKIP", fold=fold, days_at=0
            )
            for earlier_ms in (0, 1, 1_000, 1_001):
                yield _ask("30 2 * * *", rule, _ms(at) - earlier_ms, 2)


def _outages() -> Iterator[Question]:
    """From one nominal time to another, and a millisecond beside; of nothing, and of thousands."""
    at_ms = _ms("2027-06-01T12:00")
    every = Sheet(every=(Every(every_ms=60_000),))
    hourly = Sheet(rules=(Rule(minutes=(0,), hours=ALL_HOURS, through=True),))
    for policy in POLICIES:
        for reach_ms, early_ms, late_ms in EDGES_OF_OUTAGES:
            ends = (at_ms - early_ms, at_ms + 3 * 3_600_000 + late_ms)
            yield of_outage(hourly, ["@hourly"], ends, policy, reach_ms)
            yield of_outage(every, [], ends, policy, reach_ms)
    until = replace(every, end_ms=at_ms + 600_000)
    yield of_outage(until, [], (at_ms, at_ms + 1_200_000), "ALL", 1_200_000)
    yield of_outage(until, [], (at_ms + 600_000, at_ms + 1_200_000), "ONE", 1_200_000)
    often = Sheet(every=(Every(every_ms=100, phase_ms=7),))
    yield of_outage(often, [], (at_ms, at_ms + 900_000), "ALL", 10_000)
    yield of_outage(often, [], (at_ms, at_ms + 1_000_701), "ONE", 10_000)
    yield of_outage(often, [], (at_ms, at_ms + 99), "ONE", 10_000)
    yield of_outage(every, [], (at_ms, at_ms + 1), "ALL", 10_000)


def _words(rng: random.Random) -> Iterator[Question]:
    for text, rule in NICKNAMES.items():
        yield _ask(text, rule, _ms("2026-12-31T23:00"), 3)
    for spelled in hashed():
        for name in rng.sample(NAMES, 6 if spelled.text == "H H * * *" else 2):
            yield _ask(spelled.text, spelled.rule, _ms("2026-02-27T00:00"), 5, name)
    third = Rule(minutes=(0,), hours=(0,), months=(1, 4, 7, 10), dates=("1",))
    yield _ask("0 0 1 */3 *", third, _ms("2026-02-01T00:00"), 5)
    office = Rule(minutes=(5, 15), hours=(8, 10, 12), seconds=(7, 59), through=True)
    yield _ask("7,59 5-15/10 8-12/2 ? JAN-dec ?", office, _ms("2026-01-01T08:05:07"), 13)


def _left_out() -> Iterator[Question]:
    """Each way of leaving out, at its first and its last instant and beside them."""
    after_ms = _ms("2027-03-27T22:00")
    whole = Rule(minutes=ALL_SIXTY, hours=ALL_HOURS, every_second=True)
    quarter = Sheet(every=(Every(every_ms=15_000, phase_ms=7_000),))
    hourly = Sheet(rules=(Rule(minutes=(0, 30), hours=ALL_HOURS, through=True),))
    seconds = Rule(minutes=ALL_SIXTY, hours=ALL_HOURS, seconds=(22, 37, 38))
    berlin = Rule(minutes=ALL_SIXTY, hours=(1, 3), zone="Europe/Berlin", every_second=True)
    rows = (
        (quarter, seconds, "22,37-38 * * * * *"),
        (quarter, Rule(minutes=(0, 1, 3), hours=(22,), every_second=True), "0-1,3 22 * * *"),
        (hourly, berlin, "* 1,3 * * *"),
        (hourly, Rule(minutes=ALL_SIXTY, hours=(22, 23), every_second=True), "* 22-23 * * *"),
        (hourly, Rule(minutes=(30,), hours=ALL_HOURS, every_second=True), "30 * * * *"),
        (hourly, _dated(whole, "28"), "* * 28 * *"),
        (hourly, _dated(whole, "L"), "* * L * *"),
        (hourly, Rule(minutes=(0,), hours=ALL_HOURS, seconds=(0,)), "0 0 * * * *"),
    )
    for sheet, out, text in rows:
        made = Sheet(rules=sheet.rules, every=sheet.every, out_rules=(out,))
        texts = ["*/30 * * * *", text] if sheet.rules else [text]
        yield ask_about(made, texts, after_ms, 30)
    for zone in ("UTC", "Europe/Berlin", "Asia/Kolkata"):
        dates = OutDates(dates=("2027-03-28", "2027-03-30", "2027-03-31"), zone=zone)
        made = Sheet(rules=hourly.rules, out_dates=(dates,))
        yield ask_about(made, ["*/30 * * * *"], after_ms, 60)
    spans = (
        OutSpan(from_ms=after_ms + 1_800_000, to_ms=after_ms + 5_400_000),
        OutSpan(from_ms=after_ms + 5_400_000, to_ms=after_ms + 5_400_001),
        OutSpan(from_ms=after_ms + 9_000_001, to_ms=after_ms + 10_800_000),
    )
    yield ask_about(Sheet(rules=hourly.rules, out_spans=spans), ["*/30 * * * *"], after_ms, 10)
    both = Sheet(rules=(*hourly.rules, MIDNIGHT), every=(Every(every_ms=2_700_000),))
    yield ask_about(both, ["*/30 * * * *", "@daily"], after_ms, 10)
    for first, second in (("0 5 * * *", "0 4 * * *"), ("0 4 * * *", "0 5 * * *")):
        rules = tuple(Rule(minutes=(0,), hours=(int(text[2]),)) for text in (first, second))
        yield ask_about(Sheet(rules=rules), [first, second], after_ms, 5)
    with_interval = Sheet(rules=(MIDNIGHT,), every=(Every(every_ms=7_200_000),))
    yield ask_about(with_interval, ["@daily"], after_ms + 1, 14)


def _dated(whole: Rule, date: str) -> Rule:
    return Rule(minutes=whole.minutes, hours=whole.hours, dates=(date,), every_second=True)
