"""Explanations between a coordinator and an owner.

Exact in both directions between our own services. A cause that this version does not know is told
with its sentence all the same: a newer owner's answer is worth more than none.
"""

from __future__ import annotations

from timeball_server.core.explanation import BlockingCause, Explanation, Reason
from timeball_server.core.ids import TaskId
from timeball_server.internal.v1 import shard_service_pb2 as pb


def write_explanation(target: pb.Explained, explanation: Explanation) -> None:
    """Fill a message with an explanation."""
    target.task_id = explanation.task_id
    target.at_ms = explanation.at_ms
    for reason in explanation.reasons:
        _write_reason(target.reasons.add(), reason)


def read_explanation(message: pb.Explained) -> Explanation:
    """The explanation in a message.

    Raises:
        ValueError: it holds no reason.
    """
    reasons = tuple(_read_reason(reason) for reason in message.reasons)
    if not reasons:
        raise ValueError("the explanation holds no reason")
    task_id = TaskId(message.task_id)
    return Explanation(task_id=task_id, at_ms=message.at_ms, reasons=reasons)


def _write_reason(target: pb.Reason, reason: Reason) -> None:
    target.cause = reason.cause
    target.sentence = reason.sentence
    if reason.since_ms is not None:
        target.since_ms = reason.since_ms
    if reason.next_check_ms is not None:
        target.next_check_ms = reason.next_check_ms
    target.next_check = reason.next_check
    for key, value in reason.details:
        target.details.add(key=key, value=value)


def _read_reason(message: pb.Reason) -> Reason:
    known = message.cause in BlockingCause.__members__
    return Reason(
        cause=BlockingCause(message.cause) if known else BlockingCause.UNKNOWN,
        sentence=message.sentence,
        since_ms=message.since_ms if message.HasField("since_ms") else None,
        next_check_ms=message.next_check_ms if message.HasField("next_check_ms") else None,
        next_check=message.next_check,
        details=tuple([(each.key, each.value) for each in message.details]),
    )
