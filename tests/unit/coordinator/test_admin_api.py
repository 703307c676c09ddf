"""What operators see and may do: figures of owners, silent ones, draining, dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timeball.errors import (
    FailedPrecondition,
    InvalidRequest,
    NodeNotFound,
    TimeballError,
    Unavailable,
)

from coordinator.admin_api import REPORT_MS, AdminApi
from coordinator.admin_messages import node_message, shard_message
from coordinator.dead_letters import DeadLetters, Letter
from coordinator.overview import Overview, read_overview
from coordinator.requests import Caller, CreateRequest
from tests.support.fake_owners import LAYOUT, FakeOwner, Rig, on_rig
from timeball_server.core.ids import Epoch, NodeId, ShardId, TaskId
from timeball_server.core.journal import DeadLetterRow, EventKind, OutcomeDetail
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import Failure, FailureCause, TaskSpec
from timeball_server.ports.coordination import Member, Role
from timeball_server.ports.owners import (
    ExecutorFigures,
    NodeFigures,
    OwnerInspector,
    OwnerObserver,
    ShardFigures,
)

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
CLERK = Caller("shop", "clerk")


class Node(OwnerInspector):
    """A scheduler node that answers operators, or does not."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig = rig
        self.name = name
        self.silent = False
        self.gone = False
        self.epoch_ahead = 0
        self.drains = 0

    async def report(self) -> Sequence[ShardFigures]:
        if self.gone:
            raise Unavailable("not reached")
        if self.silent:
            await self.rig.clock.sleep_ms(10**9)
        return [
            ShardFigures(
                shard=shard,
                epoch=Epoch(epoch + self.epoch_ahead),
                tasks=10 + shard,
                waiting=5,
                due_now=2,
                starts=3,
                late_p50_ms=7,
                late_p99_ms=30,
            )
            for shard, epoch in self.rig.dialer.owners[f"{self.name}:1"].epochs.items()
        ]

    async def drain(self) -> None:
        if self.gone:
            raise Unavailable("not reached")
        self.drains += 1
        await self.rig.sessions[self.name].drain()


class Observed(Node, OwnerObserver):
    """A scheduler node that says how it sees the executors, too."""

    executors: tuple[ExecutorFigures, ...] = ()

    async def observe(self, from_s: int) -> NodeFigures:
        return NodeFigures(
            shards=tuple(await self.report()),
            executors=self.executors,
            seconds=(),
            since_s=0,
            until_s=from_s,
            lease_left_ms=1,
        )


