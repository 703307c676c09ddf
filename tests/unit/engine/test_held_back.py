"""A task of which a newer version wrote something: held back, and everything else goes on.

Nothing of it is started, written, acknowledged or removed; no watermark passes its hint; whoever
asks hears why. A node that can read it goes on with it, and so does this one if it can later.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_revisions import reschedule
from tests.support.engine_world import SHARD, START_MS, Node, World
from tests.support.explanations import blocking
from tests.support.foreign_rows import NEWER, lose, mend, spoil
from tests.support.schedule_world import (
    at,
    create_schedule,
    end_schedule,
    read_schedule,
    run_id,
    verdicts,
)
from tests.support.store_worlds import Columns
from timeball_server.core.buckets import MINUTE_MS, minute_of
from timeball_server.core.commands import RejectionReason, RescheduleTask
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.holding import LOOK_AGAIN, MOST_TOLD
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.explanation import BlockingCause
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import EventKind, EventRow, State
from timeball_server.core.model import PublicState

NEEDED = RejectionReason.NEWER_VERSION
UNKNOWN_DETAIL: Columns = {"detail": b"\x92\xa6freeze\x80"}
"""The pair ["freeze", {}]: a detail of a kind that this version does not know."""


def spoilt(world: World, columns: Columns = NEWER) -> tuple[TaskId, EventRow]:
    """A task that an owner of a newer version left, due in ten seconds, and what would mend it.

    That owner is gone.
    """
    first = world.owner()
    task_id = first.create(in_ms=10_000).task_id
    first.frozen = True
    return task_id, spoil(world.disk, task_id, columns)


def left_behind(world: World, columns: Columns = NEWER) -> TaskId:
    """Such a task."""
    return spoilt(world, columns)[0]


def held(node: Node) -> set[TaskId]:
    return set(node.engine.shards[SHARD].unreadable)


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"kind": "FROZEN"}, id="unknown kind"),
        pytest.param({"state": "FROZEN"}, id="unknown state"),
        pytest.param(UNKNOWN_DETAIL, id="unknown detail"),
        pytest.param({"detail": b"\x92\xa4spec\x81\xa4spec\x80"}, id="a field is missing"),
        pytest.param({"detail": b"\x93\xa4spec\x02\x80"}, id="a newer format"),
        pytest.param({"kind": None}, id="no kind"),
        pytest.param({"unaccounted": "no list"}, id="another type"),
    ],
)
def test_what_cannot_be_read_is_not_started_and_the_others_are(columns: Columns) -> None:
    world = World()
    executor = ScriptedExecutor(world)
    task_id = left_behind(world, columns)
    node = world.owner()
    other = node.create(in_ms=10_000)
    world.run(MINUTE_MS)
    assert [order.run.task_id for order in executor.orders] == [other.task_id]
    assert held(node) == {task_id}
    assert len(world.disk.rows(task_id)) == 1


def test_whoever_asks_is_told_what_is_needed_and_nothing_is_written() -> None:
    world = World()
    task_id = left_behind(world)
    node = world.owner()
    for in_memory in (True, False):  # read with its hint, or only because somebody asks
        answers = [node.read(task_id), node.cancel(task_id), node.wait(task_id)]
        assert [each.refusal for each in answers] == [NEEDED] * 3
        assert held(node) == ({task_id} if in_memory else set())
        reason = blocking(node, task_id, BlockingCause.NEWER_VERSION_NEEDED)
        assert "event 1 of epoch" in reason.sentence
        assert reason.since_ms == START_MS
        if in_memory:
            node.engine.shards[SHARD].unreadable.clear()
    assert node.task(task_id) is None
    assert len(world.disk.rows(task_id)) == 1


def test_a_repeated_creation_neither_makes_a_second_task_nor_says_that_there_is_none() -> None:
    world = World()
    first = world.owner()
    call = first.create(in_ms=10_000)
    first.frozen = True
    spoil(world.disk, call.task_id)
    node = world.owner()
    assert node.repeat(call).refusal is NEEDED
    assert node.repeat(call).refusal is NEEDED
    assert len(world.disk.rows(call.task_id)) == 1


def test_another_namespace_hears_of_nothing_where_it_can_be_told() -> None:
    world = World()
    first = world.owner()
    task_id = first.create(in_ms=10_000).task_id
    first.cancel(task_id)
    first.frozen = True
    spoil(world.disk, task_id)
    node = world.owner()
    for _ in range(2):
        assert node.read(task_id, namespace="bank").refusal is RejectionReason.NOT_FOUND
        assert node.read(task_id).refusal is NEEDED
        node.engine.shards[SHARD].unreadable.clear()


def test_an_event_in_the_middle_of_an_open_journal_holds_it_back_too() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    task_id = first.create(in_ms=10_000).task_id
    spoil(world.disk, task_id)
    first.cancel(task_id)
    first.frozen = True
    row = world.disk.rows(task_id)[-1]
    assert row.kind is EventKind.CANCELLED
    node = world.owner()
    assert held(node) == set()  # its head says that it is over
    assert node.read(task_id).refusal is NEEDED
    node.frozen = True
    spoil(world.disk, task_id, {"kind": "RESCHEDULED", "state": "PENDING"})
    node = world.owner()
    assert held(node) == {task_id}
    world.run(MINUTE_MS)
    assert executor.orders == []


def test_r18_no_watermark_passes_its_hint_and_those_before_it_are_passed() -> None:
    world = World()
    node = world.owner()
    task_id = node.create(in_ms=2 * MINUTE_MS).task_id
    node.frozen = True
    spoil(world.disk, task_id)
    node = world.owner()
    world.run(6 * MINUTE_MS)
    assert world.disk.scan_from[SHARD] == minute_of(START_MS) + 2
    sweeps = [each for each in node.log if isinstance(each, fx.SweepBucket)]
    again = [each for each in sweeps if each.minute == minute_of(START_MS) + 2]
    assert len(again) == 1
    world.run(LOOK_AGAIN * EngineConfig().sweep_every_ms)
    sweeps = [each for each in node.log if isinstance(each, fx.SweepBucket)]
    assert len([each for each in sweeps if each.minute == minute_of(START_MS) + 2]) == 2
    assert world.disk.scan_from[SHARD] == minute_of(START_MS) + 2


def test_r18_the_first_of_its_hints_counts_because_nobody_knows_which_is_live() -> None:
    world = World()
    node = world.owner()
    task_id = node.create(in_ms=10_000).task_id
    command = RescheduleTask(
        task_id=task_id,
        namespace="shop",
        due_ms=START_MS + 3 * MINUTE_MS,
        revision=None,
        request_id="later",
        actor="clerk",
    )
    node.ask(command, task_id)
    node.frozen = True
    spoil(world.disk, task_id)
    node = world.owner()
    world.run(4 * MINUTE_MS)
    assert node.engine.shards[SHARD].unreadable[task_id].minute == minute_of(START_MS)
    assert world.disk.scan_from[SHARD] == minute_of(START_MS)


def test_a_node_that_can_read_it_goes_on_with_it() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    task_id, row = spoilt(world)
    old = world.owner()
    world.run(10 * MINUTE_MS)
    old.frozen = True
    mend(world.disk, row)
    newer = world.owner()
    assert [order.run.task_id for order in executor.orders] == [task_id]
    executor.succeeds(executor.last)
    assert newer.read(task_id).view.state is PublicState.SUCCEEDED


def test_what_can_be_read_later_goes_on_here_and_is_not_taken_for_never_acknowledged() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    task_id, row = spoilt(world)
    node = world.owner()
    world.run(2 * MINUTE_MS)
    assert executor.orders == []
    mend(world.disk, row)
    world.run(LOOK_AGAIN * EngineConfig().sweep_every_ms + MINUTE_MS)
    assert [order.run.task_id for order in executor.orders] == [task_id]
    assert EventKind.VOID not in world.disk.kinds(task_id)
    assert node.engine.counters.late_found == 0
    executor.succeeds(executor.last)
    world.run(LOOK_AGAIN * EngineConfig().sweep_every_ms)
    assert held(node) == set()
    assert world.disk.scan_from[SHARD] > minute_of(START_MS)


def test_what_only_a_sweep_finds_is_held_back_as_well() -> None:
    world = World()
    first = world.owner()
    second = world.owner()
    first.frozen = False
    first.hold_writes = True
    task_id = first.create(in_ms=20_000).task_id
    first.land_unheard()
    first.frozen = True
    spoil(world.disk, task_id)
    world.run(3 * MINUTE_MS)
    assert held(second) == {task_id}
    assert world.disk.scan_from[SHARD] == minute_of(START_MS)
    assert second.engine.counters.voided == 0


def test_r19_its_bucket_is_not_removed() -> None:
    world = World()
    world.disk.deleted_below[SHARD] = minute_of(START_MS)
    task_id = left_behind(world)
    config = EngineConfig(retention_ms=5 * MINUTE_MS, removal_every_ms=10_000)
    world.owner(config)
    world.run(30 * MINUTE_MS)
    assert len(world.disk.rows(task_id)) == 1
    assert world.disk.deleted_below[SHARD] == minute_of(START_MS)


def test_r12_the_result_of_its_run_stays_with_the_executor() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    task_id = first.create(in_ms=1_000).task_id
    world.run(2_000)
    first.frozen = True
    row = spoil(world.disk, task_id)
    old = world.owner()
    assert row.state is State.CLAIMED
    kept = dict(executor.known)
    executor.succeeds(executor.last)
    assert executor.acknowledged == []
    executor.known = kept  # a result that nobody acknowledged stays in the inventory
    old.frozen = True
    mend(world.disk, row)
    newer = world.owner()
    executor.succeeds(executor.last)
    assert executor.acknowledged == [task_id]
    assert newer.read(task_id).view.state is PublicState.SUCCEEDED
    assert len(executor.orders) == 1


def test_a_schedule_that_cannot_be_read_decides_nothing_and_goes_on_where_it_was() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    schedule_id = create_schedule(first).task_id
    first.frozen = True
    row = spoil(world.disk, schedule_id)
    old = world.owner()
    world.run(35_000)
    assert executor.orders == []
    assert read_schedule(old, schedule_id).refusal is NEEDED
    assert end_schedule(old, schedule_id).refusal is NEEDED
    assert verdicts(world, schedule_id) == {}
    old.frozen = True
    mend(world.disk, row)
    world.owner()
    world.run(10_000)
    assert [order.run.task_id for order in executor.orders][-1] == run_id(schedule_id, at(40))


def test_a_schedule_whose_run_cannot_be_read_decides_nothing_either() -> None:
    """Rule S3: what an earlier owner launched must be known before the next one is decided."""
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    schedule_id = create_schedule(first).task_id
    world.run(12_000)
    run = run_id(schedule_id, at(10))
    first.frozen = True
    row = spoil(world.disk, run)
    old = world.owner()
    orders = len(executor.orders)
    world.run(30_000)
    assert len(executor.orders) == orders
    assert read_schedule(old, schedule_id).refusal is NEEDED
    assert run in blocking(old, schedule_id, BlockingCause.NEWER_VERSION_NEEDED).sentence
    old.frozen = True
    mend(world.disk, row)
    newer = world.owner()
    world.run(10_000)
    assert len(executor.orders) > orders
    assert newer.read(run).view.state is not PublicState.FAILED


def test_they_are_told_of_one_by_one_only_at_first() -> None:
    world = World()
    first = world.owner()
    tasks = [first.create(in_ms=10_000).task_id for _ in range(MOST_TOLD + 5)]
    first.frozen = True
    for task_id in tasks:
        spoil(world.disk, task_id)
    node = world.owner()
    told = [each for each in node.log if isinstance(each, fx.HeldBack)]
    assert len(told) == MOST_TOLD
    assert held(node) == set(tasks)
    assert {each.task_id for each in told} < set(tasks)


def test_what_has_an_id_of_an_unknown_kind_holds_its_bucket_and_nothing_else() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(in_ms=10_000)
    first.frozen = True
    (hint,) = world.disk.hints(minute_of(START_MS), SHARD, 0, 2**62)
    foreign = replace(hint, task_id=TaskId("0z" + hint.task_id[2:]))
    node = world.owner()
    shard = node.engine.shards[SHARD]
    sweep = ev.BucketSwept(
        shard=SHARD,
        epoch=shard.epoch,
        minute=minute_of(START_MS),
        hints=(),
        journals={},
        foreign=(foreign,),
    )
    shard.sweeping = minute_of(START_MS)
    node.feed(sweep)
    assert held(node) == {foreign.task_id}
    assert node.engine.shards[SHARD].sweeping is None
    assert shard.swept_below == minute_of(START_MS)
    world.run(20_000)
    assert [order.run.task_id for order in executor.orders] == [call.task_id]


def left_damaged(world: World, executor: ScriptedExecutor | None = None) -> tuple[TaskId, EventRow]:
    """A task whose last events can be read and whose first one, its specification, is gone."""
    first = world.owner()
    task_id = first.create(in_ms=10_000).task_id
    if executor is not None:
        world.run(10_500)
        executor.succeeds(executor.last)
    else:
        reschedule(first, task_id, 20_000)
    first.frozen = True
    return task_id, lose(world.disk, task_id)


def test_a_journal_without_its_specification_is_held_back_and_the_others_go_on() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    task_id, row = left_damaged(world)
    node = world.owner()
    other = node.create(in_ms=10_000)
    for in_memory in (True, False):
        answers = [node.read(task_id), node.cancel(task_id), node.wait(task_id)]
        assert [each.refusal for each in answers] == [NEEDED] * 3
        assert held(node) == ({task_id} if in_memory else set())
        sentence = blocking(node, task_id, BlockingCause.NEWER_VERSION_NEEDED).sentence
        assert f"the specification, event 1 of epoch {row.epoch}, is not there" in sentence
        if in_memory:
            world.run(MINUTE_MS)
            node.engine.shards[SHARD].unreadable.clear()
    assert [order.run.task_id for order in executor.orders] == [other.task_id]
    assert len(world.disk.rows(task_id)) == 1
    node.frozen = True
    mend(world.disk, row)
    newer = world.owner()
    assert executor.last.run.task_id == task_id
    executor.succeeds(executor.last)
    assert newer.read(task_id).view.state is PublicState.SUCCEEDED


def test_whoever_asks_for_an_ended_task_without_its_specification_ends_no_node() -> None:
    world = World()
    task_id, _ = left_damaged(world, ScriptedExecutor(world))
    node = world.owner()
    assert held(node) == set()
    assert node.read(task_id).refusal is NEEDED


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"executor": None}, id="nobody has the claim"),
        pytest.param({"run_seq": None}, id="the claim has no run"),
        pytest.param({"spec_seq": 7}, id="another event is named"),
    ],
)
def test_a_claim_that_lacks_what_it_stands_on_is_held_back(columns: Columns) -> None:
    world = World()
    ScriptedExecutor(world)
    first = world.owner()
    task_id = first.create(in_ms=1_000).task_id
    world.run(500)
    first.frozen = True
    assert spoil(world.disk, task_id, columns).kind is EventKind.CLAIMED
    node = world.owner()
    world.run(MINUTE_MS)
    assert held(node) == {task_id}
    assert node.read(task_id).refusal is NEEDED


def test_a_schedule_without_its_specification_is_held_back() -> None:
    world = World()
    first = world.owner()
    schedule_id = create_schedule(first).task_id
    first.frozen = True
    spoil(world.disk, schedule_id, {"detail": None})
    node = world.owner()
    world.run(MINUTE_MS)
    assert held(node) == {schedule_id}
    assert read_schedule(node, schedule_id).refusal is NEEDED
