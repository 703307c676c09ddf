"""Who owns a shard now, and at which address: the coordinator's map to scheduler nodes.

The map is a hint. An owner refuses what it does not own, and the caller comes back here. Must
never decide that a shard is free: it only repeats what the coordination service says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from timeball.errors import TimeballError

from timeball_server.core.ids import Epoch, NodeId, ShardId
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import CoordinationSession, Role
from timeball_server.ports.owners import OwnerClient, OwnerDialer

log = structlog.stdlib.get_logger("coordinator")


@dataclass(frozen=True, slots=True)
class Target:
    """Where commands for a shard go; `epoch` of the ownership tells which of two is newer."""

    node: NodeId
    address: str
    epoch: Epoch


class Router:
    """Finds owners. Knows nobody until a session is attached.

    Args:
        clock: tells since when a shard is known to have no owner.
    """

    def __init__(self, dialer: OwnerDialer, clock: Clock | None = None) -> None:
        self._dialer = dialer
        self._clock = clock
        self._ownerless: dict[ShardId, int] = {}
        self._session: CoordinationSession | None = None
        self._targets: Mapping[ShardId, Target] = {}
        self._version = 0
        self._loaded_version = -1
        self._loading: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    @property
    def version(self) -> int:
        """Grows with every change that was heard of."""
        return self._version

    def attach(self, session: CoordinationSession) -> None:
        """Read from this session from now on; a lost one is replaced by attaching the next."""
        self._session = session
        session.on_change(self._note_change)
        self._note_change()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call back after each change that is heard of; it must return at once."""
        self._listeners.append(listener)

    async def target(self, shard: ShardId) -> Target | None:
        """The owner of a shard; None = nobody owns it now, or its owner is no member."""
        for _ in range(2):  # a read that was under way when we asked may be too old
            if self._loaded_version == self._version:
                break
            await self._refresh()
        return self._targets.get(shard)

    def ownerless_since_ms(self, shard: ShardId) -> int | None:
        """When it was first seen here that the shard's owner had gone, wall clock; None = unknown.

        The map is read when somebody asks, so it may have gone earlier.
        """
        return self._ownerless.get(shard)

    def client(self, target: Target) -> OwnerClient:
        """The connection to an owner."""
        return self._dialer.client(target.address)

    def suspect(self) -> None:
        """An owner refused or was not reached: read the map again before the next use."""
        self._loaded_version = -1

    async def wait_change(self, seen_version: int, limit_ms: float) -> None:
        """Wait until something has changed since that version, or the time is over."""
        if self._version != seen_version:
            return
        try:
            async with asyncio.timeout(limit_ms / 1_000):
                await self._changed.wait()
        except TimeoutError:
            return

    def _note_change(self) -> None:
        """Wake everyone who waits; the next use reads the map again."""
        self._version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for listener in self._listeners:
            listener()

    async def _refresh(self) -> None:
        """Read the map, once for all who ask meanwhile."""
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._load(), name="routes")
        await asyncio.shield(self._loading)

    async def _load(self) -> None:
        """Replace the map; where it cannot be read the old one stays, which is only a hint."""
        version = self._version
        try:
            if self._session is not None:
                self._replace(await _read_targets(self._session))
            self._loaded_version = version
        except TimeballError as error:
            log.debug("the map of owners cannot be read now", error=error.reason)
            self._loaded_version = -1
        finally:
            self._loading = None

    def _replace(self, targets: Mapping[ShardId, Target]) -> None:
        """Take a map that was read, and note whose owner has gone since the one before."""
        gone = self._targets.keys() - targets.keys()
        for shard in self._ownerless.keys() & targets.keys():
            del self._ownerless[shard]
        if self._clock is not None:
            self._ownerless.update(dict.fromkeys(gone, self._clock.now().wall_ms))
        self._targets = targets


async def _read_targets(session: CoordinationSession) -> Mapping[ShardId, Target]:
    """Owners that are members, by shard."""
    owned = await session.ownerships()
    members = await session.members(Role.SCHEDULER_NODE)
    addresses = {member.node: member.address for member in members}
    return {
        each.shard: Target(each.node, addresses[each.node], each.epoch)
        for each in owned
        if each.node in addresses
    }
