"""Update and reschedule against everything that may happen to the task at the same time."""

from __future__ import annotations

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_revisions import again, ran, reschedule, update
from tests.support.engine_world import START_MS, Node, World
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import RejectionReason, WatchTask
from timeball_server.core.journal import EventKind as K
from timeball_server.core.journal_text import instant_text
from timeball_server.core.messages import RefusalReason, RevokeAnswer
from timeball_server.core.model import PublicState, RetryPolicy, Timeouts

HOUR_MS = 3_600_000


def begun(world: World) -> tuple[ScriptedExecutor, Node]:
    """An executor and an owner."""
    return ScriptedExecutor(world), world.owner()


# Against the claim --------------------------------------------------------------------------------


def test_r10_an_update_of_a_claimed_unsent_task_supersedes_the_claim() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=2_000)
    world.run(1_500)
    answer = update(node, call.task_id, b"new")
    assert answer.view.spec.payload.data == b"new"
    assert (answer.view.revision, answer.view.state) == (2, PublicState.SCHEDULED)
    assert executor.revokes == []
    world.run(500)
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.CLAIMED, K.UPDATED, K.CLAIMED]
    assert ran(executor.orders) == [b"new"]
    assert executor.last.attempt == 1
    assert executor.last.due_ms == START_MS + 2_000


@pytest.mark.parametrize("change", [update, reschedule])
def test_r10_a_change_during_a_claim_in_flight_waits_for_it(change: object) -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=2_000)
    world.run(900)
    node.hold_writes = True
    world.run(200)
    assert [write.rows[0].kind for write in node.writes] == [K.CLAIMED]  # type: ignore[union-attr]
    answer = update(node, call.task_id) if change is update else reschedule(node, call.task_id, 50)
    world.run(2_000)
    assert answer.outcome is None
    assert executor.orders == []
    node.release_writes()
    assert answer.view.revision == 2
    world.run(10)
    kinds = world.disk.kinds(call.task_id)
    assert kinds[:3] == [K.CREATED, K.CLAIMED, K.UPDATED if change is update else K.RESCHEDULED]
    assert len(executor.orders) == 1


def test_r10_no_start_of_the_old_version_while_the_update_is_under_way() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=2_000)
    world.run(1_990)
    node.hold_writes = True
    answer = update(node, call.task_id, b"new")
    world.run(100)
    assert executor.orders == []
    assert answer.outcome is None
    node.release_writes()
    world.run(10)
    assert ran(executor.orders) == [b"new"]


def test_r10_an_update_of_a_task_that_waits_for_room_is_served_as_it_is_now() -> None:
    world = World()
    crowded = ScriptedExecutor(world, "x1", slots=1)
    other = ScriptedExecutor(world, "x2", labels=(("zone", "b"),), handlers=())
    node = world.owner()
    node.create()
    call = node.create()
    other.facts = crowded.facts
    world.run(10)
    assert len(crowded.orders) == 1
    update(node, call.task_id, b"new", fields=("payload", "priority"), priority=8)
    crowded.succeeds(crowded.orders[0])
    world.run(10)
    assert ran(crowded.orders) == [b"", b"new"]
    assert crowded.last.priority == 8


# Against what was sent ----------------------------------------------------------------------------


@pytest.mark.parametrize("said", [RevokeAnswer.REVOKED, RevokeAnswer.NOT_SEEN])
def test_r14_an_update_of_a_sent_run_asks_first_and_changes_what_has_not_begun(
    said: RevokeAnswer,
) -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    old = executor.last
    answer = update(node, call.task_id, b"new")
    assert answer.outcome is None
    assert len(executor.revokes) == 1
    executor.answers_revoke(said)
    assert answer.view.revision == 2
    world.run(10)
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.UPDATED, K.CLAIMED]
    assert executor.last.run != old.run
    assert ran(executor.orders) == [b"", b"new"]


