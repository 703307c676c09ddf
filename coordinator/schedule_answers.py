"""What the schedule service says of ledgers, versions and previews, as messages."""

from __future__ import annotations

from typing import Final

from timeball.v1 import schedule_service_pb2 as pb

from coordinator.schedule_messages import name_of, spec_message
from coordinator.schedule_preview import Preview
from coordinator.schedule_reading import LedgerPage, VersionsPage
from timeball_server.core.journal import LedgerRow, VersionRow
from timeball_server.core.model import ScheduleSpec
from timeball_server.rpc.convert import set_duration, set_timestamp, task_name

_VERDICTS: Final = frozenset(pb.Verdict.keys())


def occurrence_message(row: LedgerRow, namespace: str) -> pb.Occurrence:
    """A row of the ledger; what is left of its lateness is for the busy cluster.

    A verdict that only a newer version knows is told in its cause.
    """
    known = f"VERDICT_{row.verdict}" in _VERDICTS
    message = pb.Occurrence(
        times=row.times or 1,
        verdict=pb.Verdict.Value(f"VERDICT_{row.verdict}" if known else "VERDICT_UNSPECIFIED"),
        cause=row.cause if known else f"{row.verdict}, a newer version's verdict: {row.cause}",
        version=row.version,
        epoch=row.epoch,
        task="" if row.task_id is None else task_name(namespace, row.task_id),
    )
    set_timestamp(message.nominal_time, row.nominal_ms)
    if row.last_nominal_ms is not None:
        set_timestamp(message.last_nominal_time, row.last_nominal_ms)
    set_duration(message.lateness, row.lateness_ms)
    set_duration(message.lateness_down, row.down_ms)
    set_duration(message.lateness_overlap, row.overlap_ms)
    capacity_ms = max(0, row.lateness_ms - row.down_ms - row.overlap_ms)
    set_duration(message.lateness_capacity, capacity_ms)
    return message


def ledger_answer(page: LedgerPage, now_ms: int) -> pb.ListOccurrencesResponse:
    """A page of the ledger, and how far it goes."""
    view = page.schedule
    answer = pb.ListOccurrencesResponse(
        occurrences=[occurrence_message(row, view.spec.task.namespace) for row in page.rows],
        next_page_token=page.next_token,
    )
    undecided_ms = now_ms if view.undecided_ms is None else min(view.undecided_ms, now_ms)
    set_timestamp(answer.decided_until, undecided_ms)
    return answer


def versions_answer(page: VersionsPage) -> pb.ListScheduleVersionsResponse:
    """A page of versions."""
    view = page.schedule
    name = name_of(view)
    return pb.ListScheduleVersionsResponse(
        versions=[_version(row, until_ms, name) for row, until_ms in page.versions],
        next_page_token=page.next_token,
    )


def _version(row: VersionRow, until_ms: int | None, name: str) -> pb.ScheduleVersion:
    message = pb.ScheduleVersion(
        version=row.version, schedule=spec_message(row.detail.spec), actor=row.actor
    )
    message.schedule.name = name
    set_timestamp(message.after_time, row.after_ms)
    if until_ms is not None:
        set_timestamp(message.until_time, until_ms)
    return message


def preview_answer(seen: Preview) -> pb.PreviewScheduleResponse:
    """Times to come."""
    answer = pb.PreviewScheduleResponse(end_cause=seen.end_cause)
    for coming in seen.times:
        made = answer.times.add(marks=coming.marks)
        set_timestamp(made.nominal_time, coming.nominal_ms)
        if coming.due_ms is not None:
            set_timestamp(made.due_time, coming.due_ms)
    for gone in seen.dropped:
        left_out = answer.dropped.add(local_time=gone.local, time_zone=gone.zone)
        set_timestamp(left_out.time, gone.at_ms)
    return answer


def missed_answer(seen: Preview, spec: ScheduleSpec) -> pb.PreviewScheduleResponse:
    """What catch-up would do."""
    words = f"{seen.missed} missed, policy {spec.catch_up.policy} runs {seen.caught_up}"
    return pb.PreviewScheduleResponse(catch_up=words, missed=seen.missed, caught_up=seen.caught_up)
