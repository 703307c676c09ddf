"""Becoming a member although one's own earlier life is still one.

A process that was killed stays a member until its session expires. Started again at once, it
finds its name taken and waits for that end; a name that stays taken belongs to somebody else.
"""

from __future__ import annotations

from typing import Final, Protocol

import structlog
from timeball.errors import AlreadyExists

from timeball_server.core.ids import Incarnation
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Member

log = structlog.stdlib.get_logger("joining")
JOIN_PAUSE_MS: Final = 100
"""Between two tries."""
PATIENCE_SESSIONS: Final = 3
"""The name may stay taken for so many session timeouts; an expiry takes one and a bit."""


class Joining(Protocol):
    """What joining needs of a session; every session of the coordination port has it."""

    @property
    def session_timeout_ms(self) -> int:
        """What the service granted."""
        ...

    async def join(self, member: Member) -> Incarnation:
        """Become a member."""
        ...

    async def close(self) -> None:
        """End the session."""
        ...


async def join_in_turn(session: Joining, member: Member, clock: Clock) -> Incarnation:
    """Join, waiting for the end of an earlier member of the same name.

    Raises:
        AlreadyExists: the name stayed taken; the session is closed.
        TimeballError: joining failed otherwise; the session is closed.
    """
    try:
        return await _joined(session, member, clock)
    except BaseException:  # who stops while it joins leaves no session behind either
        await session.close()
        raise


async def _joined(session: Joining, member: Member, clock: Clock) -> Incarnation:
    end_mono_ms = clock.now().mono_ms + PATIENCE_SESSIONS * session.session_timeout_ms
    told = False
    while True:
        try:
            return await session.join(member)
        except AlreadyExists as taken:
            if clock.now().mono_ms >= end_mono_ms:
                raise
            if not told:
                log.info("waiting for my name", node=member.node, reason=str(taken))
            told = True
        await clock.sleep_ms(JOIN_PAUSE_MS)