def test_r14_a_reschedule_of_a_sent_run_asks_first() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    answer = reschedule(node, call.task_id, 5_000)
    executor.answers_revoke(RevokeAnswer.REVOKED)
    assert answer.view.due_ms == START_MS + 5_000
    world.run(4_999)
    assert len(executor.orders) == 1
    world.run(1)
    assert executor.last.due_ms == START_MS + 5_000


@pytest.mark.parametrize("change", [update, reschedule])
def test_r14_a_change_of_a_running_attempt_is_too_late_and_its_handler_is_not_told(
    change: object,
) -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    answer = update(node, call.task_id) if change is update else reschedule(node, call.task_id, 9)
    executor.answers_revoke(RevokeAnswer.RUNNING)
    assert answer.refusal is RejectionReason.TOO_LATE
    assert f"attempt 1 has started at {instant_text(START_MS)}" in str(answer.outcome)
    assert executor.cancels == []
    later = update(node, call.task_id, request_id="later")
    assert later.refusal is RejectionReason.TOO_LATE
    executor.succeeds(executor.last)
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.SUCCEEDED]


def test_r14_without_an_answer_the_change_is_unknown_and_not_written() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    asked = update(node, call.task_id)
    node.disconnect(executor)
    assert asked.refusal is RejectionReason.UNKNOWN
    assert reschedule(node, call.task_id, 5_000).refusal is RejectionReason.UNKNOWN
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED]


def test_r14_a_cancel_and_an_update_that_ask_together_are_decided_in_turn() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    change, cancel = update(node, call.task_id, b"new"), node.cancel(call.task_id)
    too_late = update(node, call.task_id, b"newer", request_id="second")
    executor.answers_revoke(RevokeAnswer.REVOKED)
    assert change.view.revision == 2
    assert cancel.view.state is PublicState.CANCELLED
    assert too_late.refusal is RejectionReason.TOO_LATE
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.UPDATED, K.CANCELLED]


def test_r14_a_refused_order_answers_those_who_asked_for_it_back() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    change = update(node, call.task_id, b"new")
    executor.refuses(executor.last, RefusalReason.NO_FREE_SLOT)
    assert change.view.revision == 2
    executor.answers_revoke(RevokeAnswer.NOT_SEEN)
    executor.says_capacity(5)
    world.run(100)
    assert ran(executor.orders)[1:] == [b"new"]
    assert world.disk.kinds(call.task_id) == [K.BORN_CLAIMED, K.UPDATED, K.CLAIMED]


def test_a_change_after_the_end_is_too_late_and_says_how_it_ended() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    executor.succeeds(executor.last)
    for answer in (update(node, call.task_id), reschedule(node, call.task_id, 5)):
        assert answer.refusal is RejectionReason.TOO_LATE
        assert f"attempt 1 started at {instant_text(START_MS)}" in str(answer.outcome)
        assert "ended as SUCCEEDED" in str(answer.outcome)


def test_r15_the_answer_to_a_change_names_the_attempts_that_may_still_start() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    node = world.owner()
    call = node.create()
    executor.vanishes()
    answer = update(node, call.task_id, b"new")
    assert answer.view.unaccounted == ("attempt 1 on x1",)
    assert reschedule(node, call.task_id, 10).view.unaccounted == ("attempt 1 on x1",)


# Which revision -----------------------------------------------------------------------------------


def test_a_stale_etag_changes_nothing_and_every_change_counts() -> None:
    world = World()
    _, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    assert update(node, call.task_id, revision=1).view.revision == 2
    moved = reschedule(node, call.task_id, 2 * HOUR_MS, revision=2)
    assert moved.view.revision == 3
    stale = update(node, call.task_id, b"3", revision=2, request_id="second")
    assert stale.refusal is RejectionReason.STALE_ETAG
    late = reschedule(node, call.task_id, 5, revision=1, request_id="third")
    assert late.refusal is RejectionReason.STALE_ETAG
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.UPDATED, K.RESCHEDULED]


