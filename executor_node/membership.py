"""How an executor becomes a member and learns that it is none any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from timeball_server.core.ids import Incarnation
from timeball_server.ports.coordination import CoordinationSession, Member, SessionState


class Membership(Protocol):
    """Being a member. Each `join` makes a new incarnation; one at a time."""

    async def join(self, member: Member) -> Incarnation:
        """Become a member in a session of its own.

        Raises:
            CoordinationUnavailable: not now; joining again may succeed.
        """
        ...

    async def lost(self) -> None:
        """Return when the membership of the last `join` has ended."""
        ...

    async def leave(self) -> None:
        """End the membership at once. Safe to call twice, and before joining."""
        ...


class SessionMembership:
    """A `Membership` in a coordination session, which is closed with it.

    Args:
        open_session: opens a new session; called once per `join`.
    """

    def __init__(self, open_session: Callable[[], Awaitable[CoordinationSession]]) -> None:
        self._open_session = open_session
        self._session: CoordinationSession | None = None
        self._ended = asyncio.Event()

    async def join(self, member: Member) -> Incarnation:
        """Become a member in a new session."""
        await self.leave()
        session = self._session = await self._open_session()
        ended = self._ended = asyncio.Event()

        def look() -> None:
            if session.state is SessionState.LOST:
                ended.set()

        session.on_change(look)
        incarnation = await session.join(member)
        look()
        return incarnation

    async def lost(self) -> None:
        """Return when the session has ended."""
        await self._ended.wait()

    async def leave(self) -> None:
        """Close the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
