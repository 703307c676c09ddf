"""When a shard that is handed over falls quiet: where nothing is due, or after a short while."""

from __future__ import annotations

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, Node, World
from timeball_server.core.commands import RejectionReason
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.leaving import LULL_MS, PATIENCE_MS


def has_left(node: Node) -> bool:
    quiet = any(isinstance(effect, fx.ShardQuiet) for effect in node.log)
    assert quiet is (SHARD not in node.engine.shards)
    return quiet


def test_a_shard_with_nothing_due_falls_quiet_at_once() -> None:
    world = World()
    ScriptedExecutor(world)
    node = world.owner()
    node.create(in_ms=LULL_MS + 1)
    node.feed(ev.ShardReleasing(SHARD))
    assert has_left(node)


def test_what_is_due_soon_is_started_before_the_shard_goes() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=10)
    node = world.owner()
    calls = [node.create(in_ms=in_ms) for in_ms in (60, 120, 260)]
    node.feed(ev.ShardReleasing(SHARD))
    assert not has_left(node)
    world.run(250)
    assert not has_left(node)
    created = node.create(in_ms=60_000)
    assert created.view.task_id == created.task_id
    world.run(10)
    assert [order.run.task_id for order in executor.orders] == [call.task_id for call in calls]
    assert has_left(node)


def test_a_busy_shard_goes_all_the_same() -> None:
    world = World()
    ScriptedExecutor(world, slots=1_000)
    node = world.owner()
    for number in range(2 * PATIENCE_MS // LULL_MS + 2):
        node.create(in_ms=(number + 1) * LULL_MS // 2)
    node.feed(ev.ShardReleasing(SHARD))
    world.run(PATIENCE_MS - 1)
    assert not has_left(node)
    world.run(1)
    assert has_left(node)


def test_what_waits_for_a_slot_is_not_waited_for() -> None:
    world = World()
    node = world.owner()
    node.create(in_ms=10)
    world.run(100)
    node.feed(ev.ShardReleasing(SHARD))
    assert has_left(node)


def test_from_the_quiet_on_nothing_is_begun() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.hold_writes = True
    node.create(in_ms=300)
    node.feed(ev.ShardReleasing(SHARD))
    assert node.create().refusal is RejectionReason.NOT_OWNED
    world.run(1_000)
    assert executor.orders == []
    node.release_writes()
    assert has_left(node)
    (quiet,) = (effect for effect in node.log if isinstance(effect, fx.ShardQuiet))
    assert quiet.took_ms == 1_000
