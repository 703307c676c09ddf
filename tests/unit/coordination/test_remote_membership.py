"""Membership over gRPC, both ends over loopback with a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest
from timeball.errors import (
    AlreadyExists,
    CoordinationUnavailable,
    FailedPrecondition,
    InvalidRequest,
)

from tests.support.manual_clock import ManualClock, turn
from tests.support.signals import RecordedSignals
from timeball_server.coordination.local import LocalCoordinator, LocalSession
from timeball_server.coordination.remote.client import MAX_UNSENT, RemoteMembership
from timeball_server.coordination.remote.servicer import MembershipServicer
from timeball_server.coordination.remote.wire import read_member, write_member
from timeball_server.core.ids import NodeId
from timeball_server.internal.v1 import membership_service_pb2 as pb
from timeball_server.internal.v1 import membership_service_pb2_grpc as stubs
from timeball_server.ports.coordination import Member, Membership, Role, SessionLost, SessionState
from timeball_server.rpc.options import ACCEPTED_KEY

TIMEOUT_MS = 6_000
EXECUTOR = Member(
    role=Role.EXECUTOR,
    node=NodeId("executor-a"),
    address="127.0.0.1:7003",
    strength=9,
    slots=4,
    labels=(("disk", "ssd"), ("zone", "east")),
    handlers=("mail", "report"),
    started_ms=77,
    version="0.1.0",
)

pytestmark = pytest.mark.asyncio


@dataclass
class Cluster:
    """A coordination service behind a real server, and callers with clocks of their own."""

    service: LocalCoordinator
    service_clock: ManualClock
    channel: grpc.aio.Channel
    opened: list[LocalSession] = field(default_factory=list)
    remotes: list[RemoteMembership] = field(default_factory=list)

    async def open_session(self, session_timeout_ms: int) -> Membership:
        session = await self.service.connect(session_timeout_ms)
        self.opened.append(session)
        return session

    def remote(self, clock: ManualClock) -> RemoteMembership:
        remote = RemoteMembership(self.channel, TIMEOUT_MS, clock)
        self.remotes.append(remote)
        return remote

    def members(self) -> tuple[Member, ...]:
        return self.service.entries.members(Role.EXECUTOR)

    async def until_members(self, count: int) -> None:
        """Wait for the stream's other end; the test's own timeout is the deadline."""
        signals = RecordedSignals()
        watcher = await self.service.connect(10**9)
        watcher.on_change(lambda: signals.emit("changed"))
        changes = 0
        while len(self.members()) != count:
            changes += 1
            await signals.wait("changed", changes)


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    clock = ManualClock()
    service = LocalCoordinator(500, clock)
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        made = Cluster(service, clock, channel)
        stubs.add_MembershipServiceServicer_to_server(
            MembershipServicer(made.open_session, clock), server
        )
        await server.start()
        yield made
        for remote in made.remotes:
            await remote.close()
        await service.close()
        await server.stop(None)


@asynccontextmanager
async def speaking_with(
    mute: "MuteServicer", clock: ManualClock
) -> AsyncIterator[RemoteMembership]:
    """A membership at a server that holds its answers back."""
    server = grpc.aio.server()
    stubs.add_MembershipServiceServicer_to_server(mute, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        remote = RemoteMembership(channel, TIMEOUT_MS, clock)
        try:
            yield remote
        finally:
            await remote.close()
            await server.stop(None)


async def state_of(remote: RemoteMembership, state: SessionState) -> None:
    """Wait until the membership is in a state."""
    reached = asyncio.Event()

    def look() -> None:
        if remote.state is state:
            reached.set()

    remote.on_change(look)
    look()
    await reached.wait()


async def test_joining_makes_a_member_with_everything_it_said() -> None:
    async with cluster() as made:
        remote = made.remote(ManualClock())
        incarnation = await remote.join(EXECUTOR)
        assert incarnation >= 500
        assert made.members() == (replace(EXECUTOR, incarnation=incarnation),)
        assert remote.state is SessionState.CONNECTED
        assert await remote.join(EXECUTOR) == incarnation
        with pytest.raises(FailedPrecondition):
            await remote.join(replace(EXECUTOR, node=NodeId("executor-b")))


async def test_closing_removes_the_member_at_once_and_may_be_repeated() -> None:
    async with cluster() as made:
        remote = made.remote(ManualClock())
        await remote.join(EXECUTOR)
        await remote.close()
        await remote.close()
        assert made.members() == ()
        for request in (remote.prove(), remote.join(EXECUTOR)):
            with pytest.raises(SessionLost):
                await request


async def test_a_member_that_comes_back_has_a_greater_incarnation() -> None:
    async with cluster() as made:
        first = made.remote(ManualClock())
        before = await first.join(EXECUTOR)
        await first.close()
        assert await made.remote(ManualClock()).join(EXECUTOR) > before


async def test_a_living_members_name_is_refused_with_its_own_error() -> None:
    async with cluster() as made:
        await made.remote(ManualClock()).join(EXECUTOR)
        rival = made.remote(ManualClock())
        with pytest.raises(AlreadyExists):
            await rival.join(EXECUTOR)
        assert rival.state is SessionState.LOST
        assert len(made.members()) == 1


async def test_r3_proof_is_the_time_of_sending() -> None:
    async with cluster() as made:
        clock = ManualClock()
        remote = made.remote(clock)
        assert remote.proven_at_mono_ms() is None
        await remote.join(EXECUTOR)
        joined_mono_ms = remote.proven_at_mono_ms()
        clock.advance(300)
        await remote.prove()
        assert joined_mono_ms is not None
        assert remote.proven_at_mono_ms() == joined_mono_ms + 300


async def test_heartbeats_keep_the_member_alive() -> None:
    async with cluster() as made:
        clock = ManualClock()
        remote = made.remote(clock)
        await remote.join(EXECUTOR)
        for _ in range(12):
            await clock.pass_by(TIMEOUT_MS / 6)
            await remote.prove()
            await made.service_clock.pass_by(TIMEOUT_MS / 6)
        assert remote.state is SessionState.CONNECTED
        assert len(made.members()) == 1


async def test_the_caller_beats_by_itself() -> None:
    async with cluster() as made:
        clock = ManualClock()
        remote = made.remote(clock)
        await remote.join(EXECUTOR)
        joined_mono_ms = remote.proven_at_mono_ms() or 0
        await clock.pass_by(TIMEOUT_MS / 6)
        while remote.proven_at_mono_ms() == joined_mono_ms:
            await turn()
        assert remote.proven_at_mono_ms() == joined_mono_ms + TIMEOUT_MS // 6


async def test_a_silent_caller_is_no_member_after_its_timeout() -> None:
    """The serving process's own keep-alive must not keep a frozen caller alive."""
    async with cluster() as made:
        remote = made.remote(ManualClock())  # a clock that stands still: it never beats
        await remote.join(EXECUTOR)
        await made.service_clock.pass_by(TIMEOUT_MS - 1, steps=6)
        assert len(made.members()) == 1
        await made.service_clock.pass_by(1)
        assert made.members() == ()
        with pytest.raises(CoordinationUnavailable):
            await remote.prove()
        await state_of(remote, SessionState.LOST)


