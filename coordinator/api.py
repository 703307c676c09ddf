"""What callers can do with tasks, over the core's types: no wire format, no transport.

The gRPC services and the simulation call the same methods. Must never acknowledge what the
owner has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from timeball.errors import TimeballError

from coordinator.batch_reads import BatchAnswer, BatchReader
from coordinator.creation import Creator
from coordinator.deadline import Deadline
from coordinator.listing import Lister, Page
from coordinator.outcomes import not_found, view_of
from coordinator.paging import ListQuery
from coordinator.read_rule import Verdict
from coordinator.reader import Reader, ReadResult
from coordinator.requests import DEFAULT_PATIENCE_MS, Caller, CancelRequest, Cluster, CreateRequest
from timeball_server.core.commands import CancelTask
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
        self._creator = Creator(cluster)
        self._reader = Reader(cluster.store, cluster.calls, cluster.clock)
        self._batch_reader = BatchReader(cluster)
        self._lister = Lister(cluster.store, cluster.calls, cluster.clock, cluster.token_key)

    async def create(
        self, caller: Caller, requests: Sequence[CreateRequest], patience_ms: int | None = None
    ) -> list[TaskView | TimeballError]:
        """Create tasks; results in the order of the requests, each by itself.

        A request that repeats an earlier one of the same call gets the earlier one's result.
        """
        return await self._creator.create(caller, requests, self._deadline(patience_ms))

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
    ) -> list[BatchAnswer]:
        """Read tasks, in the order of the ids, each by itself.

        Raises:
            StoreUnavailable: none could be read.
        """
        deadline = self._deadline(patience_ms)
        return await self._batch_reader.read(
            task_ids, caller.namespace, deadline, allow_stale=allow_stale
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
            request_id=str(UUID(bytes=request.request_id or self._cluster.fresh_request_id())),
            actor=caller.subject,
            reason=request.reason,
            terminate=request.terminate,
            resend=request.resend,
        )
        deadline = self._deadline(patience_ms)
        (answer,) = await self._cluster.calls.execute([command], deadline)
        return view_of(answer)

    async def wait(self, caller: Caller, task_id: TaskId, timeout_ms: int) -> TaskView:
        """The task when it has ended, or as it is when the time is over (at most 60 s).

        Raises:
            TaskNotFound, TaskExpired: there is no such task.
            Unavailable: its shard had no owner when the time was over.
        """
        self._check(task_id)
        cached = self._reader.ended(task_id, caller.namespace)
        if cached is not None:
            return cached
        look = await self._reader.look(task_id, caller.namespace)
        if look.verdict is Verdict.ANSWER and look.view is not None:
            self._reader.keep(look.view)
            return look.view
        deadline = self._deadline(min(timeout_ms, MAX_WAIT_MS))
        return view_of(await self._cluster.calls.wait(task_id, caller.namespace, deadline))

    def _deadline(self, patience_ms: int | None) -> Deadline:
        chosen_ms = DEFAULT_PATIENCE_MS if patience_ms is None else patience_ms
        return Deadline.after(self._cluster.clock, chosen_ms)

    def _check(self, task_id: TaskId) -> None:
        """Refuse ids that this cluster cannot have minted, without asking anyone."""
        try:
            parts = decode_id(task_id)
        except InvalidId as error:
            raise not_found(task_id) from error
        if parts.kind != KIND_TASK or parts.home.shard not in self._shards:
            raise not_found(task_id)