def test_of_two_updates_of_one_revision_one_wins() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create()
    first = update(node, call.task_id, b"a", revision=1, request_id="a")
    second = update(node, call.task_id, b"b", revision=1, request_id="b")
    executor.answers_revoke(RevokeAnswer.REVOKED)
    assert first.view.spec.payload.data == b"a"
    assert second.refusal is RejectionReason.STALE_ETAG


def test_only_the_named_fields_change() -> None:
    world = World()
    _, node = begun(world)
    call = node.create(in_ms=HOUR_MS, priority=3, labels=(("a", "b"),))
    before = node.read(call.task_id).view.spec
    answer = update(
        node,
        call.task_id,
        fields=("priority", "timeouts"),
        priority=7,
        timeouts=Timeouts(heartbeat_ms=9),
        labels=(("no", "no"),),
        handler="other",
    )
    after = answer.view.spec
    assert (after.priority, after.timeouts.heartbeat_ms) == (7, 9)
    assert (after.handler, after.labels, after.payload) == ("charge", (("a", "b"),), before.payload)
    assert answer.view.effective_priority == 7
    assert answer.view.due_ms == START_MS + HOUR_MS


def test_the_handler_of_a_task_never_changes() -> None:
    world = World()
    _, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    answer = update(node, call.task_id, fields=("payload", "handler"), handler="other")
    assert answer.refusal is RejectionReason.PRECONDITION
    assert world.disk.kinds(call.task_id) == [K.CREATED]


def test_what_changes_nothing_leaves_no_event_unless_it_may_have_been_sent_before() -> None:
    world = World()
    _, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    same = update(node, call.task_id, b"", request_id="same")
    moved = reschedule(node, call.task_id, HOUR_MS)
    assert same.view.revision == moved.view.revision == 1
    assert world.disk.kinds(call.task_id) == [K.CREATED]
    again(same)
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.UPDATED]
    update(node, call.task_id, b"other's", request_id="others")
    late = node.ask(same.command, call.task_id)
    assert late.view.spec.payload.data == b"other's"


def test_r08_a_repeated_change_is_recognised_before_its_revision_is_looked_at() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=2_000)
    change = update(node, call.task_id, b"new", revision=1)
    move = reschedule(node, call.task_id, 2_500, revision=2)
    for repeated in (again(change), again(move), again(change)):
        assert repeated.view.revision == 3
    world.run(1_500)
    assert again(change).view.state is PublicState.SCHEDULED
    world.run(1_000)
    executor.starts(executor.last)
    assert again(change).view.state is PublicState.RUNNING
    executor.succeeds(executor.last)
    assert again(move).view.state is PublicState.SUCCEEDED
    kinds = world.disk.kinds(call.task_id)
    assert kinds == [K.CREATED, K.UPDATED, K.RESCHEDULED, K.CLAIMED, K.SUCCEEDED]


def test_r08_a_change_that_was_durable_is_recognised_by_the_next_owner() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    node.hold_writes = True
    change = update(node, call.task_id, b"new", revision=1)
    move = None
    node.land_unheard()
    node.frozen = True
    second = world.owner()
    repeated = again(change, second)
    assert repeated.view.revision == 2
    assert repeated.view.spec.payload.data == b"new"
    move = reschedule(second, call.task_id, 5_000, revision=2)
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.UPDATED, K.ADOPTED, K.RESCHEDULED]
    world.run(5_000)
    assert ran(executor.orders) == [b"new"]
    assert move.view.spec.payload.data == b"new"


def test_r08_a_change_that_was_lost_is_made_by_the_next_owner() -> None:
    world = World()
    _, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    node.hold_writes = True
    change = update(node, call.task_id, b"new", revision=1)
    node.writes.clear()
    node.frozen = True
    repeated = again(change, world.owner())
    assert repeated.view.spec.payload.data == b"new"
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.ADOPTED, K.UPDATED]


def test_the_same_request_with_another_change_is_refused() -> None:
    world = World()
    _, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    update(node, call.task_id, b"a")
    reschedule(node, call.task_id, 7_000)
    for answer in (update(node, call.task_id, b"b"), reschedule(node, call.task_id, 8_000)):
        assert answer.refusal is RejectionReason.REQUEST_ID_REUSED


