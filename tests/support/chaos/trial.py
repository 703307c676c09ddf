"""The judge of aimed kills: what was promised, what happened, and why. Pure: records in, words out.

Every second start needs a cause from a closed list, and the records must show all of it: the claim
of the first attempt names the process that was killed, by its incarnation; the kill lies between
the two starts; the journal has the attempt as failed after the kill, and a later claim for the
later attempt. The death of a scheduler node or a leader is no cause.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

from tests.support.chaos.campaign import Round
from tests.support.chaos.proofs import GRAIN_MS, Proofs, aimed
from tests.support.chaos.records import CLAIMED, FINAL, Ack, Event, Evidence, head_of
from tests.support.chaos.tasks import ONCE_EVERY
from tests.support.start_logs import Start
from timeball_server.core.ids import TaskId, home_of

AFTER_MS: Final = 10_000
"""A shard that had nothing to do may start its first task so long after all was whole."""


class Cause(StrEnum):
    """Why a task may start again, or may end as LOST if it must not."""

    EXECUTOR_KILLED_BEFORE_ITS_RESULT = "EXECUTOR_KILLED_BEFORE_ITS_RESULT"
    EXECUTOR_KILLED_AS_ITS_RESULT_LEFT = "EXECUTOR_KILLED_AS_ITS_RESULT_LEFT"
    EXECUTOR_LOST_ITS_SESSION = "EXECUTOR_LOST_ITS_SESSION"


@dataclass(frozen=True, slots=True)
class Excuse:
    """A cause, and the round whose kill it was; where nobody was killed, the round of then."""

    cause: Cause
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is known of one round, in figures; `problems` are broken promises.

    `refused` counts tasks whose caller gave up after 30 s of repetitions: seen, never promised.
    """

    number: int
    point: str
    victim: str
    hit: str
    """Empty = the point was reached, and the records of others agree; otherwise why not."""
    killed_ms: int | None
    aimed_tasks: int
    acknowledged_before: int
    """Of the aimed tasks, those whose acknowledgement had arrived before the kill."""
    acknowledged: int
    resent: int
    refused: int
    lost: int
    early: int
    started_twice: Mapping[str, int]
    started_twice_without_cause: int
    once_twice: int
    once_lost: Mapping[str, int]
    failover_ms: tuple[int, ...]
    latest_ms: int
    slowest_ack_ms: int
    calm: bool
    problems: tuple[str, ...]


