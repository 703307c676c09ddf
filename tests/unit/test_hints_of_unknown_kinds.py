"""Hints with ids that only a newer version knows are told apart before anything is read."""

from __future__ import annotations

from dataclasses import replace

from scheduler_node.paging import known_kinds
from tests.support.shell_world import SHARD, ShellWorld
from tests.support.store_worlds import due, task
from tests.support.virtual_loop import VirtualLoop, run_virtual
from timeball_server.core.engine.state import Phase
from timeball_server.core.ids import Minute, ShardId, TaskId
from timeball_server.core.journal import DueRow
from timeball_server.ports.store import DuePage
from timeball_server.store.memory import MemoryStore

KNOWN = [due(task(number)) for number in (1, 2)]
NEWER = replace(due(task(3)), task_id=TaskId("0z" + task(3)[2:]))


def test_a_page_of_known_ids_stays_as_it_is() -> None:
    assert known_kinds(KNOWN) == (KNOWN, ())
    assert known_kinds([]) == ([], ())


def test_what_cannot_be_read_is_told_apart_and_the_order_stays() -> None:
    assert known_kinds([KNOWN[0], NEWER, KNOWN[1]]) == (KNOWN, [NEWER])


class NewerStore(MemoryStore):
    """Has one hint of such an id in every bucket."""

    async def read_due(
        self,
        minute: Minute,
        shard: ShardId,
        from_ms: int,
        to_ms: int,
        limit: int,
        after: DueRow | None = None,
    ) -> DuePage:
        page = await super().read_due(minute, shard, from_ms, to_ms, limit, after)
        return DuePage((*page.rows, replace(NEWER, minute=minute)), page.more)


def test_an_owner_holds_the_bucket_back_and_serves_its_shard() -> None:
    async def story(loop: VirtualLoop) -> None:
        world = ShellWorld(loop, NewerStore())
        await world.own()
        shard = world.engine.shards[SHARD]
        assert shard.phase is Phase.SERVING
        assert {each.minute for each in shard.unreadable.values()} == {shard.scan_from}
        assert set(shard.unreadable) == {NEWER.task_id}
        made = world.create(60_000)
        await world.steps(10)
        assert made.done()

    run_virtual(story)
