"""Minting: the address that a create request gives its task, the same for every repetition.

Owns the choice of home minute, shard and unique number. The address follows from the request
alone wherever possible, so that any coordinator gives a repeated request the same one. Where it
cannot, `Minted.needs_name` says that the caller must settle it once, by a conditional write,
before sending. Must never put a time into the address that a reader would trust: only the
owner's clock decides when a task is due.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from timeball_server.core.buckets import Layout, minute_of
from timeball_server.core.ids import (
    Bucket,
    IdParts,
    Minute,
    ShardId,
    TaskId,
    encode_id,
    request_time_ms,
    unique_from_request,
)

TRUSTED_MS: Final = 3_600_000
"""An instant in a request this far from now still names its home; others do on a resend only."""
SURE_PAST_MS: Final = TRUSTED_MS - 300_000
"""Up to this age every coordinator trusts the instant, whatever its own clock is off by."""
SURE_AHEAD_MS: Final = 300_000
"""Time stamps further ahead than this come from a wrong clock: settle their address by name."""

_OWN_VERSION: Final = 8
"""Of the request ids made here: a UUID whose content is its maker's own matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTime:
    """When a request wants its task to start: at `run_ms`, or `delay_ms` after it arrives."""

    run_ms: int | None = None
    delay_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """An address. `needs_name`: another coordinator, or a later try, might mint another one."""

    minute: Minute
    shard: ShardId
    unique: bytes
    needs_name: bool

    @property
    def task_id(self) -> TaskId:
        """The id in part 0 of the home bucket; the owner may choose another part."""
        return encode_id(IdParts(Bucket(self.minute, self.shard), self.unique))


def mint(
    namespace: str,
    request_id: bytes,
    time: CreateTime,
    *,
    resend: bool,
    now_ms: int,
    layout: Layout,
    key: str = "",
) -> Minted:
    """The address of the task that this request creates.

    The home minute is that of the explicit run time; without one it is that of the request's
    own time stamp (UUID version 7) plus the delay. An instant that is more than an hour off is
    replaced by now, so that homes stay above the removed buckets; but a resend keeps it,
    because the first try may have gone there when it was younger.

    Args:
        namespace: the caller's namespace.
        request_id: the 16 bytes of the request's UUID.
        time: when the task is to start.
        resend: whether this request may have been sent before.
        now_ms: wall clock of the coordinator.
        layout: which shards a minute's ids may name.
        key: the task's concurrency key. All tasks of a key live on one shard, whose owner counts
            them; empty = no key.
    """
    anchor_ms, needs_name = _anchor(request_id, time, resend=resend, now_ms=now_ms)
    minute = minute_of(anchor_ms + time.delay_ms)
    unique = unique_from_request(namespace, request_id)
    shard = layout.shard_for_key(namespace, key) if key else layout.shard_for(minute, unique)
    return Minted(minute=minute, shard=shard, unique=unique, needs_name=needs_name)


def request_name(request_id: bytes) -> str:
    """The name by which the address of an unstable request is settled."""
    return f"request:{request_id.hex()}"


def redrive_request_id(task_id: TaskId) -> bytes:
    """The request that redrives this task; carries no time, so its address is settled by name."""
    raw = bytearray(blake2b(f"redrive {task_id}".encode(), digest_size=16).digest())
    raw[6] = _OWN_VERSION << 4 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return bytes(raw)


def fresh_request_id(now_ms: int, entropy: bytes) -> bytes:
    """A UUID version 7 for a caller that brought none.

    Args:
        now_ms: wall clock; becomes the time stamp.
        entropy: at least 10 random bytes.
    """
    raw = bytearray(now_ms.to_bytes(6, "big") + entropy[:10])
    raw[6] = 0x70 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return bytes(raw)


def _anchor(request_id: bytes, time: CreateTime, *, resend: bool, now_ms: int) -> tuple[int, bool]:
    """The instant that names the home, and whether a name must settle it.

    A request id without a time stamp is a key that its caller chose. It stands for one task even if
    a repetition says another run time, and so another home: that is for the owner to refuse.
    """
    made_ms = request_time_ms(request_id)
    instant_ms = made_ms if time.run_ms is None else time.run_ms
    if instant_ms is None:
        return now_ms, True
    age_ms = now_ms - instant_ms
    ahead_ms = -age_ms if time.run_ms is None else 0
    needs_name = made_ms is None or age_ms > SURE_PAST_MS or ahead_ms > SURE_AHEAD_MS
    trusted = ahead_ms <= TRUSTED_MS and (resend or age_ms <= TRUSTED_MS)
    return (instant_ms if trusted else now_ms), needs_name
