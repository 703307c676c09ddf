"""Streams to executors: one per living executor, numbered, reopened when they break.

Owns the connections. Says what happened as events; what it means for runs is the engine's to
decide (rules R12, R14).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from timeball.errors import Unavailable

from timeball_server.core.engine import events
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.ids import Incarnation, NodeId
from timeball_server.core.messages import StreamHello, ToExecutor
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Member
from timeball_server.ports.executors import ExecutorDialer, ExecutorStream

log = structlog.stdlib.get_logger("scheduler_node")

_REOPEN_FIRST_MS: Final = 50
_REOPEN_MOST_MS: Final = 2_000


class Streams:
    """All streams of one scheduler node's life (one session)."""

    def __init__(
        self,
        node: NodeId,
        incarnation: Incarnation,
        dialer: ExecutorDialer,
        clock: Clock,
        post: Callable[[events.Event], None],
    ) -> None:
        self._node = node
        self._incarnation = incarnation
        self._dialer = dialer
        self._clock = clock
        self._post = post
        self._number = 0
        self._keepers: dict[Incarnation, asyncio.Task[None]] = {}
        self._open: dict[Incarnation, ExecutorStream] = {}

    def follow(self, members: Sequence[Member]) -> None:
        """Keep a stream to each of these executors and to no other."""
        living = {member.incarnation: member for member in members}
        for incarnation in [known for known in self._keepers if known not in living]:
            self._keepers.pop(incarnation).cancel()
        self._post(events.ExecutorsSeen(tuple(facts_of(member) for member in members)))
        for incarnation, member in living.items():
            if incarnation not in self._keepers:
                self._keepers[incarnation] = asyncio.create_task(
                    self._keep(member), name=f"stream to {member.node}"
                )

    def send(self, incarnation: Incarnation, message: ToExecutor) -> None:
        """Queue a message; to a broken stream it is lost like all that follow it."""
        stream = self._open.get(incarnation)
        if stream is not None:
            stream.send(message)

    async def close(self) -> None:
        """Close every stream; safe to call twice."""
        keepers = list(self._keepers.values())
        self._keepers.clear()
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)

    async def _keep(self, member: Member) -> None:
        pause_ms = _REOPEN_FIRST_MS
        while True:
            try:
                stream = await self._dial(member)
                if stream is not None:
                    pause_ms = _REOPEN_FIRST_MS
                    await self._read(member.incarnation, stream)
            except Exception:
                log.exception("a stream failed and is opened again", executor=member.node)
            await self._clock.sleep_ms(pause_ms)
            pause_ms = min(2 * pause_ms, _REOPEN_MOST_MS)

    async def _dial(self, member: Member) -> ExecutorStream | None:
        self._number += 1
        hello = StreamHello(
            owner=self._node,
            owner_incarnation=self._incarnation,
            number=self._number,
            executor_incarnation=member.incarnation,
        )
        try:
            return await self._dialer.open(member, hello)
        except Unavailable:
            return None

    async def _read(self, incarnation: Incarnation, stream: ExecutorStream) -> None:
        """Pass on what the executor says until the stream ends. One reader per stream."""
        self._open[incarnation] = stream
        self._post(events.StreamUp(incarnation))
        try:
            while (message := await stream.receive()) is not None:
                self._post(events.ExecutorSaid(incarnation, message))
        finally:
            if self._open.get(incarnation) is stream:
                del self._open[incarnation]
            self._post(events.StreamDown(incarnation))
            await stream.close()


def facts_of(member: Member) -> ExecutorFacts:
    """What the engine wants to know of a member."""
    return ExecutorFacts(
        node=member.node,
        incarnation=member.incarnation,
        strength=member.strength,
        slots=member.slots,
        labels=member.labels,
        handlers=member.handlers,
        caps=member.caps,
    )
