from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from timeball.errors import (
    Draining,
    OutcomeUnknown,
    ResourceExhausted,
    TimeballError,
    Unavailable,
)

from tests.support.polls import eventually
from tests.support.rpc_records import EMPTY_ID, plain_create, plain_spec, plain_view
from timeball_server.core.commands import (
    Command,
    CreateTask,
    Done,
    Outcome,
    ReadTask,
    Rejected,
    RejectionReason,
)
from timeball_server.core.limits import MAX_BATCH_BYTES, MAX_PAYLOAD_BYTES
from timeball_server.core.model import Payload
from timeball_server.internal.v1 import shard_service_pb2_grpc as stubs
from timeball_server.ports.clock import Clock, Now
from timeball_server.ports.owners import OwnerWatch
from timeball_server.rpc.options import server_options
from timeball_server.rpc.owner_servicer import ServicerLimits, ShardServicer
from timeball_server.rpc.owner_transport import (
    UNUSED_MS,
    GrpcOwnerClient,
    GrpcOwnerDialer,
    OwnerLimits,
)

GUARD_S = 20.0
"""Only ends a test that hangs."""


class HandClock(Clock):
    """Time that a test moves."""

    def __init__(self) -> None:
        self.mono_ms = 0

    def now(self) -> Now:
        return Now(self.mono_ms, self.mono_ms)

    async def sleep_ms(self, duration_ms: float) -> None:
        raise AssertionError("the transport never sleeps")