class Operators:
    """AdminApi over a rig with two nodes of two shards each."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.nodes = {name: Node(rig, name) for name in ("west", "east")}

    async def start(self) -> AdminApi:
        await self.rig.node("west", 0, 1)
        await self.rig.node("east", 2, 3)
        front = await self.rig.service.connect(10_000)
        await front.join(
            Member(role=Role.COORDINATOR, node=NodeId("front"), address="front:1", started_ms=5)
        )
        await front.campaign()

        async def overview() -> Overview:
            return await read_overview(front, LAYOUT)

        return AdminApi(
            overview,
            lambda address: self.nodes[address.partition(":")[0]],
            self.rig.cluster,
            front.write_wish,
        )


@on_rig
async def test_every_shard_has_the_figures_of_its_owner(rig: Rig) -> None:
    picture = await (await Operators(rig).start()).picture()
    assert {shard: each.tasks for shard, each in picture.figures.items()} == {
        ShardId(number): 10 + number for number in range(4)
    }
    message = shard_message(picture.overview.shards[1], picture.figures)
    assert (message.owner, message.answered, message.waiting, message.due_now) == (
        *("west", True),
        *(5, 2),
    )
    assert message.starts == 3
    assert message.lateness_p50.ToMilliseconds() == 7
    assert message.lateness_p99.ToMilliseconds() == 30


@on_rig
async def test_members_show_who_leads_what_they_own_and_how_long_they_live(rig: Rig) -> None:
    picture = await (await Operators(rig).start()).picture()
    nodes = {
        str(each.node): node_message(each, picture.overview, picture.now_ms)
        for each in picture.overview.members
    }
    assert nodes["front"].leader
    assert not nodes["west"].leader
    assert list(nodes["east"].owned_shards) == [2, 3]
    assert nodes["front"].uptime.ToMilliseconds() == picture.now_ms - 5
    assert not nodes["west"].HasField("uptime")  # it never said when it started


@on_rig
async def test_executors_show_their_caps_and_who_leaves_them_out(rig: Rig) -> None:
    operators = Operators(rig)
    api = await operators.start()
    session = await rig.service.connect(10_000)
    incarnation = await session.join(
        Member(
            role=Role.EXECUTOR,
            node=NodeId("red"),
            address="red:1",
            handlers=("charge",),
            caps=(("charge", 3),),
        )
    )
    sad = ExecutorFigures(
        incarnation=incarnation,
        runs=2,
        stream_open=True,
        ready=True,
        left_out_ms=9_000,
        left_out_reason="100% of its attempts failed, 0% elsewhere",
    )
    west, east = (Observed(rig, name) for name in ("west", "east"))
    west.executors, east.executors = (sad,), (replace(sad, left_out_ms=0),)
    operators.nodes |= {"west": west, "east": east}
    for picture in (await api.picture(), (await api.nodes("executor", 10, ""))[0]):
        assert picture.left_out == {incarnation: [("west", sad.left_out_reason)]}
    picture = await api.picture()
    assert len(picture.figures) == 4
    (member,) = [each for each in picture.overview.members if each.node == "red"]
    message = node_message(member, left_out=picture.left_out[incarnation])
    assert dict(message.caps) == {"charge": 3}
    assert list(message.left_out_by) == ["west"]
    assert message.left_out_reason == sad.left_out_reason


@on_rig
async def test_a_silent_owner_holds_nobody_up_and_is_shown_as_such(rig: Rig) -> None:
    operators = Operators(rig)
    api = await operators.start()
    operators.nodes["west"].silent = True
    before_ms = rig.clock.now().mono_ms
    picture = await api.picture()
    assert rig.clock.now().mono_ms - before_ms <= REPORT_MS
    assert set(picture.figures) == {ShardId(2), ShardId(3)}
    message = shard_message(picture.overview.shards[0], picture.figures)
    assert (message.owner, message.answered) == ("west", False)
    assert not message.HasField("lateness_p99")


@on_rig
async def test_figures_of_another_epoch_are_not_the_shard_s(rig: Rig) -> None:
    operators = Operators(rig)
    api = await operators.start()
    operators.nodes["west"].epoch_ahead = -1
    operators.nodes["east"].gone = True
    assert (await api.picture()).figures == {}


@on_rig
async def test_draining_a_node_marks_it_once_and_leaves_the_last_one(rig: Rig) -> None:
    operators = Operators(rig)
    api = await operators.start()
    assert (await api.drain("west")).draining
    assert (await api.drain("west")).draining
    assert operators.nodes["west"].drains == 1
    drained = {each.node for each in (await api.picture()).overview.members if each.draining}
    assert drained == {"west"}
    with pytest.raises(FailedPrecondition, match="last scheduler node"):
        await api.drain("east")
    assert operators.nodes["east"].drains == 0


@on_rig
async def test_what_cannot_be_drained_is_said(rig: Rig) -> None:
    operators = Operators(rig)
    api = await operators.start()
    with pytest.raises(NodeNotFound, match="nobody"):
        await api.drain("nobody")
    with pytest.raises(FailedPrecondition, match="no scheduler node but coordinator"):
        await api.drain("front")
    operators.nodes["west"].gone = True
    with pytest.raises(Unavailable):
        await api.drain("west")


@on_rig
async def test_a_shard_is_wished_on_a_node_that_takes_it_and_the_wish_is_taken_back(
    rig: Rig,
) -> None:
    operators = Operators(rig)
    api = await operators.start()
    for _ in range(2):
        moved = (await api.move(1, "east")).overview.shards[1]
        assert (moved.owner, moved.pinned) == ("west", "east")
        assert shard_message(moved, {}).pinned == "east"
    for shard, name, error, words in [
        (4, "east", InvalidRequest, "0 to 3"),
        (-1, "east", InvalidRequest, "0 to 3"),
        (1, "nobody", NodeNotFound, "nobody"),
        (1, "front", FailedPrecondition, "no scheduler node but coordinator"),
    ]:
        with pytest.raises(error, match=words):
            await api.move(shard, name)
    await api.drain("west")
    with pytest.raises(FailedPrecondition, match="west is draining"):
        await api.move(1, "west")
    for _ in range(2):
        assert (await api.unpin(1)).overview.shards[1].pinned is None
    with pytest.raises(InvalidRequest):
        await api.unpin(4)


@on_rig
async def test_nodes_and_shards_are_paged_in_a_fixed_order(rig: Rig) -> None:
    api = await Operators(rig).start()
    names: list[str] = []
    token = ""
    while True:
        _, page = await api.nodes("", 2, token)
        names += [each.node for each in page.rows]
        token = page.next_token
        if not token:
            break
    assert names == ["front", "east", "west"]
    _, nodes = await api.nodes("executor", 0, "")
    assert nodes.rows == []
    picture, shards = await api.shards("east", 1, "")
    assert [each.shard for each in shards.rows] == [2]
    assert picture.figures
    _, rest = await api.shards("east", 1, shards.next_token)
    assert ([each.shard for each in rest.rows], rest.next_token) == ([3], "")
    for ask in (api.shards("west", 1, shards.next_token), api.nodes("", 1, shards.next_token)):
        with pytest.raises(InvalidRequest, match="page_token"):
            await ask


def letter_row(task: TaskId, at_ms: int) -> DeadLetterRow:
    return DeadLetterRow(
        namespace="shop",
        at_ms=at_ms,
        task_id=task,
        epoch=Epoch(200),
        handler="billing.charge",
        cause="NON_RETRIABLE",
        message="the card was declined",
    )


async def failed(rig: Rig, owner: FakeOwner, *, losers: int = 0) -> TaskId:
    """A task that failed for good just now, and letters of owners that lost."""
    spec = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")
    request = CreateRequest(spec=spec, time=CreateTime(delay_ms=0))
    (view,) = await rig.api.create(CLERK, [request])
    if isinstance(view, TimeballError):
        raise view
    await owner.append(view.task_id, EventKind.CLAIMED, executor=NodeId("red"), attempt=1)
    failure = Failure(kind="Declined", message="the card was declined", retriable=False)
    detail = OutcomeDetail(failure=failure, cause=FailureCause.NON_RETRIABLE)
    await owner.append(view.task_id, EventKind.DEAD, alarm=None, detail=detail)
    now_ms = rig.clock.now().wall_ms
    row = letter_row(view.task_id, now_ms)
    lost = [replace(row, epoch=Epoch(1 + at), at_ms=now_ms - 1 - at) for at in range(losers)]
    await rig.store.append([row, *lost])
    return view.task_id


async def all_letters(rig: Rig, page_size: int) -> list[Letter]:
    lister = DeadLetters(rig.store, rig.clock, b"key")
    found: list[Letter] = []
    token = ""
    while True:
        page = await lister.page("shop", page_size=page_size, page_token=token)
        assert len(page.letters) <= page_size
        found += page.letters
        token = page.next_token
        if not token:
            return found


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 20 * HOUR_MS), st.integers(0, 2)), max_size=12),
    st.integers(1, 7),
)
def test_pages_together_hold_every_letter_once_newest_first(
    plan: list[tuple[int, int]], page_size: int
) -> None:
    async def main(rig: Rig) -> None:
        owner = await rig.node("west", 0, 1, 2, 3)
        made: list[tuple[int, TaskId]] = []
        for pause_ms, losers in plan:
            rig.clock.skew_ms += pause_ms
            task = await failed(rig, owner, losers=losers)
            made.append((rig.clock.now().wall_ms, task))
        first_ms = rig.clock.now().wall_ms + 1 - 7 * DAY_MS
        expected = [task for at_ms, task in reversed(made) if at_ms >= first_ms]
        letters = await all_letters(rig, page_size)
        assert [each.task.task_id for each in letters] == expected
        assert all(each.task.cause is FailureCause.NON_RETRIABLE for each in letters)

    on_rig(main)()


@on_rig
async def test_letters_of_tasks_that_did_not_fail_or_are_of_others_are_not_shown(rig: Rig) -> None:
    owner = await rig.node("west", 0, 1, 2, 3)
    task = await failed(rig, owner)
    lister = DeadLetters(rig.store, rig.clock, b"key")
    assert [each.task.task_id for each in (await lister.page("shop")).letters] == [task]
    assert (await lister.page("other")).letters == []
    row = letter_row(task, rig.clock.now().wall_ms)
    foreign = replace(row, namespace="other")
    unknown = replace(row, task_id=TaskId(task[:-1] + ("0" if task[-1] != "0" else "1")))
    await rig.store.append([foreign, unknown])
    assert (await lister.page("other")).letters == []
    assert [each.task.task_id for each in (await lister.page("shop")).letters] == [task]


@on_rig
async def test_a_letter_stays_when_a_later_owner_confirms_it(rig: Rig) -> None:
    owner = await rig.node("west", 0, 1, 2, 3)
    task = await failed(rig, owner)
    await rig.clock.sleep_ms(50)
    await owner.append(task, EventKind.ADOPTED)
    assert [each.task.task_id for each in await all_letters(rig, 5)] == [task]


@on_rig
async def test_a_token_belongs_to_its_query_and_a_range_has_a_length(rig: Rig) -> None:
    owner = await rig.node("west", 0, 1, 2, 3)
    for _ in range(3):
        await failed(rig, owner)
    lister = DeadLetters(rig.store, rig.clock, b"key")
    token = (await lister.page("shop", page_size=1)).next_token
    assert token
    for namespace, said in [("other", token), ("shop", token[:-2] + "AA"), ("shop", "x")]:
        with pytest.raises(InvalidRequest, match="page_token"):
            await lister.page(namespace, page_token=said)
    with pytest.raises(InvalidRequest, match="failed_from"):
        await lister.page("shop", from_ms=10, to_ms=10)
    with pytest.raises(InvalidRequest, match="failed_from"):
        await lister.page("shop", from_ms=rig.clock.now().wall_ms + 5)
