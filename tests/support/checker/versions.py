"""Which version of a task may start: what it is given, and from when on, after every answer.

A version is a payload or a due time; the creation brings the first of each. Whoever was told that
his change holds may rely on it: of what was in force before he asked nothing starts any more. What
nobody knows the outcome of may come into force at any time after it was asked for, or never.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.support.checker.base import NEVER_US
from tests.support.checker.records import Call, Kind, Op, Start, Terms, Wish

CLOCK_STEP_US = 1_000
"""Owners count milliseconds: what they call now may be so long ago."""
FIRST = ""
"""The version of a payload as it was created."""


@dataclass(frozen=True, slots=True)
class _Version:
    """One payload (`name`) or due time (`due_us`), and who asked for it; None = the creation."""

    op: Op | None
    name: str = FIRST
    due_us: int = 0

    @property
    def inv_us(self) -> int:
        return 0 if self.op is None else self.op.inv_us

    @property
    def sure_us(self) -> int:
        """By then it surely was in force, unless it never will be."""
        if self.op is None:
            return 0
        return self.op.ret_us if self.op.kind is Kind.OK else NEVER_US

    def ends(self, other: _Version, start: Start) -> bool:
        """Whether at this start the other one is not in force, because this one came after."""
        if self.op is None or self.op.kind is not Kind.OK or self.op.ret_us >= start.at_us:
            return False
        doubts = () if self.op.seen is None else self.op.seen.doubts
        return other.sure_us < self.op.inv_us and start.attempt not in doubts


class Versions:
    """The versions of one task, by what its clients asked for and heard."""

    def __init__(self, terms: Terms, ops: Sequence[Op], wish: Wish, made_us: int) -> None:
        self._terms = terms
        counted_us = made_us + wish.delay_us - (CLOCK_STEP_US if wish.delay_us else 0)
        first_us = counted_us if wish.due_us is None else wish.due_us
        # One owner adds the delay to its own now, another one may see the instant come.
        self._slack_us = terms.early_us * (2 if wish.due_us is None else 1)
        updates = [op for op in ops if op.call is Call.UPDATE and self._may_hold(op)]
        moves = [op for op in ops if op.call is Call.RESCHEDULE and self._may_hold(op)]
        self._payloads = [
            _Version(None, wish.version),
            *(_Version(op, op.version) for op in updates),
        ]
        self._times = [_Version(None, due_us=first_us), *map(self._time, moves)]

    def _may_hold(self, op: Op) -> bool:
        """A refusal is certain only where nothing is sent twice, repeated or late."""
        return op.kind is not Kind.FAIL or not self._terms.calm

    def _time(self, op: Op) -> _Version:
        if op.due_us is not None:
            return _Version(op, due_us=op.due_us)
        return _Version(op, due_us=op.inv_us + op.delay_us - self._terms.early_us - CLOCK_STEP_US)

    def wrong(self, start: Start) -> Iterator[str]:
        """What is wrong with the payload that this start was given."""
        named = [each for each in self._payloads if each.name == start.version]
        asked = [each for each in named if each.inv_us <= start.at_us]
        if not asked:
            yield f"attempt {start.attempt} was given {start.version!r}, which nobody had asked for"
        elif not any(_stands(each, self._payloads, start) for each in asked):
            text = f"attempt {start.attempt} began at {start.at_us} with version {start.version!r}"
            yield f"{text} after another one was acknowledged"

    def early_us(self, start: Start) -> int:
        """How much before the earliest due time that may be in force it began; 0 = not at all."""
        asked = [each for each in self._times if each.inv_us <= start.at_us]
        dues = [each.due_us for each in asked if _stands(each, self._times, start)]
        return max(0, min(dues) - self._slack_us - start.at_us)

    def last_due_us(self) -> int:
        """The latest due time that may be in force in the end, and not before it was settled."""
        at_last = Start(task="", attempt=-1, epoch=0, process="", at_us=NEVER_US)
        stand = [each for each in self._times if _stands(each, self._times, at_last)]
        settled = [each.op.ret_us for each in stand if each.op is not None]
        known = [at_us for at_us in settled if at_us != NEVER_US]
        return max(*(each.due_us for each in stand), *known, 0)


def _stands(version: _Version, versions: Sequence[_Version], start: Start) -> bool:
    return not any(other.ends(version, start) for other in versions if other is not version)


def of_one_revision(ops: Sequence[Op]) -> Iterator[str]:
    """Of all who changed one and the same revision one is told that he did."""
    changed: dict[int, Op] = {}
    for op in ops:
        if op.etag and op.kind is Kind.OK and op.call in (Call.UPDATE, Call.RESCHEDULE):
            first = changed.setdefault(op.etag, op)
            if first is not op:
                yield f"{first.client} and {op.client} both changed revision {op.etag}"
