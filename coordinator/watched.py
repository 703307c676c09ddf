"""Tasks that one caller watches, from the state of now to the last end.

Bounded: of each task only the newest state waits to be sent, and a caller for whom too many bytes
of them wait is told to come back with its token (WATCHER_TOO_SLOW).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from timeball.errors import TaskNotFound, TimeballError, WatcherTooSlow

from coordinator.ended import EndedTasks, weight
from coordinator.outcomes import view_or_error
from coordinator.resuming import WatchBook
from coordinator.watching import Following, Watches
from timeball_server.core.commands import Outcome, WatchTask
from timeball_server.core.ids import TaskId
from timeball_server.core.model import TaskView

NEWS_BYTES: Final = 32 * 1024 * 1024
"""Roughly what may wait to be sent to one caller."""
_TOO_SLOW: Final = (
    "The watched tasks change faster than this stream is read; watch again with the last "
    "resume_token, fewer tasks at a time or with view BASIC."
)


@dataclass(frozen=True, slots=True)
class Seen:
    """How a task stands, by its position among those that are watched."""

    position: int
    answer: TaskView | TimeballError

    @property
    def done(self) -> bool:
        """Whether nothing more comes about it."""
        return not isinstance(self.answer, TaskView) or self.answer.terminal


class TaskWatch:
    """One watch. Begins to follow at once; `close` it in any case.

    Args:
        wanted: by position; None = nothing to be seen there.
        told: positions that are over for the caller already.
    """

    def __init__(
        self,
        watches: Watches,
        ended: EndedTasks,
        book: WatchBook,
        wanted: Sequence[TaskId | None],
        told: set[int],
        *,
        namespace: str,
        news_bytes: int = NEWS_BYTES,
    ) -> None:
        self._watches = watches
        self._ended = ended
        self._book = book
        self._told = told
        self._limit_bytes = news_bytes
        self._left = len(wanted) - len(told)
        self._news: dict[int, Seen] = {}
        self._bytes = 0
        self._wake = asyncio.Event()
        self._error: TimeballError | None = None
        self._followings: dict[int, Following] = {}
        try:
            self._begin(namespace, wanted)
        except TimeballError:
            self.close()
            raise

    async def changes(self) -> Sequence[Seen]:
        """What has changed since the last call; nothing at the end, when all have ended.

        Raises:
            WatcherTooSlow: too much waits to be read; watch again with a token.
            TimeballError: what `end` was given.
        """
        while self._left and not self._news and self._error is None:
            self._wake.clear()
            await self._wake.wait()
        if self._error is not None:
            raise self._error
        news, self._news, self._bytes = self._news, {}, 0
        self._left -= sum(seen.done for seen in news.values())
        return tuple(news.values())

    def note_told(self, seen: Seen) -> None:
        """The caller is being told this."""
        if seen.done:
            self._told.add(seen.position)

    def token(self) -> str:
        """The token of a caller who has been told what was noted."""
        return self._book.token(self._told)

    def end(self, error: TimeballError) -> None:
        """End it with an error at the caller's next read."""
        self._error = error
        self._wake.set()

    def close(self) -> None:
        """Follow nothing any more. Safe to call twice."""
        for following in self._followings.values():
            self._watches.drop(following)
        self._followings.clear()

    def _begin(self, namespace: str, wanted: Sequence[TaskId | None]) -> None:
        for position, task_id in enumerate(wanted):
            if position in self._told:
                continue
            known = None if task_id is None else self._ended.find(task_id, namespace)
            if task_id is None:
                self._put(Seen(position, TaskNotFound(_NOT_FOUND)))
            elif known is not None:
                self._put(Seen(position, known))
            else:
                watched = WatchTask(task_id=task_id, namespace=namespace)
                take = partial(self._take, position)
                self._followings[position] = self._watches.follow(watched, take)

    def _take(self, position: int, outcome: Outcome) -> None:
        seen = Seen(position, view_or_error(outcome))
        if seen.done:
            self._followings.pop(position, None)
            if isinstance(seen.answer, TaskView):
                self._ended.keep(seen.answer)
        self._put(seen)

    def _put(self, seen: Seen) -> None:
        before = self._news.get(seen.position)
        self._news[seen.position] = seen
        self._bytes += _weight(seen) - (0 if before is None else _weight(before))
        if self._bytes > self._limit_bytes:
            self.end(WatcherTooSlow(_TOO_SLOW))
        self._wake.set()


_NOT_FOUND: Final = "There is no such task in your namespace; check the name."


def _weight(seen: Seen) -> int:
    return weight(seen.answer) if isinstance(seen.answer, TaskView) else 0
