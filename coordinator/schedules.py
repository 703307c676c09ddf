"""What callers can do with schedules, over the core's types.

Schedules are always asked of their owner: they are few, and their next nominal time changes
with every tick. Must never acknowledge what the owner has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from timeball.errors import TaskNotFound

from coordinator.deadline import Deadline
from coordinator.outcomes import schedule_of
from coordinator.requests import DEFAULT_PATIENCE_MS, Caller, Cluster
from timeball_server.core.commands import Command, CreateSchedule, EndSchedule, ReadSchedule
from timeball_server.core.ids import (
    KIND_SCHEDULE,
    Bucket,
    IdParts,
    InvalidId,
    TaskId,
    decode_id,
    encode_id,
)
from timeball_server.core.minting import CreateTime, mint, request_name
from timeball_server.core.model import ScheduleSpec, ScheduleView


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateScheduleRequest:
    """One schedule to create. `request_id`: 16 bytes of a UUID, None = the caller brought none."""

    spec: ScheduleSpec
    request_id: bytes | None = None
    resend: bool = False


class ScheduleApi:
    """Creates, reads and ends schedules of one namespace at a time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._shards = frozenset(cluster.layout.all_shards())

    async def create(
        self, caller: Caller, request: CreateScheduleRequest, patience_ms: int | None = None
    ) -> ScheduleView:
        """Create a schedule; its first nominal time lies strictly after the owner's now.

        Raises:
            Unavailable: nothing was received. OutcomeUnknown: it may or may not hold.
            RequestIdReused: the request_id was used for something else.
        """
        request_id = request.request_id or self._cluster.fresh_request_id()
        home = await self._home(caller.namespace, request_id, resend=request.resend)
        command = CreateSchedule(
            minute=home.home.minute,
            shard=home.home.shard,
            unique=home.unique,
            spec=request.spec,
            request_id=str(UUID(bytes=request_id)),
            actor=caller.subject,
            resend=request.resend,
        )
        return await self._execute(command, patience_ms)

    async def get(
        self, caller: Caller, schedule_id: TaskId, patience_ms: int | None = None
    ) -> ScheduleView:
        """Read a schedule.

        Raises:
            TaskNotFound: there is none in this namespace.
            Unavailable: its shard has no owner.
        """
        self._check(schedule_id)
        command = ReadSchedule(task_id=schedule_id, namespace=caller.namespace)
        return await self._execute(command, patience_ms)

    async def end(
        self,
        caller: Caller,
        schedule_id: TaskId,
        request_id: bytes | None = None,
        patience_ms: int | None = None,
    ) -> ScheduleView:
        """End a schedule: no nominal time is launched after the answer. Safe to repeat.

        Raises:
            TaskNotFound: there is none in this namespace.
            Unavailable: nothing was received. OutcomeUnknown: it may or may not hold.
        """
        self._check(schedule_id)
        command = EndSchedule(
            task_id=schedule_id,
            namespace=caller.namespace,
            request_id=str(UUID(bytes=request_id or self._cluster.fresh_request_id())),
            actor=caller.subject,
        )
        return await self._execute(command, patience_ms)

    async def _execute(self, command: Command, patience_ms: int | None) -> ScheduleView:
        chosen_ms = DEFAULT_PATIENCE_MS if patience_ms is None else patience_ms
        deadline = Deadline.after(self._cluster.clock, chosen_ms)
        (answer,) = await self._cluster.calls.execute([command], deadline)
        return schedule_of(answer)

    def _check(self, schedule_id: TaskId) -> None:
        """Refuse ids that this cluster cannot have minted, without asking anyone."""
        try:
            parts = decode_id(schedule_id)
        except InvalidId:
            parts = None
        known = parts is not None and parts.home.shard in self._shards
        if not known or parts is None or parts.kind != KIND_SCHEDULE:
            raise TaskNotFound(
                f"There is no schedule {schedule_id} in your namespace; check the id."
            )

    async def _home(self, namespace: str, request_id: bytes, *, resend: bool) -> IdParts:
        """The address of a new schedule, settled by name where another try might differ."""
        minted = mint(
            namespace,
            request_id,
            CreateTime(),
            resend=resend,
            now_ms=self._cluster.clock.now().wall_ms,
            layout=self._cluster.layout,
        )
        parts = IdParts(Bucket(minted.minute, minted.shard), minted.unique, KIND_SCHEDULE)
        if not minted.needs_name:
            return parts
        name = request_name(request_id)
        bound = await self._cluster.store.bind_name(namespace, name, encode_id(parts))
        return decode_id(bound)
