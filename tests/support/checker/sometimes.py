"""What a good run should sometimes show: else the promises were never really asked for.

Each name is a situation that a promise is about. A single run need not show any of them; many runs
together must show all.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from tests.support.checker.backfills import STOPPED
from tests.support.checker.history import History
from tests.support.checker.keys import most_at_once, spans_by_key
from tests.support.checker.records import Call, Kind, Op, Start
from tests.support.checker.schedules import LAUNCHED

CHANGES = frozenset({Call.UPDATE, Call.RESCHEDULE, Call.TERMINATE, Call.DELETE})
BEGUN = frozenset({"FAILED", "LOST", "RUNNING", "SUCCEEDED"})
SITUATIONS = (
    "a creation whose outcome nobody knew was there",
    "a creation whose outcome nobody knew was not there",
    "a creation was repeated and made one task",
    "a cancellation won against the start",
    "a cancellation came too late",
    "a cancellation named attempts in doubt",
    "an update won against the start",
    "an update came too late",
    "a move to another time won against the start",
    "a change of an old revision was refused",
    "an attempt that ran was terminated",
    "a deleted task stayed hidden",
    "a task ran again after its executor was given up",
    "an at-most-once task was lost",
    "a failed attempt was repeated",
    "a task was held up by a fault and ran after it",
    "one shard had several owners",
    "an executor was given up with work in its hands",
    "a watch outlived a fault",
    "a schedule passed over a nominal time",
    "a schedule went on after a fault",
    "a backfill was stopped before its end",
    "as many of a key as may were at work at once",
)


def shown(history: History) -> Counter[str]:
    """How often each situation came up."""
    found: Counter[str] = Counter()
    found.update(_creations(history))
    found.update(_cancellations(history))
    found.update(_changes(history))
    found.update(_runs(history))
    found.update(_cluster(history))
    found.update(_backfills_and_keys(history))
    found.update(f"told {each.cause}" for asked in history.asked for each in asked.because)
    return found


def _creations(history: History) -> Counter[str]:
    found: Counter[str] = Counter()
    ran = {start.payload for start in history.starts}
    doubted: set[str] = set()
    known: Counter[str] = Counter()
    for op in history.ops:
        if op.call is not Call.CREATE or op.wish is None:
            continue
        if op.kind is Kind.INFO:
            doubted.add(op.wish.payload)
        elif op.kind is Kind.OK:
            known[op.wish.payload] += 1
    found["a creation whose outcome nobody knew was there"] = len(doubted & ran)
    found["a creation whose outcome nobody knew was not there"] = len(doubted - ran)
    found["a creation was repeated and made one task"] = sum(n > 1 for n in known.values())
    return found


def _cancellations(history: History) -> Counter[str]:
    found: Counter[str] = Counter()
    for op in history.ops:
        if op.call is not Call.CANCEL:
            continue
        if op.kind is Kind.OK and op.seen is not None:
            found["a cancellation won against the start"] += not op.seen.tries
            found["a cancellation named attempts in doubt"] += bool(op.seen.doubts)
        elif op.reason == "TOO_LATE":
            found["a cancellation came too late"] += 1
    return found


def _changes(history: History) -> Counter[str]:
    found: Counter[str] = Counter()
    ran = {(start.task, start.version) for start in history.starts}
    gone = {task for task, last in history.final.items() if last.seen is None}
    for op in history.ops:
        if op.call not in CHANGES:
            continue
        if op.reason == "TOO_LATE":
            found["an update came too late"] += op.call is Call.UPDATE
        elif op.reason == "STALE_ETAG":
            found["a change of an old revision was refused"] += 1
        if op.kind is not Kind.OK or op.seen is None:
            continue
        found["an update won against the start"] += (op.task, op.version) in ran and (
            op.call is Call.UPDATE
        )
        begun = any(each.outcome in BEGUN for each in op.seen.tries)
        found["a move to another time won against the start"] += (
            op.call is Call.RESCHEDULE and not begun
        )
        found["an attempt that ran was terminated"] += op.call is Call.TERMINATE and bool(
            op.seen.tries
        )
        found["a deleted task stayed hidden"] += op.call is Call.DELETE and op.task in gone
    return found


def _runs(history: History) -> Counter[str]:
    found: Counter[str] = Counter()
    by_task: dict[str, list[Start]] = defaultdict(list)
    for start in history.starts:
        by_task[start.task].append(start)
    ended = {(end.task, end.attempt, end.process): end for end in history.ends}
    struck = {fault.scope for fault in history.faults if fault.gives_up}
    for starts in by_task.values():
        for earlier in starts[:-1]:
            end = ended.get((earlier.task, earlier.attempt, earlier.process))
            found["a failed attempt was repeated"] += end is not None and not end.ok
            given_up = end is None and earlier.process in struck
            found["a task ran again after its executor was given up"] += given_up
    for start in history.starts:
        open_ = (start.task, start.attempt, start.process) not in ended
        found["an executor was given up with work in its hands"] += (
            open_ and start.process in struck
        )
    for final in history.final.values():
        found["an at-most-once task was lost"] += final.seen is not None and (
            final.seen.cause == "LOST"
        )
    found["a task was held up by a fault and ran after it"] = _held_up(history, by_task)
    return found


def _held_up(history: History, by_task: dict[str, list[Start]]) -> int:
    """Tasks that were due while something was broken and began a second late or more."""
    held = 0
    for op in history.ops:
        due_us = None if op.wish is None else op.wish.due_us
        if op.call is not Call.CREATE or due_us is None or op.task not in by_task:
            continue
        first_us = min(start.at_us for start in by_task[op.task])
        held += first_us > max(due_us, op.ret_us) + 1_000_000
    return held


def _cluster(history: History) -> Counter[str]:
    found: Counter[str] = Counter()
    owners: dict[int, set[int]] = defaultdict(set)
    for claim in history.claims:
        owners[claim.shard].add(claim.epoch)
    found["one shard had several owners"] = sum(len(epochs) > 1 for epochs in owners.values())
    watched = [op for op in history.ops if op.call is Call.WATCH]
    broken = {op.task for op in watched if op.kind is Kind.FAIL}
    told = {each.task for each in history.followed if each.told}
    found["a watch outlived a fault"] = len(broken & told)
    passed = [verdict for verdict in history.verdicts if verdict.verdict != LAUNCHED]
    found["a schedule passed over a nominal time"] = len(passed)
    after = {v.schedule for v in history.verdicts if v.nominal_us > history.terms.healed_us}
    found["a schedule went on after a fault"] = len(after) if history.faults else 0
    return found


def _backfills_and_keys(history: History) -> Counter[str]:
    found: Counter[str] = Counter()
    for op in history.ops:
        shown = () if op.plan is None or op.call is not Call.STOP_BACKFILL else op.plan.backfills
        stopped = any(each.name == op.backfill and each.state == STOPPED for each in shown)
        found["a backfill was stopped before its end"] += stopped
    most = {op.wish.key: op.wish.most for op in history.ops if op.wish is not None}
    for key, spans in spans_by_key(history).items():
        full = most_at_once(spans) >= most[key] > 1
        found["as many of a key as may were at work at once"] += full
    return found


def missing(found: Counter[str]) -> list[str]:
    """Situations that never came up."""
    return [name for name in SITUATIONS if not found[name]]


def acknowledged(history: History) -> list[Op]:
    """Creations of which the client knows that they hold."""
    return [op for op in history.ops if op.call is Call.CREATE and op.kind is Kind.OK]
