"""Creations beyond what an owner can take in are refused before they are sent; nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from timeball.errors import OutcomeUnknown, ResourceExhausted, TimeballError

from coordinator.admission import BULK_PATIENCE_MS
from coordinator.api import TaskApi
from coordinator.owner_calls import TRY_MS
from coordinator.requests import Caller, CreateRequest
from tests.support.fake_owners import FakeOwner, Fault, Rig, on_rig
from timeball_server.core.minting import CreateTime, fresh_request_id
from timeball_server.core.model import PublicState, TaskSpec, TaskView
from timeball_server.core.overload import BULK_SHARE, FIRST_LIMIT, LEAST_LIMIT
from timeball_server.ports.metrics import Figures

CLERK = Caller("shop", "clerk")
SPEC = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")
SHARDS = (0, 1, 2, 3)
SLOW_MS = 900
PIECE = int(LEAST_LIMIT * BULK_SHARE)


def request(rig: Rig) -> CreateRequest:
    request_id = fresh_request_id(rig.clock.now().wall_ms, rig.cluster.entropy.randbytes(10))
    return CreateRequest(spec=SPEC, time=CreateTime(delay_ms=60_000), request_id=request_id)


async def create(rig: Rig) -> TaskView | TimeballError:
    (result,) = await rig.api.create(CLERK, [request(rig)])
    return result


async def crowd(rig: Rig, count: int) -> list[TaskView | TimeballError]:
    """Callers who all come at once."""
    return list(await asyncio.gather(*(create(rig) for _ in range(count))))


def refused(results: list[TaskView | TimeballError]) -> int:
    return sum(isinstance(result, ResourceExhausted) for result in results)


def under_way(rig: Rig) -> float:
    named = {each.name: each for each in rig.calls.admission.metrics()}
    figures = named["timeball_creations_under_way"]
    assert isinstance(figures, Figures)
    return figures.samples[0][1]


def in_turns(count: int, call: Callable[[], object]) -> None:
    """Call it in the loop's next turn but so many, behind whatever was begun before."""
    later = call if not count else partial(in_turns, count - 1, call)
    asyncio.get_running_loop().call_soon(later)


async def grown_slow(rig: Rig, owner: FakeOwner) -> None:
    """An owner whose limit has fallen as far as it can."""
    owner.delay_ms = SLOW_MS
    for _ in range(30):
        await create(rig)
    assert rig.cluster.calls.admission.allowed("west:1") == LEAST_LIMIT


@on_rig
async def test_what_is_beyond_the_limit_is_refused_with_a_hint_and_never_sent(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    owner.delay_ms = 100
    results = await crowd(rig, FIRST_LIMIT + 10)
    assert refused(results) == 10
    error = next(result for result in results if isinstance(result, ResourceExhausted))
    assert error.retry_after_s == 1.0
    assert sum(map(len, owner.calls)) == FIRST_LIMIT


@on_rig
async def test_an_owner_that_became_slow_is_sent_less(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    await grown_slow(rig, owner)
    assert refused(await crowd(rig, LEAST_LIMIT + 25)) == 25


@on_rig
async def test_reads_of_a_full_owner_are_answered(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    view = await create(rig)
    assert isinstance(view, TaskView)
    await grown_slow(rig, owner)
    waiting = asyncio.ensure_future(crowd(rig, LEAST_LIMIT + 5))
    await rig.clock.sleep_ms(SLOW_MS // 3)
    assert (await rig.api.get(CLERK, view.task_id)).task.state is PublicState.SCHEDULED
    assert refused(await waiting) == 5


@on_rig
async def test_an_owner_is_not_judged_by_another(rig: Rig) -> None:
    slow, quick = await rig.node("west", 0, 1), await rig.node("east", 2, 3)
    slow.delay_ms = SLOW_MS
    await crowd(rig, 2 * FIRST_LIMIT)
    assert sum(map(len, quick.calls)) > FIRST_LIMIT * 3 // 4
    assert rig.cluster.calls.admission.allowed("east:1") >= FIRST_LIMIT


@on_rig
async def test_bulk_work_waits_for_room_and_goes_out_piece_by_piece(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    await grown_slow(rig, owner)
    owner.delay_ms = BULK_PATIENCE_MS // 10
    first = asyncio.ensure_future(crowd(rig, LEAST_LIMIT))
    await rig.clock.sleep_ms(1)
    sent = len(owner.calls)
    results = await rig.api.create(CLERK, [request(rig) for _ in range(4 * PIECE)])
    assert refused(list(results)) == 0
    assert [len(call) for call in owner.calls[sent:]] == [PIECE] * 4
    assert refused(await first) == 0


@on_rig
async def test_bulk_work_waits_no_longer_than_its_caller(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    await grown_slow(rig, owner)
    owner.delay_ms = TRY_MS - 1
    first = asyncio.ensure_future(crowd(rig, PIECE - 10))
    await rig.clock.sleep_ms(1)
    results = list(await rig.api.create(CLERK, [request(rig) for _ in range(PIECE)], 2_000))
    assert refused(results) == PIECE
    await first


@on_rig
async def test_a_caller_who_goes_in_any_moment_takes_no_room_along(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    await grown_slow(rig, owner)
    for turns in range(8):
        wishes = [request(rig) for _ in range(2 * PIECE)]
        asked = asyncio.ensure_future(rig.api.create(CLERK, wishes))
        in_turns(turns, asked.cancel)
        await asyncio.wait((asked,))
        await rig.clock.sleep_ms(2 * SLOW_MS)
        assert under_way(rig) == 0, f"after {turns} turns of the loop"


@on_rig
async def test_bulk_work_leaves_room_for_single_callers(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    await grown_slow(rig, owner)
    wishes = [request(rig) for _ in range(LEAST_LIMIT)]
    bulk = asyncio.ensure_future(rig.api.create(CLERK, wishes))
    await rig.clock.sleep_ms(1)
    assert refused(await crowd(rig, LEAST_LIMIT - PIECE)) == 0
    assert refused(list(await bulk)) == 0


@on_rig
async def test_a_creation_in_doubt_is_not_refused_for_overload(rig: Rig) -> None:
    """The refusal speaks for the second send; the first one may have created the task."""
    owner = await rig.node("west", *SHARDS)
    owner.faults.extend([Fault.BREAK_AFTER, *[Fault.OVERLOADED] * 100])
    (result,) = await rig.api.create(CLERK, [request(rig)], 2_000)
    assert isinstance(result, OutcomeUnknown)


@on_rig
async def test_what_is_refused_creates_nothing(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    owner.delay_ms = 100
    api: TaskApi = rig.api
    crowding = asyncio.ensure_future(crowd(rig, FIRST_LIMIT))
    await rig.clock.sleep_ms(1)
    wish = request(rig)
    (result,) = await api.create(CLERK, [wish])
    assert isinstance(result, ResourceExhausted)
    await crowding
    (view,) = await api.create(CLERK, [wish])
    assert isinstance(view, TaskView)
    assert owner.doubled == []
