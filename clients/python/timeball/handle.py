"""What a submitted task looks like to its caller: where it stands, its result, its end.

Handles hold names, not connections: they ask the client that made them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack

from timeball.durations import DurationLike
from timeball.errors import InvalidRequest, TaskFailed, Violation
from timeball.options import Submission, UpdateOptions
from timeball.payload import decode_result
from timeball.states import TaskState, state_of
from timeball.v1 import task_pb2

if TYPE_CHECKING:
    from timeball.async_client import AsyncClient
    from timeball.changes import Change
    from timeball.client import Client
    from timeball.explanation import Explanation

R = TypeVar("R")


class _Known(Generic[R]):
    """What both handles know without asking."""

    def __init__(self, task: task_pb2.Task, result_type: Any) -> None:
        self._task = task
        self._result_type = result_type

    @property
    def name(self) -> str:
        """Resource name, namespaces/{namespace}/tasks/{id}."""
        return self._task.name

    @property
    def id(self) -> str:
        """The task's id; handlers see it as the occurrence id."""
        return self.name.rpartition("/")[2]

    @property
    def last_seen(self) -> task_pb2.Task:
        """The API's task as the last answer had it; asks nobody."""
        return self._task

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {state_of(self._task.state)}>"

    def _check_handler(self, arguments: Submission[Any] | Mapping[str, object] | None) -> None:
        """Refuses arguments that were prepared for another handler than this task's."""
        mine = self._task.handler
        if isinstance(arguments, Submission) and mine and arguments.handler != mine:
            sentence = f"{arguments.handler} is another handler than the task's, {mine}"
            raise InvalidRequest(sentence, violations=[Violation("arguments", sentence)])

    def _seen(self, task: task_pb2.Task) -> TaskState:
        self._task = task
        return state_of(task.state)

    def _changed(self, change: Change) -> TaskState:
        if change.error is not None:
            raise change.error
        return self._seen(task_pb2.Task() if change.task is None else change.task)

    def _outcome(self, task: task_pb2.Task) -> R:
        self._seen(task)
        result: R = outcome(task, self._result_type)
        return result


class Handle(_Known[R]):
    """A submitted task, for coroutines."""

    def __init__(self, client: AsyncClient, task: task_pb2.Task, result_type: Any = Any) -> None:
        super().__init__(task, result_type)
        self._client = client

    async def result(self, *, timeout: DurationLike | None = None) -> R:
        """Waits for the end and answers what the handler returned.

        Raises:
            TaskFailed: it ended without a result; metadata has state, cause and last failure.
            WaitTimeout: it has not ended within `timeout`; it goes on.
            FailedPrecondition: the result is not of the declared type.
        """
        return self._outcome(await self._client.wait(self.name, timeout=timeout))

    async def cancel(self, *, reason: str = "", terminate: bool = False) -> TaskState:
        """Stops attempts that have not started; answers where the task stands now.

        Args:
            terminate: end it TERMINATED, and fence a running attempt: nothing it says counts.

        Raises:
            TooLate: an attempt has started, or the task has ended; nothing was changed.
        """
        return self._seen(await self._client.cancel(self.name, reason=reason, terminate=terminate))

    async def update(
        self,
        arguments: Submission[Any] | Mapping[str, object] | None = None,
        /,
        *,
        etag: str = "",
        **options: Unpack[UpdateOptions],
    ) -> TaskState:
        """Changes what the task will do while it waits; nothing starts as it was before.

        Args:
            arguments: in place of all those before: `charge.prepare("u2", amount=7)`, of which
                nothing else is taken, or a mapping of their names.
            etag: as it was read, `handle.last_seen.etag`; empty = change whatever there is.

        Raises:
            TooLate: an attempt has started, or the task has ended; nothing was changed.
            StaleEtag: somebody else has changed it since; nothing was changed.
        """
        self._check_handler(arguments)
        changed = await self._client.update(self.name, arguments, etag=etag, **options)
        return self._seen(changed)

    async def reschedule(
        self,
        *,
        at: datetime | None = None,
        after: DurationLike | None = None,
        etag: str = "",
    ) -> TaskState:
        """Moves the next attempt while the task waits; without `at` and `after` to now.

        Raises:
            TooLate, StaleEtag: as update.
        """
        moved = await self._client.reschedule(self.name, at=at, after=after, etag=etag)
        return self._seen(moved)

    async def delete(self, *, etag: str = "") -> None:
        """Removes the task, which has ended; what it did is not undone.

        Raises:
            FailedPrecondition: it has not ended; cancel it first.
        """
        await self._client.delete(self.name, etag=etag)

    async def retry(self) -> Handle[R]:
        """Has it done now. Answers who does it: this task if it waits, a new one if it FAILED.

        Raises:
            TooLate: an attempt runs.
            FailedPrecondition: it has ended, and did not fail.
        """
        return Handle(self._client, await self._client.retry(self.name), self._result_type)

    async def status(self) -> TaskState:
        """Asks where the task stands."""
        return self._seen(await self._client.get(self.name))

    async def explain(self) -> Explanation:
        """Why the task is not running: the first reason, since when, and the next check."""
        return await self._client.explain(self.name)

    async def watch(self, *, timeout: DurationLike | None = None) -> AsyncIterator[TaskState]:
        """Where the task stands now, and every change until its end; `last_seen` is the task.

        Raises:
            TaskNotFound: there is no such task any more.
            WaitTimeout: it has not ended within `timeout`; it goes on.
        """
        async for change in self._client.watch(self.name, full=True, timeout=timeout):
            yield self._changed(change)


