"""The public view of a task: a pure fold of its journal, with its attempts and its story.

Owns the translation of journal states into public ones. What only an owner's memory knows
(that an attempt has begun) comes in as an argument. Must never decide what happens next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from timeball_server.core.journal import (
    CLAIMS,
    TERMINAL,
    EventKind,
    EventRow,
    History,
    OutcomeDetail,
    ProgressDetail,
    ScheduleDetail,
    SpecDetail,
    State,
)
from timeball_server.core.journal_text import event_view
from timeball_server.core.model import (
    AttemptView,
    EventView,
    FailureCause,
    Payload,
    Progress,
    PublicState,
    TaskSpec,
    TaskView,
)

HIDDEN: Final = frozenset({State.DELETED, State.VOID, State.ACTIVE, State.ENDED})
"""States in which there is no task to show: it does not exist for callers, or is a schedule."""

_PUBLIC: Final[Mapping[State, PublicState]] = MappingProxyType(
    {
        State.PENDING: PublicState.SCHEDULED,
        State.CLAIMED: PublicState.SCHEDULED,
        State.SUCCEEDED: PublicState.SUCCEEDED,
        State.DEAD: PublicState.FAILED,
        State.CANCELLED: PublicState.CANCELLED,
        State.TERMINATED: PublicState.TERMINATED,
        State.LOST: PublicState.FAILED,
    }
)

_SETS_DUE_TIME: Final = frozenset(
    {
        EventKind.CREATED,
        EventKind.BORN_CLAIMED,
        EventKind.RESCHEDULED,
        EventKind.RETRY,
    }
)
"""Other events may move the alarm, not the due time that lateness is measured from."""

_ATTEMPT_OUTCOMES: Final[Mapping[EventKind, str]] = MappingProxyType(
    {
        EventKind.UPDATED: "RELEASED",
        EventKind.RESCHEDULED: "RELEASED",
        EventKind.CLAIMED: "RELEASED",
        EventKind.RELEASED: "RELEASED",
        EventKind.RETRY: "FAILED",
        EventKind.SUCCEEDED: "SUCCEEDED",
        EventKind.DEAD: "FAILED",
        EventKind.CANCELLED: "CANCELLED",
        EventKind.TERMINATED: "CANCELLED",
        EventKind.LOST: "LOST",
        EventKind.VOID: "RELEASED",
    }
)
"""What an event makes of the attempt in hand; other events leave it alone."""


class HiddenTask(ValueError):
    """There is no task to show: deleted, voided, or the journal of a schedule."""


def task_view(
    history: History,
    started_ms: int | None = None,
    *,
    with_journal: bool = True,
    progress: Progress | None = None,
) -> TaskView:
    """What a reader sees of a task.

    Args:
        history: the task's journal, folded.
        started_ms: when the attempt in hand began by its executor's clock, if the owner knows;
            ignored unless an attempt is in hand.
        with_journal: tell the story in words; lists and acknowledgements do without.
        progress: of the attempt in hand, if the owner has heard of it.

    Raises:
        HiddenTask: the task is deleted or void, or this is a schedule.
    """
    head = history.head
    if head.state in HIDDEN:
        raise HiddenTask(f"task {head.task_id} is {head.state}")
    if head.kind is EventKind.CREATED and not with_journal and isinstance(head.detail, SpecDetail):
        return _created_view(head, head.detail.spec)
    running = head.state is State.CLAIMED and started_ms is not None
    outcome = _last_outcome(history.chain)
    return TaskView(
        task_id=head.task_id,
        spec=spec_of(history),
        state=PublicState.RUNNING if running else public_state(history),
        cause=_cause(head.state, outcome),
        due_ms=due_ms_of(history.chain),
        created_ms=head.created_ms,
        updated_ms=head.at_ms,
        revision=head.revision,
        attempt=head.attempt,
        effective_priority=head.priority,
        result=outcome.result if outcome and head.state is State.SUCCEEDED else None,
        failure=outcome.failure if outcome and head.state is not State.SUCCEEDED else None,
        attempts=_overlay(_attempts(history.chain), started_ms if running else None),
        journal=_journal(history) if with_journal else (),
        unaccounted=head.unaccounted,
        terminal=head.state in TERMINAL,
        progress=_progress(history.chain, progress),
    )


def _created_view(row: EventRow, spec: TaskSpec) -> TaskView:
    """The same for a task that was only created so far: the answer to most callers."""
    return TaskView(
        task_id=row.task_id,
        spec=spec,
        state=PublicState.SCHEDULED,
        cause=None,
        due_ms=row.created_ms if row.alarm is None else row.alarm.due_ms,
        created_ms=row.created_ms,
        updated_ms=row.at_ms,
        revision=row.revision,
        attempt=row.attempt,
        effective_priority=row.priority,
        result=None,
        failure=None,
        unaccounted=row.unaccounted,
    )


def public_state(history: History) -> PublicState:
    """The state that people see, without what only the owner's memory knows."""
    state = history.head.state
    if state is State.PENDING and any(row.kind is EventKind.RETRY for row in history.chain):
        return PublicState.RETRYING
    return _PUBLIC[state]


