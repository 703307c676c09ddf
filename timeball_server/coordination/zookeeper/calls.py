"""What members, election and ownership share: requests of a joined session, whole or not at all."""

from __future__ import annotations

from typing import Any, Final

from timeball.errors import CoordinationUnavailable, FailedPrecondition

from timeball_server.coordination.zookeeper import requests
from timeball_server.coordination.zookeeper.layout import Layout
from timeball_server.coordination.zookeeper.link import Link
from timeball_server.coordination.zookeeper.mirror import Entry, Mirror
from timeball_server.ports.coordination import Member

TRIES: Final = 3
"""How often a call looks again when an entry comes and goes underneath."""


class Calls:
    """A session's requests, and whom it speaks for.

    Attributes:
        joined: the member that the session joined as.
    """

    def __init__(self, layout: Layout, link: Link, mirror: Mirror) -> None:
        self.layout = layout
        self.link = link
        self.mirror = mirror
        self.joined: Member | None = None

    async def look(self, name: str, path: str) -> Any:
        """The stat of an entry, None if there is none."""
        return await self.link.ask(name, requests.look(path))

    async def create(self, name: str, path: str, data: bytes, flags: int = 0) -> int:
        """Make an ephemeral entry; its czxid.

        Raises:
            NodeExistsError: somebody has it; maybe this session, if an answer was lost.
        """
        request = requests.create(path, data, self.link.acl, flags | requests.EPHEMERAL)
        _, stat = await self.link.ask(name, request)
        return int(stat.czxid)

    async def together(
        self, name: str, *changes: Any, expected: tuple[type[Exception], ...] = ()
    ) -> list[Any] | None:
        """Apply all changes or none; their results, None if an expected error undid them."""
        results: list[Any] = await self.link.ask(name, requests.together(*changes))
        failure = requests.failure_of(results)
        if failure is None:
            return results
        if isinstance(failure, expected):
            return None
        raise CoordinationUnavailable(
            f"{name}: ZooKeeper refused ({type(failure).__name__}); were entries removed by hand?"
        )

    def is_mine(self, owner: Entry | Any) -> bool:
        """Whether this session made the entry of that stat."""
        session_id = owner.session_id if isinstance(owner, Entry) else owner.ephemeralOwner
        return bool(session_id == self.link.session_id)

    def require_joined(self, name: str) -> Member:
        """The member that this session joined as.

        Raises:
            CoordinationUnavailable: not connected.
            FailedPrecondition: not joined.
        """
        self.link.require(name)
        if self.joined is None:
            raise FailedPrecondition("join first: only a member can drain, lead or own a shard")
        return self.joined
