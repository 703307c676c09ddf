"""What each verb of the clients does, as flows: the one place that knows the API's methods."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf import duration_pb2

from timeball import _requests
from timeball._flow import BACKOFF_FIRST_S, Flow, Kit, Method, Pause, Send, call, retry_delay_s
from timeball._status import item_error
from timeball._telling import trying_again
from timeball.errors import TimeballError, WaitTimeout
from timeball.options import Submission
from timeball.v1 import admin_service_pb2 as admin
from timeball.v1 import task_pb2
from timeball.v1 import task_service_pb2 as tasks

_TASKS = "/timeball.v1.TaskService/"
CREATE_TASK = Method(_TASKS + "CreateTask", tasks.CreateTaskRequest, tasks.CreateTaskResponse)
BATCH_CREATE_TASKS = Method(
    _TASKS + "BatchCreateTasks", tasks.BatchCreateTasksRequest, tasks.BatchCreateTasksResponse
)
GET_TASK = Method(_TASKS + "GetTask", tasks.GetTaskRequest, tasks.GetTaskResponse)
BATCH_GET_TASKS = Method(
    _TASKS + "BatchGetTasks", tasks.BatchGetTasksRequest, tasks.BatchGetTasksResponse
)
LIST_TASKS = Method(_TASKS + "ListTasks", tasks.ListTasksRequest, tasks.ListTasksResponse)
CANCEL_TASK = Method(_TASKS + "CancelTask", tasks.CancelTaskRequest, tasks.CancelTaskResponse)
WAIT_TASK = Method(_TASKS + "WaitTask", tasks.WaitTaskRequest, tasks.WaitTaskResponse)
GET_CLUSTER = Method(
    "/timeball.v1.AdminService/GetCluster", admin.GetClusterRequest, admin.GetClusterResponse
)
DRAIN_NODE = Method(
    "/timeball.v1.AdminService/DrainNode", admin.DrainNodeRequest, admin.DrainNodeResponse
)
LIST_DEAD_LETTERS = Method(
    "/timeball.v1.AdminService/ListDeadLetters",
    admin.ListDeadLettersRequest,
    admin.ListDeadLettersResponse,
)

BATCH_ITEMS_MAX = 1_000
# Below gRPC's usual limit of 4 MiB for one message, with room for what is not payload.
BATCH_BYTES_MAX = 3 * 1024 * 1024
# The server waits at most a minute; asking for less notices a dead one sooner.
WAIT_ROUND_S = 30.0
WAIT_ROUND_MIN_S = 0.001
WAIT_MARGIN_S = 5.0
# A wait outlives an outage that is no longer than this.
OUTAGE_MAX_S = 60.0

BatchItem = task_pb2.Task | TimeballError


def create(kit: Kit, task: task_pb2.Task, request_id: str | None) -> Flow[task_pb2.Task]:
    """Creates one task."""
    request = _requests.create_task(kit.settings, task, kit.request_id(request_id))
    request.resend = kit.may_be_repeated(request_id)
    answer = yield from call(kit, CREATE_TASK, request)
    return answer.task


def submit(kit: Kit, submission: Submission[Any]) -> Flow[task_pb2.Task]:
    """Creates the task of a submission."""
    answer = yield from call(kit, CREATE_TASK, create_request(kit, submission))
    return answer.task


def batch(kit: Kit, submissions: Sequence[Submission[Any]]) -> Flow[list[BatchItem]]:
    """Creates many, a chunk at a time.

    Every submission is built before the first is sent. When the first chunk cannot be sent its
    error is raised; the error of a later one stands in the place of each of its items.
    """
    requests = [create_request(kit, each) for each in submissions]
    items: list[BatchItem] = []
    for chunk in chunks(requests):
        try:
            items += yield from _send_chunk(kit, chunk)
        except TimeballError as error:
            if not items:
                raise
            items += [error] * len(chunk)
    return items


def create_request(kit: Kit, submission: Submission[Any]) -> tasks.CreateTaskRequest:
    """Asks for the task of a submission, with a request id of its own."""
    own = submission.options.get("request_id")
    task = _requests.task_of(submission)
    request = _requests.create_task(kit.settings, task, kit.request_id(own), submission.options)
    request.resend = kit.may_be_repeated(own)
    return request


def _send_chunk(kit: Kit, chunk: list[tasks.CreateTaskRequest]) -> Flow[list[BatchItem]]:
    request = tasks.BatchCreateTasksRequest(parent=kit.settings.parent, requests=chunk)
    answer = yield from call(kit, BATCH_CREATE_TASKS, request)
    return [
        result.task if result.HasField("task") else item_error(result.error)
        for result in answer.results
    ]


def chunks(requests: Sequence[tasks.CreateTaskRequest]) -> Iterator[list[tasks.CreateTaskRequest]]:
    """Splits requests so that each part respects the API's limits on number and size."""
    part: list[tasks.CreateTaskRequest] = []
    size = 0
    for request in requests:
        length = request.ByteSize()
        if part and (len(part) == BATCH_ITEMS_MAX or size + length > BATCH_BYTES_MAX):
            yield part
            part, size = [], 0
        part.append(request)
        size += length
    if part:
        yield part


