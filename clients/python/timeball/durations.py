"""Lengths of time and instants as people write them.

Owns the one grammar for durations and the rule that an instant names its time zone; never asks
what time it is.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from fractions import Fraction

from timeball.errors import refused

_TEXTS = "'30s', '5m', '1h30m' or 'PT1H30M'"

# Longest first: a duration names its units from long to short, each at most once.
MICROSECONDS = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_NUMBER = r"(\d+(?:\.\d+)?)"
_SHORT = re.compile("".join(f"(?:{_NUMBER}{unit})?" for unit in MICROSECONDS), re.ASCII)
_ISO = re.compile(
    rf"P(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?",
    re.ASCII,
)

DurationLike = timedelta | str


def parse_duration(value: DurationLike, *, field: str = "duration") -> timedelta:
    """The length of time that `value` says.

    Args:
        value: a timedelta, or text: "250ms", "30s", "1h30m", "1.5d", or ISO 8601 such as "PT30S"
            (without months and years, which have no fixed length).
        field: path for the error message.

    Raises:
        InvalidRequest: it is not a duration, is negative, is too long for a timedelta, or is
            finer than a microsecond.
    """
    if isinstance(value, timedelta):
        return _not_negative(value, field)
    if not isinstance(value, str):
        raise refused(field, f"{value!r} has no unit; give a timedelta, or text such as {_TEXTS}")
    text = value.strip()
    match = _SHORT.fullmatch(text) or _ISO.fullmatch(text)
    if match is None or not any(match.groups()):
        raise refused(field, f"{value!r} is not a duration with units; write it like {_TEXTS}")
    return _sum(match, value, field)


def _sum(match: re.Match[str], value: str, field: str) -> timedelta:
    pairs = zip(match.groups(), MICROSECONDS.values(), strict=False)
    total = sum((Fraction(number) * size for number, size in pairs if number), Fraction(0))
    if total.denominator != 1:
        raise refused(field, f"{value!r} is finer than a microsecond")
    try:
        return timedelta(microseconds=int(total))
    except OverflowError:
        raise refused(field, f"{value!r} is too long") from None


def _not_negative(value: timedelta, field: str) -> timedelta:
    if value < timedelta(0):
        raise refused(field, f"{value} is negative; give zero or more")
    return value


def format_duration(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads back as the same length."""
    left = value // timedelta(microseconds=1)
    parts = []
    for unit, size in MICROSECONDS.items():
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def require_zone(value: datetime, *, field: str = "time") -> datetime:
    """The instant itself, once it is sure that it is one.

    Raises:
        InvalidRequest: the datetime names no time zone, or is no datetime at all.
    """
    if not isinstance(value, datetime):
        raise refused(field, f"{value!r} is not a datetime")
    if value.utcoffset() is None:
        fix = "add one: value.astimezone() for local time, value.replace(tzinfo=UTC) for UTC"
        raise refused(field, f"{value.isoformat()} has no time zone; {fix}")
    return value


def parse_instant(text: str, *, field: str = "time") -> datetime:
    """The instant that an ISO 8601 text says, such as 2030-01-31T09:00:00Z or ...+02:00.

    Raises:
        InvalidRequest: it is not one, or names no time zone.
    """
    try:
        value = datetime.fromisoformat(text.strip())
    except ValueError:
        example = "2030-01-31T09:00:00Z"
        raise refused(field, f"{text!r} is not an ISO 8601 time such as {example}") from None
    if value.utcoffset() is None:
        raise refused(field, f"{text!r} has no time zone; end it with Z or an offset like +02:00")
    return value
