"""Schedules between coordinator and owner: what goes in comes out, also between two versions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

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
from timeball_server.core.ids import Minute, ShardId, TaskId
from timeball_server.core.model import (
    Backfill,
    CatchUp,
    CatchUpPolicy,
    Overlap,
    OverlapPolicy,
    PausedBy,
    ScheduleSpec,
    ScheduleView,
    TaskSpec,
)
from timeball_server.core.schedules.spec import (
    Calendar,
    Cron,
    ExcludedCron,
    ExcludedDates,
    ExcludedSpan,
    Exclusions,
    FoldRule,
    Interval,
)
from timeball_server.internal.v1 import shard_service_pb2 as pb
from timeball_server.rpc.schedule_convert import (
    read_schedule_command,
    read_schedule_view,
    write_schedule_command,
    write_schedule_view,
)

SPEC = ScheduleSpec(
    task=TaskSpec(namespace="shop", owner="clerk", handler="billing.charge"),
    calendar=Calendar(
        crons=(Cron(expression="0 9 * * *", zone="Europe/Berlin", fold=FoldRule.BOTH),),
        intervals=(Interval(every_ms=60_000, phase_ms=7),),
        excluded=Exclusions(
            dates=(ExcludedDates(dates=("2026-12-25",), zone="Asia/Tokyo"),),
            spans=(ExcludedSpan(from_ms=1, to_ms=2),),
            crons=(ExcludedCron(expression="* * * * sun"),),
        ),
        end_ms=5,
        jitter_ms=3,
        seed="shop/nightly",
    ),
    overlap=Overlap(policy=OverlapPolicy.BUFFER, limit=7),
    catch_up=CatchUp(policy=CatchUpPolicy.ALL, window_ms=9, max_lateness_ms=8),
    labels=(("team", "billing"),),
    name="nightly",
)
ID = TaskId("0" * 40)
COMMON: dict[str, Any] = {"task_id": ID, "namespace": "shop"}
ASKED: dict[str, Any] = {**COMMON, "request_id": "r", "actor": "clerk", "resend": True}
COMMANDS: list[ScheduleCommand] = [
    CreateSchedule(
        minute=Minute(0),
        shard=ShardId(3),
        part=99,
        unique=bytes(range(16)),
        spec=SPEC,
        request_id="r",
        actor="clerk",
        resend=True,
    ),
    ReadSchedule(**COMMON),
    EndSchedule(**COMMON, request_id="r", actor="clerk"),
    UpdateSchedule(**ASKED, spec=SPEC, fields=("labels",), revision=4, allow_missing=False),
    UpdateSchedule(**ASKED, spec=SPEC, fields=None, revision=None, allow_missing=True),
    PauseSchedule(**ASKED, reason="why"),
    ResumeSchedule(**ASKED),
    TriggerSchedule(**ASKED, minute=Minute(5), unique=b"0123456789abcdef"),
    BackfillSchedule(**ASKED, backfill_id="b", from_ms=1, to_ms=2),
    StopBackfill(**ASKED, backfill_id="b"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_commands_travel_exactly(command: ScheduleCommand) -> None:
    message = pb.Command()
    write_schedule_command(message, command)
    received = pb.Command.FromString(message.SerializeToString())
    assert read_schedule_command(received) == command


def test_a_view_travels_exactly() -> None:
    view = ScheduleView(
        schedule_id=ID,
        spec=SPEC,
        next_ms=7,
        runs=3,
        created_ms=1,
        revision=2,
        ended=False,
        recent=(ID,),
        version=5,
        paused=PausedBy(reason="why", actor="clerk", at_ms=3),
        buffered=(1, 2),
        backfills=(Backfill(backfill_id="b", from_ms=1, to_ms=2, next_ms=None),),
        undecided_ms=1,
        run=ID,
    )
    message = pb.ScheduleDone()
    write_schedule_view(message, view)
    assert read_schedule_view(pb.ScheduleDone.FromString(message.SerializeToString())) == view


def test_a_newer_version_may_say_more_and_an_older_one_less() -> None:
    message = pb.Command()
    message.schedule.kind = "PAUSE"
    said = {**COMMON, "request_id": "r", "actor": "clerk", "mood": "good"}
    message.schedule.body = msgspec.msgpack.encode(said)
    expected = PauseSchedule(**COMMON, request_id="r", actor="clerk")
    assert read_schedule_command(message) == expected


@pytest.mark.parametrize(("kind", "body"), [("PAINT", b"\x80"), ("PAUSE", b"\x80"), ("END", b"?")])
def test_what_cannot_be_read_is_refused(kind: str, body: bytes) -> None:
    message = pb.Command()
    message.schedule.kind, message.schedule.body = kind, body
    with pytest.raises(ValueError, match=r"version does|cannot be read"):
        read_schedule_command(message)


def test_commands_about_tasks_are_left_to_others() -> None:
    message = pb.Command()
    message.read.task_id = ID
    assert read_schedule_command(message) is None


def test_a_view_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_schedule_view(pb.ScheduleDone(view=b"\xc1"))
