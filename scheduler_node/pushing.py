"""Coordinators that follow tasks: one stream each, fed with what the engine tells.

Owns the streams and which token of the engine belongs to which of their numbers. No coroutine and
no future waits for a single task. Bounded: of each number only the newest state waits to be read,
and a stream that follows too much has new wishes refused by name (OVERLOADED).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from timeball.errors import Unavailable

from timeball_server.core.commands import Outcome, Rejected, RejectionReason, WatchTask, is_last
from timeball_server.core.engine import events
from timeball_server.core.ids import TaskId
from timeball_server.ports.owners import Change, OwnerWatch

FOLLOWED_MAX: Final = 100_000
"""Tasks that one stream may follow."""
CHANGES_AT_ONCE: Final = 1_000
"""Changes that are handed out in one piece."""


class Pushes:
    """All push streams of this node."""

    def __init__(
        self, post: Callable[[events.Event], None], fresh_token: Callable[[], int]
    ) -> None:
        self._post = post
        self._fresh_token = fresh_token
        self._followed: dict[int, tuple[PushStream, int]] = {}
        self._streams: dict[PushStream, None] = {}  # in the order of their opening
        self._with_news: dict[PushStream, None] = {}

    def open(self) -> PushStream:
        """A stream for one coordinator."""
        stream = PushStream(self)
        self._streams[stream] = None
        return stream

    def take(self, token: int, outcome: Outcome) -> None:
        """What the engine tells; readers hear of it at the end of the step."""
        found = self._followed.get(token)
        if found is None:
            return
        stream, number = found
        if is_last(outcome):
            del self._followed[token]
        stream.put(number, outcome)
        self._with_news[stream] = None

    def flush(self) -> None:
        """Wake the readers that have something to read."""
        streams, self._with_news = self._with_news, {}
        for stream in streams:
            stream.wake()

    def close(self) -> None:
        """End all streams: the node stops."""
        for stream in tuple(self._streams):
            stream.end()

    def begin(self, stream: PushStream, number: int, watched: WatchTask) -> int:
        """Have the engine follow a task; answers the token."""
        token = self._fresh_token()
        self._followed[token] = (stream, number)
        self._post(events.CommandArrived(token, watched))
        return token

    def finish(self, token: int, task_id: TaskId) -> None:
        """Have the engine follow a task no longer, unless it has told the last of it."""
        if self._followed.pop(token, None) is not None:
            self._post(events.WatchEnded(token, task_id))

    def forget(self, stream: PushStream) -> None:
        """A stream is over."""
        self._streams.pop(stream, None)
        self._with_news.pop(stream, None)


class PushStream(OwnerWatch):
    """One coordinator's stream, inside the node."""

    def __init__(self, pushes: Pushes) -> None:
        self._pushes = pushes
        self._tokens: dict[int, tuple[int, TaskId]] = {}
        self._news: dict[int, Outcome] = {}
        self._wake = asyncio.Event()
        self._over = False

    def follow(self, number: int, watched: WatchTask) -> None:
        """See the port."""
        if self._over:
            return
        if len(self._tokens) >= FOLLOWED_MAX:
            sentence = f"this coordinator follows {FOLLOWED_MAX} tasks here already"
            self.put(number, Rejected(RejectionReason.OVERLOADED, sentence))
            self._wake.set()
            return
        self._tokens[number] = (self._pushes.begin(self, number, watched), watched.task_id)

    def drop(self, number: int) -> None:
        """See the port."""
        self._news.pop(number, None)
        found = self._tokens.pop(number, None)
        if found is not None:
            self._pushes.finish(*found)

    async def changes(self) -> Sequence[Change]:
        """See the port."""
        while not self._news:
            if self._over:
                raise Unavailable("the scheduler node ended the stream; ask the owner of now")
            self._wake.clear()
            await self._wake.wait()
        found = [Change(*each) for each in islice(self._news.items(), CHANGES_AT_ONCE)]
        for change in found:
            del self._news[change.number]
            if is_last(change.outcome):
                self._tokens.pop(change.number, None)
        return found

    async def close(self) -> None:
        """See the port."""
        self.end()

    def put(self, number: int, outcome: Outcome) -> None:
        """Keep the newest state of a number for the reader."""
        self._news[number] = outcome

    def wake(self) -> None:
        """There is something to read."""
        self._wake.set()

    def end(self) -> None:
        """Nothing comes any more; what was told can still be read."""
        self._over = True
        for token, task_id in self._tokens.values():
            self._pushes.finish(token, task_id)
        self._tokens.clear()
        self._pushes.forget(self)
        self._wake.set()
