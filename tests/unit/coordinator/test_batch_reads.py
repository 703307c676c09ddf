"""Many tasks at once: the same answers as one by one, in order, each by itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from timeball.errors import TaskExpired, TaskNotFound, TimeballError, Unavailable

from coordinator.batch_reads import BatchAnswer
from coordinator.reader import ReadResult
from coordinator.requests import Caller, CreateRequest, DeleteRequest
from tests.support.fake_owners import EXECUTOR, FakeOwner, Fault, Rig, on_rig
from timeball_server.core.ids import Epoch, ShardId, TaskId, home_of
from timeball_server.core.journal import EventKind, EventRow
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import PublicState, TaskSpec
from timeball_server.ports.store import OwnerRow
from timeball_server.store.memory import MemoryDatabase, MemoryStore

CLERK = Caller("shop", "clerk")
STRANGER = Caller("bank", "teller")
SHARDS = (0, 1, 2, 3)
PATIENCE_MS = 600


async def made(rig: Rig, caller: Caller = CLERK) -> TaskId:
    spec = TaskSpec(namespace=caller.namespace, owner=caller.subject, handler="billing.charge")
    request = CreateRequest(spec=spec, time=CreateTime(delay_ms=60_000))
    (result,) = await rig.api.create(caller, [request])
    assert not isinstance(result, TimeballError)
    return result.task_id


async def claimed(rig: Rig) -> TaskId:
    """A task of which only its owner knows whether it has begun."""
    task_id = await made(rig)
    owner = owner_of(rig, task_id)
    await owner.append(task_id, EventKind.CLAIMED, executor=EXECUTOR, attempt=1)
    return task_id


async def cancelled(rig: Rig) -> TaskId:
    task_id = await made(rig)
    await owner_of(rig, task_id).append(task_id, EventKind.CANCELLED, alarm=None)
    return task_id


def owner_of(rig: Rig, task_id: TaskId) -> FakeOwner:
    shard = home_of(task_id).shard
    return next(node for node in rig.dialer.owners.values() if shard in node.epochs)


class CountingStore(MemoryStore):
    """A memory store that notes what is read."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.reads: list[str] = []

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        self.reads.append(f"{len(task_ids)} journals")
        return await super().read_journals(task_ids)

    async def read_owners(self, shards: Collection[ShardId]) -> Mapping[ShardId, OwnerRow]:
        self.reads.append(f"{len(shards)} owner rows")
        return await super().read_owners(shards)


async def many(rig: Rig, ids: Sequence[TaskId], *, stale: bool = False) -> list[BatchAnswer]:
    return await rig.api.get_many(CLERK, ids, PATIENCE_MS, allow_stale=stale)


async def one(rig: Rig, task_id: TaskId, *, stale: bool) -> ReadResult | TimeballError:
    try:
        return await rig.api.get(CLERK, task_id, PATIENCE_MS, allow_stale=stale)
    except TimeballError as error:
        return error


def said(answer: BatchAnswer) -> object:
    return type(answer) if isinstance(answer, TimeballError) else answer


ENDS = st.sampled_from([None, "running", EventKind.CANCELLED, EventKind.VOID, "foreign"])


@settings(max_examples=60)
@given(
    st.lists(ENDS, min_size=1, max_size=8),
    st.sets(st.sampled_from(SHARDS)),
    st.sets(st.sampled_from(SHARDS)),
    st.booleans(),
)
def test_each_is_answered_as_if_it_were_asked_alone(
    ends: list[EventKind | str | None], moved: set[int], gone: set[int], stale: bool
) -> None:
    async def main(rig: Rig) -> None:
        node = await rig.node("west", *SHARDS)
        ids = []
        for end in ends:
            task = await made(rig, STRANGER if end == "foreign" else CLERK)
            if isinstance(end, EventKind):
                await node.append(task, end, alarm=None)
            if end == "running":
                await node.append(task, EventKind.CLAIMED, executor=EXECUTOR, attempt=1)
                node.started[task] = 5
            ids.append(task)
        await rig.node("east")
        for shard in moved | gone:
            await rig.release("west", shard)
        for shard in moved - gone:
            await rig.take("east", shard)
        unknown = TaskId(ids[0][:-1] + ("0" if ids[0][-1] != "0" else "1"))
        asked = [*ids, unknown, TaskId("0" * 40), ids[0]]
        answers = await many(rig, asked, stale=stale)
        alone = [await one(rig, task, stale=stale) for task in asked]
        assert [said(answer) for answer in answers] == [said(answer) for answer in alone]

    on_rig(main)()


