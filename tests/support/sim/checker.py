"""Judges one run from outside: history of operations, sink, wire and final reads only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.support.sim.history import NEVER_US, End, History, Kind, Op, Start, Wish
from tests.support.sim.profile import Profile
from tests.support.virtual_loop import START_WALL_MS
from timeball_server.core.model import DeliveryMode, PublicState, TaskView

CALM_LATENESS_MS = 200
"""What planned moves may cost; nothing else goes wrong in a calm run."""
FEWEST_TASKS = 60
FEWEST_FAULTS = 5
FEWEST_CLASSES = 2
_ENDED = frozenset(
    {PublicState.SUCCEEDED, PublicState.FAILED, PublicState.CANCELLED, PublicState.TERMINATED}
)
_CANCELLED = frozenset({PublicState.CANCELLED, PublicState.TERMINATED})


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: its name, the task, and what was seen."""

    invariant: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.subject}: {self.text}"


def judge(history: History, profile: Profile) -> list[Violation]:
    """All violations of one run."""
    case = _Case(history, profile)
    return [
        *case.problems(),
        *case.tasks(),
        *case.owners(),
        *case.reads(),
        *case.ends(),
        *case.requests(),
    ]


def vacuous(history: History, profile: Profile) -> str:
    """Why the run proves little, empty if it does prove something."""
    acknowledged = sum(1 for op in history.ops if op.name == "create" and op.kind is Kind.OK)
    if acknowledged < FEWEST_TASKS:
        return f"only {acknowledged} acknowledged tasks"
    if profile.calm:
        return ""
    if history.faults.total() < FEWEST_FAULTS or len(history.faults) < FEWEST_CLASSES:
        return f"only {history.faults.total()} faults of {len(history.faults)} kinds"
    return ""


