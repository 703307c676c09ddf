"""The reader's rule: as a table of decisions, and as what callers get."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import product

import pytest
from timeball.errors import TaskExpired, TaskNotFound, TimeballError, Unavailable

from coordinator.ended import LIFE_MS, EndedTasks, weight
from coordinator.owner_rows import SPACING_MS, OwnerRows
from coordinator.read_rule import Verdict, judge
from coordinator.requests import Caller, CreateRequest
from tests.support.fake_owners import EXECUTOR, Rig, on_rig
from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    Incarnation,
    Minute,
    NodeId,
    ShardId,
    TaskId,
    encode_id,
    home_of,
)
from timeball_server.core.journal import (
    TERMINAL,
    EventKind,
    EventRef,
    EventRow,
    OutcomeDetail,
    State,
)
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import Payload, PublicState, TaskSpec, TaskView
from timeball_server.core.view import HIDDEN
from timeball_server.ports.store import OwnerRow
from timeball_server.store.memory import MemoryDatabase, MemoryStore

CLERK = Caller("shop", "clerk")
THIEF = Caller("bank", "thief")
SPEC = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")
SHARDS = (0, 1, 2, 3)
HOME = Minute(500)
CURRENT, OLD, NEWER = Epoch(7), Epoch(6), Epoch(8)


def head(state: State, epoch: Epoch) -> EventRow:
    return EventRow(
        task_id=encode_id(IdParts(Bucket(HOME, ShardId(1)), bytes(16))),
        epoch=epoch,
        seq=3,
        kind=EventKind.ADOPTED,
        state=state,
        alarm=None,
        attempt=1,
        run=None,
        executor=None,
        incarnation=Incarnation(0),
        prev_epoch=epoch,
        spec_at=EventRef(1, epoch),
        revision=1,
        priority=4,
        unaccounted=(),
        request_id="",
        at_ms=0,
        created_ms=0,
        actor="clerk",
    )


def owner_row(deleted_below: int = 0) -> OwnerRow:
    return OwnerRow(
        shard=ShardId(1),
        epoch=CURRENT,
        owner=NodeId("west"),
        address="west:1",
        scan_from=Minute(0),
        deleted_below=Minute(deleted_below),
        at_ms=0,
    )


NOT_OF_TASKS = {State.ABSENT, State.ACTIVE, State.ENDED}
STATES = sorted(state for state in State if state not in NOT_OF_TASKS)


@pytest.mark.parametrize(("state", "epoch"), [*product(STATES, (OLD, CURRENT, NEWER))])
def test_a_head_is_shown_only_if_nothing_is_in_hand_and_it_is_of_the_current_epoch(
    state: State, epoch: Epoch
) -> None:
    expected = Verdict.ASK_OWNER
    if epoch == CURRENT and (state in TERMINAL or state is State.PENDING):
        expected = Verdict.ANSWER
    if epoch == CURRENT and state in HIDDEN:
        expected = Verdict.NOT_FOUND
    assert judge(head(state, epoch), owner_row(), HOME) is expected


@pytest.mark.parametrize("state", STATES)
def test_without_an_owner_row_nothing_is_shown(state: State) -> None:
    assert judge(head(state, CURRENT), None, HOME) is Verdict.ASK_OWNER


@pytest.mark.parametrize("known", [None, head(State.SUCCEEDED, CURRENT), head(State.PENDING, OLD)])
def test_below_the_watermark_everything_has_expired(known: EventRow | None) -> None:
    assert judge(known, owner_row(HOME + 1), HOME) is Verdict.EXPIRED
    assert judge(known, owner_row(HOME), HOME) is not Verdict.EXPIRED


def test_an_empty_journal_is_no_task() -> None:
    assert judge(None, owner_row(), HOME) is Verdict.NOT_FOUND
    assert judge(None, None, HOME) is Verdict.NOT_FOUND


class CountingStore(MemoryStore):
    """A memory store that notes its reads in their order."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.reads: list[str] = []

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        self.reads.append("journal")
        return await super().read_journals(task_ids)

    async def read_owners(self, shards: Collection[ShardId]) -> Mapping[ShardId, OwnerRow]:
        self.reads.append("owner")
        return await super().read_owners(shards)


async def made(rig: Rig, *ends: EventKind) -> TaskView:
    """A task of an owner of all shards, with these events after its creation."""
    owner = next(iter(rig.dialer.owners.values()), None) or await rig.node("west", *SHARDS)
    request = CreateRequest(spec=SPEC, time=CreateTime(delay_ms=60_000))
    (result,) = await rig.api.create(CLERK, [request])
    if isinstance(result, TimeballError):
        raise result
    for kind in ends:
        await owner.append(result.task_id, kind, executor=EXECUTOR, attempt=1)
    return result


async def orphan(rig: Rig) -> None:
    """Take the shards away from everyone."""
    for shard in SHARDS:
        await rig.release("west", shard)
    await rig.clock.sleep_ms(1)


async def hand_over(rig: Rig) -> None:
    """Give the shards to another node."""
    await orphan(rig)
    await rig.node("east", *SHARDS)


