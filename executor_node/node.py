"""The executor's shell: carries messages and events to the pure state and its effects out again.

Owns the streams, the runner and the membership. Decides nothing about runs: that is
core.executor_state. What happens within one tick of the loop is said in one message per owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, assert_never

import structlog
from timeball.errors import (
    AlreadyExists,
    CoordinationUnavailable,
    TimeballError,
    Unavailable,
)
from timeball.registry import Handler

from executor_node.membership import Memberships
from executor_node.runner import Runner
from executor_node.start_log import StartLog
from timeball_server.core.executor_runs import (
    CancelHandler,
    Effect,
    EndStream,
    RefuseStream,
    Send,
    StartRuns,
    StreamKey,
)
from timeball_server.core.executor_state import ExecutorState
from timeball_server.core.ids import Incarnation
from timeball_server.core.messages import Beat, RunId, RunResult, StreamHello
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Member
from timeball_server.ports.executors import ExecutorServer

log = structlog.stdlib.get_logger("executor_node")
REJOIN_PAUSE_MS: Final = 500
"""Between two attempts to become a member."""
_NOT_YET: Final = (CoordinationUnavailable, AlreadyExists)


class ExecutorNode:
    """One executor. Made inside a running loop.

    Args:
        member: how it introduces itself; the incarnation is filled in by joining.
        handlers: what it serves, by name.
        memberships: make it a member.
        clock: the machine's.
        start_log: the witness of starts, if wanted.
        backlog: runs that may wait for a slot; None = a quarter of the slots.
    """

    def __init__(
        self,
        *,
        member: Member,
        handlers: Mapping[str, Handler],
        memberships: Memberships,
        clock: Clock,
        start_log: StartLog | None = None,
        backlog: int | None = None,
    ) -> None:
        self._member = replace(member, handlers=tuple(sorted(handlers)))
        self._memberships = memberships
        self._clock = clock
        self._backlog = backlog
        self._runner = Runner(
            handlers=handlers,
            slots=member.slots,
            clock=clock,
            listener=self,
            start_log=start_log,
        )
        self._loop = asyncio.get_running_loop()
        self._state: ExecutorState | None = None
        self._streams: dict[StreamKey, ExecutorServer] = {}
        self._flush_called = False
        self._changed = asyncio.Event()
        self._hurried = False
        self._draining = False
        self._was_member = False

    @property
    def member(self) -> Member:
        """How it introduced itself, with the incarnation of now (0 = not a member)."""
        return self._member

    @property
    def is_serving(self) -> bool:
        """Whether it is a member that takes new work."""
        return self._state is not None and not self._draining

    # Membership ---------------------------------------------------------------------------------

    async def join(self) -> None:
        """Become a member. From now on streams are accepted.

        Raises:
            CoordinationUnavailable, AlreadyExists: joining failed; call again.
        """
        member = replace(self._member, incarnation=Incarnation(0))
        incarnation = await self._memberships.join(member)
        self._member = replace(member, incarnation=incarnation)
        self._was_member = True
        self._state = ExecutorState(
            incarnation=incarnation,
            slots=member.slots,
            handlers=member.handlers,
            backlog=self._backlog,
            held=self._runner.active,
            caps=dict(member.caps),
            held_of=self._runner.active_of,
            former=self._runner.former,
        )

    async def join_patiently(self) -> None:
        """Try to become a member until it succeeds or the node is drained.

        Raises:
            TimeballError: it was never one, and is refused for what another try cannot mend.
        """
        told = ""
        while self._state is None and not self._draining:
            try:
                await self.join()
            except TimeballError as refusal:
                if not (self._was_member or isinstance(refusal, _NOT_YET)):
                    raise
                reason = str(refusal)
                if reason != told:  # once, however long it lasts
                    log.warning("cannot join yet, trying on", node=self._member.node, reason=reason)
                told = reason
                await self._clock.sleep_ms(REJOIN_PAUSE_MS)
            else:
                member = self._member
                log.info("joined", node=member.node, incarnation=member.incarnation)

    async def stay(self) -> None:
        """Join anew whenever the membership is lost, until drained. Call after joining."""
        while not self._draining:
            await self._memberships.lost()
            if not self.is_serving:
                return
            log.warning("the membership is lost; its runs are given up", node=self._member.node)
            self.abandon()
            await self.join_patiently()

    def abandon(self) -> None:
        """Give up everything of an incarnation that has ended: its owners have given it up too."""
        self._state = None
        for stream in tuple(self._streams.values()):
            stream.close()
        self._runner.abandon_all()

    # Streams ------------------------------------------------------------------------------------

    async def serve(self, hello: StreamHello, stream: ExecutorServer) -> None:
        """Serve one stream from its hello to its end.

        Raises:
            Unavailable: another incarnation is meant, or a higher number is in use.
        """
        state = self._state
        if state is None:
            raise Unavailable("the executor is not a member now; look for its new incarnation")
        key = StreamKey(hello.owner, hello.owner_incarnation, hello.number)
        effects = state.open_stream(hello)
        if effects and isinstance(refusal := effects[0], RefuseStream):
            reason = refusal.reason
            raise Unavailable(f"the stream was refused: {reason}", metadata={"reason": reason})
        self._streams[key] = stream
        try:
            self._perform(effects)
            while (message := await stream.receive()) is not None and state is self._state:
                self._perform(state.receive(key, message))
                self._flush_soon()
                self._changed.set()
        finally:
            del self._streams[key]
            state.stream_ended(key)

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._streams[effect.stream].send(effect.message)
                case StartRuns():
                    self._runner.start(effect.orders)
                case CancelHandler(if_silent=True):
                    self._runner.give_up_silent(effect.run)
                case CancelHandler():
                    self._runner.cancel(effect.run, terminate=effect.terminate)
                case EndStream() | RefuseStream():
                    self._streams[effect.stream].close()
                case _:
                    assert_never(effect)

    # What the runner says -----------------------------------------------------------------------

    def run_started(self, run: RunId, started_ms: int) -> None:
        """The handler is about to be called."""
        if self._state is not None:
            self._state.started(run, started_ms)
            self._flush_soon()

    def run_beat(self, beat: Beat) -> None:
        """The handler says that it lives."""
        if self._state is not None:
            self._state.beat(beat)
            self._flush_soon()

    def run_ended(self, result: RunResult, slot_held: bool) -> None:
        """The run has its result."""
        if self._state is not None:
            self._state.ended(result, slot_held=slot_held)
            self._flush_soon()

    def slot_released(self, handler: str) -> None:
        """A handler whose slot was held has returned."""
        if self._state is not None:
            self._state.slot_released(handler)
            self._flush_soon()

    def _flush_soon(self) -> None:
        """One flush for all that happens in this tick."""
        if not self._flush_called:
            self._flush_called = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Say what has become of runs. What a fault of ours leaves unsaid is said on new streams.

        A result that is kept and was never sent would be waited for as long as its stream lives.
        """
        self._flush_called = False
        if self._state is None:
            return
        try:
            self._perform(self._state.flush())
        except Exception:
            for stream in tuple(self._streams.values()):
                stream.close()
            raise
        self._changed.set()

    # The end ------------------------------------------------------------------------------------

    async def drain(self, *, grace_ms: int, acknowledge_ms: int) -> None:
        """Stop politely: no new work, wait for handlers, hand back the rest, wait for acks, leave.

        Args:
            grace_ms: how long running handlers may take to end.
            acknowledge_ms: how long owners may take to acknowledge the last results.
        """
        self._draining = True
        state = self._state
        if state is not None:
            self._perform(state.drain())
            await self._until(lambda: state.running == 0, grace_ms, hurried=True)
            self._runner.interrupt_all()
            self._flush()
            await self._until(
                lambda: state.running == 0 and state.unacknowledged == 0, acknowledge_ms
            )
        await self.close()

    def hand_back_now(self) -> None:
        """Cut a drain's grace short: a second request to stop."""
        self._hurried = True
        self._changed.set()

    async def close(self) -> None:
        """Leave at once; nothing is handed back. Safe to call twice."""
        self._draining = True
        self.abandon()
        self._runner.close()
        await self._memberships.leave()

    async def _until(
        self, reached: Callable[[], bool], limit_ms: int, hurried: bool = False
    ) -> None:
        """Return when it is so, when the limit is over, or when somebody is in a hurry."""
        try:
            async with asyncio.timeout(limit_ms / 1_000):
                while not reached() and not (hurried and self._hurried):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return
