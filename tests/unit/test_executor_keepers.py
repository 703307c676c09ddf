"""Streams to executors are opened again, whatever one of them does to the code that reads it."""

from __future__ import annotations

import asyncio

import pytest

from scheduler_node.streams import Streams
from tests.support.manual_clock import ManualClock
from timeball_server.core.engine import events
from timeball_server.core.ids import Incarnation, NodeId
from timeball_server.core.messages import FromExecutor, StreamHello, ToExecutor
from timeball_server.ports.coordination import Member, Role

ODD = Member(
    role=Role.EXECUTOR, node=NodeId("odd"), address="127.0.0.1:1", incarnation=Incarnation(7)
)


class Silent:
    """A stream on which nothing is ever said."""

    def send(self, message: ToExecutor) -> None:
        raise AssertionError("nobody sends")

    async def receive(self) -> FromExecutor | None:
        never: asyncio.Future[FromExecutor] = asyncio.get_running_loop().create_future()
        return await never

    async def close(self) -> None:
        """It is closed."""


class Unreadable(Silent):
    """A stream with words that cannot be read."""

    async def receive(self) -> FromExecutor | None:
        raise ValueError("what the executor says cannot be read")


class Dialer:
    """Opens what it was given, in turn."""

    def __init__(self, *streams: Silent | Exception) -> None:
        self.numbers: list[int] = []
        self._streams = list(streams)

    async def open(self, executor: Member, hello: StreamHello) -> Silent:
        self.numbers.append(hello.number)
        stream = self._streams.pop(0)
        if isinstance(stream, Exception):
            raise stream
        return stream


@pytest.mark.asyncio
@pytest.mark.parametrize("broken", [ValueError("an odd address"), Unreadable()])
async def test_a_stream_that_fails_in_an_unknown_way_is_opened_again(
    broken: Silent | Exception,
) -> None:
    clock, dialer = ManualClock(), Dialer(broken, Silent())
    posted: list[events.Event] = []
    streams = Streams(NodeId("s1"), Incarnation(1), dialer, clock, posted.append)
    streams.follow([ODD])
    await clock.pass_by(1_000)
    assert dialer.numbers == [1, 2]
    assert posted[-1] == events.StreamUp(Incarnation(7))
    await streams.close()
