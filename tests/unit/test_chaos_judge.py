"""The judge of chaos rounds sees every broken promise that it is there to see."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from timeball.v1 import task_pb2

from tests.support.chaos.faults import Hit
from tests.support.chaos.load import Acknowledged, Told
from tests.support.chaos.witness import Verdict, judge
from tests.support.start_logs import Start
from timeball_server.core.ids import Bucket, IdParts, Minute, ShardId, encode_id

TASK = encode_id(IdParts(Bucket(Minute(29_000_000), ShardId(3)), bytes(16)))
DUE_MS = 1_000_000
AT_MS = DUE_MS + 500


def start(
    after_ms: int, *, attempt: int = 1, executor: str = "executor-1", epoch: int = 5
) -> Start:
    return Start(
        task_id=TASK,
        attempt=attempt,
        epoch=epoch,
        due_ms=DUE_MS,
        started_ms=DUE_MS + after_ms,
        executor=executor,
    )


def verdict(
    starts: Sequence[Start],
    *,
    fault: str = "kill-executor",
    victim: str = "executor-1",
    once: bool = False,
    ended: bool = True,
    sunk: bool = True,
    shards: dict[int, int] | None = None,
    abandoned: tuple[tuple[str, int, int], ...] = (),
    ahead_ms: int = 0,
) -> Verdict:
    promised = Acknowledged(
        task_id=TASK, due_ms=DUE_MS, at_most_once=once, streamed=False, took_ms=5.0, asked_ms=0
    )
    state = task_pb2.TASK_STATE_SUCCEEDED if ended else task_pb2.TASK_STATE_SCHEDULED
    hit = Hit(
        fault=fault,
        victim=victim,
        at_ms=AT_MS,
        back_ms=AT_MS,
        away_s=0.0,
        shards=shards or {},
        abandoned=abandoned or (((victim, AT_MS, AT_MS),) if fault == "kill-executor" else ()),
        ahead_ms=ahead_ms,
    )
    told = Told(acknowledged=[promised])
    return judge(hit, told, starts, {TASK: task_pb2.Task(state=state)}, {TASK} if sunk else set())


def test_a_task_that_ran_once_and_in_time_is_no_problem() -> None:
    found = verdict([start(3)])
    assert found.problems == ()
    assert (found.acknowledged, found.lost, found.latest_ms) == (1, 0, 3)


def test_a_second_start_after_the_kill_of_the_first_ones_executor_has_its_cause() -> None:
    found = verdict([start(450), start(5_000, attempt=2, executor="executor-2")])
    assert found.problems == ()
    assert (found.duplicates_with_cause, found.duplicates_without_cause) == (1, 0)


@pytest.mark.parametrize(
    "starts",
    [
        [start(450), start(460, attempt=2)],  # before the kill
        [start(450, executor="executor-3"), start(5_000, attempt=2)],  # of another one
        [start(450), start(5_000)],  # the same attempt
    ],
)
def test_any_other_second_start_is_a_problem(starts: list[Start]) -> None:
    found = verdict(starts)
    assert found.duplicates_without_cause == 1
    assert len(found.problems) == 1


def test_a_lost_session_is_a_cause_for_runs_between_the_fault_and_its_noticing() -> None:
    again = start(5_000, attempt=2, executor="executor-2")
    lost = (("executor-1", AT_MS, AT_MS + 1_000),)
    for after_ms, without in ((450, 0), (1_400, 0), (1_800, 1)):
        found = verdict([start(after_ms), again], fault="expire-executor", abandoned=lost)
        assert found.duplicates_without_cause == without


def test_the_death_of_an_owner_excuses_no_second_start() -> None:
    found = verdict(
        [start(450), start(5_000, attempt=2)], fault="kill-scheduler", victim="scheduler-1"
    )
    assert found.duplicates_without_cause == 1


def test_promises_that_were_not_kept_are_problems() -> None:
    assert verdict([]).lost == 1
    assert verdict([start(3)], ended=False).lost == 1
    assert verdict([start(-1)]).early == 1
    assert len(verdict([start(3)], sunk=False).problems) == 1
    twice = verdict([start(450), start(5_000, attempt=2, executor="executor-2")], once=True)
    assert twice.once_twice == 1
    assert len(twice.problems) == 1


@pytest.mark.parametrize(("early_ms", "early"), [(4_999, 0), (5_010, 1)])
def test_an_owner_s_clock_that_is_ahead_excuses_so_much_and_no_more(
    early_ms: int, early: int
) -> None:
    assert verdict([start(-early_ms)], fault="clock-ahead", ahead_ms=5_000).early == early


def test_a_fail_over_ends_with_the_first_start_of_a_later_epoch() -> None:
    starts = [start(600, epoch=5), start(4_500, epoch=9, attempt=2)]
    found = verdict(starts, fault="kill-scheduler", victim="scheduler-1", shards={3: 5})
    assert found.failover_ms == (4_000,)