@dataclass
class Owner:
    """A scheduler node that answers when told, and remembers what it was asked."""

    asked: list[Sequence[Command]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    result: bytes = b""

    async def execute(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        self.asked.append(commands)
        self.arrived.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [self._outcome(command) for command in commands]

    def watch(self) -> OwnerWatch:
        raise AssertionError("nobody watches here")

    def _outcome(self, command: Command) -> Outcome:
        if isinstance(command, CreateTask):
            return Done(plain_view(command.spec))
        if self.result:
            return Done(plain_view(plain_spec(payload=Payload(data=self.result))))
        return Rejected(RejectionReason.NOT_FOUND, "no such task")


@dataclass
class Node:
    """One served owner and a client of it."""

    owner: Owner
    servicer: ShardServicer
    server: grpc.aio.Server
    client: GrpcOwnerClient
    dialer: GrpcOwnerDialer
    clock: HandClock
    address: str
    bugs: list[BaseException]


@asynccontextmanager
async def node(
    limits: OwnerLimits | None = None, servicer_limits: ServicerLimits | None = None
) -> AsyncIterator[Node]:
    owner = Owner()
    bugs: list[BaseException] = []
    servicer = ShardServicer(owner, bugs.append, servicer_limits)
    server, address = await served(servicer)
    clock = HandClock()
    dialer = GrpcOwnerDialer(clock=clock, rng=random.Random(1), limits=limits)
    client = dialer.client(address)
    assert isinstance(client, GrpcOwnerClient)
    try:
        async with asyncio.timeout(GUARD_S):
            yield Node(owner, servicer, server, client, dialer, clock, address, bugs)
    finally:
        await dialer.close()
        await server.stop(None)
        await servicer.close()


async def served(
    servicer: ShardServicer, address: str = "127.0.0.1:0"
) -> tuple[grpc.aio.Server, str]:
    server = grpc.aio.server(options=server_options(internal=True))
    stubs.add_ShardServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(address)
    await server.start()
    return server, f"127.0.0.1:{port}"


def read() -> ReadTask:
    return ReadTask(task_id=EMPTY_ID, namespace="default")


@pytest.mark.asyncio
async def test_outcomes_come_back_in_order_and_a_creation_gets_its_own_spec() -> None:
    async with node() as it:
        it.owner.gate.set()
        creates = [plain_create(handler=f"demo.h{number}") for number in range(50)]
        outcomes = await it.client.execute([*creates, read()])
        handlers = [each.task.spec.handler for each in outcomes if isinstance(each, Done)]
        assert handlers == [create.spec.handler for create in creates]
        assert outcomes[-1] == Rejected(RejectionReason.NOT_FOUND, "no such task")
        assert await it.client.execute([]) == []


@pytest.mark.asyncio
async def test_callers_of_one_turn_share_a_stream_and_answers_overtake() -> None:
    async with node() as it:
        slow = asyncio.create_task(it.client.execute([plain_create()]))
        await it.owner.arrived.wait()
        it.owner.gate = asyncio.Event()  # later groups look at another gate
        it.owner.gate.set()
        quick = await asyncio.gather(*(it.client.execute([read()]) for _ in range(100)))
        assert len(quick) == 100
        assert not slow.done()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert len(await it.client.execute([read()])) == 1


@pytest.mark.asyncio
async def test_a_client_of_one_address_is_made_once() -> None:
    async with node() as it:
        assert it.dialer.client(it.address) is it.client
        assert it.dialer.client("127.0.0.1:1") is not it.client


@pytest.mark.asyncio
async def test_a_client_of_a_node_that_has_gone_for_good_is_closed() -> None:
    async with node() as it:
        it.owner.gate.set()
        assert len(await it.client.execute([read()])) == 1
        other = it.dialer.client("127.0.0.1:1")
        it.clock.mono_ms += UNUSED_MS
        assert it.dialer.client("127.0.0.1:2") is not it.client
        assert it.dialer.client(it.address) is it.client, "its stream stands"
        assert it.dialer.client("127.0.0.1:1") is not other, "nobody ever spoke to that one"
        await asyncio.sleep(0)
        with pytest.raises(Draining, match="closed"):
            await other.execute([read()])
        await it.server.stop(None)

        async def ended() -> bool:
            return not it.client.is_open

        await eventually(ended, "the end of its stream is heard of")
        it.clock.mono_ms += UNUSED_MS - 1
        it.dialer.client("127.0.0.1:2")
        assert it.client in it.dialer.clients()
        it.clock.mono_ms += 60_000
        it.dialer.client("127.0.0.1:2")
        assert it.client not in it.dialer.clients()


@pytest.mark.asyncio
async def test_a_watched_node_is_not_gone_though_nobody_asks_it_anything() -> None:
    async with node() as it:
        watch = it.client.watch()
        it.clock.mono_ms += UNUSED_MS
        assert it.dialer.client("127.0.0.1:2") is not it.client
        assert it.client in it.dialer.clients()
        await watch.close()
        it.clock.mono_ms += UNUSED_MS
        it.dialer.client("127.0.0.1:2")
        assert it.client not in it.dialer.clients()


@pytest.mark.asyncio
async def test_big_batches_and_big_answers_are_cut_into_messages() -> None:
    async with node() as it:
        it.owner.gate.set()
        it.owner.result = bytes(MAX_PAYLOAD_BYTES)
        creates = [plain_create(payload=Payload(data=bytes(MAX_PAYLOAD_BYTES)))] * 7
        outcomes = await it.client.execute(creates)
        assert [type(outcome) for outcome in outcomes] == [Done] * 7
        assert len(it.owner.asked) > 1
        answers = await it.client.execute([read()] * 9)
        total = sum(len(each.task.spec.payload.data) for each in answers if isinstance(each, Done))
        assert total == 9 * MAX_PAYLOAD_BYTES > 2 * MAX_BATCH_BYTES


@pytest.mark.asyncio
async def test_an_answer_that_no_message_can_hold_spoils_only_itself() -> None:
    async with node() as it:
        it.owner.gate.set()
        it.owner.result = bytes(20 * MAX_PAYLOAD_BYTES)
        outcomes = await it.client.execute([read(), plain_create()])
        assert isinstance(outcomes[0], Rejected)
        assert outcomes[0].reason is RejectionReason.UNKNOWN
        assert isinstance(outcomes[1], Done)


@pytest.mark.asyncio
async def test_a_node_that_nobody_serves_is_unavailable_and_not_asked_again_at_once() -> None:
    async with node() as it:
        await it.server.stop(None)
        with pytest.raises(Unavailable) as first:
            await it.client.execute([read()])
        assert first.value.retry_after_s is None
        with pytest.raises(Unavailable, match="a moment ago") as second:
            await it.client.execute([read()])
        assert second.value.retry_after_s is not None
        assert 0.025 <= second.value.retry_after_s <= 0.05
        assert it.owner.asked == []


@pytest.mark.asyncio
async def test_pauses_grow_to_their_limit_and_end_with_a_connection() -> None:
    async with node(OwnerLimits(first_backoff_ms=100, max_backoff_ms=400)) as it:
        await it.server.stop(None)
        pauses = []
        for _ in range(4):
            with pytest.raises(Unavailable):
                await it.client.execute([read()])
            with pytest.raises(Unavailable) as refused:
                await it.client.execute([read()])
            pauses.append(refused.value.retry_after_s or 0)
            it.clock.mono_ms += 400
        for pause_s, span_s in zip(pauses, [0.1, 0.2, 0.4, 0.4], strict=True):
            assert span_s / 2 <= pause_s <= span_s
        server, _ = await served(it.servicer, it.address)
        it.owner.gate.set()
        try:
            assert await until_answered(it) == 1
        finally:
            await server.stop(None)


async def until_answered(it: Node) -> int:
    """Ask until the channel has connected again; the guard ends it."""
    while True:
        try:
            return len(await it.client.execute([read()]))
        except Unavailable:
            it.clock.mono_ms += 400
            await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_sent_and_unanswered_is_unknown_when_the_connection_breaks() -> None:
    async with node() as it:
        asked = asyncio.create_task(it.client.execute([plain_create()]))
        await it.owner.arrived.wait()
        await it.server.stop(None)
        with pytest.raises(OutcomeUnknown, match="resend"):
            await asked


@pytest.mark.asyncio
async def test_a_draining_node_answers_what_it_took_and_the_rest_was_not_received() -> None:
    async with node(servicer_limits=ServicerLimits(commands=1)) as it:
        taken = asyncio.create_task(it.client.execute([plain_create(), plain_create()]))
        await it.owner.arrived.wait()
        left = [asyncio.create_task(it.client.execute([plain_create()])) for _ in range(3)]
        await asyncio.wait(left, timeout=0.05)  # lets them be written; the node does not read
        it.servicer.drain()
        it.owner.gate.set()
        assert len(await taken) == 2
        for each in left:
            with pytest.raises(Unavailable):
                await each
        assert len(it.owner.asked) == 1


@pytest.mark.asyncio
async def test_a_new_stream_follows_a_drained_one() -> None:
    async with node() as it:
        it.owner.gate.set()
        await it.client.execute([read()])
        it.servicer.drain()
        await it.server.stop(1)
        successor = ShardServicer(it.owner, it.bugs.append)
        server, _ = await served(successor, it.address)
        try:
            assert await until_answered(it) == 1
        finally:
            await server.stop(None)
            await successor.close()


@pytest.mark.asyncio
async def test_a_full_queue_refuses_and_recovers() -> None:
    async with node(OwnerLimits(commands=3)) as it:
        asked = asyncio.create_task(it.client.execute([read(), read()]))
        await it.owner.arrived.wait()
        with pytest.raises(ResourceExhausted):
            await it.client.execute([read(), read()])
        it.owner.gate.set()
        await asked
        assert len(await it.client.execute([read(), read()])) == 2


@pytest.mark.asyncio
async def test_a_node_that_is_full_stops_reading_until_it_has_room() -> None:
    async with node(servicer_limits=ServicerLimits(commands=1)) as it:
        first = asyncio.create_task(it.client.execute([read(), read()]))
        await it.owner.arrived.wait()
        second = asyncio.create_task(it.client.execute([read()]))
        await asyncio.wait([second], timeout=0.05)
        assert len(it.owner.asked) == 1
        it.owner.gate.set()
        await asyncio.gather(first, second)
        assert len(it.owner.asked) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unavailable("not yet"), RejectionReason.NOT_READY),
        (ResourceExhausted("full"), RejectionReason.OVERLOADED),
        (RuntimeError("secret"), RejectionReason.UNKNOWN),
    ],
)
async def test_a_failing_handler_is_an_answer(error: Exception, reason: RejectionReason) -> None:
    async with node() as it:
        it.owner.error = error
        it.owner.gate.set()
        outcomes = await it.client.execute([read(), read()])
        assert [outcome.reason for outcome in outcomes if isinstance(outcome, Rejected)] == [
            reason,
            reason,
        ]
        assert "secret" not in str(outcomes)
        assert it.bugs == ([error] if not isinstance(error, TimeballError) else [])


@pytest.mark.asyncio
async def test_closing_waits_a_little_and_then_what_was_sent_is_unknown() -> None:
    async with node(OwnerLimits(close_grace_ms=20)) as it:
        asked = asyncio.create_task(it.client.execute([plain_create()]))
        await it.owner.arrived.wait()
        await it.dialer.close()
        with pytest.raises(OutcomeUnknown):
            await asked
        with pytest.raises(Draining):
            await it.client.execute([read()])
        it.owner.gate.set()


@pytest.mark.asyncio
async def test_nothing_is_left_running_after_streams_have_ended() -> None:
    before = asyncio.all_tasks()
    async with node() as it:
        it.owner.gate.set()
        await it.client.execute([read()])
    async with asyncio.timeout(GUARD_S):
        while asyncio.all_tasks() - before:
            await asyncio.wait(asyncio.all_tasks() - before, timeout=0.1)
