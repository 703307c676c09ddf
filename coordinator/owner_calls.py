"""Calls to owners: routed, repeated within the caller's patience, and marked when repeated.

Owns rule R8's mark on the coordinator's side: a command that may have arrived is repeated only
with `resend` set. A command that certainly did not arrive goes out again as it was. A try ends
when the map says that its owner is one no longer: nobody waits for a frozen process longer than
for its successor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
from timeball.errors import OutcomeUnknown, TimeballError, Unavailable

from coordinator.admission import BULK_PATIENCE_MS, REFUSED, Admission
from coordinator.deadline import Deadline
from coordinator.outcomes import error_of, in_doubt, no_owner
from coordinator.routing import Router, Target
from coordinator.tries import Tries
from coordinator.watching import Watches
from timeball_server.core.commands import (
    Command,
    CreateTask,
    EndSchedule,
    Outcome,
    OwnerHint,
    ReadCommand,
    Rejected,
    RejectionReason,
    shard_of,
)
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.ports.clock import Clock

log = structlog.stdlib.get_logger("coordinator")
TRY_MS: Final = 5_000
"""One try ends after this, so that a frozen owner does not hold a caller for ever."""
FIRST_PAUSE_MS: Final = 20
LONGEST_PAUSE_MS: Final = 500

_ELSEWHERE: Final = frozenset({RejectionReason.NOT_OWNED, RejectionReason.NOT_READY})
"""Nothing was done; the owner of a moment later will do it."""
Answer = Outcome | TimeballError
OnAnswer = Callable[[int, Answer], None]


@dataclass(slots=True)
class _Call:
    """A command on its way. `doubtful` = one of our own sends may have arrived.

    `hint` is whom an owner that refused named instead; it is followed once. `refusal` is what the
    last owner that was not ready said.
    """

    command: Command
    shard: ShardId
    position: int
    on_answer: OnAnswer | None
    doubtful: bool = False
    answer: Answer | None = None
    hint: Target | None = None
    has_followed: bool = False
    refusal: Rejected | None = None

    @property
    def may_be_refused(self) -> bool:
        """Whether this is a creation of which nothing was sent from here."""
        return isinstance(self.command, CreateTask) and not self.doubtful

    def decide(self, answer: Answer) -> None:
        """This is the answer."""
        self.answer = answer
        if self.on_answer is not None:
            self.on_answer(self.position, answer)

    def doubt(self) -> None:
        """A send may have arrived: the next one is marked."""
        if isinstance(self.command, ReadCommand):
            return
        self.doubtful = True
        if not isinstance(self.command, EndSchedule):  # ending twice is the same as once
            self.command = replace(self.command, resend=True)

    def settle(self, outcome: Outcome) -> None:
        """Take an outcome as the answer, unless it says to ask again."""
        if isinstance(outcome, Rejected) and outcome.reason is RejectionReason.UNKNOWN:
            self.doubt()
        elif isinstance(outcome, Rejected) and outcome.reason in _ELSEWHERE:
            self._note_hint(outcome.owner)
            self.refusal = outcome if outcome.reason is RejectionReason.NOT_READY else None
        elif not (self.doubtful and _is_overloaded(outcome)):  # a refusal speaks for one send only
            self.decide(outcome)

    def target(self, known: Target | None) -> Target | None:
        """Where to try next: the hint, unless the map is as new."""
        hint, self.hint = self.hint, None
        return hint if hint is not None and (known is None or known.epoch < hint.epoch) else known

    def give_up(self) -> Answer:
        """The answer when the caller's patience is over."""
        answer = self.answer
        if answer is None:
            answer = in_doubt() if self.doubtful else self._not_now()
            self.decide(answer)
        return answer

    def _not_now(self) -> TimeballError:
        return no_owner() if self.refusal is None else error_of(self.refusal)

    def _note_hint(self, owner: OwnerHint | None) -> None:
        if owner is not None and not self.has_followed:
            self.hint = Target(owner.node, owner.address, owner.epoch)
            self.has_followed = True


