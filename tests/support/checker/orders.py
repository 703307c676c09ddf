"""Whom owners send work, where nothing is broken and no shard moves (I22).

No more at once than an executor has slots, and of a handler no more than its cap; and for a while
nothing to one that has failed all it was given while another did well at the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.support.checker.base import NEVER_US
from tests.support.checker.history import History
from tests.support.checker.questions import Serving
from tests.support.checker.records import Sent
from tests.support.checker.stories import Span, spans_of
from tests.support.checker.verdicts import Promise, Violation

ENOUGH: Final = 10
"""So many first attempts on both sides tell who is ill."""
WITHIN_US: Final = 14_000_000
"""For so long they count."""
NOTICED_US: Final = 1_300_000
LEFT_OUT_US: Final = 9_500_000
"""After so many it is noticed, and for so long nothing is sent there."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order and what became of it; no span = it never began there."""

    sent: Sent
    handler: str
    span: Span | None

    def lasts_at(self, at_us: int) -> bool:
        """Whether its executor has it then, as far as its owner can know."""
        if self.span is None:
            return self.sent.at_us == at_us
        return self.sent.at_us <= at_us < self.span.until_us


def orders(history: History) -> Iterator[Violation]:
    """Orders that should not have been given."""
    if not history.terms.still or not history.serving:
        return
    serving = {each.process: each for each in history.serving}
    by_pair: dict[tuple[str, str], list[Order]] = defaultdict(list)
    for order in orders_of(history, serving):
        by_pair[order.sent.owner, order.sent.executor].append(order)
    for (_, executor), given in by_pair.items():
        yield from _too_many(serving[executor], given)
    for (owner, executor), given in by_pair.items():
        beside = [
            order
            for (other, where), orders in by_pair.items()
            if other == owner and where != executor
            for order in orders
        ]
        yield from _too_ill(owner, serving[executor], given, beside)


def orders_of(history: History, serving: dict[str, Serving]) -> Iterator[Order]:
    """All of them; a start belongs to the last order before it."""
    spans: dict[tuple[str, str], list[Span]] = defaultdict(list)
    for span in spans_of(history):
        spans[span.start.task, span.start.process].append(span)
    next_us: dict[tuple[str, str], int] = {}
    found: list[Order] = []
    for sent in sorted(history.sent, key=lambda each: each.at_us, reverse=True):
        where = sent.task, sent.executor
        until_us = next_us.get(where, NEVER_US)
        next_us[where] = sent.at_us
        mine = (s for s in spans[where] if sent.at_us <= s.start.at_us < until_us)
        nature = history.natures.get(sent.task)
        if sent.executor in serving:
            handler = "" if nature is None else nature.handler
            found.append(Order(sent, handler, next(mine, None)))
    return reversed(found)


def _too_many(serving: Serving, given: list[Order]) -> Iterator[Violation]:
    caps = dict(serving.caps)
    lasting: list[Order] = []
    for order in given:
        at_us = order.sent.at_us
        lasting = [each for each in lasting if each.lasts_at(at_us)] + [order]
        of_it = sum(each.handler == order.handler for each in lasting)
        if len(lasting) > serving.slots or of_it > caps.get(order.handler, serving.slots):
            text = f"{order.sent.owner} sent {serving.node} {len(lasting)} at {at_us}"
            text = f"{text}, {of_it} of handler {order.handler!r}, and that is more than it takes"
            yield Violation(Promise.EXPLAINED, order.sent.task, text)


def _too_ill(
    owner: str, serving: Serving, given: list[Order], beside: list[Order]
) -> Iterator[Violation]:
    """As soon as enough have failed here, and enough went well elsewhere."""
    handlers = {order.handler for order in given} - {""}
    for handler in sorted(handlers):
        here = [each for each in firsts(given) if each.handler == handler]
        there = [each for each in firsts(beside) if each.handler == handler]
        noticed_us = _noticed_us(here, there)
        if noticed_us is None:
            continue
        for order in given:
            if NOTICED_US <= order.sent.at_us - noticed_us <= LEFT_OUT_US:
                text = f"{owner} sent it to {serving.node} at {order.sent.at_us}, where all failed"
                yield Violation(Promise.EXPLAINED, order.sent.task, text)


def firsts(given: list[Order]) -> list[Order]:
    """First attempts that have ended by themselves."""
    began = [order for order in given if order.span is not None and order.span.ok is not None]
    return [order for order in began if order.span is not None and order.span.start.attempt == 1]


def _noticed_us(here: list[Order], there: list[Order]) -> int | None:
    """When enough had failed in a row here, and enough gone well there, for the first time."""
    failed = sorted(each.span.until_us for each in here if each.span and not each.span.ok)
    well = sorted(each.span.until_us for each in there if each.span and each.span.ok)
    if len(failed) < max(ENOUGH, len(here)) or len(well) < max(ENOUGH, len(there)):
        return None
    at_us = max(failed[ENOUGH - 1], well[ENOUGH - 1])
    return at_us if at_us - min(failed[0], well[0]) < WITHIN_US else None
