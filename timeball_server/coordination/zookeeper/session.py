"""A session with ZooKeeper as the coordination port asks for it.

Puts the parts together and calls back. Nothing is ever sent twice: an unknown outcome is told as
CoordinationUnavailable, and the next call looks at what the service has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from timeball_server.coordination.zookeeper import election, membership, standing, wishes
from timeball_server.coordination.zookeeper.calls import Calls
from timeball_server.coordination.zookeeper.keeper import Keeper
from timeball_server.coordination.zookeeper.layout import Layout
from timeball_server.coordination.zookeeper.link import Link
from timeball_server.coordination.zookeeper.mirror import Mirror
from timeball_server.coordination.zookeeper.options import ZooKeeperOptions
from timeball_server.coordination.zookeeper.ownership import Owners
from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import (
    Assignment,
    Member,
    Ownership,
    Role,
    SessionState,
)


async def open_session(options: ZooKeeperOptions, clock: Clock) -> ZooKeeperSession:
    """Connect, make the skeleton of entries if it is missing, and watch it.

    Raises:
        CoordinationUnavailable: nobody answered in time.
        Unauthenticated: the server refused the credentials.
        PermissionDenied: they have no right to the entries.
    """
    session = ZooKeeperSession(options, clock)
    await session.open()
    return session


class ZooKeeperSession:
    """One process's session (a `CoordinationSession`), made by `open_session`.

    Args:
        options: where ZooKeeper is.
        clock: the process's clock.

    Attributes:
        link: the connection; for tools and tests that end or break a session from outside.
    """

    def __init__(self, options: ZooKeeperOptions, clock: Clock) -> None:
        layout = Layout(options.root)
        self._callbacks: list[Callable[[], None]] = []
        self._notice: asyncio.Handle | None = None
        self.link = Link(options, clock, self._take_state)
        mirror = Mirror(layout, self.link, self._call_back_soon)
        self._keeper = Keeper(options, clock, self.link, mirror, layout)
        self._calls = Calls(layout, self.link, mirror)
        self._owners = Owners(self._calls)

    @property
    def state(self) -> SessionState:
        """What is known of the session now."""
        return self.link.state

    @property
    def session_timeout_ms(self) -> int:
        """What the server granted, which may differ from what was asked for."""
        return self.link.session_timeout_ms

    def proven_at_mono_ms(self) -> int | None:
        """Monotonic time at which the last request that the leader answered was sent."""
        return self.link.proven_at_mono_ms

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back after any change; several changes may be one call."""
        self._callbacks.append(callback)

    async def open(self) -> None:
        """Connect and begin to watch; see `open_session`."""
        await self._keeper.open()

    async def join(self, member: Member) -> Incarnation:
        """Become a member."""
        return await membership.join(self._calls, member)

    async def members(self, role: Role) -> tuple[Member, ...]:
        """The living members of a role, ordered by node."""
        return await membership.members(self._calls, role)

    async def drain(self) -> None:
        """Mark this session's member as draining."""
        await membership.drain(self._calls)

    async def campaign(self) -> None:
        """Stand for leader."""
        await election.campaign(self._calls)

    async def leader(self) -> NodeId | None:
        """Who leads now."""
        return await election.leader(self._calls)

    async def term(self) -> int | None:
        """The term in which this session leads."""
        return await election.term(self._calls)

    async def read_assignment(self) -> Assignment | None:
        """The newest assignment."""
        return await election.read_assignment(self._calls)

    async def write_assignment(
        self,
        term: int,
        expected_version: int,
        shards: Mapping[ShardId, NodeId],
        reasons: Mapping[ShardId, str],
    ) -> bool:
        """Replace the assignment if this session still leads in this term and nobody wrote."""
        return await election.write_assignment(self._calls, term, expected_version, shards, reasons)

    async def read_wishes(self) -> Mapping[ShardId, NodeId]:
        """Where an operator wants single shards to be."""
        return await wishes.read_wishes(self._calls)

    async def write_wish(self, shard: ShardId, node: NodeId | None) -> None:
        """Wish a shard on a node, or take the wish back."""
        await wishes.write_wish(self._calls, shard, node)

    async def take_ownership(self, shard: ShardId) -> Epoch | None:
        """Create the ownership entry; its czxid is the epoch."""
        return await self._owners.take(shard)

    async def release_ownership(self, shard: ShardId, epoch: Epoch) -> None:
        """Remove the entry if it is ours and of this epoch."""
        await self._owners.release(shard, epoch)

    async def ownerships(self) -> tuple[Ownership, ...]:
        """Who holds what now."""
        return await self._owners.all()

    async def stand_by(self, shard: ShardId) -> bool:
        """Say that this node is ready to take the shard."""
        return await standing.stand_by(self._calls, shard)

    async def stand_down(self, shard: ShardId) -> None:
        """Take `stand_by` back."""
        await standing.stand_down(self._calls, shard)

    async def standbys(self) -> Mapping[ShardId, NodeId]:
        """Who stands by for what now."""
        return await standing.standbys(self._calls)

    async def prove(self) -> None:
        """A round trip to the ensemble's leader that changes nothing."""
        await self._keeper.prove("prove")

    async def close(self) -> None:
        """End the session; its entries go at once if the service can be reached."""
        await self._keeper.close("the session was closed")

    def _take_state(self, state: SessionState) -> None:
        """The session's state changed."""
        self._keeper.take_state(state)
        self._call_back_soon()

    def _call_back_soon(self) -> None:
        """Schedule one round of callbacks unless one is scheduled."""
        if self._notice is None:
            self._notice = asyncio.get_running_loop().call_soon(self._call_back)

    def _call_back(self) -> None:
        """Tell all listeners."""
        self._notice = None
        for callback in tuple(self._callbacks):
            callback()
