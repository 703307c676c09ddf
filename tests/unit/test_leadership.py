"""The leader's loop: one round, the pause between rounds, and the end of the loop."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from coordinator.leadership import PAUSE_MS, ROUND_ENDED, Leadership, Outcome, Round, leading
from tests.support.coordination_worlds import SESSION_TIMEOUT_MS
from tests.support.signals import RecordedSignals
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.coordination.local import Leg, LocalCoordinator, LocalSession
from timeball_server.core.assignment import WISHED
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.ports.coordination import Assignment, Member, Role

SHARDS = [ShardId(number) for number in range(8)]
A, B, C = NodeId("node-a"), NodeId("node-b"), NodeId("node-c")
ONE, TWO = NodeId("coordinator-one"), NodeId("coordinator-two")


class Cluster:
    """A coordination service and a virtual clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.clock = VirtualClock(loop)
        self.service = LocalCoordinator(100, self.clock)

    async def join(self, role: Role, node: NodeId, strength: int = 1) -> LocalSession:
        session = await self.service.connect(SESSION_TIMEOUT_MS)
        await session.join(Member(role=role, node=node, address="", strength=strength))
        return session

    async def scheduler(self, node: NodeId, strength: int = 1) -> LocalSession:
        return await self.join(Role.SCHEDULER_NODE, node, strength)

    async def coordinator(self, node: NodeId) -> tuple[LocalSession, Leadership]:
        session = await self.join(Role.COORDINATOR, node)
        return session, Leadership(session, SHARDS, self.clock)

    def assignment(self) -> Assignment:
        found = self.service.entries.assignment()
        assert found is not None
        return found

    def loads(self) -> dict[NodeId, int]:
        return dict(Counter(self.assignment().shards.values()))


def virtually(
    scenario: Callable[[Cluster], Coroutine[Any, Any, None]],
) -> Callable[[], None]:
    """A test that plays the scenario in virtual time."""

    def test() -> None:
        run_virtual(lambda loop: scenario(Cluster(loop)))

    test.__name__ = scenario.__name__
    return test


async def outcomes(leadership: Leadership, rounds: int) -> list[Outcome]:
    return [(await leadership.run_once()).outcome for _ in range(rounds)]


@virtually
async def test_the_leader_assigns_once_and_then_leaves_it(cluster: Cluster) -> None:
    await cluster.scheduler(A)
    await cluster.scheduler(B)
    _, leadership = await cluster.coordinator(ONE)
    assert await outcomes(leadership, 2) == [Outcome.ASSIGNED, Outcome.UNCHANGED]
    assert cluster.loads() == {A: 4, B: 4}
    assert cluster.assignment().version == 1


@virtually
async def test_a_follower_writes_nothing(cluster: Cluster) -> None:
    await cluster.coordinator(ONE)
    _, first = await cluster.coordinator(TWO)
    _, second = await cluster.coordinator(NodeId("coordinator-three"))
    assert await outcomes(first, 1) == [Outcome.NOBODY]
    await cluster.scheduler(A)
    ended = await second.run_once()
    assert ended == Round(outcome=Outcome.FOLLOWS, sentence="coordinator-two leads")
    assert cluster.service.entries.assignment() is None


@virtually
async def test_a_lost_node_moves_only_its_shards_and_says_why(cluster: Cluster) -> None:
    await cluster.scheduler(A)
    lost = await cluster.scheduler(B)
    _, leadership = await cluster.coordinator(ONE)
    await leadership.run_once()
    before = cluster.assignment().shards
    cluster.service.expire(lost)
    ended = await leadership.run_once()
    assert cluster.loads() == {A: 8}
    after = cluster.assignment()
    moved = {shard for shard in SHARDS if before[shard] == B}
    assert {shard for shard in SHARDS if after.reasons[shard] == "node-b left"} == moved
    assert ended.sentence == (
        "assignment 2 written in term 103: 4 of 8 shards moved: 4 (node-b left)"
    )


@virtually
async def test_a_draining_node_and_a_strong_one_are_respected(cluster: Cluster) -> None:
    draining = await cluster.scheduler(A)
    await cluster.scheduler(B, strength=3)
    await cluster.scheduler(C, strength=0)
    _, leadership = await cluster.coordinator(ONE)
    await draining.drain()
    await leadership.run_once()
    assert cluster.loads() == {B: 6, C: 2}


@virtually
async def test_an_operators_wish_is_carried_out_and_taken_back(cluster: Cluster) -> None:
    await cluster.scheduler(A)
    await cluster.scheduler(B)
    session, leadership = await cluster.coordinator(ONE)
    await leadership.run_once()
    shard = next(each for each, node in cluster.assignment().shards.items() if node == A)
    await session.write_wish(shard, B)
    assert await outcomes(leadership, 2) == [Outcome.ASSIGNED, Outcome.UNCHANGED]
    assert cluster.assignment().shards[shard] == B
    assert cluster.assignment().reasons[shard] == WISHED
    await session.write_wish(shard, None)
    assert await outcomes(leadership, 1) == [Outcome.UNCHANGED]
    assert cluster.assignment().shards[shard] == B


