"""An explanation as the public message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from timeball.v1 import task_service_pb2 as pb

from timeball_server.core.explanation import BlockingCause, Explanation, Reason
from timeball_server.rpc.convert import set_timestamp, task_name

CAUSES: Final[Mapping[BlockingCause, pb.BlockingCause.ValueType]] = {
    cause: pb.BlockingCause.Value(f"BLOCKING_CAUSE_{cause}")
    for cause in BlockingCause
    if cause is not BlockingCause.UNKNOWN
}
"""UNKNOWN stays unspecified: its sentence says what the program cannot."""


def explanation_message(explanation: Explanation, namespace: str) -> pb.Explanation:
    """The public message; `namespace` is the caller's."""
    blocking, *also = map(_reason, explanation.reasons)
    return pb.Explanation(
        name=task_name(namespace, explanation.task_id),
        blocking=blocking,
        also=also,
        explain_time=_instant(explanation.at_ms),
    )


def _reason(reason: Reason) -> pb.BlockingReason:
    message = pb.BlockingReason(
        cause=CAUSES.get(reason.cause, pb.BLOCKING_CAUSE_UNSPECIFIED),
        description=reason.sentence,
        next_check=reason.next_check,
        details=dict(reason.details),
    )
    if reason.since_ms is not None:
        message.since_time.CopyFrom(_instant(reason.since_ms))
    if reason.next_check_ms is not None:
        message.next_check_time.CopyFrom(_instant(reason.next_check_ms))
    return message


def _instant(instant_ms: int) -> Timestamp:
    stamp = Timestamp()
    set_timestamp(stamp, instant_ms)
    return stamp
