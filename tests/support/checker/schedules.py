"""Schedules against an oracle of their nominal times, by name and, apart from that, by time (I6).

The oracle counts phase + n x every by itself; it shares nothing with the product. What a schedule
must have done is what lies surely between its creation and its end, whenever within their calls
these took effect; what it may have done lies possibly between them.
"""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace as replace_record

from tests.support.checker.backfills import Filled
from tests.support.checker.base import NEVER_US
from tests.support.checker.days import names, times_between
from tests.support.checker.history import History
from tests.support.checker.records import (
    OF_SCHEDULES,
    Call,
    End,
    Final,
    Kind,
    Mode,
    Op,
    Rhythm,
    Start,
    Terms,
    Verdict,
    Wish,
)
from tests.support.checker.verdicts import Promise, Violation
from tests.support.checker.windows import Window, match
from tests.support.checker.zones import clocks_of

LAUNCHED = "LAUNCHED"
SKIPPED = "SKIPPED_OVERLAP"
DROPPED = "DROPPED_LIMIT"
BY_CHANCE = 1e-6
"""What is less likely than this does not come by chance."""
ENDS_US = 1_000_000
"""So long an owner may take for a run as over, or as begun, that is not."""
_FAR_US = 6 * 366 * 86_400_000_000
"""So far a calendar is looked into: beyond the next leap day."""
_SETTLE_US = 5_000_000
"""A tick is decided so soon, once its time has come and nothing is broken."""


def nominal_times(rhythm: Rhythm, after_us: int, until_us: int) -> Iterator[int]:
    """All nominal times strictly after one instant and not after another."""
    until_us = until_us if rhythm.end_us is None else min(until_us, rhythm.end_us)
    if rhythm.days is not None and rhythm.days.times_s:
        yield from times_between(rhythm, rhythm.days, after_us, until_us)
        return
    anytime = rhythm.hour is None and rhythm.days is None
    nominal_us = rhythm.phase_us
    if nominal_us <= after_us:
        nominal_us += (after_us - rhythm.phase_us) // rhythm.every_us * rhythm.every_us
    while nominal_us <= until_us:
        if nominal_us > after_us and (anytime or _shows(rhythm, nominal_us)):
            yield nominal_us
        nominal_us += rhythm.every_us


def _shows(rhythm: Rhythm, at_us: int) -> bool:
    """Whether clocks show one of the rhythm's days, and its hour in the pass that counts."""
    shown = datetime.fromtimestamp(rhythm.zero_ms / 1_000 + at_us / 1e6, clocks_of(rhythm.zone))
    if rhythm.days is not None and not names(rhythm.days, shown.date()):
        return False
    if rhythm.hour is None:
        return True
    if shown.hour != rhythm.hour:
        return False
    passes = [shown.replace(fold=number).utcoffset() for number in (0, 1)]
    return rhythm.fold == "BOTH" or passes[0] == passes[1] or shown.fold == _FOLDS[rhythm.fold]


_FOLDS = {"FIRST": 0, "SECOND": 1}


