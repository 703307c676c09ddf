"""Bytes of the parts of a row that no query looks into: details, and lists of text.

A detail is the MessagePack pair [kind, body]; the body is a map from field name to value, so a
reader skips fields that it does not know and fills in defaults for those that are missing.
Values equal to their default are written too: a default may change, a stored task may not.
"""

from __future__ import annotations

from typing import Final

import msgspec
from timeball.errors import NewerVersionNeeded

from timeball_server.core.journal import (
    Detail,
    NoteDetail,
    OutcomeDetail,
    ProgressDetail,
    ScheduleDetail,
    SpecDetail,
)

_KINDS: Final[dict[type[Detail], str]] = {
    SpecDetail: "spec",
    OutcomeDetail: "outcome",
    ProgressDetail: "progress",
    NoteDetail: "note",
    ScheduleDetail: "schedule",
}
_ENCODER: Final = msgspec.msgpack.Encoder()
_PAIR: Final = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])
_SPEC: Final = msgspec.msgpack.Decoder(SpecDetail)
_OUTCOME: Final = msgspec.msgpack.Decoder(OutcomeDetail)
_PROGRESS: Final = msgspec.msgpack.Decoder(ProgressDetail)
_NOTE: Final = msgspec.msgpack.Decoder(NoteDetail)
_SCHEDULE: Final = msgspec.msgpack.Decoder(ScheduleDetail)
_BODIES: Final[
    dict[
        str,
        msgspec.msgpack.Decoder[SpecDetail]
        | msgspec.msgpack.Decoder[OutcomeDetail]
        | msgspec.msgpack.Decoder[ProgressDetail]
        | msgspec.msgpack.Decoder[NoteDetail]
        | msgspec.msgpack.Decoder[ScheduleDetail],
    ]
] = {
    "spec": _SPEC,
    "outcome": _OUTCOME,
    "progress": _PROGRESS,
    "note": _NOTE,
    "schedule": _SCHEDULE,
}
_TEXTS: Final = msgspec.json.Decoder(tuple[str, ...])


def encode_detail(detail: Detail | None) -> bytes | None:
    """Write a detail; None stays None."""
    return None if detail is None else _ENCODER.encode((_KINDS[type(detail)], detail))


def decode_detail(data: bytes | None) -> Detail | None:
    """Read a detail.

    Raises:
        NewerVersionNeeded: the bytes are of a kind that only a newer version knows, or broken.
    """
    if data is None:
        return None
    try:
        kind, body = _PAIR.decode(data)
        return _BODIES[kind].decode(body)
    except (msgspec.DecodeError, KeyError) as error:
        raise NewerVersionNeeded(
            "A stored event cannot be read: its detail is broken or was written by a newer "
            f"version ({error}). Run the version that wrote it, or restore the database."
        ) from error


def encode_texts(texts: tuple[str, ...]) -> str | None:
    """Write a list of text as JSON, None when it is empty."""
    return msgspec.json.encode(texts).decode() if texts else None


def decode_texts(data: str | None) -> tuple[str, ...]:
    """Read a list of text; None is the empty one."""
    return () if data is None else _TEXTS.decode(data)
