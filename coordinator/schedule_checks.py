"""What a calendar's refusal says in the words of the request: field paths as callers wrote them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from timeball.v1 import schedule_service_pb2 as pb

from timeball_server.core.schedules.checking import check
from timeball_server.core.schedules.problems import SpecProblem
from timeball_server.core.schedules.spec import Calendar

_WHOLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "start_ms": "schedule.start_time",
        "end_ms": "schedule.end_time",
        "jitter_ms": "schedule.jitter",
        "window_ms": "schedule.flexible_window",
        "excluded": "schedule.calendar.exclusions",
        "excluded.dates": "schedule.calendar.exclusions",
    }
)
_LAST: Final[Mapping[str, str]] = MappingProxyType(
    {"zone": "time_zone", "every_ms": "every", "phase_ms": "phase", "to_ms": "end_time"}
)
_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {"dates": "dates", "spans": "span", "crons": "cron"}
)
_EXCLUDED: Final = re.compile(r"excluded\.(\w+)\[(\d+)\](.*)")


def check_calendar(calendar: Calendar, message: pb.Schedule, now_ms: int) -> None:
    """Refuse a calendar that cannot be evaluated, or would not fire.

    Args:
        message: where it came from.

    Raises:
        SpecProblem: with everything that is wrong, each with its path, position and hint.
    """
    try:
        check(calendar, now_ms, "")
    except SpecProblem as refused:
        raise SpecProblem(
            [replace(problem, field=_path(problem.field, message)) for problem in refused.problems]
        ) from None


def _path(field: str, message: pb.Schedule) -> str:
    whole = "schedule.calendar" if message.HasField("calendar") else "schedule.interval"
    if not field:
        return whole
    if field in _WHOLE:
        return _WHOLE[field]
    excluded = _EXCLUDED.fullmatch(field)
    if excluded is not None:
        kind, number, rest = excluded.groups()
        place = _exclusion(message, _KINDS[kind], int(number))
        return _in_words(f"schedule.calendar.exclusions[{place}].{_KINDS[kind]}{rest}")
    if message.HasField("interval"):
        return _in_words(f"schedule.{field.replace('intervals[0]', 'interval')}")
    return _in_words(f"schedule.calendar.{field}")


def _exclusion(message: pb.Schedule, kind: str, number: int) -> int:
    """Where the so-manieth exclusion of a kind stands among all of them."""
    exclusions = message.calendar.exclusions
    places = [place for place, each in enumerate(exclusions) if each.WhichOneof("kind") == kind]
    return places[number]


def _in_words(path: str) -> str:
    """The last part as the request calls it."""
    before, dot, last = path.rpartition(".")
    return f"{before}{dot}{_LAST.get(last, last)}"
