"""Simulated handlers. Each tells the outside sink synchronously that it began."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from timeball.context import Context
from timeball.outcomes import Fail
from timeball.registry import Handler

from tests.support.sim.history import End, History, Start
from tests.support.virtual_loop import START_WALL_MS, VirtualClock

WORK = "sim.work"


class Broken(Exception):
    """What a handler raises when its script says that the attempt fails."""


def handlers(
    history: History, process: str, clock: VirtualClock, incarnation: Callable[[], int]
) -> Mapping[str, Handler]:
    """The handlers of one executor process."""

    async def work(context: Context, fails: int, work_ms: int, fatal: bool) -> int:
        at_us = history.now_us()
        if history.is_open:
            start = Start(
                task_id=context.task_id,
                attempt=context.attempt,
                epoch=context.epoch,
                process=process,
                incarnation=incarnation(),
                at_us=at_us,
                wall_ms=START_WALL_MS + at_us // 1_000,
            )
            history.starts.append(start)
            history.trace(process, f"START {context.task_id} {context.attempt} {context.epoch}")
        await clock.sleep_ms(work_ms)
        succeeded = context.attempt > fails and not fatal
        if history.is_open:
            end = End(
                task_id=context.task_id,
                attempt=context.attempt,
                process=process,
                at_us=history.now_us(),
                succeeded=succeeded,
            )
            history.ends.append(end)
            history.trace(process, f"END {context.task_id} {context.attempt} {succeeded}")
        if fatal:
            raise Fail("the script says never", code="FATAL")
        if not succeeded:
            raise Broken("the script says so")
        return context.attempt

    return {WORK: Handler(WORK, work)}
