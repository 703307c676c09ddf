"""When a schedule fires: crons, intervals, delays, what is left out, and what happens to misses.

Pure records and the words for them. Expressions, zones and ranges are the server's to judge: it
answers with the field's path, the position in the expression and a hint.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, TypedDict, TypeVar, Unpack, cast

from timeball.durations import DurationLike, parse_duration, require_zone
from timeball.errors import refused

W = TypeVar("W", bound=str)
Gap = Literal["run_at_end", "skip"]
Fold = Literal["first", "second", "both"]
CatchUp = Literal["one", "skip", "all"]

_OVERLAP = re.compile(
    r"(skip|buffer_one|cancel_other|terminate_other)|(buffer|allow)\((\d{1,9})\)", re.ASCII
)
_CHOICES = {
    "gap": ("run_at_end", "skip"),
    "fold": ("first", "second", "both"),
    "catch_up": ("one", "skip", "all"),
}
_DURATIONS = ("jitter", "window", "catch_up_window", "max_lateness")


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Nominal times at a fixed distance, aligned to the epoch plus `phase`.

    Attributes:
        every: distance of nominal times, 100 ms to 5 years.
        phase: shift of nominal times, less than `every`.
    """

    every: DurationLike
    phase: DurationLike = "0s"

    def __post_init__(self) -> None:
        parse_duration(self.every, field="every")
        parse_duration(self.phase, field="phase")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cron:
    """A cron expression in a time zone; empty = UTC."""

    expression: str
    tz: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dates:
    """Whole days of a time zone; empty = UTC."""

    days: tuple[str, ...]
    tz: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """From an instant, included, up to another one, not included."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        require_zone(self.start, field="start")
        require_zone(self.end, field="end")


Exclusion = Cron | Dates | Span


class TimingOptions(TypedDict, total=False):
    """What can be said about any timing.

    Keys:
        start: first instant at which there may be a nominal time.
        end: last such instant, inclusive.
        max_runs: launches after which the schedule ends; 0 = no limit.
        jitter: each run is due at random within so long after its nominal time, at most 24 h.
        window: runs may be due anywhere within so long, as suits the cluster, at most 24 h.
        overlap: while an earlier run has not ended: "skip" (default), "buffer_one", "buffer(5)",
            "allow(5)", "cancel_other" or "terminate_other"; limits 1 to 100.
        catch_up: after nobody was there: launch "one" (default), "skip", or "all" in the window.
        catch_up_window: how far back catch-up looks (default 10 min), at most 366 days.
        max_lateness: a missed nominal time older than this is not launched any more.
        exclude: what is left out, at most 64: `dates(...)`, `span(...)`, `Cron(...)`.
        labels: words of your own to find the schedule by, at most 32.
    """

    start: datetime | None
    end: datetime | None
    max_runs: int
    jitter: DurationLike
    window: DurationLike
    overlap: str
    catch_up: CatchUp
    catch_up_window: DurationLike
    max_lateness: DurationLike
    exclude: Iterable[Exclusion]
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """When a schedule fires; `cron`, `every`, `after_completion` and `union` make them.

    Attributes:
        crons: at most 16, together with the intervals.
        intervals: at most 16, together with the crons.
        after_completion: instead of both, from the end of one run to the next nominal time.
        gap: what a local time does that the clocks skip, for all crons; None = "run_at_end".
        fold: what a local time does that comes twice, for all crons; None = "first".
        options: bounds, overlap, catch-up and so on.

    Raises:
        InvalidRequest: a value cannot be read; violations name the field.
        TypeError: an option does not exist.
    """

    crons: tuple[Cron, ...] = ()
    intervals: tuple[Interval, ...] = ()
    after_completion: DurationLike | None = None
    gap: Gap | None = None
    fold: Fold | None = None
    options: TimingOptions = field(default_factory=TimingOptions)

    def __post_init__(self) -> None:
        _check_names(self.options)
        for name, value in (("gap", self.gap), ("fold", self.fold)):
            _check_choice(name, value)
        _check_choice("catch_up", self.options.get("catch_up"))
        if self.after_completion is not None:
            parse_duration(self.after_completion, field="after_completion")
        for name in _DURATIONS:
            if name in self.options:
                parse_duration(self.options[name], field=name)  # type: ignore[literal-required]
        for name, instant in (("start", self.start), ("end", self.end)):
            if instant is not None:
                require_zone(instant, field=name)
        if "overlap" in self.options:
            parse_overlap(self.options["overlap"])

    @property
    def start(self) -> datetime | None:
        """First instant at which there may be a nominal time."""
        return self.options.get("start")

    @property
    def end(self) -> datetime | None:
        """Last instant, inclusive."""
        return self.options.get("end")

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing about when."""
        return not self.crons and not self.intervals and self.after_completion is None


