"""Cancels for some tasks only: those that wait, and those that nobody knows."""

from __future__ import annotations

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import Call, Node, World
from timeball_server.core.commands import CancelScope, CancelTask, RejectionReason
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.ids import Bucket, IdParts, TaskId, decode_id, encode_id
from timeball_server.core.journal import EventKind
from timeball_server.core.model import PublicState

HOUR_MS = 3_600_000


def cancel(node: Node, task_id: TaskId, scope: CancelScope) -> Call:
    command = CancelTask(
        task_id=task_id, namespace="shop", request_id="r", actor="clerk", scope=scope
    )
    return node.ask(command, task_id)


def test_what_nobody_knows_is_closed_for_ever() -> None:
    world = World()
    node = world.owner()
    coming = node.create(in_ms=HOUR_MS)
    address = decode_id(coming.task_id)
    never = encode_id(IdParts(address.home, world.unique()))
    assert cancel(node, never, CancelScope.UNKNOWN).refusal is RejectionReason.NOT_FOUND
    assert world.disk.kinds(never) == [EventKind.VOID]
    late = node.create(
        in_ms=HOUR_MS, minute=address.home.minute, unique=decode_id(never).unique, resend=True
    )
    assert late.refusal is RejectionReason.VOIDED


def test_what_is_known_is_told_and_left_alone() -> None:
    world = World()
    node = world.owner()
    call = node.create(in_ms=HOUR_MS)
    view = cancel(node, call.task_id, CancelScope.UNKNOWN).view
    assert (view.task_id, view.state) == (call.task_id, PublicState.SCHEDULED)
    assert world.disk.kinds(call.task_id) == [EventKind.CREATED]


def test_a_creation_on_its_way_to_another_part_is_not_unknown() -> None:
    world = World()
    node = world.owner(EngineConfig(part_rows=1))
    node.create(in_ms=HOUR_MS)
    node.hold_writes = True
    second = node.create(in_ms=HOUR_MS)
    (found,) = node.engine.shards[decode_id(second.task_id).home.shard].tasks.values()
    assert found.home.part == 1
    address = Bucket(found.home.minute, found.home.shard)
    asked = cancel(
        node, encode_id(IdParts(address, decode_id(found.task_id).unique)), CancelScope.UNKNOWN
    )
    assert asked.outcome is None
    node.release_writes()
    assert asked.view.task_id == found.task_id


def test_a_run_that_has_begun_hears_nothing_of_a_cancel_for_those_that_wait() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    executor.starts(executor.last)
    assert cancel(node, call.task_id, CancelScope.WAITING).refusal is RejectionReason.TOO_LATE
    assert executor.cancels == []
    later = node.create(in_ms=HOUR_MS)
    assert cancel(node, later.task_id, CancelScope.WAITING).view.state is PublicState.CANCELLED
