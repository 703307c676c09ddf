"""When a schedule fires, as plain records that a journal can keep.

Everything here is immutable and made of texts, whole numbers, tuples and enums. Nothing is
evaluated or checked here: `checking.check` says whether a calendar is sound, `calendars` what
instants it names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class GapRule(StrEnum):
    """What becomes of a local time that the clock jumps over when it is put forward.

    RUN_AT_END: it fires at the instant of the jump; several such times are one nominal time.
    SKIP: it does not fire that day.
    """

    RUN_AT_END = "RUN_AT_END"
    SKIP = "SKIP"


class FoldRule(StrEnum):
    """What becomes of a local time that the clock shows twice when it is put back."""

    FIRST = "FIRST"
    SECOND = "SECOND"
    BOTH = "BOTH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """Local times of a zone that match an expression of five fields, or six with seconds first.

    An expression *ticks through* when an item of its hour field is `*` or has a step (`*/2`,
    `8-18/2`, `H/6`): it fires whenever the local clock shows a matching time, in both passes of a
    fold and not at all in a gap; `gap` and `fold` do not concern it. Every other expression is
    *fixed*: each matching local time of the calendar is one wish, and `gap` and `fold` say what
    the clock's jumps do to it.

    `zone` is an IANA name, `UTC` included. `H` fields are hashed from the calendar's seed.
    """

    expression: str
    zone: str = "UTC"
    gap: GapRule = GapRule.RUN_AT_END
    fold: FoldRule = FoldRule.FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Every `every_ms`, at 1970-01-01T00:00Z + phase + n x every: stable over restarts.

    A day is 24 hours here, whatever the clocks do. `phase_ms` is at least 0; one that is not
    smaller than `every_ms` counts modulo it.
    """

    every_ms: int
    phase_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedDates:
    """Whole local dates of a zone, as `2026-12-25`. Judged by the instant that would fire."""

    dates: tuple[str, ...]
    zone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedSpan:
    """Every instant from `from_ms` (included) to `to_ms` (not included)."""

    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedCron:
    """Every instant at which the local clock of a zone shows a time that the expression matches.

    Five fields exclude the whole matching minute, six the matching second: `* 9-17 * * sat,sun`
    leaves out office hours at weekends, `* * 24-26 12 *` three days each year. Gaps and folds
    need no rule here, because only instants that exist are asked about.
    """

    expression: str
    zone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusions:
    """What is subtracted from the union of a calendar's rules."""

    dates: tuple[ExcludedDates, ...] = ()
    spans: tuple[ExcludedSpan, ...] = ()
    crons: tuple[ExcludedCron, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """All rules of one schedule: crons and intervals united, exclusions subtracted.

    An instant that several rules name is one nominal time. `start_ms` and `end_ms` are inclusive
    wall-clock milliseconds, None = unbounded. `jitter_ms` and `window_ms` move when an occurrence
    is due, never its nominal time (`spread.due_ms`). `seed` is the text that `H` fields are hashed
    from: the schedule's name, which must never change during the schedule's life.
    """

    crons: tuple[Cron, ...] = ()
    intervals: tuple[Interval, ...] = ()
    excluded: Exclusions = field(default_factory=Exclusions)
    start_ms: int | None = None
    end_ms: int | None = None
    jitter_ms: int = 0
    window_ms: int = 0
    seed: str = ""
