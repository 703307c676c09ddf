"""What a scheduler node says of its lateness: the arithmetic, and what counts as a start."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from scheduler_node.measuring import (
    SLOT_MS,
    SLOTS,
    LastMinute,
    Measures,
    quantile_ms,
)
from timeball_server.core.engine.events import ExecutorSaid
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.engine.ready import ReadyQueue
from timeball_server.core.engine.state import Engine, EngineConfig, ExecutorState, TaskState
from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    Incarnation,
    Minute,
    NodeId,
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
from timeball_server.core.messages import Finished, FromExecutor, RunId, RunResult, Started
from timeball_server.core.model import TaskSpec
from timeball_server.ports.owners import LATENESS_BOUNDS_MS

NOW_MS = 1_800_000_000_000
DUE_MS = NOW_MS - 1_000
SHARD = ShardId(3)
RED = Incarnation(7)
TASK = encode_id(IdParts(Bucket(Minute(DUE_MS // 60_000), SHARD), b"m" * 16))
RUN = RunId(TASK, EventRef(1, Epoch(5)))


def claimed(kind: EventKind = EventKind.CLAIMED) -> TaskState:
    """A task whose run in hand is RUN."""
    task = TaskState(TASK, SHARD)
    task.append(
        EventRow(
            task_id=TASK,
            epoch=Epoch(5),
            seq=1,
            kind=kind,
            state=State.CLAIMED,
            alarm=Alarm(DUE_MS, 1, Epoch(5)),
            attempt=1,
            run=RUN.run,
            executor=NodeId("red"),
            incarnation=RED,
            prev_epoch=Epoch(0),
            spec_at=EventRef(1, Epoch(5)),
            revision=1,
            priority=4,
            unaccounted=(),
            request_id="",
            at_ms=DUE_MS,
            created_ms=DUE_MS,
            actor="",
            detail=SpecDetail(spec=TaskSpec(namespace="default", owner="o", handler="h")),
        )
    )
    return task


def node(task: TaskState) -> Engine:
    """An engine with one executor that has the task's run."""
    engine = Engine("west", 1, EngineConfig(), random.Random(1), ReadyQueue())
    facts = ExecutorFacts(
        node=NodeId("red"), incarnation=RED, strength=1, slots=5, handlers=(), labels=()
    )
    executor = engine.executors[RED] = ExecutorState(facts)
    executor.runs[RUN] = task
    return engine


def result(started_ms: int) -> RunResult:
    return RunResult(run=RUN, shard=SHARD, started_ms=started_ms, ended_ms=started_ms + 1)


def noted(task: TaskState, *messages: FromExecutor, incarnation: Incarnation = RED) -> Measures:
    measures = Measures()
    said = [ExecutorSaid(incarnation, message) for message in messages]
    measures.note(node(task), said, NOW_MS)
    return measures


def place(late_ms: int) -> int:
    return next(at for at, bound in enumerate(LATENESS_BOUNDS_MS) if late_ms <= bound)


def test_a_start_is_counted_where_its_lateness_belongs() -> None:
    measures = noted(claimed(), Started(((RUN, DUE_MS + 20),)))
    assert (measures.counts[place(20)], sum(measures.counts)) == (1, 1)
    assert measures.total_ms == 20
    assert quantile_ms(measures.last_minute(SHARD, NOW_MS), 0.99) == 20
    assert measures.last_minute(ShardId(4), NOW_MS) == []


def test_a_start_that_comes_with_its_result_is_counted_once() -> None:
    assert sum(noted(claimed(), Finished((result(DUE_MS + 3),))).counts) == 1
    both = noted(claimed(), Started(((RUN, DUE_MS + 3),)), Finished((result(DUE_MS + 3),)))
    assert sum(both.counts) == 1


def test_what_was_counted_or_never_started_is_not_counted() -> None:
    known = claimed()
    known.started_ms = DUE_MS
    assert sum(noted(known, Finished((result(DUE_MS),))).counts) == 0
    assert sum(noted(claimed(), Finished((result(0),))).counts) == 0
    other = RunId(TASK, EventRef(2, Epoch(5)))
    assert sum(noted(claimed(), Started(((other, DUE_MS),))).counts) == 0
    stranger = noted(claimed(), Started(((RUN, DUE_MS),)), incarnation=Incarnation(8))
    assert sum(stranger.counts) == 0


def test_a_clock_that_runs_behind_is_not_late_and_a_renewed_alarm_is_no_due_time() -> None:
    early = noted(claimed(), Started(((RUN, DUE_MS - 5),)))
    assert (early.counts[0], early.total_ms) == (1, 0)
    renewed = noted(claimed(EventKind.RENEWED), Finished((result(DUE_MS - 5),)))
    assert sum(renewed.counts) == 0


def test_shards_that_are_gone_are_forgotten() -> None:
    measures = noted(claimed(), Started(((RUN, DUE_MS),)))
    measures.keep([SHARD])
    assert sum(measures.last_minute(SHARD, NOW_MS)) == 1
    measures.keep([])
    assert measures.last_minute(SHARD, NOW_MS) == []


def test_a_minute_is_forgotten_piece_by_piece() -> None:
    minute = LastMinute()
    for slot in range(SLOTS + 3):
        minute.observe(slot, NOW_MS + slot * SLOT_MS)
    last_ms = NOW_MS + (SLOTS + 2) * SLOT_MS
    assert [at for at, count in enumerate(minute.counts(last_ms)) if count] == [*range(3, 15)]
    assert sum(minute.counts(last_ms + 11 * SLOT_MS)) == 1
    assert minute.counts(last_ms + SLOTS * SLOT_MS) == []


@given(
    st.lists(st.integers(0, LATENESS_BOUNDS_MS[-1]), min_size=1, max_size=200),
    st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]),
)
def test_a_quantile_is_the_true_one_rounded_up_to_its_bound(late: list[int], share: float) -> None:
    counts = [0] * (len(LATENESS_BOUNDS_MS) + 1)
    for each in late:
        counts[place(each)] += 1
    rank = next(at for at in range(len(late)) if (at + 1) >= share * len(late))
    assert quantile_ms(counts, share) == LATENESS_BOUNDS_MS[place(sorted(late)[rank])]


def test_nothing_has_no_quantile_and_what_is_above_all_bounds_is_shown_as_the_last() -> None:
    assert quantile_ms([], 0.5) is None
    assert quantile_ms([0] * (len(LATENESS_BOUNDS_MS) + 1), 0.5) is None
    assert quantile_ms([0] * len(LATENESS_BOUNDS_MS) + [1], 0.5) == LATENESS_BOUNDS_MS[-1]
