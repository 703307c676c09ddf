"""Lists, read to their ends when all is over: where nothing was broken nothing is missing (I24)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.support.checker.history import History
from tests.support.checker.records import Call, Kind, Seen
from tests.support.checker.verdicts import Promise, Violation

OF_STATES = frozenset({"RETRYING", "SUCCEEDED", "FAILED", "CANCELLED", "TERMINATED"})
"""States by which everybody's tasks are listed."""


def lists(history: History) -> Iterator[Violation]:
    """What is there is in each list that it belongs to, once, as it is; and nothing else is."""
    if not history.terms.lists:
        return
    found: Counter[tuple[str, str, str]] = Counter()
    for each in history.listed:
        found[each.where, each.owner, each.task] += 1
        final = history.final.get(each.task)
        if final is not None and (final.seen is None or final.seen.state != each.state):
            state = "gone" if final.seen is None else final.seen.state
            text = f"{each.state} in the list by {each.where}, and {state} when it is read"
            yield Violation(Promise.LISTS, each.task, text)
    stays = history.terms.kept_us is None  # else it may be removed while lists are read
    for op in history.ops:
        final = history.final.get(op.task)
        made = op.call is Call.CREATE and op.kind is Kind.OK and not op.foreign and stays
        if made and final is not None and final.seen is not None:
            for where in _wanted(op.client, final.seen):
                times = found[*where, op.task]
                if times != 1:
                    text = f"{final.seen.state}, and {times} times in the list by {where[0]}"
                    yield Violation(Promise.LISTS, op.task, text)


def _wanted(owner: str, seen: Seen) -> Iterator[tuple[str, str]]:
    yield "owner", owner
    if seen.state in OF_STATES:
        yield "state", ""
    if seen.state == "FAILED":
        yield "dead letters", ""
