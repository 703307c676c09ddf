"""Requests about schedules that were answered and left no event: refused, or nothing to change.

A copy of one may still be under way, and must not take effect after others have changed what it
was about: it has been answered. Those that left an event are known by the schedule's head; these
by this memory, which is the owner's alone and ends with it. Only what was marked as a repetition
has copies: of one that came once nothing else is under way but what its caller still waits for.
"""

from __future__ import annotations

from typing import Final

from timeball_server.core.commands import (
    ChangeSchedule,
    CreateSchedule,
    EndSchedule,
    Outcome,
    Rejected,
    TriggerSchedule,
)
from timeball_server.core.engine.state import AnyCommand, ShardState
from timeball_server.core.ids import TaskId

MOST_TOLD: Final = 500
"""Answers of a shard that are remembered, the last ones."""


def note(shard: ShardState, schedule_id: TaskId, command: AnyCommand, outcome: Outcome) -> None:
    """Remember an answer that leaves no event, if copies of its request may be under way.

    An end carries no mark, so each one may have copies. That something is as wished for is not
    noted of what has an id of its own: a creation and a run by hand are looked for.
    """
    if not isinstance(command, EndSchedule | ChangeSchedule | CreateSchedule):
        return
    if not isinstance(command, EndSchedule) and not command.resend:
        return
    refusal = outcome if isinstance(outcome, Rejected) else None
    if refusal is None and isinstance(command, TriggerSchedule | CreateSchedule):
        return
    shard.told[schedule_id, command.request_id] = refusal
    if len(shard.told) > MOST_TOLD:
        del shard.told[next(iter(shard.told))]
