"""Steps and values that the scenarios of the coordination suite share."""

from collections.abc import Awaitable, Callable

from tests.support.coordination_worlds import Runner, Scenario, World, eventually
from timeball_server.core.ids import Epoch, NodeId, ShardId
from timeball_server.ports.coordination import CoordinationSession, Member, Role, SessionState

A, B = NodeId("node-a"), NodeId("node-b")
SHARD, OTHER = ShardId(7), ShardId(8)
EPOCH_OF_NOBODY = Epoch(1)
POLL_BETWEEN_MS = 50


def over_all(scenario: Scenario) -> Callable[[Runner], None]:
    """A test that plays the scenario in one world."""

    def test(run: Runner) -> None:
        run(scenario)

    test.__name__ = scenario.__name__
    test.__doc__ = scenario.__doc__
    return test


def member(node: NodeId, role: Role = Role.SCHEDULER_NODE) -> Member:
    return Member(
        role=role,
        node=node,
        address=f"{node}:7000",
        strength=7,
        slots=3,
        labels=(("zone", "east"),),
        handlers=("mail", "report"),
        started_ms=12,
        version="0.1.0",
    )


async def joined(world: World, node: NodeId) -> CoordinationSession:
    session = await world.connect()
    await session.join(member(node))
    return session


async def nodes(session: CoordinationSession) -> list[NodeId]:
    return [each.node for each in await session.members(Role.SCHEDULER_NODE)]


async def until_state(world: World, session: CoordinationSession, state: SessionState) -> None:
    async def check() -> bool:
        return session.state is state

    await eventually(world, check, f"session becomes {state}")


async def until_gone(world: World, session: CoordinationSession, node: NodeId) -> None:
    async def check() -> bool:
        return node not in await nodes(session)

    await eventually(world, check, f"{node} is no member")


async def until_leader(world: World, session: CoordinationSession, node: NodeId | None) -> None:
    async def check() -> bool:
        return await session.leader() == node

    await eventually(world, check, f"{node} leads")


async def led_by(world: World, node: NodeId) -> tuple[CoordinationSession, int]:
    """A session that leads, and its term."""
    session = await joined(world, node)
    await session.campaign()
    await until_leader(world, session, node)
    term = await session.term()
    assert term is not None
    return session, term


def every_request(
    session: CoordinationSession, term: int
) -> dict[str, Callable[[], Awaitable[object]]]:
    return {
        "join": lambda: session.join(member(A)),
        "members": lambda: session.members(Role.EXECUTOR),
        "drain": session.drain,
        "campaign": session.campaign,
        "leader": session.leader,
        "term": session.term,
        "read_assignment": session.read_assignment,
        "write_assignment": lambda: session.write_assignment(term, 0, {SHARD: A}, {}),
        "read_wishes": session.read_wishes,
        "write_wish": lambda: session.write_wish(SHARD, A),
        "take_ownership": lambda: session.take_ownership(SHARD),
        "release_ownership": lambda: session.release_ownership(SHARD, EPOCH_OF_NOBODY),
        "ownerships": session.ownerships,
        "stand_by": lambda: session.stand_by(SHARD),
        "stand_down": lambda: session.stand_down(SHARD),
        "standbys": session.standbys,
        "prove": session.prove,
    }
