"""Simulated handlers. Each tells the outside sink synchronously that it began.

Some are slow, some fail, and some take their whole process with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from timeball.context import Context
from timeball.outcomes import Fail
from timeball.registry import Handler

from tests.support.checker.history import End, Start
from tests.support.sim.history import History
from tests.support.virtual_loop import VirtualClock

WORK = "sim.work"


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
        await clock.sleep_ms(work_ms)
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
