"""When a scheduler node steps: at once for whoever waits, seldom for what nobody waits for."""

from __future__ import annotations

from typing import Any

from scheduler_node.patience import EASY_MS, PACE_MS, patience_ms
from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import Call, Node, World
from timeball_server.core.engine import events as ev
from timeball_server.core.ids import Incarnation
from timeball_server.core.messages import Capacity, Finished, FromExecutor, RunResult, Started

LATER_MS = 100


def said(message: FromExecutor) -> ev.ExecutorSaid:
    return ev.ExecutorSaid(Incarnation(1), message)


class Story:
    """An owner and an executor that has been sent a task."""

    def __init__(self, slots: int = 10, in_ms: int | None = LATER_MS, **spec: Any) -> None:
        self.world = World()
        self.node: Node = self.world.owner()
        self.executor = ScriptedExecutor(self.world, slots=slots)
        self.call: Call = self.node.create(in_ms=in_ms, **spec)
        self.world.run(2 * LATER_MS)

    def patience_ms(self, message: FromExecutor) -> int:
        return patience_ms(self.node.engine, said(message))

    @property
    def result(self) -> Finished:
        order = self.executor.last
        return Finished((RunResult(run=order.run, shard=order.shard, started_ms=1, ended_ms=2),))


def test_results_that_nobody_waits_for_wait_longest() -> None:
    story = Story()
    assert story.patience_ms(story.result) == EASY_MS
    assert story.patience_ms(Started(((story.executor.last.run, 1),))) == EASY_MS
    assert story.patience_ms(Capacity(slots=10, free=9, draining=False)) == EASY_MS


def test_a_result_that_somebody_waits_for_waits_for_nobody() -> None:
    watched, immediate = Story(), Story(in_ms=None)
    watched.node.wait(watched.call.task_id)
    assert watched.patience_ms(watched.result) == 0
    assert immediate.patience_ms(immediate.result) == 0


def test_a_slot_that_tasks_wait_for_is_heard_of_soon() -> None:
    story = Story(slots=1)
    story.node.create(in_ms=LATER_MS)
    story.world.run(2 * LATER_MS)
    assert story.patience_ms(story.result) == PACE_MS
    assert story.patience_ms(Capacity(slots=1, free=1, draining=False)) == PACE_MS


def test_the_place_of_a_key_and_the_end_of_a_schedules_run_are_heard_of_soon() -> None:
    keyed, occurrence = Story(concurrency_key="account-1"), Story(nominal_ms=1)
    assert keyed.patience_ms(keyed.result) == PACE_MS
    assert occurrence.patience_ms(occurrence.result) == PACE_MS


def test_a_creation_for_later_waits_a_little_and_other_commands_do_not() -> None:
    story = Story()
    commands = [story.node.create(in_ms=LATER_MS).command, story.node.create().command]
    commands.append(story.node.read(story.call.task_id).command)
    found = [patience_ms(story.node.engine, ev.CommandArrived(1, each)) for each in commands]
    assert found == [PACE_MS, 0, 0]


def test_what_is_no_word_of_an_executor_is_taken_in_at_once() -> None:
    assert patience_ms(Story().node.engine, ev.StreamDown(Incarnation(1))) == 0
