"""The messages of WatchTasks, to and from what a watch takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from timeball.v1 import task_service_pb2 as pb

from coordinator.requests import Caller
from coordinator.task_messages import item_error
from coordinator.watched import Seen, TaskWatch
from timeball_server.core.ids import TaskId
from timeball_server.core.limits import MAX_BATCH_BYTES
from timeball_server.core.model import TaskView
from timeball_server.rpc.access import OWN_NAMESPACE
from timeball_server.rpc.convert import parse_task_name, task_from_view


def wanted_of(request: pb.WatchTasksRequest, who: Caller) -> list[TaskId | None]:
    """The tasks by position; None for a name in another namespace, where nothing is to be seen.

    Raises:
        InvalidRequest: a name is no task's.
    """
    names = [
        parse_task_name(name, f"names[{position}]") for position, name in enumerate(request.names)
    ]
    own = (OWN_NAMESPACE, who.namespace)
    return [name.task_id if name.namespace in own else None for name in names]


def watch_responses(
    request: pb.WatchTasksRequest, watch: TaskWatch, changes: Sequence[Seen]
) -> Iterator[pb.WatchTasksResponse]:
    """Changes in as many answers as their size needs, each with the token of what it ends with."""
    full = request.view == pb.TASK_VIEW_FULL
    response, size_bytes = pb.WatchTasksResponse(), 0
    for seen in changes:
        if size_bytes >= MAX_BATCH_BYTES:
            response.resume_token = watch.token()
            yield response
            response, size_bytes = pb.WatchTasksResponse(), 0
        change = response.changes.add(name=request.names[seen.position], done=seen.done)
        if isinstance(seen.answer, TaskView):
            change.task.CopyFrom(task_from_view(seen.answer, full=full))
        else:
            change.error.CopyFrom(item_error(seen.answer))
        watch.note_told(seen)
        size_bytes += change.ByteSize()
    response.resume_token = watch.token()
    yield response
