"""Following tasks at their owners: through moves, deaths and frozen nodes; and what callers get."""

from __future__ import annotations

import asyncio

import pytest
from timeball.errors import (
    Draining,
    InvalidRequest,
    TaskNotFound,
    TimeballError,
    WatcherTooSlow,
)

from coordinator.ended import EndedTasks, weight
from coordinator.requests import Caller, CreateRequest
from coordinator.resuming import WatchBook
from coordinator.watched import Seen, TaskWatch
from coordinator.watching import RETRY_MS
from tests.support.fake_owners import EXECUTOR, LOOK_MS, FakeOwner, Rig, on_rig
from timeball_server.core.commands import Done, Outcome, WatchTask
from timeball_server.core.ids import TaskId, home_of
from timeball_server.core.journal import EventKind
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import PublicState, TaskSpec, TaskView

CLERK = Caller("shop", "clerk")
SPEC = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")
SHARDS = (0, 1, 2, 3)
STRANGE = TaskId("0" * 40)


async def made(rig: Rig, count: int = 1) -> list[TaskId]:
    requests = [CreateRequest(spec=SPEC, time=CreateTime(delay_ms=60_000)) for _ in range(count)]
    results = await rig.api.create(CLERK, requests)
    return [result.task_id for result in results if isinstance(result, TaskView)]


def states(changes: list[Seen]) -> list[PublicState | type[TimeballError]]:
    return [
        each.answer.state if isinstance(each.answer, TaskView) else type(each.answer)
        for each in changes
    ]


async def moved(rig: Rig, source: str, target: str) -> None:
    for shard in tuple(rig.dialer.owners[f"{source}:1"].epochs):
        await rig.release(source, shard)
        await rig.take(target, shard)


class Listener:
    """Follows a task and keeps what it was told."""

    def __init__(self, rig: Rig, task_id: TaskId, *, every: bool = True) -> None:
        self.told: list[Outcome] = []
        watched = WatchTask(task_id=task_id, namespace="shop", every=every)
        self.following = rig.calls.watches.follow(watched, self.told.append)

    @property
    def states(self) -> list[PublicState]:
        return [each.task.state for each in self.told if isinstance(each, Done)]


