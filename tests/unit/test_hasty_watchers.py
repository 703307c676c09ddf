"""Who follows a task and thinks better of it is forgotten, even if nobody has heard him yet."""

from __future__ import annotations

import asyncio

from scheduler_node.line import MAX_STEP_COMMANDS
from tests.support.shell_world import SHARD, ShellWorld
from tests.support.virtual_loop import VirtualLoop, run_virtual
from timeball_server.core.commands import Done, ReadTask, WatchTask
from timeball_server.core.ids import TaskId
from timeball_server.store.memory import MemoryStore

SOON_MS = 5_000


async def created(world: ShellWorld) -> TaskId:
    """A task that is there."""
    asked = world.create(SOON_MS)
    await world.steps(10)
    (outcome,) = await asked
    assert isinstance(outcome, Done)
    return outcome.task.task_id


def test_a_watch_that_is_dropped_behind_a_long_line_leaves_nothing() -> None:
    async def story(loop: VirtualLoop) -> None:
        world = ShellWorld(loop, MemoryStore())
        await world.own()
        task_id = await created(world)
        read = ReadTask(task_id=task_id, namespace="bank")
        crowd = asyncio.ensure_future(world.shell.calls.execute([read] * (2 * MAX_STEP_COMMANDS)))
        await world.clock.sleep_ms(1)
        stream = world.shell.calls.watch()
        stream.follow(1, WatchTask(task_id=task_id, namespace="bank", every=False))
        world.shell.step()
        stream.drop(1)
        await world.steps(10)
        assert len(await crowd) == 2 * MAX_STEP_COMMANDS
        assert world.engine.shards[SHARD].watchers == {}
        await stream.close()

    run_virtual(story)
