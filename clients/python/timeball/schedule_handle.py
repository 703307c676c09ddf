"""What a schedule looks like to its caller: where it stands, its runs, its ledger.

Handles hold names, not connections: they ask the client that made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from timeball._schedules import LIMIT_DEFAULT
from timeball.handle import Handle, SyncHandle
from timeball.options import Submission
from timeball.timings import Timing
from timeball.v1 import schedule_service_pb2 as pb
from timeball.v1 import task_pb2

if TYPE_CHECKING:
    from timeball.async_client import AsyncClient
    from timeball.client import Client

_STATES = {pb.SCHEDULE_STATE_PAUSED: "paused", pb.SCHEDULE_STATE_ENDED: "ended"}


class _Known:
    """What both handles know without asking."""

    def __init__(self, schedule: pb.Schedule) -> None:
        self._schedule = schedule

    @property
    def name(self) -> str:
        """Resource name, namespaces/{namespace}/schedules/{schedule}."""
        return self._schedule.name

    @property
    def id(self) -> str:
        """The last part of its name: what its creator chose, or its id."""
        return self.name.rpartition("/")[2]

    @property
    def last_seen(self) -> pb.Schedule:
        """The API's schedule as the last answer had it; asks nobody."""
        return self._schedule

    def __repr__(self) -> str:
        state = "ended" if self._schedule.ended else _STATES.get(self._schedule.state, "active")
        return f"<{type(self).__name__} {self.id} {state}>"

    def _seen(self, schedule: pb.Schedule) -> pb.Schedule:
        self._schedule = schedule
        return schedule


class ScheduleHandle(_Known):
    """A schedule, for coroutines."""

    def __init__(self, client: AsyncClient, schedule: pb.Schedule) -> None:
        super().__init__(schedule)
        self._client = client

    async def get(self) -> pb.Schedule:
        """Reads the schedule: its next nominal time, its launches, the last tasks it made."""
        return self._seen(await self._client.schedules.get(self.name))

    async def update(
        self,
        timing: Timing | None = None,
        *,
        task: Submission[Any] | None = None,
        etag: str = "",
    ) -> pb.Schedule:
        """Replaces when it fires, or its task, or both.

        Args:
            etag: as it was read, `handle.last_seen.etag`; empty = change whatever there is.

        Raises:
            StaleEtag: somebody else has changed it since.
        """
        changed = await self._client.schedules.update(self.name, timing, task=task, etag=etag)
        return self._seen(changed)

    async def delete(self) -> None:
        """Ends it: no nominal time after the answer is launched."""
        await self._client.schedules.delete(self.name)

    async def pause(self, reason: str = "") -> pb.Schedule:
        """Launches nothing until it is resumed; the reason is shown, at most 500 characters."""
        return self._seen(await self._client.schedules.pause(self.name, reason=reason))

    async def resume(self, reason: str = "") -> pb.Schedule:
        """Goes on with the first nominal time after the answer."""
        return self._seen(await self._client.schedules.resume(self.name, reason=reason))

    async def trigger(self) -> Handle[Any]:
        """Launches a run now, also while paused."""
        answer = await self._client.schedules.trigger(self.name)
        self._seen(answer.schedule)
        return Handle(self._client, task_pb2.Task(name=answer.task))

    async def backfill(
        self, start: datetime, end: datetime, *, backfill_id: str = ""
    ) -> pb.Backfill:
        """Launches the nominal times of a past range once more, both ends included."""
        return await self._client.schedules.backfill(self.name, start, end, backfill_id=backfill_id)

    async def preview(
        self,
        *,
        count: int = 10,
        after: datetime | None = None,
        missed_since: datetime | None = None,
    ) -> pb.PreviewScheduleResponse:
        """The next nominal times, 1 to 1,000; or what catch-up would make of the time since."""
        return await self._client.schedules.preview(
            self.name, count=count, after=after, missed_since=missed_since
        )

    async def occurrences(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        verdicts: Sequence[str] = (),
        limit: int = LIMIT_DEFAULT,
    ) -> Sequence[pb.Occurrence]:
        """The ledger: the verdict on every nominal time that has been decided, in their order."""
        return await self._client.schedules.occurrences(
            self.name, start=start, end=end, verdicts=verdicts, limit=limit
        )


class SyncScheduleHandle(_Known):
    """A schedule, for threads; verb for verb the twin of ScheduleHandle."""

    def __init__(self, client: Client, schedule: pb.Schedule) -> None:
        super().__init__(schedule)
        self._client = client

    def get(self) -> pb.Schedule:
        """Reads the schedule: its next nominal time, its launches, the last tasks it made."""
        return self._seen(self._client.schedules.get(self.name))

    def update(
        self,
        timing: Timing | None = None,
        *,
        task: Submission[Any] | None = None,
        etag: str = "",
    ) -> pb.Schedule:
        """Replaces when it fires, or its task, or both.

        Args:
            etag: as it was read, `handle.last_seen.etag`; empty = change whatever there is.

        Raises:
            StaleEtag: somebody else has changed it since.
        """
        changed = self._client.schedules.update(self.name, timing, task=task, etag=etag)
        return self._seen(changed)

    def delete(self) -> None:
        """Ends it: no nominal time after the answer is launched."""
        self._client.schedules.delete(self.name)

    def pause(self, reason: str = "") -> pb.Schedule:
        """Launches nothing until it is resumed; the reason is shown, at most 500 characters."""
        return self._seen(self._client.schedules.pause(self.name, reason=reason))

    def resume(self, reason: str = "") -> pb.Schedule:
        """Goes on with the first nominal time after the answer."""
        return self._seen(self._client.schedules.resume(self.name, reason=reason))

    def trigger(self) -> SyncHandle[Any]:
        """Launches a run now, also while paused."""
        answer = self._client.schedules.trigger(self.name)
        self._seen(answer.schedule)
        return SyncHandle(self._client, task_pb2.Task(name=answer.task))

    def backfill(self, start: datetime, end: datetime, *, backfill_id: str = "") -> pb.Backfill:
        """Launches the nominal times of a past range once more, both ends included."""
        return self._client.schedules.backfill(self.name, start, end, backfill_id=backfill_id)

    def preview(
        self,
        *,
        count: int = 10,
        after: datetime | None = None,
        missed_since: datetime | None = None,
    ) -> pb.PreviewScheduleResponse:
        """The next nominal times, 1 to 1,000; or what catch-up would make of the time since."""
        return self._client.schedules.preview(
            self.name, count=count, after=after, missed_since=missed_since
        )

    def occurrences(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        verdicts: Sequence[str] = (),
        limit: int = LIMIT_DEFAULT,
    ) -> Sequence[pb.Occurrence]:
        """The ledger: the verdict on every nominal time that has been decided, in their order."""
        return self._client.schedules.occurrences(
            self.name, start=start, end=end, verdicts=verdicts, limit=limit
        )
