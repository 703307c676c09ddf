"""Creation of tasks: an address for each request, one call per owner, results item by item.

Must never give one request two addresses: what another try might choose differently is settled
by name before it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from timeball.errors import RequestIdReused, TimeballError

from coordinator.deadline import Deadline
from coordinator.naming import Namer
from coordinator.outcomes import view_or_error
from coordinator.owner_calls import Answer, OnAnswer
from coordinator.requests import Caller, Cluster, CreateRequest, request_id_text
from timeball_server.core.commands import CreateTask
from timeball_server.core.ids import Bucket, IdParts, decode_id, encode_id
from timeball_server.core.minting import mint, request_name
from timeball_server.core.model import TaskView

NAMES_AT_ONCE: Final = 32
"""Conditional writes of one call under way at a time."""
CreateAnswer = TaskView | TimeballError
OnResult = Callable[[int, CreateAnswer], None]


async def settled(cluster: Cluster, namespace: str, request_id: bytes, wished: IdParts) -> IdParts:
    """The address that a request has by its name; the wished one if it had none yet."""
    name = request_name(request_id)
    return decode_id(await cluster.store.bind_name(namespace, name, encode_id(wished)))


class Creator:
    """Creates tasks."""

    def __init__(self, cluster: Cluster, namer: Namer) -> None:
        self._cluster = cluster
        self._namer = namer

    async def create(
        self,
        caller: Caller,
        requests: Sequence[CreateRequest],
        deadline: Deadline,
        on_result: OnResult | None = None,
    ) -> list[CreateAnswer]:
        """Create tasks; results in the order of the requests, each by itself.

        Args:
            on_result: told each result with its position, once, as soon as it is decided.
        """
        if any(request.chosen is not None for request in requests):
            return await self._create_with_names(caller, requests, deadline, on_result)
        batch = _Batch()
        for command in await self._commands(caller, requests):
            batch.add(command)
        on_answer = None if on_result is None else batch.teller(on_result)
        answers = await self._cluster.calls.execute(batch.commands, deadline, on_answer)
        return batch.results([view_or_error(answer) for answer in answers])

    async def _create_with_names(
        self,
        caller: Caller,
        requests: Sequence[CreateRequest],
        deadline: Deadline,
        on_result: OnResult | None,
    ) -> list[CreateAnswer]:
        """As `create`; those with chosen names one by one, some at a time, the others together."""
        named = [place for place, each in enumerate(requests) if each.chosen is not None]
        others = [place for place, each in enumerate(requests) if each.chosen is None]
        some = asyncio.Semaphore(NAMES_AT_ONCE)

        async def one(place: int) -> CreateAnswer:
            async with some:
                answer = await self._create_named(caller, requests[place], deadline)
            if on_result is not None:
                on_result(place, answer)
            return answer

        def told(position: int, answer: CreateAnswer) -> None:
            if on_result is not None:
                on_result(others[position], answer)

        plain = [requests[place] for place in others]
        rest, answers = await asyncio.gather(
            self.create(caller, plain, deadline, told),
            asyncio.gather(*(one(place) for place in named)),
        )
        by_place = dict(zip(others, rest, strict=True)) | dict(zip(named, answers, strict=True))
        return [by_place[place] for place in range(len(requests))]

    async def _create_named(
        self, caller: Caller, request: CreateRequest, deadline: Deadline
    ) -> CreateAnswer:
        (command,) = await self._commands(caller, [request])
        if isinstance(command, TimeballError):
            return command
        if request.chosen is None:
            raise AssertionError("a creation without a chosen name goes with the others")
        try:
            return await self._namer.create(caller, command, request.chosen, deadline)
        except TimeballError as error:
            return error

    async def _commands(
        self, caller: Caller, requests: Sequence[CreateRequest]
    ) -> list[CreateTask | TimeballError]:
        """The commands of requests, with their addresses; few need to settle one by name."""
        commands: list[CreateTask | TimeballError] = []
        unsettled: list[int] = []
        now_ms = self._cluster.clock.now().wall_ms
        for request in requests:
            command, needs_name = self._command(caller, request, now_ms)
            if needs_name:
                unsettled.append(len(commands))
            commands.append(command)
        for start in range(0, len(unsettled), NAMES_AT_ONCE):
            places = unsettled[start : start + NAMES_AT_ONCE]
            settled = await asyncio.gather(*(self._settle(commands[place]) for place in places))
            for place, command_or_error in zip(places, settled, strict=True):
                commands[place] = command_or_error
        return commands

    def _command(
        self, caller: Caller, request: CreateRequest, now_ms: int
    ) -> tuple[CreateTask, bool]:
        """The command of a request, and whether its address needs a name."""
        request_id = request.request_id or self._cluster.fresh_request_id()
        minted = mint(
            caller.namespace,
            request_id,
            request.time,
            resend=request.resend,
            now_ms=now_ms,
            layout=self._cluster.layout,
            key=request.spec.concurrency_key,
        )
        command = CreateTask(
            minute=minted.minute,
            shard=minted.shard,
            unique=minted.unique,
            spec=request.spec,
            due_ms=request.time.run_ms,
            delay_ms=request.time.delay_ms,
            request_id=request_id_text(request_id),
            actor=caller.subject,
            resend=request.resend,
        )
        return command, minted.needs_name

    async def _settle(self, command: CreateTask | TimeballError) -> CreateTask | TimeballError:
        """The command with the address that its request's name has, its own if it had none."""
        if isinstance(command, TimeballError):
            return command
        wished = IdParts(Bucket(command.minute, command.shard), command.unique)
        namespace, request_id = command.spec.namespace, UUID(command.request_id).bytes
        try:
            parts = await settled(self._cluster, namespace, request_id, wished)
        except TimeballError as error:
            return error
        return replace(
            command, minute=parts.home.minute, shard=parts.home.shard, unique=parts.unique
        )


class _Batch:
    """The commands of one call, each address once, and which request each one answers."""

    def __init__(self) -> None:
        self.commands: list[CreateTask] = []
        self._places: list[int | TimeballError] = []
        self._by_unique: dict[bytes, int] = {}

    def add(self, command: CreateTask | TimeballError) -> None:
        """Add the next request's command, or why it has none."""
        if isinstance(command, TimeballError):
            self._places.append(command)
            return
        place = self._by_unique.setdefault(command.unique, len(self.commands))
        if place == len(self.commands):
            self.commands.append(command)
        elif not _same_request(self.commands[place], command):
            self._places.append(_reused())
            return
        if command.resend:
            self.commands[place] = command
        self._places.append(place)

    def teller(self, on_result: OnResult) -> OnAnswer:
        """Tells what is decided already, and answers with what tells the rest."""
        asked: dict[int, list[int]] = {}
        for position, place in enumerate(self._places):
            if isinstance(place, int):
                asked.setdefault(place, []).append(position)
            else:
                on_result(position, place)

        def on_answer(place: int, answer: Answer) -> None:
            for position in asked[place]:
                on_result(position, view_or_error(answer))

        return on_answer

    def results(
        self, answers: Sequence[TaskView | TimeballError]
    ) -> list[TaskView | TimeballError]:
        """One result per request."""
        return [answers[place] if isinstance(place, int) else place for place in self._places]


def _same_request(one: CreateTask, other: CreateTask) -> bool:
    """Whether two commands ask for the same task at the same time."""
    return (one.spec, one.due_ms, one.delay_ms) == (other.spec, other.due_ms, other.delay_ms)


def _reused() -> RequestIdReused:
    return RequestIdReused(
        "Another task of this call has the same request_id but other content; "
        "give each task an id of its own."
    )
