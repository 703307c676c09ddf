"""An open-loop client: creates tasks at a rate whatever happens, and keeps what was acknowledged.

Half of the tasks go by unary calls of the SDK, half over its stream of creations. Whatever breaks
is the SDK's to repeat; what it raises or answers as an error counts as refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

import timeball
from timeball import errors
from timeball.v1 import task_pb2

from tests.support.chaos import tasks
from tests.support.chaos.tasks import DELAYS_MS, ONCE_EVERY, RETRY
from tests.support.polls import moment, mono_s, wall_ms

IN_FLIGHT = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """A task that the service promised to run."""

    task_id: str
    due_ms: int
    at_most_once: bool
    streamed: bool
    took_ms: float
    asked_ms: int


@dataclass(slots=True, kw_only=True)
class Told:
    """What the client was told."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class Load:
    """Creates `rate` tasks a second with a client until stopped."""

    def __init__(self, client: timeball.AsyncClient, rate: float) -> None:
        self.told = Told()
        self._client = client
        self._rate = rate
        self._calls: set[asyncio.Task[None]] = set()
        self._streamed: asyncio.Queue[timeball.Submission[int] | None] = asyncio.Queue()
        self._wishes: list[_Wish] = []
        self._going = True

    async def run(self) -> None:
        """Create until `stop`, then wait for the answers of what was begun."""
        streaming = asyncio.create_task(self._stream())
        begun_s, number = mono_s(), 0
        while self._going:
            while number < (mono_s() - begun_s) * self._rate:
                self._begin(number)
                number += 1
            await moment(1 / self._rate)
        await asyncio.gather(*self._calls)
        self._streamed.put_nowait(None)
        await streaming

    def stop(self) -> None:
        """Begin no more."""
        self._going = False

    def crowd(self, count: int, due: datetime) -> None:
        """Ask over the stream for many tasks that are due at one instant."""
        for number in range(count):
            once = number % ONCE_EVERY == 0
            options = tasks.work.options(run_at=due, retry=RETRY, at_most_once=once)
            self._wishes.append(_Wish(once, mono_s()))
            self._streamed.put_nowait(options.prepare(number))

    async def poison(self) -> None:
        """Ask for a task whose first attempt ends the process that runs it."""
        await self._create(tasks.poison.options(retry=RETRY).prepare(0), once=False)

    def _begin(self, number: int) -> None:
        once = number % ONCE_EVERY == 0
        delay = f"{DELAYS_MS[(number // 2) % len(DELAYS_MS)]}ms"
        options = tasks.work.options(delay=delay, retry=RETRY, at_most_once=once)
        submission = options.prepare(number)
        if number % 2:
            self._wishes.append(_Wish(once, mono_s()))
            self._streamed.put_nowait(submission)
            return
        call = asyncio.create_task(self._create(submission, once))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _create(self, submission: timeball.Submission[int], once: bool) -> None:
        begun_s = mono_s()
        try:
            made = (await self._client.submit(submission)).last_seen
        except errors.TimeballError as error:
            self.told.refused.append(f"unary: {error!r}")
            return
        self.told.acknowledged.append(acknowledgement(made, once, streamed=False, begun_s=begun_s))

    async def _stream(self) -> None:
        answers = self._client.submit_many(self._source(), in_flight=IN_FLIGHT)
        async for index, answer in answers:
            wish = self._wishes[index]
            if isinstance(answer, errors.TimeballError):
                self.told.refused.append(f"stream: {answer!r}")
                continue
            told = acknowledgement(
                answer.last_seen, wish.at_most_once, streamed=True, begun_s=wish.begun_s
            )
            self.told.acknowledged.append(told)

    async def _source(self) -> AsyncIterator[timeball.Submission[int]]:
        while (submission := await self._streamed.get()) is not None:
            yield submission


@dataclass(frozen=True, slots=True)
class _Wish:
    """What was put on the stream, in order."""

    at_most_once: bool
    begun_s: float


def acknowledgement(
    task: task_pb2.Task, once: bool, *, streamed: bool, begun_s: float
) -> Acknowledged:
    """What an answer promises."""
    took_ms = (mono_s() - begun_s) * 1_000
    return Acknowledged(
        task_id=task.name.rpartition("/")[2],
        due_ms=task.due_time.ToMilliseconds(),
        at_most_once=once,
        streamed=streamed,
        took_ms=took_ms,
        asked_ms=wall_ms() - round(took_ms),
    )
