"""Backfills: each nominal time of a range once more, until somebody says stop (I6).

What they launch has ids of its own and no verdict, so it is judged by nominal times: those of the
range by an oracle of the judge's own, each as often as there are backfills that were asked for it.
Their ranges end before their schedule was made, so no tick is of a nominal time like theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.checker.records import Call, Kind, Op, Rhythm, SeenBackfill, Start, Terms
from tests.support.checker.verdicts import Promise, Violation

RUNNING, STOPPED = "RUNNING", "STOPPED"


@dataclass(slots=True)
class Filled:
    """What was asked of one schedule's past, what answers said, and what ran of it.

    Attributes:
        loses: a run may be lost before it begins: at most once, and something was broken.
        asked: every operation on the schedule, its creation and its end included.
        starts: what began of nominal times before the schedule was there.
    """

    schedule: str
    rhythm: Rhythm
    terms: Terms
    loses: bool = False
    asked: list[Op] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)

    def broken(self, text: str, promise: Promise = Promise.SCHEDULE) -> Violation:
        """A violation of this schedule's."""
        return Violation(promise, self.schedule, text)

    def judge(self, times: dict[str, list[int]]) -> Iterator[Violation]:
        """All that is wrong. `times` are the nominal times of each backfill's range."""
        yield from self._runs(times)
        yield from self._backwards()
        yield from self._at_last()

    @property
    def begun(self) -> list[Op]:
        """Backfills that there are, or may be."""
        return [op for op in self.asked if op.call is Call.BACKFILL and op.kind is not Kind.FAIL]

    def _may_be_stopped(self, name: str) -> bool:
        stops = (op for op in self.asked if op.call is Call.STOP_BACKFILL)
        return any(op.backfill == name and op.kind is not Kind.FAIL for op in stops)

    def _runs(self, times: dict[str, list[int]]) -> Iterator[Violation]:
        tasks = {start.task: start.nominal_us for start in self.starts}
        ran = Counter(tasks.values())
        may = Counter(at_us for op in self.begun for at_us in times[op.backfill])
        sure = [
            op for op in self.begun if op.kind is Kind.OK and not self._may_be_stopped(op.backfill)
        ]
        must = Counter(at_us for op in sure for at_us in times[op.backfill])
        for at_us, count in ran.items():
            if at_us is None or count > may[at_us]:
                yield self.broken(f"{count} runs of {at_us} once more, {may[at_us or 0]} may be")
        for at_us, count in must.items():
            if ran[at_us] < count and not self.loses:
                text = f"{ran[at_us]} runs of {at_us} once more, {count} were asked for"
                yield self.broken(text, Promise.LIVE)

    def _looks(self) -> list[Op]:
        """Answers that show what lives; an end forgets backfills."""
        return [
            op
            for op in self.asked
            if op.kind is Kind.OK and op.plan is not None and not op.plan.ended
        ]

    def _backwards(self) -> Iterator[Violation]:
        """No answer takes back what was shown before it was asked for."""
        shown: list[tuple[int, Op]] = sorted(
            ((op.ret_us, op) for op in self._looks()), key=lambda each: each[0]
        )
        for op in self._looks():
            later = _by_name(op)
            for answered_us, earlier in shown:
                if answered_us >= op.inv_us:
                    break
                for name, before in _by_name(earlier).items():
                    if name not in later or _contradicts(before, later[name]):
                        text = f"{before} at {answered_us} and later {later.get(name)}"
                        yield self.broken(text, Promise.TRUTH)

    def _at_last(self) -> Iterator[Violation]:
        """The last answer: everything is over, by itself or by somebody's wish, and all is told."""
        looks = [op for op in self._looks() if op.call is Call.GET_SCHEDULE]
        for op in self.asked:
            said = _by_name(op).get(op.backfill)
            if op.call is Call.STOP_BACKFILL and said is not None and said.state == RUNNING:
                yield self.broken(f"{op.backfill} still runs in the answer that it is stopped")
        if not looks or looks[-1].inv_us < self.terms.healed_us + (self.terms.recover_us or 0):
            return
        last = _by_name(looks[-1])
        for name, said in last.items():
            if said.state == RUNNING:
                yield self.broken(f"{name} runs for ever", Promise.LIVE)
            elif said.state == STOPPED and not self._may_be_stopped(name):
                yield self.broken(f"{name} is stopped, but nobody asked", Promise.TRUTH)
        for op in self.begun:
            if op.kind is Kind.OK and op.backfill not in last:
                yield self.broken(f"{op.backfill} is not there", Promise.DURABLE)
        told = sum(said.launched for said in last.values())
        ran = len({start.task for start in self.starts})
        if told < ran or (told > ran and not self.loses):
            yield self.broken(f"{ran} runs of backfills, {told} are told of", Promise.TRUTH)


def _by_name(op: Op) -> dict[str, SeenBackfill]:
    return {} if op.plan is None else {each.name: each for each in op.plan.backfills}


def _contradicts(before: SeenBackfill, after: SeenBackfill) -> bool:
    if before.state != RUNNING:
        return before != after
    return after.launched < before.launched
