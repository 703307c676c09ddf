"""Cron expressions in many spellings, drawn together with what each of them means."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.support.checker.calendars import Hashed, Rule
from tests.support.checker.days import WEEKDAYS

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
SUNDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MOST_TIMES = 400
"""Local times of a day: an oracle asks each of them."""
NICKNAMES: Mapping[str, Rule] = {
    "@yearly": Rule(minutes=(0,), hours=(0,), dates=("1",), months=(1,), days_at=1),
    "@annually": Rule(minutes=(0,), hours=(0,), dates=("1",), months=(1,), days_at=1),
    "@monthly": Rule(minutes=(0,), hours=(0,), dates=("1",), days_at=1),
    "@weekly": Rule(minutes=(0,), hours=(0,), weekdays=("sun",), days_at=1),
    "@daily": Rule(minutes=(0,), hours=(0,), days_at=1),
    "@Midnight": Rule(minutes=(0,), hours=(0,), days_at=1),
    "@hourly": Rule(minutes=(0,), hours=tuple(range(24)), through=True, days_at=1),
}


@dataclass(frozen=True, slots=True)
class Word:
    """One field: its text and the values that it picks."""

    text: str
    values: tuple[int, ...]

    @property
    def steps(self) -> bool:
        """Whether it names whatever clocks show: an item is all, or has a step."""
        return any(item == "*" or "/" in item for item in self.text.split(","))


@dataclass(frozen=True, slots=True)
class Spelled:
    """An expression and what it means."""

    text: str
    rule: Rule


def word(rng: random.Random, low: int, high: int, names: Sequence[str] = ()) -> Word:
    """A field of numbers, or of words that count from `low`: a value, a range, steps, or a list."""
    items = [_item(rng, low, high, names) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    values = sorted({value for item in items for value in item.values})
    return Word(",".join(item.text for item in items), tuple(values))


def _item(rng: random.Random, low: int, high: int, names: Sequence[str]) -> Word:
    first, last = sorted((rng.randint(low, high), rng.randint(low, high)))
    kind = rng.choice(("value", "value", "range", "star", "steps", "steps of all"))
    if kind == "value" or first == last:
        return Word(_spelled(rng, first, low, names), (first,))
    if kind == "star":
        return Word("*", tuple(range(low, high + 1)))
    if kind == "steps of all":
        step = rng.choice((1, 2, 3, 5, high - low))
        return Word(f"*/{step}", tuple(range(low, high + 1, step)))
    text = f"{_spelled(rng, first, low, names)}-{_spelled(rng, last, low, names)}"
    if kind == "range":
        return Word(text, tuple(range(first, last + 1)))
    step = rng.choice((1, last - first, rng.randint(1, last - first)))
    return Word(f"{text}/{step}", tuple(range(first, last + 1, step)))


def _spelled(rng: random.Random, value: int, low: int, names: Sequence[str]) -> str:
    if names and rng.random() < 0.5:
        name = names[value - low]
        return rng.choice((name, name.upper(), name.title()))
    return str(value) if rng.random() < 0.8 else f"{value:02}"


@dataclass(frozen=True, slots=True)
class DayWords:
    """Both fields of days, with what they mean."""

    dates: str
    weekdays: str
    of_dates: tuple[str, ...]
    of_weekdays: tuple[str, ...]
    either: bool


def days(rng: random.Random) -> DayWords:
    """Days by date, by weekday, or by both."""
    dates, of_dates = _dates(rng) if rng.random() < 0.6 else (rng.choice("**?"), ("*",))
    weekdays, of_weekdays = _weekdays(rng) if rng.random() < 0.5 else (rng.choice("**?"), ("*",))
    free = any(text[:1] in "*?" for text in (dates, weekdays))
    plus = rng.random() < 0.2 and weekdays != "?"
    return DayWords(
        dates=dates,
        weekdays=f"+{weekdays}" if plus else weekdays,
        of_dates=of_dates,
        of_weekdays=of_weekdays,
        either=not plus and not free,
    )


def _dates(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    plain = word(rng, 1, 31)
    special = rng.sample(("L", "LW", "15W", "1W", "31W", "30W", "28W", "6w"), rng.choice((1, 1, 2)))
    kind = rng.random()
    if kind < 0.5:
        return plain.text, tuple(map(str, plain.values))
    if kind < 0.9 or plain.text.startswith("*"):
        return ",".join(special), tuple(each.upper() for each in special)
    both = (*map(str, plain.values), *(each.upper() for each in special))
    return f"{plain.text},{','.join(special)}", both


def _weekdays(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    kind = rng.random()
    if kind < 0.4:
        plain = word(rng, 0, 6, SUNDAYS)
        return plain.text, tuple(SUNDAYS[value] for value in plain.values)
    if kind < 0.6:
        return rng.choice(_ROUND)
    day = rng.randint(0, 7)
    named = rng.choice((str(day), SUNDAYS[day % 7], SUNDAYS[day % 7].upper()))
    which = rng.choice(("#1", "#2", "#3", "#4", "#5", "L", "l"))
    return f"{named}{which}", (f"{SUNDAYS[day % 7]}{which.upper()}",)


_ROUND = (
    ("fri-sun", ("fri", "sat", "sun")),
    ("sat-sun", ("sat", "sun")),
    ("5-7", ("fri", "sat", "sun")),
    ("0-7", WEEKDAYS),
    ("7", ("sun",)),
    ("1-7/3", ("mon", "thu", "sun")),
    ("mon-fri", WEEKDAYS[:5]),
    ("0-5/5", ("sun", "fri")),
    ("thu", ("thu",)),
    ("Thu,1", ("thu", "mon")),
)


def expression(
    rng: random.Random, zone: str, gap: str, fold: str, hours: Sequence[int] = ()
) -> Spelled:
    """An expression; with `hours` its hours are some of these."""
    while True:
        second = word(rng, 0, 59) if rng.random() < 0.3 else None
        minute = word(rng, 0, 59)
        hour = _hours(rng, hours) if hours else word(rng, 0, 23)
        seconds = (0,) if second is None else second.values
        if len(seconds) * len(minute.values) * len(hour.values) <= MOST_TIMES:
            break
    month = word(rng, 1, 12, MONTHS) if rng.random() < 0.4 else Word("*", ())
    on = DayWords("*", "*", ("*",), ("*",), either=False) if hours else days(rng)
    between = rng.choice((" ", " ", "  ", "\t"))
    times = [each.text for each in (second, minute, hour) if each is not None]
    head = rng.choice(("", "", " ")) + between.join(times) + between
    rule = Rule(
        minutes=minute.values,
        hours=hour.values,
        seconds=seconds,
        dates=on.of_dates,
        weekdays=on.of_weekdays,
        months=() if hours else month.values,
        either=on.either,
        through=hour.steps,
        zone=zone,
        gap=gap,
        fold=fold,
        days_at=len(head) + 1,
        every_second=second is None,
    )
    months = "*" if hours else month.text
    return Spelled(f"{head}{between.join((on.dates, months, on.weekdays))}", rule)


def _hours(rng: random.Random, hours: Sequence[int]) -> Word:
    """Some of these hours one by one, or whatever clocks show."""
    if rng.random() < 0.2:
        return Word("*/2", tuple(range(0, 24, 2)))
    chosen = tuple(sorted(rng.sample(hours, rng.randint(1, len(hours)))))
    return Word(",".join(map(str, chosen)), chosen)


def hashed() -> list[Spelled]:
    """Expressions whose values follow from a name."""
    minute = Hashed(field="minute", low=0, high=59)
    every_hour = tuple(range(24))
    tenth = Hashed(field="minute", low=0, high=29, step=10)
    sixth = Hashed(field="hour", low=0, high=23, step=6)
    quarter = Hashed(field="minute", low=0, high=59, step=15)
    second, thursday = Hashed(field="second", low=0, high=59), ("thu",)
    return [
        Spelled("H H * * *", _of(minute, Hashed(field="hour", low=0, high=23))),
        Spelled("H(10-19) 5 * * *", _of(Hashed(field="minute", low=10, high=19), hours=(5,))),
        Spelled("H/15 * * * *", _of(quarter, hours=every_hour)),
        Spelled("H(0-29)/10 h/6 * * *", _of(tenth, sixth)),
        Spelled("0 3 H * *", _of(Hashed(field="date", low=1, high=28), hours=(3,))),
        Spelled("0 3 1 H *", _of(Hashed(field="month", low=1, high=12), hours=(3,), dates=("1",))),
        Spelled("0 3 * * H", _of(Hashed(field="weekday", low=0, high=6), hours=(3,))),
        Spelled("0 3 * * h(mon-fri)", _of(Hashed(field="weekday", low=1, high=5), hours=(3,))),
        Spelled("H 0 3 * * Thu", _of(second, hours=(3,), weekdays=thursday)),
    ]  # fmt: skip


def _of(*fields: Hashed, hours: tuple[int, ...] = (0,), **more: tuple[str, ...]) -> Rule:
    return Rule(
        minutes=(0,),
        hours=hours,
        hashed=fields,
        through=len(hours) > 1 or any(one.field == "hour" and one.step for one in fields),
        dates=more.get("dates", ("*",)),
        weekdays=more.get("weekdays", ("*",)),
    )
