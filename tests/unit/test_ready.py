"""Due work that waits: order, shares of raised retries and of priority 9, ageing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.engine.ready import ReadyQueue, WaitingClass
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


def queue_of(*tasks: TaskState, now_ms: int = NOW_MS) -> ReadyQueue:
    queue = ReadyQueue()
    for task in tasks:
        queue.push(task, now_ms)
    return queue


def anything(waiting: WaitingClass) -> bool:
    return True


def served(queue: ReadyQueue, count: int) -> list[TaskState]:
    """The next ones, in the order in which executors get them."""
    tasks: list[TaskState] = []
    while len(tasks) < count and (waiting := queue.select(anything)) is not None:
        task = waiting.pop()
        task.waits = False
        tasks.append(task)
    return tasks


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
    order = [(-task.effective_priority, task.due_ms) for task in served(queue_of(*made), 99)]
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
    chosen = queue.select(lambda waiting: waiting.key[0] == "b")
    assert chosen is not None
    assert chosen.pop() is two


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
        queue.push(task, NOW_MS)
    order = served(queue, 10)
    assert sum(1 for task in order if task.spec.priority == 9) == 5


def test_an_unused_share_is_not_saved_for_later() -> None:
    modest = waiting_task(1, priority=0, failed=3)
    queue = queue_of(modest, *[waiting_task(10 + n) for n in range(50)])
    assert served(queue, 51)[-1] is modest
    queue.push(waiting_task(2, failed=1), NOW_MS)
    served(queue, 1)
    for number in range(20):
        queue.push(waiting_task(100 + number, failed=3), NOW_MS)
        queue.push(waiting_task(200 + number, priority=6), NOW_MS)
    assert sum(1 for task in served(queue, 10) if task.failed_attempts) == 2


def test_what_is_beyond_its_share_still_runs_when_nobody_else_waits() -> None:
    retries = [waiting_task(n, failed=2) for n in range(10)]
    assert len(served(queue_of(*retries), 99)) == 10


def test_waiting_raises_and_the_order_follows() -> None:
    old = waiting_task(1, priority=1, due_ms=NOW_MS)
    queue = queue_of(old)
    later_ms = NOW_MS + 8 * 60_000
    fresh = waiting_task(2, priority=7, due_ms=later_ms)
    queue.push(fresh, later_ms)
    assert queue.age(later_ms) == []
    assert old.effective_priority == 8
    assert served(queue, 9) == [old, fresh]


def test_ageing_reports_whose_start_is_too_late() -> None:
    limited = waiting_task(1, limit_ms=5_000)
    queue = queue_of(limited, waiting_task(2))
    assert queue.age(NOW_MS + 5_000) == []
    assert queue.age(NOW_MS + 6_000) == [limited]


def test_who_has_left_is_neither_counted_nor_served() -> None:
    gone, stays = waiting_task(1, priority=8), waiting_task(2)
    queue = queue_of(gone, stays)
    gone.waits = False
    assert queue.count() == 1
    assert served(queue, 9) == [stays]
    assert queue.classes() == []
    assert queue.select(anything) is None
