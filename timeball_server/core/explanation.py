"""What holds a task back: the causes, and the records in which they are told.

Owns the list of causes; docs/explain.md says of each what to do about it. Must never promise
anything: an explanation is what its teller's memory says at one moment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from timeball_server.core.ids import TaskId
from timeball_server.core.model import TaskView

Details = tuple[tuple[str, str], ...]
"""Small facts for programs, each a word and its value."""


class BlockingCause(StrEnum):
    """What a task waits for, in the order in which causes hold.

    ENDED, RUNNING and STARTING hold nothing back, and are told too. UNKNOWN is one that a
    newer owner told of and this version does not know.
    """

    ENDED = "ENDED"
    SHARD_NOT_OWNED = "SHARD_NOT_OWNED"
    OWNER_SILENT = "OWNER_SILENT"
    REVOKE_ASKED = "REVOKE_ASKED"
    NEWER_VERSION_NEEDED = "NEWER_VERSION_NEEDED"
    ATTEMPT_UNRESOLVED = "ATTEMPT_UNRESOLVED"
    RUNNING = "RUNNING"
    DISPATCHED = "DISPATCHED"
    NOT_DUE = "NOT_DUE"
    BACKOFF = "BACKOFF"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    MUTATION_IN_FLIGHT = "MUTATION_IN_FLIGHT"
    OWNER_SUSPENDED = "OWNER_SUSPENDED"
    SHARD_LOADING = "SHARD_LOADING"
    NO_HANDLER = "NO_HANDLER"
    NO_LABEL = "NO_LABEL"
    EXECUTORS_UNREACHABLE = "EXECUTORS_UNREACHABLE"
    KEY_LIMIT = "KEY_LIMIT"
    RATE_LIMIT = "RATE_LIMIT"
    EXECUTORS_LEFT_OUT = "EXECUTORS_LEFT_OUT"
    LANE_BUDGET = "LANE_BUDGET"
    HANDLER_CAP = "HANDLER_CAP"
    EXECUTORS_FULL = "EXECUTORS_FULL"
    STARTING = "STARTING"
    UNKNOWN = "UNKNOWN"


_WAIT_FOR_STORE: Final = frozenset({BlockingCause.MUTATION_IN_FLIGHT, BlockingCause.STARTING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that holds a task back.

    Attributes:
        sentence: what it is, for people; begins in lower case, says no instants.
        since_ms: since when the task is held back by it, wall clock; None = not known.
        next_check_ms: when it is looked at again; None = not at an instant, but when something
            happens.
        next_check: what is looked out for, in words that follow "when"; empty = nothing.
    """

    cause: BlockingCause
    sentence: str
    since_ms: int | None = None
    next_check_ms: int | None = None
    next_check: str = ""
    details: Details = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a task is not running, or that it is.

    Attributes:
        at_ms: when this was true, by the teller's wall clock.
        reasons: the first is what holds the task back now; the others hold too, and would hold it
            back without the first. Never empty.
    """

    task_id: TaskId
    at_ms: int
    reasons: tuple[Reason, ...]

    @property
    def blocking(self) -> Reason:
        """The first reason."""
        return self.reasons[0]


def ended(view: TaskView) -> Reason:
    """The reason of a task that has ended: nothing will start it again."""
    how = view.state.value if view.cause is None else f"{view.state.value} ({view.cause.value})"
    last = view.attempts[-1].ended_ms if view.attempts else None
    return Reason(
        cause=BlockingCause.ENDED,
        sentence=f"it has ended: {how}",
        since_ms=last or view.updated_ms,
        details=(
            ("state", view.state.value),
            *((("cause", view.cause.value),) if view.cause is not None else ()),
            ("attempt", str(view.attempt)),
        ),
    )


def with_store_stuck(explanation: Explanation) -> Explanation:
    """The same, told by somebody who knows that the database takes no writes at this moment."""
    first = explanation.blocking
    if first.cause not in _WAIT_FOR_STORE:
        return explanation
    stuck = Reason(
        cause=BlockingCause.STORE_UNAVAILABLE,
        sentence="the database takes no writes, and nothing starts that is not written down",
        since_ms=first.since_ms,
        next_check="the database answers",
        details=first.details,
    )
    return replace(explanation, reasons=(stuck, *explanation.reasons))
