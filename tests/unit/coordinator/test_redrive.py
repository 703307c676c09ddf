"""Dead letters done again: a new task each, once, whoever asks and however often."""

from __future__ import annotations

from dataclasses import replace

import pytest
from timeball.errors import FailedPrecondition, PermissionDenied, TaskNotFound, TimeballError

from coordinator.dead_letters import DeadLetters
from coordinator.redrive import Redriver
from coordinator.requests import Caller, CreateRequest, RescheduleRequest
from tests.support.fake_owners import FakeOwner, Rig, on_rig
from timeball_server.core.ids import Epoch, NodeId, TaskId, request_time_ms
from timeball_server.core.journal import DeadLetterRow, EventKind, OutcomeDetail
from timeball_server.core.minting import CreateTime, redrive_request_id, request_name
from timeball_server.core.model import Failure, FailureCause, Payload, TaskSpec, TaskView

CLERK, OPERATOR = Caller("shop", "clerk"), Caller("shop", "op")
SPEC = TaskSpec(
    namespace="shop",
    owner="clerk",
    handler="billing.charge",
    payload=Payload(data=b"17"),
    priority=7,
    labels=(("desk", "7"),),
    schedule_id=TaskId("of a schedule"),
    nominal_ms=5,
)
SHARDS = (0, 1, 2, 3)


async def failed(rig: Rig, owner: FakeOwner, caller: Caller = CLERK) -> TaskId:
    spec = replace(SPEC, namespace=caller.namespace)
    (view,) = await rig.api.create(caller, [CreateRequest(spec=spec, time=CreateTime())])
    assert isinstance(view, TaskView)
    await owner.append(view.task_id, EventKind.CLAIMED, executor=NodeId("red"), attempt=1)
    failure = Failure(kind="Declined", message="no", retriable=False)
    detail = OutcomeDetail(failure=failure, cause=FailureCause.NON_RETRIABLE)
    await owner.append(view.task_id, EventKind.DEAD, alarm=None, detail=detail)
    return view.task_id


async def letter(rig: Rig, owner: FakeOwner) -> TaskId:
    """A task that failed for good just now, on the list."""
    task_id = await failed(rig, owner)
    row = DeadLetterRow(
        namespace="shop",
        at_ms=rig.clock.now().wall_ms,
        task_id=task_id,
        epoch=Epoch(200),
        handler=SPEC.handler,
        cause="NON_RETRIABLE",
        message="no",
    )
    await rig.store.append([row])
    return task_id


@on_rig
async def test_a_redrive_is_a_new_task_that_names_the_old_one(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    old = await failed(rig, owner)
    await rig.clock.sleep_ms(5_000)
    (made,) = await Redriver(rig.store, rig.api).redrive(OPERATOR, [old])
    new = made.result
    assert isinstance(new, TaskView)
    assert new.spec == replace(SPEC, redrive_of=old, schedule_id=None)
    assert new.task_id != old
    assert new.due_ms == rig.clock.now().wall_ms
    journal = (await rig.store.read_journals([old]))[old]
    assert journal[-1].kind is EventKind.DEAD  # the old one stays as it is


@on_rig
async def test_a_dead_letter_is_redriven_once_whoever_asks_and_whenever(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    old = await failed(rig, owner)
    redriver = Redriver(rig.store, rig.api)
    made: list[TaskId] = []
    for caller, pause_ms in ((OPERATOR, 0), (CLERK, 90_000), (OPERATOR, 30 * 86_400_000)):
        rig.clock.skew_ms += pause_ms
        for each in await redriver.redrive(caller, [old, old]):
            assert isinstance(each.result, TaskView)
            made.append(each.result.task_id)
    assert len(set(made)) == 1
    assert owner.doubled == []
    await owner.append(made[0], EventKind.CLAIMED, executor=NodeId("red"), attempt=1)
    await owner.append(made[0], EventKind.DEAD, alarm=None)
    (next_one,) = await redriver.redrive(OPERATOR, [made[0]])
    assert isinstance(next_one.result, TaskView)
    assert next_one.result.spec.redrive_of == made[0]


@on_rig
async def test_only_what_failed_in_this_namespace_is_redriven_each_by_itself(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    old = await failed(rig, owner)
    foreign = await failed(rig, owner, Caller("bank", "teller"))
    (open_task,) = await rig.api.create(
        CLERK, [CreateRequest(spec=SPEC, time=CreateTime(delay_ms=60_000))]
    )
    assert isinstance(open_task, TaskView)
    unknown = TaskId(old[:-1] + ("0" if old[-1] != "0" else "1"))
    asked = [foreign, open_task.task_id, unknown, old]
    results = await Redriver(rig.store, rig.api).redrive(OPERATOR, asked)
    assert [each.old for each in results] == asked
    kinds: list[type] = [type(each.result) for each in results]
    assert kinds == [TaskNotFound, FailedPrecondition, TaskNotFound, TaskView]


@on_rig
async def test_the_most_urgent_is_done_again_only_by_those_who_may_create_it(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    old = await failed(rig, owner)
    redriver = Redriver(rig.store, rig.api)
    now = RescheduleRequest(task_id=old)
    for ask in (
        redriver.retry(CLERK, now, highest_priority=SPEC.priority - 1),
        redriver.retry(CLERK, replace(now, resend=True), highest_priority=SPEC.priority - 1),
    ):
        with pytest.raises(PermissionDenied, match="role operator"):
            await ask
    done = await redriver.retry(CLERK, now, highest_priority=SPEC.priority)
    assert done.spec.redrive_of == old


@on_rig
async def test_a_shard_without_an_owner_refuses_its_own_only(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    letters = [await failed(rig, owner) for _ in range(12)]
    await rig.release("west", 2)
    results = await Redriver(rig.store, rig.api).redrive(OPERATOR, letters, 500)
    refused = [each for each in results if isinstance(each.result, TimeballError)]
    assert 0 < len(refused) < len(letters)
    await rig.take("west", 2)
    again = await Redriver(rig.store, rig.api).redrive(OPERATOR, letters)
    for before, after in zip(results, again, strict=True):
        assert isinstance(after.result, TaskView)
        if isinstance(before.result, TaskView):
            assert after.result.task_id == before.result.task_id


@on_rig
async def test_a_dead_letter_shows_the_task_that_does_it_again(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    redriven, refused, left = [await letter(rig, owner) for _ in range(3)]
    (made,) = await Redriver(rig.store, rig.api).redrive(OPERATOR, [redriven])
    assert isinstance(made.result, TaskView)
    await rig.store.bind_name("shop", request_name(redrive_request_id(refused)), TaskId("0" * 40))
    page = await DeadLetters(rig.store, rig.clock, b"key").page("shop")
    shown = {each.task.task_id: each.redriven_as for each in page.letters}
    assert shown == {redriven: made.result.task_id, refused: None, left: None}


@pytest.mark.parametrize("text", ["a", "b" * 40])
def test_the_request_of_a_redrive_says_no_time(text: str) -> None:
    request_id = redrive_request_id(TaskId(text))
    assert request_time_ms(request_id) is None
    assert request_id == redrive_request_id(TaskId(text))
