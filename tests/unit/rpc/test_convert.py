from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from timeball.errors import InvalidRequest
from timeball.v1 import task_pb2

from tests.support.rpc_records import (
    commands,
    creates,
    instants,
    outcomes,
    plain_spec,
    plain_view,
    specs,
    task_ids,
    views,
)
from timeball_server.core.commands import Command, CreateTask, Done, Outcome
from timeball_server.core.ids import KIND_SCHEDULE, Bucket, IdParts, Minute, ShardId, encode_id
from timeball_server.core.model import (
    DEFAULT_PRIORITY,
    AttemptView,
    DeliveryMode,
    EventView,
    Failure,
    Payload,
    Progress,
    RetryPolicy,
    TaskSpec,
    TaskView,
    Timeouts,
)
from timeball_server.internal.v1 import shard_service_pb2
from timeball_server.rpc import convert, owner_convert


@given(specs)
def test_a_spec_survives_the_public_message(spec: TaskSpec) -> None:
    wire = convert.task_from_spec(spec, full=True).SerializeToString()
    task = task_pb2.Task.FromString(wire)
    assert convert.spec_from_task(task, namespace=spec.namespace, subject="nobody") == spec


def test_absent_fields_get_the_defaults_of_the_core() -> None:
    spec = convert.spec_from_task(task_pb2.Task(handler="a"), namespace="n", subject="s")
    assert spec == TaskSpec(namespace="n", owner="s", handler="a")
    assert spec.priority == DEFAULT_PRIORITY
    assert spec.mode is DeliveryMode.AT_LEAST_ONCE


def test_a_zero_that_was_set_is_not_a_default() -> None:
    task = task_pb2.Task(handler="a", priority=0, retry=task_pb2.RetryPolicy(jitter=0.0))
    spec = convert.spec_from_task(task, namespace="n", subject="s")
    assert spec.priority == 0
    assert spec.retry == RetryPolicy(jitter=0.0)
    assert spec.timeouts == Timeouts()


@given(views)
def test_a_full_view_says_everything_that_is_public(view: TaskView) -> None:
    task = task_pb2.Task.FromString(convert.task_from_view(view, full=True).SerializeToString())
    assert convert.parse_task_name(task.name) == (view.spec.namespace, view.task_id)
    assert task_pb2.TaskState.Name(task.state) == f"TASK_STATE_{view.state}"
    assert task_pb2.FailureCause.Name(task.cause) == f"FAILURE_CAUSE_{view.cause or 'UNSPECIFIED'}"
    assert convert.ms_from_timestamp(task.due_time) == view.due_ms
    assert convert.ms_from_timestamp(task.create_time) == view.created_ms
    assert convert.ms_from_timestamp(task.update_time) == view.updated_ms
    assert task.etag == convert.etag_of(view.revision)
    assert (task.attempt, task.effective_priority) == (view.attempt, view.effective_priority)
    assert _payload(task, "result") == view.result
    assert _payload(task, "payload") == view.spec.payload
    assert _failure(task) == _without_delay(view.failure)
    assert [_attempt(attempt) for attempt in task.attempts] == [
        _public_attempt(attempt) for attempt in view.attempts
    ]
    assert [_event(entry) for entry in task.journal] == list(view.journal)
    assert tuple(task.unaccounted) == view.unaccounted
    assert _progress(task) == view.progress
    assert (task.schedule == "") == (view.spec.schedule_id is None)
    assert task.HasField("nominal_time") == (view.spec.nominal_ms is not None)


@given(views)
def test_a_basic_view_is_the_full_one_without_the_heavy_parts(view: TaskView) -> None:
    full = convert.task_from_view(view, full=True)
    for heavy in ("payload", "result", "attempts", "journal"):
        full.ClearField(heavy)
    full.progress.ClearField("checkpoint")
    basic = convert.task_from_view(view, full=False)
    if view.progress is None:
        full.ClearField("progress")
    assert basic == full


@given(st.integers(0, 253_402_300_799), st.integers(0, 999_999_999))
def test_an_instant_is_never_rounded_to_before_itself(seconds: int, nanos: int) -> None:
    read = convert.ms_from_timestamp(Timestamp(seconds=seconds, nanos=nanos))
    exact_nanos = seconds * 10**9 + nanos
    assert exact_nanos <= read * 10**6 < exact_nanos + 10**6


@given(instants)
def test_an_instant_in_milliseconds_is_exact(instant_ms: int) -> None:
    stamp = Timestamp()
    convert.set_timestamp(stamp, instant_ms)
    assert convert.ms_from_timestamp(stamp) == instant_ms


@given(st.integers(-(10**12), 10**12))
def test_a_duration_in_milliseconds_is_exact_and_valid(duration_ms: int) -> None:
    duration = Duration()
    convert.set_duration(duration, duration_ms)
    assert convert.ms_from_duration(duration) == duration_ms
    assert duration.ToMilliseconds() == duration_ms
    assert duration.seconds * duration.nanos >= 0


def test_a_due_time_is_an_instant_a_delay_or_now() -> None:
    at = task_pb2.Task(run_time=Timestamp(seconds=1, nanos=1))
    assert convert.due_from_task(at) == (1001, 0)
    after = task_pb2.Task(delay=Duration(nanos=1))
    assert convert.due_from_task(after) == (None, 1)
    assert convert.due_from_task(task_pb2.Task()) == (None, 0)
    epoch = task_pb2.Task(run_time=Timestamp())
    assert convert.due_from_task(epoch) == (0, 0)


