"""An executor behind real gRPC on loopback: order, resending, refusal, large payloads, the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import grpc.aio
import pytest
from timeball.context import current
from timeball.errors import Unavailable
from timeball.registry import Handler

from executor_node.node import ExecutorNode
from tests.support.executor_words import (
    EXECUTOR,
    StandingMemberships,
    acknowledge,
    dispatch,
    hello,
    member,
    order,
)
from timeball_server.core.messages import (
    Capacity,
    Fence,
    Finished,
    FromExecutor,
    Inventory,
    Started,
)
from timeball_server.internal.v1 import executor_service_pb2 as pb
from timeball_server.internal.v1 import executor_service_pb2_grpc as pb_grpc
from timeball_server.ports.coordination import Member
from timeball_server.ports.executors import ExecutorStream
from timeball_server.rpc.executor_transport import (
    ExecutorServicer,
    GrpcExecutorDialer,
)
from timeball_server.rpc.options import server_options
from timeball_server.runtime.clock import SystemClock

pytestmark = pytest.mark.asyncio
M = TypeVar("M")
DEADLINE_S = 20


@dataclass
class World:
    """One executor on loopback and what its handlers saw."""

    node: ExecutorNode
    address: Member
    calls: Counter[str]
    dialer: GrpcExecutorDialer


@asynccontextmanager
async def executor(slots: int = 600) -> AsyncIterator[World]:
    calls: Counter[str] = Counter()

    async def echo(text: str = "") -> str:
        calls[current().task_id] += 1
        return text

    async def forever() -> None:
        calls[current().task_id] += 1
        await asyncio.Event().wait()

    node = ExecutorNode(
        member=member(slots=slots),
        handlers={"echo": Handler("echo", echo), "forever": Handler("forever", forever)},
        memberships=StandingMemberships(),
        clock=SystemClock(),
    )
    server = grpc.aio.server(options=list(server_options(internal=True)))
    pb_grpc.add_ExecutorServiceServicer_to_server(ExecutorServicer(node.serve), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await node.join()
    try:
        address = replace(node.member, address=f"127.0.0.1:{port}")
        yield World(node, address, calls, GrpcExecutorDialer())
    finally:
        await node.close()
        await server.stop(grace=None)


async def hear(
    stream: ExecutorStream, until: Callable[[list[FromExecutor]], bool]
) -> list[FromExecutor]:
    """Everything said until the condition holds."""
    heard: list[FromExecutor] = []
    async with asyncio.timeout(DEADLINE_S):
        while not until(heard):
            message = await stream.receive()
            assert message is not None, f"the stream ended after {heard}"
            heard.append(message)
    return heard


def said(kind: type[M]) -> Callable[[list[FromExecutor]], bool]:
    return lambda heard: any(isinstance(message, kind) for message in heard)


def finished(heard: list[FromExecutor]) -> list[str]:
    return [r.run.task_id for m in heard if isinstance(m, Finished) for r in m.results]


def started(heard: list[FromExecutor]) -> list[str]:
    return [run.task_id for m in heard if isinstance(m, Started) for run, _ in m.runs]


def enough(count: int) -> Callable[[list[FromExecutor]], bool]:
    return lambda heard: len(finished(heard)) >= count


async def test_500_runs_start_and_end_once_and_unacknowledged_results_survive_the_stream() -> None:
    async with executor() as world:
        orders = [order(n, data=b'{"text":"%d"}' % n) for n in range(500)]
        names = sorted(o.run.task_id for o in orders)
        first = await world.dialer.open(world.address, hello(1))
        for start in range(0, 500, 10):
            first.send(dispatch(*orders[start : start + 10]))
        heard = await hear(first, enough(500))
        assert sorted(started(heard)) == sorted(finished(heard)) == names
        results = {r.run: r.result for m in heard if isinstance(m, Finished) for r in m.results}
        assert all(
            (told := results[o.run]) is not None and told.data == b'"%d"' % n
            for n, o in enumerate(orders)
        )
        first.send(acknowledge(*orders[:200]))
        first.send(dispatch(*orders[200:400]))
        await hear(first, enough(200))
        await first.close()

        second = await world.dialer.open(world.address, hello(2))
        second.send(dispatch(*orders[200:]))
        resent = await hear(second, enough(600))
        await second.close()

        assert set(finished(resent)) == set(names[200:])
        assert started(resent) == []
        assert world.calls == Counter(names)


async def test_r11_another_incarnation_is_refused_at_hello() -> None:
    async with executor() as world:
        with pytest.raises(Unavailable, match="OTHER_INCARNATION"):
            await world.dialer.open(world.address, hello(1, executor=EXECUTOR + 1))


async def test_r12_a_number_that_is_not_above_the_one_in_use_is_refused() -> None:
    async with executor() as world:
        stream = await world.dialer.open(world.address, hello(2))
        for number in (1, 2):
            with pytest.raises(Unavailable, match="LOWER_NUMBER"):
                await world.dialer.open(world.address, hello(number))
        stream.send(dispatch(order(1)))
        assert finished(await hear(stream, enough(1)))
        await stream.close()


async def test_r12_a_replaced_stream_ends() -> None:
    async with executor() as world:
        former = await world.dialer.open(world.address, hello(1))
        newer = await world.dialer.open(world.address, hello(2))
        async with asyncio.timeout(DEADLINE_S):
            while await former.receive() is not None:
                pass
        former.send(dispatch(order(1)))
        newer.send(Fence(1, ((order(1).shard, order(1).epoch),)))
        inventory = [m for m in await hear(newer, said(Inventory)) if isinstance(m, Inventory)]
        assert [message.entries for message in inventory] == [()]
        assert not world.calls
        await former.close()
        await newer.close()


async def test_payloads_and_results_of_many_megabytes_pass_in_parts() -> None:
    async with executor() as world:
        text = b"x" * 900_000
        orders = [order(n, data=b'{"text":"%s"}' % text) for n in range(12)]
        stream = await world.dialer.open(world.address, hello(1))
        stream.send(dispatch(*orders))
        heard = await hear(stream, enough(12))
        sizes = {
            len(r.result.data)
            for m in heard
            if isinstance(m, Finished)
            for r in m.results
            if r.result is not None
        }
        assert sizes == {900_002}
        await stream.close()


async def test_nobody_there_is_unavailable() -> None:
    async with executor() as world:
        gone = world.address
    with pytest.raises(Unavailable, match="executor x1 at 127"):
        await GrpcExecutorDialer().open(gone, hello(1))


async def test_a_stream_must_begin_with_its_hello() -> None:
    async with executor() as world, grpc.aio.insecure_channel(world.address.address) as channel:
        call = pb_grpc.ExecutorServiceStub(channel).Dispatch()
        await call.write(pb.DispatchRequest())
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call.read()
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_unreadable_message_ends_the_stream() -> None:
    async with executor() as world, grpc.aio.insecure_channel(world.address.address) as channel:
        call = pb_grpc.ExecutorServiceStub(channel).Dispatch()
        words = hello(1)
        first = pb.StreamHello(
            owner=words.owner, owner_incarnation=7, number=1, executor_incarnation=EXECUTOR
        )
        await call.write(pb.DispatchRequest(hello=first))
        await call.write(pb.DispatchRequest(messages=[pb.OwnerMessage()]))
        async with asyncio.timeout(DEADLINE_S):
            while await call.read() is not grpc.aio.EOF:
                pass
        assert await call.code() is grpc.StatusCode.OK


async def test_draining_hands_back_what_runs_and_waits_for_the_acknowledgement() -> None:
    async with executor() as world:
        stuck = order(1, handler="forever")
        stream = await world.dialer.open(world.address, hello(1))
        stream.send(dispatch(stuck))
        await hear(stream, said(Started))
        draining = asyncio.create_task(world.node.drain(grace_ms=50, acknowledge_ms=15_000))
        heard = await hear(stream, said(Finished))
        assert any(isinstance(m, Capacity) and m.draining for m in heard)
        ends = [r for m in heard if isinstance(m, Finished) for r in m.results]
        assert [(r.run, r.interrupted) for r in ends] == [(stuck.run, True)]
        assert not draining.done()
        stream.send(acknowledge(stuck))
        async with asyncio.timeout(DEADLINE_S):
            await draining
            while await stream.receive() is not None:
                pass
        await stream.close()
