"""The journal: every pair of the transition table, the head (R5), the chain and live hints (R6)."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.store_worlds import START_MS, due, event, task
from timeball_server.core.ids import Epoch
from timeball_server.core.journal import (
    CLOSED,
    TERMINAL,
    TRANSITIONS,
    Alarm,
    DueRow,
    EventKind,
    EventRow,
    IllegalEvent,
    State,
    fold,
    head_of,
    hint_is_live,
    next_state,
)

S, E = State, EventKind

# Written out again on purpose: a change of the machine must be made twice to pass.
ENDS = {
    E.DEAD: S.DEAD,
    E.CANCELLED: S.CANCELLED,
    E.TERMINATED: S.TERMINATED,
    E.VOID: S.VOID,
}
ENDED = {E.ADOPTED: None, E.DELETED: S.DELETED}
EXPECTED: dict[State, dict[EventKind, State | None]] = {
    S.ABSENT: {
        E.CREATED: S.PENDING,
        E.BORN_CLAIMED: S.CLAIMED,
        E.VOID: S.VOID,
        E.SCHEDULE_CREATED: S.ACTIVE,
    },
    S.PENDING: {
        **ENDS,
        E.UPDATED: S.PENDING,
        E.RESCHEDULED: S.PENDING,
        E.RENEWED: S.PENDING,
        E.CLAIMED: S.CLAIMED,
        E.ADOPTED: None,
    },
    S.CLAIMED: {
        **ENDS,
        E.UPDATED: S.PENDING,
        E.RESCHEDULED: S.PENDING,
        E.RELEASED: S.PENDING,
        E.RETRY: S.PENDING,
        E.RENEWED: S.CLAIMED,
        E.CLAIMED: S.CLAIMED,
        E.SUCCEEDED: S.SUCCEEDED,
        E.LOST: S.LOST,
        E.ADOPTED: None,
    },
    S.SUCCEEDED: ENDED,
    S.DEAD: ENDED,
    S.CANCELLED: ENDED,
    S.TERMINATED: ENDED,
    S.LOST: ENDED,
    S.DELETED: {E.ADOPTED: None},
    S.VOID: {E.ADOPTED: None, E.SCHEDULE_CREATED: S.ACTIVE},
    S.ACTIVE: {
        E.TICK: S.ACTIVE,
        E.SCHEDULE_UPDATED: S.ACTIVE,
        E.SCHEDULE_PAUSED: S.ACTIVE,
        E.SCHEDULE_RESUMED: S.ACTIVE,
        E.TRIGGERED: S.ACTIVE,
        E.BACKFILL_BEGUN: S.ACTIVE,
        E.BACKFILLED: S.ACTIVE,
        E.BACKFILL_STOPPED: S.ACTIVE,
        E.LOOKED: S.ACTIVE,
        E.LAST_TICK: S.ENDED,
        E.SCHEDULE_ENDED: S.ENDED,
        E.VOID: S.VOID,
        E.ADOPTED: None,
    },
    S.ENDED: {E.ADOPTED: None, E.SCHEDULE_CREATED: S.ACTIVE},
    S.UNREADABLE: {},
}
PAIRS = list(product(State, EventKind))


# -- the machine


@pytest.mark.parametrize(("state", "kind"), PAIRS, ids=lambda value: value.value)
def test_every_pair_is_allowed_or_refused_as_written(state: State, kind: EventKind) -> None:
    row = EXPECTED[state]
    if kind in row:
        assert next_state(state, kind) is (row[kind] or state)
    else:
        with pytest.raises(IllegalEvent, match=f"{kind} is not possible in state {state}") as no:
            next_state(state, kind)
        assert (no.value.state, no.value.kind) == (state, kind)


def test_the_table_has_no_other_rows() -> None:
    assert set(TRANSITIONS) == {(state, kind) for state, row in EXPECTED.items() for kind in row}


def test_work_that_is_over_stays_over_but_a_schedule_may_be_made_anew_under_its_name() -> None:
    for (state, kind), target in TRANSITIONS.items():
        if kind is E.SCHEDULE_CREATED:
            assert target is State.ACTIVE
            continue
        if state in TERMINAL:
            assert target in {state, State.DELETED}, (state, kind)
        if state in CLOSED:
            assert target in CLOSED, (state, kind)


def test_every_state_can_be_reached_and_every_event_can_happen() -> None:
    reached = {State.ABSENT}
    for _ in State:
        reached |= {target for (state, _), target in TRANSITIONS.items() if state in reached}
    assert reached == set(State) - {State.UNREADABLE}
    assert {kind for _, kind in TRANSITIONS} == set(EventKind) - {E.UNREADABLE}


def test_only_closed_states_have_no_way_on_but_adoption_and_a_new_schedule() -> None:
    for state in set(State) - {State.UNREADABLE}:
        kinds = {kind for start, kind in TRANSITIONS if start is state}
        assert (kinds <= {E.ADOPTED, E.DELETED, E.SCHEDULE_CREATED}) == (state in CLOSED)


# -- head and chain


EPOCHS = st.integers(1, 6)
KEYS = st.tuples(EPOCHS, st.integers(1, 9))


@st.composite
def chains(draw: st.DrawFn) -> list[EventRow]:
    """A journal as owners write it: one event after the other, the epoch never falls."""
    epochs = sorted(draw(st.lists(EPOCHS, min_size=1, max_size=9)))
    rows = []
    for position, epoch in enumerate(epochs):
        previous = Epoch(epochs[position - 1]) if position else Epoch(0)
        rows.append(replace(event(task(1), position + 1, epoch), prev_epoch=previous))
    return rows


def late_rows(chain: list[EventRow], keys: list[tuple[int, int]]) -> list[EventRow]:
    """Rows of epochs below the head's that landed late: never part of what was built on."""
    taken = {(row.epoch, row.seq) for row in chain}
    head_epoch = chain[-1].epoch
    free = {(epoch, seq) for epoch, seq in keys if epoch < head_epoch} - taken
    return [event(task(1), seq, epoch, E.CANCELLED) for epoch, seq in sorted(free)]


