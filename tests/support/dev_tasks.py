"""An app for tests of whole processes: handlers that succeed, fail, wait and give up on demand.

What they leave behind goes to the folder that TIMEBALL_TEST_OUT names.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import grpc
import timeball

OUT_VARIABLE = "TIMEBALL_TEST_OUT"
LOOK_EVERY_S = 0.02
QUICK = timeball.RetryPolicy(max_attempts=5, initial_delay="50ms", coefficient=1.0, jitter=0.0)


def left_behind(name: str) -> Path:
    """Where a handler leaves a sign."""
    return Path(os.environ[OUT_VARIABLE]) / name


@dataclass(frozen=True)
class Total:
    """A typed result."""

    words: list[str]
    count: int


@timeball.task("it.echo")
async def echo(value: str) -> str:
    return value


@timeball.task("it.count")
def count(words: list[str]) -> Total:
    """A plain function; runs in a thread."""
    return Total(words=sorted(words), count=len(words))


@timeball.task("it.flaky", retry=QUICK)
async def flaky(failures: int) -> int:
    """Fails so many times, then answers the number of its attempt."""
    attempt = timeball.current().attempt
    if attempt <= failures:
        raise ConnectionError(f"attempt {attempt} was not lucky")
    return attempt


@timeball.task("it.refuse")
async def refuse(why: str) -> None:
    raise timeball.Fail(why, code="NO_SUCH_ACCOUNT")


@timeball.task("it.snooze", retry=timeball.RetryPolicy(max_attempts=1))
async def snooze(name: str, milliseconds: int) -> str:
    """Asks once to be called later; with one attempt allowed, a counted one would be the end."""
    sign = left_behind(name)
    if not sign.exists():
        sign.touch()
        raise timeball.Snooze(after=f"{milliseconds}ms")
    return "rested"


@timeball.task("it.note")
async def note(book: str, value: str) -> str:
    """Writes a line into the file `book`: its own witness of what it was asked to do."""
    with left_behind(book).open("a", encoding="utf-8") as lines:
        lines.write(f"{timeball.current().task_id} {value}\n")
    return value


@timeball.task("it.again")
async def again(milliseconds: int) -> int:
    """Names the delay before its second attempt."""
    attempt = timeball.current().attempt
    if attempt == 1:
        raise timeball.Retry("not yet", after=f"{milliseconds}ms")
    return attempt


class Answer(grpc.RpcError):
    """A service that the handler called answered with a status."""

    def __init__(self, status: str) -> None:
        super().__init__(f"the other service said {status}")
        self._status = grpc.StatusCode[status]

    def code(self) -> grpc.StatusCode:
        return self._status


@timeball.task("it.answer")
async def answer(status: str) -> None:
    """Lets an error with a status pass."""
    raise Answer(status)


@timeball.task("it.copy", retry=QUICK)
def copy(rows: int, then: str) -> str:
    """Copies from where the attempt before left off, and at half of it does what `then` says.

    `fail` raises, `hang` falls silent until it is given up, `wait` goes on when a file is there.
    """
    context = timeball.current()
    first = context.checkpoint or 0
    for row in range(first, rows):
        context.heartbeat(row / rows, f"row {row}", checkpoint=row)
        if row == rows // 2 and first == 0:
            if then == "fail":
                raise ConnectionError("half-way")
            while not left_behind(then).exists() and not context.is_cancelled:
                context.cancelled_sync(LOOK_EVERY_S)
                if then != "hang":
                    context.heartbeat(row / rows, f"row {row}")
    return f"attempt {context.attempt} from {first}"


@timeball.task("it.poison", retry=timeball.RetryPolicy(max_attempts=9, initial_delay="50ms"))
async def poison() -> None:
    """Takes its executor with it."""
    os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.Event().wait()


@timeball.task("it.hold")
async def hold(name: str) -> str:
    """Runs until the file `name` is there, or until it is asked to stop and leaves a sign."""
    context = timeball.current()
    while not left_behind(name).exists():
        try:
            await asyncio.wait_for(context.cancelled(), LOOK_EVERY_S)
        except TimeoutError:
            continue
        left_behind(f"{name}.cancelled").touch()
        context.raise_if_cancelled()
    return f"{name} opened in attempt {context.attempt}"
