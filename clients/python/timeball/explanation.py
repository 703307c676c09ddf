"""Why a task is not running: the first reason, and what would hold it back without that."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from google.protobuf.timestamp_pb2 import Timestamp

from timeball._flow import Flow, Kit, Method, call
from timeball._requests import task_name
from timeball.v1 import task_service_pb2 as pb

EXPLAIN_TASK = Method(
    "/timeball.v1.TaskService/ExplainTask", pb.ExplainTaskRequest, pb.ExplainTaskResponse
)
_PREFIX = "BLOCKING_CAUSE_"


class BlockingCause(enum.StrEnum):
    """What a task waits for. UNKNOWN is a cause that this version of the SDK does not know."""

    UNKNOWN = "UNKNOWN"
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One thing that holds a task back.

    Attributes:
        description: what it is, in words.
        since: since when the task is held back by it; None = not known, or not yet.
        next_check_at: when it is looked at again; None = when something happens.
        next_check: what is looked out for, in words that follow "when"; empty = nothing.
        details: facts for programs, for example handler, label, attempt, executor, ahead.
    """

    cause: BlockingCause
    description: str
    since: datetime | None = None
    next_check_at: datetime | None = None
    next_check: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """What holds a task back, as the node that is to start it sees it. It promises nothing.

    Attributes:
        name: resource name of the task.
        at: when this was true, by that node's clock.
        blocking: what holds it back now; RUNNING and ENDED hold nothing back.
        also: what holds too, and would hold it back without the first.
        message: the API's own message.
    """

    name: str
    at: datetime
    blocking: Reason
    also: tuple[Reason, ...]
    message: pb.Explanation


def explain(kit: Kit, task: str) -> Flow[Explanation]:
    """Asks what holds one task back."""
    request = pb.ExplainTaskRequest(name=task_name(kit.settings, task))
    answer = yield from call(kit, EXPLAIN_TASK, request)
    return explanation_of(answer.explanation)


def explanation_of(message: pb.Explanation) -> Explanation:
    """The explanation in an answer."""
    return Explanation(
        name=message.name,
        at=_instant(message.explain_time),
        blocking=_reason(message.blocking),
        also=tuple(map(_reason, message.also)),
        message=message,
    )


def _reason(message: pb.BlockingReason) -> Reason:
    return Reason(
        cause=_cause(message.cause),
        description=message.description,
        since=_instant(message.since_time) if message.HasField("since_time") else None,
        next_check_at=(
            _instant(message.next_check_time) if message.HasField("next_check_time") else None
        ),
        next_check=message.next_check,
        details=MappingProxyType(dict(message.details)),
    )


def _cause(number: int) -> BlockingCause:
    known = pb.BlockingCause.DESCRIPTOR.values_by_number.get(number)
    name = "" if known is None else known.name.removeprefix(_PREFIX)
    return BlockingCause[name] if name in BlockingCause.__members__ else BlockingCause.UNKNOWN


def _instant(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
