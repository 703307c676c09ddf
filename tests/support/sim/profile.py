"""What one run is like: which faults at which rates, drawn from its seed.

Whatever is drawn, a run that is not calm has enough faults of enough kinds to prove something.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final

SLOTS: Final = 8
"""Of each executor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Shares are of events, `_s` are seconds, rates are per minute of virtual time.

    Attributes:
        calm: no faults at all; the strictest checks apply, whatever operators plan.
        tasks: so many are to be acknowledged; clients go on a little for those that fail.
        schedules: so many schedules fire beside the tasks.
        skew_ms: nodes' wall clocks are wrong by at most this, whatever steps they make.
        partitions: one of the shapes of partitions.py, for some seconds.
        quorum_losses: the coordination service answers nobody for some seconds.
        slowdowns: a process runs only a tenth of the time, for some seconds.
        clock_steps: a node's wall clock is set anew within `skew_ms`, or drifts there.
        twice_share: of requests that arrive a second time.
        poison_share: of tasks that take their executor with them.
        cancel_share: of tasks that somebody cancels.
        revise_share: of tasks that somebody updates, moves, terminates or deletes.
        long_share: of tasks that work for minutes.
        beating_share: of tasks that must not be silent while they run; some are, the first time.
        old_share: of requests that were made minutes before they are sent.
        retention_s: ended tasks are removed after so long; 0 = not while the run lasts.
        pause_before: scheduler nodes freeze before writes to the store that are called so.
        moves: operators wish a shard on a node, or take a wish back.
        drains: a scheduler node is asked to stop, and started again.
        keyed_share: of tasks that share a concurrency key with others.
        archives: so many schedules of days and months have some of their past launched once more.
        filled: nominal times of a backfill, at most.
        overlap_share: of schedules that have any other rule for runs that overlap.
        timed: so many tasks have timeouts, and retries that come exactly when they say.
        rated: so many tasks of each of several lines have rates, caps and shares.
        edits: so many schedules are changed, paused and triggered while they fire.
        absences: for some seconds there is no scheduler node at all.
        forecasts: so often somebody asks what a calendar names, or sends one that is wrong.
        spread_share: of schedules of an interval whose runs are due some time after it.
        asks: so often somebody asks why a task does not run.
        desks: executors of few handlers, with tasks made to be held back, about which is asked.
        blackouts: all owners, the store and all executors fall out of reach in turn, and are
            asked about meanwhile.
        foreign_rows: so many tasks of which something is written that nobody can read for a while.
        reports: so many tasks say how far they are, and where another attempt could go on.
        shifts: executors of few slots are restarted one after the other, and one of others is slow.
        clerks: so often all that is odd is asked, by a clerk for tasks and one for schedules.
        lingers: the store takes `linger_s` longer for what is called so; no fault.
        latecomers: so many clients ask just while buckets are being removed.
        part_rows: so few tasks are in a part of a bucket; 0 = as usual.
        counted: tasks are counted in so few minutes; 0 = as usual.
        catch_up_per_s: so many missed starts an owner makes up for a second; 0 = as usual.
        script: one of scripts.py is played, instead of all that clients and operators draw.
    """

    calm: bool = True
    tasks: int = 506
    schedules: int = 0
    clients: int = 10
    work_s: float = 55.0
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
    partitions: float = 0.0
    quorum_losses: float = 0.0
    slowdowns: float = 0.0
    clock_steps: float = 0.0
    twice_share: float = 0.0
    poison_share: float = 0.0
    cancel_share: float = 0.2
    revise_share: float = 0.12
    long_share: float = 0.0
    long_s: float = 90.0
    beating_share: float = 0.0
    old_share: float = 0.0
    outage_s: float = 8.0
    pause_before: str = ""
    retention_s: float = 0.0
    skew_ms: int = 0
    moves: float = 0.0
    drains: float = 0.0
    keyed_share: float = 0.1
    archives: int = 0
    filled: int = 12
    overlap_share: float = 0.2
    timed: int = 0
    rated: int = 0
    edits: int = 0
    absences: float = 0.0
    script: str = ""
    forecasts: int = 0
    spread_share: float = 0.0
    asks: int = 0
    desks: bool = False
    blackouts: bool = False
    foreign_rows: int = 0
    reports: int = 0
    shifts: bool = False
    clerks: int = 0
    lingers: tuple[str, ...] = ()
    linger_s: float = 0.0
    latecomers: int = 0
    catch_up_per_s: int = 0
    part_rows: int = 0
    counted: int = 0

    @property
    def answers_soon(self) -> bool:
        """Whether nothing keeps a request, its answer, or anybody whom it needs."""
        return not self.script and not any(getattr(self, name) for name in _KEEPS)

    @property
    def is_still(self) -> bool:
        """Whether nothing is broken, and nobody is moved, stopped or kept for somebody else."""
        return self.calm and not (self.moves or self.drains or self.latecomers)


_KEEPS = (
    "slow_share",
    "loss_share",
    "late_share",
    "poison_share",
    "store_unknown_share",
    "crashes",
    "freezes",
    "session_cuts",
    "link_cuts",
    "outages",
    "partitions",
    "quorum_losses",
    "slowdowns",
    "absences",
    "blackouts",
    "pause_before",
)
"""Faults for which somebody may have to wait. A session that ends is none: who lost it says so; nor
is a store that says no."""


def draw(rng: random.Random) -> Profile:
    """A run's profile: a tenth is calm, a fifth is a storm, the others mix classes of faults."""
    tasks = rng.randint(502, 512)
    clients = rng.randint(8, 12)
    kind = rng.random()
    if kind < 0.1:
        busy = rng.random() < 0.5
        moves, drains = (15.0, 2.0) if busy else (0.0, 0.0)
        return Profile(
            tasks=tasks,
            clients=clients,
            moves=moves,
            drains=drains,
            schedules=3,
            archives=1,
            retention_s=rng.choice((0.0, 45.0)),
            timed=TIMED,
            asks=rng.choice((0, ASKS)),
        )
    if kind < 0.3:
        return STORMS[rng.choice(list(STORMS))]
    names = rng.sample(list(_MOST), rng.randint(FEWEST_KINDS, len(_MOST)))
    rates = {name: rng.uniform(0.2, 1.0) * most for name, most in _MOST.items() if name in names}
    drawn = Profile(
        calm=False,
        tasks=tasks,
        clients=clients,
        schedules=rng.choice((0, 1, 2, 4)),
        old_share=rng.choice((0.0, 0.1)),
        slow_share=rng.choice((0.0, 0.05, 0.1)),
        slow_s=rng.choice((0.05, 0.3, 1.5)),
        late_share=rng.choice((0.0, 0.5)),
        store_late_s=rng.choice((0.5, 5.0, 20.0)),
        freeze_s=rng.choice((2.0, 8.0, 15.0)),
        skew_ms=rng.choice((0, 50, 500, 2_000)),
        moves=rng.choice((0.0, 10.0, 30.0)),
        drains=rng.choice((0.0, 2.0, 4.0)),
        retention_s=rng.choice((0.0, 0.0, 0.0, 45.0)),
        archives=rng.choice((0, 1, 2)),
        edits=rng.choice((0, 1, 2)),
        forecasts=rng.choice((0, 0, 0, 40)),
        spread_share=rng.choice((0.0, 0.0, 0.4)),
    )
    if drawn.retention_s:
        drawn = replace(drawn, old_share=0.0)  # such homes have expired
    drawn = replace(drawn, **rates)  # type: ignore[arg-type]  # all of them are numbers
    return replace(drawn, timed=rng.choice((0, 0, TIMED)), asks=rng.choice((0, 0, ASKS)))


