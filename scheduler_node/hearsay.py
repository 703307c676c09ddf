"""Whom this node believes to own the shards that it does not: hints for callers who went astray.

Only hearsay: it repeats what the coordination service said in the last round, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, TypeGuard

from timeball_server.core.commands import (
    Command,
    Outcome,
    OwnerHint,
    Rejected,
    RejectionReason,
    shard_of,
)
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.ports.coordination import CoordinationSession, Role

Owners = Mapping[ShardId, OwnerHint]
NOBODY: Final[Owners] = MappingProxyType({})


async def read_owners(session: CoordinationSession, me: NodeId) -> Owners:
    """Who owns which shard besides us.

    Raises:
        CoordinationUnavailable: it cannot be asked now.
    """
    owned = await session.ownerships()
    members = await session.members(Role.SCHEDULER_NODE)
    addresses = {member.node: member.address for member in members if member.node != me}
    return {
        each.shard: OwnerHint(each.node, addresses[each.node], each.epoch)
        for each in owned
        if each.node in addresses
    }


def with_hints(
    commands: Sequence[Command], outcomes: Sequence[Outcome], owners: Owners
) -> Sequence[Outcome]:
    """Refusals of shards that are not ours say who is believed to own them."""
    if not any(_is_astray(outcome) for outcome in outcomes):
        return outcomes
    return [
        replace(outcome, owner=owners.get(shard_of(command))) if _is_astray(outcome) else outcome
        for command, outcome in zip(commands, outcomes, strict=True)
    ]


def _is_astray(outcome: Outcome) -> TypeGuard[Rejected]:
    return isinstance(outcome, Rejected) and outcome.reason is RejectionReason.NOT_OWNED
