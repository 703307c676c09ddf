"""Task specifications and payloads, to and from the internal messages; exact both ways."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from timeball_server.core.ids import TaskId
from timeball_server.core.model import DeliveryMode, Payload, RetryPolicy, TaskSpec, Timeouts
from timeball_server.internal.v1 import shard_service_pb2 as pb

_MODES: Final = {mode: pb.DeliveryMode.Value(f"DELIVERY_MODE_{mode}") for mode in DeliveryMode}
_MODES_BACK: Final = {number: mode for mode, number in _MODES.items()}
_NO_TIMEOUTS: Final = Timeouts()
FEW: Final = 1_024
"""Retry policies that are remembered both ways: tasks by the thousand share one."""


def write_spec(target: pb.TaskSpec, spec: TaskSpec) -> None:
    """Fill a message with a specification."""
    target.namespace = spec.namespace
    target.owner = spec.owner
    target.handler = spec.handler
    write_payload(target.payload, spec.payload)
    target.priority = spec.priority
    for key, value in spec.labels:
        target.labels.add(key=key, value=value)
    for key, value in spec.selector:
        target.selector.add(key=key, value=value)
    target.retry.MergeFromString(_retry_bytes(spec.retry))
    if spec.timeouts != _NO_TIMEOUTS:
        _write_timeouts(target.timeouts, spec.timeouts)
    target.mode = _MODES[spec.mode]
    if spec.schedule_id is not None:
        target.schedule_id = spec.schedule_id
    if spec.nominal_ms is not None:
        target.nominal_ms = spec.nominal_ms
    if spec.redrive_of is not None:
        target.redrive_of = spec.redrive_of
    if spec.concurrency_key:
        target.concurrency_key = spec.concurrency_key


def read_spec(message: pb.TaskSpec) -> TaskSpec:
    """The specification in a message."""
    has = message.HasField
    return TaskSpec(
        namespace=message.namespace,
        owner=message.owner,
        handler=message.handler,
        payload=read_payload(message.payload),
        priority=message.priority,
        labels=_read_labels(message.labels) if message.labels else (),
        selector=_read_labels(message.selector) if message.selector else (),
        retry=_retry_of(message.retry.SerializeToString()),
        timeouts=_read_timeouts(message.timeouts) if has("timeouts") else _NO_TIMEOUTS,
        mode=_MODES_BACK[message.mode],
        schedule_id=TaskId(message.schedule_id) if has("schedule_id") else None,
        nominal_ms=message.nominal_ms if has("nominal_ms") else None,
        redrive_of=TaskId(message.redrive_of) if has("redrive_of") else None,
        concurrency_key=message.concurrency_key,
    )


def _read_labels(labels: Iterable[pb.Label]) -> tuple[tuple[str, str], ...]:
    return tuple([(label.key, label.value) for label in labels])


@lru_cache(maxsize=FEW)
def _retry_bytes(retry: RetryPolicy) -> bytes:
    """A policy as it stands in a message."""
    target = pb.RetryPolicy(
        max_attempts=retry.max_attempts,
        initial_delay_ms=retry.initial_delay_ms,
        coefficient=retry.coefficient,
        max_delay_ms=retry.max_delay_ms,
        max_age_ms=retry.max_age_ms,
        jitter=retry.jitter,
    )
    return target.SerializeToString()


@lru_cache(maxsize=FEW)
def _retry_of(wire: bytes) -> RetryPolicy:
    """The policy in a message's bytes."""
    message = pb.RetryPolicy.FromString(wire)
    return RetryPolicy(
        max_attempts=message.max_attempts,
        initial_delay_ms=message.initial_delay_ms,
        coefficient=message.coefficient,
        max_delay_ms=message.max_delay_ms,
        max_age_ms=message.max_age_ms if message.HasField("max_age_ms") else None,
        jitter=message.jitter,
    )


def _write_timeouts(target: pb.Timeouts, timeouts: Timeouts) -> None:
    if timeouts.schedule_to_start_ms is not None:
        target.schedule_to_start_ms = timeouts.schedule_to_start_ms
    if timeouts.start_to_close_ms is not None:
        target.start_to_close_ms = timeouts.start_to_close_ms
    if timeouts.schedule_to_close_ms is not None:
        target.schedule_to_close_ms = timeouts.schedule_to_close_ms
    if timeouts.heartbeat_ms is not None:
        target.heartbeat_ms = timeouts.heartbeat_ms


def _read_timeouts(message: pb.Timeouts) -> Timeouts:
    has = message.HasField
    return Timeouts(
        schedule_to_start_ms=message.schedule_to_start_ms if has("schedule_to_start_ms") else None,
        start_to_close_ms=message.start_to_close_ms if has("start_to_close_ms") else None,
        schedule_to_close_ms=message.schedule_to_close_ms if has("schedule_to_close_ms") else None,
        heartbeat_ms=message.heartbeat_ms if has("heartbeat_ms") else None,
    )


def write_payload(target: pb.Payload, payload: Payload) -> None:
    """Fill a message with a payload."""
    target.content_type = payload.content_type
    target.data = payload.data


def read_payload(message: pb.Payload) -> Payload:
    """The payload in a message."""
    return Payload(content_type=message.content_type, data=message.data)
