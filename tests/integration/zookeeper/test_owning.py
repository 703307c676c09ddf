"""Epochs, terms and assignments on a real server: lost answers, races, late writes, no leaks."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable

import pytest
from timeball.errors import CoordinationUnavailable

from tests.support.coordination_steps import OTHER, SHARD, A, B, joined, led_by, member
from tests.support.polls import eventually, moment
from tests.support.zookeeper_worlds import ZooKeeperWorld, admin
from timeball_server.core.ids import Epoch, NodeId, ShardId
from timeball_server.ports.coordination import (
    Assignment,
    CoordinationSession,
    Role,
    SessionState,
)

pytestmark = pytest.mark.asyncio
CYCLES = 1_000
SEED = 20_260
STEPS = 150
RIVALS = 8
MEMBERS = f"members/{Role.SCHEDULER_NODE}"
WATCHES = 9
"""Three roles, one member, candidacies, ownerships, standbys, the assignment and the wishes."""


async def reach(session: CoordinationSession, state: SessionState) -> None:
    async def look() -> bool:
        return session.state is state

    await eventually(look, f"session is {state}")


async def answered_never(
    world: ZooKeeperWorld,
    session: CoordinationSession,
    request: Callable[[], Awaitable[object]],
    place: str,
    answer_ms: int = 60_000,
) -> None:
    """Make a request that the server applies, an entry below `place`, and whose answer is lost.

    `answer_ms` is shorter for one that first reads: it goes on only when that is answered.
    """
    wire = world.wire(session)
    wire.answer_ms = answer_ms
    with admin(world.address) as outside:

        async def applied() -> bool:
            return bool(outside.get_children(f"{world.root}/{place}"))

        assert not await applied()
        asked = asyncio.ensure_future(request())
        await eventually(applied, "the server has applied it")
    wire.cut()
    with pytest.raises(CoordinationUnavailable, match="unknown"):
        await asked
    wire.answer_ms = 0
    wire.resume()
    await reach(session, SessionState.CONNECTED)


# -- epochs (R1)


async def test_r1_an_epoch_whose_answer_was_lost_is_never_used(world: ZooKeeperWorld) -> None:
    session = await joined(world, A)
    await answered_never(world, session, lambda: session.take_ownership(SHARD), "owners")
    with admin(world.address) as outside:
        path = f"{world.root}/owners/{SHARD}"
        lost = outside.exists(path)
        assert lost is not None
        epoch = await session.take_ownership(SHARD)
        found = outside.exists(path)
    assert epoch is not None
    assert found is not None
    assert epoch == found.czxid > lost.czxid
    assert found.ephemeralOwner == lost.ephemeralOwner
    await session.release_ownership(SHARD, Epoch(lost.czxid))
    assert [each.epoch for each in await session.ownerships()] == [epoch]


async def test_a_join_or_candidacy_whose_answer_was_lost_is_found(world: ZooKeeperWorld) -> None:
    session = await world.open()
    await answered_never(world, session, lambda: session.join(member(A)), MEMBERS)
    incarnation = await session.join(member(A))
    await answered_never(world, session, session.campaign, "election", 1_500)
    await session.campaign()
    assert await session.leader() == A
    with admin(world.address) as outside:
        (candidacy,) = outside.get_children(f"{world.root}/election")
        stat = outside.exists(f"{world.root}/election/{candidacy}")
        assert stat is not None
        assert await session.term() == stat.czxid
    (found,) = await session.members(Role.SCHEDULER_NODE)
    assert found.incarnation == incarnation


async def test_epochs_and_terms_grow_through_any_history(world: ZooKeeperWorld) -> None:
    chance = random.Random(SEED)
    numbers: list[int] = []
    session: CoordinationSession = await world.open_directly(world.options())
    await session.join(member(A))
    for _ in range(STEPS):
        step = chance.choice(("take", "take", "release", "campaign", "renew"))
        if step == "take":
            numbers.append(await session.take_ownership(SHARD) or 0)
        elif step == "release":
            await session.release_ownership(SHARD, Epoch(max(numbers, default=0)))
        elif step == "campaign" and await session.term() is None:
            await session.campaign()
            numbers.append(await session.term() or 0)
        elif step == "renew" and chance.random() < 0.2:
            await session.close()
            session = await world.open_directly(world.options())
            numbers.append(await session.join(member(A)))
    assert numbers == sorted(set(numbers))


async def test_one_of_many_rivals_takes(world: ZooKeeperWorld) -> None:
    sessions = [await world.open_directly(world.options()) for _ in range(RIVALS)]
    for number, session in enumerate(sessions):
        await session.join(member(NodeId(f"node-{number}")))
    for _ in range(10):
        took = await asyncio.gather(*(each.take_ownership(SHARD) for each in sessions))
        (winner,) = [number for number, epoch in enumerate(took) if epoch is not None]
        (held,) = await sessions[0].ownerships()
        assert (held.node, held.epoch) == (f"node-{winner}", took[winner])
        await sessions[winner].release_ownership(SHARD, held.epoch)


async def test_takings_of_one_session_at_once_leave_the_newest(world: ZooKeeperWorld) -> None:
    session = await joined(world, A)
    epochs = await asyncio.gather(*(session.take_ownership(SHARD) for _ in range(RIVALS)))
    assert len(set(epochs)) == RIVALS
    (held,) = await session.ownerships()
    assert held.epoch == max(each for each in epochs if each is not None)


# -- assignment


async def test_of_writers_on_one_version_one_wins(world: ZooKeeperWorld) -> None:
    session, term = await led_by(world, A)
    for version in range(10):
        writes = [
            session.write_assignment(term, version, {ShardId(number): A}, {})
            for number in range(RIVALS)
        ]
        won = await asyncio.gather(*writes)
        assert won.count(True) == 1
        found = await session.read_assignment()
        assert found is not None
        assert found.version == version + 1
        assert list(found.shards) == [won.index(True)]


async def test_a_deposed_leaders_write_that_arrives_late_changes_nothing(
    world: ZooKeeperWorld,
) -> None:
    """It left while the leader still led, and is delivered after its successor has written."""
    first, term = await led_by(world, A)
    assert await first.write_assignment(term, 0, {SHARD: A}, {})
    second = await joined(world, B)
    await second.campaign()
    world.wire(first).hold()
    late = asyncio.ensure_future(first.write_assignment(term, 1, {SHARD: A, OTHER: A}, {}))
    await world.expire(first)

    async def look() -> int | None:
        return await second.term()

    successor_term = await eventually(look, "the successor leads")
    assert successor_term > term
    world.wire(first).resume()
    with pytest.raises(CoordinationUnavailable):
        await late
    assert await second.write_assignment(successor_term, 1, {SHARD: B}, {})
    expected = Assignment(version=2, term=successor_term, shards={SHARD: B}, reasons={})
    assert await second.read_assignment() == expected


async def test_a_leader_deposed_between_looking_and_writing_writes_nothing(
    world: ZooKeeperWorld,
) -> None:
    """Only the transaction's own check can refuse this one."""
    first, term = await led_by(world, A)
    second = await joined(world, B)
    await second.campaign()
    with admin(world.address) as outside:
        world.wire(first).answer_ms = 1_000
        writing = asyncio.ensure_future(first.write_assignment(term, 0, {SHARD: A}, {}))
        await moment(0.2)
        oldest = min(outside.get_children(f"{world.root}/election"), key=lambda each: each[-10:])
        outside.delete(f"{world.root}/election/{oldest}")
    assert not await writing
    assert await second.read_assignment() is None


