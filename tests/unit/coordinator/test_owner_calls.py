"""Calls to owners: routed, repeated, and marked exactly when they may have arrived (rule R8)."""

from __future__ import annotations

import asyncio

import pytest
from timeball.errors import OutcomeUnknown, ResourceExhausted, TimeballError, TooLate, Unavailable

from coordinator.owner_calls import FIRST_PAUSE_MS
from coordinator.requests import Caller, CancelRequest, CreateRequest
from coordinator.tries import MOVED_GRACE_MS
from tests.support.fake_owners import EXECUTOR, FakeOwner, Fault, Rig, on_rig
from timeball_server.core.commands import CreateTask, OwnerHint, ReadTask
from timeball_server.core.ids import Epoch, NodeId, ShardId, TaskId, home_of
from timeball_server.core.journal import EventKind
from timeball_server.core.minting import CreateTime, fresh_request_id
from timeball_server.core.model import PublicState, TaskSpec, TaskView

CLERK = Caller("shop", "clerk")
SPEC = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")
SHARDS = (0, 1, 2, 3)


def request(rig: Rig, *, resend: bool = False) -> CreateRequest:
    request_id = fresh_request_id(rig.clock.now().wall_ms, rig.cluster.entropy.randbytes(10))
    return CreateRequest(
        spec=SPEC, time=CreateTime(delay_ms=60_000), request_id=request_id, resend=resend
    )


async def created(rig: Rig, *, resend: bool = False, patience_ms: int = 10_000) -> TaskView:
    (result,) = await rig.api.create(CLERK, [request(rig, resend=resend)], patience_ms)
    if isinstance(result, TimeballError):
        raise result
    return result


def marks(owner: FakeOwner) -> list[bool]:
    """Whether each create that arrived was marked as a resend."""
    return [
        command.resend
        for call in owner.calls
        for command in call
        if isinstance(command, CreateTask)
    ]


@on_rig
async def test_a_create_reaches_the_owner_once_and_unmarked(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    view = await created(rig)
    assert view.state is PublicState.SCHEDULED
    assert marks(owner) == [False]


@on_rig
async def test_the_callers_own_mark_is_kept(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    await created(rig, resend=True)
    assert marks(owner) == [True]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([Fault.UNREACHABLE], [False]),
        ([Fault.UNREACHABLE, Fault.UNREACHABLE], [False]),
        ([Fault.NOT_OWNED], [False, False]),
        ([Fault.NOT_READY], [False, False]),
        ([Fault.BREAK_BEFORE], [False, True]),
        ([Fault.BREAK_AFTER], [False, True]),
        ([Fault.HANG], [False, True]),
        ([Fault.SAYS_UNKNOWN], [False, True]),
        ([Fault.SAYS_UNKNOWN_APPLIED], [False, True]),
        ([Fault.BREAK_AFTER, Fault.UNREACHABLE], [False, True]),
        ([Fault.BREAK_AFTER, Fault.FULL], [False, True]),
        ([Fault.BREAK_AFTER, Fault.NOT_OWNED], [False, True, True]),
    ],
    ids=lambda value: "-".join(getattr(item, "name", str(item)) for item in value),
)
def test_a_repetition_is_marked_when_the_first_may_have_arrived(
    faults: list[Fault], expected: list[bool]
) -> None:
    async def main(rig: Rig) -> None:
        owner = await rig.node("west", *SHARDS)
        owner.faults.extend(faults)
        await created(rig)
        assert marks(owner) == expected
        assert owner.doubled == []

    on_rig(main)()


@on_rig
async def test_creates_of_one_call_go_out_as_one_call_per_owner(rig: Rig) -> None:
    west, east = await rig.node("west", 0, 1), await rig.node("east", 2, 3)
    results = await rig.api.create(CLERK, [request(rig) for _ in range(40)])
    views = [result for result in results if isinstance(result, TaskView)]
    assert len({view.task_id for view in views}) == 40
    assert (len(west.calls), len(east.calls)) == (1, 1)
    assert len(west.calls[0]) + len(east.calls[0]) == 40


@on_rig
async def test_one_owner_that_fails_does_not_fail_the_others(rig: Rig) -> None:
    west = await rig.node("west", 0, 1)
    await rig.node("east", 2, 3)
    west.faults.extend([Fault.UNREACHABLE] * 100)
    results = await rig.api.create(CLERK, [request(rig) for _ in range(40)], 1_000)
    kinds = {type(result) for result in results}
    assert kinds == {TaskView, Unavailable}
    assert all(
        home_of(result.task_id).shard in {2, 3}
        for result in results
        if isinstance(result, TaskView)
    )


@on_rig
async def test_a_shard_without_owner_is_waited_for(rig: Rig) -> None:
    creation = asyncio.ensure_future(created(rig))
    await rig.clock.sleep_ms(3_000)
    assert not creation.done()
    owner = await rig.node("west", *SHARDS)
    began_ms = rig.clock.now().mono_ms
    await creation
    assert rig.clock.now().mono_ms - began_ms < 100
    assert marks(owner) == [False]


