"""What an owner says of executors that keep a task waiting: one state for each cause."""

from __future__ import annotations

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import START_MS, World
from tests.support.explanations import blocking, causes, explanation, fact
from tests.support.limits import allow, create_many, key_rule
from timeball_server.core.commands import Explained, ExplainTask
from timeball_server.core.engine import obstacles
from timeball_server.core.engine.choice import SPILL_UP_MS
from timeball_server.core.explanation import BlockingCause
from timeball_server.core.limit_rules import Rate
from timeball_server.core.messages import RefusalReason
from timeball_server.core.model import RetryPolicy, Timeouts
from timeball_server.core.priority import NINE_ONE_IN, RAISED_ONE_IN

SECOND = 1_000
AT_ONCE = RetryPolicy(initial_delay_ms=1, max_delay_ms=1, jitter=0.0)
HERE = (("zone", "eu"),)


def test_nobody_serves_its_handler() -> None:
    world = World()
    ScriptedExecutor(world, handlers=("refund",))
    node = world.owner()
    task = node.create().task_id
    world.run(SECOND)
    reason = blocking(node, task, BlockingCause.NO_HANDLER)
    assert (reason.since_ms, fact(reason, "handler")) == (START_MS, "charge")
    ScriptedExecutor(world)
    assert causes(node, task) == [BlockingCause.DISPATCHED]


def test_who_refuses_a_handler_does_not_serve_it() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    task = node.create().task_id
    executor.refuses(executor.last, RefusalReason.UNKNOWN_HANDLER)
    blocking(node, task, BlockingCause.NO_HANDLER)


def test_nobody_carries_its_label() -> None:
    world = World()
    ScriptedExecutor(world, labels=(("zone", "us"), ("gpu", "yes")))
    node = world.owner()
    task = node.create(selector=(*HERE, ("gpu", "yes"))).task_id
    world.run(SECOND)
    reason = blocking(node, task, BlockingCause.NO_LABEL)
    assert fact(reason, "label") == "zone=eu"
    assert reason.sentence == "no executor with label zone=eu serves charge"
    ScriptedExecutor(world, "x2", labels=(*HERE, ("gpu", "yes")))
    assert causes(node, task) == [BlockingCause.DISPATCHED]


def test_each_label_is_carried_but_by_nobody_together() -> None:
    world = World()
    ScriptedExecutor(world, "x1", labels=HERE)
    ScriptedExecutor(world, "x2", labels=(("gpu", "yes"),))
    node = world.owner()
    task = node.create(selector=(("gpu", "yes"), *HERE)).task_id
    assert fact(blocking(node, task, BlockingCause.NO_LABEL), "label") == "gpu=yes, zone=eu"


@pytest.mark.parametrize(
    ("ailment", "words"),
    [("stream", "no open stream"), ("drain", "x1 is draining"), ("fence", "has not answered")],
)
def test_who_serves_it_cannot_be_given_it(ailment: str, words: str) -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1", answers_fences=ailment != "fence")
    node = world.owner()
    if ailment == "stream":
        node.disconnect(executor)
    elif ailment == "drain":
        executor.says_capacity(10, draining=True)
    task = node.create().task_id
    reason = blocking(node, task, BlockingCause.EXECUTORS_UNREACHABLE)
    assert words in reason.sentence
    assert fact(reason, "executors") == "x1"


def test_everybody_is_busy_and_it_is_told_how_many_go_before_it() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1", slots=1)
    other = ScriptedExecutor(world, "x2", handlers=("refund",), slots=1)
    node = world.owner()
    running, _ = node.create(), node.create(handler="refund")
    node.create(priority=7)
    node.create(handler="refund", priority=8)
    world.run(SECOND)
    task = node.create(priority=5, timeouts=Timeouts(schedule_to_start_ms=10 * SECOND)).task_id
    node.create(priority=4)
    since_ms = world.wall_ms
    world.run(SECOND)
    reason = blocking(node, task, BlockingCause.EXECUTORS_FULL)
    assert (reason.since_ms, reason.next_check_ms) == (since_ms, None)
    assert (fact(reason, "ahead"), fact(reason, "slots")) == ("1", "1")
    assert fact(reason, "executors") == "x1"
    assert fact(reason, "start_by") is not None
    assert len(other.orders) == 1
    executor.succeeds(executor.last)
    assert causes(node, running.task_id) == [BlockingCause.ENDED]
    assert fact(blocking(node, task, BlockingCause.EXECUTORS_FULL), "ahead") == "0"


def test_slots_are_free_but_the_handler_s_cap_is_reached() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1", slots=10, caps=(("charge", 2),))
    node = world.owner()
    running = [node.create() for _ in range(2)]
    assert len(executor.orders) == len(running)
    task = node.create().task_id
    reason = blocking(node, task, BlockingCause.HANDLER_CAP)
    assert (fact(reason, "cap"), fact(reason, "executors")) == ("2", "x1")
    executor.succeeds(executor.orders[0])
    assert causes(node, task) == [BlockingCause.DISPATCHED]


