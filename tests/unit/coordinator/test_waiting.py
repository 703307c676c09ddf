"""Whom a wait asks: the owner of a young task at once, the store first for the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.deadline import Deadline
from coordinator.reader import Reader
from coordinator.requests import Caller, CreateRequest
from coordinator.waiting import YOUNG_MS, Waiter
from tests.support.fake_owners import EXECUTOR, Rig, on_rig
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import EventKind, EventRow
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import PublicState, TaskSpec, TaskView
from timeball_server.store.memory import MemoryStore

CLERK = Caller("shop", "clerk")
SPEC = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")
SHARDS = (0, 1, 2, 3)


class CountingStore(MemoryStore):
    """Counts the journals that are read."""

    reads = 0

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        self.reads += 1
        return await super().read_journals(task_ids)


async def ended(rig: Rig) -> TaskId:
    """A task that was to run at once, and did."""
    owner = await rig.node("west", *SHARDS)
    request = CreateRequest(spec=SPEC, time=CreateTime())
    (made,) = await rig.api.create(CLERK, [request])
    assert isinstance(made, TaskView)
    for kind in (EventKind.CLAIMED, EventKind.SUCCEEDED):
        await owner.append(made.task_id, kind, executor=EXECUTOR, attempt=1)
    return made.task_id


async def reads_of_a_wait(rig: Rig, task_id: TaskId) -> int:
    """How often the store is read until the end is known."""
    store = CountingStore(rig.database)
    waiter = Waiter(Reader(store, rig.calls, rig.clock), rig.calls)
    view = await waiter.wait(task_id, "shop", Deadline.after(rig.clock, 5_000))
    assert view.state is PublicState.SUCCEEDED
    return store.reads


@on_rig
async def test_the_owner_of_a_young_task_is_asked_at_once(rig: Rig) -> None:
    assert await reads_of_a_wait(rig, await ended(rig)) == 0


@on_rig
async def test_the_store_is_asked_first_about_an_older_one(rig: Rig) -> None:
    task_id = await ended(rig)
    await rig.clock.sleep_ms(YOUNG_MS + 60_000)
    assert await reads_of_a_wait(rig, task_id) == 1


@on_rig
async def test_the_store_is_asked_when_nobody_owns_the_shard(rig: Rig) -> None:
    task_id = await ended(rig)
    for shard in SHARDS:
        await rig.release("west", shard)
    await rig.clock.sleep_ms(1)
    assert await reads_of_a_wait(rig, task_id) == 1
