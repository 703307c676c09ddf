"""What makes a calendar unacceptable, said before it is stored.

Owns the list of refusals and their hints. Never changes a calendar: what is unclear is refused.
"""

from __future__ import annotations

from timeball_server.core.schedules.calendars import next_nominal_ms
from timeball_server.core.schedules.problems import refuse
from timeball_server.core.schedules.spec import Calendar


def check(calendar: Calendar, now_ms: int, field: str = "calendar") -> None:
    """Refuse a calendar that can not be evaluated, or that names no instant after now.

    Args:
        now_ms: the wall clock; what would fire first must come within eight years of it, or of
            the start.
        field: the path of the calendar in the caller's request, put before each problem's field.

    Raises:
        SpecProblem: with everything that is wrong, each with field, position and hint.
    """
    if next_nominal_ms(calendar, now_ms) is None:
        raise refuse(field, "this names no instant after now", "look at its end and exclusions")
