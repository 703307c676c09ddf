"""What must be told while all of a kind is out of reach: the judge knows from when to when (I18).

Each blackout takes its time until it is noticed: sessions end, streams break. From then to its end
it is what holds a task back, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.support.checker.questions import Asked
from tests.support.checker.records import Fault
from tests.support.checker.stories import Story

LAG_US: Final = 100_000
S_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Look:
    """One question within a blackout."""

    fault: Fault
    story: Story
    asked: Asked

    @property
    def due_us(self) -> int:
        """When its task is due."""
        wish = self.story.wish
        return (wish.due_us if wish is not None else None) or 0

    @property
    def is_ahead(self) -> bool:
        """Not due before the answer."""
        return self.asked.ret_us < self.due_us - self.story.terms.early_us

    @property
    def waits(self) -> bool:
        """Due, and nothing of it begins before the answer."""
        soonest_us = self.due_us + self.story.terms.early_us + LAG_US
        began = any(each.at_us <= self.asked.ret_us for each in self.story.starts)
        return soonest_us < self.asked.inv_us and not began

    @property
    def runs(self) -> bool:
        """It had begun before, and goes on after the answer."""
        return any(
            each.start.at_us < self.fault.at_us - LAG_US and each.until_us > self.asked.ret_us
            for each in self.story.spans
        )

    @property
    def causes(self) -> list[str]:
        """What was told."""
        return [each.cause for each in self.asked.because]

    def first(self, *causes: str) -> Iterator[str]:
        """The first that was told must be one of these."""
        if self.causes[0] not in causes:
            yield f"meanwhile, {self.fault.name} since {self.fault.at_us}: {' or '.join(causes)}"

    def began(self) -> Iterator[str]:
        """It is told to be so since the blackout began."""
        since_us = self.asked.because[0].since_us
        early_us = self.story.terms.early_us
        if since_us is None:
            return
        if not self.fault.at_us - early_us <= since_us <= self.asked.inv_us + early_us:
            yield f"since {since_us}, and it is so since {self.fault.at_us}"

    def time_too(self) -> Iterator[str]:
        """That its time has not come is told as well."""
        times = [each.next_us for each in self.asked.because[1:] if each.cause == "NOT_DUE"]
        if self.is_ahead and times != [self.due_us]:
            yield f"nor is it due before {self.due_us}"
        elif self.due_us + LAG_US < self.asked.inv_us and times:
            yield f"due at {self.due_us}"


def _no_owner(look: _Look) -> Iterator[str]:
    yield from look.first("SHARD_NOT_OWNED")
    yield from look.began()
    yield from look.time_too()


def _silent(look: _Look) -> Iterator[str]:
    yield from look.first("OWNER_SILENT")
    yield from look.time_too()
    if look.asked.because[0].detail("node") not in look.story.owners:
        yield "its owner is not named"


def _out_of_sight(look: _Look) -> Iterator[str]:
    if look.waits:
        yield from look.first("OWNER_SUSPENDED")
        yield from look.began()
    elif look.is_ahead:
        yield from look.first("NOT_DUE")
    elif look.runs:
        yield from look.first("RUNNING")


def _store_down(look: _Look) -> Iterator[str]:
    if look.waits:
        yield from look.first("STORE_UNAVAILABLE", "STARTING", "MUTATION_IN_FLIGHT")
        if look.due_us < look.asked.inv_us - 2 * S_US:
            yield from look.first("STORE_UNAVAILABLE")
    elif look.is_ahead:
        yield from look.first("NOT_DUE")
    elif look.runs:
        yield from look.first("RUNNING")


def _out_of_reach(look: _Look) -> Iterator[str]:
    if look.waits:
        yield from look.first("EXECUTORS_UNREACHABLE", "ATTEMPT_UNRESOLVED")
    elif look.is_ahead:
        yield from look.first("NOT_DUE")
        if "EXECUTORS_UNREACHABLE" not in look.causes:
            yield "nor can any executor be reached"
    elif look.runs:
        yield from look.first("ATTEMPT_UNRESOLVED")


Rule = Callable[[_Look], Iterator[str]]
_RULES: Final[dict[str, tuple[int, Rule]]] = {
    "no owner": (8 * S_US, _no_owner),
    "silent owners": (LAG_US, _silent),
    "owners out of sight": (5 * S_US // 2, _out_of_sight),
    "store down": (LAG_US, _store_down),
    "executors out of reach": (3 * S_US + LAG_US, _out_of_reach),
}
"""By name of the blackout: how long it takes until it is noticed, and what is told from then on."""


def in_the_dark(faults: list[Fault], story: Story, asked: Asked) -> Iterator[str]:
    """What is wrong with an answer that was asked for within a blackout."""
    if not asked.because or asked.foreign or story.changes or story.known_us >= asked.inv_us:
        return
    for fault in faults:
        settle_us, rule = _RULES[fault.name]
        within = fault.at_us + settle_us <= asked.inv_us and asked.ret_us < fault.until_us
        over = any(end.at_us < fault.at_us + LAG_US for end in story.ends)
        if within and not over:
            yield from rule(_Look(fault, story, asked))


def blackouts(faults: list[Fault]) -> list[Fault]:
    """Those of the faults that put out all of a kind."""
    return [each for each in faults if each.name in _RULES]
