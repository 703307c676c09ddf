"""Hand-overs: shards go where the leader wishes one by one, and the others are served meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from timeball.errors import CoordinationUnavailable, Internal, Unavailable

from coordinator.leadership import Leadership, Outcome
from scheduler_node.ownership import PATIENCE_MS
from scheduler_node.service import HAND_OVER_MS, SchedulerNode, SchedulerNodeConfig
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.coordination.local import Leg, LocalCoordinator, LocalSession
from timeball_server.core.buckets import Layout, LayoutRow, minute_of
from timeball_server.core.commands import CancelTask, CreateTask, Done
from timeball_server.core.commands import Outcome as Answer
from timeball_server.core.ids import Bucket, IdParts, Minute, NodeId, ShardId, TaskId, encode_id
from timeball_server.core.messages import StreamHello
from timeball_server.core.model import TaskSpec
from timeball_server.ports.coordination import Member, Role
from timeball_server.ports.executors import ExecutorStream
from timeball_server.store.memory import MemoryDatabase, MemoryStore

LAYOUT = Layout((LayoutRow(from_minute=Minute(0), shard_count=4),))
SHARDS = LAYOUT.all_shards()
SESSION_MS = 4_000
NONSENSE: Any = "an event that the engine has no handler for"
TRIP_MS = 2


class NoExecutors:
    """A dialer that is never needed."""

    async def open(self, member: Member, hello: StreamHello) -> ExecutorStream:
        raise Unavailable(f"{member.node} is not there")


class Duo:
    """A service, a leader, and scheduler nodes by name."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.clock = VirtualClock(loop)
        self.service = LocalCoordinator(100, self.clock)
        self.database = MemoryDatabase(LAYOUT)
        self.sessions: dict[str, LocalSession] = {}
        self.dead: set[str] = set()

    async def lead(self) -> Leadership:
        session = self.sessions["front"] = await self.service.connect(60_000)
        await session.join(Member(role=Role.COORDINATOR, node=NodeId("front"), address="front"))
        return Leadership(session, SHARDS, self.clock)

    async def node(self, name: str) -> SchedulerNode:
        node = SchedulerNode(
            SchedulerNodeConfig(node=NodeId(name), address=name),
            MemoryStore(self.database),
            lambda: self.connect(name),
            NoExecutors(),
            self.clock,
            random.Random(name),
        )
        await node.start()
        return node

    async def connect(self, name: str = "") -> LocalSession:
        async def delay(_: str, __: Leg) -> None:
            await self.clock.sleep_ms(TRIP_MS / 2)

        if name in self.dead:
            raise CoordinationUnavailable("no route to the coordination service")
        self.sessions[name] = await self.service.connect(SESSION_MS, delay=delay)
        return self.sessions[name]

    async def pair(self) -> tuple[SchedulerNode, SchedulerNode, asyncio.Task[None]]:
        """Two nodes with half of the shards each, and the leader's loop."""
        leading = asyncio.create_task((await self.lead()).run())
        west, east = await self.node("west"), await self.node("east")
        await self.clock.sleep_ms(2_000)
        assert sorted((await self.owners()).values()) == ["east", "east", "west", "west"]
        return west, east, leading

    async def end(self, leading: asyncio.Task[None], *nodes: SchedulerNode) -> None:
        for node in nodes:
            await node.stop()
        leading.cancel()
        await self.service.close()

    async def owners(self) -> dict[ShardId, NodeId]:
        session = await self.connect()
        found = {each.shard: each.node for each in await session.ownerships()}
        await session.close()
        return found