@on_rig
async def test_changes_are_told_until_the_end(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    (task_id,) = await made(rig)
    listener = Listener(rig, task_id)
    await rig.clock.sleep_ms(LOOK_MS)
    await owner.append(task_id, EventKind.CLAIMED, executor=EXECUTOR, attempt=1)
    await rig.clock.sleep_ms(2 * LOOK_MS)
    await owner.append(task_id, EventKind.CANCELLED)
    await rig.clock.sleep_ms(2 * LOOK_MS)
    assert listener.states == [
        PublicState.SCHEDULED,
        PublicState.SCHEDULED,
        PublicState.CANCELLED,
    ]
    rig.calls.watches.drop(listener.following)


@on_rig
async def test_a_thousand_waits_cost_one_stream_per_node(rig: Rig) -> None:
    west, east = await rig.node("west", 0, 1), await rig.node("east", 2, 3)
    ids = await made(rig, 1_000)
    waiting = [asyncio.ensure_future(rig.api.wait(CLERK, each, 60_000)) for each in ids]
    await rig.clock.sleep_ms(1_000)
    assert (len(west.watches), len(east.watches)) == (1, 1)
    assert west.followed + east.followed == 1_000
    for task_id in ids:
        owner = west if home_of(task_id).shard in (0, 1) else east
        await owner.append(task_id, EventKind.CANCELLED)
    ended = await asyncio.gather(*waiting)
    assert {view.state for view in ended} == {PublicState.CANCELLED}


@pytest.mark.parametrize("how", ["released", "frozen", "broken"])
def test_the_end_is_not_missed_when_the_owner_changes(how: str) -> None:
    async def main(rig: Rig) -> None:
        west, east = await rig.node("west", *SHARDS), await rig.node("east")
        (task_id,) = await made(rig)
        listener, waiter = Listener(rig, task_id), Listener(rig, task_id, every=False)
        await rig.clock.sleep_ms(LOOK_MS)
        west.is_silent = how == "frozen"
        if how == "broken":
            await west.watches[0].close()
        await moved(rig, "west", "east")
        await east.append(task_id, EventKind.CANCELLED)  # before anybody asks the new owner
        await rig.clock.sleep_ms(RETRY_MS + 4 * LOOK_MS)
        assert listener.states[-1] is PublicState.CANCELLED
        assert waiter.states == [PublicState.CANCELLED]

    on_rig(main)()


@on_rig
async def test_nobody_is_sent_to_an_owner_that_was_replaced_while_nothing_was_followed(
    rig: Rig,
) -> None:
    """It froze: it would not say so, and its stream breaks only when gRPC misses its pings."""
    west, east = await rig.node("west", *SHARDS), await rig.node("east")
    (task_id,) = await made(rig)
    before = Listener(rig, task_id)
    await rig.clock.sleep_ms(2 * LOOK_MS)
    rig.calls.watches.drop(before.following)
    west.is_silent = True
    await moved(rig, "west", "east")
    await rig.clock.sleep_ms(2 * LOOK_MS)
    after = Listener(rig, task_id)
    await rig.clock.sleep_ms(2 * LOOK_MS)
    assert after.states == [PublicState.SCHEDULED]
    assert (west.followed, east.followed) == (1, 1)


@on_rig
async def test_an_owner_that_was_replaced_is_not_believed_any_more(rig: Rig) -> None:
    west, east = await rig.node("west", *SHARDS), await rig.node("east")
    (task_id,) = await made(rig)
    listener = Listener(rig, task_id)
    await rig.clock.sleep_ms(2 * LOOK_MS)
    west.is_silent = True
    west_epochs = dict(west.epochs)
    await moved(rig, "west", "east")
    await east.append(task_id, EventKind.CLAIMED, executor=EXECUTOR, attempt=1)
    await rig.clock.sleep_ms(4 * LOOK_MS)
    told = len(listener.told)
    west.epochs.update(west_epochs)
    west.is_silent = False
    await rig.clock.sleep_ms(4 * LOOK_MS)
    assert len(listener.told) == told


@on_rig
async def test_what_lies_behind_is_not_told(rig: Rig) -> None:
    """An owner that answers with an older state than one that was told already."""
    west, east = await rig.node("west", *SHARDS), await rig.node("east")
    (task_id,) = await made(rig)
    listener = Listener(rig, task_id)
    await rig.clock.sleep_ms(2 * LOOK_MS)
    newer = [each for each in listener.told if isinstance(each, Done)][-1]
    listener.following.place = (10**9, 1)
    await moved(rig, "west", "east")
    await rig.clock.sleep_ms(4 * LOOK_MS)
    assert east.followed == 1
    assert listener.told == [newer]
    assert west.watches


@on_rig
async def test_without_an_owner_nothing_is_told_until_there_is_one(rig: Rig) -> None:
    west = await rig.node("west", *SHARDS)
    (task_id,) = await made(rig)
    for shard in SHARDS:
        await rig.release("west", shard)
    listener = Listener(rig, task_id)
    await rig.clock.sleep_ms(10_000)
    assert listener.told == []
    assert not listener.following.is_placed
    for shard in SHARDS:
        await rig.take("west", shard)
    await rig.clock.sleep_ms(2 * LOOK_MS)
    assert listener.states == [PublicState.SCHEDULED]
    assert west.followed == 1


@on_rig
async def test_a_node_that_breaks_its_streams_is_asked_again_with_pauses(rig: Rig) -> None:
    west = await rig.node("west", *SHARDS)
    (task_id,) = await made(rig)
    listener = Listener(rig, task_id)
    for _ in range(5):
        await rig.clock.sleep_ms(RETRY_MS + 2 * LOOK_MS)
        await west.watches[-1].close()
    await rig.clock.sleep_ms(RETRY_MS + 2 * LOOK_MS)
    assert len(west.watches) == 6
    assert set(listener.states) == {PublicState.SCHEDULED}


@on_rig
async def test_who_drops_is_told_nothing_more(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    (task_id,) = await made(rig)
    listener = Listener(rig, task_id)
    await rig.clock.sleep_ms(2 * LOOK_MS)
    rig.calls.watches.drop(listener.following)
    rig.calls.watches.drop(listener.following)
    await owner.append(task_id, EventKind.CANCELLED)
    await rig.clock.sleep_ms(4 * LOOK_MS)
    assert listener.states == [PublicState.SCHEDULED]


@on_rig
async def test_what_is_told_when_a_wait_has_just_ended_is_not_an_error(rig: Rig) -> None:
    """The push and the end of the caller's patience may fall into one turn of the loop."""
    await rig.node("west", *SHARDS)
    (task_id,) = await made(rig)
    done = Done((await rig.api.get(CLERK, task_id)).task)
    waiting = asyncio.ensure_future(rig.api.wait(CLERK, task_id, 1_000))
    await rig.clock.sleep_ms(LOOK_MS)
    (following,) = rig.calls.watches.of(home_of(task_id).shard)
    assert not (await waiting).terminal
    following.take(done)


# What callers get ---------------------------------------------------------------------------------


async def all_of(watch: TaskWatch) -> list[Seen]:
    found: list[Seen] = []
    while changes := await watch.changes():
        found += changes
        for each in changes:
            watch.note_told(each)
    return found


async def ended_later(rig: Rig, owner: FakeOwner, *ids: TaskId) -> None:
    await rig.clock.sleep_ms(4 * LOOK_MS)
    for task_id in ids:
        await owner.append(task_id, EventKind.CANCELLED)


@on_rig
async def test_a_watch_tells_the_state_of_now_the_changes_and_what_is_not_there(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    one, other = await made(rig, 2)
    watch = rig.api.watch(CLERK, [one, STRANGE, None, other])
    ending = asyncio.ensure_future(ended_later(rig, owner, one, other))
    found = await all_of(watch)
    await ending
    by_position = {n: states([each for each in found if each.position == n]) for n in range(4)}
    assert by_position == {
        0: [PublicState.SCHEDULED, PublicState.CANCELLED],
        1: [TaskNotFound],
        2: [TaskNotFound],
        3: [PublicState.SCHEDULED, PublicState.CANCELLED],
    }
    watch.close()


@on_rig
async def test_another_namespace_sees_no_task(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    (task_id,) = await made(rig)
    watch = rig.api.watch(Caller("bank", "thief"), [task_id])
    assert states(await all_of(watch)) == [TaskNotFound]


@on_rig
async def test_a_resumed_watch_tells_what_is_not_known_to_be_over(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    ids = await made(rig, 3)
    await owner.append(ids[0], EventKind.CANCELLED)
    first = rig.api.watch(CLERK, ids)
    for seen in await first.changes():
        first.note_told(seen)
    token = first.token()
    first.close()
    await owner.append(ids[1], EventKind.CANCELLED)  # nobody watches
    second = rig.api.watch(CLERK, ids, token)
    ending = asyncio.ensure_future(ended_later(rig, owner, ids[2]))
    found = await all_of(second)
    await ending
    assert [(each.position, each.done) for each in found] == [(1, True), (2, False), (2, True)]
    second.close()


@on_rig
async def test_a_watch_of_which_all_is_told_ends_at_once(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    ids = await made(rig, 9)
    for task_id in ids:
        await owner.append(task_id, EventKind.CANCELLED)
    first = rig.api.watch(CLERK, ids)
    assert len(await all_of(first)) == 9
    again = rig.api.watch(CLERK, ids, first.token())
    assert await again.changes() == ()


@pytest.mark.parametrize("change", ["names", "order", "namespace", "text", "key"])
def test_a_token_of_another_watch_is_refused(change: str) -> None:
    ids: list[TaskId | None] = [TaskId("a" * 40), TaskId("b" * 40)]
    token = WatchBook("shop", ids, b"key").token({1})
    other = {
        "names": WatchBook("shop", [*ids, None], b"key"),
        "order": WatchBook("shop", ids[::-1], b"key"),
        "namespace": WatchBook("bank", ids, b"key"),
        "text": WatchBook("shop", ids, b"key"),
        "key": WatchBook("shop", ids, b"other"),
    }[change]
    text = "~" + token if change == "text" else token
    with pytest.raises(InvalidRequest) as caught:
        other.told(text)
    assert [each.field for each in caught.value.violations] == ["resume_token"]
    assert WatchBook("shop", ids, b"key").told(token) == {1}
    assert WatchBook("shop", ids, b"key").told("") == set()


@on_rig
async def test_a_caller_that_does_not_read_is_told_to_come_back(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    ids = await made(rig, 4)
    (size,) = {weight((await rig.api.get(CLERK, task_id)).task) for task_id in ids}
    book = WatchBook("shop", ids, b"key")
    watch = TaskWatch(
        rig.calls.watches,
        EndedTasks(rig.clock),
        book,
        ids,
        set(),
        namespace="shop",
        news_bytes=4 * size,
    )
    await rig.clock.sleep_ms(4 * LOOK_MS)
    assert len(await watch.changes()) == 4
    for task_id in ids:
        await owner.append(task_id, EventKind.CLAIMED, executor=EXECUTOR, attempt=1)
    await rig.clock.sleep_ms(4 * LOOK_MS)
    with pytest.raises(WatcherTooSlow):
        await watch.changes()
    watch.close()


@on_rig
async def test_a_watch_is_ended_with_an_error(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    watch = rig.api.watch(CLERK, await made(rig))
    await watch.changes()
    reading = asyncio.ensure_future(watch.changes())
    await rig.clock.sleep_ms(1)
    watch.end(Draining("stopping"))
    with pytest.raises(Draining):
        await reading
    watch.close()


@on_rig
async def test_ends_that_were_pushed_are_known_without_asking(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    (task_id,) = await made(rig)
    ending = asyncio.ensure_future(ended_later(rig, owner, task_id))
    await rig.api.wait(CLERK, task_id, 60_000)
    await ending
    asked = len(owner.calls)
    rig.dialer.owners.clear()
    assert (await rig.api.get(CLERK, task_id)).task.state is PublicState.CANCELLED
    assert len(owner.calls) == asked
