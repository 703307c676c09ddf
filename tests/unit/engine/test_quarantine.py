"""A task that takes one executor after another with it is quarantined; its neighbours are not."""

from __future__ import annotations

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import Node, World
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import DeadLetterRow, EventKind
from timeball_server.core.messages import RunOrder
from timeball_server.core.model import FailureCause, PublicState, RetryPolicy

K = EventKind
PATIENT = RetryPolicy(max_attempts=50, max_delay_ms=1_000)


def ordered(world: World, name: str, task_id: TaskId) -> tuple[ScriptedExecutor, RunOrder]:
    """A new executor, and the order that it has for the task."""
    executor = ScriptedExecutor(world, name)
    world.run(2_000)
    return executor, next(order for order in executor.orders if order.run.task_id == task_id)


def killed(world: World, name: str, task_id: TaskId) -> None:
    """The task takes a new executor with it."""
    executor, order = ordered(world, name, task_id)
    executor.starts(order)
    executor.vanishes()


def cause(node: Node, task_id: TaskId) -> FailureCause | None:
    return node.read(task_id).view.cause


def test_the_third_death_of_an_executor_is_the_last() -> None:
    world = World()
    node = world.owner()
    call = node.create(retry=PATIENT)
    for name in ("x1", "x2"):
        killed(world, name, call.task_id)
        assert node.read(call.task_id).view.state is PublicState.RETRYING
    killed(world, "x3", call.task_id)
    view = node.read(call.task_id).view
    assert (view.state, view.cause) == (PublicState.FAILED, FailureCause.QUARANTINED)
    assert view.failure is not None
    assert view.failure.kind == "EXECUTOR_LOST"
    assert view.unaccounted == tuple(f"attempt {number} on x{number}" for number in (1, 2, 3))
    assert [attempt.outcome for attempt in view.attempts] == ["LOST"] * 3
    letters = [row for row in world.disk.listed if isinstance(row, DeadLetterRow)]
    assert [(each.task_id, each.cause) for each in letters] == [(call.task_id, "QUARANTINED")]
    survivor = ScriptedExecutor(world, "x4")
    world.run(60_000)
    assert survivor.orders == []


def test_who_only_shared_its_executors_runs_on() -> None:
    world = World()
    node = world.owner()
    poison, neighbour = node.create(retry=PATIENT), node.create(retry=PATIENT)
    for name in ("x1", "x2"):
        killed(world, name, poison.task_id)
    executor, order = ordered(world, "x3", neighbour.task_id)
    executor.succeeds(order)
    executor.vanishes()
    assert cause(node, poison.task_id) is FailureCause.QUARANTINED
    assert node.read(neighbour.task_id).view.state is PublicState.SUCCEEDED


def test_what_failed_or_was_given_back_between_neither_counts_nor_forgives() -> None:
    world = World()
    node = world.owner()
    call = node.create(retry=PATIENT)
    killed(world, "x1", call.task_id)
    executor, order = ordered(world, "x2", call.task_id)
    executor.fails(order)
    world.run(2_000)
    executor.says_capacity(0, draining=True)
    executor.interrupts(executor.last)
    executor.vanishes()
    killed(world, "x3", call.task_id)
    assert cause(node, call.task_id) is None
    killed(world, "x4", call.task_id)
    assert cause(node, call.task_id) is FailureCause.QUARANTINED


def test_deaths_before_the_task_was_due_are_not_its_doing() -> None:
    """Claimed ahead by owners that died with the executors that they had chosen."""
    world = World()
    node = world.owner()
    executor = ScriptedExecutor(world, "x0")
    call = node.create(in_ms=10_000, retry=PATIENT)
    world.run(9_010)
    for name in ("x1", "x2", "x3"):
        assert world.disk.history(call.task_id).head.kind is K.CLAIMED
        node.frozen = True
        executor.vanishes()
        executor = ScriptedExecutor(world, name)
        node = world.owner()
        world.run(10)
    assert world.disk.kinds(call.task_id).count(K.RETRY) == 3
    world.run(1_000)
    executor.starts(executor.last)
    executor.vanishes()
    assert cause(node, call.task_id) is None


def test_a_run_that_was_renewed_had_begun_whoever_finds_its_executor_gone() -> None:
    world = World()
    config = EngineConfig(executor_deaths=1, renew_after_ms=5_000, renew_ahead_ms=30_000)
    node = world.owner(config)
    call = node.create(retry=PATIENT)
    executor, order = ordered(world, "x1", call.task_id)
    executor.starts(order)
    world.run(6_000)
    assert world.disk.kinds(call.task_id)[-1] is K.RENEWED
    node.frozen = True
    executor.vanishes()
    other = world.owner(config)
    world.run(30_000)
    assert cause(other, call.task_id) is FailureCause.QUARANTINED


def test_the_next_owner_goes_on_counting() -> None:
    world = World()
    first = world.owner()
    call = first.create(retry=PATIENT)
    for name in ("x1", "x2"):
        killed(world, name, call.task_id)
    first.frozen = True
    second = world.owner()
    executor, order = ordered(world, "x3", call.task_id)
    executor.forget(order)
    executor.vanishes()
    assert cause(second, call.task_id) is FailureCause.QUARANTINED


@pytest.mark.parametrize(
    ("deaths", "expected"), [(0, FailureCause.EXHAUSTED), (1, FailureCause.QUARANTINED)]
)
def test_the_number_is_a_setting(deaths: int, expected: FailureCause) -> None:
    world = World()
    node = world.owner(EngineConfig(executor_deaths=deaths))
    call = node.create(retry=RetryPolicy(max_attempts=4, max_delay_ms=1_000))
    for name in ("x1", "x2", "x3", "x4")[: deaths or 4]:
        killed(world, name, call.task_id)
    assert cause(node, call.task_id) is expected