def on_duo(scenario: Callable[[Duo], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that plays the scenario in virtual time."""

    def test() -> None:
        run_virtual(lambda loop: scenario(Duo(loop)))

    test.__name__ = scenario.__name__
    return test


@on_duo
async def test_a_node_that_is_stopped_sees_its_shards_go_to_the_other(duo: Duo) -> None:
    leader = await duo.lead()
    leading = asyncio.create_task(leader.run())
    west, east = await duo.node("west"), await duo.node("east")
    await duo.clock.sleep_ms(1_000)
    assert sorted((await duo.owners()).values()) == ["east", "east", "west", "west"]

    begun_ms = duo.clock.now().mono_ms
    await west.hand_over()
    assert duo.clock.now().mono_ms - begun_ms < SESSION_MS // 2
    assert set((await duo.owners()).values()) <= {"east"}
    await duo.clock.sleep_ms(500)
    assert await duo.owners() == dict.fromkeys(SHARDS, "east")

    await west.stop()
    await east.stop()
    leading.cancel()
    await duo.service.close()


@on_duo
async def test_the_last_node_releases_what_nobody_else_can_take(duo: Duo) -> None:
    leader = await duo.lead()
    leading = asyncio.create_task(leader.run())
    west = await duo.node("west")
    await duo.clock.sleep_ms(1_000)
    assert await duo.owners() == dict.fromkeys(SHARDS, "west")
    begun_ms = duo.clock.now().mono_ms
    await west.hand_over()
    assert duo.clock.now().mono_ms - begun_ms < 1_000
    await west.stop()
    assert await duo.owners() == {}
    leading.cancel()
    await duo.service.close()


@on_duo
async def test_without_a_leader_shards_are_released_all_the_same(duo: Duo) -> None:
    leader = await duo.lead()
    west, east = await duo.node("west"), await duo.node("east")
    assert (await leader.run_once()).outcome is Outcome.ASSIGNED
    await duo.clock.sleep_ms(2_000)
    assert set((await duo.owners()).values()) == {"east", "west"}
    await west.hand_over()
    await west.stop()
    assert set((await duo.owners()).values()) == {"east"}
    await east.stop()
    await duo.service.close()


class Gaps:
    """How many shards have no owner, and which entries there are, after each change."""

    def __init__(self, duo: Duo) -> None:
        self._duo = duo
        self.unowned: list[int] = []
        self.standing: list[int] = []

    async def begin(self) -> None:
        session = await self._duo.service.connect(600_000)
        session.on_change(self._look)

    def _look(self) -> None:
        entries = self._duo.service.entries
        self.unowned.append(len(SHARDS) - len(entries.ownerships()))
        self.standing.append(len(entries.standbys()))


@on_duo
async def test_shards_go_one_at_a_time(duo: Duo) -> None:
    west, east, leading = await duo.pair()
    gaps = Gaps(duo)
    await gaps.begin()
    await west.hand_over()
    await duo.clock.sleep_ms(1_000)
    assert await duo.owners() == dict.fromkeys(SHARDS, "east")
    assert max(gaps.unowned) == 1
    assert max(gaps.standing) == 1
    assert gaps.standing[-1] == 0
    await duo.end(leading, west, east)


@on_duo
async def test_a_node_that_joins_is_handed_its_share_one_shard_at_a_time(duo: Duo) -> None:
    leading = asyncio.create_task((await duo.lead()).run())
    west = await duo.node("west")
    await duo.clock.sleep_ms(2_000)
    gaps = Gaps(duo)
    await gaps.begin()
    east = await duo.node("east")
    await duo.clock.sleep_ms(2_000)
    assert sorted((await duo.owners()).values()) == ["east", "east", "west", "west"]
    assert max(gaps.unowned) == 1
    assert gaps.standing[-1] == 0
    await duo.end(leading, west, east)


@on_duo
async def test_an_operators_wish_moves_one_shard_and_balance_another(duo: Duo) -> None:
    west, east, leading = await duo.pair()
    before = {each.shard: each for each in duo.service.entries.ownerships()}
    shard = next(shard for shard, each in before.items() if each.node == "west")
    session = await duo.connect()
    await session.write_wish(shard, NodeId("east"))
    await duo.clock.sleep_ms(1_000)
    after = {each.shard: each for each in duo.service.entries.ownerships()}
    assert after[shard].node == "east"
    moved = {each for each in SHARDS if after[each].epoch != before[each].epoch}
    assert len(moved) == 2
    await session.close()
    await duo.end(leading, west, east)


@on_duo
async def test_a_next_owner_that_never_stands_by_is_not_waited_for_for_ever(duo: Duo) -> None:
    leading = asyncio.create_task((await duo.lead()).run())
    west = await duo.node("west")
    await duo.clock.sleep_ms(2_000)
    mute = await duo.connect()
    await mute.join(Member(role=Role.SCHEDULER_NODE, node=NodeId("mute"), address="mute"))
    await duo.clock.sleep_ms(PATIENCE_MS - 500)
    assert len(await duo.owners()) == len(SHARDS)
    await duo.clock.sleep_ms(1_000)
    assert len(await duo.owners()) == len(SHARDS) - 1
    await duo.clock.sleep_ms(PATIENCE_MS)
    assert len(await duo.owners()) == len(SHARDS) // 2
    await mute.close()
    await duo.end(leading, west)


@on_duo
async def test_a_node_that_dies_while_its_shards_go_is_failed_over_at_once(duo: Duo) -> None:
    west, east, leading = await duo.pair()
    going = asyncio.create_task(west.hand_over())
    await duo.clock.sleep_ms(5)
    duo.dead.add("west")
    duo.service.expire(duo.sessions["west"])
    await going
    await duo.clock.sleep_ms(500)
    assert await duo.owners() == dict.fromkeys(SHARDS, "east")
    await duo.end(leading, west, east)


class Tasks:
    """Creates and cancels tasks of one shard."""

    def __init__(self, duo: Duo, shard: ShardId) -> None:
        self._duo = duo
        self._shard = shard
        self._number = 0

    async def create(self, node: SchedulerNode, count: int, in_ms: int) -> Sequence[TaskId]:
        now_ms = self._duo.clock.now().wall_ms
        numbers = range(self._number, self._number + count)
        self._number += count
        commands = [
            CreateTask(
                minute=minute_of(now_ms + in_ms),
                shard=self._shard,
                unique=number.to_bytes(16, "big"),
                spec=TaskSpec(namespace="shop", owner="clerk", handler="mail"),
                due_ms=now_ms + in_ms,
                request_id=str(number),
                actor="user:clerk",
            )
            for number in numbers
        ]
        done(await node.shell.calls.execute(commands))
        home = Bucket(minute_of(now_ms + in_ms), self._shard, 0)
        return [encode_id(IdParts(home, number.to_bytes(16, "big"))) for number in numbers]

    async def cancel(self, node: SchedulerNode, task_ids: Sequence[TaskId]) -> None:
        commands = [
            CancelTask(task_id=each, namespace="shop", request_id=each, actor="user:clerk")
            for each in task_ids
        ]
        done(await node.shell.calls.execute(commands))


def done(outcomes: Sequence[Answer]) -> None:
    for outcome in outcomes:
        assert isinstance(outcome, Done), outcome


@on_duo
async def test_what_was_read_ahead_to_have_ended_is_not_read_again(duo: Duo) -> None:
    west, east, leading = await duo.pair()
    shard = next(shard for shard, node in (await duo.owners()).items() if node == "west")
    tasks = Tasks(duo, shard)
    ended = await tasks.create(west, 40, in_ms=1_000)
    await tasks.create(west, 3, in_ms=1_000)
    await tasks.create(west, 5, in_ms=20_000)
    await tasks.cancel(west, ended)
    await duo.clock.sleep_ms(5_000)
    before = east.shell.reads
    await west.hand_over()
    await duo.clock.sleep_ms(1_000)
    read = east.shell.reads
    assert read.heads_spared - before.heads_spared == 40
    assert read.heads_read - before.heads_read == 3
    assert read.journals_read - before.journals_read == 3 + 5
    assert len(east.shell.engine.shards[shard].tasks) == 3 + 5
    await duo.end(leading, west, east)


@on_duo
async def test_the_rest_is_served_while_a_shard_goes(duo: Duo) -> None:
    """At every moment of a hand-over each shard but one takes commands."""
    west, east, leading = await duo.pair()
    going = asyncio.create_task(west.hand_over())
    begun_ms = duo.clock.now().mono_ms
    while not going.done():
        owned = {**west.shell.engine.shards, **east.shell.engine.shards}
        assert len(owned) >= len(SHARDS) - 1
        await duo.clock.sleep_ms(1)
    assert duo.clock.now().mono_ms - begun_ms < HAND_OVER_MS
    await duo.end(leading, west, east)


@on_duo
async def test_a_node_that_stops_waits_for_slow_next_owners_but_not_for_ever(duo: Duo) -> None:
    leading = asyncio.create_task((await duo.lead()).run())
    west = await duo.node("west")
    await duo.clock.sleep_ms(2_000)
    mute = await duo.connect()
    await mute.join(Member(role=Role.SCHEDULER_NODE, node=NodeId("mute"), address="mute"))
    going = asyncio.create_task(west.hand_over())
    left = []
    for _ in range(4):
        await duo.clock.sleep_ms(PATIENCE_MS - 100)
        left.append(len(await duo.owners()))
    assert left == [4, 3, 2, 1]
    assert not going.done()
    await duo.clock.sleep_ms(1_000)
    assert going.done()
    assert await duo.owners() == {}
    await mute.close()
    await duo.end(leading, west)


@on_duo
async def test_an_entry_that_a_take_over_left_behind_is_removed(duo: Duo) -> None:
    """It was broken off, and its entry could not be removed just then: nobody holds it."""
    west, east, leading = await duo.pair()
    stray = ShardId(9)
    assert await duo.sessions["west"].take_ownership(stray) is not None
    assert (await duo.owners())[stray] == "west"
    await duo.clock.sleep_ms(3_000)
    assert set(await duo.owners()) == set(SHARDS)
    await duo.end(leading, west, east)


@on_duo
async def test_a_node_that_fails_keeps_its_shards_no_longer_than_one_that_dies(duo: Duo) -> None:
    """Nothing of it can be handed over any more, and its session would keep them for itself."""
    west, east, leading = await duo.pair()
    begun_ms = duo.clock.now().mono_ms
    west.shell.post(NONSENSE)
    while set((await duo.owners()).values()) != {"east"}:
        assert duo.clock.now().mono_ms - begun_ms < SESSION_MS, await duo.owners()
        await duo.clock.sleep_ms(50)
    assert isinstance(west.failure, KeyError)
    await duo.end(leading, west, east)


@on_duo
async def test_entries_that_cannot_be_read_cost_nobody_what_they_have(duo: Duo) -> None:
    """Somebody edited the assignment by hand: whoever reads it goes on with what it knows."""
    west, east, leading = await duo.pair()
    before = await duo.owners()

    async def unreadable(name: str, leg: Leg) -> None:
        if name in ("read_assignment", "take_ownership"):
            raise Internal("The assignment cannot be read.")

    readable = {name: duo.sessions[name].delay for name in ("west", "east", "front")}
    for name in readable:
        duo.sessions[name].delay = unreadable
    await duo.clock.sleep_ms(10_000)
    assert await duo.owners() == before
    assert not leading.done()
    for name, delay in readable.items():
        duo.sessions[name].delay = delay
    await west.hand_over()
    await duo.clock.sleep_ms(1_000)
    assert await duo.owners() == dict.fromkeys(SHARDS, "east")
    await duo.end(leading, west, east)
