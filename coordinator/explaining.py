"""Why a task is not running: what the journal says of an ended one, what the owner says of others.

Where nobody answers for the shard, that is the reason, and an answer as well. Must never show a
task: who may not read it is told that there is none.
"""

from __future__ import annotations

from typing import Final

from timeball.errors import Internal, StoreUnavailable, TimeballError, Unavailable

from coordinator.deadline import Deadline
from coordinator.outcomes import view_or_error
from coordinator.owner_calls import OwnerCalls
from coordinator.read_rule import Verdict
from coordinator.reader import Look, Reader
from timeball_server.core.commands import Explained, ExplainTask
from timeball_server.core.explanation import BlockingCause, Explanation, Reason, ended
from timeball_server.core.ids import TaskId, home_of
from timeball_server.core.model import PublicState, TaskView
from timeball_server.ports.clock import Clock

OWNER_PATIENCE_MS: Final = 2_000
"""How long an owner is looked for before its absence is the answer; a hand-over is quicker."""


class Explainer:
    """Answers why a task is not running."""

    def __init__(self, reader: Reader, calls: OwnerCalls, clock: Clock) -> None:
        self._reader = reader
        self._calls = calls
        self._clock = clock

    async def explain(self, task_id: TaskId, namespace: str, deadline: Deadline) -> Explanation:
        """What holds the task back now.

        Raises:
            TaskNotFound, TaskExpired: there is no such task in this namespace.
            Unavailable: neither the store nor an owner could be asked whether there is one.
        """
        known = self._reader.ended.find(task_id, namespace)
        look = None if known else await self._look(task_id, namespace)
        if look is not None and look.verdict is Verdict.ANSWER and look.view is not None:
            self._reader.ended.keep(look.view)
            known = look.view
        if known is not None:
            return self._told(task_id, ended(known))
        view = None if look is None else look.view
        return await self._ask(task_id, namespace, view, deadline)

    async def _look(self, task_id: TaskId, namespace: str) -> Look | None:
        """What the store says; None = it says nothing, and the owner's memory may."""
        try:
            return await self._reader.look(task_id, namespace)
        except StoreUnavailable:
            return None

    async def _ask(
        self, task_id: TaskId, namespace: str, view: TaskView | None, deadline: Deadline
    ) -> Explanation:
        """The owner's answer; of a task that the store shows, its silence is one too."""
        patience = deadline if view is None else deadline.within(OWNER_PATIENCE_MS)
        command = ExplainTask(task_id=task_id, namespace=namespace)
        (answer,) = await self._calls.execute([command], patience)
        if isinstance(answer, Explained):
            return answer.explanation
        error = view_or_error(answer)
        if not isinstance(error, TimeballError):
            raise Internal("The shard's owner answered something else; report this.")
        if view is None or not isinstance(error, Unavailable):
            raise error
        return self._told(task_id, await self._nobody(task_id), *self._of_time(view))

    async def _nobody(self, task_id: TaskId) -> Reason:
        """The shard has no owner, or one that does not answer."""
        shard = home_of(task_id).shard
        owner = await self._calls.owner_of(shard)
        if owner is None:
            return Reason(
                cause=BlockingCause.SHARD_NOT_OWNED,
                sentence=f"no scheduler node owns shard {shard}",
                since_ms=self._calls.ownerless_since_ms(shard),
                next_check="a scheduler node takes the shard",
                details=(("shard", str(shard)),),
            )
        return Reason(
            cause=BlockingCause.OWNER_SILENT,
            sentence=f"{owner}, which owns shard {shard}, does not answer for it",
            next_check="it answers, or its session ends and another node takes the shard",
            details=(("shard", str(shard)), ("node", str(owner))),
        )

    def _of_time(self, view: TaskView) -> tuple[Reason, ...]:
        """What holds too, by the journal: the task's time has not come."""
        if view.due_ms <= self._clock.now().wall_ms:
            return ()
        retrying = view.state is PublicState.RETRYING
        return (
            Reason(
                cause=BlockingCause.BACKOFF if retrying else BlockingCause.NOT_DUE,
                sentence=(
                    "the next attempt waits for its backoff"
                    if retrying
                    else "its due time has not come"
                ),
                since_ms=view.updated_ms,
                next_check_ms=view.due_ms,
                next_check="the backoff is over" if retrying else "it is due",
                details=(("handler", view.spec.handler),),
            ),
        )

    def _told(self, task_id: TaskId, *reasons: Reason) -> Explanation:
        return Explanation(task_id=task_id, at_ms=self._clock.now().wall_ms, reasons=reasons)
