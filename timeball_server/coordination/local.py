"""In-process coordination: the service and its sessions, for dev mode, tests and simulation.

Owns expiry: a session that the service has not heard for its timeout ends with all that it made.
Must never answer a session that is cut, and never revive one that has ended.

Each session remembers the context in which it was opened and calls back in it; the service
watches sessions in its own. A simulator can therefore freeze a process without freezing the
service that has to notice.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import TypeVar

from timeball.errors import CoordinationUnavailable

from timeball_server.coordination.entries import Entries, SessionId
from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import (
    Assignment,
    Member,
    Ownership,
    Role,
    SessionLost,
    SessionState,
)

T = TypeVar("T")
PROOFS_PER_TIMEOUT = 6
"""A session sends a cheap request of its own this often per session timeout."""


class Leg(Enum):
    """The two ways of a round trip."""

    REQUEST = "request"
    ANSWER = "answer"


Delay = Callable[[str, Leg], Awaitable[None]]
"""Awaited with the request's name on each leg; a simulator makes requests slow with it."""


class LocalCoordinator:
    """The service. `first_zxid` must be above every epoch that the store has seen (R1)."""

    def __init__(self, first_zxid: int, clock: Clock) -> None:
        self.entries = Entries(first_zxid)
        self._clock = clock
        self._context = contextvars.copy_context()
        self._sessions: dict[SessionId, LocalSession] = {}
        self._heard_mono_ms: dict[SessionId, int] = {}
        self._watchers: dict[SessionId, asyncio.Task[None]] = {}
        self._next_session = 1

    async def connect(
        self, session_timeout_ms: int, *, clock: Clock | None = None, delay: Delay | None = None
    ) -> LocalSession:
        """Open a session.

        Args:
            session_timeout_ms: silence after which the service ends the session.
            clock: the caller's clock where it differs from the service's.
            delay: makes this session's requests slow.
        """
        number = SessionId(self._next_session)
        self._next_session += 1
        session = LocalSession(self, number, session_timeout_ms, clock or self._clock, delay)
        self._sessions[number] = session
        self.hear(number)
        watcher = asyncio.get_running_loop().create_task(
            self._watch(session), name=f"expiry of session {number}", context=self._context
        )
        self._watchers[number] = watcher
        session.start()
        return session

    def alive(self, number: SessionId) -> bool:
        """Whether the service still keeps the session."""
        return number in self._sessions

    def hear(self, number: SessionId) -> None:
        """Note that a session spoke."""
        self._heard_mono_ms[number] = self._clock.now().mono_ms

    def serve(self, number: SessionId, apply: Callable[[], T]) -> T:
        """Answer a living session's request; tell everyone if it changed an entry."""
        self.hear(number)
        before = self.entries.next_zxid
        answer = apply()
        if self.entries.next_zxid != before:
            self._tell_everyone()
        return answer

    def wish(self, shard: ShardId, node: NodeId | None) -> None:
        """An operator's wish that no session of ours brings."""
        self.entries.write_wish(shard, node)
        self._tell_everyone()

    def _tell_everyone(self) -> None:
        """Something changed: every session reads all again."""
        for session in self._sessions.values():
            session.notify()

    def expire(self, session: LocalSession) -> None:
        """End a session now, as if it had been silent for too long. Safe to repeat.

        Its process learns of it in the loop's next round; requests fail from now on.
        """
        if self.end(session.number):
            session.tell_end()

    def end(self, number: SessionId) -> bool:
        """Forget a session and drop all that it made; whether it was alive."""
        if self._sessions.pop(number, None) is None:
            return False
        del self._heard_mono_ms[number]
        self._watchers.pop(number).cancel()
        self.entries.drop(number)
        self._tell_everyone()
        return True

    async def close(self) -> None:
        """End every session. Safe to call twice."""
        watchers = tuple(self._watchers.values())
        for session in tuple(self._sessions.values()):
            await session.close()
            self.expire(session)
        await asyncio.gather(*watchers, return_exceptions=True)

    async def _watch(self, session: LocalSession) -> None:
        """Expire the session once it has been silent for its whole timeout."""
        while (left_ms := self._silence_left_ms(session)) > 0:
            await self._clock.sleep_ms(left_ms)
        self.expire(session)

    def _silence_left_ms(self, session: LocalSession) -> int:
        """How much longer the session may stay silent."""
        heard_mono_ms = self._heard_mono_ms[session.number]
        return heard_mono_ms + session.session_timeout_ms - self._clock.now().mono_ms


