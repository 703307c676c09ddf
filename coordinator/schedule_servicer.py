"""ScheduleService over gRPC: a thin door to ScheduleApi."""

from __future__ import annotations

from typing import Any

import grpc
from timeball.v1 import schedule_service_pb2 as pb
from timeball.v1 import schedule_service_pb2_grpc as stubs

from coordinator.calls_in import caller, patience_ms
from coordinator.schedule_messages import (
    create_schedule_request,
    schedule_id_of,
    schedule_message,
)
from coordinator.schedules import ScheduleApi
from coordinator.task_messages import request_id_of


class ScheduleServicer(stubs.ScheduleServiceServicer):
    """Serves schedules. `context` is Any throughout: the stubs mix two kinds of it."""

    def __init__(self, api: ScheduleApi) -> None:
        self._api = api

    async def CreateSchedule(  # noqa: N802 - the name is the proto's
        self, request: pb.CreateScheduleRequest, context: Any
    ) -> pb.CreateScheduleResponse:
        """Create a schedule."""
        who = caller()
        wish = create_schedule_request(request, who)
        view = await self._api.create(who, wish, patience_ms(context))
        return pb.CreateScheduleResponse(schedule=schedule_message(view))

    async def GetSchedule(  # noqa: N802 - the name is the proto's
        self, request: pb.GetScheduleRequest, context: Any
    ) -> pb.GetScheduleResponse:
        """Read a schedule."""
        schedule_id = schedule_id_of(request.name)
        view = await self._api.get(caller(), schedule_id, patience_ms(context))
        return pb.GetScheduleResponse(schedule=schedule_message(view))

    async def DeleteSchedule(  # noqa: N802 - the name is the proto's
        self, request: pb.DeleteScheduleRequest, context: Any
    ) -> pb.DeleteScheduleResponse:
        """End a schedule."""
        schedule_id = schedule_id_of(request.name)
        request_id = request_id_of(request.request_id)
        await self._api.end(caller(), schedule_id, request_id, patience_ms(context))
        return pb.DeleteScheduleResponse()

    async def _not_yet(self, request: Any, context: Any) -> Any:
        """Answer honestly until the verb is built."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this is not served yet")

    ListSchedules = _not_yet
    UpdateSchedule = _not_yet
    PauseSchedule = _not_yet
    ResumeSchedule = _not_yet
    TriggerSchedule = _not_yet
    CreateBackfill = _not_yet
    GetBackfill = _not_yet
    StopBackfill = _not_yet
    PreviewSchedule = _not_yet
    ListOccurrences = _not_yet
    ListScheduleVersions = _not_yet
