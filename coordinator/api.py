"""What callers can do with tasks, over the core's types: no wire format, no transport.

The gRPC services and the simulation call the same methods. Must never acknowledge what the
owner has not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final, NamedTuple
from uuid import UUID

from timeball.errors import RequestIdReused, TimeballError

from coordinator.deadline import Deadline
from coordinator.listing import Lister, Page
from coordinator.outcomes import not_found, view_of, view_or_error
from coordinator.owner_calls import OwnerCalls
from coordinator.paging import ListQuery
from coordinator.read_rule import Verdict
from coordinator.reader import Reader, ReadResult
from timeball_server.core.buckets import Layout
from timeball_server.core.commands import CancelTask, CreateTask
from timeball_server.core.ids import (
    KIND_TASK,
    Bucket,
    IdParts,
    InvalidId,
    TaskId,
    decode_id,
    encode_id,
)
from timeball_server.core.limits import MAX_WAIT_MS
from timeball_server.core.minting import CreateTime, fresh_request_id, mint, request_name
from timeball_server.core.model import TaskSpec, TaskView
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import Store

DEFAULT_PATIENCE_MS: Final = 10_000
"""How long a call is tried when its caller set no deadline."""

NAMES_AT_ONCE: Final = 32
"""Conditional writes of one call under way at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """One task to create. `request_id`: 16 bytes of a UUID, None = the caller brought none."""

    spec: TaskSpec
    time: CreateTime
    request_id: bytes | None = None
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """A cancel. `terminate` also fences a running attempt at once."""

    task_id: TaskId
    request_id: bytes | None = None
    reason: str = ""
    terminate: bool = False
    resend: bool = False


