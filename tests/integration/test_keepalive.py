"""A connection over which nothing is said stays, and one whose other end is frozen does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from timeball._base import CHANNEL_OPTIONS

from tests.support.tcp_proxy import HOST, TcpProxy
from timeball_server.rpc.options import (
    MIN_PING_INTERVAL_MS,
    internal_channel_options,
    server_options,
)

QUICKER = 10
"""So many times faster than in life."""
LISTENS_S = 6.0
"""Six pings: the fourth one too early is the last."""
DEADLINE_S = 30.0
"""Half of what gRPC allows a ping by default."""


def sooner(options: Any) -> list[tuple[str, Any]]:
    """The same options in a world of shorter intervals."""
    intervals = {10_000: 10_000 // QUICKER, MIN_PING_INTERVAL_MS: MIN_PING_INTERVAL_MS // QUICKER}
    return [
        (name, intervals.get(value, value) if "ping" in name or "keepalive_time" in name else value)
        for name, value in options
    ]


async def silent(
    request: bytes, context: grpc.aio.ServicerContext[Any, Any]
) -> AsyncIterator[bytes]:
    """A stream that says one word."""
    yield b"word"
    await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    """The port of a server with such a stream."""
    server = grpc.aio.server(options=sooner(server_options()))
    handler: Any = grpc.unary_stream_rpc_method_handler(silent)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", {"C": handler}),))
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@pytest.mark.asyncio
async def test_a_silent_stream_is_not_cut_off_for_its_pings() -> None:
    async with (
        served() as port,
        grpc.aio.insecure_channel(f"{HOST}:{port}", options=sooner(CHANNEL_OPTIONS)) as channel,
    ):
        method: Any = channel.unary_stream("/a.B/C")
        call = method(b"")
        assert await call.read() == b"word"
        more = asyncio.ensure_future(call.read())
        await asyncio.wait((more,), timeout=LISTENS_S)
        assert not more.done(), more
        call.cancel()
        await asyncio.wait((more,))
        assert more.cancelled() or more.exception() is not None


@pytest.mark.asyncio
@pytest.mark.parametrize("options", [CHANNEL_OPTIONS, internal_channel_options()])
async def test_a_stream_whose_other_end_is_frozen_ends(options: Any) -> None:
    async with (
        served() as port,
        TcpProxy(HOST, port) as wire,
        grpc.aio.insecure_channel(wire.address, options=sooner(options)) as channel,
    ):
        method: Any = channel.unary_stream("/a.B/C")
        call = method(b"")
        assert await call.read() == b"word"
        wire.hold()
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
