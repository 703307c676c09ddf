"""Calendars that must be refused, each with what is wrong about it, and their right neighbours.

The rows are those of bad input that people really send: a field, a character, and close to each
what is as good as any. Nothing is told by wording, so no words are here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from timeball.v1 import schedule_service_pb2 as pb

from tests.support.checker.calendars import Wrong
from timeball_server.rpc.convert import set_duration, set_timestamp

FIRST_CRON = "schedule.calendar.crons[0].expression"
MOST = 256
_TAIL = " * * * *"
EXPRESSIONS: Sequence[tuple[str, int | None]] = (
    ("", None), ("   ", None), ("*", 1), ("0 9 * *", 7), (" 0 9 * *", 8),
    ("0 0 9 * * * 2027", 13), ("0 0 9 * * * 2027 x", 13), ("@reboot", 1), (" @every 5m", 2),
    ("@once", 1), ("@fortnightly", 1), (" @dayly", 2), ("@daily 5", 8), ("60 * * * *", 1),
    ("0 60 * * * *", 3), ("60 0 * * * *", 1), ("0 24 * * *", 3), ("0 0 0 * *", 5),
    ("0 0 32 * *", 5), ("0 0 1 13 *", 7), ("0 0 1 0 *", 7), ("0 0 * * 8", 9), ("-1 * * * *", 1),
    ("1.5 * * * *", 2), ("999999999999 * * * *", 10), ("*/0 * * * *", 3), ("0 */0 * * *", 5),
    ("0-59/61 * * * *", 6), ("0-59/60 * * * *", 6), ("*/60 * * * *", 3), ("* */24 * * *", 5),
    ("5-5/2 * * * *", 5), ("5/10 * * * *", 2), ("0 5/10 * * *", 4), ("1,7-5 * * * *", 3),
    ("1-70 * * * *", 3), ("70-80 * * * *", 1), ("*/-5 * * * *", 2), ("*/5/2 * * * *", 4),
    ("0 22-6 * * *", 3), ("0 0 * nov-feb *", 7), ("0 0 * * fri-mon", 9), ("0 0 * * mom", 9),
    ("0 0 * * 0-sun,2-0", 15), ("0 0 * mon *", 7), ("0 0 * * monday", 12), ("1,,2 * * * *", 3),
    (",1 * * * *", 1), ("1, * * * *", 3), ("1,2,,4 * * * *", 5), ("0 0 1,,L * *", 7),
    ("0 0 * * 1#6", 11), ("0 0 * * 1#0", 11), ("0 0 * * fri#77", 13), ("0 0 * * 8#1", 9),
    ("0 0 * * 8L", 9), ("0 0 * * +8L", 10), ("L * * * *", 1), ("0 0 * L *", 7), ("0 0 * * L", 9),
    ("0 0 L-3 * *", 5), ("0 0 W * *", 5), ("0 0 1-5W * *", 8), ("0 0 32W * *", 5),
    ("0 0 0W * *", 5), ("0 0 * * 1W", 10), ("? * * * *", 1), ("0 0 1,? * *", 7), ("0 0 # * *", 5),
    ("0 0 + * *", 5), ("0 0 * * ++1", 10), ("0 0 * * +xyz", 10), ("0 ~ * * *", 3),
    ("H( * * * *", 2), ("H(5) * * * *", 2), ("H(0-70) * * * *", 5), ("H(30-10) * * * *", 3),
    ("1,H(30-10) * * * *", 5), ("H/0 * * * *", 3), ("H(0-9)/10 * * * *", 8),
    ("H(0-9)/0 * * * *", 8), ("CRON_TZ=Europe/Berlin 0 9 * * *", 1), ("TZ=UTC 0 9 * * *", 1),
    ("0 9 * * *\n", 10), ("0\x00 9 * * *", 2), ("0 9 * * \u202emon", 9), ("0 9 * * m\u043en", 10),
    ("\uff10 9 * * *", 1), ("0 9 * * *; rm -rf /", 15), ("0 9 * * *;", 10), ("${x} 9 * * *", 1),
    ("0 9\x7f * * *", 4), (f"{'0' * (MOST - 7)}{_TAIL}", MOST + 1), ("9" * 10_000, MOST + 1),
)  # fmt: skip
RIGHT_EXPRESSIONS = (
    "* * * * *", "* * * * * *", "0 0 29 2 *", "0 0 1,L,LW,15W * ?", "0 0 ? * fri#5,2L",
    "0-59/59 * * * *", "*/1 * * * *", "5-5/1 * * * *", "*/59 * * * *", "0 */23 * * *",
    "0 0 * * 0-7", "0 0 * JAN-Dec SUN", "  0\t9   * * *  ", "@Daily", "H H(1-5) H * H",
    "0 0 13 * +5", "0 0 */2 * 1", "0 0 31W 1 *", "H/15 * * * *", "H(0-9)/9 * * * *",
    "0 0 * * 1#5", "0 0 * * 7L", "59 23 31 12 *", "00000000 0 * * *", "0 0 1 1,12 0,7",
    f"{'0,' * ((MOST - 9) // 2)}00{_TAIL}",
)  # fmt: skip
ZONES = (
    "  ", "Mars/Olympus", "europe/berlin", "berlin", "America/New York", " Europe/Berlin", "utc",
    "EST5EDT", "EST", "CET", "est", "PST", "Etc/GMT+5", "Etc/GMT-14", "+02:00", "UTC+2",
    "../../etc", "/etc/localtime", "localtime", "Factory", "Europe", "Europe/Berlin\x00",
    "US/Pacific-New", "x" * 5_000,
)  # fmt: skip
RIGHT_ZONES = (
    "", "UTC", "Etc/UTC", "GMT", "Etc/GMT", "Etc/GMT+0", "Etc/GMT-0", "Asia/Calcutta",
    "US/Eastern", "America/Argentina/Ushuaia", "Europe/Kyiv",
)  # fmt: skip
DAY_MS = 86_400_000
FIVE_YEARS_MS = 5 * 365 * DAY_MS
Case = tuple[str, pb.Schedule, tuple[Wrong, ...]]
Change = Callable[[pb.Schedule], None]


def cases(now_ms: int) -> list[Case]:
    """All of them: what it is called, the message, and what is wrong about it, if anything."""
    found: list[Case] = []
    for text, position in EXPRESSIONS:
        found.append((text[:40], _with_cron(text), (Wrong(field=FIRST_CRON, position=position),)))
    found += [(text[:40], _with_cron(text), ()) for text in RIGHT_EXPRESSIONS]
    zone_field = (Wrong(field="schedule.calendar.crons[0].time_zone"),)
    found += [(zone[:40], _with_cron("0 9 * * *", zone), zone_field) for zone in ZONES]
    found += [(zone, _with_cron("0 9 * * *", zone), ()) for zone in RIGHT_ZONES]
    for name, change, wrong in (*_lengths(), *_bounds(now_ms), *_many(), *_left_out(now_ms)):
        message = _with_cron("0 9 * * *")
        change(message)
        found.append((name, message, tuple(Wrong(field=field) for field in wrong)))
    return [*found, *_several()]


def _with_cron(text: str, zone: str = "") -> pb.Schedule:
    message = pb.Schedule()
    message.calendar.crons.add(expression=text, time_zone=zone)
    return message


Row = tuple[str, Change, tuple[str, ...]]


def _lengths() -> list[Row]:
    """Durations at their limits, and beyond them."""
    every = "schedule.calendar.intervals[0].every"
    phase = "schedule.calendar.intervals[0].phase"
    found: list[Row] = []

    def add(name: str, every_ms: int, phase_ms: int, *wrong: str) -> None:
        def change(message: pb.Schedule) -> None:
            made = message.calendar.intervals.add()
            set_duration(made.every, every_ms)
            set_duration(made.phase, phase_ms)

        found.append((f"interval {name}", change, wrong))

    def spread(name: str, length_ms: int, *wrong: str) -> None:
        def change(message: pb.Schedule) -> None:
            set_duration(getattr(message, name), length_ms)

        found.append((f"{name} of {length_ms}", change, wrong))

    add("none", 0, 0, every)
    add("back", -1_000, 0, every)
    add("short", 99, 0, every)
    add("shortest", 100, 99)
    add("longest", FIVE_YEARS_MS, 5)
    add("long", FIVE_YEARS_MS + 1, 5, every)
    add("phase back", 60_000, -1, phase)
    add("phase of itself", 60_000, 60_000, phase)
    add("last phase", 60_000, 59_999)
    add("everything", 1, -1, every, phase)
    for name in ("jitter", "flexible_window"):
        spread(name, -1, f"schedule.{name}")
        spread(name, 0)
        spread(name, DAY_MS)
        spread(name, DAY_MS + 1, f"schedule.{name}")
    return found


def _bounds(now_ms: int) -> list[Row]:
    """When it begins and ends. Clocks are wrong by seconds, these are right or wrong by days."""
    start, end, dead = "schedule.start_time", "schedule.end_time", "schedule.calendar"

    def bounds(from_ms: int | None, to_ms: int | None) -> Change:
        def change(message: pb.Schedule) -> None:
            if from_ms is not None:
                set_timestamp(message.start_time, from_ms)
            if to_ms is not None:
                set_timestamp(message.end_time, to_ms)

        return change

    nine_ms = now_ms - now_ms % DAY_MS + 10 * DAY_MS + 9 * 3_600_000
    return [
        ("end before start", bounds(nine_ms, nine_ms - 1), (end,)),
        ("one instant", bounds(nine_ms, nine_ms), ()),
        ("nothing between", bounds(nine_ms + 1, nine_ms + 1), (dead,)),
        ("nothing before", bounds(nine_ms - 1, nine_ms - 1), (dead,)),
        ("over", bounds(None, now_ms - DAY_MS), (dead,)),
        ("before 1970", bounds(-1, None), (start,)),
        ("at 1970", bounds(0, None), ()),
        ("far ahead", bounds(now_ms + FIVE_YEARS_MS + DAY_MS, None), (start,)),
        ("nearly as far", bounds(now_ms + FIVE_YEARS_MS - DAY_MS, None), ()),
        ("both wrong", bounds(-1, -2), (start, end)),
    ]


def _many() -> list[Row]:
    """How many of each."""
    out = "schedule.calendar.exclusions"

    def crons(count: int) -> Change:
        def change(message: pb.Schedule) -> None:
            for _ in range(count - 1):
                message.calendar.crons.add(expression="0 10 * * *")

        return change

    def spans(count: int) -> Change:
        def change(message: pb.Schedule) -> None:
            for _ in range(count):
                made = message.calendar.exclusions.add().span
                set_timestamp(made.start_time, 0)
                set_timestamp(made.end_time, 1)

        return change

    def dates(count: int) -> Change:
        def change(message: pb.Schedule) -> None:
            half = count // 2
            for each in (half, count - half):
                message.calendar.exclusions.add(dates=pb.Dates(dates=["2030-12-25"] * each))

        return change

    return [
        ("16 rules", crons(16), ()),
        ("17 rules", crons(17), ("schedule.calendar.crons",)),
        ("64 exclusions", spans(64), ()),
        ("65 exclusions", spans(65), (out,)),
        ("1000 dates", dates(1_000), ()),
        ("1001 dates", dates(1_001), (out,)),
        ("no rule", lambda message: message.calendar.ClearField("crons"), ("schedule.calendar",)),
    ]


def _left_out(now_ms: int) -> list[Row]:
    """Exclusions that are wrong in themselves, or leave nothing."""
    out = "schedule.calendar.exclusions"

    def exclude(*made: pb.Exclusion) -> Change:
        def change(message: pb.Schedule) -> None:
            message.calendar.exclusions.extend(made)

        return change

    def dates(*texts: str, zone: str = "") -> pb.Exclusion:
        return pb.Exclusion(dates=pb.Dates(dates=texts, time_zone=zone))

    def span(from_ms: int, to_ms: int) -> pb.Exclusion:
        made = pb.Exclusion()
        set_timestamp(made.span.start_time, from_ms)
        set_timestamp(made.span.end_time, to_ms)
        return made

    def cron(text: str, zone: str = "") -> pb.Exclusion:
        return pb.Exclusion(cron=pb.Cron(expression=text, time_zone=zone))

    good = span(now_ms, now_ms + 1)
    return [
        ("no date", exclude(dates("2026-02-30")), (f"{out}[0].dates.dates[0]",)),
        ("leap day", exclude(dates("2028-02-29")), ()),
        ("short", exclude(good, dates("2026-02-20", "2026-2-3")), (f"{out}[1].dates.dates[1]",)),
        ("date and time", exclude(dates("2026-02-03T00")), (f"{out}[0].dates.dates[0]",)),
        ("zone of dates", exclude(dates(zone="Berlin")), (f"{out}[0].dates.time_zone",)),
        ("empty span", exclude(span(5, 5)), (f"{out}[0].span.end_time",)),
        ("span back", exclude(dates(), span(5, 4)), (f"{out}[1].span.end_time",)),
        ("span of 1 ms", exclude(span(5, 6)), ()),
        ("zone of cron", exclude(good, cron("* * * * *", "CET")), (f"{out}[1].cron.time_zone",)),
        ("all left out", exclude(cron("* 9 * * *")), ("schedule.calendar",)),
        ("another minute left out", exclude(cron("1-59 9 * * *")), ()),
        ("another second left out", exclude(cron("1-59 * * * * *")), ()),
        ("first second left out", exclude(cron("0 * * * * *")), ("schedule.calendar",)),
        ("nine years out", exclude(span(0, now_ms + 9 * 366 * DAY_MS)), ("schedule.calendar",)),
        ("seven years left out", exclude(span(0, now_ms + 7 * 365 * DAY_MS)), ()),
    ]  # fmt: skip


def _several() -> list[Case]:
    """More than one thing is wrong: all of it is said, in its order."""
    message = _with_cron("60 * * * *", "Berlin")
    made = message.calendar.intervals.add()
    set_duration(made.every, 1)
    set_duration(made.phase, -1)
    set_duration(message.jitter, -1)
    message.calendar.exclusions.add(cron=pb.Cron(expression="* 25 * * *"))
    everything = (
        Wrong(field="schedule.calendar.crons[0].time_zone"),
        Wrong(field=FIRST_CRON),
        Wrong(field="schedule.calendar.intervals[0].every"),
        Wrong(field="schedule.calendar.intervals[0].phase"),
        Wrong(field="schedule.calendar.exclusions[0].cron.expression"),
        Wrong(field="schedule.jitter"),
    )
    left_out = _with_cron("0 9 * * *")
    left_out.calendar.exclusions.add(cron=pb.Cron(expression="* 25 * * *"))
    second = _with_cron("0 9 * * *")
    second.calendar.crons.add(expression="0 0 */40 * *")
    in_exclusion = Wrong(field="schedule.calendar.exclusions[0].cron.expression", position=3)
    in_second = Wrong(field="schedule.calendar.crons[1].expression", position=7)
    return [
        ("everything", message, everything),
        ("exclusion", left_out, (in_exclusion,)),
        ("second cron", second, (in_second,)),
    ]
