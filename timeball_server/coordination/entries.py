"""The entries of the in-process coordination service, as plain data.

Owns the zxid counter and what each session has made. Never waits, never reads a clock and never
knows connections: those belong to the service in local.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NewType

from timeball.errors import AlreadyExists, FailedPrecondition

from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId
from timeball_server.ports.coordination import Assignment, Member, Ownership, Role

SessionId = NewType("SessionId", int)
"""Number of a session; the service never gives one twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidacy:
    """A session that stands for leader. The lowest zxid among the living leads."""

    session: SessionId
    node: NodeId
    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnershipEntry:
    """A shard's ownership entry and the session that it dies with."""

    session: SessionId
    ownership: Ownership


class Entries:
    """Everything the service knows. Each change takes the next zxid."""

    def __init__(self, first_zxid: int) -> None:
        self.next_zxid = first_zxid
        self._members: dict[SessionId, Member] = {}
        self._candidacies: dict[SessionId, Candidacy] = {}
        self._ownerships: dict[ShardId, OwnershipEntry] = {}
        self._assignment: Assignment | None = None
        self._wishes: dict[ShardId, NodeId] = {}
        self._standbys: dict[ShardId, tuple[SessionId, NodeId]] = {}
        self._by_role: dict[Role, tuple[Member, ...]] = {}
        self._owned: tuple[Ownership, ...] | None = None

    def join(self, session: SessionId, member: Member) -> Incarnation:
        """Make the member's entry, or find the one that this session made before."""
        mine = self._members.get(session)
        if mine is not None:
            return _same_member(mine, member)
        taken = any(_same_name(other, member) for other in self._members.values())
        if taken:
            raise AlreadyExists(
                f"{member.role} {member.node!r} is still a member through another session; "
                "wait until that session has ended or choose another name"
            )
        incarnation = Incarnation(self._take_zxid())
        self._members[session] = replace(member, incarnation=incarnation)
        return incarnation

    def members(self, role: Role) -> tuple[Member, ...]:
        """The living members of a role, ordered by node."""
        found = self._by_role.get(role)
        if found is None:
            those = (member for member in self._members.values() if member.role is role)
            found = self._by_role[role] = tuple(sorted(those, key=lambda member: member.node))
        return found

    def drain(self, session: SessionId) -> None:
        """Mark the session's member as draining."""
        mine = self._member_of(session)
        if not mine.draining:
            self._take_zxid()
            self._members[session] = replace(mine, draining=True)

    def campaign(self, session: SessionId) -> None:
        """Stand for leader unless this session does already."""
        node = self._member_of(session).node
        if session not in self._candidacies:
            candidacy = Candidacy(session=session, node=node, term=self._take_zxid())
            self._candidacies[session] = candidacy

    def leader(self) -> Candidacy | None:
        """The oldest living candidacy."""
        return min(self._candidacies.values(), key=lambda each: each.term, default=None)

    def term_of(self, session: SessionId) -> int | None:
        """The term in which this session leads, None if it does not."""
        leader = self.leader()
        return leader.term if leader is not None and leader.session == session else None

    def assignment(self) -> Assignment | None:
        """The newest assignment."""
        return self._assignment

    def write_assignment(
        self,
        session: SessionId,
        term: int,
        expected_version: int,
        shards: Mapping[ShardId, NodeId],
        reasons: Mapping[ShardId, str],
    ) -> bool:
        """Replace the assignment if nobody wrote since and the session leads in this term."""
        version = self._assignment.version if self._assignment is not None else 0
        if self.term_of(session) != term or version != expected_version:
            return False
        self._take_zxid()
        self._assignment = Assignment(
            version=version + 1, term=term, shards=dict(shards), reasons=dict(reasons)
        )
        return True

    def wishes(self) -> Mapping[ShardId, NodeId]:
        """Where an operator wants single shards to be."""
        return dict(self._wishes)

    def write_wish(self, shard: ShardId, node: NodeId | None) -> None:
        """Wish a shard on a node, or take the wish back."""
        if self._wishes.get(shard) == node:
            return
        self._take_zxid()
        self._wishes.pop(shard, None)
        if node is not None:
            self._wishes[shard] = node

    def take_ownership(self, session: SessionId, shard: ShardId) -> Epoch | None:
        """Make the ownership entry, replacing one of the same session; None if another's."""
        node = self._member_of(session).node
        held = self._ownerships.get(shard)
        if held is not None and held.session != session:
            return None
        epoch = Epoch(self._take_zxid())
        ownership = Ownership(shard=shard, node=node, epoch=epoch)
        self._ownerships[shard] = OwnershipEntry(session=session, ownership=ownership)
        return epoch

    def release_ownership(self, session: SessionId, shard: ShardId, epoch: Epoch) -> None:
        """Remove the entry if it is this session's and of this epoch."""
        held = self._ownerships.get(shard)
        if held is not None and (held.session, held.ownership.epoch) == (session, epoch):
            self._take_zxid()
            del self._ownerships[shard]

    def ownerships(self) -> tuple[Ownership, ...]:
        """Who holds what, ordered by shard."""
        if self._owned is None:
            owned = sorted(self._ownerships)
            self._owned = tuple(self._ownerships[shard].ownership for shard in owned)
        return self._owned

    def stand_by(self, session: SessionId, shard: ShardId) -> bool:
        """Note that the session's node is ready for the shard; False if another one is."""
        node = self._member_of(session).node
        found = self._standbys.get(shard)
        if found is None:
            self._take_zxid()
            self._standbys[shard] = (session, node)
        return found is None or found[0] == session

    def stand_down(self, session: SessionId, shard: ShardId) -> None:
        """Forget that the session's node is ready for the shard."""
        found = self._standbys.get(shard)
        if found is not None and found[0] == session:
            self._take_zxid()
            del self._standbys[shard]

    def standbys(self) -> Mapping[ShardId, NodeId]:
        """Who stands by for what."""
        return {shard: node for shard, (_, node) in self._standbys.items()}

    def drop(self, session: SessionId) -> None:
        """Remove everything that a session made; it has ended."""
        self._take_zxid()
        self._members.pop(session, None)
        self._candidacies.pop(session, None)
        kept = {key: held for key, held in self._ownerships.items() if held.session != session}
        self._ownerships = kept
        ready = {key: each for key, each in self._standbys.items() if each[0] != session}
        self._standbys = ready

    def _member_of(self, session: SessionId) -> Member:
        """The member that the session joined as."""
        member = self._members.get(session)
        if member is None:
            raise FailedPrecondition("join first: only a member can drain, lead or own a shard")
        return member

    def _take_zxid(self) -> int:
        """The number of the next change; what was read before it is read anew."""
        self._by_role.clear()
        self._owned = None
        zxid = self.next_zxid
        self.next_zxid += 1
        return zxid


def _same_name(left: Member, right: Member) -> bool:
    """Whether two members would be one entry."""
    return left.role is right.role and left.node == right.node


def _same_member(mine: Member, member: Member) -> Incarnation:
    """The incarnation of a repeated join; a different member is refused."""
    if not _same_name(mine, member):
        raise FailedPrecondition(
            f"this session joined as {mine.role} {mine.node!r} already; open one session per member"
        )
    return mine.incarnation
