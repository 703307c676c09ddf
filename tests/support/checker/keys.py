"""Tasks with a concurrency key: never more of one at work at once than its limit (I16).

An attempt is at work from its first line until it has ended, was made to end, or its process is
over. Being given up, or frozen, ends nothing: whoever says so may be wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

from tests.support.checker.base import NEVER_US
from tests.support.checker.history import History
from tests.support.checker.records import Call, End, Left, Start
from tests.support.checker.verdicts import Promise, Violation

Name = TypeVar("Name", bound=Hashable)
Spans = list[tuple[int, int, Start]]
"""From when to when, both in microseconds, and what was at work."""


def keys(history: History) -> Iterator[Violation]:
    """All keys of which too many were at work at once."""
    most = {op.wish.key: op.wish.most for op in history.ops if op.wish is not None and op.wish.key}
    for key, spans in spans_by_key(history).items():
        for at_us, running in crowds(spans, most[key]):
            who = ", ".join(f"{each.task} on {each.process}" for each in running)
            text = f"{len(running)} at work at {at_us}, {most[key]} may: {who}"
            yield Violation(Promise.KEYS, key, text)


def spans_by_key(history: History) -> dict[str, Spans]:
    """When attempts of each key were at work."""
    key_of = {
        op.wish.payload: op.wish.key
        for op in history.ops
        if op.call is Call.CREATE and op.wish is not None and op.wish.key
    }
    return spans_of(history, lambda start: key_of.get(start.payload))


def spans_of(history: History, name: Callable[[Start], Name | None]) -> dict[Name, Spans]:
    """When attempts were at work, by a name that each one has; None = it does not matter."""
    over: dict[tuple[str, int, str], int] = {}
    ended: list[End | Left] = [*history.ends, *history.left]
    for each in ended:
        run = (each.task, each.attempt, each.process)
        over[run] = min(each.at_us, over.get(run, NEVER_US))
    killed = {fault.scope: fault.at_us for fault in history.faults if fault.kills}
    found: dict[Name, Spans] = defaultdict(list)
    for start in history.starts:
        named = name(start)
        if named is not None:
            run = (start.task, start.attempt, start.process)
            end_us = min(over.get(run, NEVER_US), killed.get(start.process, NEVER_US))
            found[named].append((start.at_us, end_us, start))
    return found


def most_at_once(spans: Spans) -> int:
    """How many were at work at once."""
    return max((len(working) for _, working in crowds(spans, 0)), default=0)


def crowds(spans: Spans, most: int) -> Iterator[tuple[int, list[Start]]]:
    """Whenever one begins that is more than so many: with everything that is at work then."""
    working: Spans = []
    for span in sorted(spans, key=lambda each: each[:2]):
        working = [each for each in working if each[1] > span[0]]
        working.append(span)
        if len(working) > most:
            yield span[0], [start for _, _, start in working]