class Caller(NamedTuple):
    """Who calls: the namespace and subject of the credential."""

    namespace: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What calls need from the rest of the coordinator.

    `entropy` makes request ids for callers without one; `token_key` seals page tokens.
    """

    store: Store
    calls: OwnerCalls
    clock: Clock
    layout: Layout
    entropy: Random
    token_key: bytes


class TaskApi:
    """Creates, reads, lists, awaits and cancels tasks of one namespace at a time.

    `patience_ms` is what the caller's deadline leaves; None = 10 s.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._shards = frozenset(cluster.layout.all_shards())
        self._reader = Reader(cluster.store, cluster.calls, cluster.clock)
        self._lister = Lister(cluster.store, cluster.calls, cluster.clock, cluster.token_key)

    async def create(
        self, caller: Caller, requests: Sequence[CreateRequest], patience_ms: int | None = None
    ) -> list[TaskView | TimeballError]:
        """Create tasks; results in the order of the requests, each by itself.

        A request that repeats an earlier one of the same call gets the earlier one's result.
        """
        deadline = self._deadline(patience_ms)
        batch = _Batch()
        for command in await self._commands(caller, requests):
            batch.add(command)
        answers = await self._cluster.calls.execute(batch.commands, deadline)
        return batch.results([view_or_error(answer) for answer in answers])

    async def get(
        self,
        caller: Caller,
        task_id: TaskId,
        patience_ms: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> ReadResult:
        """Read a task.

        Raises:
            TaskNotFound, TaskExpired: there is nothing to show.
            Unavailable: its shard has no owner, and a stale value was not allowed.
        """
        self._check(task_id)
        deadline = self._deadline(patience_ms)
        return await self._reader.read(task_id, caller.namespace, deadline, allow_stale=allow_stale)

    async def list_by_owner(
        self,
        query: ListQuery,
        page_size: int = 0,
        page_token: str = "",
        patience_ms: int | None = None,
    ) -> Page:
        """A page of a user's tasks, newest first; page_size 0 = 100.

        Raises:
            InvalidRequest: the token is not for this query, or the time range is empty.
        """
        deadline = self._deadline(patience_ms)
        return await self._lister.page(query, page_size, page_token, deadline)

    async def cancel(
        self, caller: Caller, request: CancelRequest, patience_ms: int | None = None
    ) -> TaskView:
        """Cancel a task: no attempt starts after the answer, but for the unaccounted it names.

        Raises:
            TaskNotFound, TaskExpired: there is no such task.
            TooLate: an attempt runs or the task has ended; nothing was changed.
            Unavailable: nothing was received. OutcomeUnknown: it may or may not hold.
        """
        self._check(request.task_id)
        command = CancelTask(
            task_id=request.task_id,
            namespace=caller.namespace,
            request_id=str(UUID(bytes=request.request_id or self._fresh_id())),
            actor=caller.subject,
            reason=request.reason,
            terminate=request.terminate,
            resend=request.resend,
        )
        deadline = self._deadline(patience_ms)
        (answer,) = await self._cluster.calls.execute([command], deadline)
        return view_of(answer)

    async def wait(self, caller: Caller, task_id: TaskId, timeout_ms: int) -> TaskView:
        """The task when it has ended, or as it is when the time is over (at most 60 s).

        Raises:
            TaskNotFound, TaskExpired: there is no such task.
            Unavailable: its shard had no owner when the time was over.
        """
        self._check(task_id)
        cached = self._reader.ended(task_id, caller.namespace)
        if cached is not None:
            return cached
        look = await self._reader.look(task_id, caller.namespace)
        if look.verdict is Verdict.ANSWER and look.view is not None:
            self._reader.keep(look.view)
            return look.view
        deadline = self._deadline(min(timeout_ms, MAX_WAIT_MS))
        return view_of(await self._cluster.calls.wait(task_id, caller.namespace, deadline))

    def _deadline(self, patience_ms: int | None) -> Deadline:
        chosen_ms = DEFAULT_PATIENCE_MS if patience_ms is None else patience_ms
        return Deadline.after(self._cluster.clock, chosen_ms)

    def _fresh_id(self) -> bytes:
        """A request id for a caller who brought none and therefore cannot repeat."""
        now_ms = self._cluster.clock.now().wall_ms
        return fresh_request_id(now_ms, self._cluster.entropy.randbytes(10))

    def _check(self, task_id: TaskId) -> None:
        """Refuse ids that this cluster cannot have minted, without asking anyone."""
        try:
            parts = decode_id(task_id)
        except InvalidId as error:
            raise not_found(task_id) from error
        if parts.kind != KIND_TASK or parts.home.shard not in self._shards:
            raise not_found(task_id)

    async def _commands(
        self, caller: Caller, requests: Sequence[CreateRequest]
    ) -> list[CreateTask | TimeballError]:
        """The commands of requests, with their addresses; few need to settle one by name."""
        commands: list[CreateTask | TimeballError] = []
        unsettled: list[int] = []
        for request in requests:
            command, needs_name = self._command(caller, request)
            if needs_name:
                unsettled.append(len(commands))
            commands.append(command)
        for start in range(0, len(unsettled), NAMES_AT_ONCE):
            places = unsettled[start : start + NAMES_AT_ONCE]
            settled = await asyncio.gather(*(self._settle(commands[place]) for place in places))
            for place, command_or_error in zip(places, settled, strict=True):
                commands[place] = command_or_error
        return commands

    def _command(self, caller: Caller, request: CreateRequest) -> tuple[CreateTask, bool]:
        """The command of a request, and whether its address needs a name."""
        request_id = request.request_id or self._fresh_id()
        minted = mint(
            caller.namespace,
            request_id,
            request.time,
            resend=request.resend,
            now_ms=self._cluster.clock.now().wall_ms,
            layout=self._cluster.layout,
        )
        command = CreateTask(
            minute=minted.minute,
            shard=minted.shard,
            unique=minted.unique,
            spec=request.spec,
            due_ms=request.time.run_ms,
            delay_ms=request.time.delay_ms,
            request_id=str(UUID(bytes=request_id)),
            actor=caller.subject,
            resend=request.resend,
        )
        return command, minted.needs_name

    async def _settle(self, command: CreateTask | TimeballError) -> CreateTask | TimeballError:
        """The command with the address that its request's name has, its own if it had none."""
        if isinstance(command, TimeballError):
            return command
        home = Bucket(command.minute, command.shard)
        wished = encode_id(IdParts(home, command.unique))
        name = request_name(UUID(command.request_id).bytes)
        try:
            named = await self._cluster.store.bind_name(command.spec.namespace, name, wished)
        except TimeballError as error:
            return error
        parts = decode_id(named)
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