@dataclass(slots=True)
class Plan:
    """One schedule: what was asked, what its ledger says, what ran.

    `made` and `ended` are the operations as their client saw them; `struck` are processes that
    may have been given up; `held_up` says whether the work of others made some of it late.
    """

    made: Op
    terms: Terms
    struck: frozenset[str] = frozenset()
    ended: list[Op] = field(default_factory=list)
    ledger: list[Verdict] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    held_up: bool = False
    filled: Filled = field(init=False)

    def __post_init__(self) -> None:
        loses = self.wish_at(None).mode is Mode.AT_MOST_ONCE and not self.terms.calm
        self.filled = Filled(self.made.task, self.rhythm, self.terms, loses)

    def broken(self, text: str, promise: Promise = Promise.SCHEDULE) -> Violation:
        """A violation of this schedule's."""
        return Violation(promise, self.made.task, text)

    @property
    def rhythm(self) -> Rhythm:
        """When it fires."""
        if self.made.rhythm is None:
            raise ValueError("the creation of a schedule names its rhythm")
        return self.made.rhythm

    def must(self) -> list[int]:
        """Nominal times that surely have a verdict at the last read."""
        terms = self.terms
        certain = [op.inv_us for op in self.ended]
        until_us = min([terms.read_us - _SETTLE_US, *certain]) - terms.early_us
        launched = self._launched()
        if self.rhythm.max_runs and len(launched) >= self.rhythm.max_runs:
            until_us = min(until_us, launched[-1])
        return list(nominal_times(self.rhythm, self.made.ret_us + terms.early_us, until_us))

    def _launched(self) -> list[int]:
        found = self.decided().items()
        return sorted(at for at, verdicts in found if verdicts[0].verdict == LAUNCHED)

    def may(self) -> set[int]:
        """Nominal times that possibly have one."""
        terms = self.terms
        answered = [op.ret_us for op in self.ended if op.kind is Kind.OK]
        until_us = min([terms.read_us, *answered]) + terms.early_us
        return set(nominal_times(self.rhythm, self.made.inv_us - terms.early_us, until_us))

    def decided(self) -> Mapping[int, list[Verdict]]:
        """The ledger's verdicts by nominal time."""
        found: dict[int, list[Verdict]] = defaultdict(list)
        for verdict in self.ledger:
            for number in range(verdict.times):
                found[verdict.nominal_us + number * self.rhythm.every_us].append(verdict)
        return found

    def judge(self) -> Iterator[Violation]:
        """All that is wrong with it, but for its runs, which are judged as tasks."""
        decided = self.decided()
        may = self.may()
        for nominal_us in self.must():
            if nominal_us not in decided:
                yield self.broken(f"nominal time {nominal_us} has no verdict", Promise.LIVE)
        for nominal_us, verdicts in decided.items():
            if nominal_us not in may:
                yield self.broken(f"{verdicts[0].verdict} at {nominal_us}, no nominal time of it")
            if len({(each.verdict, each.task) for each in verdicts}) > 1:
                said = ", ".join(f"{each.verdict} {each.task}" for each in verdicts)
                yield self.broken(f"{said} at one nominal time {nominal_us}")
            if verdicts[0].verdict != LAUNCHED:
                yield from self._passed_over(nominal_us, verdicts[0].verdict)
        most = self.rhythm.max_runs
        if most and len(self._launched()) > most:
            yield self.broken(f"launched {len(self._launched())} times, {most} were wanted")
        yield from self._matched(decided)
        yield from self._foretold()
        if self._most():
            yield from self._at_once()
        if self.filled.begun or self.filled.starts:
            yield from self.filled.judge(self._ranges() if self.filled.begun else {})

    def _ranges(self) -> dict[str, list[int]]:
        """The nominal times of each backfill's range, from before the first one that counts too."""
        every_us, first_us = self.rhythm.every_us, min(op.first_us for op in self.filled.begun)
        phase_us = self.rhythm.phase_us + (first_us - self.rhythm.phase_us) // every_us * every_us
        rhythm = replace_record(self.rhythm, phase_us=phase_us)
        return {
            op.backfill: list(nominal_times(rhythm, op.first_us - 1, op.last_us))
            for op in self.filled.begun
        }

    def _foretold(self) -> Iterator[Violation]:
        """What an answer says is next: a nominal time, and no other one comes before it."""
        for op in self.filled.asked:
            if op.plan is None or op.plan.ended:
                continue
            next_us, from_us = op.plan.next_us, op.ret_us + self.terms.early_us
            if next_us is None:
                if self._goes_on(from_us):
                    yield self.broken("an answer says that nothing is to come, and that it lives")
            elif next_us not in nominal_times(self.rhythm, next_us - 1, next_us):
                yield self.broken(f"an answer says that {next_us} is next, no nominal time of it")
            elif first := next(nominal_times(self.rhythm, from_us, next_us - 1), None):
                yield self.broken(f"an answer says that {next_us} is next, but {first} is")

    def _goes_on(self, from_us: int) -> bool:
        """Whether nominal times follow an instant; who has none may live until a run has ended."""
        if self.rhythm.max_runs:
            return False
        return next(nominal_times(self.rhythm, from_us, from_us + _FAR_US), None) is not None

    def _passed_over(self, nominal_us: int, verdict: str) -> Iterator[Violation]:
        """What is not launched needs a fault around its time, or an end of the schedule."""
        terms = self.terms
        if any(op.inv_us - terms.early_us <= nominal_us for op in self.ended):
            return
        if verdict == "CANCELLED" and any(op.inv_us < nominal_us + _SETTLE_US for op in self.ended):
            return
        if verdict == "CANCELLED" and self._waits() and self.ended:
            return
        if verdict == self._too_many():
            if terms.calm and not self._is_busy(nominal_us):
                yield self.broken(f"{verdict} at {nominal_us} with no run in hand")
            return
        recovered_us = terms.healed_us + (terms.recover_us or NEVER_US)
        if terms.calm:
            yield self.broken(f"{verdict} at {nominal_us} without any fault")
        elif nominal_us > recovered_us:
            yield self.broken(f"{verdict} at {nominal_us} though all was healed", Promise.LIVE)

    def _waits(self) -> bool:
        """Whether a time may wait for earlier runs to end."""
        return self.rhythm.overlap.startswith("BUFFER")

    def _most(self) -> int:
        """How many runs may be at work at once; 0 = any number."""
        alone = self.rhythm.alone or self.rhythm.overlap == "SKIP" or self._waits()
        return 1 if alone else self.rhythm.places

    def _too_many(self) -> str:
        """The verdict on a time for which there is no place."""
        if self.rhythm.overlap == "ALLOW" and not self.rhythm.alone:
            return DROPPED if self.rhythm.places else ""
        return DROPPED if self.rhythm.places > 1 else SKIPPED

    def _spans(self) -> dict[str, tuple[int, int]]:
        """From when to when each run was surely at work: those given up may end at any time."""
        found: dict[str, tuple[int, int]] = {}
        for start in self.starts:
            first_us, last_us = found.get(start.task, (start.at_us, start.at_us))
            found[start.task] = (min(first_us, start.at_us), last_us)
        for end in self.ends:
            if end.task in found and end.process not in self.struck:
                first_us, last_us = found[end.task]
                found[end.task] = (first_us, max(last_us, end.at_us))
        return found

    def _is_busy(self, at_us: int) -> bool:
        """Whether a run was in hand, or had ended so recently that its owner may not know it."""
        spans = self._spans().values()
        return any(first - ENDS_US <= at_us <= last + ENDS_US for first, last in spans)

    def _at_once(self) -> Iterator[Violation]:
        """No more runs than may be, of a schedule that says how many (I7)."""
        working: list[tuple[int, str]] = []
        for (first_us, last_us), task in sorted(
            (span, task) for task, span in self._spans().items()
        ):
            working = [each for each in working if each[0] > first_us]
            if len(working) >= self._most():
                others = ", ".join(f"{other} ran until {end_us}" for end_us, other in working)
                text = f"{task} began at {first_us} while {others}"
                yield self.broken(text, Promise.NO_OVERLAP)
            working.append((last_us, task))

    def _matched(self, decided: Mapping[int, Sequence[Verdict]]) -> Iterator[Violation]:
        """First starts against the windows of what was launched, whatever ids they carry."""
        terms = self.terms
        judged = terms.calm and not self._waits() and not self.held_up
        late_us = NEVER_US if terms.late_us is None or not judged else terms.late_us
        most_us = late_us + self.rhythm.spread_us
        windows = [
            Window(nominal_us - terms.early_us, nominal_us + most_us, str(nominal_us))
            for nominal_us, verdicts in decided.items()
            if verdicts[0].verdict == LAUNCHED
        ]
        first: dict[str, int] = {}
        for start in self.starts:
            first[start.task] = min(start.at_us, first.get(start.task, NEVER_US))
        matching = match(windows, first.values())
        for at_us in matching.extra:
            yield self.broken(f"a run began at {at_us} in no window of a launched nominal time")
        if terms.calm:
            for window in matching.empty:
                yield self.broken(f"nothing began for the launched nominal time {window.name}")
        if judged and self.rhythm.spread_us:
            yield from self._spread(sorted(decided), sorted(first.values()), late_us)

    def _spread(
        self, nominal_us: Sequence[int], first_us: Sequence[int], late_us: int
    ) -> Iterator[Violation]:
        """Runs that are to be spread do not all begin when their nominal times come."""
        before = (nominal_us[bisect(nominal_us, at_us) - 1] for at_us in first_us)
        shifts = [at_us - each_us for at_us, each_us in zip(first_us, before, strict=True)]
        share = min(1.0, 2 * late_us / self.rhythm.spread_us)
        chance = len(shifts) * share ** (len(shifts) - 1)
        if shifts and chance < BY_CHANCE and max(shifts) - min(shifts) <= late_us:
            text = f"{len(shifts)} runs began {min(shifts)} to {max(shifts)} us after their times"
            yield self.broken(text)

    def wish_at(self, nominal_us: int | None) -> Wish:
        """What one of its runs is asked to do; None = as soon as it is launched."""
        wish = self.made.wish or Wish(mode=Mode.AT_LEAST_ONCE)
        return Wish(
            mode=wish.mode,
            due_us=None if self._waits() or self.rhythm.spread_us else nominal_us,
            max_attempts=wish.max_attempts,
            payload=wish.payload,
        )