@virtually
async def test_without_a_scheduler_node_the_assignment_stays(cluster: Cluster) -> None:
    only = await cluster.scheduler(A)
    _, leadership = await cluster.coordinator(ONE)
    await leadership.run_once()
    cluster.service.expire(only)
    assert await outcomes(leadership, 1) == [Outcome.NOBODY]
    assert cluster.loads() == {A: 8}
    assert cluster.assignment().version == 1


@virtually
async def test_a_write_after_the_session_ended_is_not_applied(cluster: Cluster) -> None:
    """The leader is frozen between its reading and its writing; its successor writes first."""
    await cluster.scheduler(A)
    held = cluster.loop.create_future()

    async def hold(name: str, leg: Leg) -> None:
        if name == "write_assignment" and leg is Leg.REQUEST:
            await held

    session = await cluster.service.connect(SESSION_TIMEOUT_MS, delay=hold)
    await session.join(Member(role=Role.COORDINATOR, node=ONE, address=""))
    slow = cluster.loop.create_task(Leadership(session, SHARDS, cluster.clock).run_once())
    await cluster.clock.sleep_ms(1)
    _, successor = await cluster.coordinator(TWO)
    await successor.run_once()
    cluster.service.expire(session)
    assert await outcomes(successor, 1) == [Outcome.ASSIGNED]
    held.set_result(None)
    assert (await slow).outcome is Outcome.LOST
    assert cluster.assignment().version == 1


@virtually
async def test_a_write_on_an_old_version_loses_the_race(cluster: Cluster) -> None:
    await cluster.scheduler(A)
    held = cluster.loop.create_future()

    async def hold(name: str, leg: Leg) -> None:
        if name == "write_assignment" and leg is Leg.REQUEST:
            await held

    session = await cluster.service.connect(SESSION_TIMEOUT_MS, delay=hold)
    await session.join(Member(role=Role.COORDINATOR, node=ONE, address=""))
    slow = cluster.loop.create_task(Leadership(session, SHARDS, cluster.clock).run_once())
    await cluster.clock.sleep_ms(1)
    term = await session.term()
    cluster.service.entries.write_assignment(session.number, term or 0, 0, {SHARDS[0]: A}, {})
    held.set_result(None)
    assert (await slow).outcome is Outcome.LOST_RACE
    assert cluster.assignment().shards == {SHARDS[0]: A}


@virtually
async def test_an_unknown_write_is_settled_by_the_next_round(cluster: Cluster) -> None:
    await cluster.scheduler(A)
    session, leadership = await cluster.coordinator(ONE)

    async def cut_the_answer(name: str, leg: Leg) -> None:
        if name == "write_assignment" and leg is Leg.ANSWER:
            session.cut()

    session.delay = cut_the_answer
    assert await outcomes(leadership, 2) == [Outcome.UNREACHABLE, Outcome.UNREACHABLE]
    session.heal()
    assert await outcomes(leadership, 1) == [Outcome.UNCHANGED]
    assert cluster.loads() == {A: 8}


@virtually
async def test_the_loop_wakes_on_a_change_and_not_before_it_must(cluster: Cluster) -> None:
    session = await cluster.join(Role.COORDINATOR, ONE)
    signals = RecordedSignals()
    cluster.loop.create_task(Leadership(session, SHARDS, cluster.clock, signals).run())
    await signals.wait(ROUND_ENDED, 2)  # the second is woken by its own candidacy
    quiet_since_ms = cluster.clock.now().mono_ms
    await signals.wait(ROUND_ENDED, 3)
    assert cluster.clock.now().mono_ms - quiet_since_ms >= PAUSE_MS
    changed_ms = cluster.clock.now().mono_ms
    await cluster.scheduler(A)
    await cluster.scheduler(B)
    await signals.wait(ROUND_ENDED, 4)
    assert cluster.clock.now().mono_ms - changed_ms < 200
    assert cluster.loads() == {A: 4, B: 4}


@virtually
async def test_the_loop_ends_with_the_session(cluster: Cluster) -> None:
    session = await cluster.join(Role.COORDINATOR, ONE)
    task = cluster.loop.create_task(Leadership(session, SHARDS, cluster.clock).run())
    await cluster.clock.sleep_ms(10_000)
    assert not task.done()
    cluster.service.expire(session)
    await task


@virtually
async def test_a_successor_takes_over_when_the_leader_freezes(cluster: Cluster) -> None:
    loop = cluster.loop

    async def coordinate(node: NodeId) -> None:
        session = await cluster.join(Role.COORDINATOR, node)
        await leading(SHARDS, VirtualClock(loop))(session)

    await cluster.scheduler(A)
    for node in (ONE, TWO):
        loop.start_in(node, coordinate(node))
        await cluster.clock.sleep_ms(100)
    first_term = cluster.assignment().term
    loop.freeze(ONE)
    await cluster.scheduler(B)
    await cluster.clock.sleep_ms(SESSION_TIMEOUT_MS + 1_000)
    assert cluster.loads() == {A: 4, B: 4}
    assert cluster.assignment().term > first_term
    version = cluster.assignment().version
    loop.thaw(ONE)
    await cluster.clock.sleep_ms(20_000)
    assert cluster.assignment().version == version
