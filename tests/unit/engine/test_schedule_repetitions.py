"""Requests about schedules that left no event: a late copy of what was answered changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.engine_world import SHARD, Call, Node, World
from tests.support.schedule_world import (
    ask,
    at,
    create_schedule,
    named,
    read_schedule,
    shown,
    update,
)
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import (
    BackfillSchedule,
    CreateSchedule,
    EndSchedule,
    PauseSchedule,
    RejectionReason,
    ResumeSchedule,
    ScheduleDone,
    StopBackfill,
    TriggerSchedule,
    UpdateSchedule,
)
from timeball_server.core.engine.repeating import MOST_TOLD
from timeball_server.core.ids import (
    KIND_SCHEDULE,
    SCHEDULES_MINUTE,
    Bucket,
    IdParts,
    TaskId,
    encode_id,
    home_of_name,
)
from timeball_server.core.model import ScheduleSpec

R = RejectionReason
WHOLE: dict[str, Any] = {"fields": None, "revision": None, "allow_missing": False}


def repeated(node: Node, kind: Any, schedule_id: TaskId, request_id: str, **fields: Any) -> Call:
    """A repetition arrives before what it repeats."""
    return ask(node, kind, schedule_id, request_id, resend=True, **fields)


def late(node: Node, call: Call) -> Call:
    """What it repeats arrives."""
    command: Any = call.command
    return node.ask(replace(command, resend=False), call.task_id)


def spec_of(call: Call, **fields: Any) -> ScheduleSpec:
    """The specification of the schedule that was created, changed."""
    assert isinstance(call.command, CreateSchedule)
    return replace(call.command.spec, **fields)


def test_an_update_that_changed_nothing_undoes_no_later_one() -> None:
    node = World().owner()
    created = create_schedule(node)
    schedule_id = created.task_id
    first = repeated(node, UpdateSchedule, schedule_id, "u", spec=spec_of(created), **WHOLE)
    assert shown(first).revision == 1
    assert shown(update(node, schedule_id, "v", every_ms=60_000)).revision == 2
    for _ in range(2):
        told = shown(late(node, first))
        assert (told.spec.every_ms, told.revision) == (60_000, 2)
    assert shown(update(node, schedule_id, "w")).spec.every_ms == 10_000


def test_a_pause_of_what_was_paused_holds_up_nothing_later_nor_does_a_resumption_hasten() -> None:
    node = World().owner()
    schedule_id = create_schedule(node).task_id
    resumed = repeated(node, ResumeSchedule, schedule_id, "r")
    ask(node, PauseSchedule, schedule_id, "p")
    assert shown(late(node, resumed)).paused is not None
    paused = repeated(node, PauseSchedule, schedule_id, "q")
    ask(node, ResumeSchedule, schedule_id, "s")
    assert shown(late(node, paused)).paused is None


def test_what_was_refused_stays_refused_though_it_could_be_done_by_then() -> None:
    world = World()
    node = world.owner()
    created = create_schedule(node)
    schedule_id = created.task_id
    world.run(25_000)
    span = {"from_ms": at(10), "to_ms": at(40), "backfill_id": "b"}
    begun = repeated(node, BackfillSchedule, schedule_id, "x", **span)
    stopped = repeated(node, StopBackfill, schedule_id, "y", backfill_id="b")
    ended_spec = spec_of(created, end_ms=at(20))
    words = {**WHOLE, "fields": ("end_ms",)}
    over = repeated(node, UpdateSchedule, schedule_id, "z", spec=ended_spec, **words)
    reasons = [R.PRECONDITION, R.NOT_FOUND, R.HORIZON]
    assert [each.refusal for each in (begun, stopped, over)] == reasons
    world.run(25_000)
    shown(ask(node, BackfillSchedule, schedule_id, "w", **span))
    assert [late(node, each).refusal for each in (begun, stopped, over)] == reasons
    (backfill,) = shown(read_schedule(node, schedule_id)).backfills
    assert backfill.next_ms is not None


def test_a_name_that_is_used_again_is_not_touched_by_what_was_meant_for_the_one_before() -> None:
    node = World().owner()
    schedule_id = named(node, "nightly").task_id
    shown(ask(node, EndSchedule, schedule_id, "e"))
    ended = ask(node, EndSchedule, schedule_id, "f")
    paused = repeated(node, PauseSchedule, schedule_id, "p")
    run = {"minute": minute_of(node.world.wall_ms), "unique": node.world.unique()}
    launched = repeated(node, TriggerSchedule, schedule_id, "t", **run)
    assert shown(ended).ended
    assert [paused.refusal, launched.refusal] == [R.PRECONDITION] * 2
    assert not shown(named(node, "nightly", "again")).ended
    assert not shown(node.ask(ended.command, schedule_id)).ended
    assert [late(node, each).refusal for each in (paused, launched)] == [R.PRECONDITION] * 2
    told = shown(read_schedule(node, schedule_id))
    assert (told.paused, told.recent) == (None, ())


def test_what_was_asked_of_nothing_is_not_done_to_what_is_created_later() -> None:
    node = World().owner()
    part, unique = home_of_name("shop", "nightly")
    home = Bucket(SCHEDULES_MINUTE, SHARD, part)
    schedule_id = encode_id(IdParts(home, unique, KIND_SCHEDULE))
    ended = ask(node, EndSchedule, schedule_id, "e")
    paused = repeated(node, PauseSchedule, schedule_id, "p")
    assert [ended.refusal, paused.refusal] == [R.NOT_FOUND] * 2
    assert not shown(named(node, "nightly")).ended
    assert node.ask(ended.command, schedule_id).refusal is R.NOT_FOUND
    assert late(node, paused).refusal is R.NOT_FOUND
    told = shown(read_schedule(node, schedule_id))
    assert (told.ended, told.paused) == (False, None)


def test_a_creation_that_was_refused_creates_nothing_when_the_name_is_free() -> None:
    node = World().owner()
    first = named(node, "nightly")
    assert isinstance(first.command, CreateSchedule)
    command = replace(first.command, request_id="d", resend=True)
    refused = node.ask(command, first.task_id)
    assert refused.refusal is R.VOIDED
    shown(ask(node, EndSchedule, first.task_id, "e"))
    assert late(node, refused).refusal is R.VOIDED
    assert shown(read_schedule(node, first.task_id)).ended


def test_only_repetitions_are_remembered_and_only_the_last_ones() -> None:
    node = World().owner()
    schedule_id = create_schedule(node).task_id
    told = node.engine.shards[SHARD].told
    ask(node, ResumeSchedule, schedule_id, "once")
    assert not told
    for number in range(MOST_TOLD + 3):
        repeated(node, ResumeSchedule, schedule_id, f"r{number}")
    assert len(told) == MOST_TOLD
    assert (schedule_id, "r2") not in told
    assert (schedule_id, "r3") in told


def test_r8_the_first_send_of_what_its_repetition_created_comes_late_and_creates_nothing() -> None:
    """Seed 439: its rows were written a second time, with another instant, which ended the node."""
    world = World()
    node = world.owner()
    world.run(60_000)
    created = create_schedule(node, every_ms=86_400_000, resend=True)
    assert isinstance(created.outcome, ScheduleDone)
    assert created.outcome.fresh
    world.run(300)
    assert created.task_id not in node.engine.shards[SHARD].tasks
    again = late(node, created).outcome
    assert isinstance(again, ScheduleDone)
    assert not again.fresh
    assert again.schedule == created.outcome.schedule
