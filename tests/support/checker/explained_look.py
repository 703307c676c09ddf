"""One question where nothing is broken and no shard moves, and what an outsider knows around it.

An owner hears of a start or an end some milliseconds after it happened (`LAG_US`).
"""

from __future__ import annotations

from typing import Final

from tests.support.checker.questions import Asked, Because, Nature, Serving
from tests.support.checker.stories import Span, Stories, Story, most_and_least

LAG_US: Final = 60_000
OUTCOME_US: Final = 160_000
"""So long an owner may take until an outcome is written: that hurries nobody."""
MS_US: Final = 1_000
JOIN_US: Final = 1_000_000
"""So long after its joining an executor may not be reached yet."""
LEAVE_US: Final = 6_000_000
"""So long after being asked to leave it may still be there."""
OTHERS: Final = Nature(task="", handler="sim.work")
"""What tasks of other clients are."""


class Look:
    """One question."""

    def __init__(self, stories: Stories, story: Story, asked: Asked) -> None:
        self.stories = stories
        self.story = story
        self.asked = asked
        self.first = asked.because[0]
        self.causes = [each.cause for each in asked.because]
        self.nature = story.nature or OTHERS
        self.from_us = asked.inv_us - LAG_US
        self.to_us = asked.ret_us

    def room_of(self, serving: Serving) -> int:
        """How many of its handler may run there at once."""
        return dict(serving.caps).get(self.nature.handler, serving.slots)

    def is_full(self, serving: Serving) -> bool:
        """Whether it surely had no slot all the time."""
        _, least = self.at_work(self.stories.by_process.get(serving.process, []))
        return least >= serving.slots

    def at_work(self, spans: list[Span]) -> tuple[int, int]:
        """How many may have been at work at some time, and how many surely all the time."""
        return most_and_least(spans, self.asked.inv_us, self.to_us, LAG_US)

    def waits_there(self, because: Because) -> bool:
        """Whether the executor that is named may have been full: what it has taken waits there."""
        node = because.detail("executor")
        there = [each for each in self.stories.serving if each.node == node]
        most = [self.at_work(self.stories.by_process.get(each.process, []))[0] for each in there]
        rooms = [self.room_of(each) for each in there]
        return any(busy >= room for busy, room in zip(most, rooms, strict=True))

    def fitting(self) -> list[Serving]:
        """Who could run it all the time."""
        there = self.stories.surely(self.nature.handler, self.from_us - JOIN_US, self.to_us)
        return [each for each in there if set(self.nature.labels) <= set(each.labels)]
