"""Rules R5, R17, R18: pins, late rows, sweeps, and memory that follows the next seconds."""

from __future__ import annotations

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, START_MS, Node, World
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import RejectionReason
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.ids import TaskId, decode_id
from timeball_server.core.journal import DueRow, EventKind, EventRow
from timeball_server.core.model import PublicState

K = EventKind


def kinds(world: World, task_id: TaskId) -> list[EventKind]:
    return world.disk.kinds(task_id)


def epochs(world: World, task_id: TaskId) -> list[int]:
    return [row.epoch for row in world.disk.history(task_id).chain]


def handed_over(world: World, first: Node) -> Node:
    """The first owner freezes; a second one takes the shard."""
    first.frozen = True
    return world.owner()


# Pins --------------------------------------------------------------------------------------------


def test_r17_a_read_pins_the_head_once() -> None:
    world = World()
    first = world.owner()
    call = first.create(in_ms=600_000)
    second = handed_over(world, first)
    assert second.read(call.task_id).view.state is PublicState.SCHEDULED
    assert second.read(call.task_id).view.state is PublicState.SCHEDULED
    assert kinds(world, call.task_id) == [K.CREATED, K.ADOPTED]
    assert epochs(world, call.task_id)[-1] == world.disk.epochs[SHARD]


def test_r17_no_answer_before_the_pin_is_durable() -> None:
    world = World()
    first = world.owner()
    call = first.create(in_ms=600_000)
    second = handed_over(world, first)
    second.hold_writes = True
    read = second.read(call.task_id)
    assert read.outcome is None
    second.settle_one()
    assert read.view.task_id == call.task_id


def test_r17_a_refusal_and_a_repeated_ack_are_pinned() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    done, cancelled = first.create(), first.create(in_ms=60_000)
    executor.succeeds(executor.last)
    first.cancel(cancelled.task_id)
    second = handed_over(world, first)
    assert second.cancel(done.task_id).refusal is RejectionReason.TOO_LATE
    assert second.cancel(cancelled.task_id).view.state is PublicState.CANCELLED
    assert kinds(world, done.task_id)[-1] is K.ADOPTED
    assert kinds(world, cancelled.task_id)[-1] is K.ADOPTED


def test_r17_too_late_for_an_adopted_run_is_pinned() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create()
    executor.starts(executor.last)
    second = handed_over(world, first)
    assert second.cancel(call.task_id).refusal is RejectionReason.TOO_LATE
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED, K.ADOPTED]
    executor.succeeds(executor.last)
    assert kinds(world, call.task_id)[-1] is K.SUCCEEDED


def test_r17_a_repeated_result_of_an_ended_task_is_pinned_before_its_ack() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create()
    first.hold_writes = True
    executor.succeeds(executor.last)
    first.land_unheard()
    second = handed_over(world, first)
    second.hold_writes = True
    executor.succeeds(executor.last)
    assert executor.acknowledged == []
    second.settle_one()
    assert executor.acknowledged == [call.task_id]
    assert kinds(world, call.task_id) == [K.BORN_CLAIMED, K.SUCCEEDED, K.ADOPTED]


def test_r05_an_event_links_to_what_its_writer_saw_and_late_rows_stay_off_the_chain() -> None:
    world = World()
    first = world.owner()
    call = first.create(in_ms=600_000)
    first.hold_writes = True
    zombie = first.cancel(call.task_id)
    second = handed_over(world, first)
    assert second.read(call.task_id).view.state is PublicState.SCHEDULED
    first.land_unheard()
    assert zombie.outcome is None
    history = world.disk.history(call.task_id)
    assert [row.kind for row in history.chain] == [K.CREATED, K.ADOPTED]
    assert [row.kind for row in history.not_accepted] == [K.CANCELLED]
    again = second.cancel(call.task_id)
    assert again.view.state is PublicState.CANCELLED
    seqs = [(row.epoch, row.seq) for row in world.disk.history(call.task_id).chain]
    assert [seq for _, seq in seqs] == [1, 2, 3]


# scan_from ---------------------------------------------------------------------------------------