def cron(
    expression: str,
    *,
    tz: str = "",
    gap: Gap | None = None,
    fold: Fold | None = None,
    **options: Unpack[TimingOptions],
) -> Timing:
    """Fires by the wall clock: `cron("0 9 * * mon-fri", tz="Europe/Berlin")`.

    Args:
        expression: 5 fields, 6 with seconds first, or a nickname; at most 256 characters.
        tz: IANA time zone; empty = UTC.
        gap: what a local time does that the clocks skip: "run_at_end" (default) or "skip".
        fold: what one does that comes twice: "first" (default), "second" or "both".
        options: see TimingOptions.

    Raises:
        InvalidRequest: an option cannot be read.
    """
    rule = Cron(expression=expression, tz=tz)
    return Timing(crons=(rule,), gap=gap, fold=fold, options=_frozen(options))


def every(
    distance: DurationLike, *, phase: DurationLike = "0s", **options: Unpack[TimingOptions]
) -> Timing:
    """An interval: `every("2s")`, `every("1h", phase="5m")` for five past each hour (UTC).

    Args:
        distance: between nominal times, 100 ms to 5 years; stable over restarts.
        phase: shift from the epoch, less than `distance`.
        options: see TimingOptions.

    Raises:
        InvalidRequest: a duration cannot be read, or an instant names no time zone.
    """
    return Timing(intervals=(Interval(every=distance, phase=phase),), options=_frozen(options))


def after_completion(delay: DurationLike, **options: Unpack[TimingOptions]) -> Timing:
    """Each run is due so long after the end of the one before, 1 s to 5 years.

    At most one run is in hand, so there is no `overlap`; nothing can be excluded or united.

    Raises:
        InvalidRequest: an option cannot be read, or cannot be said here.
    """
    for name in ("overlap", "exclude"):
        if name in options:
            raise refused(name, "cannot be said of a delay after completion")
    return Timing(after_completion=delay, options=_frozen(options))


def union(
    *timings: Timing,
    gap: Gap | None = None,
    fold: Fold | None = None,
    **options: Unpack[TimingOptions],
) -> Timing:
    """The nominal times of all crons and intervals together; each instant once.

    Options belong to the union and not to its parts: `union(cron(...), every("1h"), max_runs=9)`.

    Raises:
        InvalidRequest: a part has options, is a delay after completion, or the parts do not agree
            on gap or fold.
    """
    for part in timings:
        if part.after_completion is not None:
            raise refused("union", "a delay after completion cannot be united with others")
        if part.options:
            named = ", ".join(part.options)
            raise refused("union", f"say {named} of the union, not of a part")
    gaps = {part.gap for part in (*timings, Timing(gap=gap)) if part.gap is not None}
    folds = {part.fold for part in (*timings, Timing(fold=fold)) if part.fold is not None}
    return Timing(
        crons=tuple(each for part in timings for each in part.crons),
        intervals=tuple(each for part in timings for each in part.intervals),
        gap=_one("gap", gaps),
        fold=_one("fold", folds),
        options=_frozen(options),
    )


def dates(*days: date | str, tz: str = "") -> Dates:
    """Whole days to leave out: `dates("2026-12-25", date(2026, 12, 26), tz="Europe/Berlin")`."""
    return Dates(days=tuple(str(day) for day in days), tz=tz)


def span(start: datetime, end: datetime) -> Span:
    """A span of time to leave out, `end` not included.

    Raises:
        InvalidRequest: an instant names no time zone.
    """
    return Span(start=start, end=end)


def parse_overlap(text: str) -> tuple[str, int]:
    """The overlap policy that a text says and its limit, 0 where it has none.

    Raises:
        InvalidRequest: it says none.
    """
    match = _OVERLAP.fullmatch(text)
    if match is None:
        known = "skip, buffer_one, buffer(5), allow(5), cancel_other or terminate_other"
        raise refused("overlap", f"{text!r} is none of {known}")
    plain, limited, limit = match.groups()
    return plain or limited, int(limit or 0)


def _one(name: str, found: set[W]) -> W | None:
    if len(found) > 1:
        raise refused(name, "is one for all crons of a union; its parts do not agree")
    return next(iter(found), None)


def _frozen(options: TimingOptions) -> TimingOptions:
    kept = {name: value for name, value in options.items() if value is not None}
    if "exclude" in options:
        kept["exclude"] = tuple(options["exclude"])
    return cast(TimingOptions, kept)


def _check_names(options: TimingOptions) -> None:
    known = sorted(TimingOptions.__optional_keys__)
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
            raise TypeError(f"there is no option {name!r}; {hint}")


def _check_choice(name: str, value: str | None) -> None:
    if value is not None and value not in _CHOICES[name]:
        raise refused(name, f"{value!r} is none of {', '.join(_CHOICES[name])}")
