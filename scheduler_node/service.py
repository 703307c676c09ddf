"""A scheduler node: one session after another, and in each of them members, shards, streams.

Owns the life cycle. A lost session is the end of everything that was owned in it; the node then
joins again as a new member with nothing in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog
from timeball.errors import CoordinationUnavailable, TimeballError

from scheduler_node.committer import CommitLimits
from scheduler_node.hearsay import read_owners
from scheduler_node.limits import LimitsReader
from scheduler_node.ownership import CALM_MS, SOON_MS, Ownership
from scheduler_node.shell import EngineShell
from scheduler_node.streams import Streams
from scheduler_node.taking import Place
from timeball_server.core.engine import events
from timeball_server.core.engine.ready import ReadyQueue
from timeball_server.core.engine.state import Engine, EngineConfig
from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId
from timeball_server.core.messages import ToExecutor
from timeball_server.core.retry import Rng
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import CoordinationSession, Member, Role, SessionState
from timeball_server.ports.executors import ExecutorDialer
from timeball_server.ports.store import OwnerRow, ShardRow, Store
from timeball_server.runtime.joining import join_in_turn
from timeball_server.runtime.lifecycle import Service

log = structlog.stdlib.get_logger("scheduler_node")
_REJOIN_MS: Final = 500
_WISH_WITHIN_MS: Final = 2_000
"""A leader wishes within a few round trips; without one the drain does not wait for it longer."""
HAND_OVER_MS: Final = 20_000
"""Shards go one by one for at most so long; then what is left goes all at once."""
DRAIN_MS: Final = HAND_OVER_MS + 10_000
Connect = Callable[[], Awaitable[CoordinationSession]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerNodeConfig:
    """A scheduler node's own settings."""

    node: NodeId
    address: str
    engine: EngineConfig = field(default_factory=EngineConfig)
    commit: CommitLimits = field(default_factory=CommitLimits)
    weight: int = 1
    version: str = ""


