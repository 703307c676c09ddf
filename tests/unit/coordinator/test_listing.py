"""Lists: every task exactly once, newest first, over days, pages, filters and lost creations."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timeball.errors import InvalidRequest, TimeballError

from coordinator.paging import ListQuery, Place, seal, unseal
from coordinator.requests import Caller, CreateRequest
from coordinator.walk import MAX_DAYS, MAX_ROWS
from tests.support.fake_owners import EXECUTOR, FakeOwner, Rig, on_rig
from tests.support.virtual_loop import START_WALL_MS
from timeball_server.core.ids import Epoch, TaskId
from timeball_server.core.journal import EventKind, OwnerListRow, StateListRow
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import EVERYBODY, PublicState, TaskSpec, TaskView

CLERK = Caller("shop", "clerk")
QUERY = ListQuery(namespace="shop", owner="clerk")
KEY = b"sealing key"
SHARDS = (0, 1, 2, 3)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


async def made(
    rig: Rig,
    handler: str = "billing.charge",
    owner: str = "clerk",
    *,
    delay_ms: int = DAY_MS,
    labels: tuple[tuple[str, str], ...] = (),
) -> TaskView:
    spec = TaskSpec(namespace="shop", owner=owner, handler=handler, labels=labels)
    request = CreateRequest(spec=spec, time=CreateTime(delay_ms=delay_ms))
    (result,) = await rig.api.create(CLERK, [request])
    if isinstance(result, TimeballError):
        raise result
    return result


async def all_pages(rig: Rig, query: ListQuery, page_size: int) -> list[TaskView]:
    found: list[TaskView] = []
    token = ""
    while True:
        page = await rig.api.list_by_owner(query, page_size, token)
        assert len(page.tasks) <= page_size
        found += page.tasks
        token = page.next_token
        if not token:
            return found


PLANS = st.lists(
    st.tuples(
        st.integers(0, 30 * HOUR_MS // 2) | st.just(0),
        st.sampled_from(["billing.charge", "billing.refund"]),
        st.sampled_from(["clerk", "clerk", "manager"]),
        st.sampled_from([None, EventKind.CANCELLED, EventKind.VOID]),
    ),
    max_size=45,
)
STATE_SETS = st.sampled_from(
    [frozenset(), frozenset({PublicState.CANCELLED}), frozenset({PublicState.SCHEDULED})]
)


@settings(max_examples=50)
@given(PLANS, st.integers(1, 30), st.sampled_from(["", "billing.refund"]), STATE_SETS)
def test_pages_together_hold_every_matching_task_once_newest_first(
    plan: list[tuple[int, str, str, EventKind | None]],
    page_size: int,
    handler: str,
    states: frozenset[PublicState],
) -> None:
    async def main(rig: Rig) -> None:
        node = await rig.node("west", *SHARDS)
        expected: list[TaskView] = []
        for pause_ms, its_handler, its_owner, end in plan:
            rig.clock.skew_ms += pause_ms
            view = await made(rig, its_handler, its_owner)
            if end is not None:
                await node.append(view.task_id, end)
            state = PublicState.CANCELLED if end else PublicState.SCHEDULED
            wanted = its_owner == "clerk" and handler in ("", its_handler)
            if wanted and end is not EventKind.VOID and (not states or state in states):
                expected.append(view)
        since_ms = START_WALL_MS - DAY_MS
        query = replace(QUERY, handler=handler, states=states, created_from_ms=since_ms)
        found = await all_pages(rig, query, page_size)
        expected.sort(key=lambda view: (-view.created_ms, view.task_id))
        assert [view.task_id for view in found] == [view.task_id for view in expected]

    on_rig(main)()


@on_rig
async def test_tasks_created_while_paging_do_not_move_the_pages(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    before = []
    for _ in range(25):
        before.append((await made(rig)).task_id)
        await rig.clock.sleep_ms(1)
    first = await rig.api.list_by_owner(QUERY, 10)
    await rig.clock.sleep_ms(5)
    late = [(await made(rig)).task_id for _ in range(25)]
    second = await rig.api.list_by_owner(QUERY, 10, first.next_token)
    third = await rig.api.list_by_owner(QUERY, 10, second.next_token)
    listed = [view.task_id for page in (first, second, third) for view in page.tasks]
    assert listed == before[::-1]
    assert not set(listed) & set(late)


@on_rig
async def test_the_time_range_is_half_open(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    views = []
    for _ in range(4):
        views.append(await made(rig))
        await rig.clock.sleep_ms(10)
    query = replace(QUERY, created_from_ms=views[1].created_ms, created_to_ms=views[3].created_ms)
    page = await rig.api.list_by_owner(query)
    assert [view.task_id for view in page.tasks] == [views[2].task_id, views[1].task_id]


@on_rig
async def test_running_tasks_are_listed_as_running(rig: Rig) -> None:
    node = await rig.node("west", *SHARDS)
    running, idle = await made(rig), await made(rig)
    await node.append(running.task_id, EventKind.CLAIMED, executor=EXECUTOR, attempt=1)
    node.started[running.task_id] = 5
    states = frozenset({PublicState.RUNNING})
    page = await rig.api.list_by_owner(replace(QUERY, states=states))
    assert [view.task_id for view in page.tasks] == [running.task_id]
    page = await rig.api.list_by_owner(QUERY)
    assert {view.task_id for view in page.tasks} == {running.task_id, idle.task_id}


@on_rig
async def test_tasks_in_hand_are_listed_even_without_their_owner(rig: Rig) -> None:
    node = await rig.node("west", *SHARDS)
    view = await made(rig)
    await node.append(view.task_id, EventKind.CLAIMED, executor=EXECUTOR, attempt=1)
    for shard in SHARDS:
        await rig.release("west", shard)
    page = await rig.api.list_by_owner(QUERY)
    assert [listed.task_id for listed in page.tasks] == [view.task_id]
    assert rig.clock.now().mono_ms < 1_000


@on_rig
async def test_hints_of_lost_or_foreign_creations_are_not_shown(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    view = await made(rig)
    row = OwnerListRow(
        namespace="shop",
        owner="clerk",
        created_ms=view.created_ms,
        task_id=view.task_id,
        handler="billing.charge",
        epoch=Epoch(1),
    )
    unknown = TaskId(view.task_id[:-1] + ("0" if view.task_id[-1] != "0" else "1"))
    await rig.store.append(
        [
            row,
            replace(row, created_ms=view.created_ms - 1),
            replace(row, owner="manager"),
            replace(row, task_id=unknown),
        ]
    )
    assert [each.task_id for each in await all_pages(rig, QUERY, 1)] == [view.task_id]
    assert await all_pages(rig, replace(QUERY, owner="manager"), 1) == []


@on_rig
async def test_one_call_does_bounded_work_and_goes_on_with_its_token(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    view = await made(rig)
    rig.clock.skew_ms += (MAX_DAYS + 5) * DAY_MS
    query = replace(QUERY, created_from_ms=0)
    first = await rig.api.list_by_owner(query)
    assert first.tasks == ()
    second = await rig.api.list_by_owner(query, 0, first.next_token)
    assert [each.task_id for each in second.tasks] == [view.task_id]


@on_rig
async def test_page_size_is_capped(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    for _ in range(120):
        await made(rig)
    assert len((await rig.api.list_by_owner(QUERY)).tasks) == 100
    assert len((await rig.api.list_by_owner(QUERY, 10**9)).tasks) == 120


@on_rig
async def test_labels_and_due_times_choose(rig: Rig) -> None:
    await rig.node("west", *SHARDS)
    plain = await made(rig, delay_ms=HOUR_MS)
    desk = await made(rig, delay_ms=2 * HOUR_MS, labels=(("desk", "7"), ("team", "a")))
    other = await made(rig, delay_ms=3 * HOUR_MS, labels=(("desk", "8"),))

    async def listed(query: ListQuery) -> set[TaskId]:
        return {view.task_id for view in (await rig.api.list_by_owner(query)).tasks}

    assert await listed(replace(QUERY, label=("desk", "7"))) == {desk.task_id}
    assert await listed(replace(QUERY, label=("desk", ""))) == set()
    due = replace(QUERY, due_from_ms=desk.due_ms)
    assert await listed(due) == {desk.task_id, other.task_id}
    assert await listed(replace(due, due_to_ms=other.due_ms)) == {desk.task_id}
    assert await listed(replace(QUERY, due_to_ms=desk.due_ms)) == {plain.task_id}
    with pytest.raises(InvalidRequest, match="due_from"):
        await rig.api.list_by_owner(replace(due, due_to_ms=desk.due_ms))


EVERYONE = replace(QUERY, owner=EVERYBODY)
ENDS = {
    EventKind.CANCELLED: PublicState.CANCELLED,
    EventKind.SUCCEEDED: PublicState.SUCCEEDED,
    EventKind.DEAD: PublicState.FAILED,
    EventKind.LOST: PublicState.FAILED,
}


async def ended(
    rig: Rig, node: FakeOwner, view: TaskView, kind: EventKind, *, adopt: bool, losers: int
) -> None:
    """End a task with its hint, perhaps confirm it later, and leave hints of owners that lost."""
    if kind is not EventKind.CANCELLED:
        await node.append(view.task_id, EventKind.CLAIMED, executor=EXECUTOR, attempt=1)
    await node.append(view.task_id, kind, alarm=None)
    row = StateListRow(
        namespace="shop",
        state="DEAD" if kind is EventKind.DEAD else kind.value,
        at_ms=rig.clock.now().wall_ms,
        task_id=view.task_id,
        epoch=Epoch(200),
    )
    lost = [replace(row, epoch=Epoch(1 + n), at_ms=row.at_ms - 1 - n) for n in range(losers)]
    await rig.store.append([row, *lost, replace(row, state="RETRYING")])
    if adopt:
        await rig.clock.sleep_ms(3)
        await node.append(view.task_id, EventKind.ADOPTED)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 20 * HOUR_MS) | st.just(0),
            st.sampled_from(["clerk", "manager"]),
            st.sampled_from([None, *ENDS]),
            st.booleans(),
            st.integers(0, 2),
        ),
        max_size=25,
    ),
    st.sets(st.sampled_from([*ENDS.values(), PublicState.RETRYING]), min_size=1),
    st.integers(1, 9),
)
def test_everybody_s_tasks_of_some_states_once_each_by_when_they_came_there(
    plan: list[tuple[int, str, EventKind | None, bool, int]],
    states: set[PublicState],
    page_size: int,
) -> None:
    async def main(rig: Rig) -> None:
        node = await rig.node("west", *SHARDS)
        expected: list[tuple[int, TaskId]] = []
        for pause_ms, its_owner, kind, adopt, losers in plan:
            rig.clock.skew_ms += pause_ms
            view = await made(rig, owner=its_owner)
            await rig.clock.sleep_ms(10)
            at_ms = rig.clock.now().wall_ms
            if kind is None:
                continue
            await ended(rig, node, view, kind, adopt=adopt, losers=losers)
            if ENDS[kind] in states:
                expected.append((-at_ms, view.task_id))
        since_ms = START_WALL_MS - DAY_MS
        query = replace(EVERYONE, states=frozenset(states), created_from_ms=since_ms)
        found = await all_pages(rig, query, page_size)
        assert [view.task_id for view in found] == [task for _, task in sorted(expected)]

    on_rig(main)()


@on_rig
async def test_everybody_s_open_tasks_are_refused_with_the_states_that_are_served(
    rig: Rig,
) -> None:
    for states in (set(), {PublicState.RUNNING}, {PublicState.FAILED, PublicState.SCHEDULED}):
        with pytest.raises(InvalidRequest, match="RETRYING, SUCCEEDED, FAILED") as caught:
            await rig.api.list_by_owner(replace(EVERYONE, states=frozenset(states)))
        assert [each.field for each in caught.value.violations] == ["states"]


@on_rig
async def test_a_call_over_dead_hints_reads_a_bounded_number_of_them(rig: Rig) -> None:
    node = await rig.node("west", *SHARDS)
    view = await made(rig)
    await node.append(view.task_id, EventKind.CANCELLED, alarm=None)
    row = StateListRow(
        namespace="shop",
        state="CANCELLED",
        at_ms=view.created_ms,
        task_id=view.task_id,
        epoch=Epoch(200),
    )
    rig.clock.skew_ms += 2 * MAX_ROWS
    await rig.store.append([row])
    await rig.store.append([replace(row, at_ms=row.at_ms + 1 + n) for n in range(MAX_ROWS + 50)])
    query = replace(EVERYONE, states=frozenset({PublicState.CANCELLED}))
    first = await rig.api.list_by_owner(query)
    assert first.tasks == ()
    assert first.next_token
    second = await rig.api.list_by_owner(query, 0, first.next_token)
    assert [each.task_id for each in second.tasks] == [view.task_id]


@on_rig
async def test_an_empty_range_is_refused(rig: Rig) -> None:
    query = replace(QUERY, created_from_ms=5, created_to_ms=5)
    with pytest.raises(InvalidRequest) as caught:
        await rig.api.list_by_owner(query)
    assert [each.field for each in caught.value.violations] == ["created_from"]


PLACES = st.builds(
    Place,
    from_ms=st.integers(0, 10**13),
    to_ms=st.integers(0, 10**13),
    day=st.integers(-1, 10**6),
    cursors=st.lists(st.text(max_size=30), max_size=6).map(tuple),
    after_ms=st.none() | st.integers(0, 10**13),
    after_id=st.none() | st.text(max_size=40).map(TaskId),
)


@given(PLACES)
def test_a_token_brings_back_its_place(place: Place) -> None:
    assert unseal(seal(place, QUERY, KEY), QUERY, KEY) == place


@pytest.mark.parametrize(
    "other",
    [
        replace(QUERY, namespace="bank"),
        replace(QUERY, owner="manager"),
        replace(QUERY, handler="billing.refund"),
        replace(QUERY, states=frozenset({PublicState.RUNNING})),
        replace(QUERY, created_from_ms=0),
        replace(QUERY, created_to_ms=0),
        replace(QUERY, due_from_ms=0),
        replace(QUERY, due_to_ms=0),
        replace(QUERY, label=("desk", "7")),
    ],
)
def test_a_token_of_another_query_is_refused(other: ListQuery) -> None:
    token = seal(Place(from_ms=0, to_ms=9, day=0, cursors=("",)), QUERY, KEY)
    with pytest.raises(InvalidRequest) as caught:
        unseal(token, other, KEY)
    assert [each.field for each in caught.value.violations] == ["page_token"]


@given(PLACES, st.integers(0, 400), st.characters(codec="ascii"))
def test_a_changed_token_is_refused(place: Place, position: int, character: str) -> None:
    token = seal(place, QUERY, KEY)
    at = position % (len(token) - 1)
    changed = token[:at] + character + token[at + 1 :]
    if changed == token:
        return
    with pytest.raises(InvalidRequest):
        unseal(changed, QUERY, KEY)


@given(st.text(max_size=80))
def test_foreign_words_are_no_tokens(words: str) -> None:
    with pytest.raises(InvalidRequest):
        unseal(words, QUERY, KEY)


def test_another_key_opens_nothing() -> None:
    with pytest.raises(InvalidRequest):
        unseal(
            seal(Place(from_ms=0, to_ms=9, day=0, cursors=("",)), QUERY, KEY), QUERY, b"another key"
        )
