"""The reader's rule (R16, R21) as a pure decision: may this journal be shown as the truth?

The caller reads the journal first and the owner row after it. In this order a head of the
current epoch is the truth: no later owner had begun to read when we did.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from timeball_server.core.ids import Minute
from timeball_server.core.journal import CLOSED, EventRow, State
from timeball_server.core.view import HIDDEN
from timeball_server.ports.store import OwnerRow

SETTLED: Final = CLOSED | {State.PENDING}
"""States of which the journal says all: only of a claimed task its owner knows more."""


class Verdict(Enum):
    """What a reader does."""

    ANSWER = "show the journal"
    ASK_OWNER = "ask the owner, who pins what it shows to its epoch"
    NOT_FOUND = "there is no such task"
    EXPIRED = "its bucket was removed after retention"


def judge(head: EventRow | None, owner: OwnerRow | None, home: Minute) -> Verdict:
    """Decide on one task.

    A claimed task of the current epoch is asked of its owner too (decisions 2 and 19).

    Args:
        head: the head of the journal that was read, None if it was empty.
        owner: the owner row that was read after it, None if the shard never had an owner.
        home: minute of the task's home bucket.
    """
    if owner is not None and home < owner.deleted_below:
        return Verdict.EXPIRED
    if head is None:
        return Verdict.NOT_FOUND
    if owner is None or head.epoch != owner.epoch or head.state not in SETTLED:
        return Verdict.ASK_OWNER
    return Verdict.NOT_FOUND if head.state in HIDDEN else Verdict.ANSWER
