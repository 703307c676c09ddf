"""Waiting for the end of one task: what is known, what the store says, what its owner tells."""

from __future__ import annotations

import asyncio
from typing import Final

from coordinator.deadline import Deadline
from coordinator.outcomes import no_owner, view_of
from coordinator.owner_calls import OwnerCalls
from coordinator.read_rule import Verdict
from coordinator.reader import Reader
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import Outcome, ReadTask, WatchTask
from timeball_server.core.ids import TaskId, home_of
from timeball_server.core.model import TaskView

YOUNG_MS: Final = 60_000
"""A task whose home minute is over for less than this is most likely in its owner's memory: reading
the store first would cost more than all the rest of an immediate task's wait."""
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
        view = None
        if not await self._is_in_hand(task_id, deadline):
            view = await self._ended(task_id, namespace)
        if view is None:
            view = await self._end_or_state(task_id, namespace, deadline)
        self._reader.ended.keep(view)
        return view

    async def _is_in_hand(self, task_id: TaskId, deadline: Deadline) -> bool:
        """Whether an owner has it in memory, as far as one can tell: then it is asked at once."""
        home = home_of(task_id)
        if home.minute < minute_of(deadline.clock.now().wall_ms - YOUNG_MS):
            return False
        return await self._calls.owner_of(home.shard) is not None

    async def _ended(self, task_id: TaskId, namespace: str) -> TaskView | None:
        """What the store says of a task that has ended; None = its owner has the last word."""
        look = await self._reader.look(task_id, namespace)
        return look.view if look.verdict is Verdict.ANSWER else None

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
