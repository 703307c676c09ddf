"""Schedules between a coordinator and an owner: records as the journal keeps them, MessagePack.

A reader skips fields that it does not know and fills in defaults for those that are missing, so
that two versions of us understand each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

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
from timeball_server.core.model import ScheduleView
from timeball_server.internal.v1 import shard_service_pb2 as pb

_KINDS: Final[Mapping[type, str]] = MappingProxyType(
    {
        CreateSchedule: "CREATE",
        ReadSchedule: "READ",
        EndSchedule: "END",
        UpdateSchedule: "UPDATE",
        PauseSchedule: "PAUSE",
        ResumeSchedule: "RESUME",
        TriggerSchedule: "TRIGGER",
        BackfillSchedule: "BACKFILL",
        StopBackfill: "STOP_BACKFILL",
    }
)
_ENCODER: Final = msgspec.msgpack.Encoder()
# A mapping's type cannot say that each decoder is of its own command: Any ends in read.
_DECODERS: Final[Mapping[str, Any]] = MappingProxyType(
    {kind: msgspec.msgpack.Decoder(command) for command, kind in _KINDS.items()}
)
_VIEWS: Final = msgspec.msgpack.Decoder(ScheduleView)


def write_schedule_command(target: pb.Command, command: ScheduleCommand) -> None:
    """Fill a message with a command on a schedule."""
    target.schedule.kind = _KINDS[type(command)]
    target.schedule.body = _ENCODER.encode(command)


def read_schedule_command(message: pb.Command) -> ScheduleCommand | None:
    """The command on a schedule in a message, None if it is about something else.

    Raises:
        ValueError: it is of a kind, or in a form, that this version does not know.
    """
    if message.WhichOneof("kind") != "schedule":
        return None
    decoder = _DECODERS.get(message.schedule.kind)
    if decoder is None:
        raise ValueError(f"{message.schedule.kind} is nothing that this version does")
    try:
        command: ScheduleCommand = decoder.decode(message.schedule.body)
    except msgspec.DecodeError as error:
        raise ValueError(f"a command on a schedule cannot be read: {error}") from error
    return command


def write_schedule_view(target: pb.ScheduleDone, view: ScheduleView) -> None:
    """Fill a message with a schedule as its owner knows it."""
    target.view = _ENCODER.encode(view)


def read_schedule_view(message: pb.ScheduleDone) -> ScheduleView:
    """The schedule in a message.

    Raises:
        ValueError: it is in a form that this version does not know.
    """
    try:
        return _VIEWS.decode(message.view)
    except msgspec.DecodeError as error:
        raise ValueError(f"a schedule cannot be read: {error}") from error
