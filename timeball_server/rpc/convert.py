"""The public messages and the core's records, translated field by field.

Owns names, instants, durations and defaults of the public API. Decides nothing and checks
nothing: requests come here validated. Instants round up to the next millisecond, so that
"never early" holds for callers who think in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from timeball.errors import refused
from timeball.v1 import task_pb2

from timeball_server.core.ids import KIND_TASK, InvalidId, TaskId, decode_id
from timeball_server.core.model import (
    DEFAULT_PRIORITY,
    AttemptView,
    DeliveryMode,
    EventView,
    Failure,
    FailureCause,
    Payload,
    Progress,
    PublicState,
    RetryPolicy,
    TaskSpec,
    TaskView,
    Timeouts,
)

_NANOS_PER_MS: Final = 1_000_000
_FEW: Final = 1_024
"""Parts of tasks that are remembered in their wire form: tasks by the thousand share one."""
_DEFAULT_RETRY: Final = RetryPolicy()
_NO_TIMEOUTS: Final = Timeouts()
_NO_PAYLOAD: Final = Payload()

STATES: Final[Mapping[PublicState, task_pb2.TaskState.ValueType]] = {
    state: task_pb2.TaskState.Value(f"TASK_STATE_{state}") for state in PublicState
}
CAUSES: Final[Mapping[FailureCause, task_pb2.FailureCause.ValueType]] = {
    cause: task_pb2.FailureCause.Value(f"FAILURE_CAUSE_{cause}") for cause in FailureCause
}
MODES: Final[Mapping[DeliveryMode, task_pb2.DeliveryMode.ValueType]] = {
    mode: task_pb2.DeliveryMode.Value(f"DELIVERY_MODE_{mode}") for mode in DeliveryMode
}
OUTCOMES: Final[Mapping[str, task_pb2.AttemptOutcome.ValueType]] = {
    name.removeprefix("ATTEMPT_OUTCOME_"): value for name, value in task_pb2.AttemptOutcome.items()
}
_MODES_BACK: Final = {number: mode for mode, number in MODES.items()}


class Due(NamedTuple):
    """When a caller wants the task: at an instant, or this long after it arrives."""

    due_ms: int | None
    delay_ms: int


class TaskName(NamedTuple):
    """The parts of namespaces/{namespace}/tasks/{id}."""

    namespace: str
    task_id: TaskId


def ms_from_timestamp(stamp: Timestamp) -> int:
    """Milliseconds since 1970, rounded up."""
    return stamp.seconds * 1000 - (-stamp.nanos // _NANOS_PER_MS)


def ms_from_duration(duration: Duration) -> int:
    """Milliseconds, rounded up (towards later, also below zero)."""
    return duration.seconds * 1000 - (-duration.nanos // _NANOS_PER_MS)


def set_timestamp(target: Timestamp, instant_ms: int) -> None:
    """Write an instant into a field."""
    seconds, rest_ms = divmod(instant_ms, 1000)
    target.seconds = seconds
    target.nanos = rest_ms * _NANOS_PER_MS


def set_duration(target: Duration, duration_ms: int) -> None:
    """Write a duration into a field; both parts carry its sign, as protobuf wants it."""
    sign = -1 if duration_ms < 0 else 1
    seconds, rest_ms = divmod(abs(duration_ms), 1000)
    target.seconds = sign * seconds
    target.nanos = sign * rest_ms * _NANOS_PER_MS


def task_name(namespace: str, task_id: str) -> str:
    """The resource name of a task."""
    return f"namespaces/{namespace}/tasks/{task_id}"


def schedule_name(namespace: str, schedule_id: str) -> str:
    """The resource name of a schedule."""
    return f"namespaces/{namespace}/schedules/{schedule_id}"


def parse_task_name(name: str, field: str = "name") -> TaskName:
    """Take a task's name apart.

    Args:
        name: namespaces/{namespace}/tasks/{id}.
        field: where the name stood in the request, for the complaint.

    Raises:
        InvalidRequest: it is not the name of a task.
    """
    match name.split("/"):
        case ["namespaces", namespace, "tasks", task_id] if namespace and _is_task_id(task_id):
            return TaskName(namespace, TaskId(task_id))
    sentence = "must be the name of a task as create answered it: namespaces/{namespace}/tasks/{id}"
    raise refused(field, sentence)


def _is_task_id(text: str) -> bool:
    try:
        return decode_id(text).kind == KIND_TASK
    except InvalidId:
        return False


def etag_of(revision: int) -> str:
    """The etag of a revision: opaque to callers."""
    return f"r{revision}"


def due_from_task(task: task_pb2.Task) -> Due:
    """The wished due time; (None, 0) = now."""
    if task.HasField("run_time"):
        return Due(ms_from_timestamp(task.run_time), 0)
    return Due(None, ms_from_duration(task.delay) if task.HasField("delay") else 0)


def spec_from_task(task: task_pb2.Task, *, namespace: str, subject: str) -> TaskSpec:
    """What the caller asked for, defaults filled in. Output-only fields are ignored.

    Args:
        task: a validated task.
        namespace: of the credential.
        subject: of the credential; owns the task when it names no owner.
    """
    return TaskSpec(
        namespace=namespace,
        owner=task.owner or subject,
        handler=task.handler,
        payload=_payload_back(task.payload) if task.HasField("payload") else _NO_PAYLOAD,
        priority=task.priority if task.HasField("priority") else DEFAULT_PRIORITY,
        labels=tuple(sorted(task.labels.items())) if task.labels else (),
        selector=tuple(sorted(task.selector.items())) if task.selector else (),
        retry=_retry_back(task.retry) if task.HasField("retry") else _DEFAULT_RETRY,
        timeouts=_timeouts_back(task.timeouts) if task.HasField("timeouts") else _NO_TIMEOUTS,
        mode=_MODES_BACK.get(task.delivery_mode, DeliveryMode.AT_LEAST_ONCE),
        concurrency_key=task.concurrency_key,
    )


def task_from_view(view: TaskView, *, full: bool) -> task_pb2.Task:
    """A task as callers see it.

    Args:
        view: as its owner or a reader folded it.
        full: with payload, result, attempts and journal (view FULL); else BASIC.
    """
    task = task_from_spec(view.spec, full=full)
    task.name = task_name(view.spec.namespace, view.task_id)
    task.state = STATES[view.state]
    if view.cause is not None:
        task.cause = CAUSES[view.cause]
    set_timestamp(task.due_time, view.due_ms)
    set_timestamp(task.create_time, view.created_ms)
    set_timestamp(task.update_time, view.updated_ms)
    task.etag = etag_of(view.revision)
    task.attempt = view.attempt
    task.effective_priority = view.effective_priority
    if view.failure is not None:
        _set_failure(task.failure, view.failure)
    if view.unaccounted:
        task.unaccounted.extend(view.unaccounted)
    if view.progress is not None:
        _set_progress(task.progress, view.progress, full=full)
    if full:
        _set_history(task, view)
    return task


def task_from_spec(spec: TaskSpec, *, full: bool) -> task_pb2.Task:
    """The part of a task that the caller wrote; the payload only when `full`."""
    parts = (spec.handler, spec.owner, spec.priority, spec.labels, spec.selector)
    task = task_pb2.Task.FromString(_wish(*parts, spec.mode, spec.retry, spec.timeouts))
    if full:
        _set_payload(task.payload, spec.payload)
    if spec.schedule_id is not None:
        task.schedule = schedule_name(spec.namespace, spec.schedule_id)
    if spec.nominal_ms is not None:
        set_timestamp(task.nominal_time, spec.nominal_ms)
    if spec.redrive_of is not None:
        task.redrive_of = task_name(spec.namespace, spec.redrive_of)
    if spec.concurrency_key:
        task.concurrency_key = spec.concurrency_key
    return task


@lru_cache(maxsize=_FEW)
def _wish(
    handler: str,
    owner: str,
    priority: int,
    labels: tuple[tuple[str, str], ...],
    selector: tuple[tuple[str, str], ...],
    mode: DeliveryMode,
    retry: RetryPolicy,
    timeouts: Timeouts,
) -> bytes:
    """What many tasks have in common, as it stands in their messages."""
    task = task_pb2.Task(
        handler=handler,
        owner=owner,
        priority=priority,
        labels=dict(labels),
        selector=dict(selector),
        delivery_mode=MODES[mode],
    )
    _set_retry(task.retry, retry)
    if timeouts != _NO_TIMEOUTS:
        _set_timeouts(task.timeouts, timeouts)
    return task.SerializeToString()


def _set_progress(target: task_pb2.Progress, progress: Progress, *, full: bool) -> None:
    target.note = progress.note
    if progress.fraction is not None:
        target.fraction = progress.fraction
    if progress.heard_ms is not None:
        set_timestamp(target.heartbeat_time, progress.heard_ms)
    if full and progress.checkpoint is not None:
        _set_payload(target.checkpoint, progress.checkpoint)


def _set_history(task: task_pb2.Task, view: TaskView) -> None:
    if view.result is not None:
        _set_payload(task.result, view.result)
    for attempt in view.attempts:
        _set_attempt(task.attempts.add(), attempt)
    for event in view.journal:
        _set_event(task.journal.add(), event)


def _set_payload(target: task_pb2.Payload, payload: Payload) -> None:
    target.content_type = payload.content_type
    target.data = payload.data


def _payload_back(payload: task_pb2.Payload) -> Payload:
    return Payload(content_type=payload.content_type or _NO_PAYLOAD.content_type, data=payload.data)


def _set_retry(target: task_pb2.RetryPolicy, retry: RetryPolicy) -> None:
    target.max_attempts = retry.max_attempts
    set_duration(target.initial_delay, retry.initial_delay_ms)
    target.coefficient = retry.coefficient
    set_duration(target.max_delay, retry.max_delay_ms)
    if retry.max_age_ms is not None:
        set_duration(target.max_age, retry.max_age_ms)
    target.jitter = retry.jitter


def _retry_back(retry: task_pb2.RetryPolicy) -> RetryPolicy:
    default = _DEFAULT_RETRY
    has = retry.HasField
    return RetryPolicy(
        max_attempts=retry.max_attempts if has("max_attempts") else default.max_attempts,
        initial_delay_ms=(
            ms_from_duration(retry.initial_delay)
            if has("initial_delay")
            else default.initial_delay_ms
        ),
        coefficient=retry.coefficient if has("coefficient") else default.coefficient,
        max_delay_ms=(
            ms_from_duration(retry.max_delay) if has("max_delay") else default.max_delay_ms
        ),
        max_age_ms=ms_from_duration(retry.max_age) if has("max_age") else None,
        jitter=retry.jitter if has("jitter") else default.jitter,
    )


def _set_timeouts(target: task_pb2.Timeouts, timeouts: Timeouts) -> None:
    if timeouts.schedule_to_start_ms is not None:
        set_duration(target.schedule_to_start, timeouts.schedule_to_start_ms)
    if timeouts.start_to_close_ms is not None:
        set_duration(target.start_to_close, timeouts.start_to_close_ms)
    if timeouts.schedule_to_close_ms is not None:
        set_duration(target.schedule_to_close, timeouts.schedule_to_close_ms)
    if timeouts.heartbeat_ms is not None:
        set_duration(target.heartbeat, timeouts.heartbeat_ms)


def _timeouts_back(timeouts: task_pb2.Timeouts) -> Timeouts:
    has = timeouts.HasField
    return Timeouts(
        schedule_to_start_ms=(
            ms_from_duration(timeouts.schedule_to_start) if has("schedule_to_start") else None
        ),
        start_to_close_ms=(
            ms_from_duration(timeouts.start_to_close) if has("start_to_close") else None
        ),
        schedule_to_close_ms=(
            ms_from_duration(timeouts.schedule_to_close) if has("schedule_to_close") else None
        ),
        heartbeat_ms=ms_from_duration(timeouts.heartbeat) if has("heartbeat") else None,
    )


def _set_failure(target: task_pb2.Failure, failure: Failure) -> None:
    target.kind = failure.kind
    target.message = failure.message
    target.stack = failure.stack
    target.retriable = failure.retriable


def _set_attempt(target: task_pb2.Attempt, attempt: AttemptView) -> None:
    target.number = attempt.number
    target.executor = attempt.executor
    target.priority = attempt.priority
    set_timestamp(target.due_time, attempt.due_ms)
    set_timestamp(target.claim_time, attempt.claimed_ms)
    if attempt.started_ms is not None:
        set_timestamp(target.start_time, attempt.started_ms)
        set_duration(target.lateness, attempt.started_ms - attempt.due_ms)
    if attempt.ended_ms is not None:
        set_timestamp(target.end_time, attempt.ended_ms)
    target.outcome = OUTCOMES.get(attempt.outcome, OUTCOMES["UNSPECIFIED"])
    if attempt.failure is not None:
        _set_failure(target.failure, attempt.failure)


def _set_event(target: task_pb2.JournalEntry, event: EventView) -> None:
    target.seq = event.seq
    target.epoch = event.epoch
    target.event = event.kind
    target.state = event.state
    set_timestamp(target.time, event.at_ms)
    target.actor = event.actor
    target.description = event.text
