"""Due work that waits: order, shares of raised retries and of priority 9, ageing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.engine.ready import Lane, ReadyQueue, WaitingClass
from timeball_server.core.engine.state import TaskState
from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    Incarnation,
    Minute,
    ShardId,
    encode_id,
)
from timeball_server.core.journal import (
    Alarm,
    EventKind,
    EventRef,
    EventRow,
    SpecDetail,
    State,
)
from timeball_server.core.model import TaskSpec, Timeouts

NOW_MS = 1_000_000
_EPOCH = Epoch(1)


def waiting_task(
    number: int,
    *,
    priority: int = 4,
    failed: int = 0,
    due_ms: int = NOW_MS,
    handler: str = "charge",
    limit_ms: int | None = None,
) -> TaskState:
    """A pending task after so many failed attempts."""
    task_id = encode_id(IdParts(Bucket(Minute(1), ShardId(0)), number.to_bytes(16, "big")))
    spec = TaskSpec(
        namespace="shop",
        owner="clerk",
        handler=handler,
        priority=priority,
        timeouts=Timeouts(schedule_to_start_ms=limit_ms),
    )
    task = TaskState(task_id, ShardId(0))
    task.append(
        EventRow(
            task_id=task_id,
            epoch=_EPOCH,
            seq=1,
            kind=EventKind.CREATED,
            state=State.PENDING,
            alarm=Alarm(due_ms, 1, _EPOCH),
            attempt=failed,
            run=None,
            executor=None,
            incarnation=Incarnation(0),
            prev_epoch=_EPOCH,
            spec_at=EventRef(1, _EPOCH),
            revision=1,
            priority=priority,
            unaccounted=(),
            request_id="",
            at_ms=0,
            created_ms=0,
            actor="clerk",
            detail=SpecDetail(spec=spec),
        )
    )
    return task


def queue_of(*tasks: TaskState) -> ReadyQueue:
    queue = ReadyQueue()
    for task in tasks:
        queue.push(task)
    return queue


def anything(waiting: WaitingClass) -> bool:
    return True


def served(queue: ReadyQueue, count: int, now_ms: int = NOW_MS) -> list[TaskState]:
    """The next ones, in the order in which executors get them, one slot at a time."""
    tasks: list[TaskState] = []
    while len(tasks) < count and (turn := queue.next(anything, now_ms)) is not None:
        queue.take(turn)
        tasks.append(turn.task)
        assert queue.next(nothing, now_ms) is None  # all slots are taken for a moment
    return tasks


def nothing(waiting: WaitingClass) -> bool:
    return False


def priority_of(task: TaskState, now_ms: int = NOW_MS) -> int:
    return task.refresh_priority(now_ms)


def test_urgent_first_then_due_then_first_come() -> None:
    late = waiting_task(1, due_ms=NOW_MS - 5)
    later = waiting_task(2, due_ms=NOW_MS)
    last = waiting_task(3, due_ms=NOW_MS)
    urgent = waiting_task(4, priority=7, due_ms=NOW_MS)
    assert served(queue_of(later, last, urgent, late), 9) == [urgent, late, later, last]


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 50_000)), min_size=1, max_size=30))
def test_without_retries_and_nines_the_order_is_by_priority_and_due_time(
    tasks: list[tuple[int, int]],
) -> None:
    made = [
        waiting_task(number, priority=priority, due_ms=NOW_MS - waited)
        for number, (priority, waited) in enumerate(tasks)
    ]
    order = [(-priority_of(task), task.due_ms) for task in served(queue_of(*made), 99)]
    assert order == sorted(order)
    assert len(order) == len(tasks)


def test_across_handlers_the_most_urgent_goes_first() -> None:
    one = waiting_task(1, handler="a", priority=3)
    two = waiting_task(2, handler="b", priority=6)
    three = waiting_task(3, handler="a", priority=5)
    assert served(queue_of(one, two, three), 9) == [two, three, one]


def test_a_class_that_nobody_can_serve_does_not_block_the_others() -> None:
    one = waiting_task(1, handler="a", priority=8)
    two = waiting_task(2, handler="b", priority=1)
    queue = queue_of(one, two)
    chosen = queue.next(lambda waiting: waiting.key[0] == "b", NOW_MS)
    assert chosen is not None
    assert chosen.task is two


@pytest.mark.parametrize("handlers", [("a", "a"), ("a", "b")], ids=["one-class", "two-classes"])
def test_raised_retries_take_at_most_a_fifth_while_others_wait(handlers: tuple[str, str]) -> None:
    retries = [waiting_task(n, failed=3, handler=handlers[0]) for n in range(100)]
    others = [waiting_task(100 + n, priority=6, handler=handlers[1]) for n in range(100)]
    order = served(queue_of(*retries, *others), 100)
    assert sum(1 for task in order if task.failed_attempts) == 20
    first_ten = served(queue_of(*retries, *others), 10)
    assert sum(1 for task in first_ten if task.failed_attempts) == 2


@pytest.mark.parametrize("handlers", [("a", "a"), ("a", "b")], ids=["one-class", "two-classes"])
def test_nines_take_at_most_half_while_others_wait(handlers: tuple[str, str]) -> None:
    nines = [waiting_task(n, priority=9, handler=handlers[0]) for n in range(100)]
    others = [waiting_task(100 + n, priority=0, handler=handlers[1]) for n in range(100)]
    order = served(queue_of(*nines, *others), 100)
    assert sum(1 for task in order if task.spec.priority == 9) == 50


def test_shares_bind_only_while_others_wait() -> None:
    nines = [waiting_task(n, priority=9) for n in range(50)]
    queue = queue_of(*nines)
    assert len(served(queue, 40)) == 40
    normal = [waiting_task(100 + n) for n in range(10)]
    for task in normal:
        queue.push(task)
    order = served(queue, 10)
    assert sum(1 for task in order if task.spec.priority == 9) == 5


def test_an_unused_share_is_not_saved_for_later() -> None:
    queue = queue_of(*[waiting_task(n) for n in range(500)])
    served(queue, 400)
    for number in range(20):
        queue.push(waiting_task(1_000 + number, failed=3))
    assert [bool(task.failed_attempts) for task in served(queue, 10)].count(True) == 2


def test_a_nine_that_comes_alone_waits_for_one_start_at_most() -> None:
    queue = queue_of(*[waiting_task(n) for n in range(50)])
    for number in range(100, 110):
        urgent = waiting_task(number, priority=9, due_ms=NOW_MS + 1)
        queue.push(urgent)
        assert urgent in served(queue, 2)


def test_what_is_beyond_its_share_still_runs_when_nobody_else_waits() -> None:
    retries = [waiting_task(n, failed=2) for n in range(10)]
    assert len(served(queue_of(*retries), 99)) == 10


def test_nines_and_raised_retries_alone_share_what_there_is() -> None:
    nines = [waiting_task(n, priority=9) for n in range(100)]
    retries = [waiting_task(200 + n, failed=3) for n in range(100)]
    order = served(queue_of(*nines, *retries), 100)
    assert sum(1 for task in order if task.failed_attempts) == 20
    assert len(served(queue_of(*nines, *retries), 999)) == 200


@pytest.mark.parametrize("base", [8, 9])
def test_eight_and_nine_are_never_lowered_by_their_failures(base: int) -> None:
    """They are not raised, so they need no share for it."""
    failed = waiting_task(1, priority=base, failed=3, due_ms=NOW_MS)
    fresh = [waiting_task(2 + n, priority=base - 1, due_ms=NOW_MS - 9) for n in range(9)]
    poison = [waiting_task(50 + n, priority=5, failed=3, due_ms=NOW_MS - 99) for n in range(9)]
    assert failed in served(queue_of(*fresh, *poison, failed), 2)


def test_a_raised_retry_overtakes_those_that_only_waited_for_long() -> None:
    """Within its share it is held against what others asked for (ADR 0011)."""
    old = [waiting_task(n, priority=4, due_ms=NOW_MS - 3_600_000) for n in range(20)]
    asked = [waiting_task(50 + n, priority=6, due_ms=NOW_MS) for n in range(20)]
    retried = waiting_task(100, failed=1)
    assert served(queue_of(*old, retried), 99).index(retried) == 4
    assert served(queue_of(*asked, retried), 99).index(retried) == 20


def test_waiting_raises_and_the_order_follows() -> None:
    old = waiting_task(1, priority=1, due_ms=NOW_MS)
    queue = queue_of(old)
    later_ms = NOW_MS + 8 * 60_000
    fresh = waiting_task(2, priority=7, due_ms=later_ms)
    queue.push(fresh)
    assert priority_of(old, later_ms) == 8
    assert served(queue, 9, later_ms) == [old, fresh]


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 900_000), st.integers(0, 4)),
        min_size=1,
        max_size=30,
    )
)
def test_at_any_moment_the_first_of_a_lane_is_its_most_urgent(
    tasks: list[tuple[int, int, int]],
) -> None:
    """Heaps by level and due time say the same as looking at everybody."""
    made = [
        waiting_task(number, priority=priority, due_ms=NOW_MS - waited, failed=failed)
        for number, (priority, waited, failed) in enumerate(tasks)
    ]
    waiting = WaitingClass(("charge", ()), made[0].spec)
    for number, task in enumerate(made):
        task.waits, task.ready_number = True, number
        waiting.push(task)
    for lane, turn in waiting.turns(NOW_MS).items():
        lifted = [task for task in made if (task.failed_attempts > 0 and task.spec.priority < 8)]
        mine = lifted if lane is Lane.RAISED else [task for task in made if task not in lifted]
        keys = [(-priority_of(task), task.due_ms, task.ready_number) for task in mine]
        assert turn.rank == min(keys)


def test_whose_start_is_too_late_is_named_once() -> None:
    limited = waiting_task(1, limit_ms=5_000)
    queue = queue_of(limited, waiting_task(2))
    assert queue.expired(NOW_MS + 5_000) == []
    assert queue.expired(NOW_MS + 5_001) == [limited]
    assert queue.expired(NOW_MS + 6_000) == []


def test_who_has_left_is_neither_counted_nor_served() -> None:
    gone, stays = waiting_task(1, priority=8, limit_ms=1), waiting_task(2)
    queue = queue_of(gone, stays)
    gone.waits = False
    assert queue.count() == 1
    assert queue.expired(NOW_MS + 9) == []
    assert served(queue, 9) == [stays]
    assert queue.classes() == []
    assert queue.next(anything, NOW_MS) is None


def test_who_comes_back_has_one_place() -> None:
    task = waiting_task(1)
    queue = queue_of(task)
    task.waits = False
    queue.push(task)
    assert queue.count() == 1
    assert served(queue, 9) == [task]


def test_those_who_have_left_are_let_go_of() -> None:
    first = waiting_task(1, limit_ms=9_000)
    queue = queue_of(first)
    for number in range(20_000):
        task = waiting_task(2 + number, limit_ms=9_000)
        queue.push(task)
        task.waits = False
    assert queue.entries <= 8_192
    assert served(queue, 9) == [first]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 2), st.integers(0, 90)),
        max_size=25,
    )
)
def test_a_round_names_the_same_turns_as_one_look_after_the_other(
    tasks: list[tuple[str, int, int, int]],
) -> None:
    def made() -> list[TaskState]:
        return [
            waiting_task(n, handler=handler, priority=base, failed=failed, due_ms=NOW_MS - late_ms)
            for n, (handler, base, failed, late_ms) in enumerate(tasks)
        ]

    queue = queue_of(*made())
    turns, at_once = queue.round(anything, NOW_MS), []
    while (turn := turns.next()) is not None:
        queue.take(turn)
        at_once.append(turn.task.task_id)
    assert at_once == [task.task_id for task in served(queue_of(*made()), 99)]
    assert len(at_once) == len(tasks)


def test_in_a_round_who_leaves_meanwhile_is_passed_over() -> None:
    first, second, third = (waiting_task(n, due_ms=NOW_MS + n) for n in range(3))
    queue = queue_of(first, second, third)
    turns = queue.round(anything, NOW_MS)
    second.waits = False
    order = []
    while (turn := turns.next()) is not None:
        queue.take(turn)
        order.append(turn.task)
    assert order == [first, third]
