"""What a running handler says of itself, and where it lets another attempt go on.

Checkpoints are bytes as they are, or any value as JSON. Never sends anything by itself.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from timeball.errors import refused
from timeball.payload import CONTENT_TYPE

MAX_CHECKPOINT_BYTES: Final = 32 * 1024
"""A checkpoint as it is kept; bigger things belong elsewhere, with a checkpoint that names them."""
MAX_NOTE_CHARACTERS: Final = 500
"""More of a note is cut off."""
BYTES_TYPE: Final = "application/octet-stream"
"""Media type of checkpoints that are bytes."""


class Checkpoint(NamedTuple):
    """Where another attempt can go on, as bytes and what they are."""

    data: bytes
    content_type: str


class Heartbeat(NamedTuple):
    """One sign of life. `checkpoint` None = the one before still holds."""

    progress: float | None
    note: str
    checkpoint: Checkpoint | None


def heartbeat(progress: float | None, note: str, checkpoint: object) -> Heartbeat:
    """Checks and packs a sign of life.

    Raises:
        InvalidRequest: the progress is not from 0 to 1; the checkpoint has no JSON form, or is too
            big.
    """
    if progress is not None and not 0 <= progress <= 1:
        raise refused("progress", f"from 0 to 1, got {progress}; words belong into note")
    packed = None if checkpoint is None else _packed(checkpoint)
    return Heartbeat(progress, note[:MAX_NOTE_CHARACTERS], packed)


def _packed(checkpoint: object) -> Checkpoint:
    if isinstance(checkpoint, bytes):
        packed = Checkpoint(checkpoint, BYTES_TYPE)
    else:
        try:
            packed = Checkpoint(msgspec.json.encode(checkpoint), CONTENT_TYPE)
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            raise refused("checkpoint", f"has no JSON form: {error}") from error
    if len(packed.data) > MAX_CHECKPOINT_BYTES:
        sentence = (
            f"has {len(packed.data):,} bytes, {MAX_CHECKPOINT_BYTES:,} at most; "
            "store it elsewhere and keep where it is"
        )
        raise refused("checkpoint", sentence)
    return packed


def unpacked(checkpoint: Checkpoint, kind: Any) -> Any:
    """The value of a checkpoint.

    Raises:
        InvalidRequest: it is not a `kind`; another version of the handler may have left it.
    """
    if checkpoint.content_type != CONTENT_TYPE:
        return checkpoint.data
    try:
        return msgspec.json.decode(checkpoint.data, type=kind)
    except msgspec.DecodeError as error:
        raise refused(
            "checkpoint", f"{error}; did another version of the handler leave it?"
        ) from error
