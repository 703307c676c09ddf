"""What clients ask about schedules, for coroutines; the synchronous twin is schedules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Unpack

from timeball import _schedules
from timeball._schedules import LIMIT_DEFAULT
from timeball.options import Submission, SubmitOptions, prepared
from timeball.schedule_handle import ScheduleHandle
from timeball.timings import Timing
from timeball.v1 import schedule_service_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from timeball._flow import AsyncRun, Kit
    from timeball.async_client import AsyncClient


class AsyncSchedules:
    """Asks about schedules; made by `AsyncClient.schedules`.

    A schedule is given by its name, its id or its resource name. Every method may raise any error
    of timeball.errors; what the server refuses names the field, the position and what to write.
    """

    def __init__(self, client: AsyncClient, kit: Kit, run: AsyncRun) -> None:
        self._client = client
        self._kit = kit
        self._run = run

    def handle(self, schedule: str) -> ScheduleHandle:
        """A handle for a schedule that exists; asks nobody."""
        name = _schedules.full_name(self._kit, schedule)
        return ScheduleHandle(self._client, pb.Schedule(name=name))

    async def put(
        self,
        name: str,
        timing: Timing,
        task: Submission[Any] | str,
        arguments: Mapping[str, object] | None = None,
        /,
        **options: Unpack[SubmitOptions],
    ) -> ScheduleHandle:
        """Creates the schedule of this name, or makes it what is said here.

        One that is so already stays as it is, with its version and etag. Its tasks carry the name
        as their label `schedule`.

        Args:
            name: begins with a letter; a-z, 0-9, dot, dash and underscore; at most 100.
            timing: when, say `cron("0 9 * * mon-fri", tz="Europe/Berlin")`.
            task: a prepared task, or a handler's name with `arguments` and `options`.
        """
        ready = prepared(task, arguments, **options)
        made = await self._run(_schedules.put(self._kit, name, timing, ready))
        return ScheduleHandle(self._client, made)

    async def create(
        self,
        timing: Timing,
        task: Submission[Any] | str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        name: str = "",
        **options: Unpack[SubmitOptions],
    ) -> ScheduleHandle:
        """Creates a schedule; without a name it is called by its id.

        Raises:
            AlreadyExists: there is one of this name.
        """
        ready = prepared(task, arguments, **options)
        made = await self._run(_schedules.create(self._kit, timing, ready, name=name, title=name))
        return ScheduleHandle(self._client, made)

    async def get(self, schedule: str) -> pb.Schedule:
        """Reads a schedule."""
        return await self._run(_schedules.get(self._kit, schedule))

    async def list(
        self,
        *,
        states: Iterable[str] = (),
        handler: str = "",
        label: str = "",
        limit: int = LIMIT_DEFAULT,
    ) -> list[pb.Schedule]:
        """Schedules in a lasting order.

        Args:
            states: of ACTIVE, PAUSED and ENDED; none = ACTIVE and PAUSED.
            handler: only those that start its tasks.
            label: only those with this label, written key=value.
            limit: at most so many.
        """
        return await self._run(_schedules.list_schedules(self._kit, states, handler, label, limit))

    async def update(
        self,
        schedule: str,
        timing: Timing | None = None,
        *,
        task: Submission[Any] | None = None,
        etag: str = "",
        request_id: str | None = None,
    ) -> pb.Schedule:
        """Replaces when it fires, or its task, or both; what is due by then keeps its verdict.

        Args:
            timing: replaces all of it: what it does not say becomes the default.
            task: a prepared task.
            etag: as it was read; empty = change whatever there is.

        Raises:
            StaleEtag: somebody else has changed it since.
        """
        return await self._run(
            _schedules.update(self._kit, schedule, timing, task, etag, request_id)
        )

    async def patch(
        self,
        schedule: str,
        wished: pb.Schedule,
        *,
        fields: Iterable[str] = (),
        etag: str = "",
        allow_missing: bool = False,
        request_id: str | None = None,
    ) -> pb.Schedule:
        """Changes the named fields to those of an API message; none named = all of them.

        Args:
            allow_missing: create it if there is none; then no fields may be named.

        Raises:
            StaleEtag: somebody else has changed it since.
        """
        return await self._run(
            _schedules.patch(self._kit, schedule, wished, fields, etag, allow_missing, request_id)
        )

    async def delete(self, schedule: str, *, request_id: str | None = None) -> None:
        """Ends a schedule: no nominal time after the answer is launched."""
        await self._run(_schedules.change(self._kit, "DeleteSchedule", schedule, request_id))

    async def pause(
        self, schedule: str, *, reason: str = "", request_id: str | None = None
    ) -> pb.Schedule:
        """Launches nothing until it is resumed; `reason`, at most 500 characters, is shown."""
        answer: pb.PauseScheduleResponse = await self._run(
            _schedules.change(self._kit, "PauseSchedule", schedule, request_id, reason=reason)
        )
        return answer.schedule

    async def resume(
        self, schedule: str, *, reason: str = "", request_id: str | None = None
    ) -> pb.Schedule:
        """Goes on with the first nominal time after the answer."""
        answer: pb.ResumeScheduleResponse = await self._run(
            _schedules.change(self._kit, "ResumeSchedule", schedule, request_id, reason=reason)
        )
        return answer.schedule

    async def trigger(
        self, schedule: str, *, request_id: str | None = None
    ) -> pb.TriggerScheduleResponse:
        """Launches a run now, also while paused: its task's name, and the schedule."""
        answer: pb.TriggerScheduleResponse = await self._run(
            _schedules.change(self._kit, "TriggerSchedule", schedule, request_id)
        )
        return answer

    async def backfill(
        self, schedule: str, start: datetime, end: datetime, *, backfill_id: str = ""
    ) -> pb.Backfill:
        """Launches the nominal times of a past range once more, both ends included.

        Args:
            backfill_id: the last part of its name, at most 63; made for you when left out.
        """
        return await self._run(_schedules.backfill(self._kit, schedule, start, end, backfill_id))

    async def get_backfill(self, schedule: str, backfill_id: str) -> pb.Backfill:
        """Reads how far a backfill is; a schedule remembers its last 10."""
        return await self._run(
            _schedules.at_backfill(self._kit, "GetBackfill", schedule, backfill_id)
        )

    async def stop_backfill(self, schedule: str, backfill_id: str) -> pb.Backfill:
        """Stops a backfill: it launches nothing after the answer."""
        return await self._run(
            _schedules.at_backfill(self._kit, "StopBackfill", schedule, backfill_id)
        )

    async def preview(
        self,
        schedule: str | Timing,
        *,
        name: str = "",
        count: int = 10,
        after: datetime | None = None,
        missed_since: datetime | None = None,
    ) -> pb.PreviewScheduleResponse:
        """The next nominal times of a schedule, or of a timing; nothing is written.

        Args:
            name: what `H` in a timing's expressions is hashed from.
            count: 1 to 1,000.
            after: strictly after this instant; None = now.
            missed_since: tell instead what catch-up would make of the time since.
        """
        return await self._run(
            _schedules.preview(self._kit, schedule, name, count, after, missed_since)
        )

    async def occurrences(
        self,
        schedule: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        verdicts: Sequence[str] = (),
        limit: int = LIMIT_DEFAULT,
    ) -> Sequence[pb.Occurrence]:
        """The ledger: the verdict on every nominal time that has been decided, in their order.

        Args:
            start: nominal times from then on; None = the schedule's creation.
            end: nominal times before then; None = now.
            verdicts: only these, such as LAUNCHED or MISSED_WINDOW; none = all.
            limit: at most so many rows.
        """
        return await self._run(
            _schedules.occurrences(self._kit, schedule, start, end, verdicts, limit)
        )

    async def decided_until(self, schedule: str) -> Timestamp:
        """Every nominal time before this instant has its verdict in the ledger."""
        return await self._run(_schedules.decided_until(self._kit, schedule))

    async def versions(
        self, schedule: str, *, limit: int = LIMIT_DEFAULT
    ) -> Sequence[pb.ScheduleVersion]:
        """Every specification that it has had, and from when to when."""
        return await self._run(_schedules.versions(self._kit, schedule, limit))
