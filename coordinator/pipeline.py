"""Answers of a stream in the order of its requests, while several are worked on at once.

Bounded: with that many requests in hand the stream is not read on, and its sender feels that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")


async def answered_in_order(
    requests: AsyncIterator[RequestT],
    answer: Callable[[RequestT], Awaitable[AnswerT]],
    at_once: int,
) -> AsyncGenerator[AnswerT, None]:
    """The answers.

    Args:
        requests: read by one task, one after another; its error ends the stream after the
            answers to what came before.
        answer: begins with a request before the next one is read.
        at_once: requests in hand at a time.
    """
    queue: asyncio.Queue[asyncio.Task[AnswerT] | Exception | None] = asyncio.Queue(at_once)
    begun: set[asyncio.Task[AnswerT]] = set()

    async def begin_all() -> None:
        async for request in requests:
            task = asyncio.create_task(_awaited(answer(request)), name="pipeline: answer")
            task.add_done_callback(_look)
            begun.add(task)
            await queue.put(task)

    async def read() -> None:
        """Pass the end or the error on, behind the answers to what came before."""
        try:
            await begin_all()
            await queue.put(None)
        except Exception as error:  # noqa: BLE001 - raised by the consumer, in its turn
            await queue.put(error)

    reader = asyncio.create_task(read(), name="pipeline: reader")
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            begun.discard(item)
            yield await item
    finally:
        reader.cancel()
        for task in begun:
            task.cancel()


async def _awaited(answer: Awaitable[AnswerT]) -> AnswerT:
    """An awaitable as a coroutine."""
    return await answer


def _look(task: asyncio.Task[AnswerT]) -> None:
    """When the stream ends before an answer's turn, nobody misses its error."""
    if not task.cancelled():
        task.exception()
