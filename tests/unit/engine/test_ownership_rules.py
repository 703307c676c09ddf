"""Rules R2-R4: what an owner forgets, when its lease ends, and when it yields to a higher epoch."""

from __future__ import annotations

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import LEASE_MS, SHARD, Node, World
from timeball_server.core.commands import RejectionReason
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.state import Phase
from timeball_server.core.journal import EventKind
from timeball_server.core.messages import Inventory, RefusalReason

K = EventKind
UNKNOWN, NOT_OWNED = RejectionReason.UNKNOWN, RejectionReason.NOT_OWNED


def given_up(node: Node) -> list[fx.GiveUp]:
    return [effect for effect in node.log if isinstance(effect, fx.GiveUp)]


def memory_is_empty(node: Node) -> bool:
    engine = node.engine
    return not engine.shards and not engine.inflight and not engine.ready.classes()


def test_r02_a_lost_shard_leaves_no_memory() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1)
    node = world.owner()
    node.create()
    waiting = node.create()
    soon = node.create(in_ms=5_000)
    watcher = node.wait(soon.task_id)
    node.hold_writes = True
    creating = node.create(in_ms=8_000)
    node.feed(ev.ShardLost(SHARD))
    assert memory_is_empty(node)
    assert creating.refusal is UNKNOWN
    assert watcher.refusal is NOT_OWNED
    assert node.engine.executors[executor.facts.incarnation].runs == {}
    assert node.engine.executors[executor.facts.incarnation].reserved == 0
    world.run(10_000)
    assert len(executor.orders) == 1
    assert node.read(waiting.task_id).refusal is NOT_OWNED


def test_r02_a_write_of_a_former_epoch_changes_nothing_in_the_next_one() -> None:
    world = World()
    node = world.owner()
    node.hold_writes = True
    call = node.create(in_ms=5_000)
    write = node.land_unheard()
    node.hold_writes = False
    node.feed(ev.ShardLost(SHARD))
    node.acquire()
    before = node.task(call.task_id)
    node.feed(ev.Written((write.token,)))
    assert node.task(call.task_id) is before
    assert before is not None
    assert before.pending is None


def test_r03_nothing_is_written_or_answered_after_the_lease() -> None:
    world = World()
    ScriptedExecutor(world)
    node = world.owner()
    known = node.create(in_ms=60_000)
    node.renews = False
    world.mono_ms += LEASE_MS
    writes = len(node.writes) + len([e for e in node.log if isinstance(e, fx.Write)])
    create, read, cancel = (
        node.create(),
        node.read(known.task_id),
        node.cancel(known.task_id),
    )
    assert [call.refusal for call in (create, read, cancel)] == [NOT_OWNED] * 3
    assert len([e for e in node.log if isinstance(e, fx.Write)]) == writes
    assert len(given_up(node)) == 1
    assert memory_is_empty(node)


def test_r03_a_durable_write_is_not_acknowledged_after_the_lease() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.hold_writes = True
    call = node.create()
    node.renews = False
    world.mono_ms += LEASE_MS
    node.settle()
    assert call.refusal is UNKNOWN
    assert executor.orders == []


def test_r03_a_lease_proven_in_the_same_step_counts_before_everything_else() -> None:
    world = World()
    node = world.owner()
    node.renews = False
    world.mono_ms += LEASE_MS
    call = node.create(in_ms=60_000)
    assert call.refusal is NOT_OWNED
    node.renews = True
    node.acquire()
    node.renews = False
    world.mono_ms += LEASE_MS
    node.feed(ev.Tick(), ev.LeaseProven(world.mono_ms + LEASE_MS))
    assert SHARD in node.engine.shards


def test_r03_a_waiting_order_is_not_sent_after_the_lease() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.create(in_ms=2_000)
    world.run(1_500)
    node.renews = False
    world.mono_ms += LEASE_MS
    world.run(5_000)
    assert executor.orders == []


def test_r04_an_executor_that_saw_a_higher_epoch_ends_the_shard() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.create()
    epoch = executor.last.epoch
    executor.refuses(executor.last, RefusalReason.LOWER_EPOCH, epoch + 1)
    assert [effect.shard for effect in given_up(node)] == [SHARD]
    assert memory_is_empty(node)


def test_r04_an_inventory_that_names_a_higher_epoch_ends_the_shard() -> None:
    world = World()
    executor = ScriptedExecutor(world, answers_fences=False)
    node = world.owner()
    epoch = node.engine.shards[SHARD].epoch
    _, fence = executor.fences[-1]
    executor.tell(Inventory(fence.number, (), ((SHARD, epoch + 1),)))  # type: ignore[arg-type]
    assert memory_is_empty(node)


def test_r04_a_watermark_that_somebody_else_moved_ends_the_shard() -> None:
    world = World()
    node = world.owner()
    world.next_epoch(SHARD)
    world.run(120_000)
    assert len(given_up(node)) == 1


def test_a_handed_over_shard_is_quiet_once_nothing_is_in_flight() -> None:
    world = World()
    node = world.owner()
    node.hold_writes = True
    call = node.create(in_ms=30_000)
    behind = node.cancel(call.task_id)
    node.feed(ev.ShardReleasing(SHARD))
    assert node.engine.shards[SHARD].phase is Phase.RELEASING
    assert node.create().refusal is NOT_OWNED
    node.release_writes()
    assert call.view.task_id == call.task_id
    assert behind.refusal is NOT_OWNED
    assert [e.shard for e in node.log if isinstance(e, fx.ShardQuiet)] == [SHARD]
    assert memory_is_empty(node)
    assert world.disk.kinds(call.task_id) == [K.CREATED]


def test_callers_are_answered_while_a_take_over_still_reads() -> None:
    """A creation needs no read (R8), any other task that is asked for is read by itself (R9)."""
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    known, late = first.create(in_ms=5_000), first.create(in_ms=15_000)
    first.frozen = True
    second = world.node()
    second.hold_reads = True
    second.acquire()
    assert second.engine.shards[SHARD].phase is Phase.LOADING
    new = second.create(in_ms=5_000)
    assert new.view.task_id == new.task_id
    slices, second.reads, second.hold_reads = second.reads, [], False
    assert second.cancel(known.task_id).view.terminal
    assert second.read(late.task_id).view.task_id == late.task_id
    second.feed(*slices)
    assert second.engine.shards[SHARD].phase is Phase.SERVING
    world.run(20_000)
    assert [order.run.task_id for order in executor.orders] == [new.task_id, late.task_id]


def test_a_result_of_a_run_that_is_not_read_yet_counts() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create()
    first.frozen = True
    second = world.node()
    second.hold_reads = True
    second.acquire()
    slices, second.reads, second.hold_reads = second.reads, [], False
    executor.succeeds(executor.last)
    assert world.disk.kinds(call.task_id)[-1] is K.SUCCEEDED
    second.feed(*slices)
    assert second.task(call.task_id) is None
    assert len(executor.orders) == 1
