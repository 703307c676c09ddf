"""Runs handlers: async ones on the loop, sync ones in threads. Owns every live handler.

Decides nothing about epochs or streams. Reports to a listener on the event loop, and to it alone.
A run whose time is over, that is terminated or interrupted is given up: its outcome is reported
at once, and its slot when the handler has really returned. A run with a key is reported only then:
as long as it may do something, no other may have its place (ADR 16).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Protocol

from timeball.context import Cancellation, Context, running_as
from timeball.errors import InvalidRequest
from timeball.heartbeats import Checkpoint, Heartbeat
from timeball.registry import Call, Handler

from executor_node.outcomes import (
    INTERRUPTED,
    SILENT,
    TERMINATED,
    TIMED_OUT,
    Outcome,
    bad_arguments,
    no_thread,
    raised,
    returned,
)
from executor_node.pulses import Pulses, RunPulse
from executor_node.start_log import StartLog
from executor_node.threads import HandlerThreads, LoopMail
from timeball_server.core.executor_runs import RunRecord, record_of
from timeball_server.core.messages import Beat, RunId, RunOrder, RunPhase, RunResult
from timeball_server.ports.clock import Clock

USERS_ERRORS: Final = (Exception, SystemExit)
"""What a handler's code may end with; KeyboardInterrupt belongs to the process."""


class RunListener(Protocol):
    """Hears what becomes of the runs. Called on the event loop; must return at once."""

    def run_started(self, run: RunId, started_ms: int) -> None:
        """The handler is about to be called."""
        ...

    def run_beat(self, beat: Beat) -> None:
        """The handler says that it lives."""
        ...

    def run_ended(self, result: RunResult, slot_held: bool) -> None:
        """The run has its result; `slot_held` = the handler has not returned yet."""
        ...

    def slot_released(self, handler: str) -> None:
        """A handler whose slot was held has returned."""
        ...


@dataclass(slots=True, eq=False)
class _Active:
    """A run whose handler has not returned."""

    order: RunOrder
    handler: Handler
    pulses: Pulses
    cancellation: Cancellation = field(default_factory=Cancellation)
    started_ms: int | None = None
    given_up: bool = False
    pulse: RunPulse | None = None
    owed: Outcome = INTERRUPTED
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None

    def beat(self, beat: Heartbeat) -> None:
        """The handler says that it lives; from any thread."""
        if self.pulse is None:
            self.pulse = self.pulses.begin(self.order)
        self.pulse.beat(beat)