class SyncHandle(_Known[R]):
    """A submitted task, for threads; verb for verb the twin of Handle."""

    def __init__(self, client: Client, task: task_pb2.Task, result_type: Any = Any) -> None:
        super().__init__(task, result_type)
        self._client = client

    def result(self, *, timeout: DurationLike | None = None) -> R:
        """Waits for the end and answers what the handler returned; raises as Handle.result."""
        return self._outcome(self._client.wait(self.name, timeout=timeout))

    def cancel(self, *, reason: str = "", terminate: bool = False) -> TaskState:
        """Stops attempts that have not started; says and raises what Handle.cancel does."""
        return self._seen(self._client.cancel(self.name, reason=reason, terminate=terminate))

    def update(
        self,
        arguments: Submission[Any] | Mapping[str, object] | None = None,
        /,
        *,
        etag: str = "",
        **options: Unpack[UpdateOptions],
    ) -> TaskState:
        """Changes what the task will do while it waits; says and raises what Handle.update does."""
        self._check_handler(arguments)
        return self._seen(self._client.update(self.name, arguments, etag=etag, **options))

    def reschedule(
        self,
        *,
        at: datetime | None = None,
        after: DurationLike | None = None,
        etag: str = "",
    ) -> TaskState:
        """Moves the next attempt while the task waits; raises as Handle.reschedule."""
        return self._seen(self._client.reschedule(self.name, at=at, after=after, etag=etag))

    def delete(self, *, etag: str = "") -> None:
        """Removes the task, which has ended; raises as Handle.delete."""
        self._client.delete(self.name, etag=etag)

    def retry(self) -> SyncHandle[R]:
        """Has it done now, by this task or a new one; raises as Handle.retry."""
        return SyncHandle(self._client, self._client.retry(self.name), self._result_type)

    def status(self) -> TaskState:
        """Asks where the task stands."""
        return self._seen(self._client.get(self.name))

    def explain(self) -> Explanation:
        """Why the task is not running: the first reason, since when, and the next check."""
        return self._client.explain(self.name)

    def watch(self, *, timeout: DurationLike | None = None) -> Iterator[TaskState]:
        """Where the task stands now, and every change until its end; raises as Handle.watch."""
        for change in self._client.watch(self.name, full=True, timeout=timeout):
            yield self._changed(change)


def outcome(task: task_pb2.Task, result_type: Any) -> Any:
    """The result of a task that has ended.

    Raises:
        TaskFailed: it has none.
        FailedPrecondition: it is not of the declared type.
    """
    state = state_of(task.state)
    if state is not TaskState.SUCCEEDED:
        raise _failed(task, state)
    return decode_result(task.result.data, task.result.content_type, result_type)


def _failed(task: task_pb2.Task, state: TaskState) -> TaskFailed:
    facts = {"task": task.name, "state": state.value, "attempts": str(task.attempt)}
    words = f"{task.name} ended as {state}"
    if task.cause in task_pb2.FailureCause.values() and task.cause:
        cause = task_pb2.FailureCause.Name(task.cause).removeprefix("FAILURE_CAUSE_")
        facts["cause"] = cause
        words += f" ({cause})"
    if task.HasField("failure"):
        facts["failure_kind"] = task.failure.kind
        facts["failure_message"] = task.failure.message
        words += f": {task.failure.kind}: {task.failure.message}"
    return TaskFailed(words, metadata=facts)
