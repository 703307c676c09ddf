"""Names and contents of the entries: where things are and what is written there.

Contents are JSON, because operators read them. Readers skip fields that they do not know and
entries that they cannot read. Never a connection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

from timeball_server.core.ids import NodeId, ShardId
from timeball_server.ports.coordination import Assignment, Member, Role

Word = TypeVar("Word", NodeId, str)
UNSIGNED: Final = (1 << 64) - 1
CANDIDACY: Final = "candidacy"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """Contents of an ownership and of a candidacy: whose it is."""

    node: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentRecord:
    """Contents of the assignment; grouped, as many shards share a node and a reason."""

    term: int
    nodes: dict[NodeId, tuple[ShardId, ...]]
    reasons: dict[str, tuple[ShardId, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WishesRecord:
    """Contents of the wishes, grouped like the assignment."""

    nodes: dict[NodeId, tuple[ShardId, ...]]


_ENCODER: Final = msgspec.json.Encoder(order="sorted")
_MEMBER: Final = msgspec.json.Decoder(Member)
_NODE: Final = msgspec.json.Decoder(NodeRecord)
_ASSIGNMENT: Final = msgspec.json.Decoder(AssignmentRecord)
_WISHES: Final = msgspec.json.Decoder(WishesRecord)


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below one root."""

    root: str

    @property
    def election(self) -> str:
        """Parent of the candidacies."""
        return f"{self.root}/election"

    @property
    def owners(self) -> str:
        """Parent of the ownerships."""
        return f"{self.root}/owners"

    @property
    def standbys(self) -> str:
        """Parent of the standbys."""
        return f"{self.root}/standbys"

    @property
    def assignment(self) -> str:
        """The assignment; empty before the first."""
        return f"{self.root}/assignment"

    @property
    def wishes(self) -> str:
        """An operator's wishes; empty before the first."""
        return f"{self.root}/wishes"

    def members(self, role: Role) -> str:
        """Parent of the members of a role."""
        return f"{self.root}/members/{role.value}"

    def member(self, role: Role, node: NodeId) -> str:
        """One member."""
        return f"{self.members(role)}/{entry_name(node)}"

    def candidacy(self, session_id: int) -> str:
        """A candidacy, without the number that the server adds."""
        return f"{self.election}/{CANDIDACY}-{session_text(session_id)}-"

    def owner(self, shard: ShardId) -> str:
        """One ownership."""
        return f"{self.owners}/{shard}"

    def standby(self, shard: ShardId) -> str:
        """One standby."""
        return f"{self.standbys}/{shard}"

    def skeleton(self) -> tuple[str, ...]:
        """Every entry that must exist before a session works, parents first."""
        parts = self.root.strip("/").split("/")
        above = ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]
        roles = [self.members(role) for role in Role]
        return (*above, f"{self.root}/members", *roles, *self._shared)

    @property
    def _shared(self) -> tuple[str, ...]:
        return self.election, self.owners, self.standbys, self.assignment, self.wishes


def entry_name(node: NodeId) -> str:
    """A node's name as one part of a path."""
    name = quote(node, safe="")
    return name.replace(".", "%2E") if name.strip(".") == "" else name


def session_text(session_id: int) -> str:
    """A session's number as 16 digits."""
    return f"{session_id & UNSIGNED:016x}"


def candidacy_order(name: str) -> int:
    """The number that the server gave to a candidacy; the lowest leads. -1 = no candidacy."""
    kind, _, rest = name.partition("-")
    number = rest.rpartition("-")[2]
    return int(number) if kind == CANDIDACY and number.isdecimal() else -1


def shard_of(name: str) -> ShardId | None:
    """The shard that the name of an ownership or a standby says."""
    return ShardId(int(name)) if name.isdecimal() else None


def write_member(member: Member) -> bytes:
    """Contents of a member."""
    return _ENCODER.encode(member)


def read_member(data: bytes) -> Member | None:
    """A member, None if it cannot be read."""
    try:
        return _MEMBER.decode(data)
    except msgspec.DecodeError:
        return None


def write_node(node: NodeId) -> bytes:
    """Contents of an ownership or a candidacy."""
    return _ENCODER.encode(NodeRecord(node=node))


def read_node(data: bytes) -> NodeId | None:
    """Whose ownership or candidacy it is, None if it cannot be read."""
    try:
        return _NODE.decode(data).node
    except msgspec.DecodeError:
        return None


def write_assignment(
    term: int, shards: Mapping[ShardId, NodeId], reasons: Mapping[ShardId, str]
) -> bytes:
    """Contents of the assignment."""
    record = AssignmentRecord(
        term=term, nodes=_grouped(shards.items()), reasons=_grouped(reasons.items())
    )
    return _ENCODER.encode(record)


def read_assignment(data: bytes, version: int) -> Assignment | None:
    """The assignment, None before the first.

    Args:
        data: contents of the entry.
        version: how often the entry has been written.

    Raises:
        ValueError: the contents are broken.
    """
    if not data:
        return None
    record = _ASSIGNMENT.decode(data)
    return Assignment(
        version=version,
        term=record.term,
        shards=_spread(record.nodes),
        reasons=_spread(record.reasons),
    )


def write_wishes(wishes: Mapping[ShardId, NodeId]) -> bytes:
    """Contents of the wishes."""
    return _ENCODER.encode(WishesRecord(nodes=_grouped(wishes.items())))


def read_wishes(data: bytes) -> dict[ShardId, NodeId]:
    """The wishes; none in an empty entry.

    Raises:
        ValueError: the contents are broken.
    """
    return _spread(_WISHES.decode(data).nodes) if data else {}


def _grouped(pairs: Iterable[tuple[ShardId, Word]]) -> dict[Word, tuple[ShardId, ...]]:
    """Shards by what they share."""
    groups: dict[Word, list[ShardId]] = defaultdict(list)
    for shard, word in sorted(pairs):
        groups[word].append(shard)
    return {word: tuple(shards) for word, shards in groups.items()}


def _spread(groups: Mapping[Word, tuple[ShardId, ...]]) -> dict[ShardId, Word]:
    """The reverse of grouping."""
    return {shard: word for word, shards in groups.items() for shard in shards}