def test_who_has_room_is_left_out_and_who_is_well_is_busy() -> None:
    world = World()
    sick = ScriptedExecutor(world, "sick", slots=1)
    well = ScriptedExecutor(world, "well", slots=1)
    node = world.owner()
    memory = node.engine.executors[sick.facts.incarnation]
    memory.health.leave_out(world.wall_ms, "all of its attempts failed")
    memory.left_out = True
    node.create()
    assert len(well.orders) == 1
    task = node.create().task_id
    reason = blocking(node, task, BlockingCause.EXECUTORS_LEFT_OUT)
    assert "sick has room and is left out for now: all of its attempts failed" in reason.sentence
    assert reason.next_check_ms == memory.health.left_out_until_ms
    assert causes(node, task)[1:] == [BlockingCause.EXECUTORS_FULL]
    assert fact(explanation(node, task).reasons[1], "executors") == "well"


def test_its_own_tier_is_busy_until_it_may_use_a_stronger_one() -> None:
    world = World()
    weak = ScriptedExecutor(world, "weak", strength=1, slots=1)
    strong = ScriptedExecutor(world, "strong", strength=90, slots=1)
    node = world.owner()
    node.create(priority=0)
    assert len(weak.orders) == 1
    task = node.create(priority=0).task_id
    reason = blocking(node, task, BlockingCause.EXECUTORS_FULL)
    assert reason.next_check_ms == START_MS + SPILL_UP_MS
    assert fact(reason, "strength") == "1"
    world.run(SPILL_UP_MS)
    assert len(strong.orders) == 1
    assert causes(node, task) == [BlockingCause.DISPATCHED]


def test_raised_retries_beyond_their_share_let_others_go() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1)
    node = world.owner()
    first = node.create(retry=AT_ONCE, priority=4)
    node.create(retry=AT_ONCE, priority=4)
    others = [node.create(priority=4) for _ in range(3)]
    executor.fails(executor.last)
    world.run(10)
    executor.fails(executor.last)
    world.run(10)
    spent = RAISED_ONE_IN
    reason = blocking(node, first.task_id, BlockingCause.LANE_BUDGET)
    assert (fact(reason, "lane"), fact(reason, "one_in")) == ("RAISED", str(spent))
    assert int(fact(reason, "ahead") or "0") >= len(others) - 1
    assert causes(node, first.task_id)[1] is BlockingCause.EXECUTORS_FULL


def test_priority_nine_beyond_its_half_lets_others_go() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1)
    node = world.owner()
    node.create()
    nines = [node.create(priority=9) for _ in range(3)]
    node.create(priority=4)
    node.create(priority=4)
    for _ in range(2 * NINE_ONE_IN):
        told = [causes(node, nine.task_id)[0] for nine in nines]
        if BlockingCause.LANE_BUDGET in told:
            break
        executor.succeeds(executor.last)
    nine = nines[told.index(BlockingCause.LANE_BUDGET)]
    reason = blocking(node, nine.task_id, BlockingCause.LANE_BUDGET)
    assert (fact(reason, "lane"), fact(reason, "one_in")) == ("NINE", str(NINE_ONE_IN))


def test_a_backlog_does_not_make_asking_dear() -> None:
    world = World()
    ScriptedExecutor(world, slots=1)
    node = world.owner()
    for _ in range(obstacles.LOOKED_AT_MAX + 2):
        node.create(priority=5)
    task = node.create(priority=4).task_id
    ahead = fact(blocking(node, task, BlockingCause.EXECUTORS_FULL), "ahead")
    assert ahead == f"at least {obstacles.LOOKED_AT_MAX}"


def test_its_key_is_full_or_its_rate_used_up() -> None:
    world = World()
    executor = ScriptedExecutor(world, "x1")
    node = world.owner()
    (_, waiting) = create_many(node, 2)
    reason = blocking(node, waiting.task_id, BlockingCause.KEY_LIMIT)
    assert (fact(reason, "running"), fact(reason, "executors")) == ("1", "x1")
    assert causes(node, waiting.task_id) == [BlockingCause.KEY_LIMIT]
    allow(node, key_rule(concurrency=5, rate=Rate(starts=1, per_ms=60_000)))
    assert causes(node, waiting.task_id) == [BlockingCause.RATE_LIMIT]
    reason = blocking(node, waiting.task_id, BlockingCause.RATE_LIMIT)
    assert reason.next_check_ms is not None
    world.run(reason.next_check_ms - world.wall_ms)
    assert executor.last.run.task_id == waiting.task_id


def test_a_taken_shard_does_not_know_yet_what_runs_of_its_keys() -> None:
    world = World()
    ScriptedExecutor(world, "x1")
    ScriptedExecutor(world, "x2", answers_fences=False)
    node = world.owner()
    (waiting,) = create_many(node, 1)
    reason = blocking(node, waiting.task_id, BlockingCause.KEY_LIMIT)
    assert "does not know yet" in reason.sentence


@pytest.mark.parametrize("key", ["", "customer/7"])
def test_who_asks_in_the_step_that_sets_a_place_free_hears_who_has_it_now(key: str) -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=2 if key else 1)
    node = world.owner()
    _, following, last = (node.create(concurrency_key=key) for _ in range(3))
    world.run(SECOND)
    node.frozen = True  # what happens meanwhile is one step
    executor.succeeds(executor.last)
    asked = [
        node.ask(ExplainTask(task_id=each.task_id, namespace="shop"), each.task_id)
        for each in (following, last)
    ]
    node.frozen = False
    node.hold_writes = True
    node.feed()
    told = [call.outcome.explanation for call in asked if isinstance(call.outcome, Explained)]
    held = BlockingCause.KEY_LIMIT if key else BlockingCause.EXECUTORS_FULL
    assert [each.blocking.cause for each in told] == [BlockingCause.STARTING, held]
