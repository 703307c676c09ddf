"""Coordinators over journals that a newer version wrote: listed, refused, and never absent."""

from __future__ import annotations

from dataclasses import replace

from timeball.errors import NewerVersionNeeded, TaskNotFound, Unavailable
from timeball.v1 import schedule_service_pb2 as pb

from coordinator.batch_reads import BatchReader
from coordinator.dead_letters import DeadLetters
from coordinator.deadline import Deadline
from coordinator.reader import Reader
from coordinator.redrive import Redriver
from coordinator.requests import Caller, CreateRequest
from coordinator.schedule_answers import occurrence_message
from coordinator.schedule_reading import ScheduleReader, SchedulesQuery
from coordinator.schedules import ScheduleApi
from tests.support.fake_owners import Rig, on_rig
from tests.support.foreign_rows import foreign
from tests.support.store_worlds import event, task, verdict
from timeball_server.core.ids import (
    KIND_SCHEDULE,
    SCHEDULES_MINUTE,
    Bucket,
    Epoch,
    IdParts,
    ShardId,
    TaskId,
    encode_id,
)
from timeball_server.core.journal import (
    LISTED_SCHEDULE,
    DeadLetterRow,
    EventKind,
    ScheduleDetail,
    SpecDetail,
    State,
    StateListRow,
)
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import (
    PublicScheduleState,
    PublicState,
    ScheduleSpec,
    TaskSpec,
    TaskView,
)

CLERK, TELLER = Caller("shop", "clerk"), Caller("bank", "teller")
SPEC = TaskSpec(namespace="shop", owner="clerk", handler="charge")
SHARDS = (0, 1, 2, 3)


async def written_by_newer(rig: Rig, task_id: TaskId) -> None:
    """A newer version goes on with the journal, in a later epoch."""
    head = (await rig.store.read_heads([task_id]))[task_id]
    later = replace(head, seq=head.seq + 1, epoch=Epoch(head.epoch + 5), prev_epoch=head.epoch)
    await rig.store.append([foreign(later)])


async def unread_task(rig: Rig) -> TaskId:
    await rig.node("west", *SHARDS)
    (view,) = await rig.api.create(CLERK, [CreateRequest(spec=SPEC, time=CreateTime())])
    assert isinstance(view, TaskView)
    await written_by_newer(rig, view.task_id)
    return view.task_id


@on_rig
async def test_a_dead_letter_is_listed_without_a_state_and_not_redriven(rig: Rig) -> None:
    task_id = await unread_task(rig)
    row = DeadLetterRow(
        namespace="shop",
        at_ms=rig.clock.now().wall_ms,
        task_id=task_id,
        epoch=Epoch(200),
        handler="charge",
        cause="EXHAUSTED",
        message="no",
    )
    await rig.store.append([row])
    letters = (await DeadLetters(rig.store, rig.clock, b"key").page("shop")).letters
    assert [(each.task.task_id, each.task.state) for each in letters] == [
        (task_id, PublicState.UNSPECIFIED)
    ]
    redriver = Redriver(rig.store, rig.api)
    (mine,) = await redriver.redrive(CLERK, [task_id])
    assert isinstance(mine.result, NewerVersionNeeded)
    (theirs,) = await redriver.redrive(TELLER, [task_id])
    assert isinstance(theirs.result, TaskNotFound)


@on_rig
async def test_where_nobody_can_be_asked_even_a_stale_value_is_no_guess(rig: Rig) -> None:
    task_id = task(1, shard=1)
    created = replace(event(task_id), detail=SpecDetail(spec=SPEC))
    await rig.store.append([created])
    await written_by_newer(rig, task_id)
    for allow_stale in (False, True):
        deadline = Deadline.after(rig.clock, 1_000)
        reader = BatchReader(rig.cluster, Reader(rig.store, rig.calls, rig.clock))
        (answer,) = await reader.read([task_id], "shop", deadline, allow_stale=allow_stale)
        assert isinstance(answer, Unavailable)


@on_rig
async def test_a_schedule_is_listed_without_a_state_beside_the_others(rig: Rig) -> None:
    home = Bucket(SCHEDULES_MINUTE, ShardId(1))
    ids = [encode_id(IdParts(home, bytes((n,)) * 16, KIND_SCHEDULE)) for n in (1, 2)]
    detail = ScheduleDetail(spec=ScheduleSpec(task=SPEC, every_ms=60_000))
    for each in ids:
        first = event(each, kind=EventKind.SCHEDULE_CREATED)
        line = StateListRow(
            namespace="shop", state=LISTED_SCHEDULE, at_ms=0, task_id=each, epoch=Epoch(0)
        )
        await rig.store.append([replace(first, state=State.ACTIVE, detail=detail), line])
    await written_by_newer(rig, ids[0])
    reader = ScheduleReader(rig.cluster, ScheduleApi(rig.cluster))
    page = await reader.page(CLERK, SchedulesQuery(), 0, "")
    assert {each.schedule_id: each.state for each in page.schedules} == {
        ids[0]: PublicScheduleState.UNSPECIFIED,
        ids[1]: PublicScheduleState.ACTIVE,
    }


def test_a_verdict_of_a_newer_version_is_told_in_its_cause() -> None:
    message = occurrence_message(replace(verdict(1), verdict="FROZEN", cause="cold"), "shop")
    assert message.verdict == pb.VERDICT_UNSPECIFIED
    assert message.cause == "FROZEN, a newer version's verdict: cold"
    assert occurrence_message(verdict(1), "shop").verdict != pb.VERDICT_UNSPECIFIED
