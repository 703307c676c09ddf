"""Waiting for the end of one task: what is known, what the store says, what its owner tells."""

from __future__ import annotations

import asyncio
from typing import Final

from coordinator.deadline import Deadline
from coordinator.outcomes import no_owner, view_of
from coordinator.owner_calls import OwnerCalls
from coordinator.read_rule import Verdict
from coordinator.reader import Reader
from timeball_server.core.commands import Outcome, ReadTask, WatchTask
from timeball_server.core.ids import TaskId
from timeball_server.core.model import TaskView

LAST_LOOK_MS: Final = 1_000
"""When the time is over the owner may take this long to say how the task stands."""


class Waiter:
    """Waits for tasks."""

    def __init__(self, reader: Reader, calls: OwnerCalls) -> None:
        self._reader = reader
        self._calls = calls

    async def wait(self, task_id: TaskId, namespace: str, deadline: Deadline) -> TaskView:
        """The task when it has ended, or as it is when the time is over.

        Raises:
            TaskNotFound, TaskExpired: there is no such task.
            Unavailable: its shard had no owner when the time was over.
        """
        cached = self._reader.ended.find(task_id, namespace)
        if cached is not None:
            return cached
        look = await self._reader.look(task_id, namespace)
        if look.verdict is Verdict.ANSWER and look.view is not None:
            view = look.view
        else:
            view = await self._end_or_state(task_id, namespace, deadline)
        self._reader.ended.keep(view)
        return view

    async def _end_or_state(self, task_id: TaskId, namespace: str, deadline: Deadline) -> TaskView:
        """What the owner pushes in time, else what it answers then."""
        end: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        watched = WatchTask(task_id=task_id, namespace=namespace, every=False)

        def take(outcome: Outcome) -> None:
            if not end.done():  # the waiter's time may have ended in this very turn
                end.set_result(outcome)

        following = self._calls.watches.follow(watched, take)
        try:
            async with asyncio.timeout(deadline.left_ms() / 1_000):
                return view_of(await end)
        except TimeoutError:
            if not following.is_placed:
                raise no_owner() from None
        finally:
            self._calls.watches.drop(following)
        patience = Deadline.after(deadline.clock, LAST_LOOK_MS)
        read = ReadTask(task_id=task_id, namespace=namespace)
        (answer,) = await self._calls.execute([read], patience)
        return view_of(answer)
