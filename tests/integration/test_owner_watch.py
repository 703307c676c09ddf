"""The owners' push stream over real gRPC: what is followed, told, dropped, and how it ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count

import grpc
import pytest
from timeball.errors import Draining, Unavailable

from scheduler_node.calls import Calls
from tests.support.polls import eventually
from tests.support.rpc_records import EMPTY_ID, plain_spec, plain_view
from timeball_server.core.commands import Done, Outcome, Rejected, RejectionReason, WatchTask
from timeball_server.core.engine import events
from timeball_server.core.limits import MAX_BATCH_BYTES
from timeball_server.core.model import Payload
from timeball_server.internal.v1 import shard_service_pb2_grpc as stubs
from timeball_server.ports.owners import Change, OwnerWatch
from timeball_server.rpc.options import server_options
from timeball_server.rpc.owner_servicer import ShardServicer
from timeball_server.rpc.owner_transport import GrpcOwnerDialer
from timeball_server.rpc.watching import MAX_CHANGE_BYTES, WISHES_AT_ONCE
from timeball_server.runtime.clock import SystemClock

GUARD_S = 20.0
"""Only ends a test that hangs."""
WATCH = WatchTask(task_id=EMPTY_ID, namespace="default")
OPEN = Done(plain_view(plain_spec()), fresh=False)
ENDED = Done(replace(plain_view(plain_spec()), terminal=True), fresh=False)
GONE = Rejected(RejectionReason.NOT_OWNED, "not ours")
pytestmark = pytest.mark.asyncio


@dataclass
class Node:
    """A scheduler node whose engine is the test."""

    posted: list[events.Event] = field(default_factory=list)
    calls: Calls = field(init=False)

    def __post_init__(self) -> None:
        self.calls = Calls(self.posted.append)

    @property
    def followed(self) -> dict[int, WatchTask]:
        """What the engine was asked to follow, by token."""
        arrived = [each for each in self.posted if isinstance(each, events.CommandArrived)]
        return {each.token: each.command for each in arrived if isinstance(each.command, WatchTask)}

    @property
    def dropped(self) -> set[int]:
        return {each.token for each in self.posted if isinstance(each, events.WatchEnded)}

    def tell(self, token: int, outcome: Outcome) -> None:
        self.calls.answer(token, outcome)
        self.calls.flush()

    async def has_followed(self, most: int) -> None:
        async def look() -> bool:
            return len(self.followed) >= most

        await eventually(look, f"{most} tasks are followed")


@dataclass
class Rig:
    node: Node
    servicer: ShardServicer
    server: grpc.aio.Server
    dialer: GrpcOwnerDialer
    address: str

    def watch(self) -> OwnerWatch:
        return self.dialer.client(self.address).watch()


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    node, bugs = Node(), list[BaseException]()
    servicer = ShardServicer(node.calls, bugs.append)
    server = grpc.aio.server(options=server_options(internal=True))
    stubs.add_ShardServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    dialer = GrpcOwnerDialer(clock=SystemClock(), rng=random.Random(1))
    try:
        async with asyncio.timeout(GUARD_S):
            yield Rig(node, servicer, server, dialer, f"127.0.0.1:{port}")
    finally:
        await dialer.close()
        await server.stop(None)
        await servicer.close()
    assert bugs == []


async def test_what_is_told_comes_to_its_number_and_what_is_dropped_does_not() -> None:
    async with rig() as it:
        watch = it.watch()
        watch.follow(1, WATCH)
        watch.follow(2, replace(WATCH, namespace="shop", every=False))
        await it.node.has_followed(2)
        assert it.node.followed == {1: WATCH, 2: replace(WATCH, namespace="shop", every=False)}
        it.node.tell(1, OPEN)
        assert await watch.changes() == [Change(1, OPEN)]
        it.node.tell(2, ENDED)
        assert await watch.changes() == [Change(2, ENDED)]
        watch.drop(1)

        async def look() -> bool:
            return it.node.dropped == {1}

        await eventually(look, "the engine was told")


async def test_a_reader_that_is_slow_is_told_the_newest_state_alone() -> None:
    async with rig() as it:
        watch = it.watch()
        watch.follow(1, WATCH)
        watch.follow(2, WATCH)
        await it.node.has_followed(2)
        for attempt in range(200):
            it.node.tell(1, Done(replace(OPEN.task, attempt=attempt), fresh=False))
        it.node.tell(1, ENDED)
        told = [change async for change in changes_until(watch, 1)]
        assert told[-1] == Change(1, ENDED)
        assert len(told) < 200


async def changes_until(watch: OwnerWatch, number: int) -> AsyncIterator[Change]:
    """Changes up to the end of this number's task."""
    while True:
        for change in await watch.changes():
            yield change
            if change.number == number and change.outcome == ENDED:
                return


