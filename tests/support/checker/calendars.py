"""What a client wants of a calendar, and what answers foretold of it: records and nothing else.

Instants are milliseconds since 1970, because a calendar may be asked about any year.
"""

from __future__ import annotations

import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Anything that a forecast holds."""


class Hashed(Part, frozen=True, kw_only=True):
    """A field whose value follows from the schedule's name, and nobody outside knows how.

    Attributes:
        field: second, minute, hour, date, month or weekday.
        step: 0 = one value from `low` to `high`; else every so-manieth of them from a first one on.
    """

    field: str
    low: int
    high: int
    step: int = 0


class Rule(Part, frozen=True, kw_only=True):
    """Local times of a zone: all combinations of these, on days of these.

    Attributes:
        dates: items as `Days` has them: `*`, `15`, `L`, `LW`, `15W`.
        weekdays: the same: `*`, `fri`, `fri#2`, `friL`.
        months: none = every month.
        either: a day is named by its date or by its weekday, instead of by both.
        through: it names what clocks show, as often as they do; gap and fold are nothing to it.
        hashed: fields whose values are not known; UTC only, what is said of them here is nothing.
        days_at: the character at which the day of the month begins.
        every_second: of a rule that leaves out: it leaves out whole minutes.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    seconds: tuple[int, ...] = (0,)
    dates: tuple[str, ...] = ("*",)
    weekdays: tuple[str, ...] = ("*",)
    months: tuple[int, ...] = ()
    either: bool = False
    through: bool = False
    zone: str = "UTC"
    gap: str = "RUN_AT_END"
    fold: str = "FIRST"
    hashed: tuple[Hashed, ...] = ()
    days_at: int = 5
    every_second: bool = False


class Every(Part, frozen=True, kw_only=True):
    """Every so many milliseconds since 1970."""

    every_ms: int
    phase_ms: int = 0


class OutDates(Part, frozen=True, kw_only=True):
    """Whole local dates of a zone that are left out, as `2026-12-25`."""

    dates: tuple[str, ...]
    zone: str = "UTC"


class OutSpan(Part, frozen=True, kw_only=True):
    """Instants that are left out, the second one not among them."""

    from_ms: int
    to_ms: int


class Sheet(Part, frozen=True, kw_only=True):
    """A whole calendar. `name` is what hashed fields follow from.

    `out_rules` leave out every second that they name, or with `every_second` the whole minute.
    """

    rules: tuple[Rule, ...] = ()
    every: tuple[Every, ...] = ()
    out_dates: tuple[OutDates, ...] = ()
    out_spans: tuple[OutSpan, ...] = ()
    out_rules: tuple[Rule, ...] = ()
    start_ms: int | None = None
    end_ms: int | None = None
    name: str = ""


class Wrong(Part, frozen=True, kw_only=True):
    """A field that is refused, and at which character; None = as a whole."""

    field: str
    position: int | None = None


class Foretold(Part, frozen=True, kw_only=True):
    """A nominal time that an answer tells, and what it says that clocks did to it."""

    at_ms: int
    marks: tuple[str, ...] = ()


class Gone(Part, frozen=True, kw_only=True):
    """A local time that does not fire, as an answer tells it; `at_ms` is when it would have."""

    at_ms: int
    local: str
    zone: str


class Forecast(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="forecast"):
    """What somebody asked of a calendar, and was told.

    Attributes:
        kind: ok, fail or info, as `Kind` has it.
        now_ms: what true clocks showed when it was asked.
        sheet: what was meant; None = what is right about it is only that it must be taken.
        wrong: what must be refused, first things first; empty = nothing was meant to be wrong.
        since_ms: asked what of the time from then to `after_ms` would be caught up, not what comes.
        reach_ms: how far back catch-up looks, by the rule `policy`.
        refused: what the answer refuses; its first one has a position.
        is_short: the answer gives a reason for fewer times than were asked for.
    """

    client: str
    inv_us: int
    now_ms: int
    text: str
    kind: str
    reason: str = ""
    sheet: Sheet | None = None
    wrong: tuple[Wrong, ...] = ()
    after_ms: int = 0
    count: int = 0
    since_ms: int | None = None
    policy: str = "ONE"
    reach_ms: int = 0
    refused: tuple[Wrong, ...] = ()
    times: tuple[Foretold, ...] = ()
    gone: tuple[Gone, ...] = ()
    is_short: bool = False
    missed: int = 0
    caught_up: int = 0
