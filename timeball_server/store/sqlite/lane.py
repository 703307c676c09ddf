"""A lane: one thread that owns one SQLite connection and works off a queue in rounds.

Everything that is queued while a round runs becomes the next round; its answers go back to the
loop in one call. Knows nothing of tables. SQL never runs on the loop's thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, Final, TypeVar

from timeball.errors import OutcomeUnknown, StoreUnavailable, TimeballError

MAX_QUEUED_WORK: Final = 20_000
"""Calls that may wait for one lane; further ones are refused."""
MAX_ROUND_WORK: Final = 500
"""Calls of one round, so that the first of them does not wait long for its answer."""

ResultT = TypeVar("ResultT")
# Work answers whatever its caller asked for; the type comes back at `submit`.
Work = Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one piece of work ended: a value, or the error that its caller shall see."""

    value: Any = None
    error: TimeballError | None = None


Round = Callable[[sqlite3.Connection, Sequence[Work]], list[Outcome]]
Connect = Callable[[], AbstractContextManager[sqlite3.Connection]]


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work
    answer: asyncio.Future[Any]


class Lane:
    """Hands work to its thread; every method belongs to the loop that made the lane."""

    def __init__(
        self, name: str, connect: Connect, run_round: Round, max_queued: int = MAX_QUEUED_WORK
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect = connect
        self._run_round = run_round
        self._max_queued = max_queued
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._in_hand: list[_Job] = []
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._closing = False
        self._stopped = Event()
        # A daemon: a process that forgot to close may still end, and commits are durable anyway.
        self._thread = Thread(target=self._main, name=name, daemon=True)
        self.undelivered = 0

    async def open(self) -> None:
        """Start the thread and wait for its connection.

        Raises:
            TimeballError: the connection could not be made; the thread has ended.
        """
        self._thread.start()
        await asyncio.shield(self._opened)

    def submit(self, work: Callable[[sqlite3.Connection], ResultT]) -> asyncio.Future[ResultT]:
        """Queue work; the future answers after its round.

        Raises:
            StoreUnavailable: the lane is closed or full; the work will not run.
        """
        if self._closing or self._stopped.is_set():
            raise StoreUnavailable("The store is closed; nothing was written.")
        if self._queue.qsize() >= self._max_queued:
            raise StoreUnavailable("The store's queue is full; nothing was written. Try later.")
        answer: asyncio.Future[ResultT] = self._loop.create_future()
        self._queue.put(_Job(work, answer))
        if (
            self._stopped.is_set()
        ):  # the thread died between the check and the put: nobody else would look
            self._abandon()
        return answer

    async def close(self) -> None:
        """Finish what is queued, disconnect, end the thread; safe to repeat."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()

    def _main(self) -> None:
        try:
            with self._connect() as connection:
                self._deliver([self._opened], [Outcome()])
                while self._serve(connection):
                    continue
        except TimeballError as error:
            self._deliver([self._opened], [Outcome(error=error)])
        except (sqlite3.Error, OSError) as error:
            failure = StoreUnavailable(f"The database cannot be opened or went away: {error}.")
            self._deliver([self._opened], [Outcome(error=failure)])
        finally:
            self._stopped.set()
            self._abandon()
            self._deliver([self._ended], [Outcome()])

    def _serve(self, connection: sqlite3.Connection) -> bool:
        """One round; False after the last one."""
        first = self._queue.get()
        if first is None:
            return False
        self._in_hand = [first]
        goes_on = self._take_more()
        outcomes = self._run_round(connection, [job.work for job in self._in_hand])
        self._deliver([job.answer for job in self._in_hand], outcomes)
        self._in_hand = []
        return goes_on

    def _take_more(self) -> bool:
        """Take what waits, up to a full round; False when the end of work was among it."""
        for job in self._waiting(MAX_ROUND_WORK - len(self._in_hand)):
            if job is None:
                return False
            self._in_hand.append(job)
        return True

    def _waiting(self, limit: int) -> Iterator[_Job | None]:
        with suppress(Empty):
            for _ in range(limit):
                yield self._queue.get_nowait()

    def _abandon(self) -> None:
        """Answer work that no round will finish: in hand means unknown, queued means not begun."""
        for job in self._in_hand:
            unknown = OutcomeUnknown("The database went away during the write.")
            self._deliver([job.answer], [Outcome(error=unknown)])
        self._in_hand = []
        for queued in self._waiting(self._max_queued + 1):
            if queued is not None:
                gone = StoreUnavailable("The database went away; nothing was written.")
                self._deliver([queued.answer], [Outcome(error=gone)])

    def _deliver(self, answers: list[asyncio.Future[Any]], outcomes: list[Outcome]) -> None:
        try:
            self._loop.call_soon_threadsafe(_settle, answers, outcomes)
        except RuntimeError:  # the loop has ended: nobody waits any more
            self.undelivered += len(answers)


def _settle(answers: list[asyncio.Future[Any]], outcomes: list[Outcome]) -> None:
    """Answer on the loop; callers that gave up are skipped."""
    for answer, outcome in zip(answers, outcomes, strict=True):
        if answer.done():
            continue
        if outcome.error is None:
            answer.set_result(outcome.value)
        else:
            answer.set_exception(outcome.error)