class MuteServicer(stubs.MembershipServiceServicer):
    """Answers the joining, and heartbeats only while it may speak."""

    def __init__(self) -> None:
        self.may_speak, self.may_join = asyncio.Event(), asyncio.Event()

    async def Join(  # type: ignore[override]  # noqa: N802 - the name is the proto's
        self, request_iterator: Any, context: Any
    ) -> None:
        await context.send_initial_metadata(((ACCEPTED_KEY, "1"),))
        await self.may_join.wait()
        await context.write(pb.JoinResponse(incarnation=1))
        async for request in request_iterator:
            if request.HasField("heartbeat"):
                await self.may_speak.wait()
                await context.write(pb.JoinResponse(heartbeat=request.heartbeat.number))


async def test_a_silent_service_suspends_heals_and_then_ends_the_membership() -> None:
    mute, clock = MuteServicer(), ManualClock()
    mute.may_join.set()
    async with speaking_with(mute, clock) as remote:
        await remote.join(EXECUTOR)
        states = [remote.state]
        remote.on_change(lambda: states.append(remote.state))
        proof = asyncio.ensure_future(remote.prove())
        await clock.pass_by(TIMEOUT_MS / 3, steps=2)
        assert states == [SessionState.CONNECTED]
        await clock.pass_by(TIMEOUT_MS / 6)
        for request in (proof, remote.prove(), remote.join(EXECUTOR)):
            with pytest.raises(CoordinationUnavailable):
                await request
        mute.may_speak.set()
        await state_of(remote, SessionState.CONNECTED)
        await remote.prove()
        mute.may_speak.clear()
        await clock.pass_by(2 * TIMEOUT_MS, steps=12)
    connected, suspended, lost = SessionState.CONNECTED, SessionState.SUSPENDED, SessionState.LOST
    assert states == [connected, suspended, connected, suspended, lost]