class LocalSession:
    """One process's session (a `CoordinationSession`), made by `LocalCoordinator.connect`."""

    def __init__(
        self,
        service: LocalCoordinator,
        number: SessionId,
        session_timeout_ms: int,
        clock: Clock,
        delay: Delay | None,
    ) -> None:
        self.number = number
        self._service = service
        self._session_timeout_ms = session_timeout_ms
        self._clock = clock
        self.delay = delay
        self._state = SessionState.CONNECTED
        self._connection = 1
        self._proven_at_mono_ms: int | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._notice: asyncio.Handle | None = None
        self._context = contextvars.copy_context()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def state(self) -> SessionState:
        """What is known of the session now."""
        return self._state

    @property
    def session_timeout_ms(self) -> int:
        """How long silence lasts before the service ends the session."""
        return self._session_timeout_ms

    def proven_at_mono_ms(self) -> int | None:
        """Monotonic time at which the last answered request was sent."""
        return self._proven_at_mono_ms

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back after any change; several changes may be one call."""
        self._callbacks.append(callback)

    async def join(self, member: Member) -> Incarnation:
        """Become a member."""
        return await self._request("join", lambda: self._entries.join(self.number, member))

    async def members(self, role: Role) -> tuple[Member, ...]:
        """The living members of a role, ordered by node."""
        return await self._request("members", lambda: self._entries.members(role))

    async def drain(self) -> None:
        """Mark this session's member as draining."""
        await self._request("drain", lambda: self._entries.drain(self.number))

    async def campaign(self) -> None:
        """Stand for leader."""
        await self._request("campaign", lambda: self._entries.campaign(self.number))

    async def leader(self) -> NodeId | None:
        """Who leads now."""
        candidacy = await self._request("leader", self._entries.leader)
        return None if candidacy is None else candidacy.node

    async def term(self) -> int | None:
        """The term in which this session leads."""
        return await self._request("term", lambda: self._entries.term_of(self.number))

    async def read_assignment(self) -> Assignment | None:
        """The newest assignment."""
        return await self._request("read_assignment", self._entries.assignment)

    async def write_assignment(
        self,
        term: int,
        expected_version: int,
        shards: Mapping[ShardId, NodeId],
        reasons: Mapping[ShardId, str],
    ) -> bool:
        """Replace the assignment if this session still leads in this term and nobody wrote."""
        return await self._request(
            "write_assignment",
            lambda: self._entries.write_assignment(
                self.number, term, expected_version, shards, reasons
            ),
        )

    async def read_wishes(self) -> Mapping[ShardId, NodeId]:
        """Where an operator wants single shards to be."""
        return await self._request("read_wishes", self._entries.wishes)

    async def write_wish(self, shard: ShardId, node: NodeId | None) -> None:
        """Wish a shard on a node, or take the wish back."""
        await self._request("write_wish", lambda: self._entries.write_wish(shard, node))

    async def take_ownership(self, shard: ShardId) -> Epoch | None:
        """Create the ownership entry; its zxid is the epoch."""
        return await self._request(
            "take_ownership", lambda: self._entries.take_ownership(self.number, shard)
        )

    async def release_ownership(self, shard: ShardId, epoch: Epoch) -> None:
        """Remove the entry if it is ours and of this epoch."""
        await self._request(
            "release_ownership",
            lambda: self._entries.release_ownership(self.number, shard, epoch),
        )

    async def ownerships(self) -> tuple[Ownership, ...]:
        """Who holds what now."""
        return await self._request("ownerships", self._entries.ownerships)

    async def stand_by(self, shard: ShardId) -> bool:
        """Say that this node is ready to take the shard."""
        return await self._request("stand_by", lambda: self._entries.stand_by(self.number, shard))

    async def stand_down(self, shard: ShardId) -> None:
        """Take `stand_by` back."""
        await self._request("stand_down", lambda: self._entries.stand_down(self.number, shard))

    async def standbys(self) -> Mapping[ShardId, NodeId]:
        """Who stands by for what now."""
        return await self._request("standbys", self._entries.standbys)

    async def prove(self) -> None:
        """A round trip that changes nothing."""
        await self._request("prove", lambda: None)

    async def close(self) -> None:
        """End the session; its entries go at once if the service can be reached."""
        reachable = self._state is SessionState.CONNECTED
        self._enter(SessionState.LOST)
        if reachable:
            self._service.end(self.number)
        keeper, self._keeper = self._keeper, None
        if keeper is not None and keeper is not asyncio.current_task():
            keeper.cancel()
            await asyncio.wait((keeper,))

    def cut(self) -> None:
        """Lose the connection: nothing is heard in either direction until `heal`."""
        if self._state is SessionState.CONNECTED:
            self._enter(SessionState.SUSPENDED)

    def heal(self) -> None:
        """Get the connection back and learn whether the session survived."""
        if self._state is not SessionState.SUSPENDED:
            return
        self._connection += 1
        if self._service.alive(self.number):
            self._service.hear(self.number)
            self._enter(SessionState.CONNECTED)
        else:
            self._enter(SessionState.LOST)

    def tell_end(self) -> None:
        """The service says that the session has ended; the process learns it when it next runs."""
        asyncio.get_running_loop().call_soon(self._learn_end, context=self._context)

    def _learn_end(self) -> None:
        """Hear of the end; a cut session cannot."""
        if self._state is SessionState.CONNECTED:
            self._enter(SessionState.LOST)

    def notify(self) -> None:
        """Call back soon, once for all changes until then; a cut session hears nothing."""
        if self._state is not SessionState.SUSPENDED:
            self._call_back_soon()

    def start(self) -> None:
        """Begin to keep the session alive."""
        self._keeper = asyncio.get_running_loop().create_task(
            self._keep_alive(), name=f"keep-alive of session {self.number}"
        )

    @property
    def _entries(self) -> Entries:
        return self._service.entries

    async def _keep_alive(self) -> None:
        """Prove the session every sixth of its timeout until it is lost."""
        while self._state is not SessionState.LOST:
            if self._state is SessionState.CONNECTED:
                await self._prove_quietly()
            await self._clock.sleep_ms(self._session_timeout_ms / PROOFS_PER_TIMEOUT)

    async def _prove_quietly(self) -> None:
        """Prove; a failure needs no report, because the session's state is the report."""
        try:
            await self.prove()
        except CoordinationUnavailable:
            return

    async def _request(self, name: str, apply: Callable[[], T]) -> T:
        """One round trip on the connection of now; if that breaks, the outcome is unknown."""
        connection, sent_mono_ms = self._connection, self._clock.now().mono_ms
        self._require(connection, name)
        if self.delay is not None:  # as long as the simulator wants
            await self.delay(name, Leg.REQUEST)
        self._require(connection, name)
        answer = self._service.serve(self.number, apply)
        if self.delay is not None:
            await self.delay(name, Leg.ANSWER)
        self._require(connection, name)
        self._proven_at_mono_ms = max(sent_mono_ms, self._proven_at_mono_ms or sent_mono_ms)
        return answer

    def _require(self, connection: int, name: str) -> None:
        """Fail fast unless the connection that the request began on still stands."""
        if not self._service.alive(self.number):
            self._learn_end()
        elif self._state is SessionState.CONNECTED and connection == self._connection:
            return
        if self._state is SessionState.LOST:
            raise SessionLost(f"{name}: the session has ended; open a new one and join again")
        if self._state is SessionState.SUSPENDED or connection != self._connection:
            raise CoordinationUnavailable(
                f"{name}: the connection to the coordination service is lost; "
                "whether the request was applied is unknown"
            )

    def _enter(self, state: SessionState) -> None:
        """Change the state and say so; LOST is final."""
        if SessionState.LOST is not self._state is not state:
            self._state = state
            self._call_back_soon()

    def _call_back_soon(self) -> None:
        """Schedule one round of callbacks unless one is scheduled."""
        if self._notice is None:
            self._notice = asyncio.get_running_loop().call_soon(
                self._call_back, context=self._context
            )

    def _call_back(self) -> None:
        """Tell all listeners."""
        self._notice = None
        for callback in tuple(self._callbacks):
            callback()
