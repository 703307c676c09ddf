"""Executors that serve the same: who leaves, who is slow, and who does the work (I26).

Where nothing is broken. What an executor that is asked to leave hands back costs no attempt and
begins elsewhere as soon as anybody has room; who takes far longer than the others gets nothing for
a while, then little, then its share; and who is as good as the others is never passed over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from statistics import fmean
from typing import Final

from tests.support.checker.base import NEVER_US
from tests.support.checker.history import History
from tests.support.checker.orders import LEFT_OUT_US, NOTICED_US, Order, firsts, orders_of
from tests.support.checker.questions import Serving
from tests.support.checker.records import Sent
from tests.support.checker.stories import Span, spans_of
from tests.support.checker.verdicts import Promise, Violation

KNOWN_US: Final = 600_000
"""Whoever has become an executor is given work by then."""
IDLE_US: Final = 150_000
"""Nobody waits so long while there is room for him."""
LEAVES_US: Final = 100_000
"""So long an order may be on its way to somebody who has been asked to leave."""
ENOUGH: Final = 10
TIMES_SLOWER: Final = 5
SLOWER_US: Final = 1_000_000
WITHIN_US: Final = 14_000_000
BACK_US: Final = (13_000_000, 18_000_000)
"""After so long since it was noticed a slow one is given work again, and by then it surely is."""
SLOWLY_US: Final = 4_000_000
SLOWLY_SHARE: Final = 0.5
"""Of its slots, after it has come back, for so long."""
DEMAND: Final = 20
"""So many orders to others show that there was work for it."""
WELL_US: Final = 6_000_000
Spans = list[tuple[int, int]]


def teams(history: History) -> Iterator[Violation]:
    """Everything that was sent to the wrong one, or not to the right one, or cost too much."""
    if not (history.terms.calm and history.serving and history.natures):
        return
    serving = {each.process: each for each in history.serving}
    for sent in history.sent:
        where = serving.get(sent.executor)
        if where is not None and sent.at_us > where.until_us + LEAVES_US:
            text = f"{sent.owner} sent it to {where.node} at {sent.at_us}, which was leaving"
            yield Violation(Promise.TEAMS, sent.task, text)
    yield from _attempts(history)
    by_pair: dict[tuple[str, str], list[Order]] = defaultdict(list)
    for order in orders_of(history, serving):
        by_pair[order.sent.owner, order.sent.executor].append(order)
    slow: set[str] = set()
    yield from _slow_ones(serving, by_pair, slow)
    yield from _passed_over(serving, by_pair, slow)
    yield from _idle(history, serving, slow)


def _attempts(history: History) -> Iterator[Violation]:
    """No attempt is counted that did not fail: what is handed back is none."""
    failed: dict[str, int] = defaultdict(int)
    for end in history.ends:
        failed[end.task] += not end.ok
    for start in history.starts:
        if start.task in history.natures and start.attempt > failed[start.task] + 1:
            text = f"attempt {start.attempt} began after {failed[start.task]} that failed"
            yield Violation(Promise.TEAMS, start.task, text)
    begun = {start.task for start in history.starts}
    for task, final in history.final.items():
        lost = final.seen is not None and final.seen.cause == "LOST"
        if lost and task in history.natures and task not in begun:
            yield Violation(Promise.TEAMS, task, "is lost, and never began")


def _beside(
    by_pair: dict[tuple[str, str], list[Order]], serving: dict[str, Serving], pair: tuple[str, str]
) -> list[Order]:
    """What the same owner has sent to others who serve the same."""
    owner, process = pair
    handlers = set(serving[process].handlers)
    return [
        order
        for (other, where), orders in by_pair.items()
        if other == owner and where != process and handlers & set(serving[where].handlers)
        for order in orders
    ]


def _took(orders: Iterable[Order]) -> list[int]:
    return [o.span.until_us - o.span.start.at_us for o in orders if o.span is not None]


def _slow_ones(
    serving: dict[str, Serving], by_pair: dict[tuple[str, str], list[Order]], slow: set[str]
) -> Iterator[Violation]:
    """Who is slow is left out, and comes back slowly. Notes who they are."""
    for pair, given in by_pair.items():
        here = sorted(firsts(given), key=_over_us)
        there = sorted(firsts(_beside(by_pair, serving, pair)), key=_over_us)
        if len(here) < ENOUGH or len(there) < ENOUGH:
            continue
        well_us = fmean(_took(there))
        if min(_took(here)) < max(TIMES_SLOWER * well_us, well_us + SLOWER_US):
            continue
        slow.add(pair[1])
        noticed_us = max(_over_us(here[ENOUGH - 1]), _over_us(there[ENOUGH - 1]))
        if noticed_us - _over_us(here[0]) < WITHIN_US:
            others = {order.sent.executor for order in there}
            slots = sum(serving[each].slots for each in others)
            for text in _left_out(serving[pair[1]], given, there, slots, noticed_us):
                yield Violation(Promise.TEAMS, serving[pair[1]].node, f"{pair[0]} {text}")


def _over_us(order: Order) -> int:
    return NEVER_US if order.span is None else order.span.until_us


def _are_full(orders: list[Order], slots: int, at_us: int) -> bool:
    """Whether their owner had sent them all that they could take."""
    return sum(order.lasts_at(at_us) for order in orders) >= slots


def _left_out(
    where: Serving, given: list[Order], there: list[Order], slots: int, noticed_us: int
) -> Iterator[str]:
    """`slots`: of all the others."""
    for order in given:
        if NOTICED_US <= order.sent.at_us - noticed_us <= LEFT_OUT_US:
            yield f"sent it {order.sent.task} at {order.sent.at_us}, far slower than the others"
    after = [o for o in given if o.sent.at_us > noticed_us + LEFT_OUT_US]
    from_us, by_us = (noticed_us + each for each in BACK_US)
    wanted = any(
        _are_full(there, slots, each.sent.at_us)
        for each in there
        if from_us <= each.sent.at_us <= by_us
    )
    if wanted and not any(order.sent.at_us <= by_us for order in after):
        yield f"sent it nothing by {by_us}, though it was to come back"
    if not after:
        return
    back_us = min(order.sent.at_us for order in after)
    for order in after:
        at_us = order.sent.at_us
        lasting = sum(each.lasts_at(at_us) for each in after if each.sent.at_us <= at_us)
        if at_us < back_us + SLOWLY_US and lasting > max(1, SLOWLY_SHARE * where.slots):
            yield f"sent it {lasting} at once at {at_us}, just after it had come back"


def _passed_over(
    serving: dict[str, Serving], by_pair: dict[tuple[str, str], list[Order]], slow: set[str]
) -> Iterator[Violation]:
    """Who does as well as the others gets work as long as there is some."""
    for pair, given in by_pair.items():
        where = serving[pair[1]]
        if pair[1] in slow or where.until_us != NEVER_US or not _does_well(given):
            continue
        others = sorted(order.sent.at_us for order in _beside(by_pair, serving, pair))
        times = [where.from_us, *sorted(order.sent.at_us for order in given)]
        for begin_us, end_us in zip(times, [*times[1:], NEVER_US], strict=True):
            missed = [at_us for at_us in others if begin_us < at_us < end_us]
            if len(missed) >= 2 * DEMAND and missed[-1] - missed[0] > WELL_US:
                text = f"{pair[0]} sent nothing from {begin_us} on, and {len(missed)} to others"
                yield Violation(Promise.TEAMS, where.node, text)


def _does_well(given: list[Order]) -> bool:
    ended = [order.span for order in given if order.span is not None]
    return bool(ended) and all(span.ok for span in ended)


def _idle(history: History, serving: dict[str, Serving], slow: set[str]) -> Iterator[Violation]:
    """Nobody who is due waits for his order while an executor that does well has room for him."""
    rooms = _rooms(history, serving)
    for task, from_us, until_us in _waits(history, serving):
        nature = history.natures[task]
        for where in history.serving:
            if nature.handler not in where.handlers or where.process in slow or where.caps:
                continue
            for begin_us, end_us in rooms[where.process]:
                idle_us = min(end_us, until_us) - max(begin_us, from_us)
                if idle_us > IDLE_US:
                    text = f"waited {idle_us} us of the time from {from_us} on, with room at"
                    yield Violation(Promise.TEAMS, task, f"{text} {where.node}")


def _waits(history: History, serving: dict[str, Serving]) -> Iterator[tuple[str, int, int]]:
    """From when to when tasks waited to be sent: since they were due, or had been handed back."""
    sent: dict[str, list[Sent]] = defaultdict(list)
    for each in history.sent:
        sent[each.task].append(each)
    begun = {(start.task, start.process) for start in history.starts}
    for op in history.ops:
        nature, wish, orders = history.natures.get(op.task), op.wish, sent[op.task]
        if nature is None or wish is None or wish.due_us is None or not orders:
            continue
        if nature.labels or nature.pace_us or wish.key:
            continue
        yield op.task, max(wish.due_us, op.ret_us), orders[0].at_us
        for former, latter in pairwise(orders):
            where = serving.get(former.executor)
            if where is None or (op.task, former.executor) in begun:
                continue
            if where.until_us <= latter.at_us:
                yield op.task, max(former.at_us, where.until_us), latter.at_us


def _rooms(history: History, serving: dict[str, Serving]) -> dict[str, Spans]:
    """When each executor had a slot free, since it was known and until it was asked to leave."""
    spans: dict[str, list[Span]] = defaultdict(list)
    for span in spans_of(history):
        spans[span.start.process].append(span)
    return {
        process: list(_free(where, spans[process]))
        for process, where in serving.items()
        if all(span.ok is not False for span in spans[process])
    } | {process: [] for process in serving if any(span.ok is False for span in spans[process])}


def _free(where: Serving, spans: list[Span]) -> Iterator[tuple[int, int]]:
    changes = sorted(
        [(span.start.at_us, 1) for span in spans] + [(span.until_us, -1) for span in spans]
    )
    taken, since_us = 0, where.from_us + KNOWN_US
    for at_us, change in [*changes, (where.until_us, 0)]:
        at_us = min(at_us, where.until_us)
        if taken < where.slots and at_us > since_us:
            yield since_us, at_us
        taken += change
        since_us = max(since_us, at_us)
