"""Whatever is said in whatever order: started once, never below the epoch, never forgotten."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.executor_words import EXECUTOR, acknowledge, dispatch, hello, order, result
from timeball_server.core.executor_runs import Effect, Send, StartRuns, StreamKey
from timeball_server.core.executor_state import ExecutorState
from timeball_server.core.ids import Epoch, ShardId
from timeball_server.core.messages import (
    CancelRun,
    Fence,
    Finished,
    Refused,
    Revoke,
    RevokeAnswer,
    RevokeReply,
    RunId,
    RunOrder,
    ToExecutor,
)

OWNERS = st.sampled_from(["s1", "s2"])
SHARDS = st.integers(0, 1)
EPOCHS = st.integers(1, 3)
NUMBERS = st.integers(0, 7)
GIVEN_BACK = (RevokeAnswer.REVOKED, RevokeAnswer.NOT_SEEN)
SLOTS, BACKLOG = 1, 3


class ExecutorMachine(RuleBasedStateMachine):
    """Two owners, two shards; streams break and messages repeat."""

    def __init__(self) -> None:
        super().__init__()
        self.state = ExecutorState(
            incarnation=EXECUTOR, slots=SLOTS, handlers=["echo"], backlog=BACKLOG
        )
        self.streams: dict[str, StreamKey] = {}
        self.numbers = {"s1": 0, "s2": 0}
        self.highest: dict[ShardId, Epoch] = {}
        self.begun: set[RunId] = set()
        self.withdrawn: set[RunId] = set()
        self.running: dict[RunId, RunOrder] = {}
        self.unacknowledged: dict[RunId, RunOrder] = {}

    def check(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, StartRuns):
                for each in effect.orders:
                    assert each.run not in self.begun, "started twice"
                    assert each.run not in self.withdrawn, "started after it was given back"
                    assert each.epoch >= self.highest[each.shard], "started below the epoch"
                    self.begun.add(each.run)
                    self.running[each.run] = each
            elif isinstance(effect, Send):
                assert effect.stream in self.streams.values(), "said on a stream that is not open"
                self.hear(effect)

    def hear(self, effect: Send) -> None:
        message = effect.message
        if isinstance(message, Finished):
            assert {r.run for r in message.results} <= set(self.unacknowledged)
        elif isinstance(message, Refused):
            assert all(message.epoch == self.highest[shard] for _, shard in message.runs)
        elif isinstance(message, RevokeReply) and message.answer in GIVEN_BACK:
            assert message.run not in self.begun, "given back after it was started"
            self.withdrawn.add(message.run)

    def say(self, owner: str, shard: int, epoch: int, message: ToExecutor) -> None:
        if owner in self.streams:
            known = self.highest.get(ShardId(shard), Epoch(0))
            self.highest[ShardId(shard)] = Epoch(max(known, epoch))
            self.check(self.state.receive(self.streams[owner], message))

    @rule(owner=OWNERS)
    def connect(self, owner: str) -> None:
        self.numbers[owner] += 1
        words = hello(self.numbers[owner], owner=owner)
        self.streams[owner] = StreamKey(words.owner, words.owner_incarnation, words.number)
        self.check(self.state.open_stream(words))

    @rule(owner=OWNERS)
    def breaks(self, owner: str) -> None:
        stream = self.streams.pop(owner, None)
        if stream is not None:
            self.state.stream_ended(stream)
            assert self.state.receive(stream, dispatch(order(99))) == []

    @rule(owner=OWNERS, shard=SHARDS, epoch=EPOCHS, numbers=st.lists(NUMBERS, max_size=4))
    def dispatches(self, owner: str, shard: int, epoch: int, numbers: list[int]) -> None:
        orders = [order(n, shard=n % 2, epoch=epoch) for n in numbers if n % 2 == shard]
        if orders:
            self.say(owner, shard, epoch, dispatch(*orders))

    @precondition(lambda self: self.begun or self.withdrawn)
    @rule(owner=OWNERS, data=st.data())
    def repeats(self, owner: str, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.begun | self.withdrawn)))
        epoch = run.run.epoch
        number = int(run.task_id.removeprefix("task"))
        self.say(owner, number % 2, epoch, dispatch(order(number, shard=number % 2, epoch=epoch)))

    @rule(owner=OWNERS, shard=SHARDS, epoch=EPOCHS)
    def fences(self, owner: str, shard: int, epoch: int) -> None:
        self.say(owner, shard, epoch, Fence(1, ((ShardId(shard), Epoch(epoch)),)))

    @rule(owner=OWNERS, number=NUMBERS, born=EPOCHS, epoch=EPOCHS)
    def revokes(self, owner: str, number: int, born: int, epoch: int) -> None:
        of = order(number, shard=number % 2, epoch=born)
        self.say(owner, of.shard, epoch, Revoke(of.run, of.shard, Epoch(epoch)))

    @rule(owner=OWNERS, number=NUMBERS, born=EPOCHS, epoch=EPOCHS)
    def cancels(self, owner: str, number: int, born: int, epoch: int) -> None:
        of = order(number, shard=number % 2, epoch=born)
        self.say(owner, of.shard, epoch, CancelRun(of.run, of.shard, Epoch(epoch)))

    @precondition(lambda self: self.unacknowledged)
    @rule(owner=OWNERS, epoch=EPOCHS, data=st.data())
    def acknowledges(self, owner: str, epoch: int, data: st.DataObject) -> None:
        of = data.draw(st.sampled_from(sorted(self.unacknowledged.values(), key=lambda o: o.run)))
        if owner in self.streams:
            self.say(owner, of.shard, epoch, acknowledge(of, epoch=epoch))
            if epoch >= self.highest[of.shard]:
                del self.unacknowledged[of.run]

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        of = data.draw(st.sampled_from(sorted(self.running.values(), key=lambda o: o.run)))
        del self.running[of.run]
        self.state.started(of.run, 1_000)
        self.state.ended(result(of))
        self.unacknowledged[of.run] = of

    @rule()
    def flushes(self) -> None:
        self.check(self.state.flush())

    @invariant()
    def no_result_is_forgotten(self) -> None:
        assert self.state.unacknowledged == len(self.unacknowledged)

    @invariant()
    def slots_are_never_exceeded(self) -> None:
        assert self.state.running == len(self.running) <= SLOTS
        assert 0 <= self.state.capacity().free <= SLOTS - len(self.running)


ExecutorMachine.TestCase.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None
)
TestExecutor = ExecutorMachine.TestCase
