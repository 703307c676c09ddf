"""What an executor accepts, starts, answers and remembers (rules R11-R14).

Pure: messages and local events go in, effects come out. Guarantees, whoever calls in whatever
order: no run is named by StartRuns twice (within the memory that MAX_BLOCKED_RUNS allows), none
starts under an epoch below the highest seen for its shard, and no result is forgotten before an
acknowledgement of the highest epoch.

A run counts as RUNNING from the moment StartRuns names it: it can no longer be revoked, though
its handler begins a moment later and reports `started` then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Final, assert_never

from timeball_server.core.executor_beats import UnsaidBeats, with_checkpoint
from timeball_server.core.executor_places import HandlerPlaces
from timeball_server.core.executor_runs import (
    REVOKE_ANSWERS,
    CancelHandler,
    Effect,
    EndStream,
    RefuseStream,
    RunMove,
    RunRecord,
    Send,
    ShardOwner,
    StartRuns,
    StreamKey,
    StreamRefusal,
    next_phase,
    record_of,
)
from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId
from timeball_server.core.messages import (
    AckResults,
    Beat,
    CancelRun,
    Capacity,
    Dispatch,
    Fence,
    Finished,
    Inventory,
    RefusalReason,
    Refused,
    Revoke,
    RevokeAnswer,
    RevokeReply,
    RunId,
    RunOrder,
    RunPhase,
    RunResult,
    Started,
    StreamHello,
    ToExecutor,
)

MAX_UNACKNOWLEDGED_RUNS: Final = 20_000
"""Results that may wait for acknowledgement; at this number new runs are refused."""
MAX_BLOCKED_RUNS: Final = 16_384
"""Withdrawn and acknowledged runs that are remembered, so that a late repetition cannot start
them; the oldest is dropped. A second line: the order of a stream (R12) is the first."""


class Known(StrEnum):
    """Why a dispatched run is neither accepted nor refused."""

    DUPLICATE = "DUPLICATE"
    OVER = "OVER"


class _Refusals:
    """Collects refused runs into as few messages as their reasons and epochs allow."""

    def __init__(self, stream: StreamKey) -> None:
        self._stream = stream
        self._runs: dict[tuple[RefusalReason, Epoch], list[tuple[RunId, ShardId]]] = {}

    def add(self, run: RunId, shard: ShardId, reason: RefusalReason, epoch: Epoch) -> None:
        self._runs.setdefault((reason, epoch), []).append((run, shard))

    def effects(self) -> list[Effect]:
        return [
            Send(self._stream, Refused(tuple(runs), reason, epoch))
            for (reason, epoch), runs in self._runs.items()
        ]


class ExecutorState:
    """One incarnation of an executor.

    Args:
        incarnation: given by the coordination service at joining.
        slots: how many handlers may run at once.
        handlers: names that are registered here.
        backlog: runs that may wait for a slot; a quarter of the slots by default.
        unacknowledged: results that may wait for acknowledgement before new work is refused.
        blocked: withdrawn and acknowledged runs that are remembered.
        held: slots that handlers of a former incarnation still occupy.
        caps: handlers of which fewer may run at once than there are slots, and how many.
        held_of: how many of the held slots belong to these handlers.
        former: runs of keys among them. Their end is told, because their places wait for it.
    """

    def __init__(
        self,
        *,
        incarnation: Incarnation,
        slots: int,
        handlers: Iterable[str],
        backlog: int | None = None,
        unacknowledged: int = MAX_UNACKNOWLEDGED_RUNS,
        blocked: int = MAX_BLOCKED_RUNS,
        held: int = 0,
        caps: Mapping[str, int] | None = None,
        held_of: Mapping[str, int] | None = None,
        former: Mapping[RunId, RunRecord] | None = None,
    ) -> None:
        self._incarnation = incarnation
        self._slots = slots
        self._handlers = frozenset(handlers)
        self._room = slots + (max(1, slots // 4) if backlog is None else backlog)
        self._unacknowledged = unacknowledged
        self._blocked_limit = blocked
        self._places = HandlerPlaces(caps or {}, held_of or {})
        self._draining = False
        self._busy = held
        self._runs: dict[RunId, RunRecord] = dict(former or {})
        self._waiting: dict[RunId, RunOrder] = {}
        self._finished = 0
        self._blocked: dict[RunId, RevokeAnswer] = {}
        self._shards: dict[ShardId, ShardOwner] = {}
        self._highest: dict[NodeId, StreamKey] = {}
        self._open: dict[NodeId, StreamKey] = {}
        self._started_due: dict[RunId, None] = {}
        self._finished_due: dict[RunId, None] = {}
        self._beats = UnsaidBeats()
        self._capacity_told: Capacity | None = None

    # What others may ask ------------------------------------------------------------------------

    def capacity(self) -> Capacity:
        """What is free now. A slot counts as taken until its handler has really returned."""
        room = min(self._slots, self._unacknowledged - self._finished)
        free = max(0, room - self._busy - len(self._waiting))
        return Capacity(
            slots=self._slots, free=free, draining=self._draining, full=self._places.full()
        )

    @property
    def running(self) -> int:
        """Runs whose handler has not ended."""
        return len(self._runs) - self._finished - len(self._waiting)

    @property
    def unacknowledged(self) -> int:
        """Results that wait for their acknowledgement."""
        return self._finished

    def has_due(self) -> bool:
        """Whether `flush` has something to do."""
        return bool(
            self._started_due
            or self._finished_due
            or self._beats
            or self._places.within_caps(self._in_line())
            or self._capacity_told != self.capacity()
        )

    # Streams ------------------------------------------------------------------------------------

    def open_stream(self, hello: StreamHello) -> list[Effect]:
        """An owner said hello: refuse it, or replace its former stream and resend what is due."""
        stream = StreamKey(hello.owner, hello.owner_incarnation, hello.number)
        if hello.executor_incarnation != self._incarnation:
            return [RefuseStream(stream, StreamRefusal.OTHER_INCARNATION)]
        highest = self._highest.get(stream.owner)
        if highest is not None and stream <= highest:
            return [RefuseStream(stream, StreamRefusal.LOWER_NUMBER)]
        former = self._open.get(stream.owner)
        self._highest[stream.owner] = self._open[stream.owner] = stream
        self._resend(lambda shard: self._stream_of(shard) == stream)
        effects: list[Effect] = [] if former is None else [EndStream(former)]
        return [*effects, Send(stream, self.capacity()), *self.flush()]

    def stream_ended(self, stream: StreamKey) -> None:
        """A stream broke or was closed; what it did not carry is sent on the next one."""
        if self._open.get(stream.owner) == stream:
            del self._open[stream.owner]

    def receive(self, stream: StreamKey, message: ToExecutor) -> list[Effect]:
        """A message of an owner. One that came on a replaced or ended stream is dropped (R12)."""
        if self._open.get(stream.owner) != stream:
            return []
        match message:
            case Dispatch():
                return self._dispatch(stream, message)
            case Fence():
                return self._fence(stream, message)
            case Revoke():
                return self._revoke(stream, message)
            case CancelRun():
                return self._cancel(stream, message)
            case AckResults():
                return self._acknowledge(stream, message)
            case _:
                assert_never(message)

    # Local events -------------------------------------------------------------------------------

    def started(self, run: RunId, started_ms: int) -> None:
        """The handler of a run that StartRuns named is about to be called."""
        self._runs[run].started_ms = started_ms
        self._started_due[run] = None

    def beat(self, beat: Beat) -> None:
        """A running handler said that it lives; of one that has ended it means nothing."""
        record = self._runs.get(beat.run)
        if record is not None and record.phase is RunPhase.RUNNING:
            self._beats.note(record, beat)

    def ended(self, result: RunResult, *, slot_held: bool = False) -> None:
        """A run has its result. `slot_held` = its handler still occupies the slot.

        Raises:
            IllegalMove: the run is not running.
        """
        record = self._runs[result.run]
        record.move(RunMove.END)
        record.result = with_checkpoint(result, record)
        self._beats.forget(result.run)
        self._finished += 1
        self._finished_due[result.run] = None
        if not slot_held:
            self.slot_released(record.handler)

    def slot_released(self, handler: str) -> None:
        """A handler whose result was reported with `slot_held` has returned."""
        self._busy -= 1
        self._places.ended(handler)

    def drain(self) -> list[Effect]:
        """Take no new work and hand back what has not begun. Safe to repeat."""
        self._draining = True
        by_stream: dict[StreamKey, _Refusals] = {}
        for run, order in tuple(self._waiting.items()):
            self._withdraw(run)
            stream = self._stream_of(order.shard)
            if stream is not None:
                refusals = by_stream.setdefault(stream, _Refusals(stream))
                epoch = self._shards[order.shard].epoch
                refusals.add(run, order.shard, RefusalReason.DRAINING, epoch)
        refused = [effect for refusals in by_stream.values() for effect in refusals.effects()]
        return [*refused, *self.flush()]

    def flush(self) -> list[Effect]:
        """Start what waits for a slot and say what happened since the last flush."""
        effects = self._start_waiting()
        effects += self._due_messages()
        capacity = self.capacity()
        if capacity != self._capacity_told:
            self._capacity_told = capacity
            effects += [Send(stream, capacity) for stream in self._open.values()]
        return effects

    # Messages -----------------------------------------------------------------------------------

    def _dispatch(self, stream: StreamKey, message: Dispatch) -> list[Effect]:
        refusals = _Refusals(stream)
        replies: list[Effect] = []
        for order in message.orders:
            verdict = self._judge(stream, order, message.incarnation)
            if verdict is None:
                self._accept(order)
            elif verdict is Known.DUPLICATE:
                self._resend_run(order.run)
            elif verdict is Known.OVER:
                replies.append(Send(stream, RevokeReply(order.run, self._blocked[order.run])))
            else:
                refusals.add(order.run, order.shard, verdict, self._epoch_of(order.shard))
                self._capacity_told = None  # whoever was refused waits to hear of room
        return [*self._start_waiting(), *replies, *refusals.effects()]

    def _judge(
        self, stream: StreamKey, order: RunOrder, incarnation: Incarnation
    ) -> RefusalReason | Known | None:
        """Whether a run may be accepted (None). The order of the questions is the rule."""
        if incarnation != self._incarnation:
            return RefusalReason.OTHER_INCARNATION
        if not self._follow(stream, order.shard, order.epoch):
            return RefusalReason.LOWER_EPOCH
        if order.run in self._runs:
            return Known.DUPLICATE
        if order.run in self._blocked:
            return Known.OVER
        if self._draining:
            return RefusalReason.DRAINING
        if order.handler not in self._handlers:
            return RefusalReason.UNKNOWN_HANDLER
        if not self._has_room():
            return RefusalReason.NO_FREE_SLOT
        return None if self._places.admits(order.handler) else RefusalReason.HANDLER_FULL

    def _fence(self, stream: StreamKey, message: Fence) -> list[Effect]:
        """Follow the new owner and show it every run of its shards (R13)."""
        followed: set[ShardId] = set()
        refused: list[tuple[ShardId, Epoch]] = []
        for shard, epoch in message.epochs:
            if self._follow(stream, shard, epoch):
                followed.add(shard)
            else:
                refused.append((shard, self._epoch_of(shard)))
        entries = tuple(
            record.entry(run) for run, record in self._runs.items() if record.shard in followed
        )
        self._adopt(followed)
        for run, record in self._runs.items():
            if record.last_beat is not None and record.shard in followed:
                self._beats.again(run, record)
        self._resend(followed.__contains__, phases=(RunPhase.FINISHED,))
        inventory = Inventory(message.number, entries, tuple(refused))
        return [Send(stream, inventory), *self.flush()]

    def _revoke(self, stream: StreamKey, message: Revoke) -> list[Effect]:
        """Give a run back if it has not begun; whatever was not seen never will be (R14)."""
        run = message.run
        if not self._follow(stream, message.shard, message.epoch):
            return self._refuse_lower(stream, run, message.shard)
        record = self._runs.get(run)
        answer = self._blocked.get(run) or REVOKE_ANSWERS[record.phase if record else None]
        if answer is RevokeAnswer.REVOKED and record is not None:
            self._withdraw(run)
        elif answer is RevokeAnswer.NOT_SEEN:
            self._block(run, answer)
        return [Send(stream, RevokeReply(run, answer, record.started_ms if record else None))]

    def _cancel(self, stream: StreamKey, message: CancelRun) -> list[Effect]:
        """Pass a cancellation on. A run that has not begun is withdrawn, as by a REVOKE."""
        if not self._follow(stream, message.shard, message.epoch):
            return self._refuse_lower(stream, message.run, message.shard)
        record = self._runs.get(message.run)
        phase = record.phase if record else None
        if phase is RunPhase.RUNNING:
            return [CancelHandler(message.run, message.terminate, message.if_silent)]
        if message.if_silent:
            return []
        if phase is RunPhase.ACCEPTED:
            self._withdraw(message.run)
            return [Send(stream, RevokeReply(message.run, RevokeAnswer.REVOKED))]
        return []

    def _acknowledge(self, stream: StreamKey, message: AckResults) -> list[Effect]:
        """Forget runs whose results are durable under the highest epoch (R12)."""
        refusals = _Refusals(stream)
        for run, shard, epoch in message.runs:
            if not self._follow(stream, shard, epoch):
                refusals.add(run, shard, RefusalReason.LOWER_EPOCH, self._epoch_of(shard))
                continue
            record = self._runs.get(run)
            if record is not None and record.phase is RunPhase.FINISHED:
                self._forget(run, RunMove.ACKNOWLEDGE)
                self._block(run, RevokeAnswer.FINISHED)
                self._finished -= 1
        return refusals.effects()

    # Steps --------------------------------------------------------------------------------------

    def _follow(self, stream: StreamKey, shard: ShardId, epoch: Epoch) -> bool:
        """Raise the shard's epoch and send its results to this owner; False = a lower epoch."""
        known = self._shards.get(shard)
        if known is None:
            self._shards[shard] = ShardOwner(epoch, stream.owner, stream.incarnation)
            return True
        if epoch < known.epoch:
            return False
        known.epoch, known.owner, known.incarnation = epoch, stream.owner, stream.incarnation
        return True

    def _epoch_of(self, shard: ShardId) -> Epoch:
        known = self._shards.get(shard)
        return Epoch(0) if known is None else known.epoch

    def _stream_of(self, shard: ShardId) -> StreamKey | None:
        """The open stream of the process that owns the shard, as far as we know."""
        known = self._shards.get(shard)
        stream = None if known is None else self._open.get(known.owner)
        if stream is None or known is None or stream.incarnation != known.incarnation:
            return None
        return stream

    def _refuse_lower(self, stream: StreamKey, run: RunId, shard: ShardId) -> list[Effect]:
        epoch = self._epoch_of(shard)
        return [Send(stream, Refused(((run, shard),), RefusalReason.LOWER_EPOCH, epoch))]

    def _has_room(self) -> bool:
        taken = self._busy + len(self._waiting)
        return taken < self._room and taken + self._finished < self._unacknowledged

    def _accept(self, order: RunOrder) -> None:
        next_phase(None, RunMove.ACCEPT)
        self._runs[order.run] = record_of(order)
        self._waiting[order.run] = order
        self._places.queued(order.handler)

    def _start_waiting(self) -> list[Effect]:
        """Name the most urgent waiting runs, as many as slots are free.

        A run accepted under an epoch that is no longer the highest waits until the new owner has
        seen it in an inventory.
        """
        urgent_first = sorted(self._in_line(), key=lambda order: (-order.priority, order.due_ms))
        chosen = self._places.within_caps(urgent_first)[: self._slots - self._busy]
        for order in chosen:
            self._runs[order.run].move(RunMove.START)
            del self._waiting[order.run]
            self._places.started(order.handler)
        self._busy += len(chosen)
        return [StartRuns(tuple(chosen))] if chosen else []

    def _in_line(self) -> list[RunOrder]:
        """The waiting runs that a slot is free for, in the order of their acceptance."""
        if self._busy >= self._slots:
            return []
        return [o for o in self._waiting.values() if o.epoch >= self._shards[o.shard].epoch]

    def _adopt(self, shards: set[ShardId]) -> None:
        """Waiting runs of fenced shards belong to the new owner now."""
        for run, order in self._waiting.items():
            if order.shard in shards:
                self._waiting[run] = replace(order, epoch=self._shards[order.shard].epoch)

    def _withdraw(self, run: RunId) -> None:
        self._places.unqueued(self._waiting.pop(run).handler)
        self._forget(run, RunMove.WITHDRAW)
        self._block(run, RevokeAnswer.REVOKED)

    def _forget(self, run: RunId, move: RunMove) -> None:
        next_phase(self._runs[run].phase, move)
        del self._runs[run]
        self._started_due.pop(run, None)
        self._finished_due.pop(run, None)
        self._beats.forget(run)

    def _block(self, run: RunId, answer: RevokeAnswer) -> None:
        """Remember that this run must never start here, and what a REVOKE is told."""
        self._blocked[run] = answer
        if len(self._blocked) > self._blocked_limit:
            del self._blocked[next(iter(self._blocked))]

    def _resend(
        self,
        wanted: Callable[[ShardId], bool],
        phases: tuple[RunPhase, ...] = (RunPhase.RUNNING, RunPhase.FINISHED),
    ) -> None:
        for run, record in self._runs.items():
            if record.phase in phases and wanted(record.shard):
                self._resend_run(run)

    def _resend_run(self, run: RunId) -> None:
        """Say again what is known of a run: that it ended, or that it began."""
        record = self._runs[run]
        if record.phase is RunPhase.FINISHED:
            self._finished_due[run] = None
        elif record.started_ms is not None:
            self._started_due[run] = None
            self._beats.again(run, record)

    def _due_messages(self) -> list[Effect]:
        """Started before Finished, one message of each per owner."""
        started: dict[StreamKey, list[tuple[RunId, int]]] = {}
        finished: dict[StreamKey, list[RunResult]] = {}
        for run in self._started_due:
            record = self._runs[run]
            stream = self._stream_of(record.shard)
            if stream is not None and record.started_ms is not None:
                started.setdefault(stream, []).append((run, record.started_ms))
        for run in self._finished_due:
            record = self._runs[run]
            stream = self._stream_of(record.shard)
            if stream is not None and record.result is not None:
                finished.setdefault(stream, []).append(record.result)
        self._started_due.clear()
        self._finished_due.clear()
        began: list[Effect] = [Send(to, Started(tuple(runs))) for to, runs in started.items()]
        began += self._beats.messages(self._runs, self._stream_of)
        return began + [Send(to, Finished(tuple(results))) for to, results in finished.items()]
