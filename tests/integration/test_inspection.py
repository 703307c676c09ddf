"""Scheduler nodes as operators see them: over gRPC, and two real ones of which one is drained."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest
import structlog
from timeball.errors import CoordinationUnavailable, FailedPrecondition, Unavailable
from timeball.v1 import admin_service_pb2 as admin
from timeball.v1 import admin_service_pb2_grpc as admin_stubs

from coordinator.node import CoordinatorConfig
from coordinator.service import Coordinator, Doors
from coordinator.wiring import coordinator, coordinator_ports
from scheduler_node.service import SchedulerNodeConfig
from scheduler_node.wiring import SchedulerNodeProcess
from tests.support.fake_owners import LAYOUT, FakeOwner
from tests.support.polls import eventually
from timeball_server.coordination.local import LocalCoordinator, LocalSession
from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId
from timeball_server.internal.v1 import shard_service_pb2_grpc as shard_stubs
from timeball_server.ports.owners import (
    ExecutorFigures,
    NodeFigures,
    OwnerInspector,
    OwnerObserver,
    SecondFigures,
    ShardFigures,
)
from timeball_server.rpc.auth import OpenLoopback
from timeball_server.rpc.inspection import GrpcInspector
from timeball_server.rpc.owner_servicer import ShardServicer
from timeball_server.rpc.owner_transport import GrpcOwnerDialer
from timeball_server.rpc.server import RpcServer
from timeball_server.rpc.server import Service as RpcService
from timeball_server.rpc.status import error_from_rpc
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.memory import MemoryDatabase, MemoryStore

LISTEN = "127.0.0.1:0"
CLOCK = SystemClock()
pytestmark = pytest.mark.asyncio
FIGURES = [
    ShardFigures(
        shard=ShardId(3),
        epoch=Epoch(2**40),
        tasks=9,
        waiting=4,
        due_now=1,
        starts=2,
        late_p50_ms=0,
        late_p99_ms=70,
        oldest_due_ms=1,
        unserved=1,
        acquired_ms=2**41,
        phase="SERVING",
    ),
    ShardFigures(shard=ShardId(0), epoch=Epoch(1), tasks=0, waiting=0, due_now=0, starts=0),
]


SEEN = NodeFigures(
    shards=tuple(FIGURES),
    executors=(
        ExecutorFigures(incarnation=Incarnation(2**40), runs=3, stream_open=True, ready=False),
    ),
    seconds=(SecondFigures(second=2**31, created=1, failed=2, late_counts=(0, 3), late_max_ms=2),),
    since_s=2**31 - 9,
    until_s=2**31 + 1,
    lease_left_ms=1_500,
)


class Scripted(OwnerInspector, OwnerObserver):
    """Reports FIGURES and SEEN; cannot be drained."""

    async def observe(self, from_s: int) -> NodeFigures:
        return replace(SEEN, since_s=from_s)

    async def report(self) -> Sequence[ShardFigures]:
        return FIGURES

    async def drain(self) -> None:
        raise CoordinationUnavailable("no session now; repeat the call")


@asynccontextmanager
async def served(inspector: OwnerInspector | None) -> AsyncIterator[GrpcInspector]:
    owner = FakeOwner(MemoryStore(MemoryDatabase()), CLOCK)
    bugs: list[BaseException] = []
    servicer = ShardServicer(owner, bugs.append, inspector=inspector)

    def register(server: grpc.aio.Server) -> None:
        shard_stubs.add_ShardServiceServicer_to_server(servicer, server)

    server = RpcServer(LISTEN, [RpcService(name="shards", register=register)], internal=True)
    await server.start()
    dialer = GrpcOwnerDialer(clock=CLOCK, rng=random.Random(1))
    try:
        inspecting = dialer.inspector(server.address)
        assert isinstance(inspecting, GrpcInspector)
        yield inspecting
    finally:
        await dialer.close()
        await server.stop()
        await servicer.close()
    assert bugs == []


async def test_figures_arrive_as_they_were_and_refusals_with_their_words() -> None:
    async with served(Scripted()) as inspector:
        assert list(await inspector.report()) == FIGURES
        assert await inspector.observe(7) == replace(SEEN, since_s=7)
        with pytest.raises(Unavailable, match="no session now"):
            await inspector.drain()


async def test_a_node_without_an_inspector_or_without_life_is_unavailable() -> None:
    async with served(None) as inspector:
        with pytest.raises(Unavailable):
            await inspector.report()
        with pytest.raises(Unavailable):
            await inspector.drain()
        with pytest.raises(Unavailable):
            await inspector.observe(0)
    dialer = GrpcOwnerDialer(clock=CLOCK, rng=random.Random(1))
    with pytest.raises(Unavailable):
        await dialer.inspector("127.0.0.1:1").report()
    await dialer.close()


class Pair:
    """A coordinator and two scheduler nodes on one in-process coordination service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.admin: Any = admin_stubs.AdminServiceStub(channel)

    async def owned(self) -> dict[str, list[int]]:
        """Shards by node."""
        cluster = await self.admin.GetCluster(admin.GetClusterRequest())
        nodes = [node for node in cluster.nodes if node.role == "scheduler_node"]
        return {node.name: list(node.owned_shards) for node in nodes}

    async def owned_as(self, **wanted: int) -> None:
        """Wait until each node owns so many shards."""

        async def look() -> bool:
            owned = await self.owned()
            return {name: len(shards) for name, shards in owned.items()} == wanted

        await eventually(look, f"shards by node: {wanted}")


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    service = LocalCoordinator(100, CLOCK)
    store = MemoryStore(MemoryDatabase(LAYOUT))

    async def connect() -> LocalSession:
        return await service.connect(5_000)

    nodes = [
        SchedulerNodeProcess(
            SchedulerNodeConfig(node=NodeId(name), address=LISTEN), store, connect, CLOCK
        )
        for name in ("east", "west")
    ]
    dialer = GrpcOwnerDialer(clock=CLOCK, rng=random.Random(1))
    ports = coordinator_ports(
        store=store,
        connect=connect,
        dialer=dialer,
        clock=CLOCK,
        layout=LAYOUT,
        inspect=dialer.inspector,
    )
    config = CoordinatorConfig(node=NodeId("front"), address="")
    doors = Doors(listen=LISTEN, authenticator=OpenLoopback(LISTEN))
    front: Coordinator = coordinator(config, ports, LAYOUT, doors)
    await asyncio.gather(*(node.start() for node in nodes), front.start())
    try:
        async with grpc.aio.insecure_channel(front.address) as channel:
            yield Pair(channel)
    finally:
        await front.stop()
        for node in nodes:
            await node.stop()
        await service.close()


async def test_a_drained_node_loses_its_shards_to_the_other_and_lives_on() -> None:
    async with pair() as it:
        await it.owned_as(east=2, west=2)
        with structlog.testing.capture_logs() as logs:
            answer = await it.admin.DrainNode(admin.DrainNodeRequest(node="east", request_id="r1"))
            assert (answer.node.name, answer.node.draining) == ("east", True)
            await it.owned_as(east=0, west=4)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await it.admin.DrainNode(admin.DrainNodeRequest(node="west"))
        assert isinstance(error_from_rpc(refused.value), FailedPrecondition)
        audit = [entry for entry in logs if entry.get("action") == "DrainNode"]
        told = [(entry["target"], entry["outcome"], entry["request_id"]) for entry in audit]
        assert told == [("east", "OK", "r1"), ("west", "FAILED_PRECONDITION", "")]
        assert all(entry["actor"] for entry in audit)
        cluster = await it.admin.GetCluster(admin.GetClusterRequest())
        assert {shard.owner for shard in cluster.shards} == {"west"}
        assert all(shard.answered for shard in cluster.shards)
        assert {shard.reason for shard in cluster.shards if shard.epoch} >= {"drain of east"}
