"""Changes of tasks on the coordinator's side: what requests mean, what a retry does, what is shown
of a task that was deleted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from timeball.errors import (
    FailedPrecondition,
    InvalidRequest,
    OutcomeUnknown,
    TaskNotFound,
    TimeballError,
    TooLate,
)
from timeball.v1 import task_pb2
from timeball.v1 import task_service_pb2 as pb

from coordinator.change_messages import (
    changed_fields,
    delete_request,
    reschedule_request,
    retry_request,
    revision_of,
    update_request,
)
from coordinator.ended import GONE_MS, KEPT_GONE, LIFE_MS, EndedTasks
from coordinator.redrive import Redriver
from coordinator.requests import Caller, CreateRequest, DeleteRequest, RescheduleRequest
from tests.support.fake_owners import FakeOwner, Fault, Rig, on_rig
from timeball_server.core.commands import UPDATABLE_FIELDS, RescheduleTask
from timeball_server.core.ids import NodeId, TaskId
from timeball_server.core.journal import EventKind, OutcomeDetail
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import (
    Failure,
    FailureCause,
    Payload,
    PublicState,
    RetryPolicy,
    TaskSpec,
    TaskView,
    Timeouts,
)
from timeball_server.rpc.convert import etag_of

CLERK = Caller("shop", "clerk")
SPEC = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")
SHARDS = (0, 1, 2, 3)
ID = "0" * 40
NAME = f"namespaces/shop/tasks/{'0409n5g8s0006cyj5vpyxqsz6n1s7vb8s1x2y3z4'}"
REQUEST_ID = "0189d5f1-0000-7000-8000-000000000001"


# What requests mean -------------------------------------------------------------------------------


def fields(paths: list[str], **said: object) -> tuple[str, ...]:
    return changed_fields(task_pb2.Task(**said), paths)  # type: ignore[arg-type]


def refusal(paths: list[str], **said: object) -> tuple[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        fields(paths, **said)
    (violation,) = caught.value.violations
    assert caught.value.message == f"{violation.field}: {violation.description}"
    return violation.field, violation.description


def test_a_mask_names_what_changes_whatever_else_the_task_says() -> None:
    assert fields(["priority"], handler="a.b", priority=3, labels={"a": "b"}) == ("priority",)
    assert fields(["labels", "payload", "labels"]) == ("payload", "labels")
    assert fields(["*"]) == UPDATABLE_FIELDS


def test_without_a_mask_it_is_what_the_task_sets() -> None:
    timeouts = task_pb2.Timeouts()
    assert fields([], priority=0) == ("priority",)
    assert fields([], labels={"a": "b"}, timeouts=timeouts) == ("labels", "timeouts")
    assert fields([], retry=task_pb2.RetryPolicy(), name=NAME, etag="r1") == ("retry",)
    assert refusal([], name=NAME)[0] == "update_mask"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("run_time", "RescheduleTask"),
        ("delay", "RescheduleTask"),
        ("handler", "create another one"),
        ("owner", "create another one"),
        ("delivery_mode", "create another one"),
        ("retry.max_attempts", "name retry, which is changed as a whole"),
        ("payload.data", "name payload"),
        ("labels.team", "name labels"),
        ("state", "name some of payload, priority"),
        ("etag", "name some of"),
        ("nothing.of", "name some of"),
        ("", "name some of"),
    ],
)
def test_a_mask_that_names_something_else_is_told_what_to_do(path: str, words: str) -> None:
    field, sentence = refusal(["priority", path])
    assert field == "update_mask"
    assert sentence.startswith(f"{path} ")
    assert words in sentence


@pytest.mark.parametrize("paths", [[], ["*"]], ids=["empty", "all"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run_time", Timestamp(seconds=1)),
        ("delay", Duration(seconds=1)),
        ("handler", "a.b"),
        ("owner", "me"),
        ("delivery_mode", task_pb2.DELIVERY_MODE_AT_MOST_ONCE),
    ],
)
def test_what_cannot_be_changed_is_not_dropped_in_silence(
    paths: list[str], name: str, value: object
) -> None:
    field, sentence = refusal(paths, priority=3, **{name: value})
    assert field == f"task.{name}"
    assert "leave it out, or name in update_mask" in sentence


def test_etags_are_read_back_and_others_refused() -> None:
    assert revision_of("", "etag") is None
    assert [revision_of(etag_of(number), "etag") for number in (0, 1, 42)] == [0, 1, 42]
    for text in ("1", "r", "r-1", "r01", "R1", "r1 ", "r\u0661", "r" + "9" * 19):
        with pytest.raises(InvalidRequest) as caught:
            revision_of(text, "task.etag")
        assert caught.value.violations[0].field == "task.etag"


def test_an_update_carries_what_is_named_and_defaults_for_what_is_named_and_absent() -> None:
    task = task_pb2.Task(name=NAME, etag="r3", labels={"b": "1", "a": "2"})
    mask = FieldMask(paths=["labels", "retry"])
    message = pb.UpdateTaskRequest(task=task, update_mask=mask, request_id=REQUEST_ID, resend=True)
    wish = update_request(message, CLERK)
    assert (wish.task_id, wish.revision, wish.resend) == (NAME.rpartition("/")[2], 3, True)
    assert wish.fields == ("labels", "retry")
    assert wish.spec.labels == (("a", "2"), ("b", "1"))
    assert (wish.spec.retry, wish.spec.timeouts) == (RetryPolicy(), Timeouts())
    assert wish.request_id is not None
    assert wish.request_id.hex() == REQUEST_ID.replace("-", "")


def test_a_time_is_an_instant_or_a_delay_or_now() -> None:
    at = reschedule_request(pb.RescheduleTaskRequest(name=NAME, run_time=Timestamp(seconds=5)))
    assert (at.due_ms, at.delay_ms) == (5_000, 0)
    later = pb.RescheduleTaskRequest(name=NAME, delay=Duration(nanos=1), etag="r2", resend=True)
    moved = reschedule_request(later)
    assert (moved.due_ms, moved.delay_ms, moved.revision, moved.resend) == (None, 1, 2, True)
    now = reschedule_request(pb.RescheduleTaskRequest(name=NAME))
    assert (now.due_ms, now.delay_ms, now.revision) == (None, 0, None)
    retried = retry_request(pb.RetryTaskRequest(name=NAME, request_id=REQUEST_ID))
    assert replace(retried, request_id=None) == now
    assert retried.request_id is not None
    removed = delete_request(pb.DeleteTaskRequest(name=NAME, etag="r2"))
    assert (removed.task_id, removed.revision) == (now.task_id, 2)


@pytest.mark.parametrize("name", ["", "x", f"namespaces/-/schedules/{ID}"])
def test_only_tasks_are_changed(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        update_request(pb.UpdateTaskRequest(task=task_pb2.Task(name=name, priority=1)), CLERK)
    assert caught.value.violations[0].field == "task.name"
    for read in (
        lambda: reschedule_request(pb.RescheduleTaskRequest(name=name)),
        lambda: delete_request(pb.DeleteTaskRequest(name=name)),
        lambda: retry_request(pb.RetryTaskRequest(name=name)),
    ):
        with pytest.raises(InvalidRequest) as caught:
            read()
        assert caught.value.violations[0].field == "name"


# Retries ------------------------------------------------------------------------------------------


async def created(rig: Rig) -> TaskId:
    request = CreateRequest(spec=SPEC, time=CreateTime(delay_ms=60_000))
    (view,) = await rig.api.create(CLERK, [request])
    assert isinstance(view, TaskView)
    return view.task_id


async def ended(rig: Rig, owner: FakeOwner, kind: EventKind = EventKind.SUCCEEDED) -> TaskId:
    task_id = await created(rig)
    if kind is not EventKind.CANCELLED:
        await owner.append(task_id, EventKind.CLAIMED, executor=NodeId("red"), attempt=1)
    failure = Failure(kind="Declined", message="no", retriable=False)
    outcomes = {
        EventKind.SUCCEEDED: OutcomeDetail(started_ms=1, ended_ms=2, result=Payload(data=b"42")),
        EventKind.DEAD: OutcomeDetail(failure=failure, cause=FailureCause.NON_RETRIABLE),
    }
    await owner.append(task_id, kind, alarm=None, detail=outcomes.get(kind))
    return task_id


@on_rig
async def test_a_retry_of_what_waits_is_one_command_to_its_owner(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    task_id = await created(rig)
    view = await Redriver(rig.store, rig.api).retry(CLERK, RescheduleRequest(task_id=task_id))
    assert view.task_id == task_id
    (command,) = owner.calls[-1]
    assert isinstance(command, RescheduleTask)
    assert (command.due_ms, command.delay_ms, command.revision) == (None, 0, None)


@on_rig
async def test_a_retry_of_what_failed_is_a_new_task_once(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    task_id = await ended(rig, owner, EventKind.DEAD)
    redriver = Redriver(rig.store, rig.api)
    made = [await redriver.retry(CLERK, RescheduleRequest(task_id=task_id)) for _ in range(2)]
    assert made[0].task_id == made[1].task_id != task_id
    assert made[0].spec == replace(SPEC, redrive_of=task_id)
    (again,) = await redriver.redrive(CLERK, [task_id])
    assert again.result == made[1]


@on_rig
async def test_other_ends_are_not_retried_and_what_runs_is_too_late(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    redriver = Redriver(rig.store, rig.api)
    for kind, word in (
        (EventKind.SUCCEEDED, "SUCCEEDED"),
        (EventKind.CANCELLED, "CANCELLED"),
        (EventKind.TERMINATED, "TERMINATED"),
    ):
        task_id = await ended(rig, owner, kind)
        with pytest.raises(FailedPrecondition, match=f"is {word}; retry takes") as caught:
            await redriver.retry(CLERK, RescheduleRequest(task_id=task_id))
        assert not isinstance(caught.value, TooLate)
        assert caught.value.metadata == {"state": word}
    running = await created(rig)
    await owner.append(running, EventKind.CLAIMED, executor=NodeId("red"), attempt=1)
    owner.started[running] = 5
    with pytest.raises(TooLate) as late:
        await redriver.retry(CLERK, RescheduleRequest(task_id=running))
    assert late.value.metadata == {"state": PublicState.RUNNING}


@on_rig
async def test_a_retry_in_doubt_makes_no_new_task(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    task_id = await ended(rig, owner, EventKind.DEAD)
    before = len(owner.calls)
    owner.faults.extend([Fault.HANG])
    with pytest.raises(OutcomeUnknown):
        await Redriver(rig.store, rig.api).retry(CLERK, RescheduleRequest(task_id=task_id), 1_000)
    sent = [command for call in owner.calls[before:] for command in call]
    assert [type(command) for command in sent] == [RescheduleTask]


@on_rig
async def test_a_time_too_far_ahead_blames_its_own_field(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    task_id = await created(rig)
    far = RescheduleRequest(task_id=task_id, due_ms=10**16)
    with pytest.raises(InvalidRequest) as caught:
        await rig.api.reschedule(CLERK, far)
    assert [each.field for each in caught.value.violations] == ["run_time"]


# What is shown of a deleted task ------------------------------------------------------------------


@on_rig
async def test_a_deleted_task_is_gone_here_at_once_and_elsewhere_within_its_life(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    task_id = await ended(rig, owner)
    elsewhere = type(rig.api)(rig.cluster)
    for api in (rig.api, elsewhere):
        assert (await api.get(CLERK, task_id)).task.terminal
    shown = await rig.api.delete(CLERK, DeleteRequest(task_id=task_id))
    assert (shown.task_id, shown.result) == (task_id, Payload(data=b"42"))
    for look in (rig.api.get(CLERK, task_id), rig.api.wait(CLERK, task_id, 1_000)):
        with pytest.raises(TaskNotFound):
            await look
    (batched,) = await rig.api.get_many(CLERK, [task_id])
    assert isinstance(batched, TaskNotFound)
    assert (await elsewhere.get(CLERK, task_id)).task.terminal
    await rig.clock.sleep_ms(LIFE_MS + 1)
    with pytest.raises(TaskNotFound):
        await elsewhere.get(CLERK, task_id)
    with pytest.raises(TaskNotFound):
        await rig.api.delete(CLERK, DeleteRequest(task_id=task_id))


@on_rig
async def test_what_goes_on_is_not_deleted(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    task_id = await created(rig)
    with pytest.raises(FailedPrecondition):
        await rig.api.delete(CLERK, DeleteRequest(task_id=task_id))
    assert (await rig.api.get(CLERK, task_id)).task.task_id == task_id


@on_rig
async def test_a_delete_in_doubt_lets_go_of_what_was_read(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    task_id = await ended(rig, owner)
    await rig.api.get(CLERK, task_id)
    owner.faults.extend([Fault.BREAK_AFTER, *[Fault.UNREACHABLE] * 1_000])
    with pytest.raises(TimeballError):
        await rig.api.delete(CLERK, DeleteRequest(task_id=task_id), 1_000)
    owner.faults.clear()
    with pytest.raises(TaskNotFound):
        await rig.api.get(CLERK, task_id)


@on_rig
async def test_a_look_from_before_the_deletion_is_not_kept_after_it(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    view = (await rig.api.get(CLERK, await ended(rig, owner))).task
    kept = EndedTasks(rig.clock)
    kept.forget(view.task_id)
    kept.keep(view)
    assert kept.find(view.task_id, "shop") is None
    await rig.clock.sleep_ms(GONE_MS + 1)
    kept.forget(TaskId("another"))
    kept.keep(view)
    assert kept.find(view.task_id, "shop") is not None
    for number in range(KEPT_GONE):
        kept.forget(TaskId(str(number)))
    kept.keep(replace(view, task_id=TaskId("another")))
    assert kept.find(TaskId("another"), "shop") is not None  # the oldest of too many
    kept.keep(replace(view, task_id=TaskId("1")))
    assert kept.find(TaskId("1"), "shop") is None
