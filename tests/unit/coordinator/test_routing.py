"""The map to owners: read once for all who ask, and never older than the question."""

from __future__ import annotations

import asyncio

from timeball.errors import PermissionDenied

from tests.support.fake_owners import Rig, on_rig
from timeball_server.coordination.local import Leg
from timeball_server.core.ids import ShardId

SHARD = ShardId(0)
TRAVEL_MS = 10


class SlowAnswers:
    """Requests whose answers travel for a while, counted by name."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.asked: list[str] = []

    async def __call__(self, name: str, leg: Leg) -> None:
        if leg is Leg.REQUEST:
            self.asked.append(name)
        else:
            await self.rig.clock.sleep_ms(TRAVEL_MS)


@on_rig
async def test_a_read_that_began_before_a_change_is_not_believed(rig: Rig) -> None:
    rig.router.attach(await rig.service.connect(10_000, delay=SlowAnswers(rig)))
    early = asyncio.ensure_future(rig.router.target(SHARD))
    await rig.clock.sleep_ms(TRAVEL_MS / 2)
    await rig.node("west", SHARD)
    await rig.clock.sleep_ms(1)
    target = await rig.router.target(SHARD)
    assert target is not None
    assert target.node == "west"
    assert await early == target


@on_rig
async def test_many_askers_share_one_read(rig: Rig) -> None:
    await rig.node("west", SHARD)
    slow = SlowAnswers(rig)
    rig.router.attach(await rig.service.connect(10_000, delay=slow))
    targets = await asyncio.gather(*(rig.router.target(SHARD) for _ in range(100)))
    assert len(set(targets)) == 1
    assert slow.asked.count("ownerships") == 1
    await rig.router.target(SHARD)
    assert slow.asked.count("ownerships") == 1
    rig.router.suspect()
    await rig.router.target(SHARD)
    assert slow.asked.count("ownerships") == 2


@on_rig
async def test_an_owner_that_is_no_member_is_no_target(rig: Rig) -> None:
    assert await rig.router.target(SHARD) is None
    await rig.node("west", SHARD)
    await rig.clock.sleep_ms(1)
    assert await rig.router.target(SHARD) is not None
    await rig.sessions["west"].close()
    await rig.clock.sleep_ms(1)
    assert await rig.router.target(SHARD) is None


@on_rig
async def test_a_map_that_cannot_be_read_leaves_the_old_one_in_use(rig: Rig) -> None:
    """Whatever the reason: it is none of the callers', who would be told to mend it."""
    await rig.node("west", SHARD)
    session = await rig.service.connect(10_000)
    rig.router.attach(session)
    before = await rig.router.target(SHARD)
    assert before is not None

    async def forbidden(name: str, leg: Leg) -> None:
        raise PermissionDenied("ZooKeeper gives this user no right to the entry")

    session.delay = forbidden
    rig.router.suspect()
    assert await rig.router.target(SHARD) == before
    session.delay = None
    await rig.release("west", SHARD)
    await rig.clock.sleep_ms(1)
    assert await rig.router.target(SHARD) is None


@on_rig
async def test_it_is_known_since_when_a_shard_has_no_owner_until_it_has_one(rig: Rig) -> None:
    await rig.node("west", SHARD)
    await rig.clock.sleep_ms(1)
    assert await rig.router.target(SHARD) is not None
    assert rig.router.ownerless_since_ms(SHARD) is None
    await rig.release("west", SHARD)
    await rig.clock.sleep_ms(1)
    assert await rig.router.target(SHARD) is None
    gone_ms = rig.clock.now().wall_ms
    await rig.clock.sleep_ms(500)
    assert await rig.router.target(SHARD) is None
    assert rig.router.ownerless_since_ms(SHARD) == gone_ms
    await rig.take("west", SHARD)
    await rig.clock.sleep_ms(1)
    assert await rig.router.target(SHARD) is not None
    assert rig.router.ownerless_since_ms(SHARD) is None
