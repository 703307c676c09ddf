"""The contract of ports/coordination.py over every adapter: who stands by for which shard."""

import pytest
from timeball.errors import FailedPrecondition

from tests.support.coordination_steps import OTHER, SHARD, A, B, joined, over_all, until_gone
from tests.support.coordination_worlds import World, eventually


@over_all
async def test_one_node_at_a_time_stands_by_for_a_shard(world: World) -> None:
    first, second = await joined(world, A), await joined(world, B)
    assert await first.standbys() == {}
    assert await first.stand_by(SHARD)
    assert await first.stand_by(SHARD)
    assert not await second.stand_by(SHARD)
    assert await second.stand_by(OTHER)
    assert await second.standbys() == {SHARD: A, OTHER: B}


@over_all
async def test_only_who_stands_by_can_stand_down(world: World) -> None:
    first, second = await joined(world, A), await joined(world, B)
    assert await first.stand_by(SHARD)
    await second.stand_down(SHARD)
    assert await second.standbys() == {SHARD: A}
    await first.stand_down(SHARD)
    await first.stand_down(SHARD)
    assert await second.standbys() == {}
    assert await second.stand_by(SHARD)


@over_all
async def test_a_standby_goes_with_its_session_and_owns_nothing(world: World) -> None:
    first, second = await joined(world, A), await joined(world, B)
    assert await first.stand_by(SHARD)
    assert await second.take_ownership(SHARD) is not None
    assert await first.standbys() == {SHARD: A}
    await world.expire(first)
    await until_gone(world, second, A)
    assert await second.standbys() == {}


@over_all
async def test_standing_by_calls_everyone_back(world: World) -> None:
    session, watcher = await joined(world, A), await joined(world, B)
    calls: list[int] = []
    watcher.on_change(lambda: calls.append(1))

    async def check() -> bool:
        return bool(calls)

    await session.stand_by(SHARD)
    await eventually(world, check, "a call after standing by")
    calls.clear()
    await session.stand_down(SHARD)
    await eventually(world, check, "a call after standing down")


@over_all
async def test_nobody_stands_by_before_joining(world: World) -> None:
    session = await world.connect()
    with pytest.raises(FailedPrecondition):
        await session.stand_by(SHARD)