@on_rig
async def test_many_cost_one_call_per_owner_and_one_read_of_journals(rig: Rig) -> None:
    nodes = [await rig.node("west", 0, 1), await rig.node("east", 2, 3)]
    waiting = [await made(rig) for _ in range(25)]
    in_hand = [await claimed(rig) for _ in range(25)]
    ended = [await cancelled(rig) for _ in range(25)]
    calls = [len(node.calls) for node in nodes]
    store = CountingStore(rig.database)
    api = type(rig.api)(replace(rig.cluster, store=store))
    answers = await api.get_many(CLERK, [*waiting, *in_hand, *ended])
    assert all(isinstance(answer, ReadResult) for answer in answers)
    assert store.reads == ["75 journals", "4 owner rows"]
    assert [len(node.calls) for node in nodes] == [before + 1 for before in calls]
    asked = [command.task_id for node in nodes for command in node.calls[-1]]  # type: ignore[union-attr]
    assert sorted(asked) == sorted(in_hand)


@on_rig
async def test_what_has_ended_is_read_once_by_whoever_reads_it_first(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    ids = [await cancelled(rig) for _ in range(3)]
    store = CountingStore(rig.database)
    api = type(rig.api)(replace(rig.cluster, store=store))
    await api.get_many(CLERK, ids[:2], with_journal=False)
    (_, second, third) = await api.get_many(CLERK, ids, with_journal=False)
    assert store.reads == ["2 journals", "2 owner rows", "1 journals", "1 owner rows"]
    assert isinstance(second, ReadResult)
    assert isinstance(third, ReadResult)
    store.reads.clear()
    # A story is told to whoever asks for it, and then to all.
    told = (await api.get(CLERK, ids[1])).task
    assert told.journal
    assert replace(told, journal=()) == second.task
    await api.get_many(CLERK, ids, with_journal=False)
    assert store.reads == ["1 journals", "1 owner rows"]
    store.reads.clear()
    assert await api.get_many(CLERK, [ids[1]]) == [ReadResult(told)]
    assert store.reads == []


@on_rig
async def test_a_task_that_was_deleted_here_is_gone_for_who_reads_many(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    ids = [await cancelled(rig) for _ in range(2)]
    for with_journal in (False, True):
        answers = await rig.api.get_many(CLERK, ids, with_journal=with_journal)
        assert all(isinstance(answer, ReadResult) for answer in answers)
    await rig.api.delete(CLERK, DeleteRequest(task_id=ids[0]))
    for with_journal in (False, True):
        gone, there = await rig.api.get_many(CLERK, ids, with_journal=with_journal)
        assert isinstance(gone, TaskNotFound)
        assert isinstance(there, ReadResult)


@on_rig
async def test_one_owner_that_is_away_spoils_its_own_tasks_only(rig: Rig) -> None:
    await rig.node("west", 0, 1)
    east = await rig.node("east", 2, 3)
    ids = [await claimed(rig) for _ in range(30)]
    east.faults.extend([Fault.UNREACHABLE] * 100)
    for task, answer in zip(ids, await many(rig, ids), strict=True):
        is_east = home_of(task).shard in (2, 3)
        assert isinstance(answer, Unavailable if is_east else ReadResult)
    for answer in await many(rig, ids, stale=True):
        assert isinstance(answer, ReadResult)
        assert answer.task.state is PublicState.SCHEDULED
    assert any(answer.stale for answer in await many(rig, ids, stale=True))  # type: ignore[union-attr]


@on_rig
async def test_what_lies_below_the_watermark_has_expired(rig: Rig) -> None:
    node = await rig.node("west", *SHARDS)
    task = await made(rig)
    await node.append(task, EventKind.CANCELLED, alarm=None)
    home = home_of(task)
    epoch = node.epochs[home.shard] + 1
    await rig.publish(home.shard, Epoch(epoch), "west", deleted_below=home.minute + 1)
    (answer,) = await many(rig, [task])
    assert isinstance(answer, TaskExpired)
    assert isinstance((await many(rig, [TaskId("x")]))[0], TaskNotFound)
