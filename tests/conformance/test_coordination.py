"""The contract of ports/coordination.py over every adapter: sessions, proof and members."""

import pytest
from timeball.errors import AlreadyExists, CoordinationUnavailable, FailedPrecondition

from tests.support.coordination_steps import (
    POLL_BETWEEN_MS,
    SHARD,
    A,
    B,
    every_request,
    joined,
    led_by,
    member,
    nodes,
    over_all,
    until_gone,
    until_state,
)
from tests.support.coordination_worlds import SESSION_TIMEOUT_MS, World
from timeball_server.ports.coordination import (
    Ownership,
    Role,
    SessionLost,
    SessionState,
)

# -- sessions


@over_all
async def test_a_new_session_is_connected_and_knows_its_timeout(world: World) -> None:
    session = await world.connect()
    assert session.state is SessionState.CONNECTED
    assert session.session_timeout_ms == SESSION_TIMEOUT_MS


@over_all
async def test_an_idle_session_stays_alive_and_proven(world: World) -> None:
    session = await joined(world, A)
    await world.clock.sleep_ms(3 * SESSION_TIMEOUT_MS)
    assert session.state is SessionState.CONNECTED
    proven_at_mono_ms = session.proven_at_mono_ms()
    assert proven_at_mono_ms is not None
    assert world.clock.now().mono_ms - proven_at_mono_ms < SESSION_TIMEOUT_MS / 2
    assert await nodes(session) == [A]


@over_all
async def test_a_suspended_session_fails_fast_in_every_request(world: World) -> None:
    session, term = await led_by(world, A)
    await world.cut(session)
    await until_state(world, session, SessionState.SUSPENDED)
    for name, request in every_request(session, term).items():
        began_mono_ms = world.clock.now().mono_ms
        with pytest.raises(CoordinationUnavailable) as caught:
            await request()
        assert not isinstance(caught.value, SessionLost), name
        assert world.clock.now().mono_ms - began_mono_ms < SESSION_TIMEOUT_MS / 4, name


@over_all
async def test_a_suspended_session_that_heals_in_time_keeps_everything(world: World) -> None:
    session, term = await led_by(world, A)
    epoch = await session.take_ownership(SHARD)
    assert epoch is not None
    await world.cut(session)
    await until_state(world, session, SessionState.SUSPENDED)
    await world.heal(session)
    await until_state(world, session, SessionState.CONNECTED)
    assert await nodes(session) == [A]
    assert await session.term() == term
    assert await session.ownerships() == (Ownership(shard=SHARD, node=A, epoch=epoch),)


@over_all
async def test_a_refused_request_is_not_sent_later(world: World) -> None:
    session = await joined(world, A)
    await world.cut(session)
    await until_state(world, session, SessionState.SUSPENDED)
    with pytest.raises(CoordinationUnavailable):
        await session.take_ownership(SHARD)
    await world.heal(session)
    await until_state(world, session, SessionState.CONNECTED)
    await session.prove()
    assert await session.ownerships() == ()


@over_all
async def test_silence_beyond_the_timeout_ends_the_session(world: World) -> None:
    watcher, session = await joined(world, B), await joined(world, A)
    await world.cut(session)
    await until_gone(world, watcher, A)
    assert session.state is not SessionState.CONNECTED
    await world.heal(session)
    await until_state(world, session, SessionState.LOST)


@over_all
async def test_lost_is_final(world: World) -> None:
    session, term = await led_by(world, A)
    await world.expire(session)
    await until_state(world, session, SessionState.LOST)
    for request in every_request(session, term).values():
        with pytest.raises(SessionLost):
            await request()
    await world.heal(session)
    await world.clock.sleep_ms(SESSION_TIMEOUT_MS)
    assert session.state is SessionState.LOST


@over_all
async def test_close_removes_everything_at_once_and_may_be_repeated(world: World) -> None:
    watcher = await joined(world, B)
    session, _ = await led_by(world, A)
    await session.take_ownership(SHARD)
    await session.close()
    await session.close()
    assert session.state is SessionState.LOST
    assert await nodes(watcher) == [B]
    assert await watcher.leader() is None
    assert await watcher.ownerships() == ()
    with pytest.raises(SessionLost):
        await session.prove()


