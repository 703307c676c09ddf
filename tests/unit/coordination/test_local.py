"""What only the in-process service can show: frozen processes, lost answers, first zxid."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from timeball.errors import CoordinationUnavailable

from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.coordination.local import Leg, LocalCoordinator, LocalSession
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.ports.coordination import Member, Role, SessionLost, SessionState

TIMEOUT_MS = 4_000
SHARD = ShardId(7)
FIRST_ZXID = 500


class World:
    """A service and sessions that live in processes of their own."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.clock = VirtualClock(loop)
        self.service = LocalCoordinator(FIRST_ZXID, self.clock)

    async def joined(self, node: str, **options: Any) -> LocalSession:
        """A session opened in the name of the process `node`."""

        async def open_session() -> LocalSession:
            clock = VirtualClock(self.loop, mono_offset_ms=len(node) * 1_000_000)
            session = await self.service.connect(TIMEOUT_MS, clock=clock, **options)
            await session.join(member(node))
            return session

        return await self.loop.start_in(node, open_session())


def member(node: str) -> Member:
    return Member(role=Role.SCHEDULER_NODE, node=NodeId(node), address="")


def virtually(scenario: Callable[[World], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that plays the scenario in virtual time."""

    def test() -> None:
        run_virtual(lambda loop: scenario(World(loop)))

    test.__name__ = scenario.__name__
    return test


@virtually
async def test_r1_the_first_epoch_is_above_all_that_the_store_has_seen(world: World) -> None:
    session = await world.joined("node-a")
    epoch = await session.take_ownership(SHARD)
    assert epoch is not None
    assert epoch > FIRST_ZXID


@virtually
async def test_a_frozen_process_expires_and_learns_it_only_when_it_thaws(world: World) -> None:
    session, watcher = await world.joined("node-a"), await world.joined("watcher")
    states: list[tuple[int, SessionState]] = []
    session.on_change(lambda: states.append((world.clock.now().mono_ms, session.state)))
    await world.clock.sleep_ms(1_000)
    world.loop.freeze("node-a")
    states.clear()
    await world.clock.sleep_ms(2 * TIMEOUT_MS)
    assert [each.node for each in await watcher.members(Role.SCHEDULER_NODE)] == ["watcher"]
    assert session.state is SessionState.CONNECTED
    assert states == []
    thawed_ms = world.clock.now().mono_ms
    world.loop.thaw("node-a")
    await world.clock.sleep_ms(1)
    assert states[-1] == (thawed_ms, SessionState.LOST)


@virtually
async def test_a_zombie_is_refused_before_it_has_learned_of_its_end(world: World) -> None:
    session = await world.joined("node-a")
    world.service.expire(session)
    assert session.state is SessionState.CONNECTED
    with pytest.raises(SessionLost):
        await session.take_ownership(SHARD)
    assert world.service.entries.ownerships() == ()


@virtually
async def test_a_pause_shorter_than_the_timeout_is_survived(world: World) -> None:
    session = await world.joined("node-a")
    await world.clock.sleep_ms(1_000)
    world.loop.freeze("node-a")
    await world.clock.sleep_ms(TIMEOUT_MS * 3 / 4)
    world.loop.thaw("node-a")
    await world.clock.sleep_ms(3 * TIMEOUT_MS)
    assert session.state is SessionState.CONNECTED


@virtually
async def test_a_lost_answer_leaves_an_entry_that_a_repeat_replaces(world: World) -> None:
    session = await world.joined("node-a")

    async def cut_the_answer(name: str, leg: Leg) -> None:
        if (name, leg) == ("take_ownership", Leg.ANSWER):
            session.cut()

    session.delay = cut_the_answer
    with pytest.raises(CoordinationUnavailable):
        await session.take_ownership(SHARD)
    (unknown,) = world.service.entries.ownerships()
    session.delay = None
    session.heal()
    epoch = await session.take_ownership(SHARD)
    assert epoch is not None
    assert epoch > unknown.epoch


@virtually
async def test_a_lost_request_is_not_applied_after_healing(world: World) -> None:
    """Cut and healed while under way: the request was on a connection that is gone."""
    session = await world.joined("node-a")

    async def blink(name: str, leg: Leg) -> None:
        if (name, leg) == ("take_ownership", Leg.REQUEST):
            session.cut()
            session.heal()

    session.delay = blink
    with pytest.raises(CoordinationUnavailable):
        await session.take_ownership(SHARD)
    assert session.state is SessionState.CONNECTED
    assert world.service.entries.ownerships() == ()


@virtually
async def test_a_session_that_ends_while_the_answer_is_under_way_is_lost(world: World) -> None:
    session = await world.joined("node-a")

    async def expire_first(name: str, leg: Leg) -> None:
        if (name, leg) == ("prove", Leg.ANSWER):
            world.service.expire(session)

    session.delay = expire_first
    before = session.proven_at_mono_ms()
    with pytest.raises(SessionLost):
        await session.prove()
    assert session.proven_at_mono_ms() == before


@virtually
async def test_many_changes_at_once_are_one_call(world: World) -> None:
    session, watcher = await world.joined("node-a"), await world.joined("watcher")
    await world.clock.sleep_ms(10)
    calls: list[int] = []
    watcher.on_change(lambda: calls.append(1))
    for number in range(20):
        await session.take_ownership(ShardId(number))
    await world.clock.sleep_ms(10)
    assert calls == [1]


@virtually
async def test_closing_the_service_ends_every_session_and_leaves_no_task(world: World) -> None:
    first, second = await world.joined("node-a"), await world.joined("node-b")
    second.cut()
    await world.service.close()
    await world.service.close()
    assert first.state is SessionState.LOST
    assert second.state is SessionState.LOST
    assert world.loop.waiting() == 1
