"""A coordinator's stand for leader, and the assignment that it writes while it leads.

Owns when to look and what to write; what is fair is decided in core/assignment.py. One round,
the pause between rounds and the life of the loop are three things here. Never trusts what an
earlier round saw: each one reads all again, and the write itself checks term and version. A
write without an answer is looked at by the next round.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog
from timeball.errors import TimeballError

from timeball_server.core.assignment import Plan, WeighedNode, plan
from timeball_server.core.ids import ShardId
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import (
    Assignment,
    CoordinationSession,
    Member,
    Role,
    SessionLost,
    SessionState,
)
from timeball_server.runtime.signals import SILENT, Signals

log = structlog.stdlib.get_logger("leadership")
PAUSE_MS: Final = 3_000
"""A round at least so often, should a notice of change have been missed."""
SETTLE_MS: Final = 20
"""How long to let changes gather: a restart of many nodes is one round, not one per change."""
ROUND_ENDED: Final = "leadership round ended"
"""Signal; its fact is the `Round`."""


class Outcome(StrEnum):
    """How a round ended."""

    FOLLOWS = "FOLLOWS"
    UNCHANGED = "UNCHANGED"
    ASSIGNED = "ASSIGNED"
    LOST_RACE = "LOST_RACE"
    NOBODY = "NOBODY"
    UNREACHABLE = "UNREACHABLE"
    LOST = "LOST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round: how it ended, and a sentence for a tired operator."""

    outcome: Outcome
    sentence: str


class Leadership:
    """Stands for leader in a joined session and leads when it wins.

    Args:
        session: of a member that is a coordinator.
        shards: every shard of the layout.
        clock: paces the rounds.
        signals: told of the end of each round.
    """

    def __init__(
        self,
        session: CoordinationSession,
        shards: Sequence[ShardId],
        clock: Clock,
        signals: Signals = SILENT,
    ) -> None:
        self._session = session
        self._shards = tuple(shards)
        self._clock = clock
        self._signals = signals
        self._wake = asyncio.Event()
        self._last = Round(outcome=Outcome.FOLLOWS, sentence="")
        session.on_change(self._wake.set)

    async def run(self) -> None:
        """Round after round until the session is lost."""
        while self._session.state is not SessionState.LOST:
            self._wake.clear()
            self._report(await self.run_once())
            await self._pause()

    async def run_once(self) -> Round:
        """One round: stand, and if leading, write the assignment that should be."""
        try:
            return await self._round()
        except SessionLost:
            return Round(outcome=Outcome.LOST, sentence="the session has ended, I lead no more")
        except TimeballError as error:
            return Round(outcome=Outcome.UNREACHABLE, sentence=f"cannot lead now: {error.message}")

    async def _round(self) -> Round:
        """Read everything into values, then decide from those only, then write."""
        await self._session.campaign()
        term = await self._session.term()
        if term is None:
            leader = await self._session.leader()
            return Round(outcome=Outcome.FOLLOWS, sentence=f"{leader or 'nobody'} leads")
        members = await self._session.members(Role.SCHEDULER_NODE)
        current = await self._session.read_assignment()
        held = {} if current is None else current.shards
        wishes = await self._session.read_wishes()
        wish = plan(self._shards, [_weighed(member) for member in members], held, wishes)
        if not wish.shards:
            return _nobody(term, len(self._shards))
        if current is not None and wish.shards == held:
            return _unchanged(current, len(members))
        return await self._write(term, current, wish)

    async def _write(self, term: int, current: Assignment | None, wish: Plan) -> Round:
        """Replace the assignment, unless another leader or writer was faster."""
        version = 0 if current is None else current.version
        reasons = _reasons(current, wish)
        if await self._session.write_assignment(term, version, wish.shards, reasons):
            return _assigned(term, version + 1, wish)
        return Round(
            outcome=Outcome.LOST_RACE,
            sentence=f"term {term} is over, or version {version} is no longer the newest",
        )

    def _report(self, ended: Round) -> None:
        """End the round with its sentence; one that only repeats the last is for debugging."""
        write = log.debug if ended == self._last else log.info
        write(ended.sentence, outcome=ended.outcome.value)
        self._last = ended
        self._signals.emit(ROUND_ENDED, ended)

    async def _pause(self) -> None:
        """Until something changed or PAUSE_MS, and then a moment for more changes."""
        alarm = asyncio.create_task(self._ring(), name="leadership: alarm")
        try:
            await self._wake.wait()
        finally:
            alarm.cancel()
        await self._clock.sleep_ms(SETTLE_MS)

    async def _ring(self) -> None:
        """Wake the loop although nothing is known to have changed."""
        await self._clock.sleep_ms(PAUSE_MS)
        self._wake.set()


def leading(
    shards: Sequence[ShardId], clock: Clock, signals: Signals = SILENT
) -> Callable[[CoordinationSession], Awaitable[None]]:
    """What a coordinator runs in each of its sessions to take part in leading."""

    async def lead(session: CoordinationSession) -> None:
        await Leadership(session, shards, clock, signals).run()

    return lead


def _weighed(member: Member) -> WeighedNode:
    """A scheduler node as the plan sees it; a strength below 1 counts as 1."""
    return WeighedNode(node=member.node, weight=max(1, member.strength), draining=member.draining)


def _reasons(current: Assignment | None, wish: Plan) -> Mapping[ShardId, str]:
    """Why each shard is where it is: its last move, also if that was long ago."""
    earlier = {} if current is None else current.reasons
    kept = {shard: reason for shard, reason in earlier.items() if shard in wish.shards}
    return {**kept, **wish.reasons}


def _nobody(term: int, shards: int) -> Round:
    """The assignment stays as it was, so that nodes that come back find their shards."""
    sentence = f"I lead in term {term}, but no scheduler node can take the {shards} shards"
    return Round(outcome=Outcome.NOBODY, sentence=sentence)


def _unchanged(current: Assignment, nodes: int) -> Round:
    """Nothing to do."""
    sentence = f"assignment {current.version} holds: {len(current.shards)} shards on {nodes} nodes"
    return Round(outcome=Outcome.UNCHANGED, sentence=sentence)


def _assigned(term: int, version: int, wish: Plan) -> Round:
    """What was written, and why."""
    counted = Counter(wish.reasons.values()).most_common()
    why = ", ".join(f"{count} ({reason})" for reason, count in counted)
    sentence = (
        f"assignment {version} written in term {term}: "
        f"{len(wish.reasons)} of {len(wish.shards)} shards moved: {why}"
    )
    return Round(outcome=Outcome.ASSIGNED, sentence=sentence)
