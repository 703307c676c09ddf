"""Answers of a stream, in the order of its requests or as decided; several are worked on at once.

Bounded: with that many requests in hand the stream is not read on, and its sender feels that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")
PieceT = TypeVar("PieceT")


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


class _Hand(Generic[PieceT]):
    """What of a stream is in hand: items that are worked on, and pieces that wait to be sent."""

    def __init__(self, at_once: int) -> None:
        self.pieces: list[PieceT] = []
        self.items = 0
        self.error: Exception | None = None
        self._is_read = False
        self._read_error: Exception | None = None
        self.news = asyncio.Event()
        self._room = asyncio.Event()
        self._at_once = at_once

    def tell(self, piece: PieceT) -> None:
        """An item is decided."""
        self.pieces.append(piece)
        self.items -= 1
        self._room.set()
        self.news.set()

    def fail(self, error: Exception) -> None:
        """The stream ends with this, after the pieces of before."""
        self.error = self.error or error
        self.news.set()

    def note_end(self, error: Exception | None = None) -> None:
        """Nothing more comes in; an error is raised when all that is in hand is decided."""
        self._is_read, self._read_error = True, error
        self.news.set()

    async def take_in(self, items: int) -> None:
        """Wait until so many more may be in hand; one request always may."""
        while self.items and self.items + items > self._at_once:
            self._room.clear()
            await self._room.wait()
        self.items += items

    async def next_pieces(self) -> list[PieceT]:
        """What has been decided meanwhile; nothing at the end."""
        while not (self.pieces or self.error or (self._is_read and not self.items)):
            self.news.clear()
            await self.news.wait()
        pieces, self.pieces = self.pieces, []
        error = self.error or self._read_error
        if not pieces and error is not None:
            raise error
        return pieces


async def answered_as_decided(
    requests: AsyncIterator[RequestT],
    answer: Callable[[RequestT, Callable[[PieceT], None]], Awaitable[object]],
    count: Callable[[RequestT], int],
    at_once: int,
) -> AsyncGenerator[list[PieceT], None]:
    """Pieces of answers as soon as they are decided, whatever was asked before them.

    Args:
        requests: read by one task, one after another; its error ends the stream after the pieces
            of what came before.
        answer: begins with a request before the next one is read, and tells one piece per item.
        count: items of a request.
        at_once: items in hand at a time; a request with more of them comes alone.
    """
    hand: _Hand[PieceT] = _Hand(at_once)
    begun: set[asyncio.Task[object]] = set()

    def end(task: asyncio.Task[object]) -> None:
        begun.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            hand.fail(error)

    async def read() -> None:
        try:
            async for request in requests:
                await hand.take_in(count(request))
                task = asyncio.create_task(_awaited(answer(request, hand.tell)), name="pipeline")
                begun.add(task)
                task.add_done_callback(end)
            hand.note_end()
        except Exception as error:  # noqa: BLE001 - raised by the consumer, in its turn
            hand.note_end(error)

    reader = asyncio.create_task(read(), name="pipeline: reader")
    try:
        while pieces := await hand.next_pieces():
            yield pieces
    finally:
        reader.cancel()
        for task in tuple(begun):
            task.cancel()
