"""What a server costs does not grow with what it offers."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from timeball_server.rpc.server import RpcServer, Service

MANY = 50


def offers(methods: int) -> Service:
    """A service with so many methods, registered as generated code does it."""

    async def answer(request: bytes, context: Any) -> bytes:
        return request

    def register(server: grpc.aio.Server) -> None:
        handler: Any = grpc.unary_unary_rpc_method_handler(answer)
        handlers = {f"Method{number}": handler for number in range(methods)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", handlers),))
        server.add_registered_method_handlers("a.B", handlers)

    return Service(name="a.B", register=register)


async def waiters(methods: int) -> int:
    """How many tasks of the loop wait for calls, while one is made."""
    server = RpcServer("127.0.0.1:0", [offers(methods)])
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        call: Any = channel.unary_unary("/a.B/Method0")
        assert await call(b"said") == b"said"
        count = len(asyncio.all_tasks())
    await server.stop()
    return count


@pytest.mark.asyncio
async def test_no_method_has_a_waiter_of_its_own() -> None:
    """grpc.aio looks at every one of them whenever a call comes in.

    A call that was answered may have tasks of its own for a moment: some, and not one a method.
    """
    assert await waiters(MANY) < await waiters(1) + MANY // 2
