"""Schedules: routed to their owner, named as schedules, repeated like creations of tasks."""

from __future__ import annotations

import uuid

import pytest
from timeball.errors import Internal, TaskNotFound

from coordinator.outcomes import schedule_of, view_of
from coordinator.requests import Caller, CreateRequest
from coordinator.schedules import CreateScheduleRequest, ScheduleApi
from tests.support.fake_owners import Fault, Rig, on_rig
from tests.support.virtual_loop import START_WALL_MS
from timeball_server.core.commands import Done, EndSchedule, ScheduleDone
from timeball_server.core.ids import KIND_SCHEDULE, SCHEDULES_MINUTE, TaskId, decode_id
from timeball_server.core.minting import CreateTime, fresh_request_id
from timeball_server.core.model import ScheduleSpec, TaskSpec, TaskView

CLERK = Caller("shop", "clerk")
THIEF = Caller("bank", "thief")
TASK = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")
SPEC = ScheduleSpec(task=TASK, every_ms=2_000)
SHARDS = (0, 1, 2, 3)
V7 = fresh_request_id(START_WALL_MS, b"0123456789")
V4 = uuid.UUID(int=7, version=4).bytes


def ask(request_id: bytes | None = None, *, resend: bool = False) -> CreateScheduleRequest:
    return CreateScheduleRequest(spec=SPEC, request_id=request_id, resend=resend)


@on_rig
async def test_a_schedule_is_created_read_and_ended(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    api = ScheduleApi(rig.cluster)
    made = await api.create(CLERK, ask())
    assert decode_id(made.schedule_id).kind == KIND_SCHEDULE
    assert await api.get(CLERK, made.schedule_id) == made
    assert (await api.end(CLERK, made.schedule_id)).ended
    assert (await api.get(CLERK, made.schedule_id)).ended


@pytest.mark.parametrize("request_id", [V7, V4], ids=["v7", "v4"])
def test_a_repeated_creation_meets_the_first_one(request_id: bytes) -> None:
    async def main(rig: Rig) -> None:
        owner = await rig.node("west", *SHARDS)
        api = ScheduleApi(rig.cluster)
        owner.faults.append(Fault.BREAK_AFTER)
        first = await api.create(CLERK, ask(request_id))
        await rig.clock.sleep_ms(10 * 60_000)
        assert await api.create(CLERK, ask(request_id, resend=True)) == first
        assert (len(owner.schedules), owner.doubled) == (1, [])

    on_rig(main)()


@on_rig
async def test_a_schedule_without_a_name_lives_outside_the_minutes(rig: Rig) -> None:
    """No bucket must be kept for it, and no removal of a bucket can take it along."""
    await rig.node("west", *SHARDS)
    made = await ScheduleApi(rig.cluster).create(CLERK, ask())
    assert decode_id(made.schedule_id).home.minute == SCHEDULES_MINUTE


@on_rig
async def test_an_end_in_doubt_is_sent_again(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    api = ScheduleApi(rig.cluster)
    made = await api.create(CLERK, ask())
    owner.faults.append(Fault.BREAK_AFTER)
    assert (await api.end(CLERK, made.schedule_id)).ended
    assert [type(call[0]) for call in owner.calls[1:]] == [EndSchedule, EndSchedule]


@on_rig
async def test_another_namespace_finds_nothing(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    api = ScheduleApi(rig.cluster)
    made = await api.create(CLERK, ask())
    for call in (api.get(THIEF, made.schedule_id), api.end(THIEF, made.schedule_id)):
        with pytest.raises(TaskNotFound):
            await call


@on_rig
async def test_tasks_and_schedules_are_not_taken_for_each_other(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    api = ScheduleApi(rig.cluster)
    schedule = await api.create(CLERK, ask())
    (task,) = await rig.api.create(CLERK, [CreateRequest(spec=TASK, time=CreateTime())])
    assert isinstance(task, TaskView)
    for call in (
        api.get(CLERK, task.task_id),
        api.get(CLERK, TaskId("nonsense")),
        rig.api.get(CLERK, schedule.schedule_id),
    ):
        with pytest.raises(TaskNotFound):
            await call
    with pytest.raises(Internal):
        view_of(ScheduleDone(schedule))
    with pytest.raises(Internal):
        schedule_of(Done(task))
