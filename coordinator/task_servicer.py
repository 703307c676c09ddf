"""TaskService over gRPC: a thin door to TaskApi. Requests come here checked by the gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from timeball.errors import Draining, TimeballError
from timeball.v1 import task_service_pb2 as pb
from timeball.v1 import task_service_pb2_grpc as stubs

from coordinator.api import TaskApi
from coordinator.calls_in import LONGEST_PATIENCE_MS, caller, highest_priority, patience_ms
from coordinator.change_messages import (
    delete_request,
    reschedule_request,
    retry_request,
    update_request,
)
from coordinator.creation_stream import create_items, created
from coordinator.explain_messages import explanation_message
from coordinator.redrive import Redriver
from coordinator.task_messages import (
    cancel_request,
    create_request,
    get_results,
    list_query,
    stale_task,
    task_ids_of,
    wait_ms,
)
from coordinator.watch_messages import wanted_of, watch_responses
from coordinator.watched import TaskWatch
from timeball_server.core.model import TaskView
from timeball_server.rpc.convert import parse_task_name, task_from_spec, task_from_view
from timeball_server.rpc.interceptors import item_errors


class TaskServicer(stubs.TaskServiceServicer):
    """Serves tasks. `context` is Any throughout: the stubs mix two kinds of it."""

    def __init__(self, api: TaskApi, redriver: Redriver) -> None:
        self._api = api
        self._redriver = redriver
        self._waits: set[asyncio.Task[TaskView]] = set()
        self._watches: set[TaskWatch] = set()
        self._stopping = False

    def end_waits(self) -> None:
        """This process stops: who waits for a task is sent to another coordinator at once."""
        self._stopping = True
        for watch in self._watches:
            watch.end(_draining())
        for wait in tuple(self._waits):
            wait.cancel()

    async def CreateTask(  # noqa: N802 - the name is the proto's
        self, request: pb.CreateTaskRequest, context: Any
    ) -> pb.CreateTaskResponse:
        """Create one task, or only check it."""
        who = caller()
        wish = create_request(request, who)
        if request.validate_only:
            return pb.CreateTaskResponse(task=task_from_spec(wish.spec, full=False))
        (result,) = await self._api.create(who, [wish], patience_ms(context))
        if isinstance(result, TimeballError):
            raise result
        return pb.CreateTaskResponse(task=task_from_view(result, full=False))

    async def BatchCreateTasks(  # noqa: N802 - the name is the proto's
        self, request: pb.BatchCreateTasksRequest, context: Any
    ) -> pb.BatchCreateTasksResponse:
        """Create many tasks; each item succeeds or fails by itself."""
        errors = item_errors(request)
        results = await create_items(self._api, request.requests, errors, patience_ms(context))
        return pb.BatchCreateTasksResponse(results=results)

    async def CreateTasks(  # noqa: N802 - the name is the proto's
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[pb.CreateTasksResponse]:
        """Create tasks chunk by chunk; answers in order, or as they are decided."""
        async for response in created(self._api, request_iterator, context):
            yield response

    async def GetTask(  # noqa: N802 - the name is the proto's
        self, request: pb.GetTaskRequest, context: Any
    ) -> pb.GetTaskResponse:
        """Read a task, by default with everything."""
        task_id = parse_task_name(request.name).task_id
        result = await self._api.get(
            caller(), task_id, patience_ms(context), allow_stale=request.allow_stale
        )
        full = request.view != pb.TASK_VIEW_BASIC
        return pb.GetTaskResponse(task=stale_task(result.task, full=full, stale=result.stale))

    async def BatchGetTasks(  # noqa: N802 - the name is the proto's
        self, request: pb.BatchGetTasksRequest, context: Any
    ) -> pb.BatchGetTasksResponse:
        """Read many tasks; each is answered by itself."""
        who = caller()
        task_ids = task_ids_of(request, who)
        full = request.view == pb.TASK_VIEW_FULL
        answers = await self._api.get_many(
            who,
            task_ids,
            patience_ms(context),
            allow_stale=request.allow_stale,
            with_journal=full,
        )
        return pb.BatchGetTasksResponse(results=get_results(answers, full=full))

    async def ListTasks(  # noqa: N802 - the name is the proto's
        self, request: pb.ListTasksRequest, context: Any
    ) -> pb.ListTasksResponse:
        """A page of one user's tasks, or of everybody's in given states."""
        query = list_query(request, caller())
        page = await self._api.list_by_owner(
            query, request.page_size, request.page_token, patience_ms(context)
        )
        tasks = [task_from_view(view, full=False) for view in page.tasks]
        return pb.ListTasksResponse(tasks=tasks, next_page_token=page.next_token)

    async def CancelTask(  # noqa: N802 - the name is the proto's
        self, request: pb.CancelTaskRequest, context: Any
    ) -> pb.CancelTaskResponse:
        """Cancel a task."""
        view = await self._api.cancel(caller(), cancel_request(request), patience_ms(context))
        return pb.CancelTaskResponse(task=task_from_view(view, full=True))

    async def UpdateTask(  # noqa: N802 - the name is the proto's
        self, request: pb.UpdateTaskRequest, context: Any
    ) -> pb.UpdateTaskResponse:
        """Change what a task that waits will do."""
        who = caller()
        view = await self._api.update(who, update_request(request, who), patience_ms(context))
        return pb.UpdateTaskResponse(task=task_from_view(view, full=True))

    async def RescheduleTask(  # noqa: N802 - the name is the proto's
        self, request: pb.RescheduleTaskRequest, context: Any
    ) -> pb.RescheduleTaskResponse:
        """Move the next attempt of a task that waits."""
        wish = reschedule_request(request)
        view = await self._api.reschedule(caller(), wish, patience_ms(context))
        return pb.RescheduleTaskResponse(task=task_from_view(view, full=True))

    async def DeleteTask(  # noqa: N802 - the name is the proto's
        self, request: pb.DeleteTaskRequest, context: Any
    ) -> pb.DeleteTaskResponse:
        """Remove a task that has ended."""
        await self._api.delete(caller(), delete_request(request), patience_ms(context))
        return pb.DeleteTaskResponse()

    async def RetryTask(  # noqa: N802 - the name is the proto's
        self, request: pb.RetryTaskRequest, context: Any
    ) -> pb.RetryTaskResponse:
        """Have a task done now."""
        wish = retry_request(request)
        view = await self._redriver.retry(
            caller(), wish, patience_ms(context), highest_priority=highest_priority()
        )
        return pb.RetryTaskResponse(task=task_from_view(view, full=True))

    async def WaitTask(  # noqa: N802 - the name is the proto's
        self, request: pb.WaitTaskRequest, context: Any
    ) -> pb.WaitTaskResponse:
        """Wait for the end of a task."""
        task_id = parse_task_name(request.name).task_id
        longest_ms = patience_ms(context)
        timeout_ms = min(
            wait_ms(request), LONGEST_PATIENCE_MS if longest_ms is None else longest_ms
        )
        view = await self._unless_stopped(self._api.wait(caller(), task_id, timeout_ms))
        return pb.WaitTaskResponse(task=task_from_view(view, full=True), done=view.terminal)

    async def ExplainTask(  # noqa: N802 - the name is the proto's
        self, request: pb.ExplainTaskRequest, context: Any
    ) -> pb.ExplainTaskResponse:
        """Say what holds a task back."""
        who, task_id = caller(), parse_task_name(request.name).task_id
        explanation = await self._api.explain(who, task_id, patience_ms(context))
        return pb.ExplainTaskResponse(explanation=explanation_message(explanation, who.namespace))

    async def WatchTasks(  # noqa: N802 - the name is the proto's
        self, request: pb.WatchTasksRequest, context: Any
    ) -> AsyncIterator[pb.WatchTasksResponse]:
        """Tell changes until all tasks have ended."""
        if self._stopping:
            raise _draining()
        who = caller()
        watch = self._api.watch(who, wanted_of(request, who), request.resume_token)
        self._watches.add(watch)
        try:
            while seen := await watch.changes():
                for response in watch_responses(request, watch, seen):
                    yield response
        finally:
            self._watches.discard(watch)
            watch.close()

    async def _unless_stopped(self, waiting: Coroutine[Any, Any, TaskView]) -> TaskView:
        """What is waited for, unless this process stops first."""
        wait = asyncio.create_task(waiting)
        self._waits.add(wait)
        try:
            return await wait
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            raise _draining() from None
        finally:
            wait.cancel()
            self._waits.discard(wait)


def _draining() -> Draining:
    return Draining("This coordinator is stopping; ask again, another one will wait.")
