"""Strategies for records of the core, at and around their limits."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from timeball_server.core.commands import (
    UPDATABLE_FIELDS,
    CancelScope,
    CancelTask,
    Command,
    CreateTask,
    DeleteTask,
    Done,
    Explained,
    ExplainTask,
    Outcome,
    OwnerHint,
    ReadTask,
    Rejected,
    RejectionReason,
    RescheduleTask,
    UpdateTask,
)
from timeball_server.core.explanation import BlockingCause, Explanation, Reason
from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    Incarnation,
    Minute,
    NodeId,
    ShardId,
    TaskId,
    encode_id,
)
from timeball_server.core.model import (
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

EMPTY_ID = encode_id(IdParts(Bucket(Minute(29_000_000), ShardId(3)), bytes(16)))

words = st.text(st.characters(codec="utf-8"), max_size=8)
instants = st.integers(0, 253_402_300_799_999)
durations = st.integers(1, 157_680_000_000)
counts = st.integers(0, 2**31 - 1)
bigs = st.integers(0, 2**63 - 1)
labels: SearchStrategy[tuple[tuple[str, str], ...]] = st.dictionaries(
    st.text("abc.-", min_size=1, max_size=3), words, max_size=4
).map(lambda pairs: tuple(sorted(pairs.items())))
task_ids: SearchStrategy[TaskId] = st.builds(
    lambda minute, shard, unique: encode_id(
        IdParts(Bucket(Minute(minute), ShardId(shard)), unique)
    ),
    st.integers(0, 2**32 - 1),
    st.integers(0, 0xFFFF),
    st.binary(min_size=16, max_size=16),
)
payloads = st.builds(
    Payload, content_type=st.sampled_from(["application/json", "a/b"]), data=st.binary(max_size=9)
)
retries = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    initial_delay_ms=durations,
    coefficient=st.floats(1, 100),
    max_delay_ms=durations,
    max_age_ms=st.none() | durations,
    jitter=st.floats(0, 1),
)
timeouts = st.builds(
    Timeouts,
    schedule_to_start_ms=st.none() | durations,
    start_to_close_ms=st.none() | durations,
    schedule_to_close_ms=st.none() | durations,
    heartbeat_ms=st.none() | durations,
)
specs = st.builds(
    TaskSpec,
    namespace=st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
    owner=words.filter(bool),
    handler=st.from_regex(r"[a-z]{1,5}\.[a-z]{1,5}", fullmatch=True),
    payload=payloads,
    priority=st.integers(0, 9),
    labels=labels,
    selector=labels,
    retry=retries,
    timeouts=timeouts,
    mode=st.sampled_from(DeliveryMode),
)
occurrence_specs = st.builds(
    lambda spec, schedule_id, nominal_ms, redrive_of: TaskSpec(
        namespace=spec.namespace,
        owner=spec.owner,
        handler=spec.handler,
        payload=spec.payload,
        schedule_id=schedule_id,
        nominal_ms=nominal_ms,
        redrive_of=redrive_of,
    ),
    specs,
    st.none() | task_ids,
    st.none() | instants,
    st.none() | task_ids,
)
failures = st.builds(
    Failure,
    kind=words,
    message=words,
    stack=words,
    retriable=st.booleans(),
    delay_ms=st.none() | bigs,
)
attempts = st.builds(
    AttemptView,
    number=counts,
    executor=words.map(NodeId),
    incarnation=bigs.map(Incarnation),
    priority=st.integers(0, 9),
    due_ms=instants,
    claimed_ms=instants,
    started_ms=st.none() | instants,
    ended_ms=st.none() | instants,
    outcome=st.sampled_from("CLAIMED RUNNING SUCCEEDED FAILED LOST RELEASED CANCELLED".split()),
    failure=st.none() | failures,
)
events = st.builds(
    EventView,
    seq=bigs,
    epoch=bigs,
    kind=words,
    state=words,
    at_ms=instants,
    actor=words,
    text=words,
)
views = st.builds(
    TaskView,
    task_id=task_ids,
    spec=specs | occurrence_specs,
    state=st.sampled_from(PublicState),
    cause=st.none() | st.sampled_from(FailureCause),
    due_ms=instants,
    created_ms=instants,
    updated_ms=instants,
    revision=bigs,
    attempt=counts,
    effective_priority=st.integers(0, 9),
    result=st.none() | payloads,
    failure=st.none() | failures,
    attempts=st.lists(attempts, max_size=2).map(tuple),
    journal=st.lists(events, max_size=2).map(tuple),
    unaccounted=st.lists(words, max_size=2).map(tuple),
    terminal=st.booleans(),
    progress=st.none()
    | st.builds(
        Progress,
        fraction=st.none() | st.floats(0, 1),
        note=words,
        heard_ms=st.none() | instants,
        checkpoint=st.none() | payloads,
    ),
)
creates: SearchStrategy[CreateTask] = st.builds(
    CreateTask,
    minute=st.integers(0, 2**32 - 1).map(Minute),
    shard=st.integers(0, 0xFFFF).map(ShardId),
    unique=st.binary(min_size=16, max_size=16),
    spec=specs | occurrence_specs,
    due_ms=st.none() | instants,
    delay_ms=durations | st.just(0),
    request_id=words,
    actor=words,
    resend=st.booleans(),
)
updates: SearchStrategy[UpdateTask] = st.builds(
    UpdateTask,
    task_id=task_ids,
    namespace=words,
    spec=specs | occurrence_specs,
    fields=st.lists(st.sampled_from(UPDATABLE_FIELDS), unique=True).map(tuple),
    revision=st.none() | bigs,
    request_id=words,
    actor=words,
    resend=st.booleans(),
)
reschedules: SearchStrategy[RescheduleTask] = st.builds(
    RescheduleTask,
    task_id=task_ids,
    namespace=words,
    due_ms=st.none() | instants,
    delay_ms=durations | st.just(0),
    revision=st.none() | bigs,
    request_id=words,
    actor=words,
    resend=st.booleans(),
)
deletions: SearchStrategy[DeleteTask] = st.builds(
    DeleteTask,
    task_id=task_ids,
    namespace=words,
    revision=st.none() | bigs,
    request_id=words,
    actor=words,
    resend=st.booleans(),
)
commands: SearchStrategy[Command] = (
    creates
    | updates
    | reschedules
    | deletions
    | st.builds(
        CancelTask,
        task_id=task_ids,
        namespace=words,
        request_id=words,
        actor=words,
        reason=words,
        terminate=st.booleans(),
        resend=st.booleans(),
        scope=st.sampled_from(CancelScope),
    )
    | st.builds(ReadTask, task_id=task_ids, namespace=words)
    | st.builds(ExplainTask, task_id=task_ids, namespace=words)
)
hints = st.builds(OwnerHint, node=words.map(NodeId), address=words, epoch=bigs.map(Epoch))
reasons = st.builds(
    Reason,
    cause=st.sampled_from(BlockingCause),
    sentence=words,
    since_ms=st.none() | instants,
    next_check_ms=st.none() | instants,
    next_check=words,
    details=labels,
)
explanations = st.builds(
    Explanation,
    task_id=task_ids,
    at_ms=instants,
    reasons=st.lists(reasons, min_size=1, max_size=3).map(tuple),
)
outcomes: SearchStrategy[Outcome] = (
    st.builds(Done, views, st.booleans())
    | st.builds(
        Rejected, st.sampled_from(RejectionReason), words, st.none() | views, st.none() | hints
    )
    | st.builds(Explained, explanations)
)


def plain_spec(**changes: object) -> TaskSpec:
    """A small spec for tests that look at something else."""
    fields: dict[str, object] = {"namespace": "default", "owner": "anna", "handler": "demo.hello"}
    return TaskSpec(**(fields | changes))  # type: ignore[arg-type]


def plain_view(spec: TaskSpec, task_id: TaskId = EMPTY_ID) -> TaskView:
    """A small view for tests that look at something else."""
    return TaskView(
        task_id=task_id,
        spec=spec,
        state=PublicState.SCHEDULED,
        cause=None,
        due_ms=1_000,
        created_ms=1_000,
        updated_ms=1_000,
        revision=1,
        attempt=0,
        effective_priority=spec.priority,
        result=None,
        failure=None,
    )


def plain_create(**changes: object) -> CreateTask:
    """A small creation for tests that look at something else."""
    return CreateTask(
        minute=Minute(29_000_000),
        shard=ShardId(3),
        unique=bytes(16),
        spec=plain_spec(**changes),
        due_ms=None,
        request_id="r",
        actor="anna",
    )
