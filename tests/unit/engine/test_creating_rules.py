"""Rules R6-R9, R21, R22, R24: creations, repetitions, unknown ids, hints and held tasks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, START_MS, Node, World
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import Done, RejectionReason
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.ids import Minute, decode_id
from timeball_server.core.journal import DueRow, EventKind, EventRow, OwnerListRow
from timeball_server.core.model import Payload

K = EventKind
R = RejectionReason


def reads(node: Node) -> int:
    return len([e for e in node.log if isinstance(e, fx.FindTask | fx.ReadTasks)])


def rows_written(node: Node) -> list[tuple[type, ...]]:
    return [tuple(type(row) for row in e.rows) for e in node.log if isinstance(e, fx.Write)]


def test_a_task_for_later_is_one_mutation_with_its_hint() -> None:
    world = World()
    node = world.owner()
    call = node.create(in_ms=120_000)
    assert rows_written(node) == [(DueRow, EventRow, OwnerListRow)]
    (listed,) = world.disk.listed
    assert isinstance(listed, OwnerListRow)
    assert listed.epoch == world.disk.history(call.task_id).head.epoch


def test_r06_a_dead_hint_starts_nothing() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(in_ms=300_000)
    head = world.disk.history(call.task_id).head
    early = DueRow(
        minute=minute_of(world.wall_ms),
        part=0,
        due_ms=world.wall_ms + 2_000,
        task_id=call.task_id,
        seq=2,
        epoch=head.epoch,
        handler="charge",
        priority=4,
    )
    world.disk.append([early])
    first.frozen = True
    second = world.owner()
    assert second.task(call.task_id) is None
    world.run(30_000)
    assert executor.orders == []


def test_r06_a_dead_hint_leads_to_a_live_task_that_is_due_within_the_horizon() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(in_ms=5_000)
    first.frozen = True
    (live,) = world.disk.due.pop((minute_of(START_MS), SHARD))
    stale = DueRow(
        minute=live.minute,
        part=0,
        due_ms=live.due_ms - 1_000,
        task_id=live.task_id,
        seq=7,
        epoch=live.epoch,
        handler="charge",
        priority=4,
    )
    world.disk.append([stale])
    world.owner()
    world.run(4_999)
    assert executor.orders == []
    world.run(1)
    assert executor.last.run.task_id == call.task_id


def test_r07_a_task_is_held_until_its_event_is_durable() -> None:
    world = World()
    node = world.owner()
    call = node.create(in_ms=30_000)
    node.hold_writes = True
    cancel = node.cancel(call.task_id)
    read = node.read(call.task_id)
    again = node.cancel(call.task_id)
    assert len(node.writes) == 1
    assert [call.outcome for call in (cancel, read, again)] == [None] * 3
    node.settle()
    assert cancel.view.terminal
    assert read.view.terminal
    assert again.outcome == Done(again.view, fresh=False)
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.CANCELLED]


def test_r07_an_owner_that_stops_trying_ends_its_epoch_with_unknown() -> None:
    world = World()
    node = world.owner()
    call = node.create(in_ms=30_000)
    node.hold_writes = True
    cancel = node.cancel(call.task_id)
    node.land_unheard()
    node.renews = False
    node.feed(ev.LeaseProven(-1))
    assert cancel.refusal is R.UNKNOWN
    assert SHARD not in node.engine.shards
    second = world.owner()
    assert second.read(call.task_id).view.terminal


def test_r08_a_fresh_creation_reads_nothing_and_a_repetition_reads_once() -> None:
    world = World()
    node = world.owner()
    call = node.create(in_ms=60_000)
    assert reads(node) == 0
    again = node.repeat(call)
    assert reads(node) == 1
    assert again.outcome == Done(again.view, fresh=False)
    assert again.view.task_id == call.task_id
    assert world.disk.kinds(call.task_id) == [K.CREATED]


def test_r08_a_repetition_that_came_first_creates() -> None:
    world = World()
    node = world.owner()
    call = node.create(in_ms=60_000, resend=True)
    assert isinstance(call.outcome, Done)
    assert call.outcome.fresh


def test_r08_two_repetitions_at_once_share_one_read_and_one_task() -> None:
    world = World()
    node = world.owner()
    node.hold_reads = True
    first = node.create(in_ms=60_000, resend=True)
    second = node.repeat(first)
    assert reads(node) == 1
    node.deliver_reads()
    assert [first.outcome, second.outcome] == [Done(first.view), Done(first.view, fresh=False)]
    assert len(world.disk.journal) == 1


def test_r08_a_repetition_while_the_first_is_in_flight_waits_for_it() -> None:
    world = World()
    node = world.owner()
    node.hold_writes = True
    call = node.create(in_ms=60_000)
    again = node.repeat(call)
    assert again.outcome is None
    node.release_writes()
    assert again.outcome == Done(call.view, fresh=False)


def test_r08_what_a_new_owner_finds_gets_its_hint_again_is_adopted_and_answered_alike() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(in_ms=600_000)
    first.frozen = True
    world.disk.due.clear()
    second = world.owner()
    again = second.repeat(call)
    assert again.outcome == Done(again.view, fresh=False)
    assert again.view.task_id == call.task_id
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.ADOPTED]
    world.run(600_000)
    assert executor.last.run.task_id == call.task_id


def test_r08_a_task_that_was_only_read_by_a_new_owner_has_its_hint_too() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    call = first.create(in_ms=600_000)
    first.frozen = True
    world.disk.due.clear()
    second = world.owner()
    assert second.read(call.task_id).view.task_id == call.task_id
    assert second.repeat(call).view.task_id == call.task_id
    world.run(600_000)
    assert executor.last.run.task_id == call.task_id


def test_r08_the_same_request_with_another_body_is_refused() -> None:
    world = World()
    node = world.owner()
    unique = world.unique()
    node.create(in_ms=60_000, unique=unique)
    other = node.create(in_ms=60_000, unique=unique, resend=True, payload=Payload(data=b"x"))
    later = node.create(in_ms=60_001, unique=unique, resend=True)
    assert other.refusal is R.REQUEST_ID_REUSED
    assert later.refusal is R.REQUEST_ID_REUSED


def test_r08_a_void_is_known_however_much_was_created_since() -> None:
    world = World()
    node = world.owner(EngineConfig(recent_creations=5))
    held = World().node().create(in_ms=60_000)
    assert node.cancel(held.task_id).refusal is R.NOT_FOUND
    for _ in range(6):
        node.create(in_ms=60_000)
    late = node.create(in_ms=60_000, unique=decode_id(held.task_id).unique)
    assert late.refusal is R.VOIDED
    assert world.disk.kinds(held.task_id) == [K.VOID]


def test_r08_cancelling_an_unknown_id_voids_it_and_refuses_a_later_creation() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    held = World().node().create(in_ms=2_000)  # an address that nobody has used yet
    assert node.cancel(held.task_id).refusal is R.NOT_FOUND
    assert world.disk.kinds(held.task_id) == [K.VOID]
    unique = decode_id(held.task_id).unique
    late = node.create(in_ms=2_000, unique=unique)
    marked = node.create(in_ms=2_000, unique=unique, resend=True)
    assert late.refusal is marked.refusal is R.VOIDED
    assert node.cancel(held.task_id).refusal is R.NOT_FOUND
    assert node.read(held.task_id).refusal is R.NOT_FOUND
    world.run(5_000)
    assert executor.orders == []


def test_r08_a_creation_that_arrives_while_its_id_is_being_voided_is_refused() -> None:
    world = World()
    node = world.owner()
    address = World().node().create(in_ms=2_000)
    node.hold_writes = True
    cancel = node.cancel(address.task_id)
    create = node.create(in_ms=2_000, unique=decode_id(address.task_id).unique)
    node.release_writes()
    assert cancel.refusal is R.NOT_FOUND
    assert create.refusal is R.VOIDED


def test_r08_a_creation_that_arrives_while_its_id_is_being_read_is_carried_out() -> None:
    world = World()
    node = world.owner()
    address = World().node().create(in_ms=2_000)
    node.hold_reads = True
    read = node.read(address.task_id)
    create = node.create(in_ms=2_000, unique=decode_id(address.task_id).unique)
    node.deliver_reads()
    assert read.refusal is R.NOT_FOUND
    assert create.outcome == Done(create.view)
    assert create.view.task_id == address.task_id


def test_r08_a_voided_task_is_adopted_before_it_refuses_for_a_new_owner() -> None:
    world = World()
    first = world.owner()
    address = World().node().create(in_ms=2_000)
    first.cancel(address.task_id)
    first.frozen = True
    second = world.owner()
    unique = decode_id(address.task_id).unique
    assert second.create(in_ms=2_000, unique=unique, resend=True).refusal is R.VOIDED
    assert world.disk.kinds(address.task_id) == [K.VOID, K.ADOPTED]


def test_r09_a_hint_in_another_partition_is_durable_before_its_event() -> None:
    world = World()
    node = world.owner()
    node.hold_writes = True
    call = node.create(in_ms=0, minute=minute_of(START_MS) - 5)
    (write,) = node.writes
    assert [type(row) for row in write.rows] == [DueRow]
    assert call.outcome is None
    node.settle_one()
    (write,) = node.writes
    assert EventRow in [type(row) for row in write.rows]
    assert call.outcome is None
    node.settle_one()
    assert call.view.task_id == call.task_id


def test_r09_whether_memory_follows_a_task_is_seen_when_its_write_is_acknowledged() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    node.hold_writes = True
    call = node.create(in_ms=35_000)
    assert node.engine.shards[SHARD].issued_until_ms <= START_MS + 35_000
    node.hold_reads = True
    world.run(10_000)
    node.deliver_reads()
    node.release_writes()
    assert node.task(call.task_id) is not None
    world.run(25_000)
    assert executor.last.run.task_id == call.task_id


def test_r09_a_task_touched_since_a_slice_was_read_is_read_again() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create(in_ms=35_000)
    node.hold_reads = True
    world.run(10_000)
    (stale,) = node.reads
    assert isinstance(stale, ev.SliceLoaded)
    assert call.task_id in stale.journals
    node.reads, node.hold_reads = [], False
    assert node.cancel(call.task_id).view.terminal
    node.feed(stale)
    assert node.task(call.task_id) is None
    world.run(30_000)
    assert executor.orders == []


def test_r09_a_load_respects_the_placeholder_of_a_task_that_is_being_read() -> None:
    world = World()
    first = world.owner()
    call = first.create(in_ms=15_000)
    first.frozen = True
    second = world.node()
    second.hold_reads = True
    second.acquire()
    second.deliver_reads()
    second.hold_reads = True
    cancel = second.cancel(call.task_id)
    assert cancel.view.terminal
    second.deliver_reads()
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.CANCELLED]


def test_r21_ids_below_the_watermark_have_expired() -> None:
    world = World()
    world.disk.deleted_below[SHARD] = Minute(minute_of(START_MS) - 10)
    node = world.owner()
    old = node.create(minute=minute_of(START_MS) - 11)
    assert old.refusal is R.EXPIRED
    assert node.read(old.task_id).refusal is R.EXPIRED
    assert node.cancel(old.task_id).refusal is R.EXPIRED
    assert node.create(minute=minute_of(START_MS) - 10).view.revision == 1


def test_r22_a_home_below_scan_from_keeps_its_hint_where_scans_look() -> None:
    world = World()
    node = world.owner()
    call = node.create(in_ms=-1_000, minute=minute_of(START_MS) - 5)
    assert decode_id(call.task_id).home.minute == minute_of(START_MS) - 5
    ((minute, _),) = world.disk.due
    assert minute == world.disk.scan_from[SHARD]
    node.frozen = True
    executor = ScriptedExecutor(world)
    world.owner()
    assert executor.last.run.task_id == call.task_id


def test_r24_due_is_judged_by_the_owner_alone_and_the_horizon_holds() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    past = node.create(in_ms=-5_000)
    assert executor.last.run.task_id == past.task_id
    beyond = EngineConfig().horizon_ms + 1
    assert node.create(in_ms=beyond, minute=minute_of(START_MS)).refusal is R.HORIZON
    far_home = minute_of(START_MS + beyond) + 1
    assert node.create(minute=far_home).refusal is R.HORIZON


@given(st.integers(-300_000, 300_000), st.integers(-4, 4))
def test_r22_every_hint_lies_where_a_take_over_reads(in_ms: int, home_offset: int) -> None:
    world = World()
    node = world.owner()
    call = node.create(in_ms=in_ms, minute=minute_of(START_MS) + home_offset)
    assert isinstance(call.outcome, Done)
    ((minute, _),) = world.disk.due
    assert minute >= world.disk.scan_from[SHARD]
    assert minute <= max(minute_of(START_MS), minute_of(START_MS + in_ms))


def test_parts_follow_one_another_without_gaps() -> None:
    world = World()
    node = world.owner(EngineConfig(part_rows=2))
    calls = [node.create(in_ms=30_000) for _ in range(5)]
    homes = [decode_id(call.view.task_id).home.part for call in calls]
    assert homes == [0, 0, 1, 1, 2]
    again = node.repeat(calls[-1])
    assert again.view.task_id == calls[-1].view.task_id


def test_parts_are_limited_by_bytes_too() -> None:
    world = World()
    node = world.owner(EngineConfig(part_bytes=2_000))
    payload = Payload(data=b"x" * 900)
    calls = [node.create(in_ms=30_000, payload=payload) for _ in range(3)]
    assert [decode_id(call.view.task_id).home.part for call in calls] == [0, 1, 2]


def test_r09_what_a_search_found_is_read_again_if_it_was_touched_since() -> None:
    world = World()
    first = world.owner()
    call = first.create(in_ms=30_000)
    first.frozen = True
    second = world.owner()
    second.hold_reads = True
    again = second.repeat(call)
    search, second.reads, second.hold_reads = second.reads, [], False
    assert second.cancel(call.task_id).view.terminal
    second.feed(*search)
    assert again.view.terminal
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.CANCELLED]


def test_r09_a_search_that_found_nothing_before_the_id_was_voided_does_not_create() -> None:
    world = World()
    node = world.owner()
    address = World().node().create(in_ms=30_000)
    node.hold_reads = True
    late = node.create(in_ms=30_000, unique=decode_id(address.task_id).unique, resend=True)
    search, node.reads, node.hold_reads = node.reads, [], False
    assert node.cancel(address.task_id).refusal is R.NOT_FOUND
    node.feed(*search)
    assert late.refusal is R.VOIDED
    assert world.disk.kinds(address.task_id) == [K.VOID]


def stamped(made_ms: int) -> bytes:
    """A unique number of a request that was made at this instant (UUID version 7)."""
    return made_ms.to_bytes(6, "big") + bytes((0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1))


def test_r08_a_first_send_that_an_earlier_epoch_may_have_overtaken_is_searched_for() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    made = stamped(world.wall_ms)
    # The unmarked first send hangs in the network; its caller repeats it, marked, and it runs.
    call = first.create(unique=made, resend=True)
    world.run(40)
    executor.succeeds(executor.last)
    first.frozen = True
    world.run(5_000)
    second = world.owner()
    late = second.create(unique=made, minute=decode_id(call.task_id).home.minute)
    assert isinstance(late.outcome, Done)
    assert not late.outcome.fresh
    world.run(5_000)
    assert len(executor.orders) == 1


def test_r08_a_request_without_a_time_stamp_may_be_of_any_age_and_is_searched_for() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    first = world.owner()
    key = bytes(15) + b"k"
    call = first.create(unique=key)
    world.run(40)
    executor.succeeds(executor.last)
    world.run(5_000)
    first.frozen = True
    world.run(5_000)
    second = world.owner()
    world.run(EngineConfig().trusted_skew_ms + 1_000)
    again = second.create(unique=key, minute=decode_id(call.task_id).home.minute)
    assert isinstance(again.outcome, Done)
    assert not again.outcome.fresh
    world.run(5_000)
    assert len(executor.orders) == 1


def test_r08_an_old_key_is_searched_for_also_in_the_epoch_that_forgot_it() -> None:
    world = World()
    node = world.owner()
    world.run(EngineConfig().trusted_skew_ms + 1_000)
    made = stamped(world.wall_ms)
    world.run(30_000)
    before = reads(node)
    node.create(unique=made)
    assert reads(node) == before
    world.run(40_000)
    node.create(unique=stamped(world.wall_ms - 61_000))
    assert reads(node) == before + 1


def test_r08_a_first_send_made_since_this_epoch_began_reads_nothing() -> None:
    world = World()
    node = world.owner()
    world.run(EngineConfig().trusted_skew_ms + 1_000)
    before = reads(node)
    node.create(unique=stamped(world.wall_ms))
    assert reads(node) == before
