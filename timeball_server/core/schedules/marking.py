"""What the clocks' jumps did to nominal times, for people who look ahead.

Owns the marks of a preview. Decides nothing: `cron` has applied the rules by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Final

from timeball_server.core.schedules.cron import ZonedCron, zoned
from timeball_server.core.schedules.local_times import DAY_S
from timeball_server.core.schedules.spec import Calendar, FoldRule, GapRule
from timeball_server.core.schedules.zones import LAST_S, Segment, segment_at

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - readings of a local clock have no zone


class Mark(StrEnum):
    """What a nominal time has to do with a jump of its zone's clock.

    MOVED: a local time that asked for it does not exist that day; it fires at the gap's end.
    FIRST_PASS, SECOND_PASS: its local time is shown twice, and this is the first or second time.
    """

    MOVED = "MOVED"
    FIRST_PASS = "FIRST_PASS"
    SECOND_PASS = "SECOND_PASS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A local time that matches a cron and does not fire, because of a jump and its rule.

    `local` is what the clock shows or would have shown, as `2026-03-29T02:30:00`; `at_ms` the
    instant at which it would have fired otherwise: the gap's end, or the pass that is left out.
    Whether another rule fires at that instant, or an exclusion covers it, is not looked at.
    """

    local: str
    zone: str
    at_ms: int


def marks(calendar: Calendar, nominal_ms: int) -> tuple[Mark, ...]:
    """The marks of a nominal time of the calendar; empty for nearly all, and for intervals."""
    found = set()
    for rule in calendar.crons:
        cron = zoned(rule, calendar.seed)
        if cron.after(nominal_ms - 1) == nominal_ms:
            found |= set(_marks(cron, nominal_ms // 1_000))
    return tuple(mark for mark in Mark if mark in found)


def _marks(cron: ZonedCron, at_s: int) -> Iterator[Mark]:
    segment = segment_at(cron.rule.zone, at_s)
    if at_s == segment.start_s and cron.moves_to(segment):
        yield Mark.MOVED
    if at_s + segment.offset_s >= segment.again_from_s:
        yield Mark.FIRST_PASS
    if at_s + segment.offset_s < segment.once_from_s:
        yield Mark.SECOND_PASS


def dropped(calendar: Calendar, after_ms: int, until_ms: int, limit: int) -> tuple[Dropped, ...]:
    """What jumps dropped between two instants (the second included), in order, at most `limit`.

    Nothing before the calendar's start or after its end: it names no time there anyway.
    Costs some microseconds for each jump near which the crons have local times at all.
    """
    if calendar.start_ms is not None:
        after_ms = max(after_ms, calendar.start_ms - 1)
    if calendar.end_ms is not None:
        until_ms = min(until_ms, calendar.end_ms)
    found: list[Dropped] = []
    for rule in calendar.crons:
        cron = zoned(rule, calendar.seed)
        if not cron.fields.ticks_through:
            found += islice(_dropped(cron, after_ms // 1_000 + 1, until_ms // 1_000), limit)
    return tuple(sorted(found, key=lambda each: (each.at_ms, each.local, each.zone))[:limit])


def _dropped(cron: ZonedCron, from_s: int, until_s: int) -> Iterator[Dropped]:
    zone, at_s = cron.rule.zone, max(from_s, 0)
    while at_s <= min(until_s, LAST_S):
        segment = segment_at(zone, at_s)
        for local_s, fires_s in _left_out(cron, segment):
            if from_s <= fires_s <= until_s:
                local = (_EPOCH + timedelta(seconds=local_s)).isoformat()
                yield Dropped(local=local, zone=zone, at_ms=fires_s * 1_000)
        later_s = cron.shown_after(segment)
        at_s = LAST_S + 1 if later_s is None else max(segment.end_s, later_s - DAY_S)


def _left_out(cron: ZonedCron, segment: Segment) -> Iterator[tuple[int, int]]:
    """Local times of one segment that do not fire, with the instants at which they would have."""
    start_s, end_s, offset_s = segment.start_s, segment.end_s, segment.offset_s
    shown_from_s, shown_to_s = start_s + offset_s, end_s + offset_s
    if cron.rule.gap is GapRule.SKIP and segment.gap_from_s is not None:
        for local_s in cron.matches(segment.gap_from_s, shown_from_s):
            yield local_s, start_s
    if cron.rule.fold is FoldRule.FIRST:
        for local_s in cron.matches(shown_from_s, min(segment.once_from_s, shown_to_s)):
            yield local_s, local_s - offset_s
    if cron.rule.fold is FoldRule.SECOND:
        for local_s in cron.matches(max(segment.again_from_s, shown_from_s), shown_to_s):
            yield local_s, local_s - offset_s
