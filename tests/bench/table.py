"""What is measured, in one table: who asks for what, how fast, on which target, and what breaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.bench.arrivals import Due, Plan, evenly, in_bursts

CREATE: Final = "create"
CLUSTER_WARM_UP_S: Final = 24.0
"""A fresh Java process compiles itself for as long as that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One row.

    Attributes:
        words: what it shows, for the page.
        rates: tasks (or calls) a second by target; it is offered to these targets alone.
        parts: shares of the rate by what is asked for: `create`, or an act of calling.py.
        plan: when creations come.
        due: when created tasks may start.
        seconds: of the measured window; 0 = only the start of the target is measured.
        alone: an act that one caller repeats before the window, with nobody beside it.
        alone_s: for how long.
        stored: tasks of the coming month that are put there before.
        kills: an owner of shards is killed in the window and comes back.
        schedules: instead of all that, rate x 60 schedules of every minute: "spread" over the
            minute, or all at one "instant" of it.
    """

    name: str
    words: str
    rates: Mapping[str, float]
    parts: Mapping[str, float] = field(default_factory=lambda: {CREATE: 1.0})
    plan: Plan = evenly
    due: Due = Due.USUAL
    seconds: float = 60.0
    warm_up_s: float = 10.0
    repeat: int = 3
    alone: str = ""
    alone_s: float = 10.0
    stored: int = 0
    kills: bool = False
    schedules: str = ""

    def warm_up(self, target: str) -> float:
        """Seconds before the window, on this target."""
        is_java = target == "cluster" and self.seconds
        return max(self.warm_up_s, CLUSTER_WARM_UP_S) if is_java else self.warm_up_s


TABLE: Final = (
    Workload(
        name="ready",
        words="From the command to the first answer.",
        rates={"dev": 0.0},
        parts={},
        seconds=0.0,
        warm_up_s=0.0,
        repeat=5,
    ),
    Workload(
        name="steady",
        words="The promise as it is stated: tasks come evenly, both doors, random due times.",
        rates={"dev": 200.0, "cluster": 500.0},
    ),
    Workload(
        name="burst",
        words="The same tasks, all of five seconds within a quarter of one.",
        rates={"dev": 100.0, "cluster": 250.0},
        plan=in_bursts,
    ),
    Workload(
        name="immediate",
        words="From the call to the result in the caller's hands: one caller alone, then many.",
        rates={"dev": 50.0, "cluster": 50.0},
        parts={"submit to result": 1.0},
        alone="submit to result",
        seconds=30.0,
    ),
    Workload(
        name="create",
        words="Promises alone: tasks of the coming month, nothing runs.",
        rates={"dev": 300.0, "cluster": 300.0},
        due=Due.LATER,
        seconds=30.0,
    ),
    Workload(
        name="read",
        words="Nine calls in ten read: one task, fifty, the newest hundred.",
        rates={"dev": 100.0, "cluster": 100.0},
        parts={CREATE: 0.1, "get": 0.7, "get 50": 0.1, "list 100": 0.1},
        seconds=30.0,
        stored=2_000,
    ),
    Workload(
        name="mixed",
        words="Creating, waiting for results, reading, listing and cancelling, all at once.",
        rates={"dev": 100.0, "cluster": 150.0},
        parts={
            CREATE: 0.6,
            "submit to result": 0.1,
            "get": 0.2,
            "list 100": 0.02,
            "create and cancel": 0.08,
        },
        stored=1_000,
    ),
    Workload(
        name="fail-over",
        words="An owner of half of the shards is killed in the window and comes back after 2 s.",
        rates={"cluster": 150.0},
        kills=True,
    ),
    Workload(
        name="stored-future",
        words="The promise again, beside 20,000 tasks of the coming month.",
        rates={"dev": 150.0, "cluster": 300.0},
        stored=20_000,
    ),
    Workload(
        name="schedules-spread",
        words="Schedules of every minute, their phases spread over it: each launched, how late.",
        rates={"dev": 100.0, "cluster": 250.0},
        parts={},
        schedules="spread",
        seconds=120.0,
        warm_up_s=0.0,
        repeat=1,
    ),
    Workload(
        name="schedules-instant",
        words="Schedules of every minute, all at its begin: how fast they are through.",
        rates={"dev": 50.0, "cluster": 100.0},
        parts={},
        schedules="instant",
        seconds=120.0,
        warm_up_s=0.0,
        repeat=1,
    ),
)
BY_NAME: Final = {each.name: each for each in TABLE}
