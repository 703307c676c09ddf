"""The coordination port: members, leader, assignment and ownership, on a session's entries.

Adapters (in-process, ZooKeeper) pass tests/conformance/test_coordination.py unchanged.
Entries are ephemeral: they go with the session, all but the assignment and the wishes. A session
that is suspended may come back; one that is lost never does: the process must start a new session.
Watches say "something changed, read all".

Errors: CoordinationUnavailable (suspended or unreachable; requests fail fast and are never
queued), SessionLost (this session has ended).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from timeball.errors import CoordinationUnavailable

from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId

NOT_JOINED: Final = Incarnation(0)
"""The incarnation of a member that has not joined yet."""


class SessionLost(CoordinationUnavailable):
    """The session has ended; all that it owned is gone."""

    reason = "SESSION_LOST"


class Role(StrEnum):
    """What a member is."""

    COORDINATOR = "coordinator"
    SCHEDULER_NODE = "scheduler_node"
    EXECUTOR = "executor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A living process. `incarnation` is given by the coordination service at joining.

    `strength` is its weight in shares of work. A `draining` member is given no more work. `caps`
    are handlers of which it runs fewer at once than it has slots, and how many.
    """

    role: Role
    node: NodeId
    address: str
    incarnation: Incarnation = NOT_JOINED
    strength: int = 1
    slots: int = 0
    labels: tuple[tuple[str, str], ...] = ()
    handlers: tuple[str, ...] = ()
    started_ms: int = 0
    version: str = ""
    draining: bool = False
    caps: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Who holds a shard now; `epoch` is the czxid of the ownership entry (rule R1)."""

    shard: ShardId
    node: NodeId
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The leader's wish. `version` grows with each write, `reasons` say why a shard moved."""

    version: int
    term: int
    shards: Mapping[ShardId, NodeId]
    reasons: Mapping[ShardId, str]


class SessionState(StrEnum):
    """What the client library knows of its session."""

    CONNECTED = "CONNECTED"
    SUSPENDED = "SUSPENDED"
    LOST = "LOST"


class Membership(Protocol):
    """The part of a session that being a member needs; all that an executor may depend on.

    Callbacks run on the event loop and must return at once.
    """

    @property
    def state(self) -> SessionState:
        """What is known of the session now. LOST is final, and so is the state after close."""
        ...

    @property
    def session_timeout_ms(self) -> int:
        """How long silence lasts before the service ends the session."""
        ...

    def proven_at_mono_ms(self) -> int | None:
        """Monotonic time at which the last *answered* request was sent; None before the first (R3).

        Never goes back. Adapters also send a cheap request of their own every
        sixth of the session timeout, so a healthy session stays proven.
        """
        ...

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back after any change of session state, of entries, or of their contents."""
        ...

    async def join(self, member: Member) -> Incarnation:
        """Become a member; an ephemeral entry whose czxid is the incarnation. Once per session.

        Safe to repeat with the same role and node: answers the same incarnation.

        Raises:
            AlreadyExists: a living session of this role has the node's name; wait for its end.
            FailedPrecondition: this session has joined as something else.
        """
        ...

    async def prove(self) -> None:
        """A cheap round trip: moves `proven_at_mono_ms` forward when it is answered."""
        ...

    async def close(self) -> None:
        """End the session: every ephemeral entry goes at once. Safe to call twice.

        A suspended session cannot say good-bye: its entries go when the service expires it.
        """
        ...


class CoordinationSession(Membership, Protocol):
    """One process's session.

    `drain`, `campaign`, `take_ownership` and `stand_by` speak in the joined node's name and raise
    FailedPrecondition before `join`.
    """

    async def members(self, role: Role) -> tuple[Member, ...]:
        """The living members of a role, ordered by node."""
        ...

    async def drain(self) -> None:
        """Mark this session's member as draining, for good. Same incarnation. Safe to repeat."""
        ...

    async def campaign(self) -> None:
        """Stand for leader; winning shows in `leader` and `term`. Safe to repeat."""
        ...

    async def leader(self) -> NodeId | None:
        """Who leads now."""
        ...

    async def term(self) -> int | None:
        """The term (czxid of the candidacy) in which this session leads, None if it does not."""
        ...

    async def read_assignment(self) -> Assignment | None:
        """The newest assignment, None before the first."""
        ...

    async def write_assignment(
        self,
        term: int,
        expected_version: int,
        shards: Mapping[ShardId, NodeId],
        reasons: Mapping[ShardId, str],
    ) -> bool:
        """Replace the assignment if this session still leads in this term and nobody wrote since.

        `expected_version` is 0 for the first. Atomic. False = lost the race, nothing written.
        """
        ...

    async def read_wishes(self) -> Mapping[ShardId, NodeId]:
        """Where an operator wants single shards to be; the leader's next plan honours it."""
        ...

    async def write_wish(self, shard: ShardId, node: NodeId | None) -> None:
        """Wish a shard on a node, or take the wish back (None). Outlives the session.

        Wishes for several shards do not disturb each other; of two for one the later holds.
        Safe to repeat; any session may.
        """
        ...

    async def take_ownership(self, shard: ShardId) -> Epoch | None:
        """Create the ownership entry; its czxid is the epoch. None = another session holds it.

        The epoch always comes from creating. If this session holds the entry already (an answer
        was lost), the entry is replaced in one step and the older epoch is over.
        """
        ...

    async def release_ownership(self, shard: ShardId, epoch: Epoch) -> None:
        """Remove the entry if it is ours and of this epoch. Safe to repeat."""
        ...

    async def ownerships(self) -> tuple[Ownership, ...]:
        """Who holds what now."""
        ...

    async def stand_by(self, shard: ShardId) -> bool:
        """Say that this node is ready to take the shard as soon as its owner releases it.

        A hint between two living nodes: it fences nothing and decides nothing. An entry that
        goes with the session. False = another session stands by for it; safe to repeat.
        """
        ...

    async def stand_down(self, shard: ShardId) -> None:
        """Take `stand_by` back if it was this session's. Safe to repeat."""
        ...

    async def standbys(self) -> Mapping[ShardId, NodeId]:
        """Who stands by for what now."""
        ...