async def test_an_assignment_of_many_shards_fits(world: ZooKeeperWorld) -> None:
    session, term = await led_by(world, A)
    shards = {ShardId(number): (A, B)[number % 2] for number in range(65_536)}
    reasons = dict.fromkeys(shards, "node-c left")
    assert await session.write_assignment(term, 0, shards, reasons)
    found = await session.read_assignment()
    assert found is not None
    assert (found.shards, found.reasons) == (shards, reasons)


# -- leaving nothing behind


async def test_a_thousand_takings_leak_nothing(world: ZooKeeperWorld) -> None:
    session = await world.open_directly(world.options())
    await session.join(member(A))
    client = session.link.client

    async def settled() -> bool:
        return client.watch_count == WATCHES and not client._pending

    await eventually(settled, "everything is watched once")
    threads = threading.active_count()
    for number in range(CYCLES):
        shard = ShardId(number % 64)
        epoch = await session.take_ownership(shard)
        assert epoch is not None
        await session.release_ownership(shard, epoch)
    await eventually(settled, "everything is watched once, still")
    assert threading.active_count() == threads
    assert await session.ownerships() == ()


async def test_taking_is_a_matter_of_milliseconds(world: ZooKeeperWorld) -> None:
    """A generous bound: it only has to catch a wait that nobody meant."""
    session = await world.open_directly(world.options())
    await session.join(member(A))
    began_s = time.perf_counter()
    for number in range(100):
        assert await session.take_ownership(ShardId(number)) is not None
    assert time.perf_counter() - began_s < 10
