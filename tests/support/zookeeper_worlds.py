"""The ZooKeeper adapter on a real server, each session behind a wire of its own.

Used by the coordination suite and by the adapter's own tests. Every world works below a root that
nobody else uses and removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from kazoo.client import KazooClient
from kazoo.protocol.serialization import Connect

from tests.support.polls import moment
from tests.support.tcp_proxy import TcpProxy
from timeball_server.coordination.zookeeper.options import ZooKeeperOptions
from timeball_server.coordination.zookeeper.session import ZooKeeperSession, open_session
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import CoordinationSession, SessionState
from timeball_server.runtime.clock import SystemClock

SESSION_TIMEOUT_MS = 4_000
ADMIN_TIMEOUT_S = 10.0
CLOSE_SESSION = -11


class ZooKeeperWorld:
    """One root on a real server and the sessions opened below it. Implements `World`.

    Attributes:
        root: everything of this world lies below it.
        address: the server's, without a wire.
    """

    def __init__(self, address: str, stack: contextlib.AsyncExitStack) -> None:
        self.clock: Clock = SystemClock()
        self.address = address
        self.root = f"/test-{uuid.uuid4().hex}"
        self._stack = stack
        self._wires: dict[CoordinationSession, TcpProxy] = {}

    async def connect(self, session_timeout_ms: int = SESSION_TIMEOUT_MS) -> CoordinationSession:
        return await self.open(session_timeout_ms=session_timeout_ms)

    async def open(
        self,
        *,
        session_timeout_ms: int = SESSION_TIMEOUT_MS,
        stall_limit_ms: int | None = None,
        recheck_ms: int = 5_000,
    ) -> ZooKeeperSession:
        """A new session behind a wire."""
        host, _, port = self.address.partition(":")
        wire = await self._stack.enter_async_context(TcpProxy(host, int(port)))
        options = ZooKeeperOptions(
            hosts=wire.address,
            root=self.root,
            session_timeout_ms=session_timeout_ms,
            stall_limit_ms=stall_limit_ms,
            recheck_ms=recheck_ms,
        )
        session = await self.open_directly(options)
        self._wires[session] = wire
        return session

    async def open_directly(self, options: ZooKeeperOptions) -> ZooKeeperSession:
        """A new session without a wire, closed at the end of the world at the latest."""
        session = await open_session(options, self.clock)
        self._stack.push_async_callback(session.close)
        return session

    def options(self, **others: Any) -> ZooKeeperOptions:
        """What a session without a wire needs."""
        return ZooKeeperOptions(**{"hosts": self.address, "root": self.root} | others)

    def wire(self, session: CoordinationSession) -> TcpProxy:
        """The session's wire."""
        return self._wires[session]

    async def expire(self, session: CoordinationSession) -> None:
        """Close the session in its own name, from another connection."""
        link = zookeeper(session).link
        await close_session(self.address, link.session_id, link.client.session_password)

    async def cut(self, session: CoordinationSession) -> None:
        self._wires[session].cut()
        while session.state is SessionState.CONNECTED:
            await moment()

    async def heal(self, session: CoordinationSession) -> None:
        self._wires[session].resume()

    async def slow(self, session: CoordinationSession, answer_ms: int) -> None:
        self._wires[session].answer_ms = answer_ms


def zookeeper(session: CoordinationSession) -> ZooKeeperSession:
    """The adapter's own type."""
    assert isinstance(session, ZooKeeperSession)
    return session


@contextlib.asynccontextmanager
async def zookeeper_world(address: str) -> AsyncIterator[ZooKeeperWorld]:
    """A world below a root of its own; its sessions are closed and the root removed at the end."""
    async with contextlib.AsyncExitStack() as stack:
        world = ZooKeeperWorld(address, stack)
        stack.push_async_callback(asyncio.to_thread, remove, address, world.root)
        yield world


def remove(address: str, root: str) -> None:
    """Remove a root with all below it."""
    with admin(address) as client:
        client.delete(root, recursive=True)


@contextlib.contextmanager
def admin(address: str) -> Iterator[KazooClient]:
    """A plain client, to look at the server from outside."""
    client = KazooClient(hosts=address, timeout=ADMIN_TIMEOUT_S)
    client.start(timeout=ADMIN_TIMEOUT_S)
    try:
        yield client
    finally:
        client.stop()
        client.close()


async def close_session(address: str, session_id: int, password: bytes) -> None:
    """End a session as a second connection of it; returns when the server has.

    Both requests leave in one packet, so the session's own client cannot come in between.
    """
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connect = bytes(Connect(0, 0, SESSION_TIMEOUT_MS, session_id, password, False).serialize())
    goodbye = struct.pack("!ii", 1, CLOSE_SESSION)
    writer.write(b"".join(struct.pack("!i", len(each)) + each for each in (connect, goodbye)))
    try:
        while await reader.read(1_024):
            continue
    finally:
        writer.transport.abort()