async def test_many_wishes_travel_in_few_messages() -> None:
    async with rig() as it:
        watch = it.watch()
        for number in range(1, 2 * WISHES_AT_ONCE):
            watch.follow(number, WATCH)
        await it.node.has_followed(2 * WISHES_AT_ONCE - 1)


async def test_many_big_changes_are_cut_into_messages() -> None:
    big = Done(plain_view(plain_spec(payload=Payload(data=bytes(1_000_000)))), fresh=False)
    async with rig() as it:
        watch = it.watch()
        for number in range(1, 11):
            watch.follow(number, WATCH)
        await it.node.has_followed(10)
        for token in it.node.followed:
            it.node.calls.answer(token, big)
        it.node.calls.flush()
        told = dict[int, Outcome]()
        while len(told) < 10:
            told.update((each.number, each.outcome) for each in await watch.changes())
        assert set(told.values()) == {big}
        assert 2 * MAX_BATCH_BYTES < 10 * 1_000_000


async def test_a_change_that_no_message_can_hold_spoils_only_itself() -> None:
    huge = plain_spec(payload=Payload(data=bytes(MAX_CHANGE_BYTES + 1)))
    async with rig() as it:
        watch = it.watch()
        watch.follow(1, WATCH)
        watch.follow(2, WATCH)
        await it.node.has_followed(2)
        it.node.calls.answer(1, Done(plain_view(huge), fresh=False))
        it.node.calls.answer(2, OPEN)
        it.node.calls.flush()
        told = dict[int, Outcome]()
        while len(told) < 2:
            told.update((each.number, each.outcome) for each in await watch.changes())
        assert told[2] == OPEN
        refused = told[1]
        assert isinstance(refused, Rejected)
        assert refused.reason is RejectionReason.OVERLOADED


@pytest.mark.parametrize("how", ["killed", "drained", "closed by the node"])
async def test_the_end_of_a_stream_is_unavailable_after_what_was_told(how: str) -> None:
    async with rig() as it:
        watch = it.watch()
        watch.follow(1, WATCH)
        await it.node.has_followed(1)
        it.node.tell(1, GONE)
        if how == "killed":
            assert await watch.changes() == [Change(1, GONE)]
            await it.server.stop(None)
        elif how == "drained":
            it.servicer.drain()
            assert await watch.changes() == [Change(1, GONE)]
        else:
            it.node.calls.close()
            assert await watch.changes() == [Change(1, GONE)]
        with pytest.raises(Unavailable):
            await watch.changes()
        watch.follow(2, WATCH)
        await watch.close()


async def test_the_engine_is_told_when_the_coordinator_goes() -> None:
    async with rig() as it:
        watch = it.watch()
        numbers = count(1)
        for _ in range(3):
            watch.follow(next(numbers), WATCH)
        await it.node.has_followed(3)
        await watch.close()

        async def look() -> bool:
            return it.node.dropped == {1, 2, 3}

        await eventually(look, "nothing is followed any more")


async def test_a_node_that_nobody_serves_is_unavailable() -> None:
    async with rig() as it:
        await it.server.stop(None)
        watch = it.watch()
        watch.follow(1, WATCH)
        with pytest.raises(Unavailable):
            await watch.changes()


async def test_a_closed_dialer_watches_nothing() -> None:
    async with rig() as it:
        client = it.dialer.client(it.address)
        await it.dialer.close()
        with pytest.raises(Draining):
            client.watch()
