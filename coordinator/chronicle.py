"""The cluster's own life as entries of the audit log: joins, losses, elections, moved shards.

Every coordinator looks; the one that leads notes. What comes and goes between two looks, or while
nobody leads, is not noted: the log of each process has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import structlog
from timeball.errors import TimeballError

from coordinator.audit import Auditor, Deed
from coordinator.overview import Overview, ShardOverview
from timeball_server.core.ids import NodeId
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Member

log = structlog.stdlib.get_logger("coordinator")
LOOK_EVERY_MS: Final = 2_000


class Chronicle:
    """Looks and notes, for as long as a coordinator lives."""

    def __init__(
        self,
        name: NodeId,
        overview: Callable[[], Awaitable[Overview]],
        auditor: Auditor,
        clock: Clock,
    ) -> None:
        self._name = name
        self._overview = overview
        self._auditor = auditor
        self._clock = clock
        self._seen: Overview | None = None

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await self.look()
            await self._clock.sleep_ms(LOOK_EVERY_MS)

    async def look(self) -> None:
        """Look once; note what is new if this coordinator leads."""
        try:
            now = await self._overview()
        except TimeballError as error:
            log.info("the cluster cannot be looked at now", error=error.reason)
            return
        before, self._seen = self._seen, now
        if before is not None and now.leader == self._name:
            for deed in changes(self._name, before, now):
                self._auditor.note(deed)


def changes(noted_by: NodeId, before: Overview, now: Overview) -> Iterator[Deed]:
    """What changed between two looks."""
    if now.leader != before.leader:
        detail = f"term of {before.leader} is over" if before.leader else ""
        yield _event(noted_by, "LeaderElected", now.leader or "nobody", detail)
    old = {(each.role, each.node, each.incarnation): each for each in before.members}
    new = {(each.role, each.node, each.incarnation): each for each in now.members}
    for key, member in old.items():
        if key not in new:
            yield _event(noted_by, "NodeLeft", member.node, _life(member))
    for key, member in new.items():
        if key not in old:
            yield _event(noted_by, "NodeJoined", member.node, _life(member))
        elif member.draining and not old[key].draining:
            yield _event(noted_by, "NodeDraining", member.node, _life(member))
    shards = {each.shard: each for each in before.shards}
    for shard in now.shards:
        yield from _of_shard(noted_by, shards.get(shard.shard), shard)


def _of_shard(noted_by: NodeId, before: ShardOverview | None, now: ShardOverview) -> Iterator[Deed]:
    if before is None:
        return
    target = str(now.shard)
    if now.assigned != before.assigned:
        detail = f"to {now.assigned}: {now.reason}" if now.assigned else "to nobody"
        yield _event(noted_by, "ShardAssigned", target, detail)
    if now.owner is None and before.owner is not None:
        yield _event(noted_by, "ShardFree", target, f"was {before.owner}'s")
    elif now.owner is not None and now.epoch != before.epoch:
        past = f", was {before.owner}'s" if before.owner else ""
        yield _event(noted_by, "ShardTaken", target, f"by {now.owner} in epoch {now.epoch}{past}")


def _event(noted_by: NodeId, action: str, target: str, detail: str) -> Deed:
    return Deed(actor=noted_by, action=action, target=target, detail=detail)


def _life(member: Member) -> str:
    return f"{member.role.value} at {member.address}, incarnation {member.incarnation}"