TIMED = 28
"""Tasks with timeouts, where there are any."""
ASKS = 60
"""Questions of a drawn run: few, because a question makes an owner read what it had forgotten."""
FEWEST_KINDS = 7
"""Kinds of faults that are drawn: some of them may not come about."""
_MOST = {
    "loss_share": 0.01,
    "twice_share": 0.02,
    "poison_share": 0.01,
    "store_unknown_share": 0.1,
    "store_unavailable_share": 0.06,
    "crashes": 8.0,
    "freezes": 8.0,
    "expiries": 4.0,
    "session_cuts": 4.0,
    "link_cuts": 5.0,
    "snaps": 10.0,
    "outages": 2.0,
    "partitions": 4.0,
    "quorum_losses": 1.5,
    "slowdowns": 3.0,
    "clock_steps": 6.0,
}
_STORM = Profile(
    calm=False,
    tasks=506,
    schedules=2,
    archives=1,
    crashes=1.0,
    freezes=1.0,
    freeze_s=8.0,
    expiries=1.0,
    session_cuts=1.0,
    link_cuts=1.0,
    snaps=2.0,
    loss_share=0.002,
    store_unknown_share=0.01,
    store_unavailable_share=0.01,
    twice_share=0.005,
)
STORMS = {
    "late requests": replace(_STORM, expiries=30.0, loss_share=0.05, late_share=1.0),
    "long pauses": replace(_STORM, freezes=25.0, freeze_s=8.0, session_cuts=25.0),
    "late writes": replace(_STORM, store_unknown_share=0.4, store_late_s=20.0, crashes=12.0),
    "bad links": replace(_STORM, link_cuts=30.0, snaps=40.0, slow_share=0.2, slow_s=1.5),
    "moves": replace(_STORM, moves=60.0, drains=6.0, crashes=6.0, freezes=4.0, expiries=6.0),
    "shapes": replace(_STORM, partitions=20.0, quorum_losses=3.0, slowdowns=5.0),
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
