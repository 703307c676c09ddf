"""Simulated handlers. Each tells the outside sink synchronously that it began.

Some are slow, some fail, and some take their whole process with them. Some say heartbeats, and some
of those fall silent in their first attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from zlib import crc32

from timeball.context import Context
from timeball.outcomes import Fail
from timeball.registry import Handler

from tests.support.checker.records import End, Left, Start
from tests.support.checker.words import Found, Said
from tests.support.sim.bounded import bounded_handlers
from tests.support.sim.history import History
from tests.support.sim.speakers import speaking_handlers
from tests.support.virtual_loop import VirtualClock, known_since_start_us

WORK = "sim.work"


HEARTBEAT_MS = 3_000
SAYS_EVERY_MS = 700
SILENT_MS = 60_000


def heartbeat_ms(mark: str, share: float) -> int | None:
    """How long the task of this mark may be silent, whatever else is drawn; None = for ever."""
    return HEARTBEAT_MS if crc32(mark.encode()) % 100 < 100 * share else None


async def worked(context: Context, clock: VirtualClock, work_ms: int, history: History) -> None:
    """Take so long; who must not be silent speaks meanwhile, or forgets to the first time."""
    if context.heartbeat_ms is None:
        await clock.sleep_ms(work_ms)
        return
    before = context.checkpoint or 0
    if context.attempt == 1 and crc32(context.task_id.encode()) % 3 == 0:
        context.heartbeat(checkpoint=1)
        try:
            await clock.sleep_ms(SILENT_MS)
        except asyncio.CancelledError:
            history.planned["given up"] += 1
            raise
        if not history.struck:
            history.problem(context.task_id, "was silent for a minute, and nobody gave it up")
    elif before and history.is_open:
        history.planned["gone on"] += 1
    for said in range(1 + work_ms // SAYS_EVERY_MS):
        context.heartbeat(said / (1 + work_ms), checkpoint=before + said)
        await clock.sleep_ms(min(work_ms, SAYS_EVERY_MS))


class Broken(Exception):
    """What a handler raises when its script says that the attempt fails."""


class Sink:
    """What is told outside of one process's handlers, at once, while the run lasts."""

    def __init__(self, history: History, process: str) -> None:
        self._history = history
        self._process = process

    def began(self, context: Context, mark: str, version: str) -> None:
        """A handler begins."""
        history, process, nominal_ms = self._history, self._process, context.nominal_ms
        if not history.is_open:
            return
        start = Start(
            task=context.task_id,
            attempt=context.attempt,
            epoch=context.epoch,
            process=process,
            at_us=history.now_us(),
            payload=mark,
            version=version,
            nominal_us=known_since_start_us(nominal_ms),
        )
        history.starts.append(start)
        history.trace(process, f"START {context.task_id} {context.attempt} {context.epoch}")

    def ended(
        self, context: Context, ok: bool, *, final: bool = False, wait_us: int | None = None
    ) -> None:
        """A handler is over as its script says."""
        history, process = self._history, self._process
        if not history.is_open:
            return
        end = End(
            task=context.task_id,
            attempt=context.attempt,
            process=process,
            at_us=history.now_us(),
            ok=ok,
            final=final,
            wait_us=wait_us,
        )
        history.ends.append(end)
        history.trace(process, f"END {context.task_id} {context.attempt} {ok}")

    def left(self, context: Context) -> None:
        """A handler was made to end."""
        history, process = self._history, self._process
        if history.is_open:
            now_us = history.now_us()
            left = Left(
                task=context.task_id,
                attempt=context.attempt,
                process=process,
                at_us=now_us,
                handed_back=process in history.leaving,
            )
            history.left.append(left)

    def found(self, context: Context, apart_us: int) -> None:
        """A handler that speaks begins, with what the attempts before have left."""
        history = self._history
        if history.is_open:
            found = Found(
                task=context.task_id,
                attempt=context.attempt,
                process=self._process,
                at_us=history.now_us(),
                mark=context.checkpoint or "",
                silent_us=None if context.heartbeat_ms is None else context.heartbeat_ms * 1_000,
                apart_us=apart_us,
            )
            history.found.append(found)
            history.trace(self._process, f"FOUND {context.task_id} {found.mark}")

    def said(self, context: Context, number: int, leaves: bool) -> tuple[float, str | None]:
        """A handler speaks; what it says, and the name of what it leaves."""
        history, process = self._history, self._process
        fraction = (number + 1) / 10_000 + context.attempt / 100
        mark = f"{context.task_id} {process} {context.attempt} {number}" if leaves else ""
        if history.is_open:
            said = Said(
                task=context.task_id,
                attempt=context.attempt,
                process=process,
                at_us=history.now_us(),
                fraction=fraction,
                mark=mark,
            )
            history.said.append(said)
        return fraction, mark or None


def handlers(
    history: History,
    process: str,
    clock: VirtualClock,
    die: Callable[[], None],
    names: Sequence[str] = (WORK,),
) -> Mapping[str, Handler]:
    """The handlers of one executor process, all alike. `die` ends the process."""
    sink = Sink(history, process)

    async def work(
        context: Context,
        mark: str,
        fails: int,
        work_ms: int,
        fatal: bool,
        poison: int,
        version: str = "",
        ill: str = "",
        slow: str = "",
        slow_ms: int = 0,
    ) -> int:
        sink.began(context, mark, version)
        work_ms = slow_ms if slow and process.startswith(slow) else work_ms
        try:
            await worked(context, clock, work_ms, history)
        except asyncio.CancelledError:
            sink.left(context)
            if context.heartbeat_ms is not None:
                sink.ended(context, False)  # given up: the sink is told, as of any failure
            raise
        if context.attempt <= poison and history.is_open and not history.healed_us:
            history.strike("poison", process)
            die()
            await clock.sleep_ms(0)
        is_ill = bool(ill) and process.startswith(ill)
        succeeded = context.attempt > fails and not fatal and not is_ill
        sink.ended(context, succeeded)
        if fatal:
            raise Fail("the script says never", code="FATAL")
        if not succeeded:
            raise Broken("the script says so")
        return context.attempt

    mine = {name: Handler(name, work) for name in names}
    return mine | bounded_handlers(sink, clock) | speaking_handlers(sink, clock)
