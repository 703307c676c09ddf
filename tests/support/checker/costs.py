"""What work costs: in a run in which nothing is broken or moved, no more than it must (I20).

Counts only. What is asked of the store for a task, and what is said to executors about it, follows
from what users did and from what ran; who reads, writes or says anything twice, or for nothing,
breaks no other promise, and the cluster is slower by that for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.support.checker.history import History
from tests.support.checker.records import OF_SCHEDULES, Call, Kind
from tests.support.checker.tasks import LOOKS
from tests.support.checker.verdicts import Promise, Violation

UNCHANGING = LOOKS | OF_SCHEDULES | {Call.CREATE}
"""What is no change of a task."""


@dataclass(frozen=True, slots=True)
class Work:
    """What was done in a run.

    Attributes:
        made: creations of tasks, their repetitions included; `changes` are those that hold.
        asked: operations on tasks but creations, and questions why they do not run; `plans` are
            those on schedules, creations too.
        runs: of handlers; `nominal` are those that schedules made, `cut` those made to end.
        verdicts: of schedules: rows of their ledgers.
        minutes: of virtual time, begun ones too.
    """

    made: int
    changes: int
    asked: int
    plans: int
    runs: int
    nominal: int
    cut: int
    verdicts: int
    minutes: int


SHARDS = 4
"""Of a simulated cluster, which has two coordinators, two scheduler nodes and three executors."""
OWNERS = 2
EXECUTORS = 3
STREAMS = OWNERS * EXECUTORS
TAKEN = SHARDS + 2
"""Shards are taken so often: all by the owner that comes first, and half of them by the other."""
SPARE = 10
"""Of anything, for how the cluster finds itself."""
BOUNDS: dict[str, Callable[[Work], float]] = {
    "append": lambda w: (
        w.made + w.changes + 2 * w.runs + w.nominal / 2 + w.verdicts + 3 * w.plans + 2 * SPARE
    ),
    "read_journals": lambda w: w.asked + 2 * w.plans + 0.05 * w.made + 0.1 * w.runs + SPARE,
    "read_heads": lambda w: 10 * w.plans + 0.1 * w.nominal + SHARDS * w.minutes + SPARE,
    "read_bucket_journals": lambda w: 0.3 * w.made + SHARDS * w.minutes + SPARE,
    "read_due": lambda w: 11 * SHARDS * w.minutes + SPARE,
    "read_layout": lambda w: 70 * w.minutes,
    "raise_epoch": lambda w: TAKEN,
    "move_scan_from": lambda w: SHARDS * (w.minutes + 1),  # from before the first, one by one
    "move_deleted_below": lambda w: 2 * SHARDS * w.minutes,
    "delete_bucket": lambda w: 5 * SHARDS * w.minutes,
    "write_owner": lambda w: TAKEN + 3 * SHARDS * w.minutes,
    "bind_name": lambda w: 0,
    "find_journal": lambda w: 0.05 * w.made,
    "CreateTask": lambda w: w.made,
    "ReadTask": lambda w: w.asked + w.plans,
    "Fence": lambda w: STREAMS + TAKEN * EXECUTORS,
    "Inventory": lambda w: STREAMS + TAKEN * EXECUTORS,
    "Dispatch": lambda w: 1.02 * w.runs,  # two owners may send to the last slot of an executor
    "Started": lambda w: w.runs,
    "Finished": lambda w: w.runs,
    "AckResults": lambda w: w.runs,
    "Capacity": lambda w: 4 * w.runs + 2 * SPARE,
    "CancelRun": lambda w: w.changes + w.plans + w.cut,
}
"""The most of each, by what was done. All are met with little to spare by a sound product."""


def costs(history: History) -> Iterator[Violation]:
    """Nothing was done oftener than the work of the run asks for.

    What nobody can read is read again and again, and of executors that come and go, or take little,
    some refuse what they are sent. What is asked at the corners of the API is not counted, and
    of small parts there are many to look into.
    """
    usual = len(history.serving) <= EXECUTORS and not history.terms.part_tasks
    usual = usual and not (history.foreign_rows or history.dealt)
    if not (history.terms.still and usual):
        return
    work = _work(history)
    for what, most in BOUNDS.items():
        times = history.spent.get(what, 0)
        if times > most(work):
            text = f"{what} {times} times, {most(work):.0f} at most for {work}"
            yield Violation(Promise.THRIFT, "run", text)


def shares(history: History) -> Iterator[Violation]:
    """Of two owners, both of whom are there at last, each has half of the shards."""
    if not (history.terms.calm and history.terms.unbound):
        return
    last = {claim.shard: claim.owner for claim in history.claims}
    for owner, count in Counter(last.values()).items():
        if count > SHARDS // OWNERS:
            text = f"has {count} of {SHARDS} shards, and there is another owner"
            yield Violation(Promise.THRIFT, owner, text)


def _work(history: History) -> Work:
    made = [op for op in history.ops if op.call is Call.CREATE]
    plans = [op for op in history.ops if op.call in OF_SCHEDULES]
    asked = len(history.ops) - len(made) - len(plans)
    changes = [op for op in history.ops if op.kind is not Kind.FAIL and op.call not in UNCHANGING]
    return Work(
        made=len(made),
        changes=len(changes),
        asked=asked + len(history.asked),
        plans=len(plans),
        runs=len(history.starts),
        nominal=sum(start.nominal_us is not None for start in history.starts),
        cut=len(history.left),
        verdicts=sum(verdict.times for verdict in history.verdicts),
        minutes=history.terms.read_us // 60_000_000 + 1,
    )