class SchedulerNode(Service):
    """The service. `connect` opens a fresh session each time it is called."""

    def __init__(
        self,
        config: SchedulerNodeConfig,
        store: Store,
        connect: Connect,
        dialer: ExecutorDialer,
        clock: Clock,
        rng: Rng,
    ) -> None:
        super().__init__(f"scheduler node {config.node}", drain_ms=DRAIN_MS)
        self.config = config
        self._store = store
        self._connect = connect
        self._dialer = dialer
        self._clock = clock
        self._session: CoordinationSession | None = None
        self._ownership: Ownership | None = None
        self._streams: Streams | None = None
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._takes_no_more = False
        self._looking = asyncio.Lock()
        engine = Engine(config.node, 0, config.engine, rng, ReadyQueue())
        self.shell = EngineShell(
            engine,
            store,
            clock,
            send=self._send,
            on_ownership_end=self._ownership_ended,
            publish=self._owner_row,
            spawn=self.spawn,
            limits=config.commit,
        )

    async def _begin(self) -> None:
        self.spawn("engine", self.shell.run())
        limits = LimitsReader(self._store, self._clock, self.shell.post)
        await limits.first()
        self.spawn("limits", limits.run())
        await self._join()
        self.spawn("sessions", self._live())

    async def take_no_more(self) -> None:
        """Be given no shards from now on, in later sessions too; those held move to others.

        Raises:
            CoordinationUnavailable: the others cannot be told now; repeat.
        """
        self._takes_no_more = True
        if self._session is None:
            raise CoordinationUnavailable("this scheduler node has no session now; repeat the call")
        await self._session.drain()
        log.info("takes no more shards", node=self.config.node)

    async def hand_over(self) -> None:
        """Let every shard go, each to the node that the leader wishes; ends when none is held.

        Where nobody else can take them, or the leader does not move them in time, they are
        released all the same: whoever takes them need not wait for our session to expire.
        """
        ownership, session = self._ownership, self._session
        if ownership is None or session is None:
            return
        if await self._others_may_take(session):
            with suppress(TimeoutError):
                async with asyncio.timeout(HAND_OVER_MS / 1_000):
                    await self._while_they_go(ownership, session)
        ownership.drain()
        await self._until_released(ownership, session)

    async def _while_they_go(self, ownership: Ownership, session: CoordinationSession) -> None:
        """Until all shards have gone, or no leader has wished those that are left elsewhere."""
        over = False
        while not over:
            try:
                async with asyncio.timeout(_WISH_WITHIN_MS / 1_000):
                    await self._until_released(ownership, session)
                over = True
            except TimeoutError:
                over = not ownership.is_leaving

    async def _others_may_take(self, session: CoordinationSession) -> bool:
        """Tell the leader that we leave; whether it has anybody else for our shards."""
        try:
            await session.drain()
            members = await session.members(Role.SCHEDULER_NODE)
        except CoordinationUnavailable:
            return False
        return any(not each.draining and each.node != self.config.node for each in members)

    async def _until_released(self, ownership: Ownership, session: CoordinationSession) -> None:
        self._changed.set()
        while not ownership.is_done and session.state is SessionState.CONNECTED:
            self._settled.clear()
            await self._settled.wait()

    async def _drain(self) -> None:
        """What has failed has nobody to hand over with: the end of its session frees its shards."""
        if self.failure is None:
            await self.hand_over()

    async def _end(self) -> None:
        self.shell.calls.close()
        if self._streams is not None:
            await self._streams.close()
        if self._session is not None:
            await self._session.close()

    async def _live(self) -> None:
        """Rounds for as long as the session lasts; then the next session."""
        while True:
            await self._session_rounds()
            await self._leave()
            while True:
                try:
                    await self._join()
                    break
                except TimeballError as error:
                    log.warning("cannot join", node=self.config.node, error=str(error))
                    await self._clock.sleep_ms(_REJOIN_MS)

    async def _join(self) -> None:
        config = self.config
        session = await self._connect()
        session.on_change(self._changed.set)
        member = Member(
            role=Role.SCHEDULER_NODE,
            node=config.node,
            address=config.address,
            strength=config.weight,
            started_ms=self._clock.now().wall_ms,
            version=config.version,
            draining=self._takes_no_more,
        )
        incarnation = await join_in_turn(session, member, self._clock)
        self._session = session
        self._streams = Streams(
            config.node, incarnation, self._dialer, self._clock, self.shell.post
        )
        self._ownership = Ownership(
            Place(node=config.node, address=config.address),
            session,
            self._store,
            self._clock,
            look_at_executors=self._look_at_executors,
            post=self.shell.post,
            know=self.shell.know,
            is_read=self.shell.has_read,
            changed=self._changed.set,
            spawn=self.spawn,
        )
        self.shell.engine.incarnation = incarnation
        self.shell.attach(session)
        log.info("joined", node=config.node, incarnation=incarnation)

    async def _leave(self) -> None:
        """The session is over: everything owned in it is gone."""
        if self._ownership is not None:
            await self._ownership.close()
            for shard in list(self._ownership.held):
                self.shell.post(events.ShardLost(shard))
        if self._streams is not None:
            self._streams.follow(())
            await self._streams.close()
        if self._session is not None:
            await self._session.close()

    async def _session_rounds(self) -> None:
        session, ownership = self._session, self._ownership
        if session is None or ownership is None:
            raise AssertionError("rounds need a session")
        while session.state is not SessionState.LOST:
            self._changed.clear()
            pause_ms = SOON_MS
            try:
                pause_ms = await ownership.run_once()
                await self._look_at_executors()
                if pause_ms > SOON_MS:  # nothing is being taken or let go
                    self.shell.calls.owners = await read_owners(session, self.config.node)
            except CoordinationUnavailable as error:
                log.debug("no round", node=self.config.node, error=str(error))
            except TimeballError as error:  # what is held is served on; the next round looks again
                log.warning("no round", node=self.config.node, error=str(error))
                pause_ms = CALM_MS
            self._settled.set()
            await self._pause(pause_ms)

    async def _pause(self, longest_ms: int) -> None:
        """Wait for a change, but not for ever: a watch may be missed."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(longest_ms / 1_000, self._changed.set)
        await self._changed.wait()
        timer.cancel()

    async def _look_at_executors(self) -> None:
        """One look after the other: an older one must not be taken for the newest."""
        if self._session is None or self._streams is None:
            return
        async with self._looking:
            self._streams.follow(await self._session.members(Role.EXECUTOR))

    def _send(self, incarnation: Incarnation, message: ToExecutor) -> None:
        if self._streams is not None:
            self._streams.send(incarnation, message)

    def _ownership_ended(self, shard: ShardId, epoch: Epoch, why: str) -> None:
        log.info("shard let go", node=self.config.node, shard=shard, epoch=epoch, why=why)
        if self._ownership is not None:
            self._ownership.ended(shard, epoch)
            self._changed.set()

    def _owner_row(self, row: ShardRow) -> OwnerRow:
        if self._ownership is None:
            raise AssertionError("only an owner publishes")
        return self._ownership.owner_row(row)
