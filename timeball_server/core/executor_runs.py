"""The words of the executor's state machine: phases of a run, effects, streams.

Owns the table of what may happen to a run on an executor. Never decides about epochs or streams;
that is executor_state's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId
from timeball_server.core.messages import (
    Beat,
    FromExecutor,
    InventoryEntry,
    RevokeAnswer,
    RunId,
    RunOrder,
    RunPhase,
    RunResult,
)


class RunMove(StrEnum):
    """What can happen to a run."""

    ACCEPT = "ACCEPT"
    START = "START"
    END = "END"
    WITHDRAW = "WITHDRAW"
    ACKNOWLEDGE = "ACKNOWLEDGE"


Phase = RunPhase | None
"""None = the executor does not know the run."""

RUN_MOVES: Final[Mapping[tuple[Phase, RunMove], Phase]] = MappingProxyType(
    {
        (None, RunMove.ACCEPT): RunPhase.ACCEPTED,
        (RunPhase.ACCEPTED, RunMove.START): RunPhase.RUNNING,
        (RunPhase.ACCEPTED, RunMove.WITHDRAW): None,
        (RunPhase.RUNNING, RunMove.END): RunPhase.FINISHED,
        (RunPhase.FINISHED, RunMove.ACKNOWLEDGE): None,
    }
)
"""Every legal move; a pair without a row is refused."""

REVOKE_ANSWERS: Final[Mapping[Phase, RevokeAnswer]] = MappingProxyType(
    {
        None: RevokeAnswer.NOT_SEEN,
        RunPhase.ACCEPTED: RevokeAnswer.REVOKED,
        RunPhase.RUNNING: RevokeAnswer.RUNNING,
        RunPhase.FINISHED: RevokeAnswer.FINISHED,
    }
)
"""What a REVOKE is told in each phase."""


class IllegalMove(Exception):
    """The table has no row for this move in this phase; nothing was changed."""

    def __init__(self, phase: Phase, move: RunMove) -> None:
        super().__init__(f"{move} is not possible in phase {phase or 'UNKNOWN'}")


def next_phase(phase: Phase, move: RunMove) -> Phase:
    """The phase after a move; None = forgotten.

    Raises:
        IllegalMove: the table has no row for the pair.
    """
    try:
        return RUN_MOVES[phase, move]
    except KeyError:
        raise IllegalMove(phase, move) from None


class StreamKey(NamedTuple):
    """Names one stream. Of one node, the greater (incarnation, number) replaces the smaller."""

    owner: NodeId
    incarnation: Incarnation
    number: int


class StreamRefusal(StrEnum):
    """Why a hello was not accepted."""

    OTHER_INCARNATION = "OTHER_INCARNATION"
    LOWER_NUMBER = "LOWER_NUMBER"


@dataclass(frozen=True, slots=True)
class RefuseStream:
    """End a stream that has just said hello, and say why."""

    stream: StreamKey
    reason: StreamRefusal


@dataclass(frozen=True, slots=True)
class EndStream:
    """End a stream that a higher number has replaced."""

    stream: StreamKey


@dataclass(frozen=True, slots=True)
class StartRuns:
    """Begin these handlers now, most urgent first. Each run is named once in the state's life."""

    orders: tuple[RunOrder, ...]


@dataclass(frozen=True, slots=True)
class CancelHandler:
    """Tell a running handler that its cancellation was asked for; `terminate` gives it up.

    `if_silent` = instead, give it up as failed if it has been silent for its heartbeat timeout.
    """

    run: RunId
    terminate: bool
    if_silent: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """Say this on a stream that is open."""

    stream: StreamKey
    message: FromExecutor


Effect = RefuseStream | EndStream | StartRuns | CancelHandler | Send


@dataclass(slots=True)
class LastBeat:
    """The last sign of life of a run, with its last checkpoint and the stream that was told it."""

    beat: Beat
    told: StreamKey | None = None


@dataclass(slots=True)
class RunRecord:
    """What the executor remembers of a run. A key is told to whoever owns its shard (ADR 16)."""

    shard: ShardId
    handler: str
    phase: RunPhase = RunPhase.ACCEPTED
    started_ms: int | None = None
    result: RunResult | None = None
    last_beat: LastBeat | None = None
    namespace: str = ""
    concurrency_key: str = ""

    def entry(self, run: RunId) -> InventoryEntry:
        """The run as an owner is told of it."""
        return InventoryEntry(
            run=run,
            shard=self.shard,
            phase=self.phase,
            started_ms=self.started_ms,
            namespace=self.namespace,
            concurrency_key=self.concurrency_key,
        )

    def move(self, move: RunMove) -> None:
        """Enter the next phase of a run that stays known.

        Raises:
            IllegalMove: the table has no row, or the run would be forgotten.
        """
        phase = next_phase(self.phase, move)
        if phase is None:
            raise IllegalMove(self.phase, move)
        self.phase = phase


def record_of(order: RunOrder) -> RunRecord:
    """What is remembered of an order that is accepted."""
    return RunRecord(
        order.shard,
        order.handler,
        namespace=order.namespace if order.concurrency_key else "",
        concurrency_key=order.concurrency_key,
    )


@dataclass(slots=True)
class ShardOwner:
    """The highest epoch seen for a shard and the process that showed it last."""

    epoch: Epoch
    owner: NodeId
    incarnation: Incarnation
