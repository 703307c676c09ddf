"""Outliers among executors: who is left out, who never is, and how one comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.crowd import Crowd, Kind, Start, Worker
from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import World
from timeball_server.core.engine import health
from timeball_server.core.engine.executor_memory import ExecutorState
from timeball_server.core.engine.health import (
    FIRST_LEAVE_MS,
    LEAST_ATTEMPTS,
    LONGEST_LEAVE_MS,
    SLOW_START_MS,
    judge,
)
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.ids import Incarnation, NodeId
from timeball_server.core.model import Failure, RetryPolicy

START_MS = 1_000_000
NO = Failure(kind="OSError", message="no")


def executor(
    name: str = "x1",
    *,
    handlers: tuple[str, ...] = ("charge",),
    slots: int = 20,
    strength: int = 1,
) -> ExecutorState:
    state = ExecutorState(
        ExecutorFacts(
            node=NodeId(name),
            incarnation=Incarnation(abs(hash(name)) + 1),
            strength=strength,
            slots=slots,
            labels=(),
            handlers=handlers,
        )
    )
    state.ready = state.stream_open = True
    return state


def ended(
    state: ExecutorState,
    good: int = 0,
    bad: int = 0,
    *,
    took_ms: int = 100,
    handler: str = "charge",
) -> ExecutorState:
    """So many first attempts ended there."""
    for number in range(good + bad):
        state.health.note(handler, number < bad, took_ms)
    return state


def looked_at(executors: list[ExecutorState], now_ms: int = START_MS) -> list[str]:
    """Names of those that a look leaves out."""
    return [why.partition(":")[0] for why in judge(executors, now_ms)]


# Who is left out --------------------------------------------------------------------------------


def test_who_fails_far_more_than_the_others_is_left_out() -> None:
    bad = ended(executor("bad"), bad=20)
    others = [ended(executor(name), good=20) for name in ("a", "b")]
    assert looked_at([bad, *others]) == ["bad"]
    assert bad.left_out
    assert bad.health.reason == "100% of its attempts failed, 0% elsewhere"


def test_who_takes_far_longer_is_left_out() -> None:
    slow = ended(executor("slow"), good=20, took_ms=9_000)
    others = [ended(executor(name), good=20, took_ms=500) for name in ("a", "b")]
    assert looked_at([slow, *others]) == ["slow"]
    assert slow.health.reason == "its attempts took 9.0 s, 0.5 s elsewhere"


def test_a_weak_executor_may_be_as_much_slower_as_it_is_weaker() -> None:
    weak = ended(executor("weak", strength=1), good=20, took_ms=9_000)
    strong = [ended(executor(name, strength=10), good=20, took_ms=500) for name in ("a", "b")]
    assert looked_at([weak, *strong]) == []


def test_what_fails_everywhere_makes_nobody_an_outlier() -> None:
    executors = [ended(executor(name), good=4, bad=16) for name in ("a", "b", "c", "d")]
    assert looked_at(executors) == []


def test_like_is_compared_with_like() -> None:
    """Whoever happens to run the handler that fails everywhere is none the worse for it."""
    both = ("charge", "flaky")
    here = ended(ended(executor("here", handlers=both), good=2), bad=30, handler="flaky")
    there = ended(ended(executor("there", handlers=both), good=90), bad=10, handler="flaky")
    assert looked_at([here, there]) == []


def test_nobody_is_judged_by_few_attempts_or_without_peers() -> None:
    few = ended(executor("few"), bad=LEAST_ATTEMPTS - 1)
    many = ended(executor("many"), good=50)
    assert looked_at([few, many]) == []
    alone = ended(executor("alone", handlers=("report",)), bad=50, handler="report")
    assert looked_at([alone, many]) == []


def test_the_only_one_is_never_left_out() -> None:
    assert looked_at([ended(executor(), bad=100)]) == []
    bad, gone = ended(executor("bad"), bad=50), ended(executor("gone"), good=50)
    gone.ready = False
    assert looked_at([bad, gone]) == []


@given(st.lists(st.integers(0, 30), min_size=1, max_size=9), st.integers(0, 5))
def test_at_most_half_are_left_out_whatever_happens(bads: list[int], looks: int) -> None:
    executors = [
        ended(executor(f"x{number}"), good=30 - bad, bad=bad) for number, bad in enumerate(bads)
    ]
    for look in range(looks + 1):
        judge(executors, START_MS + look * 1_000)
        assert sum(each.left_out for each in executors) <= len(executors) / 2


def test_the_worst_go_first() -> None:
    worst, worse = ended(executor("worst"), bad=40), ended(executor("worse"), good=10, bad=30)
    fine = ended(executor("fine"), good=40)
    assert looked_at([worse, worst, fine]) == ["worst"]


def test_half_of_those_who_serve_a_handler_stay_for_each_handler() -> None:
    """Five serve `charge`, only two of them `report`: one of these must stay."""
    both = ("charge", "report")
    one, two = ended(executor("one", handlers=both), bad=40), executor("two", handlers=both)
    ended(two, bad=39, good=1)
    rest = [ended(executor(name), good=40) for name in ("a", "b", "c")]
    assert looked_at([one, two, *rest]) == ["one"]


def test_old_attempts_are_forgotten() -> None:
    bad = ended(executor("bad"), bad=20)
    others = [ended(executor(name), good=20) for name in ("a", "b")]
    everybody = [bad, *others]
    for each in everybody:
        each.health.turn(START_MS)
        each.health.turn(START_MS + 2 * health.HALF_WINDOW_MS)
    assert looked_at(everybody, START_MS + 2 * health.HALF_WINDOW_MS) == []


# How one comes back -----------------------------------------------------------------------------


def test_it_comes_back_slowly() -> None:
    bad, good = ended(executor("bad"), bad=20), ended(executor("good"), good=20)
    out = [bad.left_out for _ in range(2) if looked_at([bad, good]) != ["good"]]
    looked_at([bad, good], START_MS + FIRST_LEAVE_MS - 1)
    out.append(bad.left_out)
    back_ms = START_MS + FIRST_LEAVE_MS
    free = []
    for after_ms in range(0, SLOW_START_MS + 1, 1_000):
        looked_at([bad, good], back_ms + after_ms)
        out.append(bad.left_out)
        free.append(bad.free)
    assert out == [True] * 3 + [False] * len(free)
    assert free == sorted(free)
    assert (free[0], free[15], free[-1]) == (2, 10, 20)


def test_it_is_left_out_for_longer_each_time_up_to_a_limit() -> None:
    bad, good = executor("bad"), executor("good")
    now_ms, leaves_ms = START_MS, []
    for _ in range(8):
        ended(bad, bad=20), ended(good, good=20)
        assert looked_at([bad, good], now_ms) == ["bad"]
        assert bad.health.left_out_until_ms is not None
        leaves_ms.append(bad.health.left_out_until_ms - now_ms)
        now_ms = bad.health.left_out_until_ms
        looked_at([bad, good], now_ms)
    assert leaves_ms[:4] == [FIRST_LEAVE_MS, 20_000, 40_000, 80_000]
    assert leaves_ms[-1] == LONGEST_LEAVE_MS


def test_a_long_good_time_forgets() -> None:
    bad, good = ended(executor("bad"), bad=20), ended(executor("good"), good=20)
    looked_at([bad, good])
    back_ms = START_MS + FIRST_LEAVE_MS
    looked_at([bad, good], back_ms)
    looked_at([bad, good], back_ms + LONGEST_LEAVE_MS)
    assert bad.health.times == 0


# In the engine ----------------------------------------------------------------------------------


def failing(share_of: Callable[[Start], bool]) -> Callable[[Start], Failure | None]:
    return lambda start: NO if share_of(start) else None


def worked(*workers: Worker, until_ms: int, per_s: int = 100) -> Crowd:
    """New tasks all the time."""
    crowd = Crowd(*workers)
    crowd.connect()
    while crowd.ms < until_ms:
        crowd.create([Kind(takes_ms=100)] * (per_s // 20))
        crowd.run(crowd.ms + 50)
    return crowd


def starts_at(crowd: Crowd, name: str, from_ms: int, to_ms: int) -> int:
    return sum(each.executor == name and from_ms < each.ms <= to_ms for each in crowd.starts)


def test_work_avoids_an_executor_where_everything_fails() -> None:
    bad, good = Worker("bad", slots=50), Worker("good", slots=50)
    bad.outcome = failing(lambda start: True)
    crowd = worked(bad, good, until_ms=10_000)
    out = [each for each in crowd.engine.executors.values() if each.health.times]
    assert [each.facts.node for each in out] == ["bad"]
    assert crowd.engine.counters.left_out == 1
    assert starts_at(crowd, "bad", 0, 1_000) > 20
    assert starts_at(crowd, "bad", 3_000, 9_000) == 0
    assert starts_at(crowd, "good", 3_000, 9_000) > 500


def test_a_clock_that_is_put_back_keeps_nobody_away_for_longer() -> None:
    world = World()
    good, bad = ScriptedExecutor(world, "good"), ScriptedExecutor(world, "bad")
    node = world.owner()
    state = node.engine.executors[bad.facts.incarnation]
    while not state.health.times:
        node.create(retry=RetryPolicy(max_attempts=1))
        for end, which in ((good.succeeds, good), (bad.fails, bad)):
            for order in [each for each in which.orders if str(each.run) in which.known]:
                end(order)
        world.run(50)
    world.wall_ms -= 3_600_000
    world.run(FIRST_LEAVE_MS + 1_000)
    assert state.health.left_out_until_ms is None
    world.run(SLOW_START_MS)
    assert state.free == bad.facts.slots


def test_who_has_recovered_gets_its_share_again_step_by_step() -> None:
    bad, good = Worker("bad", slots=10), Worker("good", slots=10)
    bad.outcome = failing(lambda start: start.ms < 5_000)
    crowd = worked(bad, good, until_ms=46_000, per_s=140)
    assert crowd.engine.counters.left_out == 1
    shares = [starts_at(crowd, "bad", at_ms, at_ms + 2_000) for at_ms in (13_000, 22_000, 31_000)]
    assert 0 < shares[0] < shares[1] < shares[2]
    late = [starts_at(crowd, name, 44_000, 46_000) for name in ("bad", "good")]
    assert late[0] > 0.9 * late[1]


def test_bad_input_leaves_nobody_out() -> None:
    workers = [Worker(name, slots=50) for name in ("a", "b", "c")]
    for each in workers:
        each.outcome = failing(lambda start: start.number % 2 == 0)
    assert worked(*workers, until_ms=10_000).engine.counters.left_out == 0


def test_poison_that_is_raised_to_the_strongest_does_not_count_against_it() -> None:
    strong, weak = Worker("strong", slots=30, strength=9), Worker("weak", slots=30, strength=1)
    for each in (strong, weak):
        each.outcome = failing(lambda start: start.number % 3 == 0)
    crowd = worked(strong, weak, until_ms=15_000, per_s=60)
    retried = [each for each in crowd.starts if each.is_retry]
    assert sum(each.executor == "strong" for each in retried) > 0.9 * len(retried) > 100
    assert crowd.engine.counters.left_out == 0


def test_who_does_not_begin_what_it_was_sent_is_left_out() -> None:
    stuck, good = Worker("stuck", slots=50), Worker("good", slots=50)
    stuck.begins = False
    crowd = worked(stuck, good, until_ms=8_000, per_s=40)
    (state,) = [each for each in crowd.engine.executors.values() if each.left_out]
    assert state.facts.node == "stuck"
    assert state.health.reason == "an order has not begun for 5 s, with free slots"
    assert starts_at(crowd, "stuck", 6_500, 8_000) == 0


def test_an_owner_that_slept_blames_nobody_for_what_it_did_not_hear() -> None:
    quiet, good = Worker("quiet", slots=50), Worker("good", slots=50)
    quiet.begins = False
    crowd = worked(quiet, good, until_ms=2_000, per_s=40)
    crowd.step(20_000)
    assert crowd.engine.counters.left_out == 0


@pytest.mark.parametrize("told", [0, 5], ids=["full", "free"])
def test_what_waits_for_a_slot_by_the_executors_word_is_not_stuck(told: int) -> None:
    """Somebody else may have taken the slots: executors serve every owner."""
    quiet, good = Worker("quiet", slots=50), Worker("good", slots=50)
    quiet.begins = False
    crowd = Crowd(quiet, good)
    crowd.connect()
    crowd.create([Kind(takes_ms=100)] * 20)
    crowd.says_free(quiet, told)
    crowd.run(9_000)
    assert crowd.engine.counters.left_out == (1 if told else 0)


def test_the_last_one_of_a_kind_works_on_though_it_fails() -> None:
    """A handler that nobody else serves: left out or not, somebody must try."""
    only = Worker("only", slots=9, handlers=("charge", "report"))
    good = Worker("good", slots=9)
    only.outcome = failing(lambda start: start.kind.handler == "charge")
    crowd = Crowd(only, good)
    crowd.connect()
    for _ in range(100):
        crowd.create([Kind(takes_ms=100)] * 5 + [Kind(takes_ms=100, handler="report")])
        crowd.run(crowd.ms + 50)
    assert crowd.engine.counters.left_out == 1
    reports = [each for each in crowd.starts if each.kind.handler == "report"]
    assert len([each for each in reports if each.ms > 3_000]) >= 30