class _Case:
    def __init__(self, history: History, profile: Profile) -> None:
        self._history = history
        self._profile = profile
        self._starts: dict[str, list[Start]] = defaultdict(list)
        for start in history.starts:
            self._starts[start.task_id].append(start)
        self._ends = {(end.task_id, end.attempt, end.process): end for end in history.ends}
        self._ops: dict[str, list[Op]] = defaultdict(list)
        for op in history.ops:
            if op.task_id:
                self._ops[op.task_id].append(op)

    def problems(self) -> Iterator[Violation]:
        """What must never happen, whatever the faults were."""
        for text in self._history.problems:
            yield Violation("sanity", "run", text)

    def tasks(self) -> Iterator[Violation]:
        """Every task by itself."""
        created: dict[str, Wish] = {}
        for op in self._history.ops:
            if op.name == "create" and op.kind is Kind.OK and op.wish is not None:
                created.setdefault(op.task_id, op.wish)
        for task_id, wish in created.items():
            yield from self._task(task_id, wish)
        yield from self._unknown_starts(created)

    def _task(self, task_id: str, wish: Wish) -> Iterator[Violation]:
        starts = self._starts.get(task_id, [])
        final = self._history.final.get(task_id)
        view = None if final is None or final.kind is not Kind.OK else final.view
        yield from self._early(task_id, wish, starts)
        yield from self._cancelled(task_id, starts)
        yield from self._doubled(task_id, starts)
        if wish.mode is DeliveryMode.AT_MOST_ONCE:
            yield from self._at_most_once(task_id, starts)
        if view is None:
            reason = "never read" if final is None else final.reason
            yield Violation("durable", task_id, f"acknowledged but the last read says {reason}")
            return
        if view.state not in _ENDED:
            yield Violation("live", task_id, f"still {view.state} after the quiet period")
            return
        yield from self._ended(task_id, wish, view, starts)
        if self._profile.calm:
            yield from self._calm(task_id, view, starts)

    def _doubled(self, task_id: str, starts: Sequence[Start]) -> Iterator[Violation]:
        """No attempt begins twice; a further one has a failed or broken one as its cause."""
        for number, start in enumerate(starts):
            for earlier in starts[:number]:
                same_life = earlier.incarnation == start.incarnation
                if earlier.attempt == start.attempt and same_life:
                    text = f"attempt {start.attempt} began twice on {start.process}"
                    yield Violation("duplicates", task_id, text)
                elif earlier.attempt == start.attempt:
                    text = f"attempt {start.attempt} began on {earlier.process}, {start.process}"
                    yield Violation("duplicates", task_id, text)
                elif not self._has_cause(earlier, start):
                    text = f"attempt {start.attempt} began though {earlier.attempt} was well"
                    yield Violation("duplicates", task_id, text)

    def _has_cause(self, earlier: Start, start: Start) -> bool:
        """Whether the earlier attempt failed, or the executor of the lower one was struck."""
        end = self._end_of(earlier)
        if end is not None and not end.succeeded and end.at_us <= start.at_us:
            return True
        given_up = min(earlier, start, key=lambda each: each.attempt)
        return self._history.struck.get(given_up.process, NEVER_US) <= start.at_us

    def _at_most_once(self, task_id: str, starts: Sequence[Start]) -> Iterator[Violation]:
        """No second start, whatever became of the first one."""
        if len(starts) > 1:
            text = ", ".join(f"{each.attempt} on {each.process}" for each in starts)
            yield Violation("at most once", task_id, f"attempts that began: {text}")

    def _ended(
        self, task_id: str, wish: Wish, view: TaskView, starts: Sequence[Start]
    ) -> Iterator[Violation]:
        good = [s for s in starts if self._succeeded(s)]
        if view.state is PublicState.SUCCEEDED and not good:
            yield Violation("status truth", task_id, "SUCCEEDED but no attempt ended well")
        if view.state in _CANCELLED:
            asked = any(op.name == "cancel" for op in self._ops[task_id])
            if not asked:
                yield Violation("status truth", task_id, "CANCELLED but nobody asked")
        if view.state is PublicState.FAILED:
            yield from self._failed(task_id, wish, view)
        if wish.mode is DeliveryMode.AT_MOST_ONCE and len(good) > 1:
            yield Violation("at most once", task_id, f"succeeded {len(good)} times")

    def _failed(self, task_id: str, wish: Wish, view: TaskView) -> Iterator[Violation]:
        cause = str(view.cause)
        counted = [a for a in view.attempts if a.outcome in ("FAILED", "LOST")]
        most = 1 if wish.mode is DeliveryMode.AT_MOST_ONCE else wish.max_attempts
        if cause == "EXHAUSTED" and len(counted) < most:
            text = f"EXHAUSTED after {len(counted)} of {most} attempts"
            yield Violation("at least once", task_id, text)
        if cause == "LOST" and wish.mode is DeliveryMode.AT_LEAST_ONCE:
            yield Violation("at least once", task_id, "LOST although at-least-once")

    def _early(self, task_id: str, wish: Wish, starts: Sequence[Start]) -> Iterator[Violation]:
        due_ms, bound_ms = wish.due_ms, self._profile.skew_ms
        if due_ms is None:
            # One owner adds the delay to its own now, another one may see the instant come.
            bound_ms *= 2
            invoked = [op.inv_us for op in self._ops[task_id] if op.name == "create"]
            due_ms = START_WALL_MS + min(invoked) // 1_000 + wish.delay_ms
        for start in starts:
            if start.wall_ms < due_ms - bound_ms:
                text = f"attempt {start.attempt} began {due_ms - start.wall_ms} ms early"
                yield Violation("never early", task_id, text)

    def _cancelled(self, task_id: str, starts: Sequence[Start]) -> Iterator[Violation]:
        for op in self._ops[task_id]:
            if op.name != "cancel" or op.kind is not Kind.OK or op.view is None:
                continue
            doubts = op.view.unaccounted
            for start in starts:
                excused = any(text.startswith(f"attempt {start.attempt} ") for text in doubts)
                if start.at_us > op.ret_us and not excused:
                    text = f"attempt {start.attempt} began after the acknowledged cancel"
                    yield Violation("cancel", task_id, text)

    def _unknown_starts(self, created: dict[str, Wish]) -> Iterator[Violation]:
        """Creates that certainly failed must not run; nothing runs that nobody asked for."""
        doubtful = any(op.name == "create" and op.kind is Kind.INFO for op in self._history.ops)
        if not doubtful:
            for task_id in self._starts:
                if task_id not in created:
                    yield Violation("durable", task_id, "ran, but its creation failed")

    def _calm(self, task_id: str, view: TaskView, starts: Sequence[Start]) -> Iterator[Violation]:
        """Without faults: every attempt once, and in time."""
        for attempt, count in Counter(start.attempt for start in starts).items():
            if count > 1:
                text = f"attempt {attempt} began {count} times without any fault"
                yield Violation("no duplicates", task_id, text)
        for attempt_view in view.attempts:
            late = attempt_view.lateness_ms
            if late is not None and late > CALM_LATENESS_MS:
                text = f"attempt {attempt_view.number} began {late} ms late without any fault"
                yield Violation("punctual", task_id, text)

    def _succeeded(self, start: Start) -> bool:
        end = self._end_of(start)
        return end is not None and end.succeeded

    def _end_of(self, start: Start) -> End | None:
        return self._ends.get((start.task_id, start.attempt, start.process))

    # Owners -------------------------------------------------------------------------------------

    def owners(self) -> Iterator[Violation]:
        """One accepted owner per epoch, and epochs grow where they are accepted."""
        owner: dict[tuple[int, int], str] = {}
        for shard, epoch, process in self._history.owners:
            first = owner.setdefault((shard, epoch), process)
            if first != process:
                text = f"epoch {epoch} was published by {first} and {process}"
                yield Violation("one owner", f"shard {shard}", text)
        shards: dict[str, int] = {}
        for sent in self._history.sent:
            shards[sent.task_id] = sent.shard
            if owner.get((sent.shard, sent.epoch)) != sent.process:
                text = f"{sent.process} dispatched in epoch {sent.epoch} that is not its own"
                yield Violation("one owner", f"shard {sent.shard}", text)
        yield from self._accepted_epochs(shards)

    def _accepted_epochs(self, shards: dict[str, int]) -> Iterator[Violation]:
        highest: dict[tuple[int, int], int] = {}
        for start in self._history.starts:
            key = (start.incarnation, shards.get(start.task_id, -1))
            if start.epoch < highest.get(key, 0):
                text = f"{start.process} began a run of epoch {start.epoch} after a higher one"
                yield Violation("one owner", start.task_id, text)
            highest[key] = max(start.epoch, highest.get(key, 0))

    # Reads --------------------------------------------------------------------------------------

    def reads(self) -> Iterator[Violation]:
        """What one read showed, no later read may take back."""
        for task_id, ops in self._ops.items():
            shown = [op for op in ops if op.kind is Kind.OK and op.view is not None]
            final = self._history.final.get(task_id)
            if final is not None and final.view is not None:
                shown.append(final)
            yield from self._backwards(task_id, shown)

    def _backwards(self, task_id: str, shown: Sequence[Op]) -> Iterator[Violation]:
        """Each answer against the furthest one that had been given before it was asked."""
        by_answer = sorted(shown, key=lambda op: op.ret_us)
        for op in sorted(shown, key=lambda op: op.inv_us):
            before = [other for other in by_answer if other.ret_us < op.inv_us]
            if not before or op.view is None:
                continue
            furthest = max(before, key=lambda other: _place(other.view))
            if _contradicts(furthest.view, op.view):
                text = f"{_said(furthest)} and later {_said(op)}"
                yield Violation("reads", task_id, text)

    def ends(self) -> Iterator[Violation]:
        """Whoever watches a task is told its end, wherever the shard and the caller went."""
        for task_id, is_over in self._history.followed.items():
            if not is_over:
                yield Violation("watch", task_id, "watched, and its end was never told")

    def requests(self) -> Iterator[Violation]:
        """One request, one task."""
        known: dict[bytes, str] = {}
        for op in self._history.ops:
            if op.wish is not None and op.kind is Kind.OK:
                first = known.setdefault(op.wish.request_id, op.task_id)
                if first != op.task_id:
                    text = f"one request made {first} and {op.task_id}"
                    yield Violation("idempotence", op.task_id, text)


def _place(view: TaskView | None) -> tuple[bool, int, int]:
    """How far a task had come: ended or not, then its newest accepted event."""
    if view is None or not view.journal:
        return (False, 0, 0)
    accepted = [event for event in view.journal if event.kind]
    last = accepted[-1]
    return (view.state in _ENDED, last.epoch, last.seq)


def _contradicts(earlier: TaskView | None, later: TaskView) -> bool:
    if earlier is None:
        return False
    if earlier.state in _ENDED:
        return later.state is not earlier.state
    return later.state not in _ENDED and _place(later) < _place(earlier)


def _said(op: Op) -> str:
    state = "nothing" if op.view is None else f"{op.view.state} {_place(op.view)[1:]}"
    return f"{op.name} of {op.client} at {op.ret_us} us said {state}"
