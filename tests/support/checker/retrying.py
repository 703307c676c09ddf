"""Retries: each attempt after exactly its delay, never more than allowed and never fewer (I19).

The delay is counted from the end of the attempt before. Where executors were struck an attempt may
have been given up, and what follows says nothing of the end that was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.support.checker.base import NEVER_US
from tests.support.checker.bounded import COARSE_US, Timed, timed
from tests.support.checker.bounds import Backoff
from tests.support.checker.history import History
from tests.support.checker.records import End, Mode, Start, Terms, Wish
from tests.support.checker.verdicts import Promise, Violation

RAISED = 8
"""Failures raise no priority above this."""
MOST_RAISE = 3
NON_RETRIABLE, EXHAUSTED, EXPIRED = "NON_RETRIABLE", "EXHAUSTED", "EXPIRED"


def retries(history: History) -> Iterator[Violation]:
    """All attempts that came too early, too late, too often or not at all."""
    struck = {fault.scope for fault in history.faults if fault.gives_up}
    for each in timed(history):
        wish = each.made.wish
        if wish is None or wish.backoff is None:
            continue
        judged = _Retried(each, wish, wish.backoff, history.terms)
        found = list(judged.ahead_of_time(struck))
        if history.terms.calm:
            found += [*judged.missing(), *judged.priorities()]
        for text in found:
            yield Violation(Promise.RETRIES, each.made.task, text)


@dataclass(frozen=True, slots=True)
class _Retried:
    each: Timed
    wish: Wish
    backoff: Backoff
    terms: Terms

    def ahead_of_time(self, struck: set[str]) -> Iterator[str]:
        """Further attempts: more than may be, or before their delay is over."""
        starts = sorted(self.each.starts, key=lambda start: start.attempt)
        if starts and starts[-1].attempt > self.wish.max_attempts:
            yield f"attempt {starts[-1].attempt} of {self.wish.max_attempts} began"
        for former, start in pairwise(starts):
            end = self.each.ended(former)
            if end is None or former.process in struck or start.attempt != former.attempt + 1:
                continue
            why = self._last(end)
            if why:
                yield f"attempt {start.attempt} began though the former one was {why}"
            soonest_us = end.at_us + self._delays_us(end)[0]
            early_us = soonest_us - 2 * self.terms.early_us - COARSE_US - start.at_us
            if early_us > 0:
                yield f"attempt {start.attempt} began {early_us} us before its delay was over"

    def missing(self) -> Iterator[str]:
        """Where nothing is broken: attempts that did not come, or late; and a wrong end."""
        starts, seen = self.each.starts, self.each.seen
        for former, start in pairwise(starts):
            end = self.each.ended(former)
            late_us = 0 if end is None else start.at_us - end.at_us - self._delays_us(end)[1]
            if late_us > (self.terms.late_us or 0):
                yield f"attempt {start.attempt} began {late_us} us after its delay was over"
        if not starts or seen is None:
            return
        end = self.each.ended(starts[-1])
        causes = {""} if end is None or end.ok else self._causes(starts[-1], end)
        if seen.cause not in causes:
            wanted = " or ".join(sorted(causes)) or "none"
            yield f"ended after attempt {starts[-1].attempt} as {seen.state} {seen.cause}: {wanted}"

    def priorities(self) -> Iterator[str]:
        """Each failure raises by one, up to a bound, and lowers nobody."""
        base = self.backoff.priority
        for one in () if self.each.seen is None else self.each.seen.tries:
            raised = max(base, min(RAISED, base + min(MOST_RAISE, one.number - 1)))
            if one.priority not in (None, raised):
                yield f"attempt {one.number} had the priority {one.priority}, not {raised}"

    def _delays_us(self, end: End) -> tuple[int, int]:
        """How long it waits after this end: at least, and at most."""
        if end.wait_us is not None:
            named_us = max(1_000, end.wait_us)
            return named_us, named_us
        grown = self.backoff.first_us * self.backoff.factor ** (end.attempt - 1)
        longest_us = min(self.backoff.most_us, grown)
        return round(longest_us * (1.0 - self.backoff.jitter)), round(longest_us)

    def _last(self, end: End) -> str:
        """Why there may surely be no further attempt; empty = there may be."""
        if end.final:
            return "the last one by its own word"
        if self.wish.mode is Mode.AT_MOST_ONCE:
            return "the only one"
        next_us = end.at_us + self._delays_us(end)[0] - 2 * self.terms.early_us - COARSE_US
        oldest_us = self._age_us(self.each.known_us)
        if next_us > oldest_us:
            return "the last one before it was too old"
        return "the last one before its end" if next_us >= self._close_us(1) else ""

    def _causes(self, last: Start, end: End) -> set[str]:
        """As what it may end after this attempt of its."""
        if end.final:
            return {NON_RETRIABLE}
        if last.attempt >= self.wish.max_attempts or self.wish.mode is Mode.AT_MOST_ONCE:
            return {EXHAUSTED}
        next_us, found = end.at_us + self._delays_us(end)[1], set[str]()
        late_us = self.terms.late_us or 0
        if next_us + late_us > self._age_us(self.each.made.inv_us):
            found.add(EXHAUSTED)
        if next_us + late_us >= self._close_us(0):
            found.add(EXPIRED)
        return found

    def _age_us(self, made_us: int) -> int:
        age_us = self.backoff.age_us
        return NEVER_US if age_us is None or made_us == NEVER_US else made_us + age_us

    def _close_us(self, which: int) -> int:
        close_us = None if self.wish.bounds is None else self.wish.bounds.close_us
        due_us = self.each.due_us[which]
        return NEVER_US if close_us is None or due_us == NEVER_US else due_us + close_us
