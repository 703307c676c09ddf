"""ScheduleService over gRPC: a thin door to ScheduleApi and what reads beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from timeball.errors import ResourceNotFound, refused
from timeball.v1 import schedule_service_pb2 as pb
from timeball.v1 import schedule_service_pb2_grpc as stubs

from coordinator.calls_in import caller, patience_ms
from coordinator.requests import Caller
from coordinator.schedule_answers import (
    ledger_answer,
    missed_answer,
    preview_answer,
    versions_answer,
)
from coordinator.schedule_checks import check_calendar
from coordinator.schedule_messages import (
    RULES,
    STATES_OF,
    backfill_message,
    backfill_parts,
    last_part,
    masked_fields,
    name_of,
    schedule_message,
    spec_from,
)
from coordinator.schedule_preview import missed, preview
from coordinator.schedule_reading import LIVING, LedgerQuery, ScheduleReader, SchedulesQuery
from coordinator.schedules import CreateScheduleRequest, ScheduleApi, UpdateRequest
from coordinator.task_messages import request_id_of
from timeball_server.core.ids import TaskId
from timeball_server.core.model import ScheduleSpec, ScheduleView
from timeball_server.ports.clock import Clock
from timeball_server.rpc.convert import ms_from_timestamp, task_name


class ScheduleServicer(stubs.ScheduleServiceServicer):
    """Serves schedules. `context` is Any throughout: the stubs mix two kinds of it."""

    def __init__(self, api: ScheduleApi, reader: ScheduleReader, clock: Clock) -> None:
        self._api = api
        self._reader = reader
        self._clock = clock

    async def CreateSchedule(  # noqa: N802 - the name is the proto's
        self, request: pb.CreateScheduleRequest, context: Any
    ) -> pb.CreateScheduleResponse:
        """Create a schedule."""
        who = caller()
        wish = CreateScheduleRequest(
            spec=self._spec(who, request.schedule, request.schedule_id),
            request_id=request_id_of(request.request_id),
            resend=request.resend,
        )
        view = await self._api.create(who, wish, patience_ms(context))
        return pb.CreateScheduleResponse(schedule=schedule_message(view))

    async def GetSchedule(  # noqa: N802 - the name is the proto's
        self, request: pb.GetScheduleRequest, context: Any
    ) -> pb.GetScheduleResponse:
        """Read a schedule."""
        who = caller()
        view = await self._api.get(who, self._id(who, request.name), patience_ms(context))
        return pb.GetScheduleResponse(schedule=schedule_message(view))

    async def ListSchedules(  # noqa: N802 - the name is the proto's
        self, request: pb.ListSchedulesRequest, context: Any
    ) -> pb.ListSchedulesResponse:
        """List schedules."""
        states = frozenset(STATES_OF[state] for state in request.states if state in STATES_OF)
        key, _, value = request.label.partition("=")
        query = SchedulesQuery(
            states=states or LIVING,
            handler=request.handler,
            label=(key, value) if request.label else None,
        )
        page = await self._reader.page(caller(), query, request.page_size, request.page_token)
        return pb.ListSchedulesResponse(
            schedules=[schedule_message(view) for view in page.schedules],
            next_page_token=page.next_token,
        )

    async def UpdateSchedule(  # noqa: N802 - the name is the proto's
        self, request: pb.UpdateScheduleRequest, context: Any
    ) -> pb.UpdateScheduleResponse:
        """Change a schedule, or create it."""
        who, part = caller(), last_part(request.name)
        schedule_id = self._api.id_of(who.namespace, part)
        names = masked_fields(request.update_mask.paths)
        chosen = part if part != schedule_id else ""
        if request.allow_missing and (names is not None or not chosen):
            sentence = "needs a chosen name, and an update_mask that is empty or *"
            raise refused("allow_missing", sentence)
        known = None
        if names is not None:  # what is not changed stands beside what is: a calendar is one thing
            known = await self._api.get(who, schedule_id, patience_ms(context))
        wish = UpdateRequest(
            spec=self._changed(who, request, known, chosen),
            fields=names,
            revision=_revision(request.etag, known),
            allow_missing=request.allow_missing,
            request_id=request_id_of(request.request_id),
            resend=request.resend,
        )
        view = await self._api.update(who, schedule_id, wish, patience_ms(context))
        return pb.UpdateScheduleResponse(schedule=schedule_message(view))

    async def DeleteSchedule(  # noqa: N802 - the name is the proto's
        self, request: pb.DeleteScheduleRequest, context: Any
    ) -> pb.DeleteScheduleResponse:
        """End a schedule."""
        who = caller()
        request_id = request_id_of(request.request_id)
        await self._api.end(who, self._id(who, request.name), request_id, patience_ms(context))
        return pb.DeleteScheduleResponse()

    async def PauseSchedule(  # noqa: N802 - the name is the proto's
        self, request: pb.PauseScheduleRequest, context: Any
    ) -> pb.PauseScheduleResponse:
        """Launch nothing until it is resumed."""
        who, request_id = caller(), request_id_of(request.request_id)
        view = await self._api.pause(
            who, self._id(who, request.name), request.reason, request_id, patience_ms(context)
        )
        return pb.PauseScheduleResponse(schedule=schedule_message(view))

    async def ResumeSchedule(  # noqa: N802 - the name is the proto's
        self, request: pb.ResumeScheduleRequest, context: Any
    ) -> pb.ResumeScheduleResponse:
        """Go on."""
        who, request_id = caller(), request_id_of(request.request_id)
        view = await self._api.resume(
            who, self._id(who, request.name), request.reason, request_id, patience_ms(context)
        )
        return pb.ResumeScheduleResponse(schedule=schedule_message(view))

    async def TriggerSchedule(  # noqa: N802 - the name is the proto's
        self, request: pb.TriggerScheduleRequest, context: Any
    ) -> pb.TriggerScheduleResponse:
        """Launch a run now."""
        who = caller()
        view = await self._api.trigger(
            who,
            self._id(who, request.name),
            request_id_of(request.request_id),
            patience_ms(context),
            resend=request.resend,
        )
        return pb.TriggerScheduleResponse(
            task=task_name(who.namespace, view.run or ""), schedule=schedule_message(view)
        )

    async def CreateBackfill(  # noqa: N802 - the name is the proto's
        self, request: pb.CreateBackfillRequest, context: Any
    ) -> pb.CreateBackfillResponse:
        """Launch nominal times of the past once more."""
        who, wished = caller(), request.backfill
        from_ms = ms_from_timestamp(wished.start_time)
        to_ms = ms_from_timestamp(wished.end_time)
        if to_ms < from_ms:
            raise refused("backfill.end_time", "must not lie before start_time")
        view = await self._api.backfill(
            who,
            self._id(who, request.parent),
            request.backfill_id,
            from_ms,
            to_ms,
            patience_ms(context),
        )
        return pb.CreateBackfillResponse(backfill=_backfill(view, request.backfill_id))

    async def GetBackfill(  # noqa: N802 - the name is the proto's
        self, request: pb.GetBackfillRequest, context: Any
    ) -> pb.GetBackfillResponse:
        """Read how far a backfill is."""
        who, (part, backfill_id) = caller(), backfill_parts(request.name)
        schedule_id = self._api.id_of(who.namespace, part)
        view = await self._api.get(who, schedule_id, patience_ms(context))
        return pb.GetBackfillResponse(backfill=_backfill(view, backfill_id))

    async def StopBackfill(  # noqa: N802 - the name is the proto's
        self, request: pb.StopBackfillRequest, context: Any
    ) -> pb.StopBackfillResponse:
        """Stop a backfill."""
        who, (part, backfill_id) = caller(), backfill_parts(request.name)
        schedule_id = self._api.id_of(who.namespace, part)
        view = await self._api.stop_backfill(who, schedule_id, backfill_id, patience_ms(context))
        return pb.StopBackfillResponse(backfill=_backfill(view, backfill_id))

    async def PreviewSchedule(  # noqa: N802 - the name is the proto's
        self, request: pb.PreviewScheduleRequest, context: Any
    ) -> pb.PreviewScheduleResponse:
        """Compute times to come."""
        who = caller()
        if bool(request.name) == request.HasField("schedule"):
            raise refused("schedule", "must be set if name is not, and absent if it is")
        view = None
        if request.name:
            view = await self._api.get(who, self._id(who, request.name), patience_ms(context))
        spec = self._previewed(who, request) if view is None else view.spec
        if spec.delay_ms is not None:
            sentence = "has no nominal times that could be known beforehand"
            raise refused("schedule.delay_after_completion", sentence)
        now_ms = self._clock.now().wall_ms
        after_ms = ms_from_timestamp(request.after) if request.HasField("after") else now_ms
        if request.HasField("missed_since"):
            since_ms = ms_from_timestamp(request.missed_since)
            return missed_answer(missed(spec, since_ms, after_ms), spec)
        schedule_id = None if view is None else view.schedule_id
        left = max(0, spec.max_runs - (view.runs if view else 0)) if spec.max_runs else None
        return preview_answer(
            preview(spec, after_ms, request.count, schedule_id=schedule_id, left=left)
        )

    async def ListOccurrences(  # noqa: N802 - the name is the proto's
        self, request: pb.ListOccurrencesRequest, context: Any
    ) -> pb.ListOccurrencesResponse:
        """Read the ledger."""
        who, has = caller(), request.HasField
        names = [pb.Verdict.Name(verdict) for verdict in request.verdicts]
        query = LedgerQuery(
            from_ms=ms_from_timestamp(request.start_time) if has("start_time") else None,
            to_ms=ms_from_timestamp(request.end_time) if has("end_time") else None,
            verdicts=frozenset(name.removeprefix("VERDICT_") for name in names),
        )
        page = await self._reader.ledger(
            who,
            self._id(who, request.parent),
            query,
            request.page_size,
            request.page_token,
            patience_ms(context),
        )
        return ledger_answer(page, self._clock.now().wall_ms)

    async def ListScheduleVersions(  # noqa: N802 - the name is the proto's
        self, request: pb.ListScheduleVersionsRequest, context: Any
    ) -> pb.ListScheduleVersionsResponse:
        """Read every version."""
        who = caller()
        page = await self._reader.versions(
            who,
            self._id(who, request.parent),
            request.page_size,
            request.page_token,
            patience_ms(context),
        )
        return versions_answer(page)

    def _id(self, who: Caller, name: str) -> TaskId:
        return self._api.id_of(who.namespace, last_part(name))

    def _spec(
        self, who: Caller, message: pb.Schedule, name: str, *, needs_task: bool = True
    ) -> ScheduleSpec:
        """A whole specification whose calendar fires.

        Raises:
            InvalidRequest: it contradicts itself, or its calendar is refused.
        """
        spec = spec_from(
            message,
            namespace=who.namespace,
            subject=who.subject,
            name=name,
            needs_task=needs_task,
        )
        if spec.delay_ms is None:
            check_calendar(spec.when, message, self._clock.now().wall_ms)
        return spec

    def _previewed(self, who: Caller, request: pb.PreviewScheduleRequest) -> ScheduleSpec:
        return self._spec(who, request.schedule, request.schedule_id, needs_task=False)

    def _changed(
        self,
        who: Caller,
        request: pb.UpdateScheduleRequest,
        known: ScheduleView | None,
        chosen: str,
    ) -> ScheduleSpec:
        """What the schedule is to be: the fields of the mask over what it is."""
        if known is None:
            return self._spec(who, request.schedule, chosen)
        merged = schedule_message(known)
        paths = list(request.update_mask.paths)
        if set(paths) & set(RULES):
            for rule in RULES:
                merged.ClearField(rule)
        update_mask = FieldMask(paths=paths)
        update_mask.MergeMessage(request.schedule, merged, True, True)
        spec = self._spec(who, merged, chosen)
        return replace(spec, name=known.spec.name)


def _revision(etag: str, known: ScheduleView | None) -> int | None:
    """The revision that is changed: the one that was read, here or by the caller; None = any."""
    if not etag:
        return None if known is None else known.revision
    if not etag.isascii() or not etag.isdigit():
        raise refused("etag", "must be the etag of the schedule as it was read, or empty")
    return int(etag)


def _backfill(view: ScheduleView, backfill_id: str) -> pb.Backfill:
    found = next((one for one in view.backfills if one.backfill_id == backfill_id), None)
    if found is None:
        raise ResourceNotFound(
            f"{name_of(view)} remembers no backfill {backfill_id}; check its name"
        )
    return backfill_message(view, found)