WAITING: tuple[EventKind, ...] = ()
IN_HAND = (EventKind.CLAIMED,)
ENDED = (EventKind.CANCELLED,)


@pytest.mark.parametrize(
    ("events", "owned", "current", "allow_stale", "expected"),
    [
        (ENDED, True, True, False, "store"),
        (ENDED, True, True, True, "store"),
        (ENDED, False, True, False, "store"),
        (ENDED, False, True, True, "store"),
        (ENDED, True, False, False, "owner"),
        (ENDED, True, False, True, "owner"),
        (ENDED, False, False, False, "unavailable"),
        (ENDED, False, False, True, "stale"),
        (WAITING, True, True, False, "store"),
        (WAITING, True, True, True, "store"),
        (WAITING, False, True, False, "store"),
        (WAITING, False, True, True, "store"),
        (WAITING, True, False, False, "owner"),
        (WAITING, True, False, True, "owner"),
        (WAITING, False, False, False, "unavailable"),
        (WAITING, False, False, True, "stale"),
        (IN_HAND, True, True, False, "owner"),
        (IN_HAND, True, True, True, "owner"),
        (IN_HAND, False, True, False, "unavailable"),
        (IN_HAND, False, True, True, "stale"),
        (IN_HAND, True, False, False, "owner"),
        (IN_HAND, True, False, True, "owner"),
        (IN_HAND, False, False, False, "unavailable"),
        (IN_HAND, False, False, True, "stale"),
    ],
)
def test_who_answers_a_read(
    events: tuple[EventKind, ...], owned: bool, current: bool, allow_stale: bool, expected: str
) -> None:
    async def main(rig: Rig) -> None:
        task_id = (await made(rig, *events)).task_id
        if not current:
            await hand_over(rig)
        elif not owned:
            await orphan(rig)
        if not owned and not current:
            for shard in SHARDS:
                await rig.release("east", shard)
            await rig.clock.sleep_ms(1)
        asked = sum(len(owner.calls) for owner in rig.dialer.owners.values())
        try:
            result = await rig.api.get(CLERK, task_id, 2_000, allow_stale=allow_stale)
        except Unavailable:
            assert expected == "unavailable"
            return
        has_ended = events is ENDED
        assert result.task.state is (PublicState.CANCELLED if has_ended else PublicState.SCHEDULED)
        asked = sum(len(owner.calls) for owner in rig.dialer.owners.values()) - asked
        answered = "stale" if result.stale else "owner" if asked else "store"
        assert answered == expected

    on_rig(main)()


@on_rig
async def test_a_stale_answer_does_not_take_the_whole_deadline(rig: Rig) -> None:
    view = await made(rig, *IN_HAND)
    await orphan(rig)
    result = await rig.api.get(CLERK, view.task_id, 10_000, allow_stale=True)
    assert result.stale
    assert rig.clock.now().mono_ms < 1_000


@on_rig
async def test_what_the_owner_remembers_is_shown(rig: Rig) -> None:
    view = await made(rig, EventKind.CLAIMED)
    rig.dialer.owners["west:1"].started[view.task_id] = 5
    assert (await rig.api.get(CLERK, view.task_id)).task.state is PublicState.RUNNING


@pytest.mark.parametrize("events", [WAITING, ENDED])
def test_another_namespace_finds_nothing(events: tuple[EventKind, ...]) -> None:
    async def main(rig: Rig) -> None:
        view = await made(rig, *events)
        for _ in range(2):
            with pytest.raises(TaskNotFound):
                await rig.api.get(THIEF, view.task_id)
            with pytest.raises(TaskNotFound):
                await rig.api.wait(THIEF, view.task_id, 1_000)
            await rig.api.get(CLERK, view.task_id)

    on_rig(main)()


@pytest.mark.parametrize(
    "task_id",
    [
        TaskId("nonsense"),
        encode_id(IdParts(Bucket(Minute(5), ShardId(4)), bytes(16))),
        encode_id(IdParts(Bucket(Minute(5), ShardId(1)), bytes(16), 2)),
    ],
    ids=["nonsense", "shard that never was", "a schedule"],
)
def test_ids_that_cannot_be_tasks_are_not_found_without_asking(task_id: TaskId) -> None:
    async def main(rig: Rig) -> None:
        with pytest.raises(TaskNotFound):
            await rig.api.get(CLERK, task_id)
        assert rig.clock.now().mono_ms == 0

    on_rig(main)()


