"""What goes over the wires, read as far as an aim needs it: CQL, ZooKeeper, gRPC.

Pure: bytes in, facts out. A reader sees one direction of one connection and must be given all of
it, in any pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

RESULT: Final = 0x08
STARTUP: Final = 0x01
FIRST_ANSWERS: Final = frozenset({0x02, 0x03})
"""READY and AUTHENTICATE: what follows them comes in segments."""
_HEADER: Final = Struct(">BBhBI")
_SEGMENT_HEADER_BYTES: Final = 6
_SEGMENT_TRAILER_BYTES: Final = 4
_LENGTH_MASK: Final = (1 << 17) - 1

MULTI: Final = 14
_ZOOKEEPER_REQUEST: Final = Struct(">ii")
_ZOOKEEPER_ANSWER: Final = Struct(">iqi")

ID: Final = rb"0[0-9a-hjkmnp-tv-z]{39}"
_EVENT: Final = re.compile(
    rb"\x00\x00\x00\x28(" + ID + rb")\x00\x00\x00\x08(.{8})\x00\x00\x00\x04.{4}"
    rb"\x00\x00\x00[\x07\x0c](CREATED|BORN_CLAIMED|CLAIMED)\x00",
    re.DOTALL,
)
_ORDER: Final = re.compile(rb"\n\x28(" + ID + rb").{0,40}?\x1a\x0achaos\.work", re.DOTALL)
_RESULT: Final = re.compile(rb"\n\x28(" + ID + rb").{0,40}?application/json", re.DOTALL)
_OWNER: Final = re.compile(rb"\n.(scheduler-\d+)\x10", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One CQL message."""

    stream: int
    opcode: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """A journal row on its way to the store."""

    task_id: str
    epoch: int
    kind: str


class CqlReader:
    """One direction of a CQL connection, version 5, without compression."""

    def __init__(self, *, is_client: bool) -> None:
        self._is_client = is_client
        self._in_segments = False
        self._raw = bytearray()
        self._payload = bytearray()

    def feed(self, data: bytes) -> list[Envelope]:
        """The messages that are complete with this piece."""
        self._raw += data
        found: list[Envelope] = []
        while not self._in_segments and (envelope := _take_envelope(self._raw)) is not None:
            found.append(envelope)
            last = {STARTUP} if self._is_client else FIRST_ANSWERS
            self._in_segments = envelope.opcode in last
        if self._in_segments:
            self._unpack()
            while (envelope := _take_envelope(self._payload)) is not None:
                found.append(envelope)
        return found

    def _unpack(self) -> None:
        """Move what is in whole segments to the payload."""
        start, raw = 0, self._raw
        while len(raw) - start >= _SEGMENT_HEADER_BYTES:
            size = int.from_bytes(raw[start : start + 3], "little") & _LENGTH_MASK
            begin = start + _SEGMENT_HEADER_BYTES
            end = begin + size + _SEGMENT_TRAILER_BYTES
            if end > len(raw):
                break
            self._payload += raw[begin : begin + size]
            start = end
        del raw[:start]


def _take_envelope(buffer: bytearray) -> Envelope | None:
    if len(buffer) < _HEADER.size:
        return None
    _, _, stream, opcode, size = _HEADER.unpack_from(buffer)
    end = _HEADER.size + size
    if len(buffer) < end:
        return None
    envelope = Envelope(stream, opcode, bytes(buffer[_HEADER.size : end]))
    del buffer[:end]
    return envelope


def events_in(body: bytes) -> list[Event]:
    """Journal rows that create or claim, in a request that executes prepared inserts."""
    return [
        Event(task_id.decode(), int.from_bytes(epoch, "big"), kind.decode())
        for task_id, epoch, kind in _EVENT.findall(body)
    ]


class ZooKeeperReader:
    """One direction of a ZooKeeper connection, cut into packets."""

    def __init__(self) -> None:
        self._raw = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The packets that are complete with this piece, without their lengths."""
        self._raw += data
        while len(self._raw) >= 4:
            size = int.from_bytes(self._raw[:4], "big")
            if len(self._raw) < 4 + size:
                return
            packet = bytes(self._raw[4 : 4 + size])
            del self._raw[: 4 + size]
            yield packet


def assignment_xid(packet: bytes) -> int | None:
    """The number of a request that replaces the assignment, None for any other packet."""
    if len(packet) < _ZOOKEEPER_REQUEST.size or b"/assignment" not in packet:
        return None
    xid, kind = _ZOOKEEPER_REQUEST.unpack_from(packet)
    return int(xid) if kind == MULTI else None


def answer_of(packet: bytes) -> tuple[int, int, int] | None:
    """(xid, zxid, error) of an answer."""
    if len(packet) < _ZOOKEEPER_ANSWER.size:
        return None
    xid, zxid, error = _ZOOKEEPER_ANSWER.unpack_from(packet)
    return int(xid), int(zxid), int(error)


def owner_in(data: bytes) -> str | None:
    """The scheduler node that says hello."""
    found = _OWNER.search(data)
    return None if found is None else found.group(1).decode()


def orders_in(data: bytes) -> list[str]:
    """Tasks that are ordered to start."""
    return [found.decode() for found in _ORDER.findall(data)] if b"chaos.work" in data else []


def results_in(data: bytes) -> list[str]:
    """Tasks whose result is reported."""
    if b"application/json" not in data:
        return []
    return [found.decode() for found in _RESULT.findall(data)]
