"""What one run is like: which faults at which rates, drawn from its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Shares are of events, `_s` are seconds, rates are per minute of virtual time.

    Attributes:
        calm: no faults at all; the strictest checks apply, whatever operators plan.
        skew_ms: nodes' wall clocks are wrong by at most this.
        moves: operators wish a shard on a node, or take a wish back.
        drains: a scheduler node is asked to stop, and started again.
    """

    calm: bool = True
    tasks: int = 140
    clients: int = 4
    work_s: float = 75.0
    slow_share: float = 0.0
    slow_s: float = 0.3
    loss_share: float = 0.0
    late_share: float = 0.0
    store_unknown_share: float = 0.0
    store_unavailable_share: float = 0.0
    store_late_s: float = 3.0
    crashes: float = 0.0
    freezes: float = 0.0
    freeze_s: float = 12.0
    expiries: float = 0.0
    session_cuts: float = 0.0
    link_cuts: float = 0.0
    snaps: float = 0.0
    outages: float = 0.0
    skew_ms: int = 0
    moves: float = 0.0
    drains: float = 0.0


def draw(rng: random.Random) -> Profile:
    """A run's profile: a tenth is calm, a fifth is a storm, the others mix classes of faults."""
    tasks = rng.randint(100, 200)
    clients = rng.randint(2, 6)
    kind = rng.random()
    if kind < 0.1:
        busy = rng.random() < 0.5
        moves, drains = (15.0, 2.0) if busy else (0.0, 0.0)
        return Profile(tasks=tasks, clients=clients, moves=moves, drains=drains)
    if kind < 0.3:
        return STORMS[rng.choice(list(STORMS))]

    def some(most: float, share: float = 0.6) -> float:
        return rng.uniform(0, most) if rng.random() < share else 0.0

    return Profile(
        calm=False,
        tasks=tasks,
        clients=clients,
        slow_share=some(0.1),
        slow_s=rng.choice((0.05, 0.3, 1.5)),
        loss_share=some(0.01),
        late_share=rng.choice((0.0, 0.5)),
        store_unknown_share=some(0.15),
        store_unavailable_share=some(0.1),
        store_late_s=rng.choice((0.5, 5.0, 20.0)),
        crashes=some(8.0),
        freezes=some(8.0),
        freeze_s=rng.choice((2.0, 8.0, 15.0)),
        expiries=some(4.0),
        session_cuts=some(4.0),
        link_cuts=some(5.0),
        snaps=some(10.0),
        outages=some(2.0, 0.3),
        skew_ms=rng.choice((0, 0, 50, 500)),
        moves=some(30.0),
        drains=some(4.0),
    )


_STORM = Profile(calm=False, tasks=200)
STORMS = {
    "late requests": replace(_STORM, expiries=30.0, loss_share=0.05, late_share=1.0),
    "long pauses": replace(_STORM, freezes=25.0, freeze_s=8.0, session_cuts=25.0),
    "late writes": replace(_STORM, store_unknown_share=0.4, store_late_s=20.0, crashes=12.0),
    "bad links": replace(_STORM, link_cuts=30.0, snaps=40.0, slow_share=0.2, slow_s=1.5),
    "moves": replace(_STORM, moves=60.0, drains=6.0, crashes=6.0, freezes=4.0, expiries=6.0),
    "everything": replace(
        _STORM,
        freezes=25.0,
        crashes=10.0,
        expiries=10.0,
        snaps=10.0,
        loss_share=0.02,
        late_share=0.5,
        store_unknown_share=0.1,
        store_late_s=20.0,
        moves=20.0,
        drains=3.0,
    ),
}
"""Much of one kind, for holes that a mixture finds too rarely."""
