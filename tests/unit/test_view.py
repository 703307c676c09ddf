"""The public view: states, attempts and the story, folded from journals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.ids import Bucket, Epoch, IdParts, Incarnation, Minute, NodeId, ShardId
from timeball_server.core.ids import encode_id as encode
from timeball_server.core.journal import (
    TERMINAL,
    TRANSITIONS,
    Alarm,
    EventKind,
    EventRef,
    EventRow,
    History,
    NoteDetail,
    OutcomeDetail,
    SpecDetail,
    State,
    fold,
    next_state,
)
from timeball_server.core.journal_text import instant_text
from timeball_server.core.model import Failure, FailureCause, Payload, PublicState, TaskSpec
from timeball_server.core.view import HIDDEN, HiddenTask, task_view

TASK = encode(IdParts(Bucket(Minute(7), ShardId(1)), bytes(range(16))))
SPEC = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge", priority=4)
RED = NodeId("executor-red")
BOOM = Failure(kind="ConnectionError", message="mail server said no")
CREATED = (EventKind.CREATED, {"due_ms": 5_000})
CLAIMED = (EventKind.CLAIMED, {"attempt": 1})
FAILED = OutcomeDetail(started_ms=5_004, ended_ms=5_050, failure=BOOM)
RETRY = (EventKind.RETRY, {"due_ms": 9_000, "priority": 5, "detail": FAILED})
DONE = (
    EventKind.SUCCEEDED,
    {"detail": OutcomeDetail(started_ms=9_003, ended_ms=9_010, result=Payload(data=b"1"))},
)
REFUSED = (EventKind.DEAD, {"detail": OutcomeDetail(cause=FailureCause.NON_RETRIABLE)})
Step = tuple[EventKind, dict[str, Any]]


def journal(*steps: Step, epoch: int = 3) -> History:
    """A journal of these events, each inheriting what it does not set."""
    rows: list[EventRow] = []
    state, spec_at = State.ABSENT, EventRef(1, Epoch(epoch))
    inherited: dict[str, Any] = {"attempt": 0, "priority": 4, "unaccounted": (), "revision": 1}
    alarm: Alarm | None = None
    for seq, (kind, given_values) in enumerate(steps, start=1):
        values = dict(given_values)
        state = next_state(state, kind)
        due_ms = values.pop("due_ms", None)
        alarm = alarm if due_ms is None else Alarm(due_ms, seq, Epoch(epoch))
        first = seq == 1
        detail = values.pop("detail", SpecDetail(spec=SPEC) if first else None)
        if isinstance(detail, SpecDetail):
            spec_at = EventRef(seq, Epoch(epoch))
        inherited |= values
        rows.append(
            EventRow(
                task_id=TASK,
                epoch=Epoch(epoch),
                seq=seq,
                kind=kind,
                state=state,
                alarm=alarm,
                run=None,
                executor=RED,
                incarnation=Incarnation(8),
                prev_epoch=Epoch(epoch),
                spec_at=spec_at,
                request_id="",
                at_ms=1_000 + seq,
                created_ms=1_001,
                actor="clerk",
                detail=detail,
                **inherited,
            )
        )
    history = fold(rows)
    assert history is not None
    return history


@pytest.mark.parametrize(
    ("steps", "expected", "cause"),
    [
        ([CREATED], PublicState.SCHEDULED, None),
        ([CREATED, CLAIMED], PublicState.SCHEDULED, None),
        ([CREATED, CLAIMED, (EventKind.RELEASED, {})], PublicState.SCHEDULED, None),
        ([CREATED, CLAIMED, RETRY], PublicState.RETRYING, None),
        ([CREATED, CLAIMED, RETRY, (EventKind.ADOPTED, {})], PublicState.RETRYING, None),
        ([CREATED, CLAIMED, RETRY, (EventKind.UPDATED, {})], PublicState.RETRYING, None),
        ([CREATED, CLAIMED, RETRY, CLAIMED], PublicState.SCHEDULED, None),
        ([CREATED, CLAIMED, DONE], PublicState.SUCCEEDED, None),
        ([CREATED, (EventKind.CANCELLED, {})], PublicState.CANCELLED, None),
        ([CREATED, (EventKind.TERMINATED, {})], PublicState.TERMINATED, None),
        ([CREATED, CLAIMED, (EventKind.LOST, {})], PublicState.FAILED, FailureCause.LOST),
        (
            [CREATED, (EventKind.DEAD, {"detail": OutcomeDetail(cause=FailureCause.EXPIRED)})],
            PublicState.FAILED,
            FailureCause.EXPIRED,
        ),
        (
            [CREATED, REFUSED, (EventKind.ADOPTED, {})],
            PublicState.FAILED,
            FailureCause.NON_RETRIABLE,
        ),
    ],
)
def test_public_states(
    steps: list[Step], expected: PublicState, cause: FailureCause | None
) -> None:
    view = task_view(journal(*steps))
    assert (view.state, view.cause) == (expected, cause)


def test_a_retried_task_tells_every_attempt() -> None:
    history = journal(CREATED, CLAIMED, RETRY, (EventKind.CLAIMED, {"attempt": 2}), DONE)
    view = task_view(history)
    first, second = view.attempts
    assert (first.number, first.outcome, first.failure, first.lateness_ms) == (1, "FAILED", BOOM, 4)
    assert (second.number, second.outcome, second.priority) == (2, "SUCCEEDED", 5)
    assert (second.due_ms, second.lateness_ms) == (9_000, 3)
    assert (view.due_ms, view.attempt, view.effective_priority) == (9_000, 2, 5)
    assert view.result == Payload(data=b"1")
    assert view.failure is None
    assert view.terminal


def test_an_attempt_in_hand_runs_when_the_owner_says_so() -> None:
    view = task_view(journal(CREATED, CLAIMED), started_ms=5_002)
    assert view.state is PublicState.RUNNING
    assert (view.attempts[-1].outcome, view.attempts[-1].lateness_ms) == ("RUNNING", 2)


@pytest.mark.parametrize("end", [RETRY, DONE, (EventKind.RELEASED, {})])
def test_an_old_start_does_not_make_a_task_run(end: Step) -> None:
    history = journal(CREATED, CLAIMED, end)
    assert task_view(history, started_ms=5_002) == task_view(history)


def test_a_superseded_claim_is_a_released_attempt() -> None:
    view = task_view(journal(CREATED, CLAIMED, (EventKind.UPDATED, {}), CLAIMED, CLAIMED))
    assert [attempt.outcome for attempt in view.attempts] == ["RELEASED", "RELEASED", "CLAIMED"]


def test_a_vanished_executor_makes_a_lost_attempt() -> None:
    retry = (EventKind.RETRY, {"due_ms": 9_000, "unaccounted": ("attempt 1 on executor-red",)})
    view = task_view(journal(CREATED, CLAIMED, retry, (EventKind.CANCELLED, {})))
    assert [attempt.outcome for attempt in view.attempts] == ["LOST"]
    assert view.unaccounted == ("attempt 1 on executor-red",)


def test_renewals_and_releases_do_not_move_the_due_time() -> None:
    renewed = (EventKind.RENEWED, {"due_ms": 600_000})
    released = (EventKind.RELEASED, {"due_ms": 600_001})
    assert task_view(journal(CREATED, CLAIMED, renewed, released)).due_ms == 5_000


def test_a_rescheduled_task_is_due_when_it_was_moved_to() -> None:
    assert task_view(journal(CREATED, (EventKind.RESCHEDULED, {"due_ms": 77}))).due_ms == 77


def test_an_update_replaces_the_specification() -> None:
    other = TaskSpec(namespace="shop", owner="clerk", handler="billing.refund")
    update = (EventKind.UPDATED, {"detail": SpecDetail(spec=other), "revision": 2})
    view = task_view(journal(CREATED, update, (EventKind.CANCELLED, {})))
    assert (view.spec, view.revision) == (other, 2)


@pytest.mark.parametrize("steps", [[(EventKind.VOID, {})], [CREATED, (EventKind.VOID, {})]])
def test_a_void_task_is_hidden(steps: list[Step]) -> None:
    with pytest.raises(HiddenTask, match="VOID"):
        task_view(journal(*steps))


def test_rows_off_the_chain_are_shown_as_not_accepted() -> None:
    old = journal(CREATED, (EventKind.CANCELLED, {}), epoch=3)
    new = journal(CREATED, CLAIMED, epoch=3).chain
    adopted = new[1].__class__(
        **{field: getattr(new[1], field) for field in new[1].__slots__} | {"epoch": Epoch(4)}
    )
    history = fold([*old.chain, adopted])
    assert history is not None
    view = task_view(history)
    assert view.state is PublicState.SCHEDULED
    assert [(entry.kind, entry.text.startswith("not accepted")) for entry in view.journal] == [
        ("CREATED", False),
        ("CANCELLED", True),
        ("CLAIMED", False),
    ]


def test_the_story_is_written_in_words() -> None:
    note = (EventKind.CANCELLED, {"detail": NoteDetail(text="customer called")})
    view = task_view(journal(CREATED, CLAIMED, RETRY, note))
    assert [entry.text for entry in view.journal] == [
        "created, due 1970-01-01T00:00:05.000Z, priority 4",
        "attempt 1 claimed for executor-red, priority 4",
        (
            "attempt 1 failed (ConnectionError: mail server said no); "
            "next one due 1970-01-01T00:00:09.000Z with priority 5"
        ),
        "cancelled: customer called",
    ]


@pytest.mark.parametrize("steps", [(CREATED,), (CREATED, CLAIMED, RETRY)])
def test_the_story_can_be_left_out(steps: tuple[Step, ...]) -> None:
    history = journal(*steps)
    brief = task_view(history, with_journal=False)
    assert brief.journal == ()
    assert replace(brief, journal=task_view(history).journal) == task_view(history)


@pytest.mark.parametrize(
    ("instant_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_007, "2023-11-14T22:13:20.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (10**18, "1000000000000000000 ms after 1970"),
    ],
)
def test_instants_are_written_in_utc(instant_ms: int, text: str) -> None:
    assert instant_text(instant_ms) == text


@given(st.data())
def test_every_legal_journal_has_a_view(data: st.DataObject) -> None:
    """Whatever the table allows can be shown, and the attempts never contradict the state."""
    state, kinds = State.ABSENT, []
    for _ in range(data.draw(st.integers(1, 12))):
        legal = sorted(kind for before, kind in TRANSITIONS if before is state)
        kinds.append(data.draw(st.sampled_from(legal)))
        state = next_state(state, kinds[-1])
    history = journal(*((kind, {}) for kind in kinds))
    if state in HIDDEN:
        return
    view = task_view(history, started_ms=5_001)
    assert view.terminal == (state in TERMINAL)
    assert len(view.journal) == len(kinds)
    open_attempts = [a for a in view.attempts if a.outcome in {"CLAIMED", "RUNNING"}]
    assert len(open_attempts) == (1 if state is State.CLAIMED else 0)
