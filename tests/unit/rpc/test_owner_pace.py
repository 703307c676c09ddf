"""What many callers ask of one owner travels together; what one asks alone goes at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

import grpc

from tests.support.rpc_records import EMPTY_ID
from tests.support.virtual_loop import VirtualLoop, run_virtual
from timeball_server.core.commands import ReadTask
from timeball_server.core.ids import TaskId
from timeball_server.internal.v1 import shard_service_pb2 as pb
from timeball_server.ports.clock import Clock, Now
from timeball_server.rpc.options import ACCEPTED_KEY
from timeball_server.rpc.owner_transport import PACE_S, GrpcOwnerClient, OwnerLimits

READ = ReadTask(task_id=TaskId(EMPTY_ID), namespace="default")


class NoClock(Clock):
    def now(self) -> Now:
        return Now(0, 0)

    async def sleep_ms(self, duration_ms: float) -> None:
        raise AssertionError("nothing here waits by the clock")


class FakeCall:
    """A stream that takes everything and answers nothing until it is cancelled."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.sent: list[tuple[float, int]] = []
        self._loop = loop
        self._over: asyncio.Future[None] = loop.create_future()

    async def initial_metadata(self) -> tuple[tuple[str, str], ...]:
        return ((ACCEPTED_KEY, "1"),)

    async def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    async def write(self, message: pb.ExecuteRequest) -> None:
        self.sent.append((self._loop.time(), len(message.groups)))

    async def read(self) -> Any:
        await self._over
        return grpc.aio.EOF

    async def done_writing(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        if not self._over.done():
            self._over.set_result(None)


class FakeChannel:
    def __init__(self, call: FakeCall) -> None:
        self._call = call

    def stream_stream(self, *_: Any, **__: Any) -> Callable[[], FakeCall]:
        return lambda: self._call

    def unary_unary(self, *_: Any, **__: Any) -> None:
        return None

    async def close(self) -> None:
        return None


def sent(asked_ms: list[int]) -> list[tuple[int, int]]:
    """In which millisecond a message goes, and for how many, when they ask in these."""
    went: list[tuple[int, int]] = []

    async def story(loop: VirtualLoop) -> None:
        call = FakeCall(loop)
        channel = cast("grpc.aio.Channel", FakeChannel(call))
        client = GrpcOwnerClient(channel, NoClock(), random.Random(1), OwnerLimits())
        began_s, asks = loop.time() + 1, set[asyncio.Task[Any]]()

        def ask() -> None:
            asks.add(loop.create_task(client.execute([READ])))

        for at_ms in asked_ms:
            loop.call_at(began_s + at_ms / 1_000, ask)
        over = loop.create_future()
        loop.call_at(began_s + 1, over.set_result, None)
        await over
        await client.close()
        await asyncio.gather(*asks, return_exceptions=True)
        went.extend((round((at_s - began_s) * 1_000), groups) for at_s, groups in call.sent)

    run_virtual(story)
    return went


PACE_MS = round(PACE_S * 1_000)


def test_one_alone_goes_at_once() -> None:
    assert sent([0, 100]) == [(0, 1), (100, 1)]


def test_what_is_asked_within_a_moment_of_a_message_goes_with_the_next() -> None:
    assert sent([*range(10)]) == [(0, 1), (PACE_MS, PACE_MS), (2 * PACE_MS, 9 - PACE_MS)]