def test_a_caller_without_request_ids_is_never_taken_for_a_repetition() -> None:
    world = World()
    _, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    first = update(node, call.task_id, b"a", request_id="")
    assert (first.view.revision, update(node, call.task_id, b"b", request_id="").view.revision) == (
        2,
        3,
    )


def test_the_last_events_of_a_journal_are_kept_for_attempts() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    for number in range(399):
        assert update(node, call.task_id, b"%d" % number, request_id=f"u{number}").view.revision
    for answer in (
        update(node, call.task_id, b"x", request_id="x"),
        reschedule(node, call.task_id, 5, request_id="y"),
    ):
        assert answer.refusal is RejectionReason.PRECONDITION
    assert update(node, call.task_id, b"398", request_id="u398").view.revision == 400
    world.run(HOUR_MS)
    executor.succeeds(executor.last)
    assert ran(executor.orders) == [b"398"]
    assert node.read(call.task_id).view.state is PublicState.SUCCEEDED


# What is not there --------------------------------------------------------------------------------


def test_a_change_of_an_unknown_id_is_not_found_and_leaves_nothing() -> None:
    world = World()
    _, node = begun(world)
    task_id = node.create(in_ms=HOUR_MS).task_id
    other = World()
    _, elsewhere = begun(other)
    for answer in (update(elsewhere, task_id), reschedule(elsewhere, task_id, 5)):
        assert answer.refusal is RejectionReason.NOT_FOUND
    assert other.disk.journal == {}
    assert task_id not in next(iter(elsewhere.engine.shards.values())).tasks


def test_r21_a_change_below_the_watermark_has_expired() -> None:
    world = World()
    _, node = begun(world)
    call = node.create(in_ms=1_000)
    shard = next(iter(node.engine.shards.values()))
    shard.deleted_below = minute_of(START_MS + 120_000)
    assert update(node, call.task_id).refusal is RejectionReason.EXPIRED
    assert reschedule(node, call.task_id, 5).refusal is RejectionReason.EXPIRED


def test_the_next_owner_runs_the_version_that_was_acknowledged() -> None:
    world = World()
    executor, node = begun(world)
    call = node.create(in_ms=5_000, retry=RetryPolicy(max_attempts=2))
    update(
        node, call.task_id, b"v2", fields=("payload", "retry"), retry=RetryPolicy(max_attempts=9)
    )
    node.frozen = True
    second = world.owner()
    world.run(5_000)
    assert ran(executor.orders) == [b"v2"]
    executor.fails(executor.last, delay_ms=100)
    second.frozen = True
    third = world.owner()
    world.run(100)
    assert ran(executor.orders) == [b"v2", b"v2"]
    executor.fails(executor.last, delay_ms=HOUR_MS)
    view = third.read(call.task_id).view
    assert (view.state, view.spec.retry.max_attempts) == (PublicState.RETRYING, 9)


def test_whoever_follows_a_task_hears_of_its_changes() -> None:
    world = World()
    _, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    watch = node.ask(WatchTask(task_id=call.task_id, namespace="shop"), call.task_id)
    update(node, call.task_id, b"new")
    assert watch.view.spec.payload.data == b"new"
    reschedule(node, call.task_id, 5_000)
    assert watch.view.due_ms == START_MS + 5_000


def test_a_hint_that_is_written_again_is_what_it_was() -> None:
    """Under one key there is one content (rule R7): the priority is that of the time's event."""
    world = World()
    _, node = begun(world)
    call = node.create(in_ms=HOUR_MS)
    update(node, call.task_id, fields=("priority",), priority=8)
    node.frozen = True
    assert world.owner().read(call.task_id).view.effective_priority == 8
    assert world.disk.kinds(call.task_id) == [K.CREATED, K.UPDATED, K.ADOPTED]
    hints = [row for rows in world.disk.due.values() for row in rows]
    assert [(row.task_id, row.priority) for row in hints] == [(call.task_id, 4)]
