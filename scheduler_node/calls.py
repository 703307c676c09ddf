"""Callers who wait for the engine: one future per batch of commands, tokens in between.

Owns tokens. Answers are handed out once per step, so a batch costs one wake-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from timeball.errors import Unavailable

from timeball_server.core.commands import (
    Command,
    Outcome,
    ReadTask,
    Rejected,
    RejectionReason,
    WatchTask,
)
from timeball_server.core.engine import events
from timeball_server.core.ids import TaskId
from timeball_server.core.limits import MAX_WAIT_MS

_TURN_AWAY: Final = frozenset({RejectionReason.NOT_OWNED, RejectionReason.NOT_READY})
_STOPPING: Final = (
    "the scheduler node stopped before it could answer; "
    "repeat the call with the same request_id to learn the outcome"
)


class _Batch:
    """Commands that came together and are answered together."""

    __slots__ = ("done", "left", "outcomes")

    def __init__(self, count: int, done: asyncio.Future[None]) -> None:
        self.outcomes: list[Outcome | None] = [None] * count
        self.left = count
        self.done = done


class Calls:
    """What the owner port's server side needs of the engine."""

    def __init__(self, post: Callable[[events.Event], None]) -> None:
        self._post = post
        self._token = 0
        self._open: dict[int, tuple[_Batch, int]] = {}
        self._complete: list[_Batch] = []

    async def execute(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        """Carry out commands; outcomes in the same order."""
        batch = _Batch(len(commands), asyncio.get_running_loop().create_future())
        if not commands:
            return ()
        for index, command in enumerate(commands):
            self._post(events.CommandArrived(self._open_token(batch, index), command))
        await batch.done
        return [outcome for outcome in batch.outcomes if outcome is not None]

    async def wait(self, task_id: TaskId, namespace: str, timeout_ms: int) -> Outcome:
        """Answer when the task has ended, or with its state when the time is over.

        Raises:
            Unavailable: this node does not own the task's shard (any more); ask again.
        """
        batch = _Batch(1, asyncio.get_running_loop().create_future())
        token = self._open_token(batch, 0)
        awaited = WatchTask(task_id=task_id, namespace=namespace, every=False)
        self._post(events.CommandArrived(token, awaited))
        try:
            async with asyncio.timeout(min(timeout_ms, MAX_WAIT_MS) / 1_000):
                await batch.done
        except TimeoutError:
            self._give_up_waiting(token, task_id)
            read = ReadTask(task_id=task_id, namespace=namespace)
            return _or_turn_away((await self.execute((read,)))[0])
        except asyncio.CancelledError:
            self._give_up_waiting(token, task_id)
            raise
        return _or_turn_away(batch.outcomes[0])

    def answer(self, token: int, outcome: Outcome) -> None:
        """Take the engine's answer; callers hear of it at the end of the step."""
        found = self._open.pop(token, None)
        if found is None:
            return
        batch, index = found
        batch.outcomes[index] = outcome
        batch.left -= 1
        if batch.left == 0:
            self._complete.append(batch)

    def flush(self) -> None:
        """Wake the callers whose answers are complete."""
        complete, self._complete = self._complete, []
        for batch in complete:
            if not batch.done.done():
                batch.done.set_result(None)

    def close(self) -> None:
        """Answer everybody: the node stops, and what it began may or may not hold."""
        for token in tuple(self._open):
            self.answer(token, Rejected(RejectionReason.UNKNOWN, _STOPPING))
        self.flush()

    def _open_token(self, batch: _Batch, index: int) -> int:
        self._token += 1
        self._open[self._token] = (batch, index)
        return self._token

    def _give_up_waiting(self, token: int, task_id: TaskId) -> None:
        self._open.pop(token, None)
        self._post(events.WatchEnded(token, task_id))


def _or_turn_away(outcome: Outcome | None) -> Outcome:
    if outcome is None:
        raise AssertionError("a finished batch has all its outcomes")
    if isinstance(outcome, Rejected) and outcome.reason in _TURN_AWAY:
        raise Unavailable(outcome.message)
    return outcome
