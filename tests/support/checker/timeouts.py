"""Timeouts: nothing runs on beyond its time or begins after it, and nothing is cut short (I18).

Where nothing is broken both ends of a bound are judged. Otherwise only that nothing times out
before its time: whoever was struck may have been given up for that.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from tests.support.checker.base import NEVER_US
from tests.support.checker.bounded import COARSE_US, Timed, timed
from tests.support.checker.bounds import Bounds
from tests.support.checker.history import History
from tests.support.checker.records import Seen, Start, Terms
from tests.support.checker.verdicts import Promise, Violation

LOOKS_EVERY_US = 1_000_000
"""So often an owner who has nothing else to do looks for what nobody can begin in time any more."""
HEARD_AGAIN = 2
"""Whoever takes over, or whose clock is put back, gives a silent handler another period."""
STEP_US = 1_500_000
"""Steps of clocks that are too small to be noticed, and slow ones, add up to this at most."""
CLOCK_STEP = "clock step"
EXPIRED = "EXPIRED"
TIMEOUT = "TIMEOUT"
SILENCE = "HEARTBEAT_TIMEOUT"


def timeouts(history: History) -> Iterator[Violation]:
    """All that ended too early or too late, or was told of wrongly."""
    terms, moved = history.terms, _has_moved(history)
    struck = {fault.scope for fault in history.faults if fault.gives_up}
    for each in timed(history):
        wish = each.made.wish
        if wish is None or wish.bounds is None:
            continue
        found = [*_cut(each, wish.bounds, terms, struck), *_unserved(each, wish.bounds, terms)]
        if all(fault.name == CLOCK_STEP for fault in history.faults):
            found += _unheard(each, wish.bounds, terms)
        if terms.calm:
            found += [*_outlived(each, wish.bounds, terms, moved), *_told(each, wish.bounds)]
        for text in found:
            yield Violation(Promise.TIMEOUTS, each.made.task, text)


def _limits(each: Timed, bounds: Bounds, start: Start) -> tuple[int, int]:
    """When an attempt must be made to end: not before, and not after."""
    known_us = [us for us in (bounds.run_us, bounds.silent_us) if us is not None]
    own_us = start.at_us + min(known_us, default=NEVER_US)
    if bounds.close_us is None:
        return own_us, own_us
    soonest_us, latest_us = (due_us + bounds.close_us for due_us in each.due_us)
    return min(own_us, soonest_us), min(own_us, latest_us)


def _cut(each: Timed, bounds: Bounds, terms: Terms, struck: set[str]) -> Iterator[str]:
    """No attempt is made to end before its time is over."""
    for start in each.starts:
        left = each.left.get((start.attempt, start.process))
        if left is None or start.process in struck:
            continue
        soonest_us = _limits(each, bounds, start)[0] - 2 * terms.early_us - COARSE_US
        if left.at_us < soonest_us:
            text = f"attempt {start.attempt} was made to end {soonest_us - left.at_us} us early"
            yield text


def _has_moved(history: History) -> bool:
    """Whether any shard had several owners."""
    epochs: dict[int, set[int]] = {}
    for claim in history.claims:
        epochs.setdefault(claim.shard, set()).add(claim.epoch)
    return any(len(each) > 1 for each in epochs.values())


def _outlived(each: Timed, bounds: Bounds, terms: Terms, moved: bool) -> Iterator[str]:
    """Nothing runs on, and nothing begins, when its time is over.

    Who is silent is judged less strictly where a new owner may have begun to listen.
    """
    if moved and bounds.silent_us is not None:
        bounds = replace(bounds, silent_us=HEARD_AGAIN * bounds.silent_us)
    late_us, (_, due_us) = terms.late_us or 0, each.due_us
    for start in each.starts:
        latest_us, over_us = _limits(each, bounds, start)[1], each.over_us(start)
        if over_us is None or over_us > latest_us + late_us:
            yield f"attempt {start.attempt} was to end by {latest_us}, and was over at {over_us}"
    waits = [us for us in (bounds.start_us, bounds.close_us) if us is not None]
    for start in each.starts[:1]:
        if waits and start.at_us > due_us + min(waits) + late_us:
            yield f"attempt {start.attempt} began at {start.at_us}, due at {due_us} and {waits}"
    if bounds.close_us is not None and each.seen is not None:
        close_by_us, at_us = due_us + bounds.close_us, each.seen.changed_us
        if at_us is not None and at_us > close_by_us + late_us + LOOKS_EVERY_US:
            yield f"was to be over by {close_by_us}, and was at {at_us}"
        for start in each.starts[1:]:
            if start.at_us > close_by_us + late_us:
                yield f"attempt {start.attempt} began after {close_by_us}, the end of all"


def _unheard(each: Timed, bounds: Bounds, terms: Terms) -> Iterator[str]:
    """Who is silent is given up in time, whatever was done to clocks."""
    if bounds.silent_us is None:
        return
    for start in each.starts:
        over_us = each.over_us(start)
        latest_us = start.at_us + HEARD_AGAIN * bounds.silent_us + STEP_US + (terms.late_us or 0)
        if over_us is None or over_us > latest_us:
            yield f"attempt {start.attempt} was silent beyond {latest_us}, and over at {over_us}"


def _told(each: Timed, bounds: Bounds) -> Iterator[str]:
    """Attempts that were made to end are shown so, and no others."""
    seen = each.seen
    kinds = {} if seen is None else {one.number: (one.outcome, one.kind) for one in seen.tries}
    for start in each.starts:
        kind = kinds.get(start.attempt, ("", ""))
        left = each.left.get((start.attempt, start.process))
        runs_us = _limits(each, Bounds(run_us=bounds.run_us, close_us=bounds.close_us), start)[1]
        silent = bounds.silent_us is not None and start.at_us + bounds.silent_us < runs_us
        wanted = ("FAILED", SILENCE if silent else TIMEOUT)
        if seen is not None and left is not None and kind != wanted:
            yield f"attempt {start.attempt} was made to end, and is shown as {kind}"
        if left is None and kind[1] in (TIMEOUT, SILENCE):
            yield f"attempt {start.attempt} ended by itself, and is shown as {kind}"
    if seen is not None and not each.starts and seen.cause != EXPIRED:
        yield f"never began, and is {seen.state} {seen.cause}"


def _unserved(each: Timed, bounds: Bounds, terms: Terms) -> Iterator[str]:
    """What nobody could begin in time has expired then: not before, and soon after."""
    seen = each.seen
    waits = [us for us in (bounds.start_us, bounds.close_us) if us is not None]
    if seen is None or seen.cause != EXPIRED or seen.changed_us is None or each.starts:
        return
    if not waits:
        yield "has expired without any bound"
        return
    soonest_us, latest_us = (due_us + min(waits) for due_us in each.due_us)
    if seen.changed_us < soonest_us - 2 * terms.early_us - COARSE_US:
        yield f"expired at {seen.changed_us}, not before {soonest_us}"
    if terms.calm and seen.changed_us > latest_us + (terms.late_us or 0) + LOOKS_EVERY_US:
        yield f"expired at {seen.changed_us}, by {latest_us}"
    if _has_run(seen):
        yield "expired before it began, and shows attempts that ran"


def _has_run(seen: Seen) -> bool:
    """Whether an attempt is shown that began; one that was only claimed may have failed, too."""
    return any(each.late_us is not None for each in seen.tries)
