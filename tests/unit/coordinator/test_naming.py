"""Chosen names: of each at most one open task, whoever crashes or dawdles where."""

from __future__ import annotations

import asyncio

from timeball.errors import AlreadyExists

from coordinator.naming import GRACE_MS, name_key
from coordinator.requests import AfterEnd, Caller, ChosenName, CreateRequest, WhileOpen
from tests.support.fake_owners import Rig, on_rig
from timeball_server.core.commands import CreateTask
from timeball_server.core.ids import Bucket, IdParts, Minute, ShardId, TaskId, encode_id
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import TaskSpec, TaskView
from timeball_server.rpc.convert import task_name

CLERK = Caller("shop", "clerk")
SPEC = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")
SHARDS = (0, 1, 2, 3)
DAILY = name_key("daily")


def wish(
    while_open: WhileOpen = WhileOpen.FAIL, after_end: AfterEnd = AfterEnd.ALLOW
) -> CreateRequest:
    chosen = ChosenName(name="daily", while_open=while_open, after_end=after_end)
    return CreateRequest(spec=SPEC, time=CreateTime(delay_ms=60_000), chosen=chosen)


async def create(rig: Rig, request: CreateRequest) -> TaskView | Exception:
    (answer,) = await rig.api.create(CLERK, [request])
    return answer


def refused_for(answer: TaskView | Exception, task: TaskView | Exception) -> bool:
    assert isinstance(task, TaskView)
    assert isinstance(answer, AlreadyExists), answer
    return answer.metadata["task"] == task_name("shop", task.task_id)


def ghost(rig: Rig) -> TaskId:
    """An address whose creation never came: its coordinator has died."""
    minute = Minute(rig.clock.now().wall_ms // 60_000)
    return encode_id(IdParts(Bucket(minute, ShardId(2)), bytes(range(16))))


@on_rig
async def test_a_creator_that_died_with_the_name_in_hand_is_waited_for_and_closed(
    rig: Rig,
) -> None:
    owner = await rig.node("west", *SHARDS)
    dead = ghost(rig)
    await rig.store.bind_name("shop", DAILY, dead)
    before_ms = rig.clock.now().mono_ms
    made = await create(rig, wish())
    assert isinstance(made, TaskView)
    assert rig.clock.now().mono_ms - before_ms >= GRACE_MS
    assert owner.closed == {dead}
    assert await rig.store.read_names("shop", [DAILY]) == {DAILY: made.task_id}
    assert refused_for(await create(rig, wish()), made)


@on_rig
async def test_a_creation_that_comes_in_time_keeps_the_name(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    owner.delay_ms = 2 * GRACE_MS
    first = asyncio.create_task(create(rig, wish()))
    await rig.clock.sleep_ms(10)
    second = await create(rig, wish())
    assert refused_for(second, await first)
    assert not owner.closed


async def overtaken(rig: Rig, request: CreateRequest) -> tuple[TaskView | Exception, ...]:
    """A creation that takes the name, dawdles, and finds its address closed; and the winner."""
    owner = await rig.node("west", *SHARDS)
    owner.delay_ms = 10 * GRACE_MS
    slow = asyncio.create_task(create(rig, request))
    await rig.clock.sleep_ms(10)
    owner.delay_ms = 0
    winner = await create(rig, wish())
    assert len(owner.closed) == 1
    return await slow, winner


@on_rig
async def test_a_creation_that_comes_too_late_learns_who_has_the_name(rig: Rig) -> None:
    slow, winner = await overtaken(rig, wish())
    assert refused_for(slow, winner)


@on_rig
async def test_who_comes_too_late_and_would_use_another_uses_it(rig: Rig) -> None:
    slow, winner = await overtaken(rig, wish(WhileOpen.USE_EXISTING))
    assert isinstance(slow, TaskView)
    assert isinstance(winner, TaskView)
    assert slow.task_id == winner.task_id


@on_rig
async def test_who_comes_too_late_replaces_nobody(rig: Rig) -> None:
    slow, winner = await overtaken(rig, wish(WhileOpen.REPLACE_PENDING))
    assert isinstance(slow, AlreadyExists)
    assert isinstance(winner, TaskView)


@on_rig
async def test_only_creations_with_a_name_pay_for_one(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    plain = CreateRequest(spec=SPEC, time=CreateTime(delay_ms=60_000))
    answers = await rig.api.create(CLERK, [plain, wish(), plain])
    assert all(isinstance(each, TaskView) for each in answers)
    assert await rig.store.read_names("shop", [DAILY]) != {}
    sizes = sorted(sum(isinstance(command, CreateTask) for command in call) for call in owner.calls)
    assert sum(sizes) == 3
