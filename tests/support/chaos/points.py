"""The points at which processes are killed: where, whom, and what proves that it was there.

`commit` is the way from a durable creation to its acknowledgement, `claim` from a durable claim to
its order, `run` from an order to its result, `assignment` from a leader's wish to its knowing.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from tests.support.chaos.wired import EXECUTORS, SCHEDULERS

STORES: Final = tuple(f"store of {name}" for name in SCHEDULERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A place between two steps.

    `delay_ms` is the longest time from the point to the signal (0 = before the bytes are passed
    on); `skip` the largest number of chances that are let pass, so that no round is like another.
    """

    name: str
    group: str
    role: str
    what: str
    delay_ms: float = 0.0
    skip: int = 20

    def wires(self, victim: str) -> tuple[str, ...]:
        """Where its bytes go by."""
        if self.name == "leader-commit":
            return STORES
        if self.role == "coordinator":
            return (f"zookeeper of {victim}",)
        if self.name.startswith("order-"):
            return EXECUTORS
        return (victim,) if self.role == "executor" else (f"store of {victim}",)

    def drawn_delay_ms(self, random: Random) -> float:
        """How long after the point the signal is sent this time."""
        return random.uniform(0.05, self.delay_ms) if self.delay_ms else 0.0


POINTS: Final = {
    point.name: point
    for point in (
        Point(
            name="commit-durable",
            group="scheduler commit",
            role="scheduler",
            what="creations are durable, the node has not seen the store's answer",
        ),
        Point(
            name="commit-told",
            group="scheduler commit",
            role="scheduler",
            what="creations are durable, the node was told up to 5 ms ago",
            delay_ms=5.0,
        ),
        Point(
            name="claim-durable",
            group="scheduler claim",
            role="scheduler",
            what="claims are durable, the node has not seen the store's answer",
        ),
        Point(
            name="claim-told",
            group="scheduler claim",
            role="scheduler",
            what="claims are durable, the node was told up to 3 ms ago",
            delay_ms=3.0,
        ),
        Point(
            name="order-swallowed",
            group="scheduler claim",
            role="scheduler",
            what="orders have left the node, no executor gets them",
        ),
        Point(
            name="order-passed",
            group="scheduler claim",
            role="scheduler",
            what="orders went to their executor up to 3 ms ago",
            delay_ms=3.0,
        ),
        Point(
            name="run-accepted",
            group="executor",
            role="executor",
            what="orders came up to 25 ms ago, handlers work for 30 ms",
            delay_ms=25.0,
        ),
        Point(
            name="result-swallowed",
            group="executor",
            role="executor",
            what="handlers have ended, results have left and nobody gets them",
        ),
        Point(
            name="leader-commit",
            group="leader",
            role="coordinator",
            what="creations are durable, their answers on the way through the leader",
            delay_ms=5.0,
        ),
        Point(
            name="assignment-unsent",
            group="leader",
            role="coordinator",
            what="an assignment has left the leader and does not reach ZooKeeper",
            skip=0,
        ),
        Point(
            name="assignment-durable",
            group="leader",
            role="coordinator",
            what="an assignment is durable, the leader has not seen the answer",
            skip=0,
        ),
    )
}
TURNS: Final = {
    "scheduler commit": ("commit-durable", "commit-told"),
    "scheduler claim": ("claim-durable", "claim-told", "order-swallowed", "order-passed"),
    "executor": ("result-swallowed", "run-accepted"),
    "leader": ("leader-commit", "assignment-unsent", "leader-commit", "assignment-durable"),
}
"""In each group its points take turns."""


def plan(rounds: int, already: dict[str, int], groups: tuple[str, ...] = ()) -> list[Point]:
    """The rounds that are still to be played, groups in turn; `already` counts hits by point."""
    wanted = {name: _owed(name, rounds, already) for name in groups or tuple(TURNS)}
    found: list[Point] = []
    while any(wanted.values()):
        found += [POINTS[owed.pop(0)] for owed in wanted.values() if owed]
    return found


def _owed(group: str, rounds: int, already: dict[str, int]) -> list[str]:
    turns = TURNS[group]
    left = {name: already.get(name, 0) for name in turns}
    owed = []
    for number in range(rounds):
        name = turns[number % len(turns)]
        if left[name]:
            left[name] -= 1
        else:
            owed.append(name)
    return owed
