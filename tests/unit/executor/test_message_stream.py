"""The queues over one gRPC stream: order, limits, the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from timeball_server.internal.v1 import executor_service_pb2 as pb
from timeball_server.rpc.message_stream import (
    MAX_FRAME_BYTES,
    MAX_QUEUED_MESSAGES,
    MAX_UNREAD_MESSAGES,
    MessageStream,
)

pytestmark = pytest.mark.asyncio
DEADLINE_S = 20
Stream = MessageStream[int, int, pb.RunPayload, list[pb.RunPayload]]


class Wire:
    """The other end: frames to be read, frames that were written, and a gate before a write."""

    def __init__(self, part_bytes: int = 1, gate_open: bool = True) -> None:
        self.incoming: asyncio.Queue[list[int] | None] = asyncio.Queue()
        self.frames: list[list[int]] = []
        self.reached = asyncio.Event()
        self.gate = asyncio.Event()
        if gate_open:
            self.gate.set()
        self.breaks = False
        self._part_bytes = part_bytes
        self.stream: Stream = MessageStream(
            read=self.incoming.get,
            write=self._write,
            parts=self._parts,
            frame=lambda parts: parts,
            broken=(ConnectionError,),
        )
        self.stream.start()

    def _parts(self, message: int) -> Iterable[pb.RunPayload]:
        return [pb.RunPayload(content_type=str(message), data=b"x" * self._part_bytes)]

    async def _write(self, parts: list[pb.RunPayload]) -> None:
        self.reached.set()
        await self.gate.wait()
        if self.breaks:
            raise ConnectionError
        self.frames.append([int(part.content_type) for part in parts])


async def test_what_waits_travels_in_one_frame_in_order() -> None:
    wire = Wire()
    for number in range(5):
        wire.stream.send(number)
    await wire.stream.finish()
    assert wire.frames == [[0, 1, 2, 3, 4]]


async def test_a_patient_message_travels_with_the_next_one() -> None:
    wire = Wire()
    await asyncio.sleep(0)  # noqa: TID251 - the writer waits now
    wire.stream.send(1, patient=True)
    await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, in which an impatient one goes
    assert wire.frames == []
    wire.stream.send(2)
    await wire.stream.finish()
    assert wire.frames == [[1, 2]]


async def test_a_patient_message_does_not_wait_for_ever() -> None:
    wire = Wire(gate_open=False)
    wire.stream.send(1, patient=True)
    async with asyncio.timeout(DEADLINE_S):
        await wire.reached.wait()
    wire.gate.set()
    await wire.stream.finish()
    assert wire.frames == [[1]]


async def test_a_frame_is_closed_before_it_is_too_large() -> None:
    wire = Wire(part_bytes=MAX_FRAME_BYTES // 2 - 100)
    for number in range(5):
        wire.stream.send(number)
    await wire.stream.finish()
    assert wire.frames == [[0, 1], [2, 3], [4]]


async def test_a_part_above_the_limit_is_a_frame_of_its_own() -> None:
    wire = Wire(part_bytes=MAX_FRAME_BYTES + 1)
    for number in range(2):
        wire.stream.send(number)
    await wire.stream.finish()
    assert wire.frames == [[0], [1]]


async def test_a_peer_that_does_not_read_loses_the_stream() -> None:
    wire = Wire(gate_open=False)
    for number in range(MAX_QUEUED_MESSAGES):
        wire.stream.send(number)
    wire.incoming.put_nowait([7])
    assert await wire.stream.receive() == 7
    for number in range(MAX_QUEUED_MESSAGES + 1):
        wire.stream.send(number)
    assert await wire.stream.receive() is None


async def test_reading_pauses_while_nobody_receives() -> None:
    wire = Wire()
    wire.incoming.put_nowait(list(range(MAX_UNREAD_MESSAGES)))
    wire.incoming.put_nowait([-1])
    assert await wire.stream.receive() == 0
    assert wire.incoming.qsize() == 1
    async with asyncio.timeout(DEADLINE_S):
        rest = [await wire.stream.receive() for _ in range(MAX_UNREAD_MESSAGES)]
    assert rest == [*range(1, MAX_UNREAD_MESSAGES), -1]


async def test_the_end_of_reading_ends_the_stream_after_what_was_read() -> None:
    wire = Wire()
    wire.incoming.put_nowait([1, 2])
    wire.incoming.put_nowait(None)
    received = [await wire.stream.receive() for _ in range(4)]
    assert received == [1, 2, None, None]
    wire.stream.send(3)
    await wire.stream.finish()
    await wire.stream.finish()
    assert wire.frames == []


async def test_a_broken_write_ends_the_stream() -> None:
    wire = Wire()
    wire.breaks = True
    wire.stream.send(1)
    assert await wire.stream.receive() is None