def spec_of(history: History) -> TaskSpec:
    """What the caller asked for, from the event that the head names.

    Raises:
        LookupError: the named event is not on the chain; the journal is damaged.
    """
    wanted = history.head.spec_at
    for row in history.chain:
        if (row.seq, row.epoch) == wanted and isinstance(row.detail, SpecDetail):
            return row.detail.spec
    raise LookupError(f"journal of {history.head.task_id} lacks its specification {wanted}")


def due_ms_of(chain: tuple[EventRow, ...]) -> int:
    """Due time of the attempt in hand or to come; of a finished task: of its last attempt."""
    return _due_times(chain)[-1]


def _due_times(chain: tuple[EventRow, ...]) -> list[int]:
    """The due time in force after each event."""
    due_ms = chain[0].created_ms
    times = []
    for row in chain:
        if row.kind in _SETS_DUE_TIME and row.alarm is not None:
            due_ms = row.alarm.due_ms
        times.append(due_ms)
    return times


def _last_outcome(chain: tuple[EventRow, ...]) -> OutcomeDetail | None:
    """How the last attempt that ended did so."""
    details = (row.detail for row in reversed(chain))
    return next((detail for detail in details if isinstance(detail, OutcomeDetail)), None)


def _progress(chain: tuple[EventRow, ...], heard: Progress | None) -> Progress | None:
    """How far the last attempt had come, as far as is known; of one that succeeded, nothing."""
    if chain[-1].state is State.SUCCEEDED or (heard is None and len(chain) == 1):
        return None
    if heard is None:
        said = (_said(row) for row in reversed(chain))
        heard = next((each for each in said if each is not None), None)
    if heard is None or heard.checkpoint is not None:
        return heard
    return replace(heard, checkpoint=checkpoint_of(chain))


def checkpoint_of(chain: Sequence[EventRow]) -> Payload | None:
    """The last checkpoint that the journal has."""
    for row in reversed(chain):
        progress = _said(row)
        if progress is not None and progress.checkpoint is not None:
            return progress.checkpoint
    return None


def _said(row: EventRow) -> Progress | None:
    detail = row.detail
    return detail.progress if isinstance(detail, OutcomeDetail | ProgressDetail) else None


def _cause(state: State, outcome: OutcomeDetail | None) -> FailureCause | None:
    if state is State.LOST:
        return FailureCause.LOST
    if state is not State.DEAD:
        return None
    return outcome.cause if outcome and outcome.cause else FailureCause.EXHAUSTED


def _attempts(chain: tuple[EventRow, ...]) -> tuple[AttemptView, ...]:
    """Every claim as an attempt, closed by the event that ended it."""
    attempts: list[AttemptView] = []
    in_hand = False
    for previous, row, due_ms in _with_previous(chain):
        if in_hand and row.kind in _ATTEMPT_OUTCOMES:
            attempts[-1] = _closed(attempts[-1], previous, row)
            in_hand = False
        if row.kind in CLAIMS:
            attempts.append(_claimed(row, due_ms))
            in_hand = True
    return tuple(attempts)


def _with_previous(
    chain: tuple[EventRow, ...],
) -> Iterator[tuple[EventRow, EventRow, int]]:
    """Each event with its predecessor (the first one with itself) and the due time in force."""
    return zip((chain[0], *chain), chain, _due_times(chain), strict=False)


def _claimed(row: EventRow, due_ms: int) -> AttemptView:
    if row.executor is None:
        raise LookupError(f"claim {row.seq} of {row.task_id} names no executor")
    return AttemptView(
        number=row.attempt,
        executor=row.executor,
        incarnation=row.incarnation,
        priority=row.priority,
        due_ms=due_ms,
        claimed_ms=row.at_ms,
    )


def _closed(attempt: AttemptView, previous: EventRow, row: EventRow) -> AttemptView:
    """The attempt as this event ended it; a longer list of the unaccounted means it vanished."""
    vanished = len(row.unaccounted) > len(previous.unaccounted)
    outcome = "LOST" if vanished else _ATTEMPT_OUTCOMES[row.kind]
    if not isinstance(row.detail, OutcomeDetail):
        return replace(attempt, outcome=outcome)
    return replace(
        attempt,
        outcome=outcome,
        started_ms=row.detail.started_ms,
        ended_ms=row.detail.ended_ms,
        failure=row.detail.failure,
    )


def _overlay(attempts: tuple[AttemptView, ...], started_ms: int | None) -> tuple[AttemptView, ...]:
    """Mark the attempt in hand as running."""
    if started_ms is None or not attempts:
        return attempts
    return (*attempts[:-1], replace(attempts[-1], started_ms=started_ms, outcome="RUNNING"))


def _journal(history: History) -> tuple[EventView, ...]:
    """Every entry in the order of (epoch, seq), which is the order of the chain."""
    entries = [(row, True) for row in history.chain]
    entries += [(row, False) for row in history.not_accepted]
    entries.sort(key=lambda entry: (entry[0].epoch, entry[0].seq))
    return tuple(event_view(row, accepted=accepted) for row, accepted in entries)


def known_spec(history: History) -> TaskSpec | None:
    """What was asked for first, as far as it can be read; namespace and owner never change."""
    for row in history.chain:
        if isinstance(row.detail, SpecDetail):
            return row.detail.spec
        if isinstance(row.detail, ScheduleDetail):
            return row.detail.spec.task
    return None
