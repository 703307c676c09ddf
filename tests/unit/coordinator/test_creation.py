"""Creation: one request has one address and one task, whatever is repeated and by whom."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timeball.errors import RequestIdReused, StoreUnavailable, TimeballError

from coordinator.api import TaskApi
from coordinator.requests import Caller, CreateRequest
from tests.support.fake_owners import Fault, Rig, on_rig
from tests.support.virtual_loop import START_WALL_MS
from timeball_server.core.commands import CreateTask
from timeball_server.core.ids import TaskId, decode_id
from timeball_server.core.minting import CreateTime, fresh_request_id
from timeball_server.core.model import TaskSpec, TaskView
from timeball_server.store.memory import MemoryStore

CLERK = Caller("shop", "clerk")
SPEC = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")
OTHER = replace(SPEC, handler="billing.refund")
SHARDS = (0, 1, 2, 3)
SOON = CreateTime(delay_ms=60_000)
V7 = fresh_request_id(START_WALL_MS, b"0123456789")
V4 = uuid.UUID(int=7, version=4).bytes


def ask(request_id: bytes | None, *, spec: TaskSpec = SPEC, resend: bool = False) -> CreateRequest:
    return CreateRequest(spec=spec, time=SOON, request_id=request_id, resend=resend)


async def ids(api: TaskApi, *requests: CreateRequest) -> list[TaskId]:
    results = await api.create(CLERK, requests)
    return [result.task_id for result in results if isinstance(result, TaskView)]


@pytest.mark.parametrize("request_id", [V7, V4], ids=["v7", "v4"])
def test_a_repeated_request_gets_the_same_task_from_another_coordinator_minutes_later(
    request_id: bytes,
) -> None:
    async def main(rig: Rig) -> None:
        owner = await rig.node("west", *SHARDS)
        (first,) = await ids(rig.api, ask(request_id))
        await rig.clock.sleep_ms(10 * 60_000)
        other = TaskApi(replace(rig.cluster, entropy=random.Random(8)))
        (again,) = await ids(other, ask(request_id, resend=True))
        assert again == first
        assert owner.doubled == []

    on_rig(main)()


@on_rig
async def test_callers_without_request_ids_get_tasks_of_their_own(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    assert len(set(await ids(rig.api, *[ask(None)] * 20))) == 20


@on_rig
async def test_version_4_ids_are_settled_by_name_and_version_7_ids_are_not(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    await ids(rig.api, ask(V7))
    assert rig.database.names == {}
    await ids(rig.api, ask(V4))
    assert list(rig.database.names) == [("shop", f"request:{V4.hex()}")]


@on_rig
async def test_a_key_with_another_run_time_finds_the_task_that_it_made(rig: Rig) -> None:
    """Not another one, at another address: the owner of the first one compares them."""
    owner = await rig.node("west", *SHARDS)
    now_ms = rig.clock.now().wall_ms
    times = [CreateTime(run_ms=now_ms + hours * 3_600_000) for hours in (1, 2)]
    first, second = [
        CreateRequest(spec=SPEC, time=time, request_id=V4, resend=True) for time in times
    ]
    (made,) = await ids(rig.api, first)
    await rig.api.create(CLERK, [second])
    sent = [each for call in owner.calls for each in call if isinstance(each, CreateTask)]
    assert [each.minute for each in sent] == [decode_id(made).home.minute] * 2


@on_rig
async def test_many_names_are_settled_and_keep_their_order(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    requests = [ask(uuid.UUID(int=number, version=4).bytes) for number in range(100)]
    first = await ids(rig.api, *requests)
    again = await ids(rig.api, *[replace(each, resend=True) for each in reversed(requests)])
    assert again == first[::-1]


@on_rig
async def test_without_the_store_only_requests_that_need_it_fail(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    closed = MemoryStore()
    await closed.close()
    api = TaskApi(replace(rig.cluster, store=closed))
    named, free = await api.create(CLERK, [ask(V4), ask(V7)])
    assert isinstance(named, StoreUnavailable)
    assert isinstance(free, TaskView)


@on_rig
async def test_one_call_with_one_request_twice_creates_one_task(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    first, other, again = await rig.api.create(CLERK, [ask(V7), ask(None), ask(V7)])
    assert first == again
    assert isinstance(other, TaskView)
    assert [len(call) for call in owner.calls] == [2]


@on_rig
async def test_a_mark_on_either_of_two_equal_requests_counts(rig: Rig) -> None:
    owner = await rig.node("west", *SHARDS)
    await ids(rig.api, ask(V7))
    await ids(rig.api, ask(V7), ask(V7, resend=True))
    assert owner.doubled == []


@on_rig
async def test_one_request_id_for_two_different_tasks_is_refused(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    first, second = await rig.api.create(CLERK, [ask(V7), ask(V7, spec=OTHER)])
    assert isinstance(first, TaskView)
    assert isinstance(second, RequestIdReused)


FAULTS = st.lists(st.sampled_from(Fault), max_size=4)


@settings(max_examples=60)
@given(FAULTS, st.lists(st.tuples(st.sampled_from([V7, V4]), FAULTS), max_size=4))
def test_no_sequence_of_faults_and_repetitions_makes_a_second_task(
    faults: list[Fault], repetitions: list[tuple[bytes, list[Fault]]]
) -> None:
    """Each request is first sent unmarked, then repeated by its caller with a mark."""

    async def main(rig: Rig) -> None:
        owner = await rig.node("west", *SHARDS)
        sent: set[bytes] = set()
        seen: dict[bytes, set[TaskId]] = {}
        for request_id, script in [(V7, faults), *repetitions]:
            owner.faults.clear()
            owner.faults.extend(script)
            request = ask(request_id, resend=request_id in sent)
            sent.add(request_id)
            (result,) = await rig.api.create(CLERK, [request], 30_000)
            if not isinstance(result, TimeballError):
                seen.setdefault(request_id, set()).add(result.task_id)
        assert owner.doubled == []
        assert all(len(task_ids) == 1 for task_ids in seen.values())

    on_rig(main)()
