"""What a page of a list reads and asks, and what it may take from what was read before."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from coordinator.api import TaskApi
from coordinator.ended import LIFE_MS
from coordinator.paging import ListQuery
from coordinator.reader import ReadResult
from coordinator.requests import Caller, CreateRequest, DeleteRequest
from tests.support.fake_owners import EXECUTOR, FakeOwner, Rig, on_rig
from timeball_server.core.ids import ShardId, TaskId, home_of
from timeball_server.core.journal import EventKind, EventRow, StateListRow
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import EVERYBODY, PublicState, TaskSpec, TaskView
from timeball_server.ports.store import OwnerRow
from timeball_server.store.memory import MemoryDatabase, MemoryStore

CLERK: Final = Caller("shop", "clerk")
SPEC: Final = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")
QUERY: Final = ListQuery(namespace="shop", owner="clerk")
SUCCEEDED: Final = replace(QUERY, owner=EVERYBODY, states=frozenset({PublicState.SUCCEEDED}))
SHARDS: Final = (0, 1, 2, 3)
DAY_MS: Final = 86_400_000


async def made(rig: Rig) -> TaskId:
    """A task that is due tomorrow."""
    request = CreateRequest(spec=SPEC, time=CreateTime(delay_ms=DAY_MS))
    (result,) = await rig.api.create(CLERK, [request])
    assert isinstance(result, TaskView)
    return result.task_id


async def succeed(rig: Rig, owner: FakeOwner, task_id: TaskId) -> None:
    """End a task well, with its line in the list."""
    await owner.append(task_id, EventKind.SUCCEEDED, alarm=None)
    line = StateListRow(
        namespace="shop",
        state="SUCCEEDED",
        at_ms=rig.clock.now().wall_ms,
        task_id=task_id,
        epoch=owner.epochs[home_of(task_id).shard],
    )
    await rig.store.append([line])


class CountingStore(MemoryStore):
    """A memory store that notes what is read."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.reads: list[str] = []

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        self.reads.append(f"{len(task_ids)} journals")
        return await super().read_journals(task_ids)

    async def read_owners(self, shards: Collection[ShardId]) -> Mapping[ShardId, OwnerRow]:
        self.reads.append("owner rows")
        return await super().read_owners(shards)


def counting(rig: Rig) -> tuple[TaskApi, CountingStore]:
    """Another coordinator, whose reads are counted."""
    store = CountingStore(rig.database)
    return TaskApi(replace(rig.cluster, store=store)), store


async def tasks_of_all_kinds(rig: Rig) -> list[TaskId]:
    """Ten that wait, ten in hand, ten that have ended; two owners of shards."""
    nodes = [await rig.node("west", 0, 1), await rig.node("east", 2, 3)]
    ids = []
    for _ in range(10):
        waiting, in_hand, over = [await made(rig) for _ in range(3)]
        for task_id in (in_hand, over):
            owner = next(node for node in nodes if home_of(task_id).shard in node.epochs)
            await owner.append(task_id, EventKind.CLAIMED, executor=EXECUTOR, attempt=1)
        await succeed(rig, owner, over)
        ids += [waiting, in_hand, over]
        await rig.clock.sleep_ms(1)
    return ids


@on_rig
async def test_a_page_reads_what_may_have_changed_and_asks_each_owner_once(rig: Rig) -> None:
    ids = await tasks_of_all_kinds(rig)
    api, store = counting(rig)
    asked = {name: len(node.calls) for name, node in rig.dialer.owners.items()}
    first = await api.list_by_owner(QUERY)
    assert sorted(view.task_id for view in first.tasks) == sorted(ids)
    assert store.reads == ["30 journals", "owner rows"]
    calls = {name: len(node.calls) - asked[name] for name, node in rig.dialer.owners.items()}
    assert set(calls.values()) == {1}
    commands = [command for node in rig.dialer.owners.values() for command in node.calls[-1]]
    assert len(commands) == 10
    store.reads.clear()
    assert await api.list_by_owner(QUERY) == first
    assert store.reads == ["20 journals"]
    store.reads.clear()
    assert len((await api.list_by_owner(SUCCEEDED)).tasks) == 10
    answers = await api.get_many(CLERK, [view.task_id for view in first.tasks if view.terminal])
    assert all(isinstance(answer, ReadResult) and answer.task.journal for answer in answers)
    assert store.reads == ["10 journals", "owner rows"], "a list keeps no stories"
    await rig.clock.sleep_ms(LIFE_MS + 1)
    store.reads.clear()
    await api.list_by_owner(SUCCEEDED)
    assert store.reads == ["10 journals", "owner rows"]


@on_rig
async def test_lists_and_reads_of_one_do_not_undo_what_the_other_remembers(rig: Rig) -> None:
    first, second = (await tasks_of_all_kinds(rig))[2:6:3]
    api, store = counting(rig)
    told = await api.get(CLERK, first)
    await api.list_by_owner(SUCCEEDED)
    store.reads.clear()
    assert await api.get(CLERK, first) == told
    assert store.reads == [], "a list keeps the story that was known"
    await api.get(CLERK, second)
    assert store.reads == ["1 journals", "owner rows"]
    store.reads.clear()
    assert len((await api.list_by_owner(SUCCEEDED)).tasks) == 10
    assert store.reads == [], "a read of one keeps the instant that was known"


@on_rig
async def test_a_task_that_was_deleted_is_in_no_later_list(rig: Rig) -> None:
    gone = (await tasks_of_all_kinds(rig))[2::3]
    api, _ = counting(rig)
    for query in (QUERY, SUCCEEDED):
        assert {view.task_id for view in (await api.list_by_owner(query)).tasks} >= set(gone)
    await api.delete(CLERK, DeleteRequest(task_id=gone[0]))
    await rig.api.delete(CLERK, DeleteRequest(task_id=gone[1]))
    for query in (QUERY, SUCCEEDED):
        listed = {view.task_id for view in (await api.list_by_owner(query)).tasks}
        assert gone[0] not in listed, "deleted here"
        assert gone[1] in listed, "deleted by another coordinator, moments ago"
    await rig.clock.sleep_ms(LIFE_MS + 1)
    for query in (QUERY, SUCCEEDED):
        listed = {view.task_id for view in (await api.list_by_owner(query)).tasks}
        assert not listed & set(gone[:2])
        assert listed >= set(gone[2:])


@on_rig
async def test_what_a_later_owner_could_contradict_is_listed_and_not_remembered(rig: Rig) -> None:
    node = await rig.node("west", *SHARDS)
    task_id = await made(rig)
    await node.append(task_id, EventKind.CANCELLED)
    for shard in SHARDS:
        await rig.release("west", shard)
    await rig.node("east", *SHARDS)
    api, store = counting(rig)
    for _ in range(2):
        (listed,) = (await api.list_by_owner(QUERY)).tasks
        assert listed.state is PublicState.CANCELLED
    assert store.reads == ["1 journals", "owner rows"] * 2
