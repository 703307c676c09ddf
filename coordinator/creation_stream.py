"""CreateTasks: chunks of creations over one stream, answered in order or as they are decided.

Numbered chunks are answered item by item, so that a shard without owner holds up its own tasks
alone. Must never answer an item twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from timeball.errors import TimeballError, refused
from timeball.v1 import task_service_pb2 as pb

from coordinator.api import TaskApi
from coordinator.calls_in import caller, patience_ms
from coordinator.pipeline import answered_as_decided, answered_in_order
from coordinator.requests import Caller, CreateRequest
from coordinator.task_messages import create_request, create_result
from timeball_server.core.model import TaskView
from timeball_server.rpc.access import check_namespace
from timeball_server.rpc.interceptors import item_errors, principal

CHUNKS_AT_ONCE: Final = 8
"""Chunks in hand that are answered in order; more are not read."""
ITEMS_AT_ONCE: Final = 8_000
"""Items in hand that are answered as they are decided; more are not read."""
_NUMBER: Final = "must be given to every chunk of a stream or to none"
Answer = TaskView | TimeballError


class _Chunk(NamedTuple):
    request: pb.CreateTasksRequest
    errors: Mapping[int, TimeballError]


class _Piece(NamedTuple):
    number: int
    position: int
    answer: Answer


async def created(
    api: TaskApi, requests: AsyncIterator[pb.CreateTasksRequest], context: Any
) -> AsyncIterator[pb.CreateTasksResponse]:
    """The answers to one stream.

    Raises:
        InvalidRequest: some chunks are numbered and others not, or a chunk is wrong as a whole.
    """
    first = await anext(requests, None)
    if first is None:
        return
    chunks = _chunks(first, requests)
    if first.number:
        async for response in _as_decided(api, chunks, context):
            yield response
        return

    async def answer(chunk: _Chunk) -> pb.CreateTasksResponse:
        items, errors = chunk.request.requests, chunk.errors
        results = await create_items(api, items, errors, patience_ms(context))
        return pb.CreateTasksResponse(results=results)

    async for response in answered_in_order(chunks, answer, CHUNKS_AT_ONCE):
        yield response


async def create_items(
    api: TaskApi,
    items: Sequence[pb.CreateTaskRequest],
    errors: Mapping[int, TimeballError],
    longest_ms: int | None,
    tell: Callable[[int, Answer], None] | None = None,
) -> list[pb.CreateResult]:
    """Create what may be created; one result per item.

    Args:
        errors: why items must not be created, by position.
        longest_ms: how long to try, None = the usual time.
        tell: told each answer by position as soon as it is decided.
    """
    who = caller()
    answers: dict[int, Answer] = {}
    wishes: dict[int, CreateRequest] = {}
    for position, item in enumerate(items):
        wish = errors.get(position) or _wish(item, who)
        if isinstance(wish, TimeballError):
            answers[position] = wish
        else:
            wishes[position] = wish
    positions = list(wishes)
    if tell is not None:
        for position, answer in answers.items():
            tell(position, answer)
    on_result = None if tell is None else lambda place, answer: tell(positions[place], answer)
    made = await api.create(who, list(wishes.values()), longest_ms, on_result)
    answers.update(zip(positions, made, strict=True))
    return [create_result(answers[position]) for position in range(len(items))]


async def _chunks(
    first: pb.CreateTasksRequest, rest: AsyncIterator[pb.CreateTasksRequest]
) -> AsyncIterator[_Chunk]:
    """Chunks with what the gate found wrong with their items, asked before the next is read."""
    yield _Chunk(first, item_errors(first))
    async for chunk in rest:
        if bool(chunk.number) != bool(first.number):
            raise refused("number", _NUMBER)
        yield _Chunk(chunk, item_errors(chunk))


async def _as_decided(
    api: TaskApi, chunks: AsyncIterator[_Chunk], context: Any
) -> AsyncIterator[pb.CreateTasksResponse]:
    async def answer(chunk: _Chunk, tell: Callable[[_Piece], None]) -> None:
        def on_answer(position: int, answer: Answer) -> None:
            tell(_Piece(chunk.request.number, position, answer))

        items, errors = chunk.request.requests, chunk.errors
        await create_items(api, items, errors, patience_ms(context), on_answer)

    stream = answered_as_decided(
        chunks, answer, lambda chunk: len(chunk.request.requests), ITEMS_AT_ONCE
    )
    async for pieces in stream:
        for response in _responses(pieces):
            yield response


def _responses(pieces: Iterable[_Piece]) -> Iterator[pb.CreateTasksResponse]:
    for number, group in groupby(pieces, key=lambda piece: piece.number):
        of_chunk = tuple(group)
        yield pb.CreateTasksResponse(
            number=number,
            positions=[piece.position for piece in of_chunk],
            results=[create_result(piece.answer) for piece in of_chunk],
        )


def _wish(item: pb.CreateTaskRequest, who: Caller) -> CreateRequest | TimeballError:
    """One item of many as a wish, or why it cannot be one."""
    try:
        check_namespace(principal(), item)
    except TimeballError as error:
        return error
    return create_request(item, who)
