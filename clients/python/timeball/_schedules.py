"""What clients ask about schedules, as flows for both of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from google.protobuf import field_mask_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from timeball import _requests
from timeball._flow import Flow, Kit, Method, call
from timeball._timings import TIMING_FIELDS, schedule_of, timing_message
from timeball.errors import refused
from timeball.options import Submission
from timeball.timings import Timing
from timeball.v1 import schedule_service_pb2 as pb

_PATH = "/timeball.v1.ScheduleService/"
PAGE_SIZE_MOST = 1_000
LIMIT_DEFAULT = 1_000
M = TypeVar("M", bound=Message)


def method(name: str) -> Method[Any, Any]:
    """A method of the service; its messages are named after it."""
    return Method(_PATH + name, getattr(pb, f"{name}Request"), getattr(pb, f"{name}Response"))


def full_name(kit: Kit, schedule: str) -> str:
    """Resource name of a schedule given by name, id or resource name."""
    return _requests.schedule_name(kit.settings, schedule)


def ask(kit: Kit, rpc: str, field: str, /, **said: Any) -> Flow[Any]:
    """One field of one answer."""
    answer = yield from call(kit, method(rpc), method(rpc).request(**said))
    return getattr(answer, field)


def collect(kit: Kit, rpc: str, request: Any, field: str, limit: int) -> Flow[list[Any]]:
    """The items of a list, page after page, at most so many."""
    found: list[Any] = []
    while True:
        request.page_size = max(1, min(limit - len(found), PAGE_SIZE_MOST))
        answer = yield from call(kit, method(rpc), request)
        found += getattr(answer, field)
        request.page_token = answer.next_page_token
        if not request.page_token or len(found) >= limit:
            return found[:limit]


def create(
    kit: Kit, timing: Timing, submission: Submission[Any], *, name: str, title: str
) -> Flow[pb.Schedule]:
    """Creates one schedule; an empty name = it is called by its id."""
    made: pb.Schedule = yield from ask(
        kit,
        "CreateSchedule",
        "schedule",
        parent=kit.settings.parent,
        schedule=schedule_of(timing, submission, title),
        request_id=kit.request_id(submission.options.get("request_id")),
        schedule_id=name,
    )
    return made


def put(kit: Kit, name: str, timing: Timing, submission: Submission[Any]) -> Flow[pb.Schedule]:
    """Creates the schedule of this name, or makes it what is said; nothing if it is already."""
    wished = schedule_of(timing, submission, name)
    request_id = submission.options.get("request_id")
    return (yield from patch(kit, name, wished, (), "", True, request_id))


def patch(
    kit: Kit,
    schedule: str,
    wished: pb.Schedule,
    fields: Iterable[str],
    etag: str,
    allow_missing: bool,
    request_id: str | None,
) -> Flow[pb.Schedule]:
    """Changes the named fields; none named = all of them."""
    changed: pb.Schedule = yield from ask(
        kit,
        "UpdateSchedule",
        "schedule",
        name=full_name(kit, schedule),
        schedule=wished,
        update_mask=field_mask_pb2.FieldMask(paths=fields),
        etag=etag,
        allow_missing=allow_missing,
        request_id=kit.request_id(request_id),
    )
    return changed


def update(
    kit: Kit,
    schedule: str,
    timing: Timing | None,
    submission: Submission[Any] | None,
    etag: str,
    request_id: str | None,
) -> Flow[pb.Schedule]:
    """Replaces when it fires, or its task, or both."""
    fields: list[str] = []
    wished = pb.Schedule()
    if timing is not None:
        wished = timing_message(timing)
        fields += TIMING_FIELDS
    if submission is not None:
        title = schedule.rpartition("/")[2]
        wished.task.CopyFrom(schedule_of(Timing(), submission, title).task)
        fields.append("task")
    if not fields:
        raise refused("update", "say a timing, a task, or both")
    return (yield from patch(kit, schedule, wished, fields, etag, False, request_id))


def get(kit: Kit, schedule: str) -> Flow[pb.Schedule]:
    """Reads one schedule."""
    name = full_name(kit, schedule)
    found: pb.Schedule = yield from ask(kit, "GetSchedule", "schedule", name=name)
    return found


def list_schedules(
    kit: Kit, states: Iterable[str], handler: str, label: str, limit: int
) -> Flow[list[pb.Schedule]]:
    """Reads schedules; no states = ACTIVE and PAUSED."""
    request = pb.ListSchedulesRequest(parent=kit.settings.parent, handler=handler, label=label)
    for state in states:
        number = _number(pb.ScheduleState, "SCHEDULE_STATE_", "states", state)
        request.states.append(pb.ScheduleState.ValueType(number))
    return (yield from collect(kit, "ListSchedules", request, "schedules", limit))


def change(kit: Kit, rpc: str, schedule: str, request_id: str | None, **said: Any) -> Flow[Any]:
    """Pauses, resumes, triggers or ends a schedule: the whole answer."""
    name = full_name(kit, schedule)
    request = method(rpc).request(name=name, request_id=kit.request_id(request_id), **said)
    return (yield from call(kit, method(rpc), request))


def backfill(
    kit: Kit, schedule: str, start: datetime, end: datetime, backfill_id: str
) -> Flow[pb.Backfill]:
    """Launches the nominal times of a past range once more."""
    wished = pb.Backfill(
        start_time=_requests.timestamp(start, "start"), end_time=_requests.timestamp(end, "end")
    )
    made: pb.Backfill = yield from ask(
        kit,
        "CreateBackfill",
        "backfill",
        parent=full_name(kit, schedule),
        backfill=wished,
        backfill_id=kit.request_id(backfill_id),
    )
    return made


def at_backfill(kit: Kit, rpc: str, schedule: str, backfill_id: str) -> Flow[pb.Backfill]:
    """Reads or stops a backfill."""
    name = f"{full_name(kit, schedule)}/backfills/{backfill_id}"
    found: pb.Backfill = yield from ask(kit, rpc, "backfill", name=name)
    return found


def preview(
    kit: Kit,
    schedule: str | Timing,
    name: str,
    count: int,
    after: datetime | None,
    missed_since: datetime | None,
) -> Flow[pb.PreviewScheduleResponse]:
    """Computes nominal times of a schedule, or of a timing that nobody has scheduled yet."""
    request = pb.PreviewScheduleRequest(parent=kit.settings.parent, count=_count(count))
    if isinstance(schedule, Timing):
        request.schedule.CopyFrom(timing_message(schedule))
        request.schedule_id = name
    else:
        request.name = full_name(kit, schedule)
    _set_instant(request.after, after, "after")
    _set_instant(request.missed_since, missed_since, "missed_since")
    answer: pb.PreviewScheduleResponse = yield from call(kit, method("PreviewSchedule"), request)
    return answer


def occurrences(
    kit: Kit,
    schedule: str,
    start: datetime | None,
    end: datetime | None,
    verdicts: Sequence[str],
    limit: int,
) -> Flow[list[pb.Occurrence]]:
    """Reads the ledger, by nominal time."""
    request = pb.ListOccurrencesRequest(parent=full_name(kit, schedule))
    _set_instant(request.start_time, start, "start")
    _set_instant(request.end_time, end, "end")
    for verdict in verdicts:
        number = _number(pb.Verdict, "VERDICT_", "verdicts", verdict)
        request.verdicts.append(pb.Verdict.ValueType(number))
    return (yield from collect(kit, "ListOccurrences", request, "occurrences", limit))


def decided_until(kit: Kit, schedule: str) -> Flow[Timestamp]:
    """Reads how far the ledger goes."""
    parent = full_name(kit, schedule)
    found: Timestamp = yield from ask(
        kit, "ListOccurrences", "decided_until", parent=parent, page_size=1
    )
    return found


def versions(kit: Kit, schedule: str, limit: int) -> Flow[list[pb.ScheduleVersion]]:
    """Reads what a schedule said and when, by number."""
    parent = full_name(kit, schedule)
    request = pb.ListScheduleVersionsRequest(parent=parent)
    return (yield from collect(kit, "ListScheduleVersions", request, "versions", limit))


def _set_instant(target: Any, value: datetime | None, field: str) -> None:
    if value is not None:
        target.CopyFrom(_requests.timestamp(value, field))


def _count(count: int) -> int:
    if not 0 < count <= PAGE_SIZE_MOST:
        raise refused("count", f"{count} is not from 1 to {PAGE_SIZE_MOST}")
    return count


def _number(words: Any, prefix: str, field: str, word: str) -> int:
    try:
        return int(words.Value(f"{prefix}{word.upper()}"))
    except ValueError:
        known = ", ".join(name.removeprefix(prefix) for name, number in words.items() if number)
        raise refused(field, f"there is no {word!r}; there are {known}") from None