class Trial:
    """Over the rounds of one evidence.

    Tasks belong to the round in which they were asked for, second starts to the one whose kill
    they followed from.
    """

    def __init__(self, rounds: Sequence[Round], evidence: Evidence) -> None:
        self._rounds = rounds
        self._evidence = evidence
        self._by_task = {ack.task_id: ack for ack in evidence.acks}
        self._proofs = Proofs(evidence, self._by_task)
        for runs in evidence.starts.values():
            runs.sort(key=lambda start: (start.started_ms, start.attempt))
        more = {task: runs for task, runs in evidence.starts.items() if len(runs) > 1}
        self._again = {task: self._excuse_of(runs) for task, runs in more.items()}
        self._once = {ack.task_id for ack in evidence.acks if ack.once}
        for number, tasks in evidence.numbers.items():
            self._once.update(tasks if number % ONCE_EVERY == 0 else ())
        lost = (task for task in self._once if self._state(task) == "LOST")
        self._once_lost = {task: self._lost_excuse(task) for task in lost}

    def findings(self) -> list[Finding]:
        """One for each round; what belongs to none of them is in the first one's."""
        problems = self._general_problems()
        found = []
        for position in range(len(self._rounds)):
            acks = [ack for ack in self._evidence.acks if self._place(ack.asked_ms) == position]
            tasks = {ack.task_id for ack in acks}
            unasked = {
                task
                for task, runs in self._evidence.starts.items()
                if task not in self._by_task and self._place(runs[0].started_ms) == position
            }
            found.append(self._finding(position, acks, tasks | unasked, problems))
            problems = []
        return found

    def _place(self, at_ms: int) -> int:
        """The last round that had begun then."""
        begun = [at for at, round_ in enumerate(self._rounds) if round_.began_ms <= at_ms]
        return begun[-1] if begun else 0

    def _refused(self, position: int) -> list[str]:
        refused = ((int(each.partition(" ")[0]), each) for each in self._evidence.refused)
        return [each for at_ms, each in refused if self._place(at_ms) == position]

    def _general_problems(self) -> list[str]:
        evidence = self._evidence
        started = {(run.task_id, run.attempt) for runs in evidence.starts.values() for run in runs}
        doubled = [str(each) for each, times in evidence.sunk.items() if times > 1]
        unstarted = [str(each) for each in evidence.sunk if each not in started]
        made_twice = [str(tasks) for tasks in evidence.numbers.values() if len(tasks) > 1]
        return [
            *(f"one attempt worked twice: {each}" for each in doubled),
            *(f"worked, but no executor says that it started it: {each}" for each in unstarted),
            *(f"one request, two tasks: {each}" for each in made_twice),
        ]

    def _finding(
        self, position: int, acks: Sequence[Ack], tasks: set[str], problems: Sequence[str]
    ) -> Finding:
        round_ = self._rounds[position]
        runs_of = {task: self._evidence.starts.get(task, []) for task in tasks}
        lost = {ack.task_id: why for ack in acks if (why := self._lost(ack))}
        early = [x for runs in runs_of.values() for x in runs if x.started_ms < x.due_ms]
        refused = self._refused(position)
        causeless = [task for task in tasks & self._again.keys() if self._again[task] is None]
        twice = tasks & self._once & self._again.keys()
        missing = [t for t in tasks & self._once_lost.keys() if self._once_lost[t] is None]
        checks: list[tuple[str, Iterable[str]]] = [
            ("acknowledged and lost", (f"{why}: {self._words(t)}" for t, why in lost.items())),
            ("started again without cause", map(self._words, causeless)),
            ("at most once, started twice", map(self._words, twice)),
            ("at most once, LOST without cause", map(self._words, missing)),
            ("early", map(str, early)),
            ("succeeded without a trace in the sink", filter(self._is_traceless, tasks)),
            ("not right again", filter(None, [round_.stuck])),
        ]
        said = [*problems, *(f"{name}: {each}" for name, found in checks for each in found)]
        return Finding(
            number=round_.number,
            point=round_.point,
            victim=round_.victim,
            hit=self._proofs.why_not_hit(round_),
            killed_ms=round_.killed_ms,
            aimed_tasks=len(aimed(round_)),
            acknowledged_before=self._proofs.acknowledged_before(round_),
            acknowledged=len(acks),
            resent=sum(ack.resends > 0 for ack in acks),
            refused=len(refused),
            lost=len(lost),
            early=len(early),
            started_twice=_counted(self._again.values(), position),
            started_twice_without_cause=len(causeless),
            once_twice=len(twice),
            once_lost=_counted(self._once_lost.values(), position),
            failover_ms=self._failover_ms(round_),
            latest_ms=max(
                (r[0].started_ms - r[0].due_ms for r in runs_of.values() if r), default=0
            ),
            slowest_ack_ms=max((ack.acked_ms - ack.asked_ms for ack in acks), default=0),
            calm=round_.calm,
            problems=tuple(said),
        )

    # Single tasks -------------------------------------------------------------------------------

    def _journal(self, task: str) -> list[Event]:
        return self._evidence.journals.get(task, [])

    def _state(self, task: str) -> str:
        head = head_of(self._journal(task))
        return "" if head is None else head.state

    def _lost(self, ack: Ack) -> str:
        """Why an acknowledged task counts as lost; empty if it does not."""
        state = self._state(ack.task_id)
        if state not in FINAL:
            return f"its end is {state or 'nowhere'}"
        if ack.task_id not in self._evidence.starts and state != "LOST":
            return "never started"
        return ""

    def _is_traceless(self, task: str) -> bool:
        done = [event for event in self._journal(task) if event.kind == "SUCCEEDED"]
        return any(self._evidence.sunk[task, event.attempt] == 0 for event in done)

    def _excuse_of(self, runs: Sequence[Start]) -> Excuse | None:
        """The excuse of the last of several starts, None unless every one of them has one."""
        excuses = [self._excuse(one, other) for one, other in pairwise(runs)]
        return None if None in excuses else excuses[-1]

    def _excuse(self, one: Start, other: Start) -> Excuse | None:
        """Why there is another start after this one."""
        journal = self._journal(one.task_id)
        claim = _claim(journal, one.attempt, one.executor)
        again = _claim(journal, other.attempt, other.executor)
        failed = [x for x in journal if x.kind == "RETRY" and x.attempt == one.attempt]
        if claim is None or again is None or not failed or other.attempt <= one.attempt:
            return None
        if again.incarnation == claim.incarnation:
            return None
        return self._end_of(claim, one.started_ms, min(failed[0].at_ms, other.started_ms))

    def _lost_excuse(self, task: str) -> Excuse | None:
        """Why an at-most-once task ended as LOST."""
        lost = next((x for x in self._journal(task) if x.kind == "LOST"), None)
        claims = [x for x in self._journal(task) if x.kind in CLAIMED]
        claim = head_of(claims)
        if lost is None or claim is None:
            return None
        runs = self._evidence.starts.get(task, [])
        return self._end_of(claim, runs[0].started_ms if runs else None, lost.at_ms)

    def _end_of(self, claim: Event, from_ms: int | None, to_ms: int) -> Excuse | None:
        """How the process ended that a claim names, between a start, if there was one, and then."""
        for position, round_ in enumerate(self._rounds):
            at_ms = round_.killed_ms
            if at_ms is None or (round_.victim, round_.incarnation) != (
                claim.executor,
                claim.incarnation,
            ):
                continue
            if _lies(at_ms, from_ms, to_ms):
                result_left = round_.point == "result-swallowed"
                if result_left and claim.task_id in aimed(round_):
                    return Excuse(Cause.EXECUTOR_KILLED_AS_ITS_RESULT_LEFT, position)
                return Excuse(Cause.EXECUTOR_KILLED_BEFORE_ITS_RESULT, position)
        for loss in self._evidence.losses:
            if loss.executor == claim.executor and _lies(loss.at_ms, from_ms, to_ms):
                return Excuse(Cause.EXECUTOR_LOST_ITS_SESSION, self._place(loss.at_ms))
        return None

    def _words(self, task: str) -> str:
        """Everything about a task, for the report of a problem."""
        journal = [
            f"{x.kind}@{x.epoch} attempt {x.attempt} {x.executor} {x.incarnation} at {x.at_ms}"
            for x in reversed(self._journal(task))
        ]
        runs = [
            f"attempt {x.attempt} on {x.executor} epoch {x.epoch} at {x.started_ms}"
            for x in self._evidence.starts.get(task, [])
        ]
        return f"{task} {self._by_task.get(task)} starts {runs} journal {journal}"

    # Single rounds ------------------------------------------------------------------------------

    def _failover_ms(self, round_: Round) -> tuple[int, ...]:
        """From the kill to the next owner's first start, for each shard of the victim.

        A shard that a planned move had taken from it by then is none of them.
        """
        first: dict[int, int] = {}
        moved: set[int] = set()
        until_ms = round_.ended_ms + AFTER_MS
        killed_ms = round_.killed_ms
        if killed_ms is None or not round_.shards:
            return ()
        for task, runs in self._evidence.starts.items():
            if runs[-1].started_ms < round_.began_ms or runs[0].started_ms > until_ms:
                continue
            shard = home_of(TaskId(task)).shard
            for run in runs:
                if run.epoch <= round_.shards.get(shard, run.epoch):
                    continue
                took_ms = run.started_ms - killed_ms
                first[shard] = min(first.get(shard, took_ms), took_ms)
                if took_ms <= 0:
                    moved.add(shard)
        return tuple(sorted(took for shard, took in first.items() if shard not in moved))


def _claim(journal: Iterable[Event], attempt: int, executor: str) -> Event | None:
    """The claim of an attempt that names this executor."""
    named = (x for x in journal if x.kind in CLAIMED and x.attempt == attempt)
    return next((x for x in named if x.executor == executor), None)


def _lies(at_ms: int, from_ms: int | None, to_ms: int) -> bool:
    return (from_ms is None or from_ms <= at_ms + GRAIN_MS) and at_ms <= to_ms + GRAIN_MS


def _counted(excuses: Iterable[Excuse | None], position: int) -> Mapping[str, int]:
    mine = (each for each in excuses if each is not None and each.position == position)
    return dict(Counter(each.cause.value for each in mine))
