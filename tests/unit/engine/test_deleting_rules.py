"""Deleting what has ended, and terminating what runs."""

from __future__ import annotations

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_revisions import again, delete, reschedule, update
from tests.support.engine_world import SHARD, Node, World
from timeball_server.core.commands import RejectionReason
from timeball_server.core.journal import EventKind as K
from timeball_server.core.messages import CancelRun, RevokeAnswer
from timeball_server.core.model import PublicState

HOUR_MS = 3_600_000


def begun(world: World) -> tuple[ScriptedExecutor, Node]:
    """An executor and an owner."""
    return ScriptedExecutor(world), world.owner()


def test_a_deleted_task_is_hidden_at_once_from_every_command() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    executor.succeeds(executor.last)
    gone = delete(node, call.task_id)
    assert gone.view.state is PublicState.SUCCEEDED
    assert gone.view.terminal
    for answer in (
        node.read(call.task_id),
        node.cancel(call.task_id),
        node.terminate(call.task_id),
        node.wait(call.task_id),
        update(node, call.task_id),
        reschedule(node, call.task_id, 5_000),
        delete(node, call.task_id, request_id="other"),
    ):
        assert answer.refusal is RejectionReason.NOT_FOUND
    assert node.repeat(call).refusal is RejectionReason.VOIDED
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.SUCCEEDED, K.DELETED]
    assert node.task(call.task_id) is None


def test_r08_a_repeated_deletion_answers_alike_also_at_the_next_owner() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    executor.succeeds(executor.last, b"9")
    gone = delete(node, call.task_id, revision=1)
    node.frozen = True
    second = world.owner()
    for repeated in (again(gone, second), again(gone, second)):
        assert repeated.view.result is not None
        assert repeated.view.result.data == b"9"
        assert repeated.view.revision == gone.view.revision
    assert second.read(call.task_id).refusal is RejectionReason.NOT_FOUND
    assert world.disk.kinds(call.task_id)[2:] == [K.DELETED, K.ADOPTED]


def test_an_open_task_is_not_deleted() -> None:
    world = World()
    executor, node = begun(world)
    waits, runs = node.create(in_ms=HOUR_MS), node.create()
    executor.starts(executor.last)
    for call in (waits, runs):
        refused = delete(node, call.task_id)
        assert refused.refusal is RejectionReason.PRECONDITION
        assert "cancel it first" in str(refused.outcome)
    assert node.cancel(waits.task_id).view.state is PublicState.CANCELLED
    assert delete(node, waits.task_id).view.state is PublicState.CANCELLED


def test_a_deletion_looks_at_the_revision_and_at_the_namespace() -> None:
    world = World()
    _, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    node.cancel(call.task_id)
    assert delete(node, call.task_id, revision=1).refusal is RejectionReason.STALE_ETAG
    foreign = delete(node, call.task_id, namespace="bank")
    assert foreign.refusal is RejectionReason.NOT_FOUND
    assert delete(node, call.task_id, revision=2).view.revision == 2


def test_deleting_an_unknown_id_is_not_found_and_leaves_nothing() -> None:
    world, other = World(), World()
    call = world.owner().create(in_ms=HOUR_MS)
    assert delete(other.owner(), call.task_id).refusal is RejectionReason.NOT_FOUND
    assert other.disk.journal == {}


def test_r17_a_deletion_by_an_earlier_owner_is_confirmed_before_anyone_is_told() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    executor.succeeds(executor.last)
    delete(node, call.task_id)
    node.frozen = True
    second = world.owner()
    second.hold_writes = True
    answer = second.cancel(call.task_id)
    assert answer.outcome is None
    second.release_writes()
    assert answer.refusal is RejectionReason.NOT_FOUND


def test_a_result_that_comes_after_the_deletion_is_acknowledged_and_changes_nothing() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    order = executor.last
    executor.starts(order)
    node.terminate(call.task_id)
    delete(node, call.task_id)
    executor.succeeds(order)
    assert executor.acknowledged == [call.task_id]
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.TERMINATED, K.DELETED]


# Terminate ----------------------------------------------------------------------------------------


def test_terminating_a_running_attempt_fences_it_at_once() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    order = executor.last
    executor.starts(order)
    ended = node.terminate(call.task_id)
    assert (ended.view.state, ended.view.revision) == (PublicState.TERMINATED, 2)
    assert executor.cancels == [CancelRun(order.run, SHARD, order.epoch, terminate=True)]
    executor.succeeds(order)
    assert node.read(call.task_id).view.state is PublicState.TERMINATED
    assert node.read(call.task_id).view.result is None
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.TERMINATED]
    assert executor.acknowledged == [call.task_id]


@pytest.mark.parametrize(("said", "told"), [(RevokeAnswer.RUNNING, 1), (RevokeAnswer.REVOKED, 0)])
def test_terminating_what_was_sent_asks_first_and_ends_it_either_way(
    said: RevokeAnswer, told: int
) -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    ended = node.terminate(call.task_id)
    assert ended.outcome is None
    executor.answers_revoke(said)
    assert ended.view.state is PublicState.TERMINATED
    assert len(executor.cancels) == told


@pytest.mark.parametrize("said", [None, RevokeAnswer.RUNNING, RevokeAnswer.REVOKED])
def test_who_had_asked_before_a_termination_is_told_with_it(said: RevokeAnswer | None) -> None:
    """He waits for the executor's word on a run that is fenced off meanwhile."""
    world = World()
    executor, node = begun(world)
    call = node.create()
    asked = update(node, call.task_id)
    assert asked.outcome is None
    executor.starts(executor.last)
    ended = node.terminate(call.task_id)
    assert asked.refusal is RejectionReason.TOO_LATE
    if said is not None:
        executor.answers_revoke(said)
    assert ended.view.state is PublicState.TERMINATED
    assert node.read(call.task_id).view.state is PublicState.TERMINATED


def test_terminating_what_nobody_can_be_asked_about_is_unknown() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    node.disconnect(executor)
    assert node.terminate(call.task_id).refusal is RejectionReason.UNKNOWN
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED]


def test_a_result_that_was_lost_and_comes_to_the_next_owner_does_not_undo_a_termination() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    order = executor.last
    executor.starts(order)
    node.terminate(call.task_id)
    node.frozen = True
    second = world.owner()
    executor.succeeds(order)
    assert second.read(call.task_id).view.state is PublicState.TERMINATED
    assert executor.acknowledged == [call.task_id]


def test_a_waiting_task_is_terminated_like_it_is_cancelled() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=2_000)
    world.run(1_500)
    assert node.terminate(call.task_id).view.state is PublicState.TERMINATED
    world.run(2_000)
    assert executor.orders == []
    assert node.cancel(call.task_id).view.state is PublicState.TERMINATED
