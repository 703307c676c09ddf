"""One membership after another: how an executor joins anew when a session has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from timeball_server.core.ids import Incarnation
from timeball_server.ports.coordination import Member, Membership, SessionState

Connect = Callable[[], Awaitable[Membership]]
"""Opens a new session."""


class Memberships(Protocol):
    """Being a member, one incarnation at a time."""

    async def join(self, member: Member) -> Incarnation:
        """Become a member in a new session; the former one is closed.

        Raises:
            CoordinationUnavailable: not now; joining again may succeed.
            AlreadyExists: the former session has not expired yet; joining again will succeed.
        """
        ...

    async def lost(self) -> None:
        """Return when the membership of the last `join` has ended."""
        ...

    async def leave(self) -> None:
        """End the membership at once. Safe to call twice, and before joining."""
        ...


class SessionMemberships:
    """`Memberships` in sessions of the coordination port.

    Args:
        connect: opens a new session; called once per `join`.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._session: Membership | None = None
        self._ended = asyncio.Event()

    async def join(self, member: Member) -> Incarnation:
        """Become a member in a new session."""
        await self.leave()
        session = self._session = await self._connect()
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
