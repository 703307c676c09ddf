"""An asyncio loop in virtual time: instead of waiting it moves its clock to the next timer.

Nothing here depends on hash seeds, the wall clock or threads, so one seed is one history. When
nothing is left to run the loop raises `Deadlock` and names the tasks that still wait; when tasks
only keep each other busy past the limit of virtual time it raises `OutOfTime`.

Code runs in the name of a process when it was started by `start_in`. `freeze` holds back all
that a process would run until `thaw`, `kill` holds it back for ever. Both take effect as soon as
the running code awaits something.
"""

import asyncio
import collections
import contextvars
import heapq
import inspect
import random
import selectors
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, TypeGuard, TypeVar

import msgspec

from timeball_server.ports.clock import Now

T = TypeVar("T")
MICROSECONDS = 1_000_000
START_WALL_MS = 1_761_440_280_000
"""Where virtual wall clocks start: a whole minute, two before clocks in Berlin are put back."""
PROCESS: contextvars.ContextVar[str | None] = contextvars.ContextVar("process", default=None)
"""The process in whose name the running code acts; None is the test itself."""


def since_start_us(wall_ms: int) -> int:
    """A wall-clock instant as true virtual time, by clocks that are right."""
    return (wall_ms - START_WALL_MS) * 1_000


def known_since_start_us(wall_ms: int | None) -> int | None:
    """The same of an instant that may be none."""
    return None if wall_ms is None else since_start_us(wall_ms)


_NEW = tuple.__new__
"""Clocks are read all the time; this makes a reading without a call of ours."""
FEW_TASKS = 1_000
"""So many tasks, ended ones too, are kept before the loop looks which of them have ended."""


class Deadlock(AssertionError):
    """Tasks wait, but no timer and no callback is left that could wake them."""


class OutOfTime(AssertionError):
    """The run went on past its limit of virtual time."""


class Ring(msgspec.Struct, eq=False):
    """A call that is ready or has its time: what `asyncio.Handle` is to the stock loop.

    Made for every step of every task, so it is made fast.

    Attributes:
        call: the callback and its arguments; empty = cancelled.
        context: what it runs in.
        at_us: its time, where it has one.
    """

    call: tuple[Any, ...]
    context: contextvars.Context
    at_us: int = 0

    def cancel(self) -> None:
        """Do not call."""
        self.call = ()

    def cancelled(self) -> bool:
        """Whether it is not going to be called."""
        return not self.call

    def when(self) -> float:
        """The virtual second of the call."""
        return self.at_us / MICROSECONDS


