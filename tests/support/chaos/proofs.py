"""Whether a kill hit its point: what the wire says is held against what others have recorded.

The wire saw rows become durable, orders or results go by. The store must have those rows, the
client's acknowledgements must lie after the kill, the executors must not have started what they
never got. Where nobody else can know, as for an assignment, the wire's word stands alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tests.support.chaos.campaign import Round
from tests.support.chaos.records import Ack, Event, Evidence
from timeball_server.core.ids import TaskId, home_of

GRAIN_MS: Final = 1
"""Two stamps of one millisecond may lie either way."""


def aimed(round_: Round) -> list[str]:
    """The tasks that the wire saw at the point."""
    tasks = round_.shot.get("tasks", [])
    return [each if isinstance(each, str) else each[0] for each in tasks]


class Proofs:
    """Says why a point was not hit; an empty text = it was, and the records of others agree."""

    def __init__(self, evidence: Evidence, acks: Mapping[str, Ack]) -> None:
        self._evidence = evidence
        self._acks = acks

    def why_not_hit(self, round_: Round) -> str:
        """Empty if the point was reached and others' records agree."""
        if round_.killed_ms is None:
            return "the point was not reached in time"
        proof = _PROOFS.get(round_.point)
        return "" if proof is None else proof(self, round_)

    def acknowledged_before(self, round_: Round) -> int:
        """Aimed tasks whose acknowledgement had reached the client before the kill."""
        killed_ms = round_.killed_ms or 0
        acks = [self._acks[task] for task in aimed(round_) if task in self._acks]
        return sum(ack.acked_ms < killed_ms for ack in acks)

    def unacknowledged(self, round_: Round) -> str:
        """Not one of the aimed creations had been acknowledged, and all are durable."""
        if self.acknowledged_before(round_):
            return "a creation had been acknowledged before the kill"
        return self._durable(round_)

    def some_unacknowledged(self, round_: Round) -> str:
        """Some of them had not."""
        if self.acknowledged_before(round_) == len(aimed(round_)):
            return "all creations had been acknowledged before the kill"
        return self._durable(round_)

    def through_leader(self, round_: Round) -> str:
        """Somebody had to ask again for a creation that was durable: its answer never came."""
        acks = [self._acks[task] for task in aimed(round_) if task in self._acks]
        if not any(ack.resends and ack.acked_ms > (round_.killed_ms or 0) for ack in acks):
            return "no answer was on its way through the leader"
        return self._durable(round_)

    def undispatched(self, round_: Round) -> str:
        """The claims are durable, and no aimed task started under the dead owner."""
        return self.unheard(round_) or self._durable(round_)

    def some_undispatched(self, round_: Round) -> str:
        """Some had not started under it."""
        if all(self._started_under(round_, task) for task in aimed(round_)):
            return "every aimed task had started"
        return self._durable(round_)

    def unheard(self, round_: Round) -> str:
        """No executor acted on the dead owner's orders."""
        started = [task for task in aimed(round_) if self._started_under(round_, task)]
        return f"started under the dead owner: {started[0]}" if started else ""

    def unreported(self, round_: Round) -> str:
        """At least one run was in the executor's hands, its end unheard of."""
        reported = set(round_.shot.get("reported", []))
        open_ = [task for task in aimed(round_) if task not in reported]
        is_open = any(self._vanished(round_, task) for task in open_)
        return "" if is_open else "all results had been reported"

    def _journal(self, task: str) -> list[Event]:
        return self._evidence.journals.get(task, [])

    def _durable(self, round_: Round) -> str:
        """The store still has every row that the wire saw acknowledged."""
        for task, epoch, kind in round_.shot.get("tasks", []):
            if not any((x.epoch, x.kind) == (epoch, kind) for x in self._journal(task)):
                return f"the store has no {kind} of {task} in epoch {epoch}"
        return ""

    def _started_under(self, round_: Round, task: str) -> bool:
        """Whether it started in the victim's epoch."""
        epoch = round_.shards.get(home_of(TaskId(task)).shard)
        return any(run.epoch == epoch for run in self._evidence.starts.get(task, []))

    def _vanished(self, round_: Round, task: str) -> bool:
        """Whether the journal has the attempt as ended with its executor."""
        after_ms = (round_.killed_ms or 0) - GRAIN_MS
        ends = (x for x in self._journal(task) if x.kind in ("RETRY", "LOST"))
        return any(x.at_ms >= after_ms for x in ends)


_PROOFS: Final[Mapping[str, Callable[[Proofs, Round], str]]] = {
    "commit-durable": Proofs.unacknowledged,
    "commit-told": Proofs.some_unacknowledged,
    "claim-durable": Proofs.undispatched,
    "claim-told": Proofs.some_undispatched,
    "order-swallowed": Proofs.unheard,
    "run-accepted": Proofs.unreported,
    "result-swallowed": Proofs.unreported,
    "leader-commit": Proofs.through_leader,
}
"""What others' records must show; of the points that are missing nobody else can know."""