class Runner:
    """Runs at most `slots` sync handlers at once; the caller keeps to the number of slots.

    Args:
        handlers: by name; only these can be called.
        slots: the largest number of threads.
        clock: stamps starts and ends; must be usable from threads.
        listener: hears of starts and ends.
        start_log: written before each start, if given.
    """

    def __init__(
        self,
        *,
        handlers: Mapping[str, Handler],
        slots: int,
        clock: Clock,
        listener: RunListener,
        start_log: StartLog | None = None,
    ) -> None:
        self._handlers = handlers
        self._clock = clock
        self._listener = listener
        self._start_log = start_log
        self._loop = asyncio.get_running_loop()
        self._threads = HandlerThreads(slots)
        self._mail = LoopMail(self._loop)
        self._pulses = Pulses(self._loop, self._mail, listener.run_beat)
        self._active: dict[RunId, _Active] = {}

    @property
    def active(self) -> int:
        """Handlers that have not returned, given up or not."""
        return len(self._active)

    @property
    def active_of(self) -> Counter[str]:
        """The same by handler."""
        return Counter(each.order.handler for each in self._active.values())

    @property
    def former(self) -> dict[RunId, RunRecord]:
        """Runs with a key that were given up and have not returned, for the next membership."""
        return {
            run: replace(
                record_of(active.order), phase=RunPhase.RUNNING, started_ms=active.started_ms
            )
            for run, active in self._active.items()
            if active.order.concurrency_key
        }

    def start(self, orders: Iterable[RunOrder]) -> None:
        """Begin these runs now, in this order."""
        for order in orders:
            active = _Active(order, self._handlers[order.handler], self._pulses)
            self._active[order.run] = active
            if active.handler.is_async:
                active.task = self._loop.create_task(self._run_async(active))
            else:
                self._begin_thread(active)

    def cancel(self, run: RunId, *, terminate: bool) -> None:
        """Tell the handler that its cancellation was asked for; `terminate` gives it up."""
        active = self._active.get(run)
        if active is None:
            return
        active.cancellation.set()
        if terminate:
            self._give_up(active, TERMINATED)

    def give_up_silent(self, run: RunId) -> None:
        """Give a run up if its handler has been silent for too long; say what it said, if not."""
        active = self._active.get(run)
        if active is None or active.pulse is None:
            return
        self._pulses.say_now(active.pulse)
        if active.pulse.is_silent(self._loop.time()):
            self._give_up(active, SILENT)

    def interrupt_all(self) -> None:
        """Give up every run because the executor shuts down."""
        for active in tuple(self._active.values()):
            self._give_up(active, INTERRUPTED)

    def abandon_all(self) -> None:
        """Give up every run without a report: nobody waits for the results any more."""
        for active in tuple(self._active.values()):
            self._stop(active)

    def close(self) -> None:
        """Give everything up and let the threads go; waits for nothing. Safe to call twice."""
        self.abandon_all()
        self._pulses.close()
        self._threads.close()

    # Async handlers -----------------------------------------------------------------------------

    async def _run_async(self, active: _Active) -> None:
        outcome: Outcome | None = None
        try:
            outcome = await self._attempt_async(active)
        except asyncio.CancelledError as error:
            if active.task is not None and active.task.cancelling() and not active.given_up:
                # The loop is shutting down around us.
                raise
            # Ours, if the run was given up; else the handler let somebody else's pass.
            outcome = raised(error, self._clock.now().wall_ms)
        finally:
            self._returned(active, outcome or INTERRUPTED)

    async def _attempt_async(self, active: _Active) -> Outcome | None:
        try:
            begun = self._begin(active)
            if not isinstance(begun, tuple):
                return begun
            call, context = begun
            self._report_start(active, context.started_ms)
            with running_as(context):
                return returned(await active.handler.call(call, context))
        except USERS_ERRORS as error:
            return raised(error, self._clock.now().wall_ms)

    # Sync handlers ------------------------------------------------------------------------------

    def _begin_thread(self, active: _Active) -> None:
        """A run without a thread ends as any other does, later than its beginning."""
        try:
            self._threads.submit(partial(self._run_in_thread, active))
        except RuntimeError as error:
            self._mail.post(partial(self._returned, active, no_thread(str(error))))

    def _run_in_thread(self, active: _Active) -> None:
        outcome = self._attempt_sync(active)
        self._mail.post(partial(self._returned, active, outcome or INTERRUPTED))

    def _attempt_sync(self, active: _Active) -> Outcome | None:
        try:
            begun = self._begin(active)
            if not isinstance(begun, tuple):
                return begun
            call, context = begun
            self._mail.post(partial(self._report_start, active, context.started_ms))
            with running_as(context):
                return returned(active.handler.call(call, context))
        except BaseException as error:  # noqa: BLE001 - a thread has no caller to raise to
            return raised(error, self._clock.now().wall_ms)

    # Both ---------------------------------------------------------------------------------------

    def _begin(self, active: _Active) -> tuple[Call, Context] | Outcome | None:
        """Everything up to the call: arguments, clock, start log. None = given up before."""
        if active.given_up:
            return None
        order = active.order
        try:
            call = active.handler.decode(order.payload.data, order.payload.content_type)
        except InvalidRequest as refusal:
            return bad_arguments(refusal.message)
        started_ms = self._clock.now().wall_ms
        if self._start_log is not None:
            self._start_log.write(order, started_ms)
        if order.heartbeat_ms is not None:
            active.pulse = self._pulses.begin(order)
        return call, _context(active, started_ms)

    def _report_start(self, active: _Active, started_ms: int) -> None:
        """Tell the listener and start the run's clock."""
        if active.given_up:
            return
        active.started_ms = started_ms
        self._listener.run_started(active.order.run, started_ms)
        limit_ms = active.order.start_to_close_ms
        if limit_ms is not None:
            expire = partial(self._give_up, active, TIMED_OUT)
            active.timer = self._loop.call_later(limit_ms / 1_000, expire)

    def _give_up(self, active: _Active, outcome: Outcome) -> None:
        """Report the outcome now and ask the handler to stop; its slot stays taken until then."""
        if active.given_up:
            return
        self._say_last(active)
        self._stop(active)
        active.owed = outcome
        if not active.order.concurrency_key:
            self._listener.run_ended(self._result(active, outcome), True)

    def _say_last(self, active: _Active) -> None:
        """What the handler said before its end goes out before it."""
        if active.pulse is not None:
            self._pulses.say_now(active.pulse)

    def _stop(self, active: _Active) -> None:
        """Nothing that the handler does from here on is reported."""
        active.given_up = True
        active.cancellation.set()
        # A task that is cancelled before its first step would never run its `finally`.
        if active.task is not None and active.started_ms is not None:
            active.task.cancel()

    def _returned(self, active: _Active, outcome: Outcome) -> None:
        """The handler is done: its slot is free."""
        del self._active[active.order.run]
        if active.timer is not None:
            active.timer.cancel()
        if not active.given_up:
            self._say_last(active)
            self._listener.run_ended(self._result(active, outcome), False)
        elif active.order.concurrency_key:
            self._listener.run_ended(self._result(active, active.owed), False)
        else:
            self._listener.slot_released(active.order.handler)

    def _result(self, active: _Active, outcome: Outcome) -> RunResult:
        ended_ms = self._clock.now().wall_ms
        return RunResult(
            run=active.order.run,
            shard=active.order.shard,
            started_ms=ended_ms if active.started_ms is None else active.started_ms,
            ended_ms=ended_ms,
            result=outcome.result,
            failure=outcome.failure,
            cancelled=outcome.cancelled,
            interrupted=outcome.interrupted,
            uncounted=outcome.uncounted,
        )


def _context(active: _Active, started_ms: int) -> Context:
    """The attempt as its handler sees it."""
    order = active.order
    limit_ms, left = order.start_to_close_ms, order.checkpoint
    return Context(
        task_id=order.run.task_id,
        handler=order.handler,
        attempt=order.attempt,
        epoch=order.epoch,
        priority=order.priority,
        namespace=order.namespace,
        owner=order.owner,
        due_ms=order.due_ms,
        started_ms=started_ms,
        nominal_ms=order.nominal_ms,
        deadline_ms=None if limit_ms is None else started_ms + limit_ms,
        heartbeat_ms=order.heartbeat_ms,
        left=None if left is None else Checkpoint(left.data, left.content_type),
        cancellation=active.cancellation,
        on_heartbeat=active.beat,
    )
