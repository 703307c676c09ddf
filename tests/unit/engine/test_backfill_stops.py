"""Backfills that are stopped just after a take-over: what is in hand is fenced first (rule S4)."""

from __future__ import annotations

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import World
from tests.support.schedule_world import ask, at, create_schedule, read_schedule, shown
from timeball_server.core.commands import BackfillSchedule, StopBackfill
from timeball_server.core.model import BackfillState


def test_s4_who_stops_a_backfill_after_a_take_over_is_answered_when_it_is_fenced() -> None:
    world = World()
    executor = ScriptedExecutor(world, slots=1_000)
    first = world.owner()
    schedule_id = create_schedule(first).task_id
    what = {"backfill_id": "june", "from_ms": at(-10_000), "to_ms": at(-10)}
    ask(first, BackfillSchedule, schedule_id, "b", **what)
    world.run(1_000)
    first.hold_writes = True
    successor = world.owner()
    call = ask(successor, StopBackfill, schedule_id, "s", backfill_id="june")
    world.run(2_000)
    (stopped,) = shown(call).backfills
    assert stopped.state is BackfillState.STOPPED
    launched = len(executor.orders)
    world.run(5_000)
    assert len(executor.orders) == launched
    assert shown(read_schedule(successor, schedule_id)).backfills == (stopped,)
