"""Tasks whose times are judged one by one: all that was seen of each, together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.checker.base import NEVER_US
from tests.support.checker.history import History
from tests.support.checker.records import Call, End, Kind, Left, Op, Seen, Start

COARSE_US = 2_000
"""Owners and executors count milliseconds: what they call now may be so long ago."""
Run = tuple[int, str]
"""An attempt's number, and its process."""


@dataclass(slots=True)
class Timed:
    """One task: its creation, its attempts in order, and how it was shown last."""

    made: Op
    starts: list[Start] = field(default_factory=list)
    ends: dict[Run, End] = field(default_factory=dict)
    left: dict[Run, Left] = field(default_factory=dict)
    seen: Seen | None = None

    @property
    def known_us(self) -> int:
        """By then it had surely been created; NEVER_US = nobody was told."""
        return self.made.ret_us if self.made.kind is Kind.OK else NEVER_US

    @property
    def due_us(self) -> tuple[int, int]:
        """The due time that was asked for: not before, and not after."""
        wish = self.made.wish
        if wish is None:
            raise AssertionError("a creation says what it is about")
        if wish.due_us is not None:
            return wish.due_us, wish.due_us
        latest_us = NEVER_US if self.known_us == NEVER_US else self.known_us + wish.delay_us
        return self.made.inv_us + wish.delay_us, latest_us

    def over_us(self, start: Start) -> int | None:
        """When an attempt was over, by its end or because it was made to end; None = never."""
        run = (start.attempt, start.process)
        each: list[End | Left | None] = [self.ends.get(run), self.left.get(run)]
        return min((found.at_us for found in each if found is not None), default=None)

    def ended(self, start: Start) -> End | None:
        """What its handler said at its end."""
        return self.ends.get((start.attempt, start.process))


def timed(history: History) -> Iterator[Timed]:
    """All tasks with bounds or with a backoff of their own as they were first asked for."""
    found: dict[str, Timed] = {}
    for op in history.ops:
        wish = op.wish
        if op.call is Call.CREATE and op.task and wish is not None and wish.bounds is not None:
            found.setdefault(op.task, Timed(op))
    for start in history.starts:
        if start.task in found:
            found[start.task].starts.append(start)
    for end in history.ends:
        if end.task in found:
            found[end.task].ends[end.attempt, end.process] = end
    for left in history.left:
        if left.task in found:
            found[left.task].left[left.attempt, left.process] = left
    for task, each in found.items():
        final = history.final.get(task)
        each.seen = None if final is None else final.seen
        yield each