@over_all
async def test_closing_a_suspended_session_leaves_its_entries_to_expiry(world: World) -> None:
    watcher, session = await joined(world, B), await joined(world, A)
    await world.cut(session)
    await until_state(world, session, SessionState.SUSPENDED)
    await session.close()
    assert session.state is SessionState.LOST
    assert await nodes(watcher) == [A, B]
    await until_gone(world, watcher, A)


# -- proof (R3)


@over_all
async def test_r3_proof_is_the_time_of_sending(world: World) -> None:
    session = await joined(world, A)
    await world.slow(session, 900)
    sent_mono_ms = world.clock.now().mono_ms
    await session.prove()
    proven_at_mono_ms = session.proven_at_mono_ms()
    assert proven_at_mono_ms is not None
    assert world.clock.now().mono_ms >= sent_mono_ms + 900
    # A keep-alive of the session's own may have been sent while ours was under way.
    assert sent_mono_ms <= proven_at_mono_ms < sent_mono_ms + 100


@over_all
async def test_r3_proof_never_goes_back(world: World) -> None:
    session = await joined(world, A)
    seen = []
    for _ in range(40):
        await session.prove()
        seen.append(session.proven_at_mono_ms() or 0)
        await world.clock.sleep_ms(POLL_BETWEEN_MS)
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


@over_all
async def test_r3_an_unanswered_request_proves_nothing(world: World) -> None:
    session = await joined(world, A)
    await world.cut(session)
    await until_state(world, session, SessionState.SUSPENDED)
    before = session.proven_at_mono_ms()
    await world.clock.sleep_ms(POLL_BETWEEN_MS)
    with pytest.raises(CoordinationUnavailable):
        await session.prove()
    assert session.proven_at_mono_ms() == before


# -- members


@over_all
async def test_members_are_listed_by_role_and_ordered_by_node(world: World) -> None:
    first, second, third = [await world.connect() for _ in range(3)]
    incarnation = await second.join(member(B))
    await first.join(member(A))
    await third.join(member(A, Role.EXECUTOR))
    assert await nodes(third) == [A, B]
    (executor,) = await first.members(Role.EXECUTOR)
    assert executor.role is Role.EXECUTOR
    assert await first.members(Role.COORDINATOR) == ()
    found = (await first.members(Role.SCHEDULER_NODE))[1]
    assert found.incarnation == incarnation
    assert (found.address, found.strength, found.slots) == ("node-b:7000", 7, 3)
    assert found.labels == (("zone", "east"),)
    assert found.handlers == ("mail", "report")
    assert (found.started_ms, found.version, found.draining) == (12, "0.1.0", False)


@over_all
async def test_a_new_incarnation_is_greater(world: World) -> None:
    session = await world.connect()
    first = await session.join(member(A))
    await session.close()
    again = await world.connect()
    assert await again.join(member(A)) > first


@over_all
async def test_joining_again_answers_the_same_incarnation(world: World) -> None:
    session = await world.connect()
    first = await session.join(member(A))
    assert await session.join(member(A)) == first
    with pytest.raises(FailedPrecondition):
        await session.join(member(B))
    assert await nodes(session) == [A]


@over_all
async def test_a_living_members_name_is_taken(world: World) -> None:
    session, rival = await joined(world, A), await world.connect()
    with pytest.raises(AlreadyExists):
        await rival.join(member(A))
    await session.close()
    await rival.join(member(A))
    assert await nodes(rival) == [A]


@over_all
async def test_an_expired_member_vanishes(world: World) -> None:
    watcher, session = await joined(world, B), await joined(world, A)
    await world.expire(session)
    await until_gone(world, watcher, A)
    assert await nodes(watcher) == [B]


@over_all
async def test_a_draining_member_says_so_and_stays_the_same(world: World) -> None:
    session = await world.connect()
    incarnation = await session.join(member(A))
    await session.drain()
    await session.drain()
    (found,) = await session.members(Role.SCHEDULER_NODE)
    assert (found.draining, found.incarnation) == (True, incarnation)


@over_all
async def test_who_has_not_joined_cannot_drain_lead_or_own(world: World) -> None:
    session = await world.connect()
    requests = every_request(session, term=1)
    for name in ("drain", "campaign", "take_ownership"):
        with pytest.raises(FailedPrecondition):
            await requests[name]()
    assert await session.leader() is None
    assert await session.ownerships() == ()
