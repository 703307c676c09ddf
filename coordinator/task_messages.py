"""The task service's messages, to and from what TaskApi takes and gives.

Owns no rule: requests come here validated and in the caller's own namespace, and the field
conversion is rpc/convert's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from timeball.errors import InvalidRequest, ResourceExhausted, TimeballError, Violation
from timeball.v1 import task_pb2
from timeball.v1 import task_service_pb2 as pb
from timeball.v1.admin_service_pb2 import RedriveDeadLettersRequest

from coordinator.batch_reads import BatchAnswer
from coordinator.paging import ListQuery
from coordinator.requests import (
    AfterEnd,
    Caller,
    CancelRequest,
    ChosenName,
    CreateRequest,
    WhileOpen,
)
from timeball_server.core.ids import TaskId
from timeball_server.core.limits import MAX_BATCH_BYTES
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import PublicState, TaskView
from timeball_server.rpc.access import OWN_NAMESPACE
from timeball_server.rpc.convert import (
    STATES,
    due_from_task,
    ms_from_duration,
    ms_from_timestamp,
    parse_task_name,
    spec_from_task,
    task_from_view,
)

DEFAULT_WAIT_MS: Final = 30_000
_STATES_BACK: Final = {number: state for state, number in STATES.items()}
_WHILE_OPEN_BACK: Final = {0: WhileOpen.FAIL} | {
    pb.WhileOpen.Value(f"WHILE_OPEN_{each}"): each for each in WhileOpen
}
_AFTER_END_BACK: Final = {0: AfterEnd.ALLOW} | {
    pb.AfterEnd.Value(f"AFTER_END_{each}"): each for each in AfterEnd
}


def request_id_of(text: str) -> bytes | None:
    """The bytes of a request id, None if the caller brought none."""
    return bytes.fromhex(text.replace("-", "")) if text else None


def create_request(message: pb.CreateTaskRequest, caller: Caller) -> CreateRequest:
    """One task to create."""
    due_ms, delay_ms = due_from_task(message.task)
    return CreateRequest(
        spec=spec_from_task(message.task, namespace=caller.namespace, subject=caller.subject),
        time=CreateTime(run_ms=due_ms, delay_ms=delay_ms),
        request_id=request_id_of(message.request_id),
        resend=message.resend,
        chosen=_chosen(message) if message.chosen_name else None,
    )


def _chosen(message: pb.CreateTaskRequest) -> ChosenName:
    """The name, with the defaults where the caller says nothing."""
    return ChosenName(
        name=message.chosen_name,
        while_open=_WHILE_OPEN_BACK[message.while_open],
        after_end=_AFTER_END_BACK[message.after_end],
    )


def create_result(result: TaskView | TimeballError) -> pb.CreateResult:
    """What became of one item of many."""
    if isinstance(result, TimeballError):
        return pb.CreateResult(error=item_error(result))
    return pb.CreateResult(task=task_from_view(result, full=False))


def item_error(error: TimeballError) -> pb.ItemError:
    """An error as it stands in a result."""
    field = error.violations[0].field if error.violations else ""
    return pb.ItemError(code=error.code, reason=error.reason, message=error.message, field=field)


def cancel_request(message: pb.CancelTaskRequest) -> CancelRequest:
    """A cancel.

    Raises:
        InvalidRequest: what it names is no task.
    """
    return CancelRequest(
        task_id=parse_task_name(message.name).task_id,
        request_id=request_id_of(message.request_id),
        reason=message.reason,
        terminate=message.terminate,
        resend=message.resend,
    )


def list_query(message: pb.ListTasksRequest, caller: Caller) -> ListQuery:
    """What is asked of a listing."""
    has = message.HasField
    return ListQuery(
        namespace=caller.namespace,
        owner=message.owner or caller.subject,
        states=_states(message),
        handler=message.handler,
        label=_label(message.label),
        created_from_ms=ms_from_timestamp(message.created_from) if has("created_from") else None,
        created_to_ms=ms_from_timestamp(message.created_to) if has("created_to") else None,
        due_from_ms=ms_from_timestamp(message.due_from) if has("due_from") else None,
        due_to_ms=ms_from_timestamp(message.due_to) if has("due_to") else None,
    )


def task_ids_of(
    message: pb.BatchGetTasksRequest | RedriveDeadLettersRequest, caller: Caller
) -> list[TaskId]:
    """The tasks that a request of many names; one of another namespace becomes no id at all.

    Raises:
        InvalidRequest: one of them is no task; names its field.
    """
    ids: list[TaskId] = []
    wrong: list[Violation] = []
    for position, name in enumerate(message.names):
        try:
            named = parse_task_name(name, f"names[{position}]")
            is_own = named.namespace in (OWN_NAMESPACE, caller.namespace)
            ids.append(named.task_id if is_own else TaskId(name))
        except InvalidRequest as error:
            wrong += error.violations
    if wrong:
        first = f"{wrong[0].field}: {wrong[0].description}"
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise InvalidRequest(first + more, violations=wrong)
    return ids


def get_results(answers: Iterable[BatchAnswer], *, full: bool) -> list[pb.GetResult]:
    """What became of each name; what no longer fits into one message is said so."""
    results: list[pb.GetResult] = []
    left_bytes = MAX_BATCH_BYTES
    for answer in answers:
        if isinstance(answer, TimeballError):
            result = pb.GetResult(error=item_error(answer))
        else:
            result = pb.GetResult(task=stale_task(answer.task, full=full, stale=answer.stale))
            if result.ByteSize() > left_bytes:
                result = pb.GetResult(error=item_error(_no_room()))
        left_bytes -= result.ByteSize()
        results.append(result)
    return results


def wait_ms(message: pb.WaitTaskRequest) -> int:
    """How long to wait; TaskApi caps it."""
    return ms_from_duration(message.timeout) if message.HasField("timeout") else DEFAULT_WAIT_MS


def stale_task(view: TaskView, *, full: bool, stale: bool) -> task_pb2.Task:
    """A task as it was read."""
    task = task_from_view(view, full=full)
    task.stale = stale
    return task


def _label(text: str) -> tuple[str, str] | None:
    key, _, value = text.partition("=")
    return (key, value) if text else None


def _no_room() -> ResourceExhausted:
    return ResourceExhausted(
        "This task no longer fits into the answer; ask for fewer at once, or for the basic view."
    )


def _states(message: pb.ListTasksRequest) -> frozenset[PublicState]:
    """The wanted states; UNSPECIFIED asks for nothing in particular."""
    return frozenset(_STATES_BACK[number] for number in message.states if number in _STATES_BACK)
