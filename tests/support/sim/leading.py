"""The leader's loop: look at the members, plan, write the wish."""

from __future__ import annotations

from timeball.errors import CoordinationUnavailable

from timeball_server.core.assignment import WeighedNode, plan
from timeball_server.core.buckets import Layout
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import CoordinationSession, Role, SessionState

LOOK_MS = 500


async def lead(session: CoordinationSession, layout: Layout, clock: Clock) -> None:
    """Stand for leader and lead until the session is lost."""
    while session.state is not SessionState.LOST:
        try:
            await session.campaign()
            term = await session.term()
            if term is not None:
                await _assign(session, layout, term)
            pause_ms = LOOK_MS
        except CoordinationUnavailable:
            pause_ms = LOOK_MS // 2
        await clock.sleep_ms(pause_ms)


async def _assign(session: CoordinationSession, layout: Layout, term: int) -> None:
    members = await session.members(Role.SCHEDULER_NODE)
    nodes = [
        WeighedNode(node=each.node, weight=each.strength, draining=each.draining)
        for each in members
    ]
    before = await session.read_assignment()
    wished = plan(layout.all_shards(), nodes, {} if before is None else before.shards)
    if before is None or dict(before.shards) != dict(wished.shards):
        version = 0 if before is None else before.version
        await session.write_assignment(term, version, wished.shards, wished.reasons)
