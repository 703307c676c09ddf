"""What an executor accepts, answers and remembers, rule by rule (R11-R14)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.executor_words import (
    EXECUTOR,
    acknowledge,
    dispatch,
    hello,
    order,
    result,
    run_id,
)
from timeball_server.core.executor_runs import (
    REVOKE_ANSWERS,
    RUN_MOVES,
    CancelHandler,
    Effect,
    EndStream,
    IllegalMove,
    RefuseStream,
    RunMove,
    Send,
    StartRuns,
    StreamKey,
    StreamRefusal,
    next_phase,
)
from timeball_server.core.executor_state import ExecutorState
from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId
from timeball_server.core.messages import (
    CancelRun,
    Capacity,
    Fence,
    Finished,
    FromExecutor,
    Inventory,
    InventoryEntry,
    RefusalReason,
    Refused,
    Revoke,
    RevokeAnswer,
    RevokeReply,
    RunOrder,
    RunPhase,
    Started,
    StreamHello,
)

SHARD = ShardId(3)


def key(words: StreamHello) -> StreamKey:
    return StreamKey(words.owner, words.owner_incarnation, words.number)


S1 = key(hello(1))
S1_AGAIN = key(hello(2))
S2 = key(hello(1, owner="s2", process=8))


def executor(
    slots: int = 2, backlog: int = 1, unacknowledged: int = 100, blocked: int = 100
) -> ExecutorState:
    state = ExecutorState(
        incarnation=EXECUTOR,
        slots=slots,
        handlers=["echo"],
        backlog=backlog,
        unacknowledged=unacknowledged,
        blocked=blocked,
    )
    state.open_stream(hello(1))
    return state


def started(effects: list[Effect]) -> list[RunOrder]:
    return [o for effect in effects if isinstance(effect, StartRuns) for o in effect.orders]


def told(effects: list[Effect], to: StreamKey = S1) -> list[FromExecutor]:
    """Everything but capacity that is said on this stream."""
    sent = [e.message for e in effects if isinstance(e, Send) and e.stream == to]
    return [message for message in sent if not isinstance(message, Capacity)]


def run_to_the_end(state: ExecutorState, *orders: RunOrder, stream: StreamKey = S1) -> None:
    """Start and end these runs; what that says is lost."""
    assert started(state.receive(stream, dispatch(*orders))) == list(orders)
    for each in orders:
        state.started(each.run, 1_000)
        state.ended(result(each))
    state.flush()


def fence(epoch: int, number: int = 1, shard: int = SHARD) -> Fence:
    return Fence(number, ((ShardId(shard), Epoch(epoch)),))


def revoke(of: RunOrder, epoch: int | None = None) -> Revoke:
    return Revoke(of.run, of.shard, of.epoch if epoch is None else Epoch(epoch))


# The table --------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [None, *RunPhase])
@pytest.mark.parametrize("move", RunMove)
def test_every_pair_of_phase_and_move_is_a_row_or_refused(
    phase: RunPhase | None, move: RunMove
) -> None:
    if (phase, move) in RUN_MOVES:
        assert next_phase(phase, move) == RUN_MOVES[phase, move]
    else:
        with pytest.raises(IllegalMove, match=move):
            next_phase(phase, move)


def test_the_life_of_a_run_is_the_tables() -> None:
    life = [RunMove.ACCEPT, RunMove.START, RunMove.END, RunMove.ACKNOWLEDGE]
    phases: list[RunPhase | None] = [None]
    for move in life:
        phases.append(next_phase(phases[-1], move))
    assert phases == [None, RunPhase.ACCEPTED, RunPhase.RUNNING, RunPhase.FINISHED, None]
    assert len(RUN_MOVES) == len(life) + 1
    assert set(REVOKE_ANSWERS) == {None, *RunPhase}


# R11: named incarnation -------------------------------------------------------------------------


def test_r11_a_hello_to_another_incarnation_is_refused() -> None:
    state = executor()
    effects = state.open_stream(hello(2, executor=EXECUTOR + 1))
    assert effects == [RefuseStream(S1_AGAIN, StreamRefusal.OTHER_INCARNATION)]
    assert started(state.receive(S1, dispatch(order(1)))) == [order(1)]


def test_r11_a_dispatch_to_another_incarnation_is_refused_as_a_whole() -> None:
    state = executor()
    effects = state.receive(S1, dispatch(order(1, epoch=9), order(2), incarnation=EXECUTOR - 1))
    runs = ((order(1, epoch=9).run, SHARD), (run_id(2), SHARD))
    assert effects == [Send(S1, Refused(runs, RefusalReason.OTHER_INCARNATION, Epoch(0)))]
    assert started(state.receive(S1, dispatch(order(3, epoch=1)))) == [order(3, epoch=1)]


# R12: one numbered stream, results kept ---------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
def test_r12_a_stream_must_have_a_higher_number(number: int) -> None:
    state = executor()
    state.open_stream(hello(2))
    effects = state.open_stream(hello(number))
    assert effects == [RefuseStream(key(hello(number)), StreamRefusal.LOWER_NUMBER)]


def test_r12_a_number_stays_used_after_its_stream_has_ended() -> None:
    state = executor()
    state.stream_ended(S1)
    assert state.open_stream(hello(1)) == [RefuseStream(S1, StreamRefusal.LOWER_NUMBER)]


def test_r12_a_higher_number_ends_the_stream_and_its_messages_are_dropped() -> None:
    state = executor()
    effects = state.open_stream(hello(2))
    assert effects[0] == EndStream(S1)
    assert state.receive(S1, dispatch(order(1))) == []
    assert state.receive(S1, revoke(order(2))) == []
    assert started(state.receive(S1_AGAIN, dispatch(order(1), order(2)))) == [order(1), order(2)]


def test_r12_a_restarted_process_replaces_its_former_incarnation() -> None:
    state = executor()
    words = hello(1, process=70)
    assert state.open_stream(words)[0] == EndStream(S1)
    assert state.open_stream(hello(99)) == [
        RefuseStream(key(hello(99)), StreamRefusal.LOWER_NUMBER)
    ]


def test_r12_the_end_of_a_replaced_stream_does_not_end_the_newer_one() -> None:
    state = executor()
    state.open_stream(hello(2))
    state.stream_ended(S1)
    assert started(state.receive(S1_AGAIN, dispatch(order(1)))) == [order(1)]


def test_r12_a_duplicate_is_never_started_again() -> None:
    state = executor()
    assert started(state.receive(S1, dispatch(order(1), order(1)))) == [order(1)]
    assert state.receive(S1, dispatch(order(1))) == []
    state.started(run_id(1), 1_000)
    state.flush()
    assert started(state.receive(S1, dispatch(order(1)))) == []
    assert told(state.flush()) == [Started(((run_id(1), 1_000),))]
    state.ended(result(order(1)))
    state.flush()
    assert started(state.receive(S1, dispatch(order(1)))) == []
    assert told(state.flush()) == [Finished((result(order(1)),))]


def test_r12_a_result_is_kept_until_it_is_acknowledged() -> None:
    state = executor()
    run_to_the_end(state, order(1))
    for number in (2, 3):
        state.stream_ended(key(hello(number - 1)))
        again = state.open_stream(hello(number))
        assert told(again, key(hello(number))) == [Finished((result(order(1)),))]
    assert state.unacknowledged == 1
    assert state.receive(key(hello(3)), acknowledge(order(1))) == []
    assert told(state.open_stream(hello(4)), key(hello(4))) == []
    assert state.unacknowledged == 0


def test_r12_an_acknowledgement_of_a_lower_epoch_forgets_nothing() -> None:
    state = executor()
    run_to_the_end(state, order(1, epoch=5))
    effects = state.receive(S1, acknowledge(order(1, epoch=5), epoch=4))
    run = order(1, epoch=5).run
    assert told(effects) == [Refused(((run, SHARD),), RefusalReason.LOWER_EPOCH, Epoch(5))]
    assert state.unacknowledged == 1
    state.receive(S1, acknowledge(order(1, epoch=5), epoch=6))
    assert state.unacknowledged == 0


def test_r12_an_acknowledgement_of_a_running_or_unknown_run_changes_nothing() -> None:
    state = executor()
    state.receive(S1, dispatch(order(1)))
    assert state.receive(S1, acknowledge(order(1), order(2))) == []
    state.started(run_id(1), 1_000)
    state.ended(result(order(1)))
    assert Finished((result(order(1)),)) in told(state.flush())


def test_r12_an_acknowledged_run_does_not_start_again_when_it_is_repeated() -> None:
    state = executor()
    run_to_the_end(state, order(1))
    state.receive(S1, acknowledge(order(1)))
    over = Send(S1, RevokeReply(run_id(1), RevokeAnswer.FINISHED))
    assert state.receive(S1, dispatch(order(1))) == [over]
    assert state.receive(S1, revoke(order(1))) == [over]


def test_r12_what_happens_without_a_stream_is_said_on_the_next_one() -> None:
    state = executor()
    state.receive(S1, dispatch(order(1), order(2)))
    state.stream_ended(S1)
    state.started(run_id(1), 1_000)
    state.started(run_id(2), 1_001)
    state.ended(result(order(2)))
    assert told(state.flush()) == []
    assert told(state.open_stream(hello(2)), S1_AGAIN) == [
        Started(((run_id(1), 1_000),)),
        Finished((result(order(2)),)),
    ]


# R13: epochs and fences -------------------------------------------------------------------------


def test_r13_a_lower_epoch_is_refused_with_the_highest_seen() -> None:
    state = executor()
    state.receive(S1, fence(5))
    effects = state.receive(S1, dispatch(order(1, epoch=4), order(2, epoch=5)))
    lower = order(1, epoch=4)
    assert started(effects) == [order(2, epoch=5)]
    refused = Refused(((lower.run, SHARD),), RefusalReason.LOWER_EPOCH, Epoch(5))
    assert told(effects) == [refused]
    for message in (revoke(lower), CancelRun(lower.run, SHARD, Epoch(4))):
        assert told(state.receive(S1, message)) == [refused]


def test_r13_epochs_of_other_shards_do_not_matter() -> None:
    state = executor()
    state.receive(S1, fence(5, shard=4))
    assert started(state.receive(S1, dispatch(order(1, epoch=1)))) == [order(1, epoch=1)]


def test_r13_a_fence_answers_with_every_run_of_its_shards_and_moves_the_results() -> None:
    state = executor(slots=2, backlog=2)
    run_to_the_end(state, order(1))
    state.receive(S1, dispatch(order(2), order(3, shard=4), order(4)))
    state.started(run_id(2), 1_002)
    state.flush()
    state.open_stream(hello(1, owner="s2", process=8))
    effects = state.receive(S2, fence(2, number=77))
    entries = (
        InventoryEntry(run=run_id(1), shard=SHARD, phase=RunPhase.FINISHED, started_ms=1_000),
        InventoryEntry(run=run_id(2), shard=SHARD, phase=RunPhase.RUNNING, started_ms=1_002),
        InventoryEntry(run=run_id(4), shard=SHARD, phase=RunPhase.ACCEPTED),
    )
    assert told(effects, S2) == [Inventory(77, entries), Finished((result(order(1)),))]
    state.ended(result(order(2)))
    flushed = state.flush()
    assert told(flushed, S2) == [Finished((result(order(2)),))]
    assert told(flushed, S1) == []
    assert started(flushed) == [replace(order(4), epoch=Epoch(2))]


def test_r13_a_fence_below_the_highest_epoch_is_answered_with_it() -> None:
    state = executor()
    state.receive(S1, fence(5))
    effects = state.receive(S1, Fence(2, ((SHARD, Epoch(4)), (ShardId(9), Epoch(1)))))
    assert told(effects) == [Inventory(2, (), ((SHARD, Epoch(5)),))]


def test_r13_a_waiting_run_of_a_lower_epoch_starts_only_after_a_fence_has_shown_it() -> None:
    state = executor(slots=1, backlog=2)
    state.receive(S1, dispatch(order(1), order(2)))
    state.open_stream(hello(1, owner="s2", process=8))
    state.receive(S2, revoke(order(9, epoch=2)))
    state.started(run_id(1), 1_000)
    state.ended(result(order(1)))
    assert started(state.flush()) == []
    assert started(state.receive(S2, fence(2))) == [replace(order(2), epoch=Epoch(2))]


def test_r13_results_go_to_nobody_while_the_owner_is_another_process() -> None:
    state = executor()
    run_to_the_end(state, order(1))
    restarted = hello(1, process=70)
    assert told(state.open_stream(restarted), key(restarted)) == []
    effects = state.receive(key(restarted), fence(2))
    assert told(effects, key(restarted))[-1] == Finished((result(order(1)),))


# R14: revoke ------------------------------------------------------------------------------------


def test_r14_a_run_that_has_not_begun_is_given_back_for_good() -> None:
    state = executor(slots=1, backlog=1)
    state.receive(S1, dispatch(order(1), order(2)))
    given_back = [RevokeReply(run_id(2), RevokeAnswer.REVOKED)]
    assert told(state.receive(S1, revoke(order(2)))) == given_back
    assert told(state.receive(S1, revoke(order(2)))) == given_back
    assert state.receive(S1, dispatch(order(2))) == [Send(S1, given_back[0])]
    state.started(run_id(1), 1_000)
    state.ended(result(order(1)))
    assert started(state.flush()) == []


def test_r14_a_run_that_was_not_seen_never_starts() -> None:
    state = executor()
    not_seen = [RevokeReply(run_id(1), RevokeAnswer.NOT_SEEN)]
    assert told(state.receive(S1, revoke(order(1)))) == not_seen
    effects = state.receive(S1, dispatch(order(1), order(2)))
    assert (started(effects), told(effects)) == ([order(2)], not_seen)


def test_r14_a_run_that_has_begun_or_ended_says_so() -> None:
    state = executor()
    state.receive(S1, dispatch(order(1)))
    running = RevokeReply(run_id(1), RevokeAnswer.RUNNING)
    assert told(state.receive(S1, revoke(order(1)))) == [running]
    state.started(run_id(1), 1_000)
    assert told(state.receive(S1, revoke(order(1)))) == [replace(running, started_ms=1_000)]
    state.ended(result(order(1)))
    assert told(state.receive(S1, revoke(order(1)))) == [
        RevokeReply(run_id(1), RevokeAnswer.FINISHED, 1_000)
    ]


def test_r14_the_number_of_withdrawn_runs_in_memory_is_limited() -> None:
    state = executor(slots=9, blocked=2)
    for number in (1, 2, 3):
        state.receive(S1, revoke(order(number)))
    effects = state.receive(S1, dispatch(order(1), order(2), order(3)))
    assert started(effects) == [order(1)]


@pytest.mark.parametrize("terminate", [False, True])
def test_r14_a_cancellation_reaches_a_running_handler(terminate: bool) -> None:
    state = executor()
    state.receive(S1, dispatch(order(1)))
    message = CancelRun(run_id(1), SHARD, Epoch(1), terminate)
    assert state.receive(S1, message) == [CancelHandler(run_id(1), terminate)]
    assert state.receive(S1, replace(message, run=run_id(2))) == []


def test_r14_a_cancellation_of_a_waiting_run_withdraws_it() -> None:
    state = executor(slots=1, backlog=1)
    state.receive(S1, dispatch(order(1), order(2)))
    effects = state.receive(S1, CancelRun(run_id(2), SHARD, Epoch(1)))
    assert told(effects) == [RevokeReply(run_id(2), RevokeAnswer.REVOKED)]
    assert state.receive(S1, dispatch(order(2))) == [Send(S1, told(effects)[0])]


# Slots ------------------------------------------------------------------------------------------


def test_beyond_slots_and_backlog_runs_are_refused() -> None:
    state = executor(slots=2, backlog=1)
    effects = state.receive(S1, dispatch(*(order(n) for n in range(5))))
    assert started(effects) == [order(0), order(1)]
    refused = ((run_id(3), SHARD), (run_id(4), SHARD))
    assert told(effects) == [Refused(refused, RefusalReason.NO_FREE_SLOT, Epoch(1))]


def capacities(effects: list[Effect], to: StreamKey) -> list[Capacity]:
    sent = [e.message for e in effects if isinstance(e, Send) and e.stream == to]
    return [message for message in sent if isinstance(message, Capacity)]


def test_whoever_was_refused_hears_of_room_though_it_came_back_before_anything_was_said() -> None:
    state = executor(slots=1, backlog=0)
    state.open_stream(hello(1, owner="s2", process=8))
    state.receive(S1, dispatch(order(1)))
    state.receive(S2, dispatch(order(2, shard=4)))
    state.started(run_id(1), 1_000)
    state.ended(result(order(1)))
    (told_now,) = capacities(state.flush(), S2)
    assert told_now.free == 1


def test_results_that_fill_the_memory_leave_no_room_until_they_are_acknowledged() -> None:
    state = executor(slots=2, unacknowledged=2)
    run_to_the_end(state, order(1), order(2))
    assert state.capacity().free == 0
    state.receive(S1, acknowledge(order(1), order(2)))
    (told_now,) = capacities(state.flush(), S1)
    assert told_now.free == 2


def test_the_most_urgent_waiting_run_starts_first() -> None:
    state = executor(slots=1, backlog=3)
    later = order(2, priority=9, due_ms=2_000)
    sooner = order(3, priority=9, due_ms=1_000)
    orders = [order(1, priority=1), later, sooner]
    assert started(state.receive(S1, dispatch(order(0), *orders))) == [sooner]
    seen: list[RunOrder] = []
    for _ in range(3):
        state.ended(result(seen[-1] if seen else sooner))
        seen += started(state.flush())
    assert seen == [later, order(0), order(1, priority=1)]


def test_an_unknown_handler_is_refused_by_name_of_the_reason() -> None:
    effects = executor().receive(S1, dispatch(order(1, handler="other")))
    assert told(effects) == [
        Refused(((run_id(1), SHARD),), RefusalReason.UNKNOWN_HANDLER, Epoch(1))
    ]


def test_a_held_slot_is_free_only_when_the_handler_has_returned() -> None:
    state = executor(slots=1, backlog=1)
    state.receive(S1, dispatch(order(1), order(2)))
    state.ended(result(order(1)), slot_held=True)
    assert started(state.flush()) == []
    assert (state.capacity().free, state.running) == (0, 0)
    state.slot_released("echo")
    assert started(state.flush()) == [order(2)]


def test_too_many_unacknowledged_results_refuse_new_work() -> None:
    state = executor(slots=3, unacknowledged=2)
    run_to_the_end(state, order(1), order(2))
    effects = state.receive(S1, dispatch(order(3)))
    assert told(effects) == [Refused(((run_id(3), SHARD),), RefusalReason.NO_FREE_SLOT, Epoch(1))]
    state.receive(S1, acknowledge(order(1)))
    assert started(state.receive(S1, dispatch(order(3)))) == [order(3)]


def test_capacity_is_told_once_per_change_to_every_owner() -> None:
    state = executor(slots=2)
    state.open_stream(hello(1, owner="s2", process=8))
    state.flush()
    state.receive(S1, dispatch(order(1)))
    one_left = Capacity(slots=2, free=1)
    assert state.has_due()
    assert state.flush() == [Send(S1, one_left), Send(S2, one_left)]
    assert not state.has_due()
    assert state.flush() == []


def test_draining_hands_back_what_waits_and_finishes_what_runs() -> None:
    state = executor(slots=1, backlog=1)
    state.receive(S1, dispatch(order(1), order(2)))
    refused = Refused(((run_id(2), SHARD),), RefusalReason.DRAINING, Epoch(1))
    assert state.drain() == [
        Send(S1, refused),
        Send(S1, Capacity(slots=1, free=0, draining=True)),
    ]
    assert state.drain() == []
    effects = state.receive(S1, dispatch(order(3)))
    assert told(effects) == [replace(refused, runs=((run_id(3), SHARD),))]
    state.started(run_id(1), 1_000)
    state.ended(result(order(1)))
    assert Finished((result(order(1)),)) in told(state.flush())
    assert started(state.flush()) == []


def test_the_first_words_are_the_capacity() -> None:
    state = ExecutorState(incarnation=EXECUTOR, slots=8, handlers=["echo"], held=3)
    assert state.open_stream(hello(1))[0] == Send(S1, Capacity(slots=8, free=5))
    assert (S1.owner, S1.incarnation) == (NodeId("s1"), Incarnation(7))
