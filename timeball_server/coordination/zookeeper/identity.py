"""Whose entries lie below a root: a text that the first node writes and all others compare.

Two clusters below one root would take each other's shards for theirs.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from kazoo.exceptions import NodeExistsError
from timeball.errors import FailedPrecondition, PermissionDenied, Unauthenticated

from timeball_server.coordination.zookeeper import requests
from timeball_server.coordination.zookeeper.options import ZooKeeperOptions
from timeball_server.coordination.zookeeper.session import ZooKeeperSession, open_session
from timeball_server.ports.clock import Clock

NAME: Final = "cluster"


async def open_identified(
    options: ZooKeeperOptions, clock: Clock, identity: str
) -> ZooKeeperSession:
    """A session below a root that belongs to the cluster of this identity, from now on at least.

    Raises:
        CoordinationUnavailable: nobody answered in time.
        FailedPrecondition: wrong credentials, or the root belongs to another cluster.
    """
    session = await open_allowed(options, clock)
    try:
        standing = await identify(session, options.root, identity)
        if standing != identity:
            raise FailedPrecondition(
                f"ZooKeeper at {_where(options)} belongs to the cluster with the database "
                f"{standing!r}, this process has {identity!r}. Correct coordination.root, or the "
                "addresses and the keyspace in [store]."
            )
    except BaseException:
        await session.close()
        raise
    return session


async def open_allowed(options: ZooKeeperOptions, clock: Clock) -> ZooKeeperSession:
    """A session whose user has the right to the entries.

    Raises:
        CoordinationUnavailable: nobody answered in time.
        FailedPrecondition: wrong credentials.
    """
    try:
        return await open_session(options, clock)
    except (PermissionDenied, Unauthenticated) as error:
        raise FailedPrecondition(
            f"ZooKeeper at {_where(options)} refuses the user {options.user or 'nobody'!r}: the "
            "entries belong to another one, or the password is wrong. Correct user and password "
            "of coordination in this process."
        ) from error


async def identify(session: ZooKeeperSession, root: str, identity: str) -> str:
    """The identity that stands there, which is ours when none stood there before.

    Raises:
        CoordinationUnavailable: nobody answered; whether ours was written is unknown.
    """
    path, link = f"{root}/{NAME}", session.link
    if await link.ask("identify", requests.look(path)) is None:
        request = requests.create(path, identity.encode(), link.acl, requests.PERSISTENT)
        with suppress(NodeExistsError):  # another node was first; it may be of another cluster
            await link.ask("identify", request)
    found, _ = await link.ask("identify", requests.read(path, None))
    return bytes(found).decode(errors="replace")


def _where(options: ZooKeeperOptions) -> str:
    return f"{options.hosts}{options.root}"
