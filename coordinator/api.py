"""What callers can do with tasks, over the core's types: no wire format, no transport.

The gRPC services and the simulation call the same methods. Must never acknowledge what the
owner has not.
"""

from __future__ import annotations

from collections.abc import Sequence

from timeball.errors import TimeballError

from coordinator.batch_reads import BatchAnswer, BatchReader
from coordinator.creation import Creator, OnResult
from coordinator.deadline import Deadline
from coordinator.explaining import Explainer
from coordinator.listing import Lister, Page
from coordinator.naming import Namer
from coordinator.outcomes import not_found, view_of
from coordinator.paging import ListQuery
from coordinator.reader import Reader, ReadResult
from coordinator.requests import (
    DEFAULT_PATIENCE_MS,
    Caller,
    CancelRequest,
    Cluster,
    CreateRequest,
    DeleteRequest,
    RescheduleRequest,
    UpdateRequest,
    request_id_text,
)
from coordinator.resuming import WatchBook
from coordinator.waiting import Waiter
from coordinator.watched import TaskWatch
from timeball_server.core.commands import (
    CancelTask,
    Command,
    DeleteTask,
    RescheduleTask,
    UpdateTask,
)
from timeball_server.core.explanation import Explanation
from timeball_server.core.ids import KIND_TASK, InvalidId, TaskId, decode_id
from timeball_server.core.limits import MAX_WAIT_MS
from timeball_server.core.model import TaskView