def get(kit: Kit, task: str, *, allow_stale: bool) -> Flow[task_pb2.Task]:
    """Reads one task in full."""
    request = tasks.GetTaskRequest(
        name=_requests.task_name(kit.settings, task), allow_stale=allow_stale
    )
    answer = yield from call(kit, GET_TASK, request)
    return answer.task


def get_many(
    kit: Kit, wanted: Sequence[str], *, full: bool, allow_stale: bool
) -> Flow[list[BatchItem]]:
    """Reads many tasks, up to 1,000 a call."""
    names = [_requests.task_name(kit.settings, task) for task in wanted]
    items: list[BatchItem] = []
    for start in range(0, len(names), BATCH_ITEMS_MAX):
        part = names[start : start + BATCH_ITEMS_MAX]
        request = _requests.batch_get_tasks(kit.settings, part, full=full, allow_stale=allow_stale)
        answer = yield from call(kit, BATCH_GET_TASKS, request)
        items += [
            result.task if result.HasField("task") else item_error(result.error)
            for result in answer.results
        ]
    return items


def page(kit: Kit, request: tasks.ListTasksRequest) -> Flow[tasks.ListTasksResponse]:
    """Reads one page and leaves in `request` the token of the next."""
    answer = yield from call(kit, LIST_TASKS, request)
    request.page_token = answer.next_page_token
    return answer


def cancel(
    kit: Kit, task: str, reason: str, terminate: bool, request_id: str | None
) -> Flow[task_pb2.Task]:
    """Cancels one task, or ends it by force."""
    request = tasks.CancelTaskRequest(
        name=_requests.task_name(kit.settings, task),
        reason=reason,
        terminate=terminate,
        request_id=kit.request_id(request_id),
    )
    answer = yield from call(kit, CANCEL_TASK, request)
    return answer.task


def wait(kit: Kit, task: str, timeout_s: float | None) -> Flow[task_pb2.Task]:
    """Waits in rounds until the task has ended; a broken round is taken up again.

    Raises WaitTimeout when the time is over, and the service's own error when it stayed away for
    longer than OUTAGE_MAX_S.
    """
    name = _requests.task_name(kit.settings, task)
    clock = kit.clock
    until_s = math.inf if timeout_s is None else clock.monotonic_s() + timeout_s
    well_s, repetition = clock.monotonic_s(), 0
    while True:
        asked_s = clock.monotonic_s()
        round_s = max(min(until_s - asked_s, WAIT_ROUND_S), WAIT_ROUND_MIN_S)
        try:
            answer: tasks.WaitTaskResponse = yield _wait_round(name, round_s)
        except TimeballError as error:
            delay_s = retry_delay_s(error, repetition, kit.random)
            if delay_s is None or clock.monotonic_s() - well_s > OUTAGE_MAX_S:
                raise
            _check_time_left(name, clock.monotonic_s(), until_s, error)
            trying_again(error)
            yield Pause(min(delay_s, until_s - clock.monotonic_s()))
            repetition += 1
            continue
        if answer.done:
            return answer.task
        well_s, repetition = clock.monotonic_s(), 0
        _check_time_left(name, well_s, until_s)
        if well_s - asked_s < round_s:
            # Answered too early, for example by a server that is shutting down: do not spin.
            yield Pause(BACKOFF_FIRST_S)


def _wait_round(name: str, round_s: float) -> Send:
    timeout = duration_pb2.Duration()
    timeout.FromMilliseconds(max(int(round_s * 1000), 1))
    request = tasks.WaitTaskRequest(name=name, timeout=timeout)
    return Send(WAIT_TASK, request, round_s + WAIT_MARGIN_S)


def _check_time_left(
    name: str, now_s: float, until_s: float, cause: TimeballError | None = None
) -> None:
    if now_s >= until_s:
        because = f"; the last try failed: {cause}" if cause else ""
        raise WaitTimeout(
            f"{name} has not ended yet{because}; it goes on, wait again or cancel it"
        ) from cause


def cluster(kit: Kit) -> Flow[admin.GetClusterResponse]:
    """Reads the cluster."""
    return (yield from call(kit, GET_CLUSTER, admin.GetClusterRequest()))


def drain_node(kit: Kit, node: str, request_id: str | None) -> Flow[admin.Node]:
    """Gives a scheduler node no more work."""
    request = admin.DrainNodeRequest(node=node, request_id=kit.request_id(request_id))
    answer = yield from call(kit, DRAIN_NODE, request)
    return answer.node


def letters_page(
    kit: Kit, request: admin.ListDeadLettersRequest
) -> Flow[admin.ListDeadLettersResponse]:
    """Reads one page and leaves in `request` the token of the next."""
    answer = yield from call(kit, LIST_DEAD_LETTERS, request)
    request.page_token = answer.next_page_token
    return answer
