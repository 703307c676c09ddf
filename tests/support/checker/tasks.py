"""Every task by itself: what was promised to whoever asked for it, against what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.checker.base import NEVER_US
from tests.support.checker.punctual import late
from tests.support.checker.records import Call, End, Final, Kind, Mode, Op, Seen, Start, Terms, Wish
from tests.support.checker.register import (
    ASKED_TO_END,
    EXPIRED,
    NOT_FOUND,
    is_possible,
    steps_of,
)
from tests.support.checker.verdicts import Promise, Violation
from tests.support.checker.versions import Versions, of_one_revision

CANCELLED = frozenset({"CANCELLED", "TERMINATED"})
COUNTED = frozenset({"FAILED", "LOST"})
SETTLED = frozenset({"FAILED", "LOST", "SUCCEEDED"})
"""Outcomes of attempts that stay what they are."""
DEATHS = 3
"""So many executors that died while they ran a task are enough to give it up."""
LOOKS = frozenset({Call.GET, Call.WAIT, Call.WATCH})
NOWHERE = (0, 0)
"""The place of an answer that does not say how far a task had come."""


@dataclass(slots=True)
class Life:
    """Everything that was told of one task.

    Attributes:
        struck: when each process was first struck so that it may be given up.
        wish: of the acknowledged creation; of an occurrence, what its schedule asks for.
        handed_back: attempts, and when, that a process gave back because it was asked to leave.
        made_us: not before this was it asked for; `known_us`: by then its client was told.
    """

    task: str
    terms: Terms
    struck: dict[str, int]
    wish: Wish | None = None
    made_us: int = 0
    known_us: int = 0
    is_acknowledged: bool = False
    ops: list[Op] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    ends: dict[tuple[int, str], End] = field(default_factory=dict)
    handed_back: dict[tuple[int, str], int] = field(default_factory=dict)
    final: Final | None = None

    def broken(self, promise: Promise, text: str) -> Violation:
        """A violation of this task's."""
        return Violation(promise, self.task, text)

    def judge(self) -> Iterator[Violation]:
        """All that is wrong with it."""
        yield from self._doubled()
        yield from self._cancelled()
        yield from self._backwards()
        yield from self._impossible()
        yield from self._expired()
        for text in of_one_revision(self.ops):
            yield self.broken(Promise.REVISION, text)
        if self.wish is not None:
            yield from self._versions(self.wish)
            yield from self._foreign(self.wish)
            if self.wish.mode is Mode.AT_MOST_ONCE and len(self.starts) > 1:
                began = ", ".join(f"{each.attempt} on {each.process}" for each in self.starts)
                yield self.broken(Promise.AT_MOST_ONCE, f"attempts that began: {began}")
        if self.is_acknowledged:
            yield from self._at_last()
        elif self.wish is not None and self.final is not None:
            yield from self._in_doubt(self.final.seen)

    # Starts -------------------------------------------------------------------------------------

    def _versions(self, wish: Wish) -> Iterator[Violation]:
        """Nothing begins before the due time, nor as it was, that is not in force any more."""
        versions = Versions(self.terms, self.ops, wish, self.made_us)
        for start in self.starts:
            early_us = versions.early_us(start)
            if early_us:
                text = f"attempt {start.attempt} began {early_us} us early"
                yield self.broken(Promise.NOT_EARLY, text)
            for text in versions.wrong(start):
                yield self.broken(Promise.REVISION, text)

    def _foreign(self, wish: Wish) -> Iterator[Violation]:
        for start in self.starts:
            if start.payload != wish.payload:
                text = f"attempt {start.attempt} was given {start.payload!r}"
                yield self.broken(Promise.PAYLOAD, f"{text}, not {wish.payload!r}")

    def _doubled(self) -> Iterator[Violation]:
        """No attempt begins twice; a further one has a failed or broken one as its cause."""
        for number, start in enumerate(self.starts):
            for earlier in self.starts[:number]:
                back_us = self.handed_back.get((earlier.attempt, earlier.process), NEVER_US)
                if back_us <= start.at_us:
                    continue
                if earlier.attempt == start.attempt:
                    where = f"{earlier.process} and {start.process}"
                    text = f"attempt {start.attempt} began twice, on {where}"
                    yield self.broken(Promise.AT_LEAST_ONCE, text)
                elif not self._has_cause(earlier, start):
                    text = f"attempt {start.attempt} began though {earlier.attempt} was well"
                    yield self.broken(Promise.AT_LEAST_ONCE, text)

    def _has_cause(self, earlier: Start, start: Start) -> bool:
        """Whether the earlier attempt failed, or the executor of the lower one was struck."""
        end = self.ends.get((earlier.attempt, earlier.process))
        if end is not None and not end.ok and end.at_us <= start.at_us:
            return True
        given_up = min(earlier, start, key=lambda each: each.attempt)
        return self.struck.get(given_up.process, NEVER_US) <= start.at_us

    def _cancelled(self) -> Iterator[Violation]:
        """Nothing begins after "cancelled", nor after "there is no such task"."""
        for op in self.ops:
            if op.call not in ASKED_TO_END or op.kind is Kind.INFO:
                continue
            if op.kind is Kind.FAIL and op.reason not in NOT_FOUND:
                continue
            doubts = self._doubts_of_deletions() if op.seen is None else op.seen.doubts
            for start in self.starts:
                if start.at_us > op.ret_us and start.attempt not in doubts:
                    text = f"attempt {start.attempt} began after the cancel of {op.client}"
                    yield self.broken(Promise.CANCEL, text)

    def _doubts_of_deletions(self) -> tuple[int, ...]:
        """Attempts that may begin after "no such task", because a deletion's answer named them.

        Whoever does not know the outcome of a deletion has not heard which.
        """
        gone = [op for op in self.ops if op.call is Call.DELETE and op.kind is not Kind.FAIL]
        if any(op.seen is None for op in gone):
            return tuple(start.attempt for start in self.starts)
        return tuple(each for op in gone if op.seen is not None for each in op.seen.doubts)

    # Answers ------------------------------------------------------------------------------------

    def _shown(self) -> list[Op]:
        shown = [op for op in self.ops if op.kind is Kind.OK and op.seen is not None]
        if self.final is not None and self.final.seen is not None:
            at_us = self.terms.read_us
            last = Op(
                client="judge",
                call=Call.GET,
                task=self.task,
                inv_us=at_us,
                ret_us=at_us,
                kind=Kind.OK,
                seen=self.final.seen,
            )
            shown.append(last)
        return shown

    def _backwards(self) -> Iterator[Violation]:
        """Each answer against the furthest one that had been given before it was asked."""
        shown = self._shown()
        by_answer = sorted(shown, key=lambda op: op.ret_us)
        furthest: Op | None = None
        position = 0
        for op in sorted(shown, key=lambda op: op.inv_us):
            while position < len(by_answer) and by_answer[position].ret_us < op.inv_us:
                answered = by_answer[position]
                if furthest is None or _place(furthest.seen) <= _place(answered.seen):
                    furthest = answered
                position += 1
            if furthest is not None and _contradicts(furthest.seen, op.seen):
                yield self.broken(Promise.TRUTH, f"{_said(furthest)} and later {_said(op)}")

    def _impossible(self) -> Iterator[Violation]:
        """Whether the answers can be explained by one register (I8)."""
        ops = [op for op in self.ops if not self._says_nothing(op)]
        made = any(op.call is Call.CREATE for op in ops)
        steps = steps_of(ops, self._endings())
        if made and not is_possible(steps):
            said = "; ".join(_said(op) for op in ops)
            yield self.broken(Promise.LINEAR, f"no order explains: {said}")

    def _says_nothing(self, op: Op) -> bool:
        """A creation that failed; or what ended and is deleted, shown by whoever still knew it."""
        if op.call is Call.CREATE and op.kind is Kind.FAIL:
            return True
        if op.call not in LOOKS or op.seen is None or not op.seen.ended:
            return False
        gone = [each for each in self.ops if each.call is Call.DELETE]
        if not gone or op.ret_us < min(each.inv_us for each in gone):
            return False
        return op.inv_us <= max(each.ret_us for each in gone) + self.terms.forget_us

    def _endings(self) -> list[tuple[str, int]]:
        """Ways in which the service may have ended it by itself, and not before when."""
        well = [end.at_us for end in self.ends.values() if end.ok]
        asked = [op.inv_us for op in self.ops if op.call in ASKED_TO_END]
        found = [("FAILED", self.made_us)]
        if well:
            found.append(("SUCCEEDED", min(well)))
        if asked:
            found += [(state, min(asked)) for state in CANCELLED]
        return found

    def _expired(self) -> Iterator[Violation]:
        """ "Removed after its retention" is said no sooner, and of nothing that lives."""
        told_us = [op.ret_us for op in self.ops if op.reason == EXPIRED]
        if self.final is not None and self.final.reason == EXPIRED:
            told_us.append(self.terms.read_us)
        if not told_us:
            return
        first_us = min(told_us)
        kept_us = self.terms.kept_us
        if kept_us is None:
            yield self.broken(Promise.DURABLE, f"said to have expired at {first_us}")
            return
        since_us = first_us - kept_us + 2 * self.terms.early_us  # one clock wrote, another judged
        for at_us, what in self._alive():
            if at_us > since_us:
                text = f"said to have expired at {first_us}, but {what} at {at_us}"
                yield self.broken(Promise.DURABLE, text)

    def _alive(self) -> Iterator[tuple[int, str]]:
        """When it was surely there and its retention had not begun."""
        for start in self.starts:
            yield start.at_us, f"attempt {start.attempt} began"
        for end in self.ends.values():
            yield end.at_us, f"attempt {end.attempt} ended"
        for op in self.ops:
            if op.kind is not Kind.OK or op.seen is None:
                continue
            if not op.seen.ended or (op.call is Call.CREATE and op.inv_us == self.made_us):
                yield op.inv_us, f"{op.call} of {op.client} said {op.seen.state}"
            elif op.ret_us != NEVER_US and self._was_told_before(op):
                yield op.inv_us + (self.terms.kept_us or 0), f"{op.call} of {op.client} showed it"

    def _was_told_before(self, op: Op) -> bool:
        """Whether it was shown to somebody who asked after another was told that it had expired."""
        told = [each.ret_us for each in self.ops if each.reason == EXPIRED]
        return bool(told) and op.inv_us > min(told) + self.terms.forget_us

    # The end ------------------------------------------------------------------------------------

    def _at_last(self) -> Iterator[Violation]:
        seen = None if self.final is None else self.final.seen
        deletions = [op for op in self.ops if op.call is Call.DELETE]
        removed = next((op for op in deletions if op.kind is Kind.OK), None)
        if removed is not None and seen is not None:
            yield self.broken(Promise.TRUTH, f"deleted by {removed.client} and shown at last")
        elif removed is not None and removed.seen is not None:
            yield from self._ended(removed.seen)
            yield from late(self, removed.seen)
        elif seen is None and any(op.kind is Kind.INFO for op in deletions):
            return  # it may have been deleted
        elif self.final is not None and self.final.reason == EXPIRED:
            return  # whether it was time is judged apart
        elif seen is None:
            why = "never read" if self.final is None else f"the last read says {self.final.reason}"
            yield self.broken(Promise.DURABLE, f"acknowledged, but {why}")
        elif not seen.ended:
            yield self.broken(Promise.LIVE, f"still {seen.state} after the quiet")
        else:
            yield from self._ended(seen)
            yield from late(self, seen)

    def _in_doubt(self, seen: Seen | None) -> Iterator[Violation]:
        """Not acknowledged: not there at all, or there and ended like any other."""
        made = [op for op in self.ops if op.call is Call.CREATE]
        if seen is not None and all(op.kind is Kind.FAIL for op in made):
            yield self.broken(Promise.DURABLE, "its creation failed for certain, and it is there")
        elif seen is not None and not seen.ended:
            yield self.broken(Promise.LIVE, f"in doubt, and still {seen.state} after the quiet")

    def _ended(self, seen: Seen) -> Iterator[Violation]:
        well = [start for start in self.starts if self._ended_well(start)]
        if seen.state == "SUCCEEDED" and not well:
            yield self.broken(Promise.TRUTH, "SUCCEEDED but no attempt ended well")
        given = {str(start.attempt) for start in well}
        if seen.state == "SUCCEEDED" and seen.result is not None and seen.result not in given:
            text = f"its handler gave back {sorted(given)}, and {seen.result!r} is shown"
            yield self.broken(Promise.PAYLOAD, text)
        if seen.state in CANCELLED and not any(op.call in ASKED_TO_END for op in self.ops):
            yield self.broken(Promise.TRUTH, "CANCELLED but nobody asked")
        if seen.state == "FAILED" and self.wish is not None:
            yield from self._failed(self.wish, seen)

    def _failed(self, wish: Wish, seen: Seen) -> Iterator[Violation]:
        once = wish.mode is Mode.AT_MOST_ONCE
        most = 1 if once else wish.max_attempts
        counted = sum(1 for each in seen.tries if each.outcome in COUNTED)
        ages = wish.backoff is not None and wish.backoff.age_us is not None
        if seen.cause == "EXHAUSTED" and counted < most and not ages:
            text = f"EXHAUSTED after {counted} of {most} attempts"
            yield self.broken(Promise.AT_LEAST_ONCE, text)
        deaths = sum(1 for each in seen.tries if each.outcome == "LOST")
        if seen.cause == "QUARANTINED" and deaths < DEATHS:
            text = f"QUARANTINED after {deaths} of {DEATHS} executors' deaths"
            yield self.broken(Promise.AT_LEAST_ONCE, text)
        if seen.cause == "LOST" and not once:
            yield self.broken(Promise.AT_LEAST_ONCE, "LOST although at-least-once")
        failed = [end for end in self.ends.values() if not end.ok]
        accounted = bool(failed) or any(each.outcome == "LOST" for each in seen.tries)
        accounted = accounted or (seen.cause == "EXPIRED" and wish.bounds is not None)
        if seen.cause != "LOST" and not accounted and not self._was_struck():
            yield self.broken(Promise.TRUTH, f"FAILED as {seen.cause} but no attempt failed")

    def _was_struck(self) -> bool:
        return any(start.process in self.struck for start in self.starts)

    def _ended_well(self, start: Start) -> bool:
        end = self.ends.get((start.attempt, start.process))
        return end is not None and end.ok


def _place(seen: Seen | None) -> tuple[bool, tuple[int, int]]:
    """How far a task had come: ended or not, then its newest accepted event."""
    return (False, (0, 0)) if seen is None else (seen.ended, seen.place)


def _contradicts(earlier: Seen | None, later: Seen | None) -> bool:
    if earlier is None or later is None:
        return False
    if earlier.ended and later.state != earlier.state:
        return True
    if not later.ended and NOWHERE != later.place < earlier.place:
        return True
    known = {each.number: each.outcome for each in later.tries}
    return bool(known) and any(
        known.get(each.number) != each.outcome for each in earlier.tries if each.outcome in SETTLED
    )


def _said(op: Op) -> str:
    seen = op.reason if op.seen is None else f"{op.seen.state} {op.seen.place}"
    return f"{op.call} of {op.client} at {op.inv_us}-{op.ret_us} {op.kind}: {seen}"
