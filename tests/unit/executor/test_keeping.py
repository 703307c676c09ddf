"""Orders that come ahead of their instant: kept, counted, taken back, never begun too soon."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from executor_node.keeping import Keeper
from tests.support.executor_words import EXECUTOR, dispatch, hello, order, run_id
from timeball_server.core.executor_runs import Effect, KeepOrders, Send, StartRuns, StreamKey
from timeball_server.core.executor_state import ExecutorState
from timeball_server.core.ids import Epoch, ShardId
from timeball_server.core.messages import (
    CancelRun,
    Fence,
    FromExecutor,
    Inventory,
    RefusalReason,
    Refused,
    Revoke,
    RevokeAnswer,
    RevokeReply,
    RunId,
    RunOrder,
    RunPhase,
)
from timeball_server.ports.clock import Now

WORDS = hello(1)
S1 = StreamKey(WORDS.owner, WORDS.owner_incarnation, WORDS.number)


def executor(slots: int = 2) -> ExecutorState:
    state = ExecutorState(incarnation=EXECUTOR, slots=slots, handlers=["echo"], backlog=1)
    state.open_stream(WORDS)
    return state


def begun(effects: list[Effect]) -> list[RunOrder]:
    return [o for effect in effects if isinstance(effect, StartRuns) for o in effect.orders]


def said(effects: list[Effect]) -> list[FromExecutor]:
    return [effect.message for effect in effects if isinstance(effect, Send)]


def test_an_order_is_kept_until_it_is_ripe_and_others_go_on() -> None:
    state = executor()
    early, now = order(1, keep_ms=40), order(2)
    effects = state.receive(S1, dispatch(early, now))
    assert begun(effects) == [now]
    assert KeepOrders(((early.run, 40),)) in effects
    assert begun(state.flush()) == []
    assert begun(state.ripe([early.run])) == [early]


def test_a_kept_order_has_its_slot() -> None:
    state = executor(slots=2)
    state.receive(S1, dispatch(order(1, keep_ms=40)))
    assert state.capacity().free == 1
    state.receive(S1, dispatch(order(2), order(3), order(4)))
    assert state.capacity().free == 0


def test_a_kept_order_is_taken_back_and_never_begins() -> None:
    state = executor()
    revoked, cancelled = order(1, keep_ms=40), order(2, keep_ms=40)
    state.receive(S1, dispatch(revoked, cancelled))
    effects = state.receive(S1, Revoke(revoked.run, revoked.shard, revoked.epoch))
    effects += state.receive(S1, CancelRun(cancelled.run, cancelled.shard, cancelled.epoch))
    assert said(effects) == [
        RevokeReply(revoked.run, RevokeAnswer.REVOKED),
        RevokeReply(cancelled.run, RevokeAnswer.REVOKED),
    ]
    assert begun(state.ripe([revoked.run, cancelled.run])) == []
    assert begun(state.receive(S1, dispatch(revoked))) == [], "an order that came back late"


def test_the_next_owner_is_shown_what_is_kept_and_has_it_begin_in_its_epoch() -> None:
    state = executor()
    early = order(1, keep_ms=40)
    state.receive(S1, dispatch(early))
    words = hello(1, owner="s2", process=8)
    second = StreamKey(words.owner, words.owner_incarnation, words.number)
    state.open_stream(words)
    effects = state.receive(second, Fence(1, ((ShardId(3), Epoch(5)),)))
    inventory = next(each for each in said(effects) if isinstance(each, Inventory))
    assert [(entry.run, entry.phase) for entry in inventory.entries] == [
        (early.run, RunPhase.ACCEPTED)
    ]
    assert begun(effects) == []
    (started,) = begun(state.ripe([early.run]))
    assert (started.run, started.epoch) == (early.run, Epoch(5))


def test_what_is_ripe_under_an_old_epoch_waits_for_its_new_owner() -> None:
    state = executor()
    early, newer = order(1, keep_ms=40), order(2, epoch=5)
    state.receive(S1, dispatch(early, newer))
    assert begun(state.ripe([early.run])) == []
    assert begun(state.receive(S1, Fence(1, ((ShardId(3), Epoch(5)),))))[0].run == early.run


def test_a_drain_hands_back_what_is_kept() -> None:
    state = executor()
    early = order(1, keep_ms=40)
    state.receive(S1, dispatch(early))
    refused = [each for each in said(state.drain()) if isinstance(each, Refused)]
    assert refused == [Refused(((early.run, early.shard),), RefusalReason.DRAINING, early.epoch)]
    assert begun(state.ripe([early.run])) == []


# The timer --------------------------------------------------------------------------------------


@dataclass
class Timer:
    """A timer of the loop below."""

    at_s: float
    then: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Machine:
    """A clock that is read in whole milliseconds, and a loop whose timers may come a bit early."""

    def __init__(self, offset_ms: float, early_ms: float) -> None:
        self.real_ms = offset_ms
        self.timers: list[Timer] = []
        self.ripe: list[tuple[float, RunId]] = []
        self._early_ms = early_ms
        self.keeper = Keeper(self, self, self._note)  # type: ignore[arg-type]  # as much of a loop as it needs

    def now(self) -> Now:
        return Now(math.floor(self.real_ms), math.floor(self.real_ms))

    def call_later(self, delay_s: float, then: Callable[[], None]) -> Timer:
        assert delay_s >= 0.0005, "no timer under uvloop"
        timer = Timer(self.real_ms + delay_s * 1_000 - self._early_ms, then)
        self.timers.append(timer)
        return timer

    def pass_until(self, ms: float) -> None:
        """Time passes; timers come."""
        while waiting := [timer for timer in self.timers if not timer.cancelled]:
            first = min(waiting, key=lambda timer: timer.at_s)
            if first.at_s > ms:
                break
            self.real_ms = max(self.real_ms, first.at_s)
            self.timers.remove(first)
            first.then()
        self.real_ms = max(self.real_ms, ms)

    def _note(self, runs: object) -> None:
        assert isinstance(runs, list)
        self.ripe += [(self.real_ms, run) for run in runs]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 80)), min_size=1, max_size=30),
    st.floats(0, 0.999),
    st.floats(0, 0.6),
)
def test_each_run_is_ripe_once_and_never_before_its_time(
    arrivals: list[tuple[int, int]], offset_ms: float, early_ms: float
) -> None:
    machine = Machine(offset_ms, early_ms)
    least_ms: dict[RunId, float] = {}
    for number, (at_ms, keep_ms) in enumerate(sorted(arrivals)):
        machine.pass_until(at_ms + offset_ms)
        least_ms[run_id(number)] = machine.real_ms + keep_ms
        machine.keeper.keep([(run_id(number), keep_ms)])
    machine.pass_until(1_000)
    assert sorted(run for _, run in machine.ripe) == sorted(least_ms)
    for ripe_ms, run in machine.ripe:
        assert least_ms[run] <= ripe_ms <= least_ms[run] + 2


def test_what_is_forgotten_is_never_ripe() -> None:
    machine = Machine(0.5, 0.0)
    machine.keeper.keep([(run_id(1), 10)])
    machine.keeper.forget()
    machine.pass_until(100)
    assert machine.ripe == []


def test_runs_of_one_instant_take_one_timer() -> None:
    machine = Machine(0.5, 0.0)
    machine.keeper.keep([(run_id(n), 10) for n in range(5)])
    machine.keeper.keep([(run_id(n), 10) for n in range(5, 9)])
    assert len(machine.timers) == 1
    machine.pass_until(100)
    assert len({at_ms for at_ms, _ in machine.ripe}) == 1
