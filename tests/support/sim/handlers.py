"""Simulated handlers. Each tells the outside sink synchronously that it began.

Some are slow, some fail, and some take their whole process with them. Some say heartbeats, and some
of those fall silent in their first attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from zlib import crc32

from timeball.context import Context
from timeball.outcomes import Fail
from timeball.registry import Handler

from tests.support.checker.history import End, Start
from tests.support.sim.history import History
from tests.support.virtual_loop import VirtualClock

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
    elif before and history.is_open:
        history.planned["gone on"] += 1
    for said in range(1 + work_ms // SAYS_EVERY_MS):
        context.heartbeat(said / (1 + work_ms), checkpoint=before + said)
        await clock.sleep_ms(min(work_ms, SAYS_EVERY_MS))


class Broken(Exception):
    """What a handler raises when its script says that the attempt fails."""


def handlers(
    history: History, process: str, clock: VirtualClock, die: Callable[[], None]
) -> Mapping[str, Handler]:
    """The handlers of one executor process. `die` ends the process."""

    def ended(context: Context, ok: bool) -> None:
        if history.is_open:
            end = End(
                task=context.task_id,
                attempt=context.attempt,
                process=process,
                at_us=history.now_us(),
                ok=ok,
            )
            history.ends.append(end)
            history.trace(process, f"END {context.task_id} {context.attempt} {ok}")

    async def work(
        context: Context,
        mark: str,
        fails: int,
        work_ms: int,
        fatal: bool,
        poison: int,
        version: str = "",
    ) -> int:
        if history.is_open:
            start = Start(
                task=context.task_id,
                attempt=context.attempt,
                epoch=context.epoch,
                process=process,
                at_us=history.now_us(),
                payload=mark,
                version=version,
            )
            history.starts.append(start)
            history.trace(process, f"START {context.task_id} {context.attempt} {context.epoch}")
        try:
            await worked(context, clock, work_ms, history)
        except asyncio.CancelledError:
            if context.heartbeat_ms is not None:
                ended(context, False)  # given up: the sink is told, as of any failure
            raise
        if context.attempt <= poison and history.is_open and not history.healed_us:
            history.strike("poison", process)
            die()
            await clock.sleep_ms(0)
        succeeded = context.attempt > fails and not fatal
        ended(context, succeeded)
        if fatal:
            raise Fail("the script says never", code="FATAL")
        if not succeeded:
            raise Broken("the script says so")
        return context.attempt

    return {WORK: Handler(WORK, work)}
