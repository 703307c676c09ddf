"""The joining process's end of MembershipService.

Owns one stream and judges its silence by the clock. grpc.aio leaks memory when a read is
cancelled: the one reader only ends with its call. A stream takes one write at a time, and a
write may never return once its call is cancelled: the one writer is waited for by nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import grpc
from timeball.errors import CoordinationUnavailable, FailedPrecondition, TimeballError

from timeball_server.coordination.remote.wire import write_member
from timeball_server.core.ids import Incarnation
from timeball_server.internal.v1 import membership_service_pb2 as pb
from timeball_server.internal.v1 import membership_service_pb2_grpc as stubs
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Member, SessionLost, SessionState
from timeball_server.rpc.options import ACCEPTED_KEY
from timeball_server.rpc.status import error_from_rpc

BEATS_PER_TIMEOUT: Final = 6
"""Heartbeats per session timeout; half of them unanswered suspends the membership."""
MAX_UNSENT: Final = 16
"""Messages that may wait for the stream; more are refused."""
GOODBYE_MS: Final = 1_000
"""How long closing waits for the service to end the stream before it is cut."""

Call = grpc.aio.StreamStreamCall[pb.JoinRequest, pb.JoinResponse]


class RemoteMembership:
    """A `Membership` through another process: one join, one stream. SUSPENDED until it joined.

    Args:
        channel: to the process that serves MembershipService; not closed here.
        session_timeout_ms: silence after which the service ends the membership.
        clock: decides when to beat and when silence has lasted too long.
        metadata: sent with the stream, for example a credential.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        session_timeout_ms: int,
        clock: Clock,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._stub = stubs.MembershipServiceStub(channel)
        self._session_timeout_ms = session_timeout_ms
        self._clock = clock
        self._metadata = tuple(metadata)
        self._state = SessionState.SUSPENDED
        self._joined: Member | None = None
        self._call: Call | None = None
        self._reader: asyncio.Task[None] | None = None
        self._others: tuple[asyncio.Task[None], ...] = ()
        self._unsent: asyncio.Queue[pb.JoinRequest] = asyncio.Queue(MAX_UNSENT)
        self._number = 0
        self._sent_mono_ms: dict[int, int] = {}
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._proven_at_mono_ms: int | None = None
        self._callbacks: list[Callable[[], None]] = []

    @property
    def state(self) -> SessionState:
        """What is known of the membership now."""
        return self._state

    @property
    def session_timeout_ms(self) -> int:
        """How long silence lasts before the service ends the membership."""
        return self._session_timeout_ms

    def proven_at_mono_ms(self) -> int | None:
        """Monotonic time at which the last answered message was sent."""
        return self._proven_at_mono_ms

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back after a change of state; of other members nothing is known here."""
        self._callbacks.append(callback)

    async def join(self, member: Member) -> Incarnation:
        """Become a member. After a failure this object is LOST: make another one.

        Raises:
            AlreadyExists, FailedPrecondition, InvalidRequest: refused by the service.
            CoordinationUnavailable: the service did not answer within the session timeout.
        """
        if self._joined is not None:
            return self._same(self._joined, member)
        if self._call is not None or self._state is SessionState.LOST:
            raise SessionLost("join: this membership has ended; make a new one")
        self._call = self._stub.Join(metadata=self._metadata)
        message = write_member(member, self._session_timeout_ms)
        answer = self._ask(0, pb.JoinRequest(member=message))
        self._reader = asyncio.create_task(self._read(self._call))
        loops = (self._write(self._call), self._watch(self._call), self._beat())
        self._others = tuple(asyncio.create_task(loop) for loop in loops)
        incarnation = Incarnation(await answer)
        self._joined = replace(member, incarnation=incarnation)
        return incarnation

    async def prove(self) -> None:
        """Send one more heartbeat and wait for its answer."""
        if self._state is not SessionState.CONNECTED or self._unsent.full():
            raise self._error("prove")
        self._number += 1
        await self._ask(self._number, _heartbeat(self._number))

    async def close(self) -> None:
        """Leave; returns when the service has forgotten the member, if it can be reached."""
        reachable = self._state is SessionState.CONNECTED
        self._enter(SessionState.LOST, self._error("close"))
        if self._call is None or self._reader is None:
            return
        if reachable and not self._call.done():
            await self._call.done_writing()
            await asyncio.wait((self._reader,), timeout=GOODBYE_MS / 1_000)
        self._call.cancel()
        for task in self._others:
            task.cancel()
        await asyncio.wait((self._reader, *self._others))

    def _ask(self, number: int, request: pb.JoinRequest) -> asyncio.Future[int]:
        """Send a message now; what will hold the incarnation that the answer names."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._send(number, request)
        return answer

    def _send(self, number: int, request: pb.JoinRequest) -> None:
        """Hand a message to the writer."""
        self._sent_mono_ms[number] = self._clock.now().mono_ms
        self._unsent.put_nowait(request)

    async def _write(self, call: Call) -> None:
        """Write what is sent once the call is accepted; why it is broken is the reader's to say."""
        try:
            accepted = ACCEPTED_KEY in dict(await call.initial_metadata())
            while accepted:
                await call.write(await self._unsent.get())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            call.cancel()

    async def _read(self, call: Call) -> None:
        """Take answers until the stream ends, which ends the membership."""
        error: TimeballError = SessionLost("the service ended the membership; make a new one")
        try:
            while isinstance(response := await call.read(), pb.JoinResponse):
                self._take(response)
        except grpc.aio.AioRpcError as broken:
            error = _what_it_means(error_from_rpc(broken))
        except asyncio.CancelledError:
            error = SessionLost("the membership has ended without an answer in time")
        self._enter(SessionState.LOST, error)

    def _take(self, response: pb.JoinResponse) -> None:
        """An answer proves the membership as of the time its question was sent."""
        sent_mono_ms = self._sent_mono_ms.pop(response.heartbeat, None)
        if sent_mono_ms is None:
            return
        self._proven_at_mono_ms = max(sent_mono_ms, self._proven_at_mono_ms or sent_mono_ms)
        self._enter(SessionState.CONNECTED, None)
        answer = self._waiting.pop(response.heartbeat, None)
        if answer is not None and not answer.done():
            answer.set_result(response.incarnation)

    async def _beat(self) -> None:
        """Send a heartbeat every sixth of the timeout; an answer also ends a suspension."""
        while self._state is not SessionState.LOST:
            await self._clock.sleep_ms(self._session_timeout_ms / BEATS_PER_TIMEOUT)
            if self._joined is not None and self._unsent.empty():
                self._number += 1
                self._send(self._number, _heartbeat(self._number))

    async def _watch(self, call: Call) -> None:
        """Half a timeout without an answer suspends, a whole one ends the membership."""
        began_mono_ms = self._clock.now().mono_ms
        while self._state is not SessionState.LOST:
            await self._clock.sleep_ms(self._session_timeout_ms / BEATS_PER_TIMEOUT)
            proven_mono_ms = self._proven_at_mono_ms
            since_mono_ms = began_mono_ms if proven_mono_ms is None else proven_mono_ms
            silent_ms = self._clock.now().mono_ms - since_mono_ms
            if silent_ms >= self._session_timeout_ms:
                self._enter(SessionState.LOST, SessionLost("the service has been silent too long"))
                call.cancel()
            elif 2 * silent_ms >= self._session_timeout_ms:
                self._enter(SessionState.SUSPENDED, self._error("prove"))

    def _enter(self, state: SessionState, error: TimeballError | None) -> None:
        """Change the state, let nobody wait in vain, and say so. LOST is final."""
        if self._state in (SessionState.LOST, state):
            return
        self._state = state
        if error is not None:
            self._fail_waiting(error)
        for callback in tuple(self._callbacks):
            callback()

    def _fail_waiting(self, error: TimeballError) -> None:
        """End every wait for an answer."""
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(error)

    def _error(self, name: str) -> CoordinationUnavailable:
        """Why a request cannot be made now."""
        if self._state is SessionState.LOST:
            return SessionLost(f"{name}: the membership has ended; make a new one and join again")
        return CoordinationUnavailable(f"{name}: the coordination service does not answer")

    def _same(self, joined: Member, member: Member) -> Incarnation:
        """The incarnation of a repeated join."""
        if self._state is not SessionState.CONNECTED:
            raise self._error("join")
        if (joined.role, joined.node) != (member.role, member.node):
            raise FailedPrecondition(f"this membership joined as {joined.role} {joined.node!r}")
        return joined.incarnation


def _what_it_means(error: TimeballError) -> TimeballError:
    """The port's word for a broken stream; refusals that joining again cannot mend stay."""
    if not error.retryable or isinstance(error, CoordinationUnavailable):
        return error
    return CoordinationUnavailable(f"the coordination service cannot be reached: {error.message}")


def _heartbeat(number: int) -> pb.JoinRequest:
    """A sign of life."""
    return pb.JoinRequest(heartbeat=pb.Heartbeat(number=number))
