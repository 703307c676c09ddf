"""What callers can do with schedules, over the core's types.

A single schedule is always asked of its owner: its next nominal time changes with every tick.
Must never acknowledge what the owner has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from timeball.errors import TaskNotFound

from coordinator.creation import settled
from coordinator.deadline import Deadline
from coordinator.outcomes import schedule_of
from coordinator.requests import DEFAULT_PATIENCE_MS, Caller, Cluster
from timeball_server.core.commands import (
    BackfillSchedule,
    CreateSchedule,
    EndSchedule,
    PauseSchedule,
    ReadSchedule,
    ResumeSchedule,
    ScheduleCommand,
    StopBackfill,
    TriggerSchedule,
    UpdateSchedule,
)
from timeball_server.core.ids import (
    KIND_SCHEDULE,
    KIND_TASK,
    SCHEDULES_MINUTE,
    Bucket,
    IdParts,
    InvalidId,
    TaskId,
    decode_id,
    encode_id,
    home_of_name,
    home_of_request,
)
from timeball_server.core.minting import CreateTime, mint
from timeball_server.core.model import ScheduleSpec, ScheduleView


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateScheduleRequest:
    """One schedule to create. `request_id`: 16 bytes of a UUID, None = the caller brought none."""

    spec: ScheduleSpec
    request_id: bytes | None = None
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest:
    """One schedule to change; `fields` None = all of them, `revision` None = whatever there is."""

    spec: ScheduleSpec
    fields: tuple[str, ...] | None = None
    revision: int | None = None
    allow_missing: bool = False
    request_id: bytes | None = None
    resend: bool = False


class ScheduleApi:
    """Creates, reads, changes and ends schedules of one namespace at a time.

    All methods raise TaskNotFound if there is no such schedule in the namespace, Unavailable if
    nothing was received, and OutcomeUnknown if a change may or may not hold.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._shards = frozenset(cluster.layout.all_shards())

    def id_of(self, namespace: str, part: str) -> TaskId:
        """The id of a schedule by the last part of its name: the id itself, or a chosen name."""
        return _named_id(self._cluster, namespace, part) if part[:1].isalpha() else TaskId(part)

    async def create(
        self, caller: Caller, request: CreateScheduleRequest, patience_ms: int | None = None
    ) -> ScheduleView:
        """Create a schedule; its first nominal time lies strictly after the owner's now.

        Raises:
            RequestIdReused: the request_id was used for something else.
            AlreadyExists: another one has its name.
        """
        request_id = request.request_id or self._cluster.fresh_request_id()
        home = self._home(caller.namespace, request, request_id)
        command = CreateSchedule(
            minute=home.home.minute,
            shard=home.home.shard,
            part=home.home.part,
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
        """Read a schedule."""
        self._check(schedule_id)
        command = ReadSchedule(task_id=schedule_id, namespace=caller.namespace)
        return await self._execute(command, patience_ms)

    async def update(
        self,
        caller: Caller,
        schedule_id: TaskId,
        request: UpdateRequest,
        patience_ms: int | None = None,
    ) -> ScheduleView:
        """Change a schedule; one that already is as wished stays as it is.

        Raises:
            StaleEtag: somebody else has changed it since.
        """
        self._check(schedule_id)
        command = UpdateSchedule(
            task_id=schedule_id,
            namespace=caller.namespace,
            spec=request.spec,
            fields=request.fields,
            revision=request.revision,
            allow_missing=request.allow_missing,
            request_id=self._request_id(request.request_id),
            actor=caller.subject,
            resend=request.resend,
        )
        return await self._execute(command, patience_ms)

    async def end(
        self,
        caller: Caller,
        schedule_id: TaskId,
        request_id: bytes | None = None,
        patience_ms: int | None = None,
    ) -> ScheduleView:
        """End a schedule: no nominal time is launched after the answer. Safe to repeat."""
        self._check(schedule_id)
        command = EndSchedule(
            task_id=schedule_id,
            namespace=caller.namespace,
            request_id=self._request_id(request_id),
            actor=caller.subject,
        )
        return await self._execute(command, patience_ms)

    async def pause(
        self,
        caller: Caller,
        schedule_id: TaskId,
        reason: str,
        request_id: bytes | None = None,
        patience_ms: int | None = None,
    ) -> ScheduleView:
        """Launch nothing until it is resumed."""
        self._check(schedule_id)
        command = PauseSchedule(
            task_id=schedule_id,
            namespace=caller.namespace,
            request_id=self._request_id(request_id),
            actor=caller.subject,
            reason=reason,
        )
        return await self._execute(command, patience_ms)

    async def resume(
        self,
        caller: Caller,
        schedule_id: TaskId,
        reason: str,
        request_id: bytes | None = None,
        patience_ms: int | None = None,
    ) -> ScheduleView:
        """Go on with the first nominal time after the answer."""
        self._check(schedule_id)
        command = ResumeSchedule(
            task_id=schedule_id,
            namespace=caller.namespace,
            request_id=self._request_id(request_id),
            actor=caller.subject,
            reason=reason,
        )
        return await self._execute(command, patience_ms)

    async def trigger(
        self,
        caller: Caller,
        schedule_id: TaskId,
        request_id: bytes | None = None,
        patience_ms: int | None = None,
        *,
        resend: bool = False,
    ) -> ScheduleView:
        """Launch a run now; the view names it. The same request launches the same run.

        Raises:
            FailedPrecondition: the schedule has ended.
        """
        self._check(schedule_id)
        wished = request_id or self._cluster.fresh_request_id()
        home = await self._address(caller.namespace, wished, KIND_TASK, resend=resend)
        command = TriggerSchedule(
            task_id=schedule_id,
            namespace=caller.namespace,
            minute=home.home.minute,
            unique=home.unique,
            request_id=str(UUID(bytes=wished)),
            actor=caller.subject,
            resend=resend,
        )
        return await self._execute(command, patience_ms)

    async def backfill(
        self,
        caller: Caller,
        schedule_id: TaskId,
        backfill_id: str,
        from_ms: int,
        to_ms: int,
        patience_ms: int | None = None,
    ) -> ScheduleView:
        """Launch the nominal times of a range once more. Safe to repeat.

        Raises:
            AlreadyExists: there is one with this id and another range.
            FailedPrecondition: the range lies ahead, or the schedule has no calendar.
        """
        self._check(schedule_id)
        command = BackfillSchedule(
            task_id=schedule_id,
            namespace=caller.namespace,
            backfill_id=backfill_id,
            from_ms=from_ms,
            to_ms=to_ms,
            request_id=self._request_id(None),
            actor=caller.subject,
        )
        return await self._execute(command, patience_ms)

    async def stop_backfill(
        self,
        caller: Caller,
        schedule_id: TaskId,
        backfill_id: str,
        patience_ms: int | None = None,
    ) -> ScheduleView:
        """Stop a backfill. Safe to repeat."""
        self._check(schedule_id)
        command = StopBackfill(
            task_id=schedule_id,
            namespace=caller.namespace,
            backfill_id=backfill_id,
            request_id=self._request_id(None),
            actor=caller.subject,
        )
        return await self._execute(command, patience_ms)

    async def _execute(self, command: ScheduleCommand, patience_ms: int | None) -> ScheduleView:
        chosen_ms = DEFAULT_PATIENCE_MS if patience_ms is None else patience_ms
        deadline = Deadline.after(self._cluster.clock, chosen_ms)
        (answer,) = await self._cluster.calls.execute([command], deadline)
        return schedule_of(answer)

    def _request_id(self, request_id: bytes | None) -> str:
        return str(UUID(bytes=request_id or self._cluster.fresh_request_id()))

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

    def _home(self, namespace: str, request: CreateScheduleRequest, request_id: bytes) -> IdParts:
        """The address of a new schedule: its name's, or its request's."""
        name = request.spec.name
        if name:
            return decode_id(_named_id(self._cluster, namespace, name))
        return _address_of(self._cluster, *home_of_request(namespace, request_id))

    async def _address(
        self, namespace: str, request_id: bytes, kind: int, *, resend: bool
    ) -> IdParts:
        """The address that a request names, settled by name where another try might differ."""
        minted = mint(
            namespace,
            request_id,
            CreateTime(),
            resend=resend,
            now_ms=self._cluster.clock.now().wall_ms,
            layout=self._cluster.layout,
        )
        parts = IdParts(Bucket(minted.minute, minted.shard), minted.unique, kind)
        if not minted.needs_name:
            return parts
        return await settled(self._cluster, namespace, request_id, parts)


def _named_id(cluster: Cluster, namespace: str, name: str) -> TaskId:
    """The id of the schedule with this name: computed, never looked up."""
    return encode_id(_address_of(cluster, *home_of_name(namespace, name)))


def _address_of(cluster: Cluster, part: int, unique: bytes) -> IdParts:
    """Where a schedule lives: outside of all minutes, so that no bucket must stay for it."""
    shard = cluster.layout.shard_for(SCHEDULES_MINUTE, unique)
    return IdParts(Bucket(SCHEDULES_MINUTE, shard, part), unique, KIND_SCHEDULE)
