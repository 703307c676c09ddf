"""A small cluster in one process whose members a test chooses, with its console over real HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from coordinator.node import CoordinatorConfig
from coordinator.service import Coordinator, Doors
from coordinator.wiring import coordinator, coordinator_ports
from scheduler_node.service import SchedulerNodeConfig
from scheduler_node.wiring import SchedulerNodeProcess
from tests.support.fake_owners import LAYOUT
from timeball_server.coordination.local import LocalCoordinator, LocalSession
from timeball_server.core.ids import NodeId
from timeball_server.ports.coordination import Member
from timeball_server.rpc.auth import (
    ApiKeys,
    Authenticator,
    OpenLoopback,
    Role,
    StoredKey,
    key_digest,
)
from timeball_server.rpc.owner_transport import GrpcOwnerDialer
from timeball_server.runtime.clock import SystemClock
from timeball_server.store.memory import MemoryDatabase, MemoryStore

LISTEN = "127.0.0.1:0"
CLOCK = SystemClock()
SESSION_MS = 5_000
PEPPER = b"only these tests' pepper"
VIEWER_KEY, PUBLISHER_KEY = "tb.viewer.secret-of-viewer", "tb.nobody.secret-of-nobody"


def api_keys() -> ApiKeys:
    """One key with the role viewer, and one whose subject has no role at all."""

    def stored(key: str, *roles: Role) -> StoredKey:
        digest = key_digest(key, PEPPER)
        return StoredKey(digest=digest, subject="s", namespace="shop", roles=frozenset(roles))

    keys = {"viewer": stored(VIEWER_KEY, Role.VIEWER), "nobody": stored(PUBLISHER_KEY)}
    return ApiKeys(keys, PEPPER, CLOCK)


class ConsoleWorld:
    """The cluster. `http` is where the console is."""

    def __init__(self, authenticator: Authenticator) -> None:
        self.service = LocalCoordinator(100, CLOCK)
        self.store = MemoryStore(MemoryDatabase(LAYOUT))
        self.nodes: dict[str, SchedulerNodeProcess] = {}
        self.sessions: list[LocalSession] = []
        dialer = GrpcOwnerDialer(clock=CLOCK, rng=random.Random(1))
        ports = coordinator_ports(
            store=self.store,
            connect=self.connect,
            dialer=dialer,
            clock=CLOCK,
            layout=LAYOUT,
            inspect=dialer.inspector,
            observe=dialer.observer,
        )
        config = CoordinatorConfig(node=NodeId("front"), address="", version="1.0")
        doors = Doors(listen=LISTEN, authenticator=authenticator, store="memory", http=LISTEN)
        self.front: Coordinator = coordinator(config, ports, LAYOUT, doors)

    @property
    def http(self) -> str:
        return self.front.http_address

    async def connect(self) -> LocalSession:
        return await self.service.connect(SESSION_MS)

    async def add_node(self, name: str) -> None:
        """A scheduler node, started."""
        config = SchedulerNodeConfig(node=NodeId(name), address=LISTEN)
        node = SchedulerNodeProcess(config, self.store, self.connect, CLOCK)
        await node.start()
        self.nodes[name] = node

    async def add_member(self, member: Member) -> None:
        """A member that is nothing but its entry."""
        session = await self.connect()
        self.sessions.append(session)
        await session.join(member)

    async def stop(self) -> None:
        await self.front.stop()
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))
        for session in self.sessions:
            await session.close()
        await self.service.close()


@asynccontextmanager
async def console_world(authenticator: Authenticator | None = None) -> AsyncIterator[ConsoleWorld]:
    """A coordinator alone; open to everybody unless told otherwise."""
    world = ConsoleWorld(authenticator or OpenLoopback(LISTEN))
    await world.front.start()
    try:
        yield world
    finally:
        await world.stop()
