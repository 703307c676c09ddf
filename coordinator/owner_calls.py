"""Calls to owners: routed, repeated within the caller's patience, and marked when repeated.

Owns rule R8's mark on the coordinator's side: a command that may have arrived is repeated only
with `resend` set. A command that certainly did not arrive goes out again as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
from timeball.errors import OutcomeUnknown, TimeballError, Unavailable

from coordinator.deadline import Deadline
from coordinator.outcomes import in_doubt, no_owner
from coordinator.routing import Router, Target
from timeball_server.core.commands import (
    Command,
    CreateSchedule,
    CreateTask,
    Done,
    EndSchedule,
    Outcome,
    ReadSchedule,
    ReadTask,
    Rejected,
    RejectionReason,
)
from timeball_server.core.ids import ShardId, TaskId, home_of

log = structlog.stdlib.get_logger("coordinator")
TRY_MS: Final = 5_000
"""One try ends after this, so that a frozen owner does not hold a caller past its successor."""
POLL_MS: Final = 10_000
"""A long poll is asked anew this often, for the same reason."""
POLL_GRACE_MS: Final = 1_000
"""An owner answers a poll this much after its time at the latest."""
FIRST_PAUSE_MS: Final = 20
LONGEST_PAUSE_MS: Final = 500

_ELSEWHERE: Final = frozenset({RejectionReason.NOT_OWNED, RejectionReason.NOT_READY})
"""Nothing was done; the owner of a moment later will do it."""
_AGAIN: Final = _ELSEWHERE | {RejectionReason.UNKNOWN}
Answer = Outcome | TimeballError


@dataclass(slots=True)
class _Call:
    """A command on its way. `doubtful` = one of our own sends may have arrived."""

    command: Command
    shard: ShardId
    doubtful: bool = False
    answer: Answer | None = None

    def doubt(self) -> None:
        """A send may have arrived: the next one is marked."""
        if isinstance(self.command, ReadTask | ReadSchedule):
            return
        self.doubtful = True
        if not isinstance(self.command, EndSchedule):  # ending twice is the same as once
            self.command = replace(self.command, resend=True)

    def settle(self, outcome: Outcome) -> None:
        """Take an outcome as the answer, unless it says to ask again."""
        if isinstance(outcome, Rejected) and outcome.reason is RejectionReason.UNKNOWN:
            self.doubt()
        elif not (isinstance(outcome, Rejected) and outcome.reason in _ELSEWHERE):
            self.answer = outcome

    def give_up(self) -> Answer:
        """The answer when the caller's patience is over."""
        if self.answer is None:
            return in_doubt() if self.doubtful else no_owner()
        return self.answer


class OwnerCalls:
    """Carries commands to the owners of their shards."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def execute(self, commands: Sequence[Command], deadline: Deadline) -> list[Answer]:
        """Carry out commands, one call per owner; answers in the same order, each by itself.

        Repeats what finds no owner until the deadline. Then Unavailable means that nothing was
        received, OutcomeUnknown that something may have been.
        """
        calls = [_Call(command, shard_of(command)) for command in commands]
        pause_ms = FIRST_PAUSE_MS
        while waiting := [call for call in calls if call.answer is None]:
            seen_version = self._router.version
            await self._send_all(waiting, deadline)
            if deadline.passed() or all(call.answer is not None for call in waiting):
                break
            await self._router.wait_change(seen_version, min(pause_ms, deadline.left_ms()))
            pause_ms = min(2 * pause_ms, LONGEST_PAUSE_MS)
        return [call.give_up() for call in calls]

    async def wait(self, task_id: TaskId, namespace: str, deadline: Deadline) -> Outcome:
        """The owner's answer when the task has ended, or its state when the time is over.

        Raises:
            Unavailable: the shard had no owner when the time was over.
        """
        shard, pause_ms = home_of(task_id).shard, FIRST_PAUSE_MS
        while True:
            seen_version = self._router.version
            outcome = await self._poll(task_id, namespace, shard, deadline)
            if outcome is not None and (deadline.passed() or _is_final(outcome)):
                return outcome
            if deadline.passed():
                raise no_owner()
            if outcome is None:
                await self._router.wait_change(seen_version, min(pause_ms, deadline.left_ms()))
                pause_ms = min(2 * pause_ms, LONGEST_PAUSE_MS)

    async def _send_all(self, calls: Iterable[_Call], deadline: Deadline) -> None:
        """One try for each call, all owners at once; calls without an owner stay as they are."""
        groups: dict[Target, list[_Call]] = {}
        for call in calls:
            target = await self._router.target(call.shard)
            if target is not None:
                groups.setdefault(target, []).append(call)
        sends = [self._send(target, group, deadline) for target, group in groups.items()]
        if len(sends) == 1:
            await sends[0]
        else:
            await asyncio.gather(*sends)

    async def _send(self, target: Target, calls: Sequence[_Call], deadline: Deadline) -> None:
        """One try with one owner; with no time left nothing is sent, and so nothing in doubt."""
        limit_ms = min(TRY_MS, deadline.left_ms())
        if limit_ms <= 0:
            return
        try:
            async with asyncio.timeout(limit_ms / 1_000):
                client = self._router.client(target)
                outcomes = await client.execute([call.command for call in calls])
        except (TimeoutError, OutcomeUnknown) as doubt:
            why = str(doubt) or f"no answer within {limit_ms:.0f} ms"
            log.warning("commands in doubt", owner=target.node, commands=len(calls), why=why)
            self._router.suspect()
            for call in calls:
                call.doubt()
        except Unavailable:
            self._router.suspect()
        except TimeballError as error:
            for call in calls:
                call.answer = error
        else:
            self._settle(calls, outcomes)

    def _settle(self, calls: Sequence[_Call], outcomes: Sequence[Outcome]) -> None:
        """Give each call its outcome."""
        for call, outcome in zip(calls, outcomes, strict=True):
            call.settle(outcome)
        if any(call.answer is None for call in calls):
            self._router.suspect()

    async def _poll(
        self, task_id: TaskId, namespace: str, shard: ShardId, deadline: Deadline
    ) -> Outcome | None:
        """One long poll; None = ask again, perhaps elsewhere."""
        target = await self._router.target(shard)
        if target is None:
            return None
        poll_ms = min(POLL_MS, deadline.left_ms())
        try:
            async with asyncio.timeout((poll_ms + POLL_GRACE_MS) / 1_000):
                outcome = await self._router.client(target).wait(task_id, namespace, poll_ms)
        except (TimeoutError, OutcomeUnknown, Unavailable):
            self._router.suspect()
            return None
        if isinstance(outcome, Rejected) and outcome.reason in _AGAIN:
            self._router.suspect()
            return None
        return outcome


def shard_of(command: Command) -> ShardId:
    """The shard whose owner decides a command."""
    if isinstance(command, CreateTask | CreateSchedule):
        return command.shard
    return home_of(command.task_id).shard


def _is_final(outcome: Outcome) -> bool:
    """Whether waiting longer cannot change the answer."""
    return not isinstance(outcome, Done) or outcome.task.terminal
