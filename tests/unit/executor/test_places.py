"""Caps by handler, where they are kept: on the executor, whoever sends."""

from __future__ import annotations

from dataclasses import replace

from tests.support.executor_words import EXECUTOR, acknowledge, dispatch, hello, order, result
from timeball_server.core.executor_runs import Effect, Send, StartRuns, StreamKey
from timeball_server.core.executor_state import ExecutorState
from timeball_server.core.messages import Capacity, RefusalReason, Refused, RunOrder

S1 = StreamKey(hello(1).owner, hello(1).owner_incarnation, 1)
S2_HELLO = hello(1, owner="s2", process=8)
S2 = StreamKey(S2_HELLO.owner, S2_HELLO.owner_incarnation, 1)


def capped(cap: int = 2, slots: int = 8, **values: object) -> ExecutorState:
    state = ExecutorState(
        incarnation=EXECUTOR,
        slots=slots,
        handlers=["echo", "other"],
        caps={"echo": cap},
        **values,  # type: ignore[arg-type]
    )
    state.open_stream(hello(1))
    state.open_stream(S2_HELLO)
    return state


def other(number: int) -> RunOrder:
    return replace(order(number), handler="other")


def started(effects: list[Effect]) -> list[RunOrder]:
    return [each for effect in effects if isinstance(effect, StartRuns) for each in effect.orders]


def refused(effects: list[Effect]) -> list[RefusalReason]:
    return [
        effect.message.reason
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Refused)
    ]


def capacities(effects: list[Effect]) -> list[tuple[StreamKey, tuple[str, ...]]]:
    return [
        (effect.stream, effect.message.full)
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Capacity)
    ]


def test_no_more_than_the_cap_run_at_once_and_the_next_one_follows() -> None:
    state = capped()
    assert started(state.receive(S1, dispatch(order(1), order(2), order(3)))) == [
        order(1),
        order(2),
    ]
    state.ended(result(order(1)))
    assert started(state.flush()) == [order(3)]


def test_what_waits_for_its_cap_lets_others_pass() -> None:
    state = capped()
    state.receive(S1, dispatch(order(1), order(2), order(3)))
    assert started(state.receive(S1, dispatch(other(4)))) == [other(4)]


def test_beyond_cap_and_backlog_the_handler_is_refused_and_no_other() -> None:
    state = capped()
    effects = state.receive(S1, dispatch(*[order(n) for n in range(1, 6)], other(6)))
    assert refused(effects) == [RefusalReason.HANDLER_FULL]
    assert started(effects) == [order(1), order(2), other(6)]


def test_every_owner_hears_which_handlers_are_full() -> None:
    state = capped()
    state.receive(S1, dispatch(order(1), order(2)))
    assert capacities(state.flush()) == [(S1, ("echo",)), (S2, ("echo",))]
    state.ended(result(order(1)))
    assert capacities(state.flush()) == [(S1, ()), (S2, ())]


def test_a_change_of_what_is_full_is_told_when_as_many_slots_are_free_as_before() -> None:
    """Otherwise an owner that was refused would wait for ever."""
    state = capped(slots=3)
    state.receive(S1, dispatch(order(1), order(2), other(3), other(4)))
    state.flush()
    state.ended(result(order(1)))
    assert started(state.flush()) == [other(4)]
    assert state.capacity() == Capacity(slots=3, free=0)
    state = capped(slots=3)
    state.receive(S1, dispatch(order(1), order(2), other(3), other(4)))
    state.flush()
    state.ended(result(order(1)))
    assert capacities(state.flush()) == [(S1, ()), (S2, ())]


def test_a_handler_that_was_given_up_keeps_its_place_until_it_returns() -> None:
    state = capped(cap=1)
    state.receive(S1, dispatch(order(1), order(2)))
    state.ended(result(order(1)), slot_held=True)
    assert started(state.flush()) == []
    state.slot_released("echo")
    assert started(state.flush()) == [order(2)]


def test_handlers_of_a_former_incarnation_keep_their_places() -> None:
    state = capped(held=1, held_of={"echo": 1})
    assert started(state.receive(S1, dispatch(order(1), order(2)))) == [order(1)]
    state.slot_released("echo")
    assert started(state.flush()) == [order(2)]


def test_a_withdrawn_run_gives_its_place_back() -> None:
    state = capped(cap=1)
    state.receive(S1, dispatch(order(1), order(2)))
    assert state.capacity().full == ("echo",)
    state.ended(result(order(1)))
    state.receive(S1, acknowledge(order(1)))
    state.drain()
    assert state.capacity().full == ()


def test_what_waits_for_its_cap_is_nothing_to_do() -> None:
    state = capped(cap=1)
    state.receive(S1, dispatch(order(1), order(2)))
    state.flush()
    assert not state.has_due()
