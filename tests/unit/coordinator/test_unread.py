"""What a coordinator says of tasks that a newer version wrote: never absent, never guessed."""

from __future__ import annotations

from dataclasses import replace

from timeball.errors import NewerVersionNeeded, TaskNotFound

from coordinator.hints import Hint
from coordinator.unread import marked, marked_schedule, refusal, unread
from tests.support.foreign_rows import foreign
from tests.support.store_worlds import START_MS, event, task
from timeball_server.core.ids import Epoch
from timeball_server.core.journal import EventKind, EventRef, SpecDetail
from timeball_server.core.model import PublicScheduleState, PublicState, TaskSpec

SPEC = TaskSpec(namespace="shop", owner="clerk", handler="charge")
CREATED = replace(event(task(1)), detail=SpecDetail(spec=SPEC))
NEWER = foreign(
    replace(event(task(1), seq=2, epoch=2, kind=EventKind.UPDATED), prev_epoch=Epoch(1))
)
HINT = Hint(at_ms=START_MS, task_id=task(1), handler="charge", is_of=lambda _: True)


def test_what_can_be_read_is_no_matter_of_this() -> None:
    assert unread([CREATED]) is None
    assert unread([]) is None
    assert marked_schedule(CREATED, "shop") is None


def test_a_row_off_the_chain_hides_nothing() -> None:
    stray = foreign(event(task(1), seq=9))
    later = Epoch(3)
    created = replace(CREATED, epoch=later, spec_at=EventRef(1, later))
    assert unread([created, stray]) is None


def test_a_journal_that_has_lost_its_specification_is_one_of_them() -> None:
    updated = replace(CREATED, seq=2, kind=EventKind.UPDATED, detail=None)
    assert unread([CREATED, updated]) is None
    history = unread([updated])
    assert history is not None
    assert isinstance(refusal(history, "shop"), NewerVersionNeeded)
    line = marked(history, HINT, "shop")
    assert line is not None
    assert line.state is PublicState.UNSPECIFIED


def test_its_own_namespace_hears_what_is_needed_and_another_one_nothing() -> None:
    history = unread([CREATED, NEWER])
    assert history is not None
    assert isinstance(refusal(history, "shop"), NewerVersionNeeded)
    assert isinstance(refusal(history, "bank"), TaskNotFound)
    assert marked(history, HINT, "bank") is None


def test_a_list_shows_it_with_what_can_be_read_and_without_a_state() -> None:
    history = unread([CREATED, NEWER])
    assert history is not None
    line = marked(history, HINT, "shop")
    assert line is not None
    assert (line.task_id, line.spec, line.state) == (task(1), SPEC, PublicState.UNSPECIFIED)
    assert (line.due_ms, line.terminal) == (START_MS, False)


def test_a_list_shows_what_cannot_be_read_at_all_by_its_hint() -> None:
    history = unread([foreign(CREATED)])
    assert history is not None
    line = marked(history, HINT, "shop", "clerk")
    assert line is not None
    assert (line.spec, line.state) == (SPEC, PublicState.UNSPECIFIED)


def test_a_schedule_is_shown_without_a_state_too() -> None:
    line = marked_schedule(NEWER, "shop")
    assert line is not None
    assert (line.schedule_id, line.state) == (task(1), PublicScheduleState.UNSPECIFIED)
    assert line.spec.task.namespace == "shop"