@on_rig
async def test_an_unknown_task_is_not_found(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    with pytest.raises(TaskNotFound):
        await rig.api.get(CLERK, encode_id(IdParts(Bucket(HOME, ShardId(1)), bytes(16))))


@on_rig
async def test_a_removed_task_has_expired(rig: Rig) -> None:
    view = await made(rig, *ENDED)
    home = home_of(view.task_id)
    epoch = rig.dialer.owners["west:1"].epochs[home.shard]
    await rig.publish(home.shard, epoch, "west", deleted_below=home.minute + 1)
    with pytest.raises(TaskExpired):
        await rig.api.get(CLERK, view.task_id)


@on_rig
async def test_a_deleted_task_is_gone(rig: Rig) -> None:
    view = await made(rig, EventKind.CANCELLED, EventKind.DELETED)
    with pytest.raises(TaskNotFound):
        await rig.api.get(CLERK, view.task_id)


@on_rig
async def test_the_journal_is_read_before_the_owner_row(rig: Rig) -> None:
    view = await made(rig, *ENDED)
    store = CountingStore(rig.database)
    api = type(rig.api)(replace(rig.cluster, store=store))
    await api.get(CLERK, view.task_id)
    assert store.reads == ["journal", "owner"]


@on_rig
async def test_an_ended_task_is_read_once_and_again_after_a_while(rig: Rig) -> None:
    view = await made(rig, EventKind.CLAIMED)
    done = OutcomeDetail(started_ms=1, ended_ms=2, result=Payload(data=b"42"))
    await rig.dialer.owners["west:1"].append(view.task_id, EventKind.SUCCEEDED, detail=done)
    store = CountingStore(rig.database)
    api = type(rig.api)(replace(rig.cluster, store=store))
    first = await api.get(CLERK, view.task_id)
    assert first.task.result == Payload(data=b"42")
    assert await api.get(CLERK, view.task_id) == first
    assert await api.wait(CLERK, view.task_id, 1_000) == first.task
    assert len(store.reads) == 2
    await rig.clock.sleep_ms(LIFE_MS + 1)
    await api.get(CLERK, view.task_id)
    assert len(store.reads) == 4


@on_rig
async def test_the_cache_is_bounded_by_bytes_and_keeps_what_was_used_last(rig: Rig) -> None:
    view = replace(await made(rig), terminal=True)
    ended = EndedTasks(rig.clock, kept_bytes=3 * weight(view))
    for number in range(3):
        ended.keep(replace(view, task_id=TaskId(str(number))))
    assert ended.find(TaskId("0"), "shop") is not None
    ended.keep(replace(view, task_id=TaskId("3")))
    found = [ended.find(TaskId(str(number)), "shop") is not None for number in range(4)]
    assert found == [True, False, True, True]
    ended.keep(replace(view, task_id=TaskId("3")))
    assert ended.find(TaskId("0"), "shop") is not None
    big = replace(view, task_id=TaskId("4"), result=Payload(data=bytes(4 * weight(view))))
    ended.keep(big)
    assert ended.find(TaskId("4"), "shop") is None
    assert ended.find(TaskId("0"), "shop") is not None


@on_rig
async def test_open_tasks_and_other_namespaces_are_not_in_the_cache(rig: Rig) -> None:
    ended = EndedTasks(rig.clock)
    opened = await made(rig)
    ended.keep(opened)
    assert ended.find(opened.task_id, "shop") is None
    ended.keep(replace(opened, terminal=True))
    assert ended.find(opened.task_id, "bank") is None
    assert ended.find(opened.task_id, "shop") is not None


class SlowOwners(MemoryStore):
    """A store whose owner reads take a while and are noted with their beginning."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self.rig = rig
        self.began_ms: list[int] = []
        self.asked: list[set[ShardId]] = []

    async def read_owners(self, shards: Collection[ShardId]) -> Mapping[ShardId, OwnerRow]:
        self.began_ms.append(self.rig.clock.now().mono_ms)
        self.asked.append(set(shards))
        await self.rig.clock.sleep_ms(3)
        return await super().read_owners(shards)


@on_rig
async def test_owner_reads_are_shared_only_if_they_begin_later(rig: Rig) -> None:
    store = SlowOwners(rig)
    rows = OwnerRows(store, rig.clock)
    await asyncio.gather(*(rows.read([ShardId(1), ShardId(number % 4)]) for number in range(100)))
    assert store.began_ms == [0]
    joined = [asyncio.ensure_future(rows.read([ShardId(1)]))]
    await rig.clock.sleep_ms(1)
    joined.append(asyncio.ensure_future(rows.read([ShardId(2)])))
    await rig.clock.sleep_ms(2)
    joined.append(asyncio.ensure_future(rows.read([ShardId(3)])))
    await asyncio.gather(*joined)
    assert store.began_ms == [0, SPACING_MS, 2 * SPACING_MS]
    assert store.asked == [{0, 1, 2, 3}, {1, 2}, {3}]
    await rig.clock.sleep_ms(100)
    await rows.read([ShardId(1)])
    assert store.began_ms[-1] == rig.clock.now().mono_ms - 3
    assert await rows.read([]) == {}
    assert len(store.began_ms) == 4


@on_rig
async def test_a_failed_owner_read_reaches_all_and_is_not_kept(rig: Rig) -> None:
    store = MemoryStore()
    rows = OwnerRows(store, rig.clock)
    await store.close()
    reads = [rows.read([ShardId(number)]) for number in range(3)]
    results = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["StoreUnavailable"] * 3
    with pytest.raises(Unavailable):
        await rows.read([ShardId(1)])
