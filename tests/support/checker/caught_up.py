"""What became of times at which surely nobody was there, by the rule of their version (I6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.support.checker.base import NEVER_US
from tests.support.checker.records import Away, Rhythm, Verdict
from tests.support.checker.schedules import LAUNCHED, nominal_times
from tests.support.checker.verdicts import Promise, Violation

if TYPE_CHECKING:
    from tests.support.checker.edits import Edited, Setting
    from tests.support.checker.history import History

MISSED, COALESCED, CANCELLED = "MISSED_WINDOW", "COALESCED", "CANCELLED"
FOUND = "fail-over"
LONG_US = 62_000_000
"""What was missed longer ago than this is of a long absence, whenever an owner begins."""
SECOND_US = 1_000_000
SOON_US = 300_000
OWNERS = 2
TAKEN_US = 10_000_000
"""So long after nobody was there an owner may begin: sessions of those who died end first."""
MS = 1_000


def caught_up(plan: Edited, away: Away, decided: dict[int, list[Verdict]]) -> None:
    """All that is wrong with what was missed in an absence."""
    for at_us in sorted(decided):
        verdict = decided[at_us][0]
        setting = plan.setting(verdict.number)
        if setting is None or not away.from_us + MS < at_us < away.until_us:
            continue
        if setting.rhythm.delay_us:
            continue
        paused = any(each.maybe[0] <= at_us <= each.maybe[1] for each in plan.pauses)
        if paused or verdict.verdict == CANCELLED:
            continue
        where = f"{verdict.verdict} at {at_us}, nobody was there until {away.until_us}"
        for text in _against_rule(setting, away, at_us, verdict.verdict):
            plan.broken(f"{where}, {text}")
        late_us = verdict.late_us
        if verdict.verdict != LAUNCHED or late_us is None or verdict.cause == FOUND:
            continue
        if min(late_us, verdict.down_us) + MS < away.until_us - at_us:
            text = f"decided {late_us} us late, {verdict.down_us} us of that were nobody there"
            plan.broken(f"{where}, {text}", Promise.TRUTH)


def _against_rule(setting: Setting, away: Away, at_us: int, said: str) -> Iterator[str]:
    rhythm = setting.rhythm
    passed = said in (MISSED, COALESCED)
    if rhythm.catch_up == "SKIP" and said != MISSED:
        yield "and what is missed is passed over"
    surely_us = away.until_us + TAKEN_US - rhythm.reach_us
    if rhythm.catch_up != "SKIP" and said == MISSED and at_us >= surely_us and not waits(rhythm):
        yield "and it was to be caught up"
    if at_us < away.until_us - rhythm.reach_us and not passed:
        yield "longer ago than is caught up"
    follows = next(nominal_times(rhythm, at_us, away.until_us - 1), NEVER_US)
    if rhythm.catch_up == "ONE" and not passed and follows <= setting.surely_us:
        yield f"and {follows} was missed after it"
    if rhythm.catch_up == "ALL" and said == COALESCED:
        yield "and each is to be caught up"


def in_turn(history: History) -> Iterator[Violation]:
    """What was missed long ago is caught up at its rate, by each owner: not faster, not slower.

    Of an absence that all schedules lived through, and with nothing else to be made up for.
    """
    terms = history.terms
    if not terms.catch_up_per_s:
        return
    for away in history.away:
        decided = sorted(
            each.nominal_us + (each.late_us or 0)
            for each in history.verdicts
            if each.verdict == LAUNCHED and away.from_us < each.nominal_us < away.until_us - LONG_US
        )
        most = OWNERS * (terms.catch_up_per_s + 1)
        for number, at_us in enumerate(decided[most:]):
            if at_us < decided[number] + SECOND_US:
                text = f"{most + 1} starts were caught up from {decided[number]} to {at_us}"
                yield Violation(Promise.LIMITS, "missed starts", f"{text}, {most} may be")
        # One owner may have had them all, and each of its turns comes a little late.
        until_us = away.until_us + TAKEN_US
        until_us += round(1.2 * SECOND_US * len(decided) / terms.catch_up_per_s)
        if decided and decided[-1] > until_us:
            text = f"{len(decided)} starts were caught up at {decided[-1]}, not by {until_us}"
            yield Violation(Promise.LIVE, "missed starts", text)
        for each in history.verdicts:
            if each.nominal_us > until_us and (each.late_us or 0) > SOON_US:
                text = (
                    f"{each.nominal_us} was decided {each.late_us} us late, and nothing was missed"
                )
                yield Violation(Promise.LIVE, each.schedule, text)


def waits(rhythm: Rhythm) -> bool:
    """Whether a time may wait for earlier runs to end."""
    return rhythm.overlap.startswith("BUFFER") or rhythm.overlap == "CANCEL_OTHER"
