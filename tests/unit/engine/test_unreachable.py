"""Session gone = dead, stream gone = unreachable: what an owner makes of each, and of a freeze.

An executor that stands still for less than its session is neither. With real processes:
tests/chaos, `limp-executor` (stands still), `cut-executor-both` and `cut-executor-request` (the
stream is cut, the session lives), `expire-executor` (the session ends, the process and its streams
live), `kill-executor`.
"""

from __future__ import annotations

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import Node, World
from timeball_server.core.journal import EventKind
from timeball_server.core.model import DeliveryMode

BOTH_MODES = pytest.mark.parametrize("mode", list(DeliveryMode))


def with_a_run(mode: DeliveryMode) -> tuple[World, ScriptedExecutor, ScriptedExecutor, Node]:
    """An attempt runs on the first of two executors; the second one waits for work."""
    world = World()
    first = ScriptedExecutor(world, "x1", strength=9)
    second = ScriptedExecutor(world, "x2", strength=1)
    node = world.owner()
    node.create(mode=mode, priority=9)
    first.starts(first.last)
    assert second.orders == []
    return world, first, second, node


@BOTH_MODES
def test_a_freeze_shorter_than_the_session_changes_nothing(mode: DeliveryMode) -> None:
    """Nothing is said, nothing is concluded: the run goes on where it is."""
    world, first, second, _ = with_a_run(mode)
    world.run(5_000)
    assert second.orders == []
    first.succeeds(first.last)
    task_id = first.last.run.task_id
    assert world.disk.kinds(task_id) == [EventKind.BORN_CLAIMED, EventKind.SUCCEEDED]


@BOTH_MODES
def test_a_freeze_beyond_the_session_is_death_and_the_thawed_one_is_not_heard(
    mode: DeliveryMode,
) -> None:
    """SIGSTOP for longer than the session: it thaws with its streams open, and means nothing."""
    world, first, second, _ = with_a_run(mode)
    frozen = first.last
    first.vanishes()
    task_id = frozen.run.task_id
    lost = mode is DeliveryMode.AT_MOST_ONCE
    assert (EventKind.LOST if lost else EventKind.RETRY) in world.disk.kinds(task_id)
    first.succeeds(frozen)
    world.run(10_000)
    assert [order.run.task_id for order in second.orders] == ([] if lost else [task_id])
    assert EventKind.SUCCEEDED not in world.disk.kinds(task_id)


@BOTH_MODES
def test_a_cut_stream_with_a_living_session_is_no_death(mode: DeliveryMode) -> None:
    """Nothing new goes there, what runs there is waited for and its result counts once it comes."""
    world, first, second, node = with_a_run(mode)
    running = first.last
    node.disconnect(first)
    fresh = node.create(priority=9)
    world.run(9_000)
    assert [order.run.task_id for order in second.orders] == [fresh.task_id]
    kinds = world.disk.kinds(running.run.task_id)
    assert set(kinds) <= {EventKind.BORN_CLAIMED, EventKind.RENEWED}
    node.connect(first)
    first.succeeds(running)
    assert world.disk.kinds(running.run.task_id)[-1] is EventKind.SUCCEEDED
    assert len(first.orders) == 1


@BOTH_MODES
def test_a_lost_session_with_a_living_stream_is_death(mode: DeliveryMode) -> None:
    """The stream stays open and goes on talking; its words are those of nobody."""
    world, first, second, node = with_a_run(mode)
    running = first.last
    del world.executors[first.facts.incarnation]
    living = {first.facts.incarnation, second.facts.incarnation}
    node.see_executors()
    node.open |= living
    lost = mode is DeliveryMode.AT_MOST_ONCE
    kinds = world.disk.kinds(running.run.task_id)
    assert (EventKind.LOST if lost else EventKind.RETRY) in kinds
    first.succeeds(running)
    first.says_capacity(10)
    world.run(10_000)
    assert len(first.orders) == 1
    assert EventKind.SUCCEEDED not in world.disk.kinds(running.run.task_id)
    assert len(second.orders) == (0 if lost else 1)


def test_a_claim_made_ahead_for_an_unreachable_one_goes_to_another_at_the_instant() -> None:
    world = World()
    first = ScriptedExecutor(world, "x1", strength=9)
    second = ScriptedExecutor(world, "x2", strength=1)
    node = world.owner()
    call = node.create(in_ms=3_000, priority=9)
    world.run(2_500)
    node.disconnect(first)
    world.run(600)
    assert first.orders == []
    assert [order.run.task_id for order in second.orders] == [call.task_id]
