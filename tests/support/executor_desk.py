"""A real executor state among owners that repeat themselves, come late and come back.

Keeps books of its own of what must have become of every order (rules R11 to R14): who was told
what, what runs, what was given back. Raises AssertionError as soon as the state says otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tests.support.executor_words import EXECUTOR, dispatch, hello, order
from timeball_server.core.executor_runs import (
    CancelHandler,
    Effect,
    EndStream,
    RefuseStream,
    RunRecord,
    Send,
    StartRuns,
    StreamKey,
    StreamRefusal,
)
from timeball_server.core.executor_state import ExecutorState
from timeball_server.core.ids import Epoch, ShardId
from timeball_server.core.messages import (
    AckResults,
    Beat,
    Beats,
    CancelRun,
    Capacity,
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
    ToExecutor,
)
from timeball_server.core.model import Payload

SLOTS, BACKLOG = 4, 1
CAPS = {"capped": 2}
BEYOND_CAP = 1
HANDLERS = ("echo", "capped")
REFUSED = RefusalReason
Ended = RunPhase.FINISHED
Message = TypeVar("Message")


@dataclass(slots=True)
class Run:
    """One run as the books have it. `phase` None = it is over here, for the reason `over`."""

    order: RunOrder
    phase: RunPhase | None = RunPhase.ACCEPTED
    started_ms: int | None = None
    over: RevokeAnswer | None = None
    mark: Payload | None = None
    fraction: float | None = None
    holds_slot: bool = False


@dataclass(slots=True)
class Stream:
    """What was said on one stream."""

    key: StreamKey
    capacity: Capacity | None = None
    began: set[RunId] = field(default_factory=set)
    ended: set[RunId] = field(default_factory=set)
    marks: dict[RunId, Payload | None] = field(default_factory=dict)
    fractions: dict[RunId, float | None] = field(default_factory=dict)
    heard: list[object] = field(default_factory=list)


class Desk:
    """The executor, its owners and the books.

    Args:
        held: runs of keys of a former life that still occupy slots.
        most: results that may wait for acknowledgement.
    """

    def __init__(self, *, held: Iterable[RunOrder] = (), most: int = 1_000) -> None:
        former = {of.run: _former(of) for of in held}
        self.state = ExecutorState(
            incarnation=EXECUTOR,
            slots=SLOTS,
            handlers=HANDLERS,
            caps=CAPS,
            unacknowledged=most,
            held=len(former),
            held_of=Counter(record.handler for record in former.values()),
            former=former,
        )
        self.most = most
        self.runs: dict[RunId, Run] = {
            of.run: Run(of, RunPhase.RUNNING, 1, holds_slot=True) for of in held
        }
        self.owners: dict[ShardId, tuple[Epoch, str]] = {}
        self.streams: dict[str, Stream] = {}
        self.draining = False
        self.wants_room = False
        self.numbers: Counter[str] = Counter()

    # What the books say -------------------------------------------------------------------------

    def of(self, *phases: RunPhase) -> list[Run]:
        """Runs in these phases."""
        return [run for run in self.runs.values() if run.phase in phases]

    def busy(self, handler: str = "") -> int:
        """Slots that are taken, of one handler or of all."""
        holding = [run for run in self.runs.values() if run.holds_slot]
        return sum(not handler or run.order.handler == handler for run in holding)

    def waiting(self, handler: str = "") -> int:
        """Runs that wait for a slot."""
        accepted = self.of(RunPhase.ACCEPTED)
        return sum(not handler or run.order.handler == handler for run in accepted)

    def stream_of(self, run: Run) -> Stream | None:
        """The open stream of whoever owns a run's shard."""
        known = self.owners.get(run.order.shard)
        return None if known is None else self.streams.get(known[1])

    def epoch(self, shard: ShardId) -> Epoch:
        """The highest one seen."""
        return self.owners.get(shard, (Epoch(0), ""))[0]

    # Streams ------------------------------------------------------------------------------------

    def connect(self, owner: str) -> None:
        """A new stream with the next number; a lower one is refused."""
        self.numbers[owner] += 1
        words = hello(self.numbers[owner], owner=owner)
        key = StreamKey(words.owner, words.owner_incarnation, words.number)
        former, self.streams[owner] = self.streams.get(owner), Stream(key)
        effects = self.state.open_stream(words)
        if former is not None:
            assert EndStream(former.key) in effects, "two streams of one owner"
            assert self.state.receive(former.key, dispatch(order(99))) == []
        self.perform(effects)
        for number in (self.numbers[owner] - 1, self.numbers[owner]):
            (refused,) = self.state.open_stream(hello(number, owner=owner))
            assert isinstance(refused, RefuseStream)
            assert refused.reason is StreamRefusal.LOWER_NUMBER
        (refused,) = self.state.open_stream(hello(99, owner=owner, executor=EXECUTOR + 1))
        assert isinstance(refused, RefuseStream)
        assert refused.reason is StreamRefusal.OTHER_INCARNATION
        self.flush()

    def breaks(self, owner: str) -> None:
        """A stream ends; nothing that still comes on it is heard."""
        stream = self.streams.pop(owner, None)
        if stream is not None:
            self.state.stream_ended(stream.key)
            assert self.state.receive(stream.key, dispatch(order(99))) == []

    # Messages -----------------------------------------------------------------------------------

    def dispatch(self, owner: str, orders: list[RunOrder], incarnation: int = EXECUTOR) -> None:
        """Orders arrive: each one is taken, refused for a reason that is true, or known."""
        refused: Counter[tuple[RunId, RefusalReason]] = Counter()
        over: list[RunId] = []
        for each in orders:
            reason = self._verdict(owner, each, incarnation)
            if isinstance(reason, RefusalReason):
                refused[each.run, reason] += 1
            elif reason is RevokeAnswer.FINISHED:
                over.append(each.run)
        effects = self._receive(owner, dispatch(*orders, incarnation=incarnation))
        told = Counter(
            (run, message.reason)
            for message in _messages(effects, Refused)
            for run, _ in message.runs
        )
        assert told == refused, f"refused {told}, not {refused}"
        for message in _messages(effects, Refused):
            assert all(message.epoch == self.epoch(shard) for _, shard in message.runs)
        self.wants_room |= bool(refused)
        answers = _messages(effects, RevokeReply)
        assert [each.run for each in answers] == over, "what is over was not answered so"
        assert all(each.answer is self.runs[each.run].over for each in answers)
        self.perform(effects)
        self._nobody_waits_for_nothing()
        self.flush()

    def _verdict(
        self, owner: str, each: RunOrder, incarnation: int
    ) -> RefusalReason | RevokeAnswer | None:
        """What must become of an order. None = it is taken, or was before."""
        if incarnation != EXECUTOR:
            return REFUSED.OTHER_INCARNATION
        if not self._follow(owner, each.shard, each.epoch):
            return REFUSED.LOWER_EPOCH
        run = self.runs.get(each.run)
        if run is not None and run.phase is not None:
            stream = self.streams[owner]
            stream.ended.discard(each.run)
            stream.began.discard(each.run)
            return None
        if run is not None:
            return RevokeAnswer.FINISHED
        reason = self._why_not(each)
        if reason is None:
            self.runs[each.run] = Run(each)
        return reason

    def _why_not(self, each: RunOrder) -> RefusalReason | None:
        taken, finished = self.busy() + self.waiting(), len(self.of(Ended))
        if self.draining:
            return REFUSED.DRAINING
        if each.handler not in HANDLERS:
            return REFUSED.UNKNOWN_HANDLER
        if taken >= SLOTS + BACKLOG or taken + finished >= self.most:
            return REFUSED.NO_FREE_SLOT
        cap = CAPS.get(each.handler)
        of_it = self.busy(each.handler) + self.waiting(each.handler)
        if cap is not None and of_it >= cap + BEYOND_CAP:
            return REFUSED.HANDLER_FULL
        return None

    def fence(self, owner: str, number: int, epochs: dict[ShardId, Epoch]) -> None:
        """An owner asks for everything of some shards; it is told all, or of a higher epoch."""
        followed = {s for s, epoch in epochs.items() if self._follow(owner, s, epoch)}
        for run in self.runs.values():
            if run.order.shard in followed and run.phase is RunPhase.ACCEPTED:
                run.order = replace(run.order, epoch=self.epoch(run.order.shard))
        known = {
            each: (run.phase, run.started_ms, run.order.concurrency_key)
            for each, run in self.runs.items()
            if run.phase is not None and run.order.shard in followed
        }
        effects = self._receive(owner, Fence(number, tuple(epochs.items())))
        (inventory,) = _messages(effects, Inventory)
        told = {
            each.run: (each.phase, each.started_ms, each.concurrency_key)
            for each in inventory.entries
        }
        assert told == known, f"the inventory is {told}, not {known}"
        assert inventory.number == number
        assert dict(inventory.refused) == {s: self.epoch(s) for s in epochs if s not in followed}
        stream = self.streams[owner]
        for each in known:
            stream.ended.discard(each)
            stream.marks.pop(each, None)
            stream.began.add(each)
        self.perform(effects)
        self.flush()

    def revoke(self, owner: str, of: RunOrder, epoch: Epoch) -> None:
        """An owner asks for a run back: what has not begun never will."""
        effects = self._receive(owner, Revoke(of.run, of.shard, epoch))
        if not self._follow(owner, of.shard, epoch):
            self._refused_lower(effects, of)
            return
        run = self.runs.setdefault(of.run, Run(of, phase=None, over=RevokeAnswer.NOT_SEEN))
        wanted = {
            None: run.over,
            RunPhase.ACCEPTED: RevokeAnswer.REVOKED,
            RunPhase.RUNNING: RevokeAnswer.RUNNING,
            RunPhase.FINISHED: RevokeAnswer.FINISHED,
        }[run.phase]
        (reply,) = _messages(effects, RevokeReply)
        assert (reply.run, reply.answer) == (of.run, wanted)
        if wanted is RevokeAnswer.RUNNING:
            assert reply.started_ms == run.started_ms
        if run.phase is RunPhase.ACCEPTED:
            run.phase, run.over = None, RevokeAnswer.REVOKED
        self.perform(effects)
        self.flush()

    def cancel(self, owner: str, of: RunOrder, epoch: Epoch, *, if_silent: bool) -> None:
        """An owner wants a run to end: who runs is told; who waits is given back."""
        message = CancelRun(of.run, of.shard, epoch, if_silent=if_silent)
        effects = self._receive(owner, message)
        if not self._follow(owner, of.shard, epoch):
            self._refused_lower(effects, of)
            return
        run = self.runs.get(of.run)
        phase = None if run is None else run.phase
        asked = [each for each in effects if isinstance(each, CancelHandler)]
        wanted = [CancelHandler(of.run, False, if_silent)] if phase is RunPhase.RUNNING else []
        assert asked == wanted, f"handlers were told {asked}"
        answers = _messages(effects, RevokeReply)
        given_back = phase is RunPhase.ACCEPTED and not if_silent
        assert answers == ([RevokeReply(of.run, RevokeAnswer.REVOKED)] if given_back else [])
        if run is not None and given_back:
            run.phase, run.over = None, RevokeAnswer.REVOKED
        self.perform(effects)
        self.flush()

    def acknowledge(self, owner: str, of: RunOrder, epoch: Epoch) -> None:
        """An owner has a result: only of the highest epoch is that believed."""
        effects = self._receive(owner, AckResults(((of.run, of.shard, epoch),)))
        if not self._follow(owner, of.shard, epoch):
            self._refused_lower(effects, of)
            return
        assert not _messages(effects, Refused)
        run = self.runs.get(of.run)
        if run is not None and run.phase is Ended:
            run.phase, run.over = None, RevokeAnswer.FINISHED
        self.perform(effects)
        self.flush()

    def _receive(self, owner: str, message: ToExecutor) -> list[Effect]:
        return self.state.receive(self.streams[owner].key, message)

    def _refused_lower(self, effects: list[Effect], of: RunOrder) -> None:
        wanted = Refused(((of.run, of.shard),), REFUSED.LOWER_EPOCH, self.epoch(of.shard))
        assert _messages(effects, Refused) == [wanted]
        self.perform(effects)
        self.flush()

    def _follow(self, owner: str, shard: ShardId, epoch: Epoch) -> bool:
        if epoch < self.epoch(shard):
            return False
        self.owners[shard] = (epoch, owner)
        return True

    # Handlers -----------------------------------------------------------------------------------

    def begins(self, run: Run, at_ms: int) -> None:
        """A handler is called."""
        run.started_ms = at_ms
        self.state.started(run.order.run, at_ms)
        self.flush()

    def speaks(self, run: Run, fraction: float, mark: bytes) -> None:
        """A handler says that it lives, of a run that may be over."""
        left = Payload(data=mark) if mark else None
        if run.phase is RunPhase.RUNNING:
            run.fraction, run.mark = fraction, left or run.mark
        self.state.beat(Beat(run=run.order.run, fraction=fraction, checkpoint=left))

    def ends(self, run: Run, result: RunResult, *, holds_slot: bool) -> None:
        """A run has its result; its handler may go on for a while."""
        run.phase, run.holds_slot = Ended, holds_slot
        self.state.ended(result, slot_held=holds_slot)
        self.flush()

    def returns(self, run: Run) -> None:
        """A handler whose result is known has really returned."""
        run.holds_slot = False
        self.state.slot_released(run.order.handler)
        self.flush()

    def drain(self) -> None:
        """It is asked to leave: what waits is handed back, and nothing begins any more."""
        waiting = self.of(RunPhase.ACCEPTED)
        handed_back = {run.order.run for run in waiting if self.stream_of(run) is not None}
        self.draining = True
        for run in waiting:
            run.phase, run.over = None, RevokeAnswer.REVOKED
        effects = self.state.drain()
        refused = _messages(effects, Refused)
        assert {run for message in refused for run, _ in message.runs} == handed_back
        assert all(message.reason is REFUSED.DRAINING for message in refused)
        for message in refused:
            assert all(message.epoch == self.epoch(shard) for _, shard in message.runs)
        self.perform(effects)
        self.flush()

    # Effects ------------------------------------------------------------------------------------

    def perform(self, effects: list[Effect]) -> None:
        """Take everything down."""
        open_streams = {stream.key: stream for stream in self.streams.values()}
        for effect in effects:
            if isinstance(effect, StartRuns):
                self._start(effect.orders)
            elif isinstance(effect, Send):
                assert effect.stream in open_streams, "said on a stream that is not open"
                self._hear(open_streams[effect.stream], effect.message)

    def _start(self, orders: tuple[RunOrder, ...]) -> None:
        for each in orders:
            run = self.runs.get(each.run)
            assert run is not None, "nobody ordered it"
            assert run.phase is RunPhase.ACCEPTED, "begun twice, or after it was given back"
            assert each.epoch == self.epoch(each.shard), "begun below the highest epoch"
            run.phase, run.holds_slot = RunPhase.RUNNING, True
        assert self.busy() <= SLOTS, "more than there are slots"
        for handler, most in CAPS.items():
            assert self.busy(handler) <= most, "more than the cap"
        left = [run.order for run in self.of(RunPhase.ACCEPTED) if self._may_begin(run)]
        least = min((each.priority for each in orders), default=9)
        assert all(each.priority <= least for each in left if each.handler not in CAPS)

    def _may_begin(self, run: Run) -> bool:
        return run.order.epoch == self.epoch(run.order.shard)

    def _hear(self, stream: Stream, message: object) -> None:
        stream.heard.append(message)
        if isinstance(message, Capacity):
            stream.capacity, self.wants_room = message, False
        elif isinstance(message, Started):
            for run, started_ms in message.runs:
                assert self.runs[run].started_ms == started_ms
                stream.began.add(run)
        elif isinstance(message, Finished):
            for result in message.results:
                ended = self.runs[result.run]
                assert ended.phase is Ended, "an end of what has not ended, or is acknowledged"
                assert result.result is not None or result.checkpoint == ended.mark
                stream.ended.add(result.run)
        elif isinstance(message, Beats):
            for beat in message.beats:
                assert self.runs[beat.run].phase is RunPhase.RUNNING, "who has ended is silent"
                stream.fractions[beat.run] = beat.fraction
                if beat.checkpoint is not None:
                    stream.marks[beat.run] = beat.checkpoint

    def flush(self) -> None:
        """Everything that is due is said and begun; then nothing that could be done is left."""
        due = self.state.has_due()
        effects = self.state.flush()
        assert due or not effects, "nothing was due, and something happened"
        self.perform(effects)
        assert self.state.flush() == [], "said twice"
        self._nobody_waits_for_nothing()
        for run in self.runs.values():
            self._is_known(run)
        self._capacity_is_known()

    def _nobody_waits_for_nothing(self) -> None:
        if self.busy() < SLOTS:
            for run in self.of(RunPhase.ACCEPTED):
                full = self.busy(run.order.handler) >= CAPS.get(run.order.handler, SLOTS)
                assert full or not self._may_begin(run), "a slot is free, and it waits"

    def _is_known(self, run: Run) -> None:
        stream, each = self.stream_of(run), run.order.run
        if stream is None:
            return
        if run.phase is RunPhase.RUNNING and run.started_ms is not None:
            assert each in stream.began, "its owner was not told that it began"
            if run.fraction is not None:
                assert stream.fractions.get(each) == run.fraction, "a word was not passed on"
                assert stream.marks.get(each) == run.mark, "a mark was not passed on"
        if run.phase is Ended:
            assert each in stream.ended, "its owner was not told that it ended"

    def _capacity_is_known(self) -> None:
        finished, waiting = len(self.of(Ended)), self.waiting()
        free = max(0, min(SLOTS, self.most - finished) - self.busy() - waiting)
        full = tuple(
            each for each, cap in CAPS.items() if self.busy(each) + self.waiting(each) >= cap
        )
        wanted = Capacity(slots=SLOTS, free=free, draining=self.draining, full=full)
        for stream in self.streams.values():
            assert stream.capacity == wanted, f"{stream.capacity} was told, not {wanted}"
        assert not (self.wants_room and self.streams), "who was refused was told nothing of room"
        running = len(self.of(RunPhase.RUNNING))
        assert (self.state.running, self.state.unacknowledged) == (running, finished)


def _messages(effects: list[Effect], kind: type[Message]) -> list[Message]:
    sent = [effect.message for effect in effects if isinstance(effect, Send)]
    return [message for message in sent if isinstance(message, kind)]


def _former(of: RunOrder) -> RunRecord:
    return RunRecord(
        shard=of.shard,
        handler=of.handler,
        phase=RunPhase.RUNNING,
        started_ms=1,
        namespace=of.namespace,
        concurrency_key=of.concurrency_key,
    )
