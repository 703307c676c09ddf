"""What becomes of a nominal time: pure decisions, no rows, no effects.

Facts go in, one decision comes out. The order of `decide` is the order of precedence: what an
earlier owner has done already, a pause, what was missed, the overlap rule. A nominal time that is
late because the cluster was busy, or because a fence is being written, is decided like one that is
on time: it is never missed for that (the clock is not even asked about it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from timeball_server.core.engine.reading import Standing
from timeball_server.core.model import CatchUpPolicy, Overlap, OverlapPolicy, ScheduleSpec
from timeball_server.core.schedules.calendars import (
    count_nominal,
    latest_nominal_ms,
    nominal_times,
)

MOST_IN_A_SPAN: Final = 500
"""Nominal times that one tick passes over; the next tick goes on. Bounds what a tick costs."""


class Verdict(StrEnum):
    """What a ledger row says."""

    LAUNCHED = "LAUNCHED"
    SKIPPED_OVERLAP = "SKIPPED_OVERLAP"
    COALESCED = "COALESCED"
    PAUSED = "PAUSED"
    MISSED_WINDOW = "MISSED_WINDOW"
    DROPPED_LIMIT = "DROPPED_LIMIT"
    CANCELLED = "CANCELLED"


class Move(StrEnum):
    """What is done with it. RECORD = an earlier owner launched it; WAIT = there is nothing to do.

    TERMINATE = launch it, and fence off the runs in hand; CANCEL = buffer it, and ask them to end.
    """

    LAUNCH = "LAUNCH"
    TERMINATE = "TERMINATE"
    RECORD = "RECORD"
    PASS = "PASS"
    BUFFER = "BUFFER"
    CANCEL = "CANCEL"
    WAIT = "WAIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of the nominal time `at_ms` as it is decided.

    `absent_until_ms`: times before it passed while nobody was there to launch them. `runs` are in
    hand, `waiting` nominal times wait for them. `buffered`: this is the first of those itself.
    Ids of times before `kept_from_ms` have expired: nothing can be launched under them.
    `fenced_for`: verdict and cause for which we fenced the id off, whatever has changed meanwhile.
    """

    spec: ScheduleSpec
    at_ms: int
    now_ms: int
    absent_until_ms: int
    standing: Standing
    runs: int
    waiting: int
    paused: bool
    buffered: bool = False
    kept_from_ms: int = 0
    fenced_for: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One move; PASS says for which times, from `at_ms` to `last_ms`, and why."""

    move: Move
    verdict: Verdict = Verdict.LAUNCHED
    cause: str = ""
    last_ms: int = 0
    times: int = 1


WAIT: Final = Decision(move=Move.WAIT)
_BLOCKED: Final = "an earlier run has not ended"


def decide(facts: Facts) -> Decision:
    """What becomes of one nominal time, and of those that share its fate."""
    if facts.at_ms < facts.kept_from_ms:
        until_ms = facts.at_ms if facts.buffered else facts.kept_from_ms - 1
        return _span(facts, Verdict.MISSED_WINDOW, "longer ago than tasks are kept", until_ms)
    if facts.standing is Standing.EXISTS:
        return Decision(move=Move.RECORD, cause="fail-over", last_ms=facts.at_ms)
    if facts.buffered:
        return _buffered(facts)
    if facts.at_ms > facts.now_ms:
        return WAIT
    if facts.paused:
        return _span(facts, Verdict.PAUSED, "paused", facts.now_ms)
    missed = _missed(facts) if facts.at_ms < facts.absent_until_ms else None
    if missed is not None:
        return missed
    return _unless_void(facts, _OVERLAPS[facts.spec.overlap.policy](facts))


def _buffered(facts: Facts) -> Decision:
    """The first that waits: for the runs to end, and for no pause."""
    if facts.runs or facts.paused:
        return WAIT
    limit_ms = facts.spec.catch_up.max_lateness_ms
    if limit_ms is not None and facts.now_ms - facts.at_ms > limit_ms:
        return _pass(facts, Verdict.MISSED_WINDOW, "waited too long for an earlier run to end")
    return _unless_void(facts, Decision(move=Move.LAUNCH, last_ms=facts.at_ms))


def _missed(facts: Facts) -> Decision | None:
    """Catch-up: what is passed over of the times that nobody could launch; None = launch it."""
    rule, at_ms = facts.spec.catch_up, facts.at_ms
    until_ms = min(facts.absent_until_ms - 1, facts.now_ms)
    cutoff_ms = facts.absent_until_ms - rule.reach_ms
    if rule.policy is CatchUpPolicy.SKIP:
        return _span(facts, Verdict.MISSED_WINDOW, "down", until_ms)
    if rule.policy is CatchUpPolicy.ALL:
        late = at_ms < cutoff_ms
        return _span(facts, Verdict.MISSED_WINDOW, "down", cutoff_ms - 1) if late else None
    latest_ms = latest_nominal_ms(facts.spec.when, at_ms - 1, until_ms) or at_ms
    if latest_ms < cutoff_ms:
        return _span(facts, Verdict.MISSED_WINDOW, "down", until_ms)
    return _span(facts, Verdict.COALESCED, "down", latest_ms - 1) if at_ms < latest_ms else None


def _unless_void(facts: Facts, decision: Decision) -> Decision:
    """What was fenced off, or cancelled before its time, is not launched, whatever else holds."""
    if decision.move is Move.PASS or facts.standing is Standing.ABSENT:
        return decision
    if facts.fenced_for is not None:
        verdict, cause = facts.fenced_for
        return _pass(facts, Verdict(verdict), cause)
    return _pass(facts, Verdict.CANCELLED, "voided before its time")


def _launch(facts: Facts) -> Decision:
    return Decision(move=Move.LAUNCH, last_ms=facts.at_ms)


def _pass(facts: Facts, verdict: Verdict, cause: str) -> Decision:
    return Decision(move=Move.PASS, verdict=verdict, cause=cause, last_ms=facts.at_ms)


def _skip(facts: Facts) -> Decision:
    if not facts.runs:
        return _launch(facts)
    return _pass(facts, Verdict.SKIPPED_OVERLAP, _BLOCKED)


def _allow(facts: Facts) -> Decision:
    limit = facts.spec.overlap.limit
    if not limit or facts.runs < limit:
        return _launch(facts)
    return _pass(facts, Verdict.DROPPED_LIMIT, f"{limit} runs are in hand")


def _buffer(facts: Facts) -> Decision:
    limit = _places(facts.spec.overlap)
    if not facts.runs and not facts.waiting:
        return _launch(facts)
    if facts.waiting < limit:
        return Decision(move=Move.BUFFER, last_ms=facts.at_ms)
    if limit == 1:
        return _pass(facts, Verdict.SKIPPED_OVERLAP, "one waits already for an earlier run to end")
    return _pass(facts, Verdict.DROPPED_LIMIT, f"{limit} wait already for an earlier run to end")


def _cancel(facts: Facts) -> Decision:
    decision = _buffer(facts)
    return decision if decision.move is not Move.BUFFER else _with(decision, Move.CANCEL)


def _terminate(facts: Facts) -> Decision:
    decision = _launch(facts)
    return _with(decision, Move.TERMINATE) if facts.runs else decision


def _with(decision: Decision, move: Move) -> Decision:
    return Decision(move=move, last_ms=decision.last_ms)


def _places(rule: Overlap) -> int:
    """How many may wait."""
    return rule.limit if rule.policy is OverlapPolicy.BUFFER else 1


_OVERLAPS: Final[Mapping[OverlapPolicy, Callable[[Facts], Decision]]] = MappingProxyType(
    {
        OverlapPolicy.SKIP: _skip,
        OverlapPolicy.ALLOW: _allow,
        OverlapPolicy.BUFFER_ONE: _buffer,
        OverlapPolicy.BUFFER: _buffer,
        OverlapPolicy.CANCEL_OTHER: _cancel,
        OverlapPolicy.TERMINATE_OTHER: _terminate,
    }
)


def _span(facts: Facts, verdict: Verdict, cause: str, until_ms: int) -> Decision:
    last_ms, times = span(facts.spec, facts.at_ms, until_ms)
    return Decision(move=Move.PASS, verdict=verdict, cause=cause, last_ms=last_ms, times=times)


def span(spec: ScheduleSpec, first_ms: int, until_ms: int) -> tuple[int, int]:
    """The last nominal time from one to an instant, and how many they are; not too many at once.

    The first one counts in any case: it is in hand, whatever the calendar says by now.
    """
    calendar = spec.when
    times = count_nominal(calendar, first_ms, until_ms, MOST_IN_A_SPAN)
    if times >= MOST_IN_A_SPAN:
        return nominal_times(calendar, first_ms, until_ms, MOST_IN_A_SPAN)[-1], times + 1
    last_ms = latest_nominal_ms(calendar, first_ms, until_ms) if times else first_ms
    return last_ms or first_ms, times + 1