@on_rig
async def test_no_owner_within_the_deadline_is_unavailable_with_a_hint(rig: Rig) -> None:
    with pytest.raises(Unavailable) as caught:
        await created(rig, patience_ms=2_000)
    assert caught.value.retry_after_s == 1.0
    assert 2_000 <= rig.clock.now().mono_ms < 2_100


@pytest.mark.parametrize("later", [Fault.UNREACHABLE, Fault.FULL, Fault.OVERLOADED])
def test_doubt_at_the_deadline_is_unknown(later: Fault) -> None:
    async def main(rig: Rig) -> None:
        owner = await rig.node("west", *SHARDS)
        owner.faults.extend([Fault.BREAK_BEFORE, *[later] * 100])
        with pytest.raises(OutcomeUnknown):
            await created(rig, patience_ms=2_000)

    on_rig(main)()


@on_rig
async def test_what_was_not_even_queued_is_refused_at_once(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    owner.faults.append(Fault.FULL)
    with pytest.raises(ResourceExhausted):
        await created(rig)
    assert owner.calls == []


@on_rig
async def test_with_no_time_left_nothing_is_sent_and_nothing_in_doubt(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    with pytest.raises(Unavailable) as caught:
        await created(rig, patience_ms=0)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert owner.calls == []


@on_rig
async def test_an_overloaded_owner_is_not_pressed(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    owner.faults.append(Fault.OVERLOADED)
    with pytest.raises(ResourceExhausted) as caught:
        await created(rig)
    assert caught.value.retry_after_s == 1.0
    assert len(owner.calls) == 1


@on_rig
async def test_after_a_hand_over_the_call_goes_to_the_new_owner(rig: Rig) -> None:
    west, east = await rig.node("west", *SHARDS), await rig.node("east")
    await created(rig)
    for shard in SHARDS:
        await rig.release("west", shard)
        await rig.take("east", shard)
    await rig.clock.sleep_ms(1)
    await created(rig)
    assert (len(west.calls), len(east.calls)) == (1, 1)


@on_rig
async def test_an_owner_that_refuses_before_the_map_changed_is_asked_again_later(rig: Rig) -> None:
    west, east = await rig.node("west", *SHARDS), await rig.node("east")
    west.epochs.clear()
    creation = asyncio.ensure_future(created(rig))
    await rig.clock.sleep_ms(100)
    epochs = {each.shard: each.epoch for each in await rig.sessions["west"].ownerships()}
    for shard, epoch in epochs.items():
        await rig.sessions["west"].release_ownership(shard, epoch)
        await rig.take("east", shard)
    await creation
    assert (marks(east), east.doubled, west.doubled) == ([False], [], [])


async def moved(rig: Rig, source: str, target: str) -> None:
    """Another node owns every shard, and the first one was told nothing."""
    kept = dict(rig.dialer.owners[f"{source}:1"].epochs)
    for shard, epoch in kept.items():
        await rig.sessions[source].release_ownership(shard, epoch)
        await rig.take(target, shard)


@on_rig
async def test_a_try_at_a_frozen_owner_ends_when_the_map_names_another(rig: Rig) -> None:
    west, east = await rig.node("west", *SHARDS), await rig.node("east")
    west.faults.append(Fault.HANG)
    creation = asyncio.ensure_future(created(rig))
    await rig.clock.sleep_ms(200)
    assert len(west.calls) == 1
    await moved(rig, "west", "east")
    await creation
    assert rig.clock.now().mono_ms < 200 + MOVED_GRACE_MS + 50
    assert (marks(east), east.doubled) == ([True], [])


@on_rig
async def test_an_answer_that_comes_as_the_map_changes_still_counts(rig: Rig) -> None:
    west, east = await rig.node("west", *SHARDS), await rig.node("east")
    west.delay_ms = 200
    creation = asyncio.ensure_future(created(rig))
    await rig.clock.sleep_ms(150)
    await moved(rig, "west", "east")
    await creation
    assert (len(west.calls), east.calls) == (1, [])


@on_rig
async def test_a_map_that_changes_elsewhere_ends_no_try(rig: Rig) -> None:
    west = await rig.node("west", *SHARDS)
    west.delay_ms = 1_000
    creation = asyncio.ensure_future(created(rig))
    await rig.clock.sleep_ms(200)
    await rig.node("east")
    await creation
    assert marks(west) == [False]


@on_rig
async def test_a_hint_is_followed_at_once_and_unmarked(rig: Rig) -> None:
    west, east = await rig.node("west"), await rig.node("east")
    rig.router.attach(await rig.service.connect(10_000))
    for shard in SHARDS:
        await rig.take("west", shard)
    await rig.router.target(ShardId(0))
    kept = dict(west.epochs)
    west.epochs.clear()
    east.epochs.update({shard: Epoch(epoch + 100) for shard, epoch in kept.items()})
    west.hint = OwnerHint(NodeId("east"), "east:1", Epoch(10_000))
    await created(rig)
    assert rig.clock.now().mono_ms < FIRST_PAUSE_MS
    assert (len(west.calls), marks(east)) == (1, [False])


@on_rig
async def test_a_hint_is_followed_once_and_never_over_a_newer_map(rig: Rig) -> None:
    west, east = await rig.node("west", *SHARDS), await rig.node("east")
    kept = dict(west.epochs)
    west.epochs.clear()
    for epoch, tries_at_east in ((Epoch(0), 0), (Epoch(10_000), 1)):
        west.hint = OwnerHint(NodeId("east"), "east:1", epoch)
        with pytest.raises(Unavailable):
            await created(rig, patience_ms=500)
        assert len(east.calls) == tries_at_east
    west.epochs.update(kept)


@on_rig
async def test_answers_are_told_as_they_are_decided(rig: Rig) -> None:
    west, east = await rig.node("west", 0, 1), await rig.node("east", 2, 3)
    west.faults.append(Fault.HANG)
    told: dict[int, int] = {}

    def note(position: int, answer: TaskView | TimeballError) -> None:
        assert isinstance(answer, TaskView)
        assert position not in told
        told[position] = rig.clock.now().mono_ms

    requests = [request(rig) for _ in range(40)]
    results = await rig.api.create(CLERK, requests, None, note)
    assert sorted(told) == list(range(40))
    quick = {position for position, at_ms in told.items() if at_ms < 100}
    views = [result for result in results if isinstance(result, TaskView)]
    of_east = {n for n, view in enumerate(views) if home_of(view.task_id).shard in {2, 3}}
    assert quick == of_east
    assert east.doubled == []


@on_rig
async def test_a_suspended_session_leaves_the_old_map_in_use(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    session = await rig.service.connect(10_000)
    rig.router.attach(session)
    await created(rig)
    session.cut()
    await rig.clock.sleep_ms(10)
    await created(rig)


@on_rig
async def test_a_repeated_cancel_is_marked_and_holds(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    view = await created(rig)
    owner.faults.append(Fault.BREAK_AFTER)
    cancelled = await rig.api.cancel(CLERK, CancelRequest(task_id=view.task_id))
    assert cancelled.state is PublicState.CANCELLED
    with pytest.raises(TooLate):
        await rig.api.cancel(CLERK, CancelRequest(task_id=view.task_id))


@on_rig
async def test_reads_are_repeated_without_a_mark(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    view = await created(rig)
    await owner.append(view.task_id, EventKind.CLAIMED, executor=EXECUTOR, attempt=1)
    owner.faults.extend([Fault.BREAK_BEFORE, Fault.HANG, Fault.NOT_OWNED])
    found = (await rig.api.get(CLERK, view.task_id, 20_000)).task
    assert (found.task_id, found.attempt) == (view.task_id, 1)
    assert [type(call[0]) for call in owner.calls[1:]] == [ReadTask] * 4


async def _finish_later(rig: Rig, owner: FakeOwner, task_id: TaskId, after_ms: int) -> None:
    await rig.clock.sleep_ms(after_ms)
    await owner.append(task_id, EventKind.CANCELLED)


@on_rig
async def test_a_wait_ends_with_the_task(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    view = await created(rig)
    ending = asyncio.ensure_future(_finish_later(rig, owner, view.task_id, 25_000))
    ended = await rig.api.wait(CLERK, view.task_id, 60_000)
    await ending
    assert ended.terminal
    assert 25_000 <= rig.clock.now().mono_ms < 25_200


@on_rig
async def test_a_wait_that_is_over_answers_with_the_state(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    view = await created(rig)
    waited = await rig.api.wait(CLERK, view.task_id, 12_000)
    assert (waited.terminal, waited.state) == (False, PublicState.SCHEDULED)
    assert 12_000 <= rig.clock.now().mono_ms < 12_200


@on_rig
async def test_a_wait_is_capped(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    view = await created(rig)
    await rig.api.wait(CLERK, view.task_id, 10**9)
    assert rig.clock.now().mono_ms < 61_000


@on_rig
async def test_a_wait_follows_the_shard_to_its_next_owner(rig: Rig) -> None:
    west, east = await rig.node("west", *SHARDS), await rig.node("east")
    view = await created(rig)
    waiting = asyncio.ensure_future(rig.api.wait(CLERK, view.task_id, 30_000))
    await rig.clock.sleep_ms(5)
    west.is_silent = True
    for shard in SHARDS:
        await rig.release("west", shard)
        await rig.take("east", shard)
    ending = asyncio.ensure_future(_finish_later(rig, east, view.task_id, 2_000))
    assert (await waiting).terminal
    await ending
    assert east.followed > 0


@on_rig
async def test_a_wait_without_owner_is_unavailable_when_its_time_is_over(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    view = await created(rig)
    for shard in SHARDS:
        await rig.release("west", shard)
    with pytest.raises(Unavailable):
        await rig.api.wait(CLERK, view.task_id, 3_000)
    assert 3_000 <= rig.clock.now().mono_ms < 3_100
