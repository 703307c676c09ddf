"""Identities: self-locating task ids and the distinct types of every number that names something.

Owns the id format. A task id is an address: it names the minute, shard and part of the task's
home bucket, so get and cancel by id are one partition read. It is not a time: only the
owner's clock decides when a task is due. Never generates randomness itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import NewType

ShardId = NewType("ShardId", int)
"""Number of a shard, 0 to 65,535. A shard is an entity: ids name it for ever (rule R23)."""
Minute = NewType("Minute", int)
"""Whole minutes since 1970-01-01T00:00Z; the address of a bucket."""
Epoch = NewType("Epoch", int)
"""Fencing number of a shard's ownership: the czxid of the ownership node (rule R1)."""
TaskId = NewType("TaskId", str)
"""Text form of a self-locating id, 40 characters of lower-case Crockford base 32."""
NodeId = NewType("NodeId", str)
"""Name of a process that is a member of the cluster, unique among the living."""
Incarnation = NewType("Incarnation", int)
"""czxid of a member's node: tells a restarted process from its predecessor."""

ID_CHARACTERS = 40
MAX_SHARD = 0xFFFF
MAX_PART = 0xFFFF
MAX_MINUTE = 0xFFFF_FFFF
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_CHARACTERS = frozenset(_ALPHABET)
_AS_PYTHON_READS = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_BYTES = 25
SCHEDULES_MINUTE = Minute(0)
"""Where schedules live: no time, so it is never swept and never removed."""
KIND_TASK = 1
KIND_SCHEDULE = 2
_KINDS = frozenset({KIND_TASK, KIND_SCHEDULE})


class InvalidId(ValueError):
    """The text is not an id that this cluster can have minted."""


@dataclass(frozen=True, slots=True, order=True)
class Bucket:
    """One minute of due times of one shard; parts split a hot bucket."""

    minute: Minute
    shard: ShardId
    part: int = 0


@dataclass(frozen=True, slots=True)
class IdParts:
    """What an id says: the home bucket, the 128-bit unique number and the kind of entity."""

    home: Bucket
    unique: bytes
    kind: int = KIND_TASK


def encode_id(parts: IdParts) -> TaskId:
    """Write an id as text. Ids of one bucket sort by their unique number.

    Raises:
        InvalidId: a number is out of range.
    """
    home = parts.home
    if not (0 <= home.minute <= MAX_MINUTE and 0 <= home.shard <= MAX_SHARD):
        raise InvalidId(f"minute {home.minute} or shard {home.shard} is out of range")
    if not 0 <= home.part <= MAX_PART or len(parts.unique) != 16 or parts.kind not in _KINDS:
        raise InvalidId("part, unique number or kind is out of range")
    raw = (
        bytes((parts.kind,))
        + home.minute.to_bytes(4, "big")
        + home.shard.to_bytes(2, "big")
        + home.part.to_bytes(2, "big")
        + parts.unique
    )
    number = int.from_bytes(raw, "big")
    # Ten bits at a time: ids are written and read several times for every task.
    return TaskId("".join([_PAIRS[number >> shift & 1023] for shift in range(190, -1, -10)]))


@lru_cache(maxsize=16_384)
def decode_id(text: str) -> IdParts:
    """Read an id. Remembered: one task's id is read several times within seconds.

    Raises:
        InvalidId: wrong length, a foreign character, or an unknown kind.
    """
    if len(text) != ID_CHARACTERS:
        raise InvalidId(f"an id has {ID_CHARACTERS} characters, this one has {len(text)}")
    if not _CHARACTERS.issuperset(text):
        foreign = next(character for character in text if character not in _CHARACTERS)
        raise InvalidId(f"character {foreign!r} cannot occur in an id")
    raw = int(text.translate(_AS_PYTHON_READS), 32).to_bytes(_BYTES, "big")
    if raw[0] not in _KINDS:
        raise InvalidId("the id has an unknown format")
    home = Bucket(
        Minute(int.from_bytes(raw[1:5], "big")),
        ShardId(int.from_bytes(raw[5:7], "big")),
        int.from_bytes(raw[7:9], "big"),
    )
    return IdParts(home, raw[9:], raw[0])


def is_known(text: str) -> bool:
    """Whether this version can read the id; one of an unknown kind was minted by a newer one."""
    try:
        decode_id(text)
    except InvalidId:
        return False
    return True


def home_of(task_id: TaskId) -> Bucket:
    """The bucket in which the journal of this task lies."""
    return decode_id(task_id).home


def unique_from_request(namespace: str, request_id: bytes) -> bytes:
    """The unique number of the task that this request creates: the same for every retry.

    A version 7 request id keeps its 48-bit time stamp, so ids of one bucket sort by creation.
    The remaining bits are a hash of namespace and request id (RFC 9562 versions 7 and 8).

    Args:
        namespace: the caller's namespace; two namespaces never collide by choosing one id.
        request_id: the 16 bytes of the caller's UUID.
    """
    digest = hashlib.blake2b(request_id, key=namespace.encode()[:64], digest_size=16).digest()
    if request_id[6] >> 4 == 7:
        return _stamp(request_id[:6] + digest[6:], 7)
    return _stamp(digest, 8)


def home_of_name(namespace: str, name: str) -> tuple[int, bytes]:
    """Part and unique number of the schedule with this name: the same for everybody, for ever.

    Parts spread schedules over partitions, because a schedule's journal grows for ever.
    """
    digest = hashlib.blake2b(name.encode(), key=namespace.encode()[:64], digest_size=18).digest()
    return int.from_bytes(digest[16:], "big"), _stamp(digest[:16], 8)


def home_of_request(namespace: str, request_id: bytes) -> tuple[int, bytes]:
    """Part and unique number of the schedule without a name that this request creates.

    It lives where those with names do: no removal of a minute's bucket ever waits for its end.
    """
    unique = unique_from_request(namespace, request_id)
    return int.from_bytes(unique[-2:], "big"), unique


@lru_cache(maxsize=16_384)
def unique_of_occurrence(schedule_id: TaskId, nominal_ms: int) -> bytes:
    """The unique number of a schedule's run at a nominal time: a fail-over mints no second one."""
    digest = hashlib.blake2b(
        nominal_ms.to_bytes(8, "big", signed=True), key=schedule_id.encode(), digest_size=16
    ).digest()
    return _stamp(digest, 8)


def unique_of_backfill(schedule_id: TaskId, backfill_id: str, nominal_ms: int) -> bytes:
    """The unique number of the run that a backfill launches for a nominal time."""
    text = f"{nominal_ms}/{backfill_id}".encode()
    return _stamp(hashlib.blake2b(text, key=schedule_id.encode(), digest_size=16).digest(), 8)


def request_time_ms(request_id: bytes) -> int | None:
    """Milliseconds since 1970 that a version 7 request id carries, None for other versions."""
    return int.from_bytes(request_id[:6], "big") if request_id[6] >> 4 == 7 else None


def _stamp(raw: bytes, version: int) -> bytes:
    """Set the version and variant bits of a UUID."""
    marked = bytearray(raw)
    marked[6] = version << 4 | marked[6] & 0x0F
    marked[8] = 0x80 | marked[8] & 0x3F
    return bytes(marked)
