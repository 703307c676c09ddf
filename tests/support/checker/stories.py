"""Everything of the tasks that were asked about, and of those who could have run them.

What an outsider knows: who asked for what, what began and ended where, and who served what.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.support.checker.base import NEVER_US
from tests.support.checker.history import History
from tests.support.checker.questions import ForeignRow, Nature, Serving
from tests.support.checker.records import OF_SCHEDULES, Call, End, Kind, Op, Seen, Start, Wish

LOOKS: Final = frozenset({Call.CREATE, Call.GET, Call.WAIT, Call.WATCH})
"""What changes nothing of a task that is there."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What holds for all stories. `struck`: anything was broken that gives somebody up."""

    early_us: int
    kept_us: int | None
    struck: bool


@dataclass(frozen=True, slots=True)
class Span:
    """A handler was at work; `ok` None = it was made to end, or has not ended."""

    start: Start
    until_us: int
    ok: bool | None


@dataclass(slots=True)
class Story:
    """One task.

    Attributes:
        made_us: when it was first asked for; `known_us`: when somebody was told that it is there.
        changes: what was asked that may change it, in the order of being asked.
        owners: nodes that have owned any shard.
        last: what it was at last.
        owner: who sent it, the first time at `sent_us`.
    """

    task: str
    terms: Bounds
    nodes: dict[str, str]
    owners: frozenset[str]
    wish: Wish | None = None
    nature: Nature | None = None
    made_us: int = NEVER_US
    known_us: int = NEVER_US
    last: Seen | None = None
    owner: str = ""
    sent_us: int = NEVER_US
    changes: list[Op] = field(default_factory=list)
    endings: list[Op] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    foreign_rows: list[ForeignRow] = field(default_factory=list)

    def hear(self, op: Op) -> None:
        """Take an operation in."""
        if op.call is Call.CREATE:
            self.made_us = min(self.made_us, op.inv_us)
            self.wish = self.wish or op.wish
            if op.kind is Kind.OK:
                self.known_us = min(self.known_us, op.ret_us)
        elif op.call not in LOOKS:
            self.changes.append(op)
        if op.kind is Kind.OK and op.seen is not None and op.seen.ended:
            self.endings.append(op)

    def node_of(self, start: Start) -> str:
        """The node whose process began it."""
        return self.nodes.get(start.process, "")

    def changes_by(self, at_us: int) -> list[Op]:
        """What had been asked by then that may change it."""
        return [op for op in self.changes if op.inv_us <= at_us]

    def told_ended_by(self, at_us: int) -> Op | None:
        """Whoever had been told by then that it is over."""
        return next((op for op in self.endings if op.ret_us < at_us), None)


class Stories:
    """All of them."""

    def __init__(self, history: History) -> None:
        self.serving = history.serving
        self._terms = Bounds(
            history.terms.early_us,
            history.terms.kept_us,
            any(fault.gives_up for fault in history.faults),
        )
        self._nodes = {each.process: each.node for each in history.serving}
        self._owners = frozenset(claim.owner.partition("#")[0] for claim in history.claims)
        self._found: dict[str, Story] = {}
        for asked in history.asked:
            self.of(asked.task)
        for task in history.natures:
            self.of(task)
        self._tell(history)
        self.by_process: dict[str, list[Span]] = defaultdict(list)
        self.by_key: dict[str, list[Span]] = defaultdict(list)
        self._work(history)

    def of(self, task: str) -> Story:
        """The story of a task."""
        story = self._found.get(task)
        if story is None:
            story = self._found[task] = Story(task, self._terms, self._nodes, self._owners)
        return story

    def crowd(self, name: str) -> list[Story]:
        """The tasks of a crowd."""
        stories = self._found.values()
        return [each for each in stories if each.nature is not None and each.nature.crowd == name]

    def _tell(self, history: History) -> None:
        found = self._found
        for op in history.ops:
            story = found.get(op.task)
            if story is not None and not op.foreign and op.call not in OF_SCHEDULES:
                story.hear(op)
        for task, nature in history.natures.items():
            found[task].nature = nature
        for sent in history.sent:
            if sent.task in found:
                story = found[sent.task]
                story.owner, story.sent_us = sent.owner, min(sent.at_us, story.sent_us)
        for task, final in history.final.items():
            if task in found:
                found[task].last = final.seen
        for row in history.foreign_rows:
            if row.task in found:
                found[row.task].foreign_rows.append(row)

    def _work(self, history: History) -> None:
        for end in history.ends:
            if end.task in self._found:
                self._found[end.task].ends.append(end)
        wishes = {op.task: op.wish for op in history.ops if op.wish is not None and op.wish.key}
        for span in spans_of(history):
            start = span.start
            self.by_process[start.process].append(span)
            wish = wishes.get(start.task)
            if wish is not None:
                self.by_key[wish.key].append(span)
            if start.task in self._found:
                self._found[start.task].starts.append(start)
                self._found[start.task].spans.append(span)

    # Who could run something --------------------------------------------------------------------

    def surely(self, handler: str, from_us: int, to_us: int) -> list[Serving]:
        """Who served a handler all the time."""
        named = [each for each in self.serving if handler in each.handlers]
        return [each for each in named if each.from_us <= from_us and each.until_us >= to_us]

    def possibly(self, handler: str, from_us: int, to_us: int) -> list[Serving]:
        """Who served a handler at some time of these."""
        named = [each for each in self.serving if handler in each.handlers]
        return [each for each in named if each.from_us <= to_us and each.until_us >= from_us]


def spans_of(history: History) -> Iterator[Span]:
    """When handlers were at work."""
    over: dict[tuple[str, int, str], tuple[int, bool | None]] = {}
    for left in history.left:
        over[left.task, left.attempt, left.process] = (left.at_us, None)
    for end in history.ends:
        over[end.task, end.attempt, end.process] = (end.at_us, end.ok)
    killed = {fault.scope: fault.at_us for fault in history.faults if fault.kills}
    for start in history.starts:
        until_us, ok = over.get((start.task, start.attempt, start.process), (NEVER_US, None))
        yield Span(start, min(until_us, killed.get(start.process, NEVER_US)), ok)


def most_and_least(spans: list[Span], from_us: int, to_us: int, lag_us: int) -> tuple[int, int]:
    """How many may have been at work at some time, and how many surely were all the time."""
    near = [each for each in spans if each.start.at_us <= to_us + lag_us]
    most = sum(each.until_us >= from_us - lag_us for each in near)
    least = sum(each.start.at_us <= from_us - lag_us and each.until_us >= to_us for each in near)
    return most, least
