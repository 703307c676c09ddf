"""Cron expressions in a zone: which instants they name, with the rules for gaps and folds.

Owns the meeting of local times and segments of a zone. A *fixed* expression's local times are
wishes: one that a gap leaves out runs at the gap's end or not at all, one that is shown twice runs
in the first pass, the second or both. An expression that *ticks through* fires whenever the clock
shows a match. Never decides what a schedule does with an instant.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from timeball_server.core.schedules.cron_text import parse
from timeball_server.core.schedules.fields import Fields
from timeball_server.core.schedules.local_times import DAY_S, LocalTimes
from timeball_server.core.schedules.spec import Cron, FoldRule, GapRule
from timeball_server.core.schedules.zones import LAST_S, Segment, require_zone, segment_at

HORIZON_S: Final = 41 * 366 * DAY_S
"""How far ahead is looked: a 29 February on a Friday may be 40 years away."""
_KEPT: Final = 4_096
_EARLIEST_S: Final = 0
"""Schedules name no instant before 1970."""


class ZonedCron:
    """One expression in one zone. Asking it twice gives the same answer; it remembers nothing."""

    __slots__ = ("_both", "_first", "_local", "_moves", "fields", "rule")

    def __init__(self, rule: Cron, fields: Fields, local: LocalTimes) -> None:
        fixed = not fields.ticks_through
        self.rule, self.fields, self._local = rule, fields, local
        self._moves = fixed and rule.gap is GapRule.RUN_AT_END
        self._first = rule.fold is FoldRule.FIRST
        self._both = not fixed or rule.fold is FoldRule.BOTH

    def after(self, after_ms: int, within_s: int = HORIZON_S) -> int | None:
        """The first instant strictly after another one; None if none is within so many seconds."""
        zone, at_or_after = self.rule.zone, self._local.at_or_after
        at_s = max(after_ms // 1_000 + 1, _EARLIEST_S)
        until_s = min(at_s + within_s, LAST_S)
        while at_s <= until_s:
            segment = segment_at(zone, at_s)
            if at_s == segment.start_s and self.moves_to(segment):
                return at_s * 1_000
            offset_s = segment.offset_s
            from_s, to_s = self._readings(segment)
            local_s = at_or_after(max(from_s, at_s + offset_s))
            if local_s is not None and local_s < to_s:
                return (local_s - offset_s) * 1_000
            local_s = self.shown_after(segment)
            if local_s is None:
                return None
            at_s = max(segment.end_s, local_s - DAY_S)
        return None

    def moves_to(self, segment: Segment) -> bool:
        """Whether a local time that the gap before a segment leaves out fires at the gap's end."""
        return self._moves and self.left_out(segment) is not None

    def left_out(self, segment: Segment) -> int | None:
        """The first matching local time in the gap before a segment."""
        if segment.gap_from_s is None:
            return None
        local_s = self._local.at_or_after(segment.gap_from_s)
        shown_s = segment.start_s + segment.offset_s
        return local_s if local_s is not None and local_s < shown_s else None

    def shown_after(self, segment: Segment) -> int | None:
        """A lower bound for the local times that fire after a segment, for skipping what is empty.

        Offsets stay within a day of UTC: what fires later was not shown a day before, and nothing
        fires a day before its local time.
        """
        return self._local.at_or_after(segment.end_s + segment.offset_s - DAY_S)

    def matches(self, from_s: int, to_s: int) -> Iterator[int]:
        """Matching local times from one on, up to another one (not included)."""
        local_s = self._local.at_or_after(from_s) if from_s < to_s else None
        while local_s is not None and local_s < to_s:
            yield local_s
            local_s = self._local.at_or_after(local_s + 1)

    def _readings(self, segment: Segment) -> tuple[int, int]:
        """The local times that count in a segment: from the first one up to the second one."""
        to_s = segment.end_s + segment.offset_s
        if self._both:
            return segment.start_s + segment.offset_s, to_s
        if self._first:
            return segment.once_from_s, to_s
        return segment.start_s + segment.offset_s, min(to_s, segment.again_from_s)


def zoned(rule: Cron, seed: str) -> ZonedCron:
    """A cron, compiled; `seed` is what its H fields are hashed from.

    Schedules that share rule and zone share what is compiled, unless the expression has an H.

    Raises:
        SpecProblem: the expression or its zone is not accepted.
    """
    return _zoned(rule, seed if _may_hash(rule.expression) else "")


@lru_cache(maxsize=_KEPT)
def _zoned(rule: Cron, seed: str) -> ZonedCron:
    require_zone(rule.zone)
    fields = parse(rule.expression, seed)
    return ZonedCron(rule, fields, LocalTimes(fields))


def _may_hash(expression: str) -> bool:
    """Whether an H may be among the letters; a day's name is none, nor is a nickname."""
    text = expression.lower()
    return "h" in text.replace("thu", "") and "@" not in text