@given(keys=st.lists(KEYS, max_size=12), seed=st.integers())
def test_the_head_has_the_greatest_epoch_and_seq(keys: list[tuple[int, int]], seed: int) -> None:
    """Rule R5: whatever the order of arrival."""
    rows = [event(task(1), seq, epoch) for epoch, seq in keys]
    random.Random(seed).shuffle(rows)
    head = head_of(rows)
    assert (None if head is None else (head.epoch, head.seq)) == max(keys, default=None)


@given(chain=chains(), keys=st.lists(KEYS, max_size=12), seed=st.integers())
def test_late_rows_of_lower_epochs_stay_off_the_chain(
    chain: list[EventRow], keys: list[tuple[int, int]], seed: int
) -> None:
    """Rules R5 and R17: what the head was built on is the history, the rest is shown apart."""
    late = late_rows(chain, keys)
    rows = [*chain, *late, *chain[:2], *late[:2]]
    random.Random(seed).shuffle(rows)
    history = fold(rows)
    assert history is not None
    assert history.head == chain[-1] == head_of(rows)
    assert history.chain == tuple(chain)
    assert history.not_accepted == tuple(late)


@given(keys=st.lists(KEYS, min_size=1, max_size=12), seed=st.integers())
def test_the_fold_keeps_every_row_once(keys: list[tuple[int, int]], seed: int) -> None:
    rng = random.Random(seed)
    rows = [
        replace(event(task(1), seq, epoch), prev_epoch=Epoch(rng.randint(0, epoch)))
        for epoch, seq in keys
    ]
    history = fold(rows)
    assert history is not None
    shown = [*history.chain, *history.not_accepted]
    assert len(shown) == len(set(keys))
    assert {(row.epoch, row.seq) for row in shown} == set(keys)
    for before, after in zip(history.chain, history.chain[1:], strict=False):
        assert (before.epoch, before.seq) == (after.prev_epoch, after.seq - 1)


def test_an_empty_journal_has_no_history() -> None:
    assert fold([]) is None
    assert head_of([]) is None


def test_a_chain_ends_at_a_gap() -> None:
    rows = [event(task(1), seq, 1) for seq in (1, 3, 4)]
    history = fold(rows)
    assert history is not None
    assert [row.seq for row in history.chain] == [3, 4]
    assert [row.seq for row in history.not_accepted] == [1]


def test_a_late_row_cannot_rewrite_what_an_event_was_built_on() -> None:
    """Rule R5, hole H2: (3,1) was read and built on, then (3,2) lands."""
    rows = [event(task(1), seq, 1) for seq in (1, 2, 3)]
    answer = replace(event(task(1), 4, 3), prev_epoch=Epoch(1))
    late = event(task(1), 3, 2, E.CANCELLED)
    history = fold([*rows, answer, late])
    assert history is not None
    assert history.chain == (*rows, answer)
    assert history.not_accepted == (late,)


def test_a_higher_epoch_beats_a_higher_seq() -> None:
    """Rule R5, hole H7: an owner that knew less wrote less, and yet it is the one to believe."""
    old = [event(task(1), seq, 1) for seq in (1, 2, 3, 4)]
    adopted = replace(event(task(1), 2, 2, E.ADOPTED), prev_epoch=Epoch(1))
    history = fold([*old, adopted])
    assert history is not None
    assert history.head == adopted
    assert history.chain == (old[0], adopted)
    assert history.not_accepted == tuple(old[1:])


# -- live hints


LIVE = [state for state in State if state not in CLOSED and state is not State.ABSENT]


@pytest.mark.parametrize("state", [state for state in State if state is not State.ABSENT])
def test_a_hint_lives_only_while_its_task_is_open(state: State) -> None:
    """Rule R6: a task that is over has no alarm, whatever its head still names."""
    head = replace(event(task(1)), state=state)
    assert hint_is_live(due(task(1)), head) == (state in LIVE)


@pytest.mark.parametrize(
    "hint",
    [
        due(task(1), START_MS + 1),
        due(task(1), START_MS - 1),
        due(task(1), seq=2),
        due(task(1), epoch=2),
        due(task(1), seq=0),
    ],
)
@pytest.mark.parametrize("state", LIVE)
def test_a_hint_lives_only_if_all_its_numbers_are_the_alarm_s(hint: DueRow, state: State) -> None:
    """Rule R6, hole H4: a replaced alarm of an older owner has the same seq, not the same epoch."""
    head = replace(event(task(1)), state=state)
    assert hint_is_live(due(task(1)), head)
    assert not hint_is_live(hint, head)


def test_a_claim_does_not_kill_the_hint() -> None:
    """Rule R6, hole H3: CLAIMED raises the seq, the alarm stays, so a take-over finds the run."""
    claimed = replace(event(task(1), 2, kind=E.CLAIMED), state=State.CLAIMED)
    assert claimed.alarm == Alarm(START_MS, 1, Epoch(1))
    assert hint_is_live(due(task(1)), claimed)


def test_a_hint_without_a_journal_or_an_alarm_is_dead() -> None:
    assert not hint_is_live(due(task(1)), None)
    assert not hint_is_live(due(task(1)), replace(event(task(1)), alarm=None))
