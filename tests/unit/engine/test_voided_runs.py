"""Rules R8 and S1: what was cancelled before it existed never does, whatever happens meanwhile."""

from __future__ import annotations

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, World
from tests.support.schedule_world import ask, at, create_schedule, run_id, words
from timeball_server.core.commands import PauseSchedule, RejectionReason, ResumeSchedule
from timeball_server.core.engine.creating import remember_void
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.journal import EventKind


@pytest.mark.parametrize("between", ["nothing", "a look", "creations", "voids"])
def test_s1_a_run_that_was_cancelled_long_before_its_time_is_not_launched(between: str) -> None:
    world = World()
    node = world.owner(EngineConfig(recent_creations=5))
    executor = ScriptedExecutor(world)
    schedule_id = create_schedule(node, every_ms=600_000).task_id
    run = run_id(schedule_id, at(600))
    assert node.cancel(run).refusal is RejectionReason.NOT_FOUND
    if between == "a look":
        ask(node, PauseSchedule, schedule_id, "p", reason="stocktaking")
        ask(node, ResumeSchedule, schedule_id, "r")
    elif between != "nothing":
        for _ in range(6):
            node.create(in_ms=3_600_000)
    if between == "voids":
        for number in range(20_000):
            remember_void(node.engine.shards[SHARD], run_id(schedule_id, number))
    world.run(601_000)
    assert words(world, schedule_id) == [(600, "CANCELLED")]
    assert world.disk.kinds(run) == [EventKind.VOID]
    assert executor.orders == []
