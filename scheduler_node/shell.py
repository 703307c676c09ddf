"""The engine's shell: collects events, lets the engine decide, carries out the effects in order.

Everything that happens within one turn of the loop is one step of the engine, so every hop is a
batch: one message per executor, one write per flush, one answer per batch of commands. What nobody
waits for within milliseconds is gathered: such a step begins PACE_MS after the last one at the
earliest. What callers ask waits in a line of its own, of which a step takes a bounded piece, so
that a flood of it holds up neither due work nor the proof of the lease. Decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import structlog

from scheduler_node.calls import Calls
from scheduler_node.committer import CommitLimits, Committer
from scheduler_node.line import OVERLOADED, CommandLine
from scheduler_node.measuring import Measures, families
from scheduler_node.patience import EASY_MS, PACE_MS, patience_ms
from scheduler_node.readers import Readers, Reads
from timeball_server.core.engine import events
from timeball_server.core.engine.effects import (
    Effect,
    FindTask,
    GiveUp,
    HeldBack,
    LoadSlice,
    MoveDeletedBelow,
    MoveScanFrom,
    ReadForRemoval,
    ReadTasks,
    RemoveBuckets,
    Reply,
    Send,
    ShardQuiet,
    SweepBucket,
    Write,
)
from timeball_server.core.engine.node import handle, next_wake_ms
from timeball_server.core.engine.state import Engine, Phase
from timeball_server.core.ids import Epoch, Incarnation, ShardId, TaskId
from timeball_server.core.journal import EventRow
from timeball_server.core.lease import lease_until_mono_ms
from timeball_server.core.messages import ToExecutor
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import CoordinationSession, SessionState
from timeball_server.ports.metrics import Family
from timeball_server.ports.store import OwnerRow, ShardRow, Store

log = structlog.stdlib.get_logger("scheduler_node")
_NO_LEASE: Final = -1
Spawn = Callable[[str, Coroutine[Any, Any, None]], object]


class EngineShell:
    """Runs one engine.

    Args:
        send: queues a message on an executor's stream at once (rule R12).
        on_ownership_end: told that a shard may be released, or was given up, and why.
        publish: builds the owner row for readers.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        clock: Clock,
        *,
        send: Callable[[Incarnation, ToExecutor], None],
        on_ownership_end: Callable[[ShardId, Epoch, str], None],
        publish: Callable[[ShardRow], OwnerRow],
        spawn: Spawn,
        limits: CommitLimits | None = None,
    ) -> None:
        self.engine = engine
        self.calls = Calls(self.post, lambda: self.committer.is_stuck)
        self.measures = Measures()
        self._clock = clock
        self._send = send
        self._on_ownership_end = on_ownership_end
        self._session: CoordinationSession | None = None
        self._inbox: list[events.Event] = []
        self._line = CommandLine()
        self._wake = asyncio.Event()
        self._stepped_ms = 0
        self._proven = events.LeaseProven(_NO_LEASE)
        self._pacer: asyncio.TimerHandle | None = None
        self._paced_ms = 0
        self._suspended = False
        self._has_given_up = False
        self.committer = Committer(
            store,
            clock,
            may_write=self._may_write,
            on_durable=self._on_durable,
            spawn=spawn,
            limits=limits,
        )
        self._readers = Readers(
            store, clock, post=self.post, owns=self.owns, publish=publish, spawn=spawn
        )

    def attach(self, session: CoordinationSession) -> None:
        """Take the lease from this session from now on."""
        self._session = session

    def post(self, event: events.Event) -> None:
        """Take an event for one of the engine's next steps."""
        if isinstance(event, events.CommandArrived):
            self._line.add(event, self._clock.now().mono_ms)
        else:
            self._inbox.append(event)
            if isinstance(event, events.WatchEnded):  # the engine would hear of its end first
                self._line.forget(event.token)
        self._wake_within(patience_ms(self.engine, event))

    def _wake_within(self, pace_ms: int) -> None:
        """Step when the last step is so old; 0 = at once."""
        at_ms = self._stepped_ms + pace_ms
        if self._wake.is_set() or (self._pacer is not None and self._paced_ms <= at_ms):
            return
        left_ms = at_ms - self._clock.now().mono_ms if pace_ms else 0
        if left_ms <= 0:
            self._wake.set()
        else:
            self._pause_pacer()
            loop = asyncio.get_running_loop()
            self._pacer = loop.call_later(left_ms / 1_000, self._wake.set)
            self._paced_ms = at_ms

    def owns(self, shard: ShardId, epoch: Epoch) -> bool:
        """Whether the shard is in memory in this epoch."""
        held = self.engine.shards.get(shard)
        return held is not None and held.epoch == epoch

    def has_read(self, shard: ShardId) -> bool:
        """Whether all that an earlier owner left of the shard is in memory."""
        held = self.engine.shards.get(shard)
        return held is not None and held.phase is Phase.SERVING

    def know(self, shard: ShardId, epoch: Epoch, heads: Mapping[TaskId, EventRow]) -> None:
        """Take final heads that were read ahead; call before the shard is acquired."""
        self._readers.know(shard, epoch, heads)

    @property
    def reads(self) -> Reads:
        """What was read so far."""
        return replace(self._readers.sums)

    def metrics(self) -> Iterable[Family]:
        """The node's numbers as they are now."""
        return families(self.engine, self.measures, self.committer, self._line, self._clock)

    async def run(self) -> None:
        """Step whenever something happened or an instant has come; never ends by itself."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            self._pause_pacer()
            self.step()
            if self._wake.is_set():
                await asyncio.sleep(0)  # noqa: TID251 - a yield to those who post, not a wait
                continue
            delay_ms = max(PACE_MS, next_wake_ms(self.engine) - self._clock.now().wall_ms)
            timer = loop.call_later(delay_ms / 1_000, self._wake.set)
            await self._wake.wait()
            timer.cancel()

    def _pause_pacer(self) -> None:
        if self._pacer is not None:
            self._pacer.cancel()
            self._pacer = None

    def step(self) -> None:
        """One step of the engine with everything that has happened so far."""
        now = self._clock.now()
        self._stepped_ms = now.mono_ms
        inbox, self._inbox = self._inbox, []
        asked, too_old = self._line.next_piece(now.mono_ms)
        happened = [*self._session_news(), *inbox, *asked]
        self.measures.note(self.engine, inbox, now.wall_ms)
        effects = handle(self.engine, happened, wall_ms=now.wall_ms, mono_ms=now.mono_ms)
        for effect in effects:
            _PERFORM[type(effect)](self, effect)
        for each in too_old:
            self.calls.answer(each.token, OVERLOADED)
        if self._line:
            self._wake.set()
        for shard in self.engine.shards.values():
            if shard.phase is Phase.RELEASING:
                self.committer.hurry()  # a hand-over waits for it, and what is due meanwhile
                break
        self.committer.flush()
        self._readers.flush()
        self.calls.flush()

    def _session_news(self) -> list[events.Event]:
        """The lease as it is proven now, and whether the service is in sight (rule R3)."""
        session = self._session
        if session is None:
            return []
        until = lease_until_mono_ms(session.proven_at_mono_ms(), session.session_timeout_ms)
        state = session.state
        if until is None or state is SessionState.LOST or self._has_given_up:
            until = _NO_LEASE
        self._has_given_up = False
        if until != self._proven.until_mono_ms:
            self._proven = events.LeaseProven(until)
        news: list[events.Event] = [self._proven]
        suspended = state is not SessionState.CONNECTED
        if suspended != self._suspended:
            self._suspended = suspended
            news.append(events.Suspended(suspended))
        return news

    def _may_write(self, write: Write) -> bool:
        """Whether a write may begin; one that may not is given up, and its epoch with it (R7).

        The next step hears of no lease even if it has been proven again meanwhile.
        """
        now_mono_ms = self._clock.now().mono_ms
        in_lease = now_mono_ms < self.engine.lease_until_mono_ms
        is_ours = self.owns(write.shard, write.epoch)
        if is_ours and not in_lease:
            self._has_given_up = True
            self._wake.set()
        return in_lease and is_ours

    def _on_durable(self, numbers: Sequence[int], least_ms: int) -> None:
        self._inbox.append(events.Written(numbers))
        self._wake_within(EASY_MS if least_ms > EASY_MS else min(least_ms, PACE_MS))

    def _perform_write(self, effect: Write) -> None:
        self.committer.add(effect)

    def _perform_reply(self, effect: Reply) -> None:
        self.calls.answer(effect.token, effect.outcome)

    def _perform_send(self, effect: Send) -> None:
        self._send(effect.incarnation, effect.message)

    def _perform_read(self, effect: ReadTasks) -> None:
        self._readers.want(effect.shard, effect.epoch, effect.task_ids)

    def _perform_quiet(self, effect: ShardQuiet) -> None:
        why = f"handed over, quiet for {effect.took_ms} ms"
        self._on_ownership_end(effect.shard, effect.epoch, why)

    def _perform_give_up(self, effect: GiveUp) -> None:
        self._on_ownership_end(effect.shard, effect.epoch, effect.reason)

    def _perform_load(self, effect: LoadSlice) -> None:
        self._readers.load(effect)

    def _perform_sweep(self, effect: SweepBucket) -> None:
        self._readers.sweep(effect)

    def _perform_find(self, effect: FindTask) -> None:
        self._readers.find(effect)

    def _perform_move(self, effect: MoveScanFrom) -> None:
        self._readers.move(effect)

    def _perform_read_for_removal(self, effect: ReadForRemoval) -> None:
        self._readers.remover.read(effect)

    def _perform_move_deleted_below(self, effect: MoveDeletedBelow) -> None:
        self._readers.remover.move(effect)

    def _perform_held_back(self, effect: HeldBack) -> None:
        log.warning(
            "a task is held back: this version cannot read its journal",
            node=self.engine.node,
            shard=effect.shard,
            epoch=effect.epoch,
            task=effect.task_id,
            unread=effect.event,
        )

    def _perform_remove(self, effect: RemoveBuckets) -> None:
        self._readers.remover.remove(effect)


_PERFORM: Final[dict[type[Effect], Callable[[EngineShell, Any], None]]] = {
    Write: EngineShell._perform_write,
    Reply: EngineShell._perform_reply,
    Send: EngineShell._perform_send,
    ReadTasks: EngineShell._perform_read,
    ShardQuiet: EngineShell._perform_quiet,
    GiveUp: EngineShell._perform_give_up,
    LoadSlice: EngineShell._perform_load,
    SweepBucket: EngineShell._perform_sweep,
    FindTask: EngineShell._perform_find,
    MoveScanFrom: EngineShell._perform_move,
    ReadForRemoval: EngineShell._perform_read_for_removal,
    MoveDeletedBelow: EngineShell._perform_move_deleted_below,
    RemoveBuckets: EngineShell._perform_remove,
    HeldBack: EngineShell._perform_held_back,
}