@given(st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True), task_ids)
def test_a_name_reads_back(namespace: str, task_id: str) -> None:
    assert convert.parse_task_name(convert.task_name(namespace, task_id)) == (namespace, task_id)


def _schedule_id() -> str:
    return encode_id(IdParts(Bucket(Minute(1), ShardId(1)), bytes(16), KIND_SCHEDULE))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "tasks/1",
        "namespaces//tasks/" + "0" * 40,
        "namespaces/a/tasks/" + "0" * 40,
        "namespaces/a/tasks/" + "u" * 40,
        "namespaces/a/tasks/short",
        f"namespaces/a/tasks/{_schedule_id()}",
        f"namespaces/a/schedules/{_schedule_id()}",
        "namespaces/a/tasks/../tasks/x",
    ],
)
def test_what_is_not_a_tasks_name_is_refused_with_its_field(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert.parse_task_name(name, "names[2]")
    assert [violation.field for violation in caught.value.violations] == ["names[2]"]


@given(commands)
def test_a_command_survives_the_internal_message(command: Command) -> None:
    message = shard_service_pb2.Command()
    owner_convert.write_command(message, command)
    wire = message.SerializeToString()
    assert owner_convert.read_command(shard_service_pb2.Command.FromString(wire)) == command


@given(outcomes, commands)
def test_an_outcome_survives_the_internal_message(outcome: Outcome, command: Command) -> None:
    message = shard_service_pb2.Outcome()
    owner_convert.write_outcome(message, outcome, command)
    wire = message.SerializeToString()
    again = shard_service_pb2.Outcome.FromString(wire)
    assert owner_convert.read_outcome(again, command) == outcome


@given(creates)
def test_a_created_tasks_spec_is_not_sent_back(command: CreateTask) -> None:
    outcome = Done(plain_view(command.spec))
    message = shard_service_pb2.Outcome()
    owner_convert.write_outcome(message, outcome, command)
    assert not message.done.task.HasField("spec")
    assert owner_convert.read_outcome(message, command) == outcome


def test_a_command_of_a_newer_version_is_refused() -> None:
    with pytest.raises(ValueError, match="no command"):
        owner_convert.read_command(shard_service_pb2.Command())
    with pytest.raises(ValueError, match="no outcome"):
        owner_convert.read_outcome(shard_service_pb2.Outcome())
    newer = shard_service_pb2.Outcome()
    newer.rejected.message = "?"
    with pytest.raises(ValueError, match="not known"):
        owner_convert.read_outcome(newer)


def test_the_plain_records_of_these_tests_are_valid() -> None:
    spec = plain_spec(priority=7)
    assert convert.task_from_view(plain_view(spec), full=False).effective_priority == 7


def _payload(task: task_pb2.Task, field: str) -> Payload | None:
    if not task.HasField(field):  # type: ignore[arg-type]
        return None
    payload: task_pb2.Payload = getattr(task, field)
    return Payload(content_type=payload.content_type, data=payload.data)


def _without_delay(failure: Failure | None) -> Failure | None:
    if failure is None:
        return None
    return Failure(
        kind=failure.kind,
        message=failure.message,
        stack=failure.stack,
        retriable=failure.retriable,
    )


def _progress(task: task_pb2.Task) -> Progress | None:
    if not task.HasField("progress"):
        return None
    told, left = task.progress, task.progress.checkpoint
    return Progress(
        fraction=told.fraction if told.HasField("fraction") else None,
        note=told.note,
        heard_ms=(
            convert.ms_from_timestamp(told.heartbeat_time)
            if told.HasField("heartbeat_time")
            else None
        ),
        checkpoint=(
            Payload(content_type=left.content_type, data=left.data)
            if told.HasField("checkpoint")
            else None
        ),
    )


def _failure(holder: task_pb2.Task | task_pb2.Attempt) -> Failure | None:
    if not holder.HasField("failure"):
        return None
    found = holder.failure
    return Failure(
        kind=found.kind, message=found.message, stack=found.stack, retriable=found.retriable
    )


def _ms(attempt: task_pb2.Attempt, field: str) -> int | None:
    if not attempt.HasField(field):  # type: ignore[arg-type]
        return None
    return convert.ms_from_timestamp(getattr(attempt, field))


def _attempt(attempt: task_pb2.Attempt) -> tuple[object, ...]:
    return (
        attempt.number,
        attempt.executor,
        attempt.priority,
        _ms(attempt, "due_time"),
        _ms(attempt, "claim_time"),
        _ms(attempt, "start_time"),
        _ms(attempt, "end_time"),
        convert.ms_from_duration(attempt.lateness) if attempt.HasField("lateness") else None,
        task_pb2.AttemptOutcome.Name(attempt.outcome),
        _failure(attempt),
    )


def _public_attempt(attempt: AttemptView) -> tuple[object, ...]:
    return (
        attempt.number,
        attempt.executor,
        attempt.priority,
        attempt.due_ms,
        attempt.claimed_ms,
        attempt.started_ms,
        attempt.ended_ms,
        attempt.lateness_ms,
        f"ATTEMPT_OUTCOME_{attempt.outcome}",
        _without_delay(attempt.failure),
    )


def _event(entry: task_pb2.JournalEntry) -> EventView:
    return EventView(
        seq=entry.seq,
        epoch=entry.epoch,
        kind=entry.event,
        state=entry.state,
        at_ms=convert.ms_from_timestamp(entry.time),
        actor=entry.actor,
        text=entry.description,
    )
