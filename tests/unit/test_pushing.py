"""The node's push streams: what waits for a reader, and what the engine is asked to follow."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from timeball.errors import Unavailable

from scheduler_node.pushing import CHANGES_AT_ONCE, FOLLOWED_MAX, Pushes
from tests.support.rpc_records import EMPTY_ID, plain_spec, plain_view
from timeball_server.core.commands import Done, Rejected, RejectionReason, WatchTask
from timeball_server.core.engine import events
from timeball_server.ports.owners import Change

WATCH = WatchTask(task_id=EMPTY_ID, namespace="default")
OPEN = Done(plain_view(plain_spec()), fresh=False)
GONE = Rejected(RejectionReason.NOT_OWNED, "not ours")
pytestmark = pytest.mark.asyncio


class Rig:
    """Push streams and an engine that only notes what it is told."""

    def __init__(self) -> None:
        self.posted: list[events.Event] = []
        tokens = count(1)
        self.pushes = Pushes(self.posted.append, lambda: next(tokens))

    def tell(self, token: int, outcome: Done | Rejected) -> None:
        self.pushes.take(token, outcome)
        self.pushes.flush()


async def test_what_is_told_reaches_the_number_that_follows() -> None:
    rig = Rig()
    one, other = rig.pushes.open(), rig.pushes.open()
    one.follow(7, WATCH)
    other.follow(7, WATCH)
    assert rig.posted == [events.CommandArrived(1, WATCH), events.CommandArrived(2, WATCH)]
    rig.tell(2, OPEN)
    assert await other.changes() == [Change(7, OPEN)]
    reading = asyncio.ensure_future(one.changes())
    await asyncio.wait((reading,), timeout=0)
    assert not reading.done()
    rig.tell(1, GONE)
    assert await reading == [Change(7, GONE)]


async def test_a_slow_reader_gets_the_newest_state_alone() -> None:
    rig = Rig()
    stream = rig.pushes.open()
    stream.follow(1, WATCH)
    for _ in range(1_000):
        rig.tell(1, OPEN)
    rig.tell(1, GONE)
    assert await stream.changes() == [Change(1, GONE)]


async def test_nothing_is_told_before_the_end_of_the_step() -> None:
    rig = Rig()
    stream = rig.pushes.open()
    stream.follow(1, WATCH)
    reading = asyncio.ensure_future(stream.changes())
    await asyncio.wait((reading,), timeout=0)
    rig.pushes.take(1, OPEN)
    await asyncio.wait((reading,), timeout=0)
    assert not reading.done()
    rig.pushes.flush()
    assert await reading == [Change(1, OPEN)]


async def test_who_drops_hears_no_more_and_the_engine_is_told_once() -> None:
    rig = Rig()
    stream = rig.pushes.open()
    stream.follow(1, WATCH)
    rig.tell(1, OPEN)
    stream.drop(1)
    stream.drop(1)
    assert rig.posted[1:] == [events.WatchEnded(1, EMPTY_ID)]
    rig.tell(1, GONE)
    stream.follow(2, WATCH)
    rig.tell(2, OPEN)
    assert await stream.changes() == [Change(2, OPEN)]


async def test_after_the_last_of_it_the_engine_need_not_be_told() -> None:
    rig = Rig()
    stream = rig.pushes.open()
    stream.follow(1, WATCH)
    rig.tell(1, GONE)
    stream.drop(1)
    await stream.close()
    assert rig.posted == [events.CommandArrived(1, WATCH)]


async def test_a_stream_that_ends_follows_nothing_and_lets_the_rest_be_read() -> None:
    rig = Rig()
    stream = rig.pushes.open()
    stream.follow(1, WATCH)
    stream.follow(2, WATCH)
    rig.tell(1, OPEN)
    rig.pushes.close()
    assert rig.posted[2:] == [events.WatchEnded(1, EMPTY_ID), events.WatchEnded(2, EMPTY_ID)]
    stream.follow(3, WATCH)
    assert len(rig.posted) == 4
    assert await stream.changes() == [Change(1, OPEN)]
    with pytest.raises(Unavailable):
        await stream.changes()


async def test_a_stream_that_follows_too_much_has_more_refused_by_name() -> None:
    rig = Rig()
    stream = rig.pushes.open()
    for number in range(FOLLOWED_MAX + 1):
        stream.follow(number, WATCH)
    assert len(rig.posted) == FOLLOWED_MAX
    (change,) = await stream.changes()
    assert change.number == FOLLOWED_MAX
    assert isinstance(change.outcome, Rejected)
    assert change.outcome.reason is RejectionReason.OVERLOADED


async def test_many_changes_are_read_in_pieces() -> None:
    rig = Rig()
    stream = rig.pushes.open()
    for number in range(CHANGES_AT_ONCE + 1):
        stream.follow(number, WATCH)
        rig.pushes.take(number + 1, GONE)
    rig.pushes.flush()
    assert [len(await stream.changes()), len(await stream.changes())] == [CHANGES_AT_ONCE, 1]
