"""Who stops while it becomes a member leaves no session behind."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.core.ids import Incarnation, NodeId
from timeball_server.ports.coordination import Member, Role
from timeball_server.runtime.joining import Joining, join_in_turn

MEMBER = Member(role=Role.SCHEDULER_NODE, node=NodeId("scheduler-1"), address="here:1")


class SilentSession(Joining):
    """A session whose service never answers."""

    def __init__(self) -> None:
        self.closed = False

    @property
    def session_timeout_ms(self) -> int:
        return 4_000

    async def join(self, member: Member) -> Incarnation:
        never: asyncio.Future[Incarnation] = asyncio.get_running_loop().create_future()
        return await never

    async def close(self) -> None:
        self.closed = True


def test_a_cancelled_joining_ends_its_session() -> None:
    async def story(loop: VirtualLoop) -> None:
        session, clock = SilentSession(), VirtualClock(loop)
        joining = loop.create_task(join_in_turn(session, MEMBER, clock))
        await clock.sleep_ms(10)
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        assert session.closed

    run_virtual(story)