def moves(node: Node) -> list[tuple[int, int]]:
    return [(e.old, e.new) for e in node.log if isinstance(e, fx.MoveScanFrom)]


def test_r18_scan_from_follows_time_a_session_timeout_behind() -> None:
    world = World()
    node = world.owner()
    home = minute_of(START_MS)
    world.run(60_000 + 5_000)
    assert world.disk.scan_from[SHARD] == home
    world.run(60_000)
    assert world.disk.scan_from[SHARD] == home + 1
    world.run(300_000)
    assert world.disk.scan_from[SHARD] == home + 6
    assert all(new > old for old, new in moves(node))


def test_r18_a_task_in_memory_holds_scan_from_back() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    executor.starts(executor.last)
    home = minute_of(START_MS)
    world.run(240_000)
    assert world.disk.scan_from[SHARD] == home
    world.run(240_000)
    assert K.RENEWED in kinds(world, call.task_id)
    assert world.disk.scan_from[SHARD] > home
    executor.succeeds(executor.last)
    world.run(600_000)
    assert world.disk.scan_from[SHARD] > home + 10


def test_r18_no_hint_goes_where_a_sweep_has_passed() -> None:
    """A slow creation, while the watermark is on its way over its home."""
    world = World()
    node = world.owner()
    home = minute_of(START_MS)
    world.run(89_000)
    node.hold_reads = True
    world.run(2_000)
    swept = [read for read in node.reads if isinstance(read, ev.BucketSwept)]
    node.feed(*swept)
    assert world.disk.scan_from[SHARD] == home + 1
    assert node.engine.shards[SHARD].scan_from == home
    call = node.create(minute=home)
    assert call.view.revision == 1
    handed_over(world, node)
    executor = ScriptedExecutor(world)
    assert executor.last.run.task_id == call.task_id


def late_creation(world: World, in_ms: int) -> TaskId:
    """A creation that nobody was told of lands 45 seconds after its owner froze."""
    first = world.owner()
    first.hold_writes = True
    call = first.create(in_ms=in_ms)
    zombie = first.writes.pop()
    handed_over(world, first)
    world.run(45_000)
    world.disk.append(zombie.rows)
    return call.task_id


def test_r18_what_only_the_sweep_finds_is_adopted_if_it_was_due_within_a_minute() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    task_id = late_creation(world, 55_000)
    world.run(60_000)
    assert executor.last.run.task_id == task_id
    executor.succeeds(executor.last)
    assert world.nodes[1].engine.counters.late_found == 1
    world.run(120_000)
    assert world.disk.scan_from[SHARD] > minute_of(START_MS)


def test_r18_what_only_the_sweep_finds_is_voided_if_it_was_due_before() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    task_id = late_creation(world, 1_000)
    world.run(60_000)
    assert executor.orders == []
    assert kinds(world, task_id) == [K.CREATED, K.VOID]
    assert world.nodes[1].read(task_id).refusal is RejectionReason.NOT_FOUND
    world.run(120_000)
    assert world.disk.scan_from[SHARD] > minute_of(START_MS)


def answer_sweeps(node: Node) -> None:
    """Sweeps overtake the reads that were asked for before them."""
    swept = [read for read in node.reads if isinstance(read, ev.BucketSwept | ev.ScanFromMoved)]
    node.reads = [read for read in node.reads if read not in swept]
    node.feed(*swept)


def test_r18_a_sweep_never_overtakes_the_load_where_a_clock_was_put_ahead() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    stored = first.create(in_ms=630_000)
    second = handed_over(world, first)
    world.run(31_000)
    second.hold_reads = True
    world.jump(3_600_000)
    for _ in range(120):
        world.jump(1_000)
        answer_sweeps(second)
    assert kinds(world, stored.task_id) == [K.CREATED]
    second.deliver_reads()
    assert [order.run.task_id for order in executor.orders] == [stored.task_id]


def test_r18_a_take_over_finds_what_was_stored_while_the_watermark_lay_ahead() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    owner = world.owner()
    world.jump(3_600_000)  # a clock that is an hour ahead passes an hour of buckets
    world.run(120_000)
    world.wall_ms -= 3_600_000
    stored = owner.create(in_ms=30_000)
    handed_over(world, owner)
    world.run(40_000)
    assert [order.run.task_id for order in executor.orders] == [stored.task_id]


