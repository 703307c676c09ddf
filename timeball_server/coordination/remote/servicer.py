"""The serving process's end of MembershipService.

Owns one session per stream, opened on the caller's behalf and closed with the stream, or
before, once the caller has been silent for its session timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from timeball.errors import CoordinationUnavailable, InvalidRequest, TimeballError, Violation

from timeball_server.coordination.remote.wire import read_member
from timeball_server.internal.v1 import membership_service_pb2 as pb
from timeball_server.internal.v1 import membership_service_pb2_grpc as stubs
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Membership, SessionLost
from timeball_server.rpc.options import ACCEPTED_KEY
from timeball_server.rpc.status import abort_with


class MembershipServicer(stubs.MembershipServiceServicer):
    """Lets callers be members.

    Args:
        open_session: opens a session with this timeout in milliseconds.
        clock: measures the callers' silence.
    """

    def __init__(self, open_session: Callable[[int], Awaitable[Membership]], clock: Clock) -> None:
        self._open_session = open_session
        self._clock = clock
        self._endings: set[asyncio.Task[None]] = set()

    async def Join(  # type: ignore[override]  # noqa: N802 - the name is the proto's
        self, request_iterator: AsyncIterator[pb.JoinRequest], context: Any
    ) -> None:
        """A member for as long as the stream lives and heartbeats come.

        Writes its answers instead of yielding them (the stubs know only the latter), so that a
        broken stream is felt here at once. `context` is Any: the stubs mix two kinds of it.
        """
        try:
            await context.send_initial_metadata(((ACCEPTED_KEY, "1"),))
            await self._serve(request_iterator, context)
        except SessionLost as lost:
            await abort_with(context, CoordinationUnavailable(lost.message))
        except TimeballError as error:
            await abort_with(context, error)

    async def _serve(self, requests: AsyncIterator[pb.JoinRequest], context: Any) -> None:
        """Join, then answer heartbeats; whatever ends this ends the session."""
        first = await anext(requests, pb.JoinRequest())
        if not first.HasField("member"):
            wrong = Violation("member", "the first message must say who joins")
            raise InvalidRequest("the first message must say who joins", violations=[wrong])
        member = read_member(first.member)
        session = await self._open_session(first.member.session_timeout_ms)
        hearing = _Hearing(session, self._clock)
        try:
            incarnation = await session.join(member)
            await context.write(pb.JoinResponse(incarnation=incarnation))
            async for request in requests:
                hearing.heard()
                await session.prove()
                number = request.heartbeat.number
                await context.write(pb.JoinResponse(incarnation=incarnation, heartbeat=number))
        finally:
            await self._end(hearing)

    async def _end(self, hearing: _Hearing) -> None:
        """Close the session in a task of its own: grpc.aio may cancel a broken call twice."""
        ending = asyncio.create_task(hearing.end())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        await asyncio.shield(ending)


class _Hearing:
    """Closes a session once its caller is gone or has been silent for the session timeout."""

    def __init__(self, session: Membership, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._heard_mono_ms = clock.now().mono_ms
        self._watch = asyncio.create_task(self._close_when_silent())

    def heard(self) -> None:
        """The caller gave a sign of life."""
        self._heard_mono_ms = self._clock.now().mono_ms

    async def end(self) -> None:
        """The caller is gone."""
        self._watch.cancel()
        await asyncio.wait((self._watch,))
        await self._session.close()

    async def _close_when_silent(self) -> None:
        while (left_ms := self._left_ms()) > 0:
            await self._clock.sleep_ms(left_ms)
        await self._session.close()

    def _left_ms(self) -> int:
        """How much longer the caller may be silent."""
        return self._heard_mono_ms + self._session.session_timeout_ms - self._clock.now().mono_ms