def plans(history: History) -> list[Plan]:
    """Every schedule of which somebody was told that it exists."""
    found: dict[str, Plan] = {}
    struck = frozenset(fault.scope for fault in history.faults if fault.gives_up)
    for op in history.ops:
        made = op.call is Call.CREATE_SCHEDULE and op.kind is Kind.OK
        if made and op.task not in found and not (op.rhythm is not None and op.rhythm.edited):
            found[op.task] = Plan(op, history.terms, struck)
    for op in history.ops:
        if op.call not in OF_SCHEDULES or op.task not in found:
            continue
        found[op.task].filled.asked.append(op)
        if op.call is Call.END_SCHEDULE and op.kind is not Kind.FAIL:
            found[op.task].ended.append(op)
    for verdict in history.verdicts:
        if verdict.schedule in found:
            found[verdict.schedule].ledger.append(verdict)
    _share_runs(history, list(found.values()))
    return list(found.values())


def _is_held_up(final: Final | None) -> bool:
    """Whether nobody says how late it was, because others had taken its place."""
    tries = () if final is None or final.seen is None else final.seen.tries
    return any(each.late_us is None for each in tries)


def _share_runs(history: History, found: Sequence[Plan]) -> None:
    """Give each schedule what began, and ended, with its payload.

    What is of a nominal time before the schedule was there, a backfill has launched.
    """
    by_payload = {plan.made.wish.payload: plan for plan in found if plan.made.wish is not None}
    by_run: dict[str, Plan] = {}
    for start in history.starts:
        plan = by_payload.get(start.payload)
        if plan is None:
            continue
        soonest_us = plan.made.inv_us - plan.terms.early_us
        if start.nominal_us is not None and start.nominal_us < soonest_us:
            plan.filled.starts.append(start)
        else:
            by_run[start.task] = plan
            plan.starts.append(start)
            plan.held_up = plan.held_up or _is_held_up(history.final.get(start.task))
    for end in history.ends:
        if end.task in by_run:
            by_run[end.task].ends.append(end)
