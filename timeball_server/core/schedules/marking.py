"""What the clocks' jumps did to nominal times, for people who look ahead.

Owns the marks of a preview. Decides nothing: `calendars` has applied the rules by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from timeball_server.core.schedules.spec import Calendar


class Mark(StrEnum):
    """What a nominal time has to do with a jump of its zone's clock.

    MOVED: the local time that asked for it does not exist that day; it fires at the gap's end.
    FIRST_PASS, SECOND_PASS: its local time is shown twice, and this is the first or second time.
    """

    MOVED = "MOVED"
    FIRST_PASS = "FIRST_PASS"
    SECOND_PASS = "SECOND_PASS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A local time that matches a cron and does not fire, because of a jump and its rule.

    `local` is what the clock would have shown, as `2026-03-29T02:30:00`; `at_ms` the instant at
    which it would have fired otherwise: the gap's end, or the pass that the rule leaves out.
    """

    local: str
    zone: str
    at_ms: int


def marks(calendar: Calendar, nominal_ms: int) -> tuple[Mark, ...]:
    """The marks of a nominal time of the calendar; empty for nearly all, and for intervals."""
    return ()


def dropped(calendar: Calendar, after_ms: int, until_ms: int, limit: int) -> tuple[Dropped, ...]:
    """What jumps dropped between two instants (the second included), in order, at most `limit`."""
    return ()
