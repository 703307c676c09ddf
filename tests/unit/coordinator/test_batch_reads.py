"""Many tasks at once: the same answers as one by one, in order, each by itself."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from timeball.errors import TaskExpired, TaskNotFound, TimeballError, Unavailable

from coordinator.batch_reads import BatchAnswer
from coordinator.reader import ReadResult
from coordinator.requests import Caller, CreateRequest
from tests.support.fake_owners import EXECUTOR, Fault, Rig, on_rig
from timeball_server.core.ids import Epoch, TaskId, home_of
from timeball_server.core.journal import EventKind
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import PublicState, TaskSpec

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
    node = await rig.node("west", *SHARDS)
    ids = [await made(rig) for _ in range(50)]
    before = len(node.calls)
    answers = await many(rig, ids)
    assert len(node.calls) == before + 1
    assert all(isinstance(answer, ReadResult) for answer in answers)


@on_rig
async def test_one_owner_that_is_away_spoils_its_own_tasks_only(rig: Rig) -> None:
    await rig.node("west", 0, 1)
    east = await rig.node("east", 2, 3)
    ids = [await made(rig) for _ in range(30)]
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