class VirtualLoop(asyncio.SelectorEventLoop):
    """The stock loop with a clock of its own, starting at 0 and counted in microseconds.

    Attributes:
        now_us: virtual microseconds since the loop was made.
        random: for tests that draw.
        problems: what nobody handled.
    """

    # The stock loop's own queue; it holds only what `call_soon` and timers put there.
    _ready: collections.deque[Any]
    _stopping: bool

    def __init__(self, seed: int = 0, limit_s: float = 24 * 3_600) -> None:
        super().__init__(_Selector())
        self.random = random.Random(seed)
        self.problems: list[str] = []
        self.now_us = 0
        self._limit_us = round(limit_s * MICROSECONDS)
        self._timers: list[tuple[int, int, Ring]] = []
        self._timers_made = 0
        self._held: dict[str, list[Ring]] = {}
        self._killed: set[str] = set()
        self._living: dict[asyncio.Future[Any], None] = {}
        self._living_most = FEW_TASKS
        self.set_exception_handler(self._note_problem)

    get_debug = staticmethod(bool)
    """Never; every future asks."""

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self.now_us / MICROSECONDS

    def start_in(self, process: str, main: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that acts, with all that it starts, in the name of a process."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        return self.create_task(main, name=f"{process}: main", context=context)

    def freeze(self, process: str) -> None:
        """Run nothing of this process until `thaw`. Its timers ring, but nobody answers."""
        self._held.setdefault(process, [])

    def thaw(self, process: str) -> None:
        """Run what was held back, in its order. A killed process stays dead."""
        if process not in self._killed:
            self._ready.extend(self._held.pop(process, ()))

    def kill(self, process: str) -> None:
        """Run nothing of this process ever again, no `finally` either."""
        self.freeze(process)
        self._killed.add(process)

    def is_held(self, process: str) -> bool:
        """Whether the process is frozen or killed."""
        return process in self._held

    def waiting(self) -> int:
        """How many tasks have not ended, the caller's included."""
        return sum(not task.done() for task in self._living)

    def wind_up(self) -> None:
        """The run is over: cancel all tasks in the order of their making, the held ones too."""
        self._killed.clear()
        for process in tuple(self._held):
            self.thaw(process)
        while pending := tuple(task for task in self._living if not task.done()):
            for task in pending:
                task.cancel()
            self.run_until_complete(_all_done(pending))
        self._living.clear()

    def drop_unstarted(self) -> None:
        """Tasks that a history without an end left before their first step: no warning of them."""
        for task in self._living:
            coroutine = task.get_coro() if isinstance(task, asyncio.Task) else None
            if inspect.iscoroutine(coroutine) and not task.done():
                state = inspect.getcoroutinestate(coroutine)
                if state == inspect.CORO_CREATED:
                    coroutine.close()

    def create_task(self, main: Any, **options: Any) -> asyncio.Task[Any]:  # type: ignore[override]  # faster
        """A task that is kept until it is done, so that no collector decides when it ends."""
        task: asyncio.Task[Any] = asyncio.Task(main, loop=self, **options)
        living = self._living
        living[task] = None
        if len(living) > self._living_most:
            self.forget_ended()
        return task

    def call_soon(self, *call: Any, context: Any = None) -> Ring:  # type: ignore[override]  # faster
        """Call back in the next round: the callback, then its arguments."""
        ring = Ring(call, contextvars.copy_context() if context is None else context)
        self._ready.append(ring)
        return ring

    def call_soon_threadsafe(self, *call: Any, context: Any = None) -> Ring:  # type: ignore[override]
        """The same: there is one thread, and what is written for more of them runs on it too."""
        return self.call_soon(*call, context=context)

    def call_later(self, delay: float, *call: Any, context: Any = None) -> Ring:  # type: ignore[override]  # faster
        """Call back after so many virtual seconds."""
        at_us = self.now_us + round(delay * MICROSECONDS)
        ring = Ring(call, contextvars.copy_context() if context is None else context, at_us)
        self._timers_made += 1
        heapq.heappush(self._timers, (at_us, self._timers_made, ring))
        return ring

    def call_at(self, when: float, *call: Any, context: Any = None) -> Ring:  # type: ignore[override]  # faster
        """Call back at this virtual second; those of one microsecond in their making order."""
        at_us = round(when * MICROSECONDS)
        ring = Ring(call, contextvars.copy_context() if context is None else context, at_us)
        self._timers_made += 1
        heapq.heappush(self._timers, (at_us, self._timers_made, ring))
        return ring

    def _run_once(self) -> None:
        """Rounds as the stock loop makes them, but without files, until somebody stops the loop."""
        ready, held, timers = self._ready, self._held, self._timers
        take = ready.popleft
        while True:
            if not ready or (timers and timers[0][0] <= self.now_us):
                self._ring_due_timers()
            for _ in range(len(ready)):
                ring = take()
                call, context = ring.call, ring.context
                if not call:
                    continue
                if held:
                    name: Any = context.get(PROCESS)  # None is nobody's name
                    waiting = held.get(name)
                    if waiting is not None:
                        waiting.append(ring)
                        continue
                try:
                    context.run(*call)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 - told, and the run fails with it
                    self.call_exception_handler(
                        {"message": f"Exception in {_name(ring)}", "exception": error}
                    )
            if self._stopping:
                return

    def _ring_due_timers(self) -> None:
        """What is due is ready now; if nothing else is, the clock moves to the next timer."""
        timers, ready, pop = self._timers, self._ready, heapq.heappop
        if not ready and not self._stopping:
            while timers and not timers[0][2].call:
                pop(timers)
            if not timers:
                raise Deadlock(f"nothing is left to run, but these wait: {self._who_waits()}")
            if timers[0][0] > self.now_us:
                self._move_to(timers[0][0])
        now_us = self.now_us
        while timers and timers[0][0] <= now_us:
            ring = pop(timers)[2]
            if ring.call:
                ready.append(ring)

    def _move_to(self, now_us: int) -> None:
        """Move the clock."""
        self.now_us = now_us
        if now_us > self._limit_us:
            raise OutOfTime(f"still busy at {self.time()} s of virtual time: {self._who_waits()}")

    def forget_ended(self) -> None:
        """Let go of tasks that have ended; what nobody has asked about complains as it goes."""
        living = self._living
        for each in [each for each in living if each.done()]:
            del living[each]
        self._living_most = max(FEW_TASKS, 2 * len(living))

    def forget_waiting(self) -> None:
        """Let go of what will never run: it leads back to the loop, as only collectors see."""
        self._timers.clear()
        self._held.clear()

    def _note_problem(self, _: object, context: dict[str, Any]) -> None:
        """Remember what nobody handled; `run_virtual` fails with it."""
        self.problems.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _who_waits(self) -> str:
        """Names of the living tasks and where each one waits."""
        return "; ".join(_where(task) for task in self._living if _waits(task))


class VirtualClock:
    """A node's clock on a virtual loop; implements `Clock`.

    Attributes:
        skew_ms: how far the node's wall clock is wrong; may be set at any time (a step).
        mono_offset_ms: monotonic readings of two nodes have nothing in common.
    """

    def __init__(self, loop: VirtualLoop, wall_offset_ms: int = 0, mono_offset_ms: int = 0) -> None:
        self.skew_ms = wall_offset_ms
        self.mono_offset_ms = mono_offset_ms
        self._loop = loop

    def now(self) -> Now:
        """Both times at once."""
        passed_ms = self._loop.now_us // 1_000
        wall_ms = START_WALL_MS + passed_ms + self.skew_ms
        return _NEW(Now, (wall_ms, passed_ms + self.mono_offset_ms))

    async def sleep_ms(self, duration_ms: float) -> None:
        """Wait in virtual time."""
        loop = self._loop
        wake = loop.create_future()
        timer = loop.call_later(duration_ms / 1_000 if duration_ms > 0 else 0, _wake, wake)
        try:
            await wake
        except BaseException:
            timer.cancel()
            raise


def run_virtual(
    main: Callable[[VirtualLoop], Coroutine[Any, Any, T]],
    seed: int = 0,
    limit_s: float = 24 * 3_600,
) -> T:
    """Run one history to its end and return the result of `main(loop)`.

    Raises:
        Deadlock, OutOfTime: it cannot end.
        AssertionError: it ended, but a task or callback failed and nobody looked.
    """
    loop = VirtualLoop(seed, limit_s)
    try:
        result = loop.run_until_complete(main(loop))
        loop.forget_ended()
        problems = tuple(loop.problems)
    finally:
        _close(loop)
    assert not problems, f"nobody handled: {problems}"
    return result


def _close(loop: VirtualLoop) -> None:
    """Wind up within an hour more; what cannot end even then is no longer our history."""
    loop._limit_us = loop.now_us + 3_600 * MICROSECONDS
    try:
        loop.wind_up()
    finally:
        loop.drop_unstarted()
        loop.forget_waiting()
        loop.close()


def _all_done(pending: Collection[asyncio.Future[Any]]) -> asyncio.Future[list[Any]]:
    """Done when each of these has ended somehow."""
    return asyncio.gather(*pending, return_exceptions=True)


def _wake(wake: asyncio.Future[None]) -> None:
    """End a sleep unless it was cancelled."""
    if not wake.done():
        wake.set_result(None)


def _name(ring: Ring) -> str:
    """What is called."""
    return str(getattr(ring.call[0], "__qualname__", type(ring.call[0]).__qualname__))


def _waits(task: asyncio.Future[Any]) -> TypeGuard[asyncio.Task[Any]]:
    return isinstance(task, asyncio.Task) and not task.done()


def _where(task: asyncio.Task[Any]) -> str:
    """The task's name and the line where it waits."""
    frames = task.get_stack(limit=1)
    place = f" at {frames[0].f_code.co_qualname}:{frames[0].f_lineno}" if frames else ""
    return f"{task.get_name()}{place}"


class _Selector(selectors.BaseSelector):
    """Knows files so that the loop can start; the loop never asks it for any."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, int(fileobj), events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys
