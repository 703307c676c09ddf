"""The contract of ports/coordination.py over every adapter: leader, assignment, ownership."""

import asyncio
from collections.abc import Awaitable

import pytest
from timeball.errors import CoordinationUnavailable

from tests.support.coordination_steps import (
    EPOCH_OF_NOBODY,
    OTHER,
    POLL_BETWEEN_MS,
    SHARD,
    A,
    B,
    joined,
    led_by,
    member,
    over_all,
    until_gone,
    until_leader,
    until_state,
)
from tests.support.coordination_worlds import World, eventually
from timeball_server.core.ids import ShardId
from timeball_server.ports.coordination import (
    Assignment,
    Ownership,
    Role,
    SessionState,
)

# -- leader


@over_all
async def test_the_first_candidate_leads_and_others_wait(world: World) -> None:
    watcher = await world.connect()
    assert await watcher.leader() is None
    first, term = await led_by(world, A)
    second = await joined(world, B)
    await second.campaign()
    await second.campaign()
    assert await watcher.leader() == A
    assert await second.term() is None
    assert await first.term() == term


@over_all
async def test_a_successor_leads_in_a_greater_term(world: World) -> None:
    first, term = await led_by(world, A)
    second = await joined(world, B)
    await second.campaign()
    await world.expire(first)
    await until_leader(world, second, B)
    successor_term = await second.term()
    assert successor_term is not None
    assert successor_term > term


@over_all
async def test_a_leader_that_comes_back_has_a_new_term(world: World) -> None:
    session, term = await led_by(world, A)
    await session.close()
    _, again = await led_by(world, A)
    assert again > term


# -- assignment


@over_all
async def test_there_is_no_assignment_before_the_first(world: World) -> None:
    session = await world.connect()
    assert await session.read_assignment() is None


@over_all
async def test_the_leader_writes_and_everyone_reads_the_same(world: World) -> None:
    watcher = await world.connect()
    session, term = await led_by(world, A)
    assert await session.write_assignment(term, 0, {SHARD: A, OTHER: B}, {OTHER: "node-c left"})
    expected = Assignment(
        version=1, term=term, shards={SHARD: A, OTHER: B}, reasons={OTHER: "node-c left"}
    )
    assert await watcher.read_assignment() == expected
    assert await session.write_assignment(term, 1, {SHARD: B}, {})
    newest = await watcher.read_assignment()
    assert newest == Assignment(version=2, term=term, shards={SHARD: B}, reasons={})


@over_all
async def test_a_write_on_an_unexpected_version_changes_nothing(world: World) -> None:
    session, term = await led_by(world, A)
    assert not await session.write_assignment(term, 1, {SHARD: A}, {})
    assert await session.read_assignment() is None
    assert await session.write_assignment(term, 0, {SHARD: A}, {})
    for expected_version in (0, 2):
        assert not await session.write_assignment(term, expected_version, {SHARD: B}, {})
    found = await session.read_assignment()
    assert found is not None
    assert (found.version, found.shards) == (1, {SHARD: A})


@over_all
async def test_only_the_leader_in_its_own_term_can_write(world: World) -> None:
    first, term = await led_by(world, A)
    second = await joined(world, B)
    await second.campaign()
    assert not await second.write_assignment(term, 0, {SHARD: B}, {})
    assert not await first.write_assignment(term - 1, 0, {SHARD: A}, {})
    assert await second.read_assignment() is None


@over_all
async def test_a_deposed_leader_is_refused_and_its_successor_is_not(world: World) -> None:
    first, old_term = await led_by(world, A)
    second = await joined(world, B)
    await second.campaign()
    assert await first.write_assignment(old_term, 0, {SHARD: A}, {})
    await world.cut(first)
    await until_leader(world, second, B)
    term = await second.term()
    assert term is not None
    assert not await second.write_assignment(old_term, 1, {SHARD: A}, {})
    assert await second.write_assignment(term, 1, {SHARD: B}, {})
    await world.heal(first)
    with pytest.raises(CoordinationUnavailable):
        await first.write_assignment(old_term, 2, {SHARD: A}, {})
    found = await second.read_assignment()
    assert found == Assignment(version=2, term=term, shards={SHARD: B}, reasons={})


@over_all
async def test_the_assignment_outlives_its_writer(world: World) -> None:
    session, term = await led_by(world, A)
    await session.write_assignment(term, 0, {SHARD: A}, {})
    await session.close()
    watcher = await world.connect()
    found = await watcher.read_assignment()
    assert found is not None
    assert found.shards == {SHARD: A}


# -- wishes


@over_all
async def test_wishes_outlive_their_writer_and_are_taken_back_one_by_one(world: World) -> None:
    session = await world.connect()
    assert await session.read_wishes() == {}
    await session.write_wish(SHARD, A)
    await session.write_wish(OTHER, A)
    await session.write_wish(OTHER, B)
    await session.close()
    watcher = await world.connect()
    assert await watcher.read_wishes() == {SHARD: A, OTHER: B}
    await watcher.write_wish(SHARD, None)
    await watcher.write_wish(SHARD, None)
    assert await watcher.read_wishes() == {OTHER: B}


@over_all
async def test_wishes_written_at_once_do_not_disturb_each_other(world: World) -> None:
    sessions = [await world.connect() for _ in range(3)]
    wished = {ShardId(number): (A, B)[number % 2] for number in range(6)}
    await asyncio.gather(
        *(sessions[shard % 3].write_wish(shard, node) for shard, node in wished.items())
    )
    assert await sessions[0].read_wishes() == wished


@over_all
async def test_a_wish_calls_everyone_back_and_its_repetition_nobody(world: World) -> None:
    session, watcher = await world.connect(), await world.connect()
    calls: list[int] = []
    watcher.on_change(lambda: calls.append(1))
    await session.write_wish(SHARD, A)

    async def check() -> bool:
        return bool(calls)

    await eventually(world, check, "a call after a wish")
    await world.clock.sleep_ms(POLL_BETWEEN_MS)
    calls.clear()
    await session.write_wish(SHARD, A)
    await world.clock.sleep_ms(POLL_BETWEEN_MS)
    assert calls == []


# -- ownership


@over_all
async def test_ownership_is_exclusive(world: World) -> None:
    first, second = await joined(world, A), await joined(world, B)
    epoch = await first.take_ownership(SHARD)
    assert epoch is not None
    assert await second.take_ownership(SHARD) is None
    assert await second.take_ownership(OTHER) is not None
    assert (await second.ownerships())[0] == Ownership(shard=SHARD, node=A, epoch=epoch)


@over_all
async def test_r1_the_epoch_grows_with_every_taking(world: World) -> None:
    """Over release, close, expiry, and a repeat by the holder whose answer was lost."""
    epochs = []
    for end in ("release", "close", "expire", "repeat"):
        session = await joined(world, A)
        epoch = await session.take_ownership(SHARD)
        assert epoch is not None, f"before {end}"
        epochs.append(epoch)
        if end == "release":
            await session.release_ownership(SHARD, epoch)
        if end == "expire":
            await world.expire(session)
        elif end == "repeat":
            repeated = await session.take_ownership(SHARD)
            assert repeated is not None
            epochs.append(repeated)
            assert await session.ownerships() == (Ownership(shard=SHARD, node=A, epoch=repeated),)
        else:
            await session.close()
    assert epochs == sorted(set(epochs))


@over_all
async def test_release_frees_the_shard_and_may_be_repeated(world: World) -> None:
    first, second = await joined(world, A), await joined(world, B)
    epoch = await first.take_ownership(SHARD)
    assert epoch is not None
    await first.release_ownership(SHARD, epoch)
    await first.release_ownership(SHARD, epoch)
    taken = await second.take_ownership(SHARD)
    assert taken is not None
    assert taken > epoch


@over_all
async def test_release_leaves_anothers_entry_and_a_newer_one_alone(world: World) -> None:
    first, second = await joined(world, A), await joined(world, B)
    old = await first.take_ownership(SHARD)
    assert old is not None
    await first.release_ownership(SHARD, old)
    theirs = await second.take_ownership(SHARD)
    assert theirs is not None
    await first.release_ownership(SHARD, old)
    await first.release_ownership(SHARD, theirs)
    await second.release_ownership(SHARD, old)
    assert await first.ownerships() == (Ownership(shard=SHARD, node=B, epoch=theirs),)


@over_all
async def test_a_release_that_is_repeated_because_its_answer_was_lost_harms_nobody(
    world: World,
) -> None:
    first, second = await joined(world, A), await joined(world, B)
    old = await first.take_ownership(SHARD)
    assert old is not None
    await world.slow(first, 1_000)
    releasing = asyncio.ensure_future(first.release_ownership(SHARD, old))

    async def released() -> bool:
        return await second.ownerships() == ()

    await eventually(world, released, "the entry is gone before the answer is there")
    await world.cut(first)
    with pytest.raises(CoordinationUnavailable):
        await releasing
    theirs = await second.take_ownership(SHARD)
    assert theirs is not None
    await world.slow(first, 0)
    await world.heal(first)
    await until_state(world, first, SessionState.CONNECTED)
    await first.release_ownership(SHARD, old)
    assert await first.ownerships() == (Ownership(shard=SHARD, node=B, epoch=theirs),)


@over_all
async def test_expiry_frees_what_the_session_owned(world: World) -> None:
    first, second = await joined(world, A), await joined(world, B)
    epoch = await first.take_ownership(SHARD)
    await world.cut(first)
    await until_gone(world, second, A)
    assert epoch is not None
    taken = await second.take_ownership(SHARD)
    assert taken is not None
    assert taken > epoch


# -- changes


@over_all
async def test_every_kind_of_change_calls_back(world: World) -> None:
    watcher = await world.connect()
    calls: list[SessionState] = []
    watcher.on_change(lambda: calls.append(watcher.state))
    session = await world.connect()

    async def after(request: Awaitable[object], what: str) -> None:
        calls.clear()
        await request

        async def check() -> bool:
            return bool(calls)

        await eventually(world, check, f"a call after {what}")

    await after(session.join(member(A)), "join")
    await after(session.drain(), "drain")
    await after(session.campaign(), "campaign")
    term = await session.term() or 0
    await after(session.write_assignment(term, 0, {SHARD: A}, {}), "write_assignment")
    epoch = await session.take_ownership(OTHER)
    assert epoch is not None
    await after(session.take_ownership(SHARD), "take_ownership")
    await after(session.release_ownership(OTHER, epoch), "release_ownership")
    await after(session.close(), "close")
    await after(world.cut(watcher), "suspension")
    await after(world.heal(watcher), "healing")


@over_all
async def test_reading_and_losing_a_race_call_nobody(world: World) -> None:
    """Whoever reads all again after each call must not call itself."""
    session, term = await led_by(world, A)
    await session.write_assignment(term, 0, {}, {})
    await world.clock.sleep_ms(POLL_BETWEEN_MS)
    calls: list[int] = []
    session.on_change(lambda: calls.append(1))
    await session.members(Role.EXECUTOR)
    await session.prove()
    await session.write_assignment(term, 0, {SHARD: A}, {})
    await session.release_ownership(SHARD, EPOCH_OF_NOBODY)
    await world.clock.sleep_ms(POLL_BETWEEN_MS)
    assert calls == []


@over_all
async def test_loss_calls_back_with_the_final_state(world: World) -> None:
    session = await joined(world, A)
    states: list[SessionState] = []
    session.on_change(lambda: states.append(session.state))
    await world.expire(session)
    await until_state(world, session, SessionState.LOST)

    async def check() -> bool:
        return states[-1:] == [SessionState.LOST]

    await eventually(world, check, "a call in state LOST")