class TaskApi:
    """Creates, reads, lists, awaits and cancels tasks of one namespace at a time.

    `patience_ms` is what the caller's deadline leaves; None = 10 s.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._shards = frozenset(cluster.layout.all_shards())
        self._reader = Reader(cluster.store, cluster.calls, cluster.clock)
        self._creator = Creator(cluster, Namer(cluster, self._reader))
        self._explainer = Explainer(self._reader, cluster.calls, cluster.clock)
        self._waiter = Waiter(self._reader, cluster.calls)
        self._batch_reader = BatchReader(cluster, self._reader)
        self._lister = Lister(cluster, self._reader)

    async def create(
        self,
        caller: Caller,
        requests: Sequence[CreateRequest],
        patience_ms: int | None = None,
        on_result: OnResult | None = None,
    ) -> list[TaskView | TimeballError]:
        """Create tasks; results in the order of the requests, each by itself.

        A request that repeats an earlier one of the same call gets the earlier one's result.

        Args:
            on_result: told each result with its position, once, as soon as it is decided.
        """
        deadline = self._deadline(patience_ms)
        return await self._creator.create(caller, requests, deadline, on_result)

    async def get(
        self,
        caller: Caller,
        task_id: TaskId,
        patience_ms: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> ReadResult:
        """Read a task.

        Raises:
            TaskNotFound, TaskExpired: there is nothing to show.
            Unavailable: its shard has no owner, and a stale value was not allowed.
        """
        self._check(task_id)
        deadline = self._deadline(patience_ms)
        return await self._reader.read(task_id, caller.namespace, deadline, allow_stale=allow_stale)

    async def get_many(
        self,
        caller: Caller,
        task_ids: Sequence[TaskId],
        patience_ms: int | None = None,
        *,
        allow_stale: bool = False,
        with_journal: bool = True,
    ) -> list[BatchAnswer]:
        """Read tasks, in the order of the ids, each by itself.

        Args:
            with_journal: tell their stories too, or not in all answers.

        Raises:
            StoreUnavailable: none could be read.
        """
        deadline = self._deadline(patience_ms)
        return await self._batch_reader.read(
            task_ids,
            caller.namespace,
            deadline,
            allow_stale=allow_stale,
            with_journal=with_journal,
        )

    async def list_by_owner(
        self,
        query: ListQuery,
        page_size: int = 0,
        page_token: str = "",
        patience_ms: int | None = None,
    ) -> Page:
        """A page of a user's tasks, newest first, or of everybody's by state; page_size 0 = 100.

        Raises:
            InvalidRequest: the token is not for this query, a time range is empty, or nothing
                lists what is asked for.
        """
        deadline = self._deadline(patience_ms)
        return await self._lister.page(query, page_size, page_token, deadline)

    async def cancel(
        self, caller: Caller, request: CancelRequest, patience_ms: int | None = None
    ) -> TaskView:
        """Cancel a task: no attempt starts after the answer, but for the unaccounted it names.

        Raises:
            TaskNotFound, TaskExpired: there is no such task.
            TooLate: an attempt runs or the task has ended; nothing was changed.
            Unavailable: nothing was received. OutcomeUnknown: it may or may not hold.
        """
        self._check(request.task_id)
        command = CancelTask(
            task_id=request.task_id,
            namespace=caller.namespace,
            request_id=self._request_id(request.request_id),
            actor=caller.subject,
            reason=request.reason,
            terminate=request.terminate,
            resend=request.resend,
        )
        return await self._execute(command, patience_ms)

    async def update(
        self, caller: Caller, request: UpdateRequest, patience_ms: int | None = None
    ) -> TaskView:
        """Change what a task that waits will do: nothing starts as it was before the answer.

        Raises:
            StaleEtag: somebody else has changed it since.
            TaskNotFound, TaskExpired, TooLate, Unavailable, OutcomeUnknown: as `cancel`.
        """
        self._check(request.task_id)
        command = UpdateTask(
            task_id=request.task_id,
            namespace=caller.namespace,
            spec=request.spec,
            fields=request.fields,
            revision=request.revision,
            request_id=self._request_id(request.request_id),
            actor=caller.subject,
            resend=request.resend,
        )
        return await self._execute(command, patience_ms)

    async def reschedule(
        self, caller: Caller, request: RescheduleRequest, patience_ms: int | None = None
    ) -> TaskView:
        """Move the next attempt of a task that waits.

        Raises:
            InvalidRequest: the instant is beyond the horizon.
            StaleEtag: somebody else has changed it since.
            TaskNotFound, TaskExpired, TooLate, Unavailable, OutcomeUnknown: as `cancel`.
        """
        self._check(request.task_id)
        command = RescheduleTask(
            task_id=request.task_id,
            namespace=caller.namespace,
            due_ms=request.due_ms,
            delay_ms=request.delay_ms,
            revision=request.revision,
            request_id=self._request_id(request.request_id),
            actor=caller.subject,
            resend=request.resend,
        )
        field = "run_time" if request.due_ms is not None else "delay"
        return await self._execute(command, patience_ms, field)

    async def delete(
        self, caller: Caller, request: DeleteRequest, patience_ms: int | None = None
    ) -> TaskView:
        """Remove a task that has ended; the answer is the task as it was.

        No answer of this coordinator shows it after this one, none of another one after 5 s.

        Raises:
            TaskNotFound, TaskExpired: there is no such task.
            FailedPrecondition: it has not ended.
            StaleEtag: somebody else has changed it since.
            Unavailable: nothing was received. OutcomeUnknown: it may or may not be removed.
        """
        self._check(request.task_id)
        command = DeleteTask(
            task_id=request.task_id,
            namespace=caller.namespace,
            revision=request.revision,
            request_id=self._request_id(request.request_id),
            actor=caller.subject,
            resend=request.resend,
        )
        try:
            return await self._execute(command, patience_ms)
        finally:
            self._reader.ended.forget(request.task_id)

    async def explain(
        self, caller: Caller, task_id: TaskId, patience_ms: int | None = None
    ) -> Explanation:
        """What holds a task back now; that nobody owns its shard is an answer too.

        Raises:
            TaskNotFound, TaskExpired: there is no such task.
            Unavailable: nobody could be asked whether there is one.
        """
        self._check(task_id)
        deadline = self._deadline(patience_ms)
        return await self._explainer.explain(task_id, caller.namespace, deadline)

    async def wait(self, caller: Caller, task_id: TaskId, timeout_ms: int) -> TaskView:
        """The task when it has ended, or as it is when the time is over (at most 60 s).

        Raises:
            TaskNotFound, TaskExpired: there is no such task.
            Unavailable: its shard had no owner when the time was over.
        """
        self._check(task_id)
        deadline = self._deadline(min(timeout_ms, MAX_WAIT_MS))
        return await self._waiter.wait(task_id, caller.namespace, deadline)

    def watch(
        self, caller: Caller, wanted: Sequence[TaskId | None], resume_token: str = ""
    ) -> TaskWatch:
        """Watch tasks: how they stand now, and every change until all have ended.

        Args:
            wanted: at most 1,000 different ids; None where there is nothing to be seen.
            resume_token: from another watch of the same ids; what it told to be over is left out.

        Raises:
            InvalidRequest: the token is not of a watch of these ids.
            ResourceExhausted: this coordinator follows too many tasks already.
        """
        book = WatchBook(caller.namespace, wanted, self._cluster.token_key)
        told = book.told(resume_token)
        ids = [task_id if task_id and self._is_ours(task_id) else None for task_id in wanted]
        watches, ended = self._cluster.calls.watches, self._reader.ended
        return TaskWatch(watches, ended, book, ids, told, namespace=caller.namespace)

    async def _execute(
        self, command: Command, patience_ms: int | None, field: str = "task.run_time"
    ) -> TaskView:
        deadline = self._deadline(patience_ms)
        (answer,) = await self._cluster.calls.execute([command], deadline)
        return view_of(answer, field)

    def _request_id(self, request_id: bytes | None) -> str:
        return request_id_text(request_id or self._cluster.fresh_request_id())

    def _deadline(self, patience_ms: int | None) -> Deadline:
        chosen_ms = DEFAULT_PATIENCE_MS if patience_ms is None else patience_ms
        return Deadline.after(self._cluster.clock, chosen_ms)

    def _check(self, task_id: TaskId) -> None:
        """Refuse ids that this cluster cannot have minted, without asking anyone."""
        if not self._is_ours(task_id):
            raise not_found(task_id)

    def _is_ours(self, task_id: TaskId) -> bool:
        try:
            parts = decode_id(task_id)
        except InvalidId:
            return False
        return parts.kind == KIND_TASK and parts.home.shard in self._shards