def test_memory_follows_the_next_seconds_not_the_stored_future() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1_000)
    first = world.owner()
    for number in range(100):
        first.create(in_ms=number * 3_000)
    second = handed_over(world, first)
    shard = second.engine.shards[SHARD]
    for _ in range(30):
        assert len(shard.tasks) - len(second.engine.ready.classes()) <= 20 + len(executor.known)
        ahead = [t for t in shard.tasks.values() if t.due_ms > world.wall_ms + 30_000]
        assert ahead == []
        world.run(10_000)
    assert len(executor.orders) == 100


def test_a_slice_comes_in_pages() -> None:
    world = World()
    first = world.owner()
    calls = [first.create(in_ms=5_000) for _ in range(3)]
    first.frozen = True
    second = world.node()
    second.hold_reads = True
    second.acquire()
    page = next(read for read in second.reads if isinstance(read, ev.SliceLoaded) and read.hints)
    others = [read for read in second.reads if read is not page]
    second.reads, second.hold_reads = [], False
    second.feed(*others)
    for index, hint in enumerate(page.hints):
        assert second.task(hint.task_id) is None
        journals: dict[TaskId, list[EventRow]] = {hint.task_id: list(page.journals[hint.task_id])}
        part = ev.SliceLoaded(
            shard=page.shard,
            epoch=page.epoch,
            number=page.number,
            hints=[hint],
            journals=journals,
            last=index == len(page.hints) - 1,
        )
        second.feed(part)
        assert second.task(hint.task_id) is not None
    assert {hint.task_id for hint in page.hints} == {call.task_id for call in calls}


def test_overdue_work_of_a_long_outage_is_found() -> None:
    world = World()
    first = world.owner()
    calls = [first.create(in_ms=minutes * 60_000 + 1_000) for minutes in range(20)]
    first.frozen = True
    world.jump(20 * 60_000)
    executor = ScriptedExecutor(world, slots=100)
    second = world.owner()
    assert {order.run.task_id for order in executor.orders} == {call.task_id for call in calls}
    loads = [e for e in second.log if isinstance(e, fx.LoadSlice)]
    assert len({load.minute for load in loads}) == len(loads) - _slices_of_the_present(loads)
    assert all(isinstance(row, DueRow) for rows in world.disk.due.values() for row in rows)


def _slices_of_the_present(loads: list[fx.LoadSlice]) -> int:
    """A passed minute is one slice; the present one comes in slices of ten seconds."""
    minutes = [load.minute for load in loads]
    return sum(minutes.count(minute) - 1 for minute in set(minutes))


def test_r17_not_found_for_a_voided_id_is_pinned() -> None:
    """A creation of an epoch in between may land after the answer and must not win."""
    world = World()
    first = world.owner()
    address = World().node().create(in_ms=2_000)
    first.hold_writes = True
    first.cancel(address.task_id)
    first.frozen = True
    between = world.owner()
    between.hold_writes = True
    between.create(in_ms=2_000, unique=decode_id(address.task_id).unique)
    first.land_unheard()
    last = handed_over(world, between)
    assert last.cancel(address.task_id).refusal is RejectionReason.NOT_FOUND
    between.land_unheard()
    executor = ScriptedExecutor(world)
    handed_over(world, last)
    world.run(10_000)
    assert executor.orders == []
    assert kinds(world, address.task_id) == [K.VOID, K.ADOPTED]


def test_r22_an_overdue_task_is_found_by_a_hint_in_its_home_bucket() -> None:
    """The bucket before the due time is the last one that the first step of a take-over reads."""
    world = World()
    world.owner().frozen = True
    world.jump(8 * 60_000 + 1_000)
    second = world.owner()
    call = second.create(minute=minute_of(world.wall_ms) - 1)
    second.frozen = True
    world.jump(600_000)
    world.owner()
    executor = ScriptedExecutor(world)
    world.run(1_000)
    assert [order.run.task_id for order in executor.orders] == [call.task_id]
