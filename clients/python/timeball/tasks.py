"""`@timeball.task`: a function that others can ask to run later, and that is still a function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from timeball.declared import Declared, declare
from timeball.defaults import default_async_client, default_client
from timeball.options import (
    Submission,
    SubmitOptions,
    TaskOptions,
    check_option_names,
)
from timeball.registry import Handler, register

if TYPE_CHECKING:
    from timeball.handle import Handle, SyncHandle
    from timeball.schedule_handle import ScheduleHandle, SyncScheduleHandle
    from timeball.timings import Timing

P = ParamSpec("P")
R = TypeVar("R")


class _Verbs(Generic[P, R]):
    """The verbs that a task and a task with options share."""

    def __init__(self, handler: Handler, options: SubmitOptions) -> None:
        self._handler = handler
        self._options = options

    @property
    def name(self) -> str:
        """Name of the handler."""
        return self._handler.name

    def prepare(self, *args: P.args, **kwargs: P.kwargs) -> Submission[R]:
        """Checks the arguments and packs them, for `batch_submit` or a client of your own.

        Raises:
            InvalidRequest: an argument is not of its declared type; violations name the path.
            TypeError: the arguments do not fit the signature.
        """
        return Submission(
            handler=self._handler.name,
            data=self._handler.encode(*args, **kwargs),
            options=self._options,
            result_type=self._handler.result_type,
        )

    async def submit(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """Promises to run the task; answers when the promise is durable.

        Raises as prepare, and any error of timeball.errors.
        """
        return await default_async_client().submit(self.prepare(*args, **kwargs))

    def submit_sync(self, *args: P.args, **kwargs: P.kwargs) -> SyncHandle[R]:
        """As submit, blocking the thread."""
        return default_client().submit(self.prepare(*args, **kwargs))

    async def schedule(
        self, name: str, timing: Timing, /, *args: P.args, **kwargs: P.kwargs
    ) -> ScheduleHandle:
        """Creates the schedule of this name, or makes it what is said here.

        Runs the task at each nominal time, say of `every("2s")` or
        `cron("0 9 * * mon-fri", tz="Europe/Berlin")`. Every task it makes carries the name as its
        label `schedule`. A schedule that is so already stays as it is. Raises as submit.

        Args:
            name: begins with a letter; a-z, 0-9, dot, dash and underscore; at most 100.
            timing: when; its options say what happens to misses and overlaps.
        """
        ready = self.prepare(*args, **kwargs)
        return await default_async_client().schedules.put(name, timing, ready)

    def schedule_sync(
        self, name: str, timing: Timing, /, *args: P.args, **kwargs: P.kwargs
    ) -> SyncScheduleHandle:
        """As schedule, blocking the thread."""
        ready = self.prepare(*args, **kwargs)
        return default_client().schedules.put(name, timing, ready)

    def declare_schedule(
        self, name: str, timing: Timing, /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Declares a schedule next to the task; `timeball schedule apply --app` makes it so.

        Sends nothing. Raises as prepare, and:

        Raises:
            ValueError: this process has declared another schedule of this name.

        Args:
            name: begins with a letter; a-z, 0-9, dot, dash and underscore; at most 100.
            timing: when; its options say what happens to misses and overlaps.
        """
        ready = self.prepare(*args, **kwargs)
        declare(Declared(name=name, timing=timing, submission=ready))


class TaskCall(_Verbs[P, R]):
    """A task with options, ready for its arguments."""

    def __repr__(self) -> str:
        return f"<TaskCall {self.name} {dict(self._options)}>"


class Task(_Verbs[P, R]):
    """A registered handler: submit it, schedule it, or call it as the function that it is."""

    @property
    def handler(self) -> Handler:
        """What executors run."""
        return self._handler

    def options(self, **options: Unpack[SubmitOptions]) -> TaskCall[P, R]:
        """The same task with options for one submission; they win over those of the declaration.

        Raises:
            TypeError: an option does not exist.
        """
        check_option_names(options)
        return TaskCall(self._handler, {**self._options, **options})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class AsyncTask(Task[P, R]):
    """A task whose function is a coroutine function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Runs the function here and now, without the service."""
        made: Coroutine[Any, Any, R] = self._handler.function(*args, **kwargs)
        return made


class SyncTask(Task[P, R]):
    """A task whose function is a plain function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the function here and now, without the service."""
        made: R = self._handler.function(*args, **kwargs)
        return made


class TaskDecorator(Protocol):
    """What `task(name)` answers. The order matters: a coroutine function is a function as well."""

    @overload
    def __call__(  # type: ignore[overload-overlap] # told apart by their order, on purpose
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...


def task(
    name: str, /, *, max_concurrent: int | None = None, **options: Unpack[TaskOptions]
) -> TaskDecorator:
    """Registers the decorated function as the handler `name`.

    The name is explicit, so that renaming or moving the function never orphans work:

        @timeball.task("billing.charge", timeout="30s")
        async def charge(user: str, amount: int) -> Receipt: ...

        handle = await charge.submit("u1", amount=5)

    Args:
        name: dotted words, for example "billing.charge".
        max_concurrent: attempts at once on one executor, where fewer than it has slots must run
            together; each executor counts its own.
        options: defaults for every submission; `charge.options(...)` overrides them.

    Raises:
        ValueError: another function has this name.
        InvalidRequest: max_concurrent is below 1.
        TypeError: an option does not exist, or the signature has *args or **kwargs.
    """
    check_option_names(options, TaskOptions.__optional_keys__)
    defaults = cast(SubmitOptions, options)

    def decorate(function: Callable[..., Any]) -> Any:
        handler = register(Handler(name, function, max_concurrent=max_concurrent))
        kind = AsyncTask if handler.is_async else SyncTask
        return functools.update_wrapper(kind(handler, defaults), function)

    return decorate
