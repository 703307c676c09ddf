"""The client for threads: a real synchronous channel, one method per verb.

The asynchronous twin is timeball.async_client; what the verbs do is in timeball._verbs.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import grpc

from timeball import _requests, _revising, _schedules, _verbs
from timeball._base import CHANNEL_OPTIONS, DEADLINE_DEFAULT, ClientBase
from timeball._clock import Clock
from timeball._flow import Flow, Send, Step
from timeball._streaming import IN_FLIGHT_DEFAULT, Creations
from timeball._sync_streams import Opener, created, watched
from timeball._watching import Watching
from timeball.admin import Admin
from timeball.changes import Change
from timeball.durations import DurationLike, parse_duration
from timeball.errors import TimeballError
from timeball.explanation import Explanation, explain
from timeball.handle import SyncHandle, outcome
from timeball.options import Submission, SubmitOptions, UpdateOptions, prepared
from timeball.schedule_handle import SyncScheduleHandle
from timeball.schedules import Schedules
from timeball.states import TaskState
from timeball.timings import Timing
from timeball.v1 import (
    admin_service_pb2,
    schedule_service_pb2,
    task_pb2,
    task_service_pb2,
)

R = TypeVar("R")
PAGE_SIZE_DEFAULT = 100


class Client(ClientBase):
    """Creates, reads, awaits and cancels tasks, blocking the calling thread.

    Every method may raise any error of timeball.errors. Calls that may succeed later are repeated
    until the deadline, mutations with one request id, so that repeating never does a thing twice.
    Safe to share between threads. Arguments: see ClientBase, and

    Args:
        credentials: for TLS; none means an unencrypted channel.
        channel: use this channel, and do not close it.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        api_key: str | None = None,
        namespace: str | None = None,
        deadline: DurationLike = DEADLINE_DEFAULT,
        credentials: grpc.ChannelCredentials | None = None,
        channel: grpc.Channel | None = None,
        clock: Clock | None = None,
        source: random.Random | None = None,
    ) -> None:
        super().__init__(
            address=address,
            api_key=api_key,
            namespace=namespace,
            deadline=deadline,
            clock=clock,
            source=source,
        )
        self._is_own = channel is None
        self._channel = channel or _open(self.settings.target, credentials)
        self._calls: dict[str, Any] = {}
        self._opener = Opener(self._channel, self._metadata, self._error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel; twice is fine."""
        if self._is_own:
            self._is_closed = True
            self._channel.close()

    @property
    def schedules(self) -> Schedules:
        """Recurring work: create or update by name, pause, trigger, backfill, the ledger."""
        return Schedules(self, self._kit, self._run)

    @property
    def admin(self) -> Admin:
        """What operators and administrators may do."""
        return Admin(self._kit, self._run)

    def create(self, task: task_pb2.Task, *, request_id: str | None = None) -> task_pb2.Task:
        """Creates a task given as the API's own message."""
        return self._run(_verbs.create(self._kit, task, request_id))

    @overload
    def submit(self, task: Submission[R], /) -> SyncHandle[R]: ...

    @overload
    def submit(
        self,
        task: str,
        arguments: Mapping[str, object] | None = None,
        /,
        **options: Unpack[SubmitOptions],
    ) -> SyncHandle[Any]: ...

    def submit(
        self,
        task: Submission[Any] | str,
        arguments: Mapping[str, object] | None = None,
        /,
        **options: Unpack[SubmitOptions],
    ) -> SyncHandle[Any]:
        """Promises to run a task: a prepared one, or a handler's name and its named arguments.

        Answers when the promise is durable.
        """
        ready = prepared(task, arguments, **options)
        made = self._run(_verbs.submit(self._kit, ready))
        return SyncHandle(self, made, ready.result_type)

    def batch_submit(
        self, tasks: Iterable[Submission[R]]
    ) -> Sequence[SyncHandle[R] | TimeballError]:
        """Promises many tasks; each succeeds or fails by itself, in the order given.

        Raises an error only when nothing was sent, or the first request of up to 1,000 failed.
        """
        ready = tuple(tasks)
        made = self._run(_verbs.batch(self._kit, ready))
        return [
            item if isinstance(item, TimeballError) else SyncHandle(self, item, each.result_type)
            for item, each in zip(made, ready, strict=True)
        ]

    def submit_many(
        self, tasks: Iterable[Submission[R]], *, in_flight: int = IN_FLIGHT_DEFAULT
    ) -> Iterator[tuple[int, SyncHandle[R] | TimeballError]]:
        """Promises as many tasks as you have over one stream, which is opened again when it breaks.

        Answers come as they are decided: the position among `tasks`, and a handle or the error.
        Each task is answered once. Those on their way when a stream breaks are sent again at
        another coordinator, marked, with their own request ids, until the client's deadline.

        Args:
            tasks: taken one by one while there is room.
            in_flight: how many may be on their way.

        Raises:
            TimeballError: trying again is useless, for example without a valid credential; what
                was not answered may or may not have been created.
        """
        kept: dict[int, Any] = {}

        def requests() -> Iterator[task_service_pb2.CreateTaskRequest]:
            for index, each in enumerate(tasks):
                kept[index] = each.result_type
                yield _verbs.create_request(self._kit, each)

        creations = Creations(self._kit, in_flight)
        for index, made in created(self._opener, self._kit.clock, creations, requests()):
            result_type = kept.pop(index)
            if isinstance(made, TimeballError):
                yield index, made
            else:
                yield index, SyncHandle(self, made, result_type)

    def get(self, task: str, *, allow_stale: bool = False) -> task_pb2.Task:
        """Reads a task by id or resource name, with attempts and journal."""
        return self._run(_verbs.get(self._kit, task, allow_stale=allow_stale))

    def get_many(
        self, tasks: Iterable[str], *, full: bool = False, allow_stale: bool = False
    ) -> Sequence[task_pb2.Task | TimeballError]:
        """Reads tasks by id or resource name, each by itself, in the order given.

        `full` adds payload, result, attempts and journal.
        """
        wanted = tuple(tasks)
        return self._run(_verbs.get_many(self._kit, wanted, full=full, allow_stale=allow_stale))

    def list(
        self,
        *,
        owner: str = "",
        handler: str = "",
        states: Sequence[TaskState | str] = (),
        label: str = "",
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        due_from: datetime | None = None,
        due_to: datetime | None = None,
        page_size: int = PAGE_SIZE_DEFAULT,
        limit: int | None = None,
    ) -> Iterator[task_pb2.Task]:
        """The tasks of one user, newest first, read page by page as you go.

        Owner "-" stands for everybody: then `states` must be given, of RETRYING, SUCCEEDED,
        FAILED, CANCELLED and TERMINATED. A `label` is written key=value.
        """
        request = _requests.list_tasks(
            self._kit.settings,
            owner=owner,
            handler=handler,
            states=states,
            label=label,
            created=(created_from, created_to),
            due=(due_from, due_to),
            page_size=page_size,
        )
        return islice(self._pages(request), limit)

    def cancel(
        self,
        task: str,
        *,
        reason: str = "",
        terminate: bool = False,
        request_id: str | None = None,
    ) -> task_pb2.Task:
        """Stops attempts that have not started.

        Args:
            terminate: end it TERMINATED, and fence a running attempt: nothing it says counts.

        Raises:
            TooLate: an attempt has started, or the task has ended; nothing was changed.
        """
        return self._run(_verbs.cancel(self._kit, task, reason, terminate, request_id))

    def update(
        self,
        task: str,
        arguments: Submission[Any] | Mapping[str, object] | None = None,
        /,
        *,
        etag: str = "",
        request_id: str | None = None,
        **options: Unpack[UpdateOptions],
    ) -> task_pb2.Task:
        """Changes what a task that waits will do; nothing starts as it was before the answer.

        Args:
            arguments: named arguments in place of all those before; of a prepared task nothing
                else is taken.
            etag: as it was read; empty = change whatever there is.

        Raises:
            TooLate: an attempt has started, or the task has ended; nothing was changed.
            StaleEtag: somebody else has changed it since; nothing was changed.
        """
        return self._run(_revising.update(self._kit, task, arguments, options, etag, request_id))

    def reschedule(
        self,
        task: str,
        *,
        at: datetime | None = None,
        after: DurationLike | None = None,
        etag: str = "",
        request_id: str | None = None,
    ) -> task_pb2.Task:
        """Moves the next attempt of a task that waits; without `at` and `after` to now.

        Raises:
            TooLate, StaleEtag: as update.
        """
        return self._run(_revising.reschedule(self._kit, task, at, after, etag, request_id))

    def delete(self, task: str, *, etag: str = "", request_id: str | None = None) -> None:
        """Removes a task that has ended; what it did is not undone.

        Raises:
            FailedPrecondition: it has not ended; cancel it first.
            StaleEtag: somebody else has changed it since.
        """
        self._run(_revising.delete(self._kit, task, etag, request_id))

    def retry(self, task: str, *, request_id: str | None = None) -> task_pb2.Task:
        """Has a task done now: one that waits runs; of one that FAILED a new one is made, once.

        Raises:
            TooLate: an attempt runs.
            FailedPrecondition: it has ended, and did not fail.
        """
        return self._run(_revising.retry(self._kit, task, request_id))

    def explain(self, task: str) -> Explanation:
        """Why a task is not running: the first reason, since when, and the next check."""
        return self._run(explain(self._kit, task))

    def wait(self, task: str, *, timeout: DurationLike | None = None) -> task_pb2.Task:
        """Waits until the task has ended, over broken connections.

        Raises:
            WaitTimeout: it has not ended within `timeout`; it goes on.
        """
        timeout_s = None if timeout is None else _seconds(timeout)
        return self._run(_verbs.wait(self._kit, task, timeout_s))

    def watch(
        self,
        tasks: str | Iterable[str],
        *,
        full: bool = False,
        timeout: DurationLike | None = None,
    ) -> Iterator[Change]:
        """How up to 1,000 tasks stand now, and every change until all have ended.

        Goes on over broken connections: no end is missed, a change may come twice, and changes in
        quick succession come as one, the last.

        Args:
            full: with payload, result, attempts and journal.

        Raises:
            WaitTimeout: not all have ended within `timeout`; they go on.
        """
        timeout_s = None if timeout is None else _seconds(timeout)
        watching = Watching(self._kit, tasks, full=full, timeout_s=timeout_s)
        return watched(self._opener, self._kit.clock, watching)

    def result(self, task: str, *, timeout: DurationLike | None = None) -> Any:
        """Waits and answers what the handler returned, as plain JSON values.

        Raises:
            TaskFailed: it ended without a result.
            WaitTimeout: it has not ended within `timeout`; it goes on.
        """
        return outcome(self.wait(task, timeout=timeout), Any)

    def create_schedule(
        self,
        timing: Timing,
        task: Submission[Any] | str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        title: str = "",
        **options: Unpack[SubmitOptions],
    ) -> SyncScheduleHandle:
        """Starts a task at each nominal time; `title` becomes its label. See also `schedules`."""
        ready = prepared(task, arguments, **options)
        made = self._run(_schedules.create(self._kit, timing, ready, name="", title=title))
        return SyncScheduleHandle(self, made)

    def get_schedule(self, schedule: str) -> schedule_service_pb2.Schedule:
        """Reads a schedule by id or resource name."""
        return self._run(_schedules.get(self._kit, schedule))

    def delete_schedule(self, schedule: str, *, request_id: str | None = None) -> None:
        """Ends a schedule: no nominal time after the answer is launched."""
        self.schedules.delete(schedule, request_id=request_id)

    def cluster(self) -> admin_service_pb2.GetClusterResponse:
        """Nodes, shards and their owners at one moment."""
        return self._run(_verbs.cluster(self._kit))

    def drain_node(self, node: str, *, request_id: str | None = None) -> admin_service_pb2.Node:
        """Gives a scheduler node no more work: its shards move, and it keeps running.

        Raises:
            NodeNotFound: no living process has this name.
            FailedPrecondition: it is no scheduler node, or nobody else could take its shards.
        """
        return self._run(_verbs.drain_node(self._kit, node, request_id))

    def dead_letters(
        self,
        *,
        failed_from: datetime | None = None,
        failed_to: datetime | None = None,
        page_size: int = PAGE_SIZE_DEFAULT,
        limit: int | None = None,
    ) -> Iterator[admin_service_pb2.DeadLetter]:
        """Tasks that failed for good, newest first, read page by page as you go."""
        failed = (failed_from, failed_to)
        request = _requests.list_dead_letters(self._kit.settings, failed, page_size)
        return islice(self._letters(request), limit)

    def _pages(self, request: task_service_pb2.ListTasksRequest) -> Iterator[task_pb2.Task]:
        while True:
            answer = self._run(_verbs.page(self._kit, request))
            yield from answer.tasks
            if not answer.next_page_token:
                return

    def _letters(
        self, request: admin_service_pb2.ListDeadLettersRequest
    ) -> Iterator[admin_service_pb2.DeadLetter]:
        while True:
            answer = self._run(_verbs.letters_page(self._kit, request))
            yield from answer.dead_letters
            if not answer.next_page_token:
                return

    def _run(self, flow: Flow[R]) -> R:
        self._check_open()
        try:
            step = next(flow)
            while True:
                try:
                    answer = self._perform(step)
                except TimeballError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: R = end.value
            return result

    def _perform(self, step: Step) -> Any:
        if not isinstance(step, Send):
            return self._kit.clock.sleep(step.seconds)
        try:
            return self._call_of(step)(
                step.request, timeout=step.timeout_s, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise self._error(error) from error

    def _call_of(self, step: Send) -> Any:
        method = step.method
        if method.path not in self._calls:
            self._calls[method.path] = self._channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.answer.FromString,
            )
        return self._calls[method.path]


def _seconds(timeout: DurationLike) -> float:
    return parse_duration(timeout, field="timeout").total_seconds()


def _open(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(target, CHANNEL_OPTIONS)
    return grpc.secure_channel(target, credentials, CHANNEL_OPTIONS)
