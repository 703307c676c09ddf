"""The plain life of a task: created, claimed ahead, handed out at its instant, ended."""

from __future__ import annotations

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import World
from timeball_server.core.engine import effects as fx
from timeball_server.core.journal import EventKind
from timeball_server.core.model import PublicState

K = EventKind


def test_an_immediate_task_is_born_claimed_with_one_write() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.hold_writes = True
    call = node.create()
    assert len(node.writes) == 1
    assert call.outcome is None
    assert executor.orders == []
    node.release_writes()
    assert call.view.state is PublicState.SCHEDULED
    assert [order.run.task_id for order in executor.orders] == [call.task_id]
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED]
    executor.succeeds(executor.last)
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.SUCCEEDED]
    assert executor.acknowledged == [call.task_id]
    assert len([effect for effect in node.log if isinstance(effect, fx.Write)]) == 2
    assert node.task(call.task_id) is None
    assert node.engine.executors[executor.facts.incarnation].reserved == 0


def test_a_task_is_claimed_one_second_ahead_and_sent_at_its_instant() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create(in_ms=5_000)
    world.run(3_999)
    assert world.disk.kinds(call.task_id) == [K.CREATED]
    world.run(1)
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.CLAIMED]
    world.run(999)
    assert executor.orders == []
    writes = len([effect for effect in node.log if isinstance(effect, fx.Write)])
    world.run(1)
    assert executor.last.run.task_id == call.task_id
    assert len([effect for effect in node.log if isinstance(effect, fx.Write)]) == writes
