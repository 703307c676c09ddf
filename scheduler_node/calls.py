"""Callers who wait for the engine: one future per batch of commands, tokens in between.

Owns tokens. Answers are handed out once per step, so a batch costs one wake-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from scheduler_node.hearsay import NOBODY, Owners, with_hints
from scheduler_node.pushing import Pushes
from timeball_server.core.commands import (
    Command,
    Explained,
    Outcome,
    ReadCommand,
    Rejected,
    RejectionReason,
)
from timeball_server.core.engine import events
from timeball_server.core.explanation import with_store_stuck
from timeball_server.ports.owners import OwnerWatch

_STORE_AWAY: Final = (
    "the database does not answer, so nothing was begun; repeat the call in a moment"
)
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
    """What the owner port's server side needs of the engine.

    Args:
        post: takes an event for the engine's next step.
        is_stuck: whether the store takes no writes now; then none are begun, so that callers hear
            it instead of waiting in doubt.

    Attributes:
        owners: hints for the astray.
    """

    def __init__(
        self, post: Callable[[events.Event], None], is_stuck: Callable[[], bool] = lambda: False
    ) -> None:
        self.owners: Owners = NOBODY
        self._post = post
        self._is_stuck = is_stuck
        self._token = 0
        self._open: dict[int, tuple[_Batch, int]] = {}
        self._complete: list[_Batch] = []
        self._pushes = Pushes(post, self._fresh_token)

    async def execute(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        """Carry out commands; outcomes in the same order."""
        batch = _Batch(len(commands), asyncio.get_running_loop().create_future())
        if not commands:
            return ()
        is_stuck = self._is_stuck()
        for index, command in enumerate(commands):
            token = self._open_token(batch, index)
            if is_stuck and not isinstance(command, ReadCommand):
                self.answer(token, Rejected(RejectionReason.NOT_READY, _STORE_AWAY))
            else:
                self._post(events.CommandArrived(token, command))
        if is_stuck:
            self.flush()
        await batch.done
        outcomes = [outcome for outcome in batch.outcomes if outcome is not None]
        return with_hints(commands, outcomes, self.owners)

    def answer(self, token: int, outcome: Outcome) -> None:
        """Take the engine's answer; callers hear of it at the end of the step."""
        found = self._open.pop(token, None)
        if found is None:
            self._pushes.take(token, outcome)
            return
        batch, index = found
        if isinstance(outcome, Explained) and self._is_stuck():
            outcome = Explained(with_store_stuck(outcome.explanation))
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
        self._pushes.flush()

    def close(self) -> None:
        """Answer everybody: the node stops, and what it began may or may not hold."""
        for token in tuple(self._open):
            self.answer(token, Rejected(RejectionReason.UNKNOWN, _STOPPING))
        self.flush()
        self._pushes.close()

    def watch(self) -> OwnerWatch:
        """A push stream for one coordinator."""
        return self._pushes.open()

    def _fresh_token(self) -> int:
        self._token += 1
        return self._token

    def _open_token(self, batch: _Batch, index: int) -> int:
        token = self._fresh_token()
        self._open[token] = (batch, index)
        return token