class OwnerCalls:
    """Carries commands to the owners of their shards.

    Attributes:
        watches: follows tasks there.
        admission: refuses creations when an owner has as much to do as it can.
    """

    def __init__(self, router: Router, clock: Clock) -> None:
        self.watches = Watches(router)
        self.admission = Admission(clock)
        self._clock = clock
        self._router = router
        self._tries = Tries(router)

    async def close(self) -> None:
        """Follow nothing any more."""
        await self.watches.close()
        self._tries.close()

    async def owner_of(self, shard: ShardId) -> NodeId | None:
        """Who owns a shard as far as is known here; None = nobody."""
        target = await self._router.target(shard)
        return None if target is None else target.node

    def ownerless_since_ms(self, shard: ShardId) -> int | None:
        """Since when a shard is known to have no owner, wall clock; None = not known."""
        return self._router.ownerless_since_ms(shard)

    async def execute(
        self,
        commands: Sequence[Command],
        deadline: Deadline,
        on_answer: OnAnswer | None = None,
    ) -> list[Answer]:
        """Carry out commands, one call per owner; answers in the same order, each by itself.

        Repeats what finds no owner until the deadline. Then Unavailable means that nothing was
        received, OutcomeUnknown that something may have been.

        Args:
            on_answer: told each answer with its position as soon as it is decided; owners that
                are slow hold up nobody but their own callers.
        """
        calls = [
            _Call(command, shard_of(command), position, on_answer)
            for position, command in enumerate(commands)
        ]
        groups = [calls] if len(calls) == 1 else list((await self._by_target(calls)).values())
        if len(groups) == 1:
            await self._insist(groups[0], deadline)
        else:
            await asyncio.gather(*(self._insist(group, deadline) for group in groups))
        return [call.give_up() for call in calls]

    async def _insist(self, calls: Sequence[_Call], deadline: Deadline) -> None:
        """Try until all are answered or the time is over."""
        pause_ms = FIRST_PAUSE_MS
        while waiting := [call for call in calls if call.answer is None]:
            seen_version = self._router.version
            await self._send_all(waiting, deadline)
            if deadline.passed() or all(call.answer is not None for call in waiting):
                break
            if any(call.hint is not None for call in waiting):
                continue
            await self._router.wait_change(seen_version, min(pause_ms, deadline.left_ms()))
            pause_ms = min(2 * pause_ms, LONGEST_PAUSE_MS)
        for call in calls:
            call.give_up()

    async def _send_all(self, calls: Iterable[_Call], deadline: Deadline) -> None:
        """One try for each call, all owners at once; calls without an owner stay as they are."""
        groups = await self._by_target(calls)
        sends = [
            self._send(target, group, deadline)
            for target, group in groups.items()
            if target is not None
        ]
        if len(sends) == 1:
            await sends[0]
        else:
            await asyncio.gather(*sends)

    async def _by_target(self, calls: Iterable[_Call]) -> Mapping[Target | None, list[_Call]]:
        """Calls by the owner that is to be tried next; epochs apart, but one process together."""
        known: dict[ShardId, Target | None] = {}
        groups: dict[str, tuple[Target | None, list[_Call]]] = {}
        for call in calls:
            if call.shard not in known:
                known[call.shard] = await self._router.target(call.shard)
            target = call.target(known[call.shard])
            _, group = groups.setdefault(target.address if target else "", (target, []))
            group.append(call)
        return dict(groups.values())

    async def _send(self, target: Target, calls: Sequence[_Call], deadline: Deadline) -> None:
        """One try with one owner, of what is let in."""
        new = [call for call in calls if call.may_be_refused]
        if not new:
            await self._try(target, calls, deadline)
            return
        bulk = len(new) > 1 or any(call.on_answer is not None for call in new)
        count = self.admission.let_in(target.address, len(new), bulk=bulk)
        if count == len(calls):
            await self._send_new(target, new, deadline)
        else:
            old = [call for call in calls if not call.may_be_refused]
            await asyncio.gather(
                *self._begin_new(target, new[:count], deadline),
                self._try(target, old, deadline),
                self._send_later(target, new[count:], deadline, bulk=bulk),
            )

    async def _send_later(
        self, target: Target, new: list[_Call], deadline: Deadline, *, bulk: bool
    ) -> None:
        """Creations that there was no room for: bulk work waits a little, piece by piece."""
        patience = deadline.within(BULK_PATIENCE_MS if bulk else 0)
        sends: list[asyncio.Future[None]] = []
        while new:
            count = await self.admission.wait_in(target.address, len(new), patience, bulk=bulk)
            if not count:
                break
            sends += self._begin_new(target, new[:count], deadline)
            new = new[count:]
        self.admission.refuse(len(new))
        for call in new:
            call.decide(REFUSED)
        await asyncio.gather(*sends)

    async def _send_new(self, target: Target, calls: Sequence[_Call], deadline: Deadline) -> None:
        """Creations that were let in."""
        began_ms = self._clock.now().mono_ms
        try:
            await self._try(target, calls, deadline)
        finally:
            self._note_done(target, len(calls), began_ms)

    def _begin_new(
        self, target: Target, calls: Sequence[_Call], deadline: Deadline
    ) -> list[asyncio.Future[None]]:
        """The same beside others: a task that is cancelled before its first step is done too."""
        if not calls:
            return []
        began_ms = self._clock.now().mono_ms
        sending = asyncio.ensure_future(self._try(target, calls, deadline))
        sending.add_done_callback(lambda _: self._note_done(target, len(calls), began_ms))
        return [sending]

    def _note_done(self, target: Target, count: int, began_ms: int) -> None:
        self.admission.done(target.address, count, self._clock.now().mono_ms - began_ms)

    async def _try(self, target: Target, calls: Sequence[_Call], deadline: Deadline) -> None:
        """Send; with no time left nothing is sent, and so nothing in doubt."""
        limit_ms = min(TRY_MS, deadline.left_ms())
        if limit_ms <= 0 or not calls:
            return
        shards = {call.shard for call in calls}
        try:
            async with self._tries.at(target.address, shards, limit_ms):
                client = self._router.client(target)
                outcomes = await client.execute([call.command for call in calls])
        except (TimeoutError, OutcomeUnknown) as doubt:
            why = str(doubt) or "no answer in time, or it owns the shard no longer"
            log.warning("commands in doubt", owner=target.node, commands=len(calls), why=why)
            self._router.suspect()
            for call in calls:
                call.doubt()
        except Unavailable:
            self._router.suspect()
        except TimeballError as error:
            for call in calls:
                if not call.doubtful:  # a refusal speaks for one send only
                    call.decide(error)
        else:
            self._settle(calls, outcomes)

    def _settle(self, calls: Sequence[_Call], outcomes: Sequence[Outcome]) -> None:
        """Give each call its outcome."""
        for call, outcome in zip(calls, outcomes, strict=True):
            call.settle(outcome)
        if any(call.answer is None for call in calls):
            self._router.suspect()


def _is_overloaded(outcome: Outcome) -> bool:
    return isinstance(outcome, Rejected) and outcome.reason is RejectionReason.OVERLOADED