async def test_a_service_that_does_not_answer_the_joining_is_given_up() -> None:
    clock = ManualClock()
    async with speaking_with(MuteServicer(), clock) as remote:
        joining = asyncio.ensure_future(remote.join(EXECUTOR))
        await clock.pass_by(TIMEOUT_MS, steps=6)
        with pytest.raises(CoordinationUnavailable):
            await joining
        assert remote.state is SessionState.LOST


async def test_more_proofs_at_once_than_the_limit_are_refused() -> None:
    async with cluster() as made:
        remote = made.remote(ManualClock())
        await remote.join(EXECUTOR)
        proofs = [remote.prove() for _ in range(MAX_UNSENT + 1)]
        ends = await asyncio.gather(*proofs, return_exceptions=True)
        assert [type(end) for end in ends] == [type(None)] * MAX_UNSENT + [CoordinationUnavailable]


async def test_an_ended_session_is_told_with_the_next_heartbeat() -> None:
    async with cluster() as made:
        clock = ManualClock()
        remote = made.remote(clock)
        await remote.join(EXECUTOR)
        made.service.expire(made.opened[0])
        with pytest.raises(CoordinationUnavailable):
            await remote.prove()
        await state_of(remote, SessionState.LOST)


async def test_a_broken_channel_ends_both_ends() -> None:
    async with cluster() as made:
        remote = made.remote(ManualClock())
        await remote.join(EXECUTOR)
        await made.channel.close()
        await state_of(remote, SessionState.LOST)
        await made.until_members(0)


async def test_every_wrong_field_of_a_joining_member_is_named() -> None:
    wrong = pb.JoiningMember(role="king", node="a b", strength=0, slots=-1, session_timeout_ms=1)
    with pytest.raises(InvalidRequest) as caught:
        read_member(wrong)
    assert [each.field for each in caught.value.violations] == [
        "member.role",
        "member.node",
        "member.strength",
        "member.slots",
        "member.session_timeout_ms",
    ]
    assert read_member(write_member(EXECUTOR, TIMEOUT_MS)) == EXECUTOR


async def test_a_first_message_without_a_member_is_refused() -> None:
    async with cluster() as made:
        call = stubs.MembershipServiceStub(made.channel).Join()
        await call.write(pb.JoinRequest(heartbeat=pb.Heartbeat(number=1)))
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert made.opened == []


async def test_a_wrong_member_is_refused_over_the_wire() -> None:
    async with cluster() as made:
        remote = made.remote(ManualClock())
        with pytest.raises(InvalidRequest) as caught:
            await remote.join(replace(EXECUTOR, strength=101))
        assert caught.value.violations[0].field == "member.strength"


async def test_a_service_that_is_not_there_is_unavailable_and_no_reason_to_give_up() -> None:
    """A joining executor outlives the restart of the process that it joins."""
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        remote = RemoteMembership(channel, TIMEOUT_MS, ManualClock())
        with pytest.raises(CoordinationUnavailable, match="cannot be reached"):
            await remote.join(EXECUTOR)
        assert remote.state is SessionState.LOST
        await remote.close()
