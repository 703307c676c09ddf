"""Leaders and scheduler nodes that come, drain and go: every shard is owned, fairly, and stays.

The real leadership in the coordination of one process. Nodes of all strengths join, are drained and
leave, operators wish shards somewhere, the leader changes; judged is each assignment against the
one before (tests/support/shard_shares.py).
"""

from __future__ import annotations

import random

import pytest

from coordinator.leadership import Leadership, Outcome
from tests.support.shard_shares import Node, unfair, untold
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.coordination.local import LocalCoordinator, LocalSession
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.ports.coordination import Member, Role

SHARDS = (7, 16, 64, 65)
STEPS = 40
SESSION_MS = 6_000


class Town:
    """Nodes by name, and what is wished."""

    def __init__(self, loop: VirtualLoop, seed: int) -> None:
        self.chance = random.Random(f"{seed} leaders")
        self.shards = SHARDS[seed % len(SHARDS)]
        self.clock = VirtualClock(loop)
        self.coordination = LocalCoordinator(100, self.clock)
        self.nodes: dict[str, Node] = {}
        self.wishes: dict[int, str] = {}
        self.sessions: dict[str, LocalSession] = {}
        self.leader: LocalSession | None = None
        self.made = 0

    async def joins(self, role: Role, name: str, strength: int = 1) -> LocalSession:
        session = await self.coordination.connect(SESSION_MS, clock=self.clock)
        await session.join(
            Member(role=role, node=NodeId(name), address=f"{name}:1", strength=strength)
        )
        return session

    async def step(self) -> None:
        """One thing changes, or several at once."""
        for _ in range(self.chance.choice((1, 1, 2))):
            kinds = (self._come, self._come, self._drain, self._leave, self._wish, self._wish)
            await self.chance.choice(kinds)()

    async def _come(self) -> None:
        if len(self.nodes) < 6:
            self.made += 1
            name, strength = f"n{self.made}", self.chance.choice((1, 1, 1, 2, 3, 10))
            self.sessions[name] = await self.joins(Role.SCHEDULER_NODE, name, strength)
            self.nodes[name] = Node(strength)

    def _any(self) -> str | None:
        return self.chance.choice(list(self.nodes)) if self.nodes else None

    async def _drain(self) -> None:
        name = self._any()
        if name is not None:
            await self.sessions[name].drain()
            self.nodes[name] = Node(self.nodes[name].strength, draining=True)

    async def _leave(self) -> None:
        name = self._any()
        if name is not None:
            del self.nodes[name]
            await self.sessions.pop(name).close()

    async def _wish(self) -> None:
        shard, name = ShardId(self.chance.randrange(self.shards)), self._any()
        if self.chance.random() < 0.4:
            name = None
            shard = ShardId(self.chance.choice(list(self.wishes))) if self.wishes else shard
        self.coordination.wish(shard, None if name is None else NodeId(name))
        self.wishes.pop(shard, None)
        if name is not None:
            self.wishes[shard] = name

    async def assigned(self) -> tuple[dict[int, str], dict[int, str]]:
        """What the leader wants now, and why; a second look must not change it."""
        if self.leader is None or self.chance.random() < 0.1:
            if self.leader is not None:
                await self.leader.close()
            self.made += 1
            self.leader = await self.joins(Role.COORDINATOR, f"c{self.made}")
        leadership = Leadership(self.leader, [ShardId(s) for s in range(self.shards)], self.clock)
        await leadership.run_once()
        wanted = await self.leader.read_assignment()
        again = await leadership.run_once()
        assert again.outcome in (Outcome.UNCHANGED, Outcome.NOBODY), again.sentence
        if wanted is None:
            return {}, {}
        shards = {int(shard): str(node) for shard, node in wanted.shards.items()}
        return shards, {int(shard): why for shard, why in wanted.reasons.items()}


@pytest.mark.parametrize("seed", range(12))
def test_every_weight_has_its_share_and_no_shard_moves_for_nothing(seed: int) -> None:
    async def main(loop: VirtualLoop) -> int:
        town, before, moved = Town(loop, seed), dict[int, str](), 0
        for _ in range(STEPS):
            await town.step()
            after, why = await town.assigned()
            found = list(unfair(town.shards, town.nodes, town.wishes, before, after))
            found += untold(town.nodes, town.wishes, before, after, why)
            assert not found, (found, town.nodes, town.wishes)
            moved += sum(after[shard] != before.get(shard) for shard in after)
            before = after
        for session in [*town.sessions.values(), town.leader]:
            if session is not None:
                await session.close()
        return moved

    assert run_virtual(main, seed, limit_s=3_600) > 2 * SHARDS[seed % len(SHARDS)]
